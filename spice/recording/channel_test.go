package recording_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

var (
	mainChannel    = wire.ChannelID{Type: wire.ChannelMain}
	displayChannel = wire.ChannelID{Type: wire.ChannelDisplay}
)

const displayText = `spicelane conversation 1
channel: display:0
connection-id: 7
client-common: 0000000b
client-caps: 00000002
server-common: 0000000b
server-caps: 00000012
comment: QEMU 7.2, qxl, glz

client 0.012345 101 display.init size=14 serial=1
0100004001000000000200008000
server 0.015002 102 display.mark size=0 serial=1
server 0.015003 999 display.999 size=130 serial=2 sublist=4
0000000000000000000000000000000000000000000000000000000000000000
* 2
0100000000000000000000000000000000000000000000000000000000000000
0203
`

func displayRecording() *recording.Channel {
	body := make([]byte, 130)
	body[96], body[128], body[129] = 1, 2, 3
	return &recording.Channel{
		Link: wire.LinkInfo{Channel: displayChannel, ConnectionID: 7,
			Client: wire.CapSets{Common: wire.Caps{0xb}, Channel: wire.Caps{2}},
			Server: wire.CapSets{Common: wire.Caps{0xb}, Channel: wire.Caps{0x12}}},
		Comments: []string{"QEMU 7.2, qxl, glz"},
		Messages: []recording.Message{
			{From: wire.FromClient, At: 12345 * time.Microsecond, Header: wire.Header{Serial: 1, Type: 101, Size: 14},
				Body: (&wire.DisplayInit{PixmapCacheID: 1, PixmapCacheSize: 20 << 20, GLZWindowSize: 8 << 20, GLZDictionaryID: 0}).Append(nil)},
			{At: 15002 * time.Microsecond, Header: wire.Header{Serial: 1, Type: 102}},
			{At: 15003 * time.Microsecond, Header: wire.Header{Serial: 2, Type: 999, Size: 130, SubList: 4}, Body: body},
		},
	}
}

func TestARecordingIsThisText(t *testing.T) {
	want := displayRecording()
	want.Messages[0].Body = []byte{1, 0, 0, 0x40, 1, 0, 0, 0, 0, 2, 0, 0, 0x80, 0}
	assert.Equal(t, displayText, string(want.Append(nil)))
	got, err := recording.Parse(strings.NewReader(displayText))
	require.NoError(t, err)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMalformedRecordingNamesTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"another format":       {"conversation 1", "conversation 2", `line 1: got "spicelane conversation 2"`},
		"an unknown header":    {"comment:", "remark:", "line 8: remark: unknown header"},
		"no header":            {"comment: QEMU", "QEMU", "is not a header"},
		"no channel":           {"channel: display:0\n", "", "no channel header"},
		"a bad channel":        {"display:0\n", "sound:0\n", "line 2: channel: wire: channel"},
		"bad capabilities":     {"00000012", "xyz", "line 7: server-caps"},
		"a third party":        {"client 0.01", "proxy 0.01", `line 10: message from "proxy"`},
		"no time":              {"0.015002", "NaN", "line 12: message at"},
		"a number too large":   {" 102 ", " 70000 ", "line 12: message number"},
		"no size":              {"size=14", "size=", "line 10: size="},
		"a size too large":     {"size=14", "size=4000000000", "the limit is"},
		"an unknown field":     {"sublist=4", "list=4", "unknown field"},
		"a body too short":     {"0203\n", "02\n", "129 bytes of the body, want 130"},
		"a body too long":      {"0203\n", "020304\n", "128 bytes of the body, then 3 more, want 130"},
		"a body that goes on":  {"size=0 serial=1\n", "size=0 serial=1\n00\n", `"00" is not a message`},
		"no hex":               {"0203\n", "020g\n", "128 of 130 bytes of the body, then encoding/hex"},
		"repeats beyond size":  {"* 2", "* 4000000000", "repeat 4000000000 times goes beyond the size of 130 bytes"},
		"one repeat too many":  {"* 2", "* 4", "repeat 4 times goes beyond the size of 130 bytes"},
		"a repeat of nothing":  {"size=130 serial=2 sublist=4\n", "size=130 serial=2 sublist=4\n* 1\n", "repeat 1 times goes beyond"},
		"a line with too few":  {"client 0.012345 101", "client 0.012345", `"client 0.012345 display.init size=14 serial=1" is no message`[:20]},
		"a repeat of a letter": {"* 2", "* x", "repeat \"x\""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(displayText, tc.old, tc.new, 1)
			require.NotEqual(t, displayText, text)
			_, err := recording.Parse(strings.NewReader(text))
			if name == "a line with too few" {
				assert.Error(t, err)
				return
			}
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestARecordingThatCannotBeReadToItsEndSaysWhy(t *testing.T) {
	broken := errors.New("input/output error")
	in := io.MultiReader(strings.NewReader(displayText[:len(displayText)-3]), iotest.ErrReader(broken))
	_, err := recording.Parse(in)
	assert.ErrorIs(t, err, broken)
	_, err = recording.Parse(strings.NewReader(displayText + strings.Repeat("0", 1<<17)))
	assert.ErrorIs(t, err, bufio.ErrTooLong)
}

func TestLoadReadsZippedRecordingsInOrder(t *testing.T) {
	dir := t.TempDir()
	_, err := recording.Load(dir)
	assert.ErrorContains(t, err, "no recording there")

	f, err := os.Create(filepath.Join(dir, "a.txt.gz"))
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(displayText))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
	main := &recording.Channel{Link: wire.LinkInfo{Channel: mainChannel}, Messages: []recording.Message{
		{Header: wire.Header{Type: 103}, Body: (&wire.MainInit{SessionID: 99}).Append(nil)}}}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.txt"), main.Append(nil), 0o644))
	c, err := recording.Load(dir)
	require.NoError(t, err)
	require.Len(t, c, 2)
	assert.Equal(t, mainChannel, c[0].Link.Channel)
	assert.Equal(t, displayChannel, c[1].Link.Channel)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.txt"), main.Append(nil), 0o644))
	_, err = recording.Load(dir)
	assert.ErrorContains(t, err, "two recordings of main:0")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.txt"), []byte("x\n"), 0o644))
	_, err = recording.Load(dir)
	assert.ErrorContains(t, err, "c.txt: recording: line 1")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(displayText))
	f.Add((&recording.Channel{Link: wire.LinkInfo{Channel: mainChannel}}).Append(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := recording.Parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := recording.Parse(bytes.NewReader(r.Append(nil)))
		require.NoError(t, err)
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}
