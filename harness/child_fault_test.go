package harness

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

// If the same failure happens inside this process, it has the same verdict.
func TestAPartOfOurOwnThatTheHostDoesNotLetStartIsTheHostsFault(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]verdict.Kind{
		"echo no space left on device; exit 3": verdict.Host,
		"echo goroutine 1; exit 2":             verdict.Harness, // no verdict of its own: the caller decides
		"kill -9 $$":                           verdict.Harness,
	} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		p, err := startChild(t.TempDir(), child{name: "client", argv: []string{"sh", "-c", script}, ready: w})
		require.NoError(t, err)
		require.NoError(t, w.Close())
		var ready struct{}
		err = blameHost("client", awaitReady(t.Context(), p, r, &ready))
		require.ErrorContains(t, err, "sh (")
		require.Equal(t, want, verdict.Of(err), script)
		require.NoError(t, p.Close())
		require.NoError(t, r.Close())
	}
}
