package harness

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/spice/vv"
)

// Each session uses up a token, and the proxy replaces its file.
func TestAnotherClientFindsAnUnusedTokenBehindARelay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "console.vv"), filepath.Join(dir, "client.vv")
	console := &vv.File{Type: "spice", Host: "127.0.0.1", Port: 1, Password: "the first token of the console"}
	require.NoError(t, headless.WriteVV(from, console))
	l := &Lane{cfg: Config{Link: &impair.Profile{}, ImpairMode: impair.InProcess}}
	defer func() { require.NoError(t, l.undo.run()) }()
	require.NoError(t, l.keepThroughRelay(t.Context(), from, to))
	first, err := vv.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, console.Password, first.Password)
	require.NotEqual(t, console.Port, first.Port, "it leads to the relay")

	console.Password = "the second token of the console"
	require.NoError(t, headless.WriteVV(from, console))
	require.Eventually(t, func() bool {
		now, err := vv.ReadFile(to)
		return err == nil && now.Password == console.Password && now.Port == first.Port
	}, 10*time.Second, time.Millisecond)
	require.Contains(t, l.secrets.all(), console.Password, "it is searched for, too")
}
