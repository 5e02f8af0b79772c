package proxy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/proxy"
)

// openIn returns the files below a directory that this process has open.
func openIn(t *testing.T, dir string) (files []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		// A descriptor may be closed meanwhile.
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(to, dir) {
			files = append(files, filepath.Base(to))
		}
	}
	return files
}

// comeAndGo opens a channel and closes it, several times.
func comeAndGo(t *testing.T, l *lane, token string, times int) {
	t.Helper()
	for range times {
		conn, err := l.link(token, session, inputs)
		require.NoError(t, err)
		l.console.next(t)
		require.NoError(t, conn.Close())
		l.event(proxy.EventChannelClosed)
	}
}

// A client that opens and closes channels for as long as its session lasts must not use up the
// descriptors of all others.
func TestARecordingHoldsNoFileOfAChannelThatIsOver(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir))
	token, _, _ := l.open()
	comeAndGo(t, l, token, 5)
	require.Equal(t, []string{"main-0.txt"}, openIn(t, dir))
}

func TestChannelsThatSayNothingCountForTheLimitOfARecording(t *testing.T) {
	dir := t.TempDir()
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir), func(c *proxy.Config) { c.Recording.MaxSession = 4 << 10 })
	token, client, _ := l.open()
	comeAndGo(t, l, token, 20)
	require.NoError(t, client.Close())
	e := l.event(proxy.EventRecordingEnded)
	require.Equal(t, proxy.ReasonRecordingTooLarge, e.Reason)
}
