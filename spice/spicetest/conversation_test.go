package spicetest_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
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

func displayRecording() *spicetest.Recording {
	body := make([]byte, 130)
	body[96], body[128], body[129] = 1, 2, 3
	return &spicetest.Recording{
		Link: wire.LinkInfo{Channel: displayChannel, ConnectionID: 7,
			Client: wire.CapSets{Common: wire.Caps{0xb}, Channel: wire.Caps{2}},
			Server: wire.CapSets{Common: wire.Caps{0xb}, Channel: wire.Caps{0x12}}},
		Comments: []string{"QEMU 7.2, qxl, glz"},
		Messages: []spicetest.Recorded{
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
	got, err := spicetest.ParseRecording(strings.NewReader(displayText))
	require.NoError(t, err)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMalformedRecordingNamesTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"another format":       {"conversation 1", "conversation 2", `line 1: got "spicelane conversation 2"`},
		"an unknown header":    {"comment:", "remark:", "line 8: remark: unknown header"},
		"no header":            {"comment: QEMU", "QEMU", "is no header"},
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
		"a body that goes on":  {"size=0 serial=1\n", "size=0 serial=1\n00\n", `"00" is no message`},
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
			_, err := spicetest.ParseRecording(strings.NewReader(text))
			if name == "a line with too few" {
				assert.Error(t, err)
				return
			}
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

// converse has a client (by hand) talk to a server, with tap on its display,
// until it was synced as often.
func converse(t *testing.T, s *spicetest.Server, caps wire.Caps, tap wire.Tap, syncs int) error {
	t.Helper()
	p, err := dial(t, s, link.Config{Channel: displayChannel, ChannelCaps: caps, ConnectionID: 7, Secret: "hunter2"})
	require.NoError(t, err)
	defer p.conn.Close()
	tap.Linked(wire.LinkInfo{Channel: displayChannel, ConnectionID: 7,
		Client: wire.CapSets{Common: link.CommonCaps, Channel: caps}, Server: wire.CapSets{Common: link.CommonCaps, Channel: wire.Caps{0x12}}})
	send := func(m wire.ClientMessage) error {
		body := m.Append(nil)
		tap.Message(wire.FromClient, wire.Header{Serial: p.out.Serial() + 1, Type: m.MessageType(), Size: uint32(len(body))}, body)
		return p.out.WriteMessage(m)
	}
	if err := send(&wire.DisplayInit{}); err != nil {
		return err
	}
	for {
		h, err := p.in.Next()
		if err != nil {
			return err
		}
		body, err := p.in.Body(nil)
		if err != nil {
			return err
		}
		tap.Message(wire.FromServer, h, body)
		m, err := wire.DecodeServer(wire.ChannelDisplay, h.Type, body)
		require.NoError(t, err)
		if ping, ok := m.(*wire.Ping); ok {
			if err := send(&wire.Pong{ID: ping.ID, Timestamp: ping.Timestamp}); err != nil {
				return err
			}
			if syncs--; syncs == 0 {
				return nil
			}
		}
	}
}

type deafTap struct{}

func (deafTap) Linked(wire.LinkInfo)                        {}
func (deafTap) Message(wire.Direction, wire.Header, []byte) {}

// A session is recorded from a scripted server, loaded, and played to another
// client, which hears the same.
func TestWhatIsRecordedIsPlayedBack(t *testing.T) {
	dir := t.TempDir()
	live := spicetest.Start(t, spicetest.Config{Scripts: map[wire.ChannelID]spicetest.Script{
		displayChannel: {Caps: wire.Caps{0x12}, Steps: []spicetest.Step{
			spicetest.Expect(&wire.DisplayInit{}),
			spicetest.Send(&wire.DisplaySurfaceCreate{Width: 2, Height: 2, Format: wire.Surface32XRGB, Flags: wire.SurfacePrimary}),
			spicetest.SendRaw(999, []byte("password hunter2, again hunter2")),
			spicetest.Send(&wire.DisplayMark{}),
			spicetest.Sync(),
		}}}})
	var clock time.Duration
	begin := time.Unix(1000, 0)
	rec, err := spicetest.NewRecorder(spicetest.RecorderConfig{Dir: dir, Secrets: []string{"", "hunter2"},
		Comments: []string{"two pixels by two"}, Now: func() time.Time {
			clock += time.Millisecond
			return begin.Add(clock)
		}})
	require.NoError(t, err)
	require.NoError(t, converse(t, live, wire.Caps{2}, rec.Tap(displayChannel), 1))
	require.NoError(t, rec.Close())
	require.NoError(t, rec.Close(), "twice is once")

	text, err := os.ReadFile(filepath.Join(dir, "display-0.txt"))
	require.NoError(t, err)
	assert.Equal(t, `spicelane conversation 1
channel: display:0
connection-id: 7
client-common: 0000000b
client-caps: 00000002
server-common: 0000000b
server-caps: 00000012
comment: two pixels by two

client 0.001000 101 display.init size=14 serial=1
0000000000000000000000000000
server 0.002000 314 display.surface_create size=20 serial=1
0000000002000000020000002000000001000000
server 0.003000 999 display.999 size=31 serial=2
70617373776f726420787878787878782c20616761696e2078787878787878
server 0.004000 102 display.mark size=0 serial=3
server 0.005000 4 ping size=12 serial=4
0100005f0000000000000000
client 0.006000 3 pong size=12 serial=2
0100005f0000000000000000
`, string(text))

	conversation, err := spicetest.Load(dir)
	require.NoError(t, err)
	played := spicetest.Start(t, conversation.Config())
	var heard bytes.Buffer
	tracer := wire.NewTracer(&heard, displayChannel)
	require.NoError(t, converse(t, played, wire.Caps{2}, tracer, 2))
	require.NoError(t, played.AwaitScripts(t.Context(), 1))
	assert.Equal(t, `display:0 client link common=auth_selection,auth_spice,mini_header channel=monitors_config
display:0 server link common=auth_selection,auth_spice,mini_header channel=monitors_config,stream_report
display:0 client display.init 14
display:0 server display.surface_create 20
display:0 server display.999 31
display:0 server display.mark 0
display:0 server ping 12
display:0 client pong 12
display:0 server ping 12
display:0 client pong 12
`, heard.String())
	var ids []uint32
	for _, m := range played.Received(displayChannel) {
		if pong, ok := m.(*wire.Pong); ok {
			ids = append(ids, pong.ID)
		}
	}
	assert.Equal(t, []uint32{0x5f000001, 0x5f000002}, ids, "the script's own ping is not taken for the recorded one")
}

func TestPlayingNeedsTheRecordedCapabilities(t *testing.T) {
	s, err := spicetest.NewServer((&spicetest.Conversation{Recordings: []*spicetest.Recording{displayRecording()}}).Config())
	require.NoError(t, err)
	assert.Error(t, converse(t, s, wire.Caps{1}, deafTap{}, 1), "the server hangs up")
	assert.ErrorContains(t, s.Close(), "the client no longer announces monitors_config, which the server relied on: record anew")

	s = spicetest.Start(t, (&spicetest.Conversation{Recordings: []*spicetest.Recording{displayRecording()}}).Config())
	require.NoError(t, converse(t, s, wire.Caps{3}, deafTap{}, 1), "more is no harm")
}

func TestLoadReadsZippedRecordingsInOrder(t *testing.T) {
	dir := t.TempDir()
	_, err := spicetest.Load(dir)
	assert.ErrorContains(t, err, "no recording there")

	f, err := os.Create(filepath.Join(dir, "a.txt.gz"))
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(displayText))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
	main := &spicetest.Recording{Link: wire.LinkInfo{Channel: mainChannel}, Messages: []spicetest.Recorded{
		{Header: wire.Header{Type: 103}, Body: (&wire.MainInit{SessionID: 99}).Append(nil)}}}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.txt"), main.Append(nil), 0o644))
	c, err := spicetest.Load(dir)
	require.NoError(t, err)
	require.Len(t, c.Recordings, 2)
	assert.Equal(t, mainChannel, c.Recordings[0].Link.Channel)
	assert.EqualValues(t, 99, c.Config().SessionID)
	assert.NotNil(t, c.Config().CommonCaps, "no capabilities recorded are none, not the default")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.txt"), main.Append(nil), 0o644))
	_, err = spicetest.Load(dir)
	assert.ErrorContains(t, err, "two recordings of main:0")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.txt"), []byte("x\n"), 0o644))
	_, err = spicetest.Load(dir)
	assert.ErrorContains(t, err, "c.txt: spicetest: recording: line 1")
}

func TestARecorderReportsWhatItCouldNotWrite(t *testing.T) {
	_, err := spicetest.NewRecorder(spicetest.RecorderConfig{Dir: filepath.Join(t.TempDir(), "x"), Comments: []string{"a\nb"}})
	assert.ErrorContains(t, err, "more than one line")
	dir := t.TempDir()
	rec, err := spicetest.NewRecorder(spicetest.RecorderConfig{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "main-0.txt"), 0o755))
	rec.Tap(mainChannel).Linked(wire.LinkInfo{Channel: mainChannel})
	second := rec.Tap(mainChannel)
	second.Linked(wire.LinkInfo{Channel: mainChannel})
	assert.FileExists(t, filepath.Join(dir, "main-0.2.txt"))
	assert.ErrorContains(t, rec.Close(), "is a directory")
	second.Message(wire.FromServer, wire.Header{}, nil) // after Close: nothing happens
}

func FuzzParseRecording(f *testing.F) {
	f.Add([]byte(displayText))
	f.Add((&spicetest.Recording{Link: wire.LinkInfo{Channel: mainChannel}}).Append(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := spicetest.ParseRecording(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := spicetest.ParseRecording(bytes.NewReader(r.Append(nil)))
		require.NoError(t, err)
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}
