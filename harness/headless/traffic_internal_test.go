package headless

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/timeline"
)

// A client sends requests over a socket that notes them. The answers come in another order, in
// pieces, and one is long.
func TestRequestsAreNotedWithoutWhatTheySay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), timeline.File)
	log, err := timeline.Open(path, time.Now())
	require.NoError(t, err)
	client, server := net.Pipe()
	c := &notedConn{Conn: server, log: log, asked: map[string]request{}}
	say := func(text string) {
		go func() { _, _ = client.Write([]byte(text)) }()
		b := make([]byte, len(text))
		for n := 0; n < len(text); {
			m, err := c.Read(b[n:min(n+7, len(b))])
			require.NoError(t, err)
			n += m
		}
		require.Equal(t, text, string(b), "what is read is not changed")
	}
	answer := func(text string) {
		got := make(chan string, 1)
		go func() {
			var b strings.Builder
			part := make([]byte, 64<<10)
			for b.Len() < len(text) {
				n, err := client.Read(part)
				if err != nil {
					break
				}
				b.Write(part[:n])
			}
			got <- b.String()
		}()
		for _, part := range []string{text[:5], text[5:]} {
			_, err := c.Write([]byte(part))
			require.NoError(t, err)
		}
		require.Equal(t, text, <-got)
	}
	say(`{"id":1,"method":"paste","params":{"text":"hunter2"}}` + "\n" + `{"params":{"a":{"method":"x"}},"method":"await","id":"b"}` + "\n" + "no JSON\n")
	answer(`{"event":"digest_updated","data":{}}` + "\n" + `{"id":"b","ok":false,"error":{"code":"timeout","message":"hunter2"}}` + "\n")
	answer(`{"id":1,"ok":true,"result":{"data_base64":"` + strings.Repeat("A", 300<<10) + `"}}` + "\n")
	answer(`{"id":1,"ok":true}` + "\n") // it was answered
	require.NoError(t, c.Close())
	require.NoError(t, client.Close())
	require.NoError(t, log.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], `"error":"timeout","kind":"control","method":"await","ms":`)
	require.Contains(t, lines[1], `{"kind":"control","method":"paste","ms":`)
	require.NotContains(t, string(b), "hunter2")
}
