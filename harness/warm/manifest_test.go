package warm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/warm"
)

func TestNoBeginningOfAManifestIsOne(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/manifest.json")
	require.NoError(t, err)
	require.NoError(t, warm.ManifestProblem(b))
	for n := range len(b) - 1 { // it ends with a line feed
		require.Error(t, warm.ManifestProblem(b[:n]), n)
	}
}

// This version writes the format that is on people's disks, until the format's number changes.
func TestTheManifestIsTheOneOnDisk(t *testing.T) {
	t.Parallel()
	var identity struct{ Identity warm.Identity }
	want, err := os.ReadFile("testdata/manifest.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(want, &identity))
	require.Equal(t, warm.Key("d0b7d4f82d3aeaaccf8b7397c813a86c809b0defcdd6a4b15ca74c96585013c7"), identity.Identity.Key())

	cache, _, _ := newCache(t)
	save(t, cache, identity.Identity, map[string][]byte{warm.StatePart: []byte("state"), warm.SaidPart: []byte("Hello\r\n")})
	got, err := os.ReadFile(filepath.Join(cache.Dir, string(identity.Identity.Key()), "manifest.json"))
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

func FuzzManifest(f *testing.F) {
	b, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"identity":{"format":1},"parts":[{"name":"state","size":1,"crc32c":2}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = warm.ManifestProblem(b)
	})
}
