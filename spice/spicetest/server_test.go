package spicetest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

var (
	mainChannel    = wire.ChannelID{Type: wire.ChannelMain}
	displayChannel = wire.ChannelID{Type: wire.ChannelDisplay}
)

// peer is a client's channel, by hand.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *wire.FrameReader
	out  *wire.FrameWriter
}

func dial(t *testing.T, s *spicetest.Server, cfg link.Config) (*peer, error) {
	t.Helper()
	conn, err := s.Dial(t.Context(), "tcp", "anywhere")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	if cfg.CommonCaps == nil {
		cfg.CommonCaps = link.CommonCaps
	}
	ch, err := link.Client(t.Context(), conn, cfg)
	if err != nil {
		return nil, err
	}
	frame := wire.FrameConfig{Mini: ch.Mini()}
	return &peer{t, conn, wire.NewFrameReader(conn, frame), wire.NewFrameWriter(conn, frame)}, nil
}

func (p *peer) send(m wire.ClientMessage) {
	p.t.Helper()
	require.NoError(p.t, p.out.WriteMessage(m))
}

func (p *peer) receive(channel wire.ChannelType) (wire.Header, wire.ServerMessage) {
	p.t.Helper()
	h, err := p.in.Next()
	require.NoError(p.t, err)
	body, err := p.in.Body(nil)
	require.NoError(p.t, err)
	m, err := wire.DecodeServer(channel, h.Type, body)
	require.NoError(p.t, err)
	return h, m
}

func TestAScriptSpeaksExpectsAndSyncs(t *testing.T) {
	s := spicetest.Start(t, spicetest.Config{Ticket: "s3cret", SessionID: 7, Scripts: map[wire.ChannelID]spicetest.Script{
		mainChannel: {Caps: wire.Caps{2}, Steps: []spicetest.Step{
			spicetest.Send(&wire.MainInit{SessionID: 7}, &wire.SetAck{Generation: 1, Window: 1}),
			spicetest.Expect(&wire.AckSync{Generation: 1}),
			spicetest.Expect(&wire.MainAttachChannels{}),
			spicetest.ExpectA(func(m *wire.MainClientInfo) error {
				if m.CacheSize != 5 {
					return errors.New("wrong size")
				}
				return nil
			}),
			spicetest.SendRaw(999, []byte{1, 2}),
			spicetest.Sync(),
			spicetest.Do("look around", func(c *spicetest.Channel) error {
				assert.True(t, c.Mini())
				assert.EqualValues(t, 0, c.Request.ConnectionID)
				return nil
			}),
			spicetest.AwaitHangUp(),
		}},
	}})
	p, err := dial(t, s, link.Config{Secret: "s3cret"})
	require.NoError(t, err)
	_, m := p.receive(wire.ChannelMain)
	assert.Equal(t, &wire.MainInit{SessionID: 7}, m)
	_, m = p.receive(wire.ChannelMain)
	assert.Equal(t, &wire.SetAck{Generation: 1, Window: 1}, m)
	p.send(&wire.AckSync{Generation: 1})
	p.send(&wire.Ack{}) // passed over
	p.send(&wire.MainAttachChannels{})
	p.send(&wire.MainClientInfo{CacheSize: 5})
	_, m = p.receive(wire.ChannelMain)
	assert.Equal(t, &wire.Unknown{Type: 999, Body: []byte{1, 2}}, m)
	_, m = p.receive(wire.ChannelMain)
	ping := m.(*wire.Ping)
	p.send(&wire.Pong{ID: ping.ID + 1})
	p.send(&wire.Pong{ID: ping.ID})
	require.NoError(t, p.conn.Close())
	require.NoError(t, s.AwaitScripts(t.Context(), 1))
	assert.Len(t, s.Received(mainChannel), 6)
	assert.Empty(t, s.Received(displayChannel))
}

func TestAServerRefusesLinks(t *testing.T) {
	s := spicetest.Start(t, spicetest.Config{Ticket: "right", SessionID: 7, Scripts: map[wire.ChannelID]spicetest.Script{
		mainChannel:                        {},
		{Type: wire.ChannelDisplay}:        {Refuse: wire.ResultNeedSecured},
		{Type: wire.ChannelDisplay, ID: 1}: {Deny: wire.ResultBadConnectionID},
	}})
	for _, tc := range []struct {
		cfg  link.Config
		want wire.Result
	}{
		{link.Config{Secret: "wrong"}, wire.ResultPermissionDenied},
		{link.Config{Secret: "right", ConnectionID: 8}, wire.ResultBadConnectionID},
		{link.Config{Secret: "right", Channel: wire.ChannelID{Type: wire.ChannelCursor}}, wire.ResultChannelNotAvailable},
		{link.Config{Secret: "right", Channel: wire.ChannelID{Type: wire.ChannelDisplay}}, wire.ResultNeedSecured},
		{link.Config{Secret: "right", Channel: wire.ChannelID{Type: wire.ChannelDisplay, ID: 1}}, wire.ResultBadConnectionID},
	} {
		_, err := dial(t, s, tc.cfg)
		var e *link.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, tc.want, e.Code)
	}
}

func TestWhatGoesWrongInAScriptNamesTheStep(t *testing.T) {
	for name, tc := range map[string]struct {
		steps []spicetest.Step
		do    func(p *peer)
		want  string
	}{
		"another message": {[]spicetest.Step{spicetest.Expect(&wire.MainClientInfo{CacheSize: 1})},
			func(p *peer) { p.send(&wire.MainClientInfo{CacheSize: 2}) },
			"spicetest: main:0: step 1 of 1 (expect main.client_info): got main.client_info {CacheSize:2}, want main.client_info {CacheSize:1}"},
		"another type": {[]spicetest.Step{spicetest.ExpectA[*wire.Pong](nil)},
			func(p *peer) { p.send(&wire.MainAttachChannels{}) },
			"spicetest: main:0: step 1 of 1 (expect a *wire.Pong): got main.attach_channels {}, want a *wire.Pong"},
		"an early end": {[]spicetest.Step{spicetest.Send(&wire.MainAgentConnected{}), spicetest.Expect(&wire.MainAttachChannels{})},
			func(p *peer) { p.receive(wire.ChannelMain); p.send(&wire.Ack{}); _ = p.conn.Close() },
			"step 2 of 2 (expect main.attach_channels): the client hung up: unexpected EOF (the last of 1 messages was ack {})"},
		"silence": {[]spicetest.Step{spicetest.Expect(&wire.MainAttachChannels{})}, func(*peer) {},
			"step 1 of 1 (expect main.attach_channels): i/o timeout (no message came before)"},
		"a malformed message": {[]spicetest.Step{spicetest.ExpectA[*wire.Pong](nil)},
			func(p *peer) { require.NoError(p.t, p.out.WriteRaw(wire.Header{Type: 3}, []byte{1})) },
			"(expect a *wire.Pong): wire: pong: at byte 0 of the body: want 4 bytes, 1 are left"},
	} {
		t.Run(name, func(t *testing.T) {
			// In a bubble the ten seconds of silence pass at once.
			synctest.Test(t, func(t *testing.T) {
				s, err := spicetest.NewServer(spicetest.Config{
					Scripts: map[wire.ChannelID]spicetest.Script{mainChannel: {Steps: tc.steps}}})
				require.NoError(t, err)
				p, err := dial(t, s, link.Config{})
				require.NoError(t, err)
				tc.do(p)
				assert.ErrorContains(t, s.AwaitScripts(t.Context(), 1), tc.want)
				assert.ErrorContains(t, s.Close(), tc.want)
			})
		})
	}
}

func TestIllegalBytesAreSentAsTheyAre(t *testing.T) {
	s := spicetest.Start(t, spicetest.Config{Scripts: map[wire.ChannelID]spicetest.Script{
		mainChannel: {Steps: []spicetest.Step{
			spicetest.Send(&wire.Pong{ID: 1}), // a client's message
			spicetest.SendBytes([]byte{1, 2, 3}),
			spicetest.HangUp(),
		}},
	}})
	p, err := dial(t, s, link.Config{})
	require.NoError(t, err)
	h, err := p.in.Next()
	require.NoError(t, err)
	assert.EqualValues(t, 3, h.Type)
	_, err = p.in.Next()
	assert.ErrorContains(t, err, "3 of 6 header bytes")
}

func TestAClientMayHangUpWhereTheScriptSaysSo(t *testing.T) {
	s := spicetest.Start(t, spicetest.Config{Scripts: map[wire.ChannelID]spicetest.Script{
		mainChannel: {MayHangUp: true, Steps: []spicetest.Step{spicetest.Expect(&wire.MainAttachChannels{})}},
	}})
	p, err := dial(t, s, link.Config{})
	require.NoError(t, err)
	require.NoError(t, p.conn.Close())
	require.NoError(t, s.AwaitScripts(t.Context(), 1))
}

func TestAServerHangsUpOnCueAndOverARealSocket(t *testing.T) {
	s := spicetest.Start(t, spicetest.Config{CommonCaps: wire.Caps{}, Scripts: map[wire.ChannelID]spicetest.Script{
		mainChannel: {Steps: []spicetest.Step{spicetest.Send(&wire.MainAgentConnected{}), spicetest.HangUp()}}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.ServeListener(l)
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	ch, err := link.Client(t.Context(), conn, link.Config{CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	require.False(t, ch.Mini(), "empty common capabilities are none")
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Len(t, got, wire.FullHeaderSize)
}

func TestAwaitScriptsSaysHowFarTheyCame(t *testing.T) {
	s := spicetest.Start(t, spicetest.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	assert.EqualError(t, s.AwaitScripts(ctx, 2), "spicetest: 0 of 2 scripts ended, 0 began: context deadline exceeded")
	require.NoError(t, s.Close())
	_, err := s.Dial(t.Context(), "", "")
	assert.ErrorIs(t, err, net.ErrClosed)
}
