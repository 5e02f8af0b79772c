package harness

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/pki"
)

func TestASecretIsFoundWhereverItIs(t *testing.T) {
	t.Parallel()
	const ticket, token = "0123456789abcdef0123", "zyxwvutsrqponmlkjihg"
	what := map[string]string{ticket: "ticket", token: "token"}
	for _, at := range []int{0, 1, 1<<20 - 10, 1 << 20, 1<<20 + 19, 3<<20 - 1} {
		text := append(bytes.Repeat([]byte{'x'}, at), ticket...)
		in, err := secretsIn(bytes.NewReader(text), what)
		require.NoError(t, err)
		require.Equal(t, []string{ticket}, in, "at %d", at)
	}
	in, err := secretsIn(iotest.OneByteReader(strings.NewReader(token+ticket+token)), what)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{ticket, token}, in)
	in, err = secretsIn(strings.NewReader(ticket[1:]+" "+token[:19]), what)
	require.NoError(t, err)
	require.Empty(t, in, "parts of them are none")
	_, err = secretsIn(iotest.ErrReader(os.ErrPermission), what)
	require.ErrorIs(t, err, os.ErrPermission)
}

func TestAKeyIsKnownByEachOfItsLines(t *testing.T) {
	t.Parallel()
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	var s secrets
	s.addKey("key", bundle.ServerKey)
	s.addKey("no key", []byte("-----BEGIN nothing"))
	lines := strings.Split(strings.TrimSpace(string(bundle.ServerKey)), "\n")
	require.Len(t, s.all(), len(lines)-3, "without BEGIN, END and the first line")
	for _, line := range lines[2 : len(lines)-1] {
		require.Equal(t, "key", s.all()[line])
	}
}

func TestALanesSecretInOneOfItsFilesIsSaid(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"warm": {},
		"cold": {Warm: WarmOff, BackendTLS: true, Processes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lane := Up(t, cfg)
			require.NotEmpty(t, lane.secrets.all())
			require.NoError(t, lane.searchSecrets())
			require.NoFileExists(t, filepath.Join(lane.Dir(), canaryFile))
			below := filepath.Join(lane.Dir(), "below")
			require.NoError(t, os.Mkdir(below, 0o700))
			leak := filepath.Join(below, "leak.log")
			require.NoError(t, os.WriteFile(leak, []byte("password="+lane.console().Ticket+"\n"), 0o600))
			err := lane.searchSecrets()
			require.EqualError(t, err, "search for secrets: in "+lane.Dir()+": the ticket is in below/leak.log; do not pass these files on")
			require.Equal(t, verdict.Harness, verdict.Of(err))
			require.NoError(t, os.Remove(leak))
			// The text in a lane's page is compressed.
			other := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(other, "timeline.ndjson"), []byte(`{"t_us":1,"kind":"serial","text":"`+lane.console().Ticket+`"}`), 0o600))
			page, err := replay.Make(other, replay.Options{})
			require.NoError(t, err)
			require.NotContains(t, string(page), lane.console().Ticket)
			require.NoError(t, os.WriteFile(filepath.Join(below, replay.File), page, 0o600))
			err = lane.searchSecrets()
			require.EqualError(t, err, "search for secrets: in "+lane.Dir()+": the ticket is in below/lane.html; do not pass these files on")
			require.NoError(t, os.Remove(filepath.Join(below, replay.File)))
		})
	}
}
