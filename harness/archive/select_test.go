package archive_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/archive"
)

func TestATextMeansRuns(t *testing.T) {
	t.Parallel()
	records := []*archive.Record{
		{ID: "20261127-3", Key: "bb22", Labels: map[string]string{"branch": "main"}, Build: map[string]string{"proxy": "2"}},
		{ID: "20261127-2", Key: "bb11", Labels: map[string]string{"branch": "topic", "proxy": "labelled"}, Build: map[string]string{"proxy": "2"}},
		{ID: "20261126-1", Key: "aa00", Labels: map[string]string{"branch": "main"}, Build: map[string]string{"proxy": "1"}},
		{ID: "20261126-10", Key: "bb22"},
	}
	for text, want := range map[string][]string{
		"latest":               {"20261127-3"},
		"latest~0":             {"20261127-3"},
		"latest~2":             {"20261126-1"},
		"20261126-1":           {"20261126-1"}, // an exact id, though another begins so
		"20261126-10":          {"20261126-10"},
		"build:bb2":            {"20261127-3", "20261126-10"},
		"branch=main":          {"20261127-3", "20261126-1"},
		"proxy=2":              {"20261127-3"}, // a label comes before the build
		"latest~3, 20261127-2": {"20261127-2", "20261126-10"},
		"latest,latest":        {"20261127-3"},
	} {
		got, err := archive.Select(records, text)
		require.NoError(t, err, text)
		require.Equal(t, want, ids(got), text)
	}
	for text, says := range map[string]string{
		"":            "there is no such run",
		"latest~":     "a number comes after latest~",
		"latest~x":    "a number comes after latest~",
		"latest~-1":   "a number comes after latest~",
		"latest~4":    "there are only 4 runs",
		"20261127":    "2 runs begin so, such as 20261127-3 and 20261127-2",
		"build:bb":    "the builds bb22 and bb11 begin so",
		"build:cc":    "no run tested such a build",
		"branch=":     "no run has that label",
		"none":        "there is no such run",
		"latest,none": `"none": there is no such run`,
	} {
		_, err := archive.Select(records, text)
		require.ErrorContains(t, err, says, text)
	}
}
