package bisect_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/bisect"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// archived returns one run per word. Each letter is an attempt of the cell "boot": P passed, F
// failed by the product, H failed by the host.
func archived(words ...string) []*result.Run {
	var all []*result.Run
	for i, word := range words {
		r := &result.Run{Schema: result.Schema, ID: fmt.Sprint("run-", i), Began: time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC),
			Labels: map[string]string{"commit": fmt.Sprint("commit ", i)}}
		c := result.Cell{ID: "boot", Job: "boot", Identity: map[string]string{"lane/proxy": fmt.Sprint("proxy ", i)}}
		for _, letter := range word {
			at := result.Attempt{Outcome: result.Success}
			if letter != 'P' {
				at.Outcome, at.Verdict = result.Failure, map[rune]verdict.Kind{'F': verdict.Product, 'H': verdict.Host}[letter]
			}
			c.Attempts = append(c.Attempts, at)
		}
		r.Cells = []result.Cell{c}
		all = append(all, r)
	}
	return all
}

func TestStoredResultsGiveTheFirstBadBuildWithoutATest(t *testing.T) {
	t.Parallel()
	runs := archived("PPPPPPPP", "PPPPPPPP", "PPFPPPPP", "FFFFFFFF", "FFFFFFFF", "H")
	r, err := bisect.Archived(runs, "boot", "proxy", 0)
	require.NoError(t, err)
	require.NotNil(t, r.First)
	require.Equal(t, "proxy 3", r.First.Name)
	require.Equal(t, "proxy 2", r.LastGood.Name)
	require.Equal(t, "run-4", r.BadRun)
	require.Equal(t, "run-2", r.GoodRun)
	require.Len(t, r.Builds, 5, "a failure of the host is no result")
	var b bytes.Buffer
	r.WriteText(&b)
	require.Contains(t, b.String(), "first bad build: proxy 3\n")
	r, err = bisect.Archived(runs, "boot", "commit", 0)
	require.NoError(t, err)
	require.Equal(t, "commit 3", r.First.Name)
}

func TestTooFewStoredResultsLeaveCandidates(t *testing.T) {
	t.Parallel()
	r, err := bisect.Archived(archived("PPPP", "P", "F", "FFFF"), "boot", "proxy", 0)
	require.NoError(t, err)
	require.Nil(t, r.First)
	require.Contains(t, r.Candidates, "proxy 2")
	var b bytes.Buffer
	r.WriteText(&b)
	require.Contains(t, b.String(), "no answer yet: the first bad build is one of [\"proxy 2\"")

	same, err := bisect.Archived(archived("FFFFFFFFFFFF", "FFFFFFFFFFFF", "FFFFFFFFFFFFF"), "boot", "proxy", 0.9)
	require.NoError(t, err)
	require.Nil(t, same.First)
	b.Reset()
	same.WriteText(&b)
	require.Contains(t, b.String(), "no build changes how often boot fails")

	_, err = bisect.Archived(archived("PPPP", "FFFF"), "boot", "proxy", 1.5)
	require.ErrorContains(t, err, "a confidence of 1.5 is not between 0.5 and 1")
	_, err = bisect.Archived(archived("PPP"), "boot", "proxy", 0)
	require.ErrorContains(t, err, `1 builds have a result of the cell "boot", and it takes two`)
}

func TestRunsOfUnknownBuildsAreNotOneBuild(t *testing.T) {
	t.Parallel()
	runs := archived("PPPPPPPP", "PPPPPPPP", "FFFFFFFF", "FFFFFFFF", "PPPPPPPP", "FFFFFFFF")
	delete(runs[1].Labels, "commit")
	delete(runs[3].Labels, "commit")
	delete(runs[5].Labels, "commit")
	runs[4].Labels["commit"] = "commit 0"
	r, err := bisect.Archived(runs, "boot", "commit", 0)
	require.NoError(t, err)
	require.Len(t, r.Builds, 2)
	require.NotNil(t, r.First)
	require.Equal(t, "commit 2", r.First.Name)
}
