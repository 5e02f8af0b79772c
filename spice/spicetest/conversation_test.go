package spicetest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

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
	rec, err := recording.NewRecorder(recording.Config{Dir: dir, Secrets: []string{"", "hunter2"},
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
	display := &recording.Channel{
		Link: wire.LinkInfo{Channel: displayChannel, ConnectionID: 7, Client: wire.CapSets{Channel: wire.Caps{2}}},
		Messages: []recording.Message{
			{From: wire.FromClient, Header: wire.Header{Type: 101}, Body: (&wire.DisplayInit{}).Append(nil)},
			{Header: wire.Header{Type: 102}},
		},
	}
	s, err := spicetest.NewServer((&spicetest.Conversation{Recordings: []*recording.Channel{display}}).Config())
	require.NoError(t, err)
	assert.Error(t, converse(t, s, wire.Caps{1}, deafTap{}, 1), "the server hangs up")
	assert.ErrorContains(t, s.Close(), "the client no longer announces monitors_config, which the server relied on: record it again")

	s = spicetest.Start(t, (&spicetest.Conversation{Recordings: []*recording.Channel{display}}).Config())
	require.NoError(t, converse(t, s, wire.Caps{3}, deafTap{}, 1), "more is no harm")
}

func TestTheServerThatPlaysIsTheOneThatWasRecorded(t *testing.T) {
	main := &recording.Channel{Link: wire.LinkInfo{Channel: mainChannel}, Messages: []recording.Message{
		{Header: wire.Header{Type: 103}, Body: (&wire.MainInit{SessionID: 99}).Append(nil)}}}
	cfg := (&spicetest.Conversation{Recordings: []*recording.Channel{main}}).Config()
	assert.EqualValues(t, 99, cfg.SessionID)
	assert.NotNil(t, cfg.CommonCaps, "no capabilities recorded are none, not the default")
}
