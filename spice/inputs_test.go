package spice_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestKeysGoOverTheWireFirstByteLowest(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	p := s.peer(inputsID)
	for _, tc := range []struct {
		code     uint16
		down, up uint32
	}{
		{0x1c, 0x1c, 0x9c},
		{0x01, 0x01, 0x81},
		{0x7f, 0x7f, 0xff},
		{0xe04b, 0x4be0, 0xcbe0},
		{0xe01d, 0x1de0, 0x9de0},
	} {
		require.NoError(t, c.Key(t.Context(), tc.code, true))
		require.NoError(t, c.Key(t.Context(), tc.code, false))
		p.want(&wire.InputsKeyDown{Code: tc.down})
		p.want(&wire.InputsKeyUp{Code: tc.up})
	}
	for _, code := range []uint16{0, 0x80, 0xe000, 0xe0ff, 0x4be0, 0x101} {
		require.ErrorContains(t, c.Key(t.Context(), code, true), "is not a make code", "%#x", code)
	}
}

func TestKeysNeedTheInputsChannel(t *testing.T) {
	s := serve(t)
	c := s.dial(spice.Config{})
	require.EqualError(t, c.Key(t.Context(), 0x1c, true), "spice: inputs:0: inputs.key_down: the channel is not open")
}

func TestLockKeysAreHeardAndSet(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	p := s.peer(inputsID)
	p.send(&wire.InputsInit{Modifiers: wire.ModifierNumLock})
	p.sync()
	require.Equal(t, wire.ModifierNumLock, c.Modifiers())
	p.send(&wire.InputsKeyModifiers{Modifiers: wire.ModifierCapsLock})
	p.sync()
	require.Equal(t, wire.ModifierCapsLock, c.Modifiers())
	require.NoError(t, c.SetModifiers(t.Context(), wire.ModifierScrollLock))
	p.want(&wire.InputsClientKeyModifiers{Modifiers: wire.ModifierScrollLock})
}

func TestMouseMovesWaitForTheirAcknowledgement(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	p := s.peer(inputsID)
	require.NoError(t, c.MouseButton(t.Context(), wire.ButtonLeft, true))
	p.want(&wire.InputsMousePress{Button: wire.ButtonLeft, Buttons: 1})
	for i := range 8 {
		require.NoError(t, c.MouseMove(t.Context(), i, -i))
		p.want(&wire.InputsMouseMotion{DX: int32(i), DY: int32(-i), Buttons: 1})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.MouseMove(ctx, 1, 1), context.Canceled, "eight are under way")
	moved := make(chan error)
	go func() { moved <- c.MousePosition(context.Background(), 2, 100, 200) }()
	p.send(&wire.InputsMouseMotionAck{})
	require.NoError(t, <-moved)
	p.want(&wire.InputsMousePosition{X: 100, Y: 200, Buttons: 1, Display: 2})
	require.NoError(t, c.MouseButton(t.Context(), wire.ButtonLeft, false))
	p.want(&wire.InputsMouseRelease{Button: wire.ButtonLeft})
	require.Error(t, c.MousePosition(t.Context(), 0, -1, 0))
}

func TestMouseMovesThatAreNotSentDoNotWaitForTheirAcknowledgement(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	over, cancel := contextCanceled()
	defer cancel()
	for range 20 {
		require.ErrorIs(t, c.MouseMove(over, 1, 1), context.Canceled)
	}
	require.NoError(t, c.MouseMove(t.Context(), 2, 3))
	s.peer(inputsID).want(&wire.InputsMouseMotion{DX: 2, DY: 3})

	s = serve(t)
	c = s.dial(spice.Config{})
	for range 20 {
		require.EqualError(t, c.MouseMove(t.Context(), 1, 1), "spice: inputs:0: inputs.mouse_motion: the channel is not open")
	}
}

func TestAButtonThatWasNotPressedIsNotDownInLaterMoves(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	p := s.peer(inputsID)
	over, cancel := contextCanceled()
	defer cancel()
	require.ErrorIs(t, c.MouseButton(over, wire.ButtonLeft, true), context.Canceled)
	require.NoError(t, c.MouseMove(t.Context(), 2, 3))
	p.want(&wire.InputsMouseMotion{DX: 2, DY: 3})
	require.NoError(t, c.MouseButton(t.Context(), wire.ButtonLeft, true))
	p.want(&wire.InputsMousePress{Button: wire.ButtonLeft, Buttons: wire.ButtonLeft.Mask()})
	require.ErrorIs(t, c.MouseButton(over, wire.ButtonLeft, false), context.Canceled)
	require.NoError(t, c.MouseMove(t.Context(), 2, 3))
	p.want(&wire.InputsMouseMotion{DX: 2, DY: 3, Buttons: wire.ButtonLeft.Mask()})
}

func TestClientMouseModeIsAskedForWhereItIsSupported(t *testing.T) {
	s := serve(t, inputsID)
	s.init.SupportedMouseModes = wire.MouseModeServer | wire.MouseModeClient
	c := s.dial(spice.Config{})
	m := s.peer(mainID)
	m.want(&wire.MainMouseModeRequest{Mode: wire.MouseModeClient})
	m.want(&wire.MainAttachChannels{})
	m.send(&wire.MainMouseMode{Supported: s.init.SupportedMouseModes, Current: wire.MouseModeClient})
	m.sync()
	require.Equal(t, wire.MouseModeClient, c.MainState().MouseMode)
}

func TestNameAndUUIDAreTold(t *testing.T) {
	s := serve(t)
	c := s.dial(spice.Config{})
	m := s.peer(mainID)
	m.send(&wire.MainName{Name: "beacon-1"}, &wire.MainUUID{UUID: [16]byte{1, 2, 3}})
	m.sync()
	require.Equal(t, "beacon-1", c.MainState().Name)
	require.Equal(t, [16]byte{1, 2, 3}, c.MainState().UUID)
}

// agentCaps is what the agent of these tests can do.
var agentCaps = wire.MakeCaps(wire.AgentCapClipboardByDemand, wire.AgentCapClipboardSelection, wire.AgentCapMonitorsConfig)

// agent reads one message for the agent, put together from its pieces.
func (p *peer) agent(in *wire.AgentAssembler) wire.AgentMessage {
	p.t.Helper()
	for {
		data, ok := p.next().(*wire.MainClientAgentData)
		require.True(p.t, ok, "agent data wanted")
		done, err := in.Write(data.Data)
		require.NoError(p.t, err)
		if len(done) > 0 {
			m, err := wire.DecodeAgent(done[0], agentCaps)
			require.NoError(p.t, err)
			return m
		}
	}
}

func (p *peer) fromAgent(m wire.AgentMessage) {
	p.t.Helper()
	for _, piece := range wire.AgentChunks(wire.AppendAgent(nil, m, agentCaps)) {
		p.send(&wire.MainAgentData{Data: piece})
	}
}

// withAgent starts a session whose agent has introduced itself.
func withAgent(t *testing.T, tokens uint32) (*spice.Client, *peer, *wire.AgentAssembler) {
	s := serve(t)
	s.init.AgentConnected, s.init.AgentTokens = 1, tokens
	c := s.dial(spice.Config{})
	m := s.peer(mainID)
	in := &wire.AgentAssembler{}
	m.want(&wire.MainAgentStart{Tokens: math.MaxUint32})
	announce := m.agent(in).(*wire.AgentAnnounceCapabilities)
	require.True(t, announce.Request)
	require.True(t, announce.Caps.Has(wire.AgentCapClipboardByDemand))
	m.want(&wire.MainAttachChannels{})
	m.fromAgent(&wire.AgentAnnounceCapabilities{Request: true, Caps: agentCaps})
	reply := m.agent(in).(*wire.AgentAnnounceCapabilities)
	require.False(t, reply.Request)
	require.True(t, c.MainState().AgentConnected)
	caps, ok := c.AgentReady()
	require.True(t, ok)
	require.Equal(t, agentCaps.AgentNames(), caps.AgentNames())
	return c, m, in
}

func TestTheGuestFetchesWhatIsPutOnItsClipboard(t *testing.T) {
	c, m, in := withAgent(t, 100)
	text := map[wire.ClipboardType][]byte{wire.ClipboardUTF8: []byte("hello")}
	require.NoError(t, c.ClipboardSet(t.Context(), wire.SelectionClipboard, text))
	require.Equal(t, &wire.AgentClipboardGrab{Types: []wire.ClipboardType{wire.ClipboardUTF8}}, m.agent(in))
	m.fromAgent(&wire.AgentClipboardRequest{Type: wire.ClipboardUTF8})
	require.Equal(t, &wire.AgentClipboard{Type: wire.ClipboardUTF8, Data: []byte("hello")}, m.agent(in))
	m.fromAgent(&wire.AgentClipboardRequest{Type: wire.ClipboardPNG})
	require.Equal(t, wire.ClipboardNone, m.agent(in).(*wire.AgentClipboard).Type)
	m.fromAgent(&wire.AgentClipboardGrab{Types: []wire.ClipboardType{wire.ClipboardUTF8}})
	m.fromAgent(&wire.AgentClipboardRequest{Type: wire.ClipboardUTF8})
	require.Equal(t, wire.ClipboardNone, m.agent(in).(*wire.AgentClipboard).Type, "the guest has taken the clipboard over")
}

func TestTheClipboardOfTheGuestIsFetchedOnDemand(t *testing.T) {
	c, m, in := withAgent(t, 100)
	got, err := c.ClipboardGet(t.Context(), wire.SelectionClipboard, wire.ClipboardUTF8)
	require.NoError(t, err)
	require.Empty(t, got, "the guest has nothing")
	m.fromAgent(&wire.AgentClipboardGrab{Types: []wire.ClipboardType{wire.ClipboardUTF8}})
	m.sync()
	content := bytes.Repeat([]byte("0123456789"), 1000) // several pieces
	type result struct {
		data []byte
		err  error
	}
	results := make(chan result)
	for range 2 { // the second asks afresh
		go func() {
			data, err := c.ClipboardGet(context.Background(), wire.SelectionClipboard, wire.ClipboardUTF8)
			results <- result{data, err}
		}()
		require.Equal(t, &wire.AgentClipboardRequest{Type: wire.ClipboardUTF8}, m.agent(in))
		m.fromAgent(&wire.AgentClipboard{Type: wire.ClipboardUTF8, Data: content})
		require.Equal(t, result{content, nil}, <-results)
	}
	go func() {
		data, err := c.ClipboardGet(context.Background(), wire.SelectionClipboard, wire.ClipboardUTF8)
		results <- result{data, err}
	}()
	m.agent(in)
	m.send(&wire.MainAgentDisconnected{})
	require.Equal(t, result{nil, spice.ErrAgent}, <-results)
}

func TestEachRequestForTheClipboardGetsItsOwnAnswer(t *testing.T) {
	c, m, in := withAgent(t, 100)
	kinds := []wire.ClipboardType{wire.ClipboardUTF8, wire.ClipboardPNG}
	m.fromAgent(&wire.AgentClipboardGrab{Types: kinds})
	m.sync()
	type result struct {
		data []byte
		err  error
	}
	var results []chan result
	for _, kind := range kinds {
		got := make(chan result, 1)
		results = append(results, got)
		go func() {
			data, err := c.ClipboardGet(context.Background(), wire.SelectionClipboard, kind)
			got <- result{data, err}
		}()
		require.Equal(t, &wire.AgentClipboardRequest{Type: kind}, m.agent(in))
	}
	m.fromAgent(&wire.AgentClipboard{Type: wire.ClipboardNone})
	require.Equal(t, result{[]byte{}, nil}, <-results[0])
	m.fromAgent(&wire.AgentClipboard{Type: wire.ClipboardPNG, Data: []byte("picture")})
	require.Equal(t, result{[]byte("picture"), nil}, <-results[1])
}

func TestARequestForTheClipboardEndsWithTheAgentThatGotIt(t *testing.T) {
	c, m, in := withAgent(t, 100)
	m.fromAgent(&wire.AgentClipboardGrab{Types: []wire.ClipboardType{wire.ClipboardUTF8}})
	m.sync()
	failed := make(chan error)
	go func() {
		_, err := c.ClipboardGet(context.Background(), wire.SelectionClipboard, wire.ClipboardUTF8)
		failed <- err
	}()
	m.agent(in)
	// The observer holds the reader up until both messages are there: nobody sees the state between.
	both := make(chan struct{})
	c.Observe(func(e spice.Event) {
		if e, ok := e.(spice.Notified); ok && e.Text == "hold on" {
			<-both
		}
	})
	m.send(&wire.Notify{Message: "hold on"}, &wire.MainAgentDisconnected{}, &wire.MainAgentConnectedTokens{Tokens: 100})
	close(both)
	require.ErrorIs(t, <-failed, spice.ErrAgent)
}

func TestPiecesForTheAgentWaitForTokens(t *testing.T) {
	c, m, in := withAgent(t, 3) // two are spent on the introduction
	big := map[wire.ClipboardType][]byte{wire.ClipboardUTF8: bytes.Repeat([]byte("x"), 5000)}
	require.NoError(t, c.ClipboardSet(t.Context(), wire.SelectionClipboard, big))
	m.agent(in)
	m.fromAgent(&wire.AgentClipboardRequest{Type: wire.ClipboardUTF8})
	m.sync() // nothing but the pong comes: no tokens
	m.send(&wire.MainAgentToken{Tokens: 1})
	first := m.next().(*wire.MainClientAgentData)
	require.Len(t, first.Data, wire.MaxAgentChunk)
	m.sync()
	m.send(&wire.MainAgentToken{Tokens: 10})
	in.Write(first.Data)
	require.Equal(t, &wire.AgentClipboard{Type: wire.ClipboardUTF8, Data: big[wire.ClipboardUTF8]}, m.agent(in))
}

func TestMonitorsAreAskedForThroughTheAgent(t *testing.T) {
	c, m, in := withAgent(t, 100)
	monitors := []wire.AgentMonitor{{Width: 800, Height: 600, Depth: 32}}
	require.NoError(t, c.SetMonitors(t.Context(), monitors))
	require.Equal(t, &wire.AgentMonitorsConfig{Monitors: monitors}, m.agent(in))
}

func TestWithoutAnAgentItsCallsSaySo(t *testing.T) {
	s := serve(t)
	c := s.dial(spice.Config{})
	_, err := c.ClipboardGet(t.Context(), 0, wire.ClipboardUTF8)
	require.ErrorIs(t, err, spice.ErrAgent)
	require.ErrorIs(t, c.ClipboardSet(t.Context(), 0, nil), spice.ErrAgent)
	require.ErrorIs(t, c.SetMonitors(t.Context(), nil), spice.ErrAgent)
	var states []bool
	c.Observe(func(e spice.Event) {
		if e, ok := e.(spice.AgentChanged); ok {
			states = append(states, e.Connected)
		}
	})
	m := s.peer(mainID)
	m.send(&wire.MainAgentConnectedTokens{Tokens: 5}, &wire.MainAgentDisconnected{}, &wire.MainAgentConnected{})
	m.sync()
	require.Equal(t, []bool{true, false, true}, states)
	// This agent never says what it can do.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.SetMonitors(ctx, nil), context.Canceled)
}

// hold makes connections that take nothing while on is set.
type hold struct {
	on      atomic.Bool
	release chan struct{} // closed to let writes through
}

func (h *hold) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &heldConn{Conn: conn, hold: h, closed: make(chan struct{})}, err
}

type heldConn struct {
	net.Conn
	hold   *hold
	once   sync.Once
	closed chan struct{}
}

func (c *heldConn) Write(b []byte) (int, error) {
	if c.hold.on.Load() {
		select {
		case <-c.hold.release:
		case <-c.closed:
		}
	}
	return c.Conn.Write(b)
}

func (c *heldConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A server that takes nothing holds up every write until the context ends; what was being written then goes on.
func TestSendingEndsWithItsContextAndLeavesTheSessionWhole(t *testing.T) {
	s := serve(t, inputsID)
	h := &hold{release: make(chan struct{})}
	c := s.dial(spice.Config{DialFunc: h.dial})
	p, m := s.peer(inputsID), s.peer(mainID)
	m.want(&wire.MainAttachChannels{})
	m.send(&wire.MainAgentConnectedTokens{Tokens: 5})
	m.want(&wire.MainAgentStart{Tokens: math.MaxUint32})
	m.next() // the client's capabilities
	caps := wire.AppendAgent(nil, &wire.AgentAnnounceCapabilities{Caps: wire.MakeCaps(wire.AgentCapMonitorsConfig)}, nil)
	m.send(&wire.MainAgentData{Data: caps})
	m.sync()
	h.on.Store(true)
	bored := errors.New("bored")
	for name, call := range map[string]func(context.Context) error{
		"key":       func(ctx context.Context) error { return c.Key(ctx, 0x1c, true) },
		"button":    func(ctx context.Context) error { return c.MouseButton(ctx, wire.ButtonLeft, true) },
		"modifiers": func(ctx context.Context) error { return c.SetModifiers(ctx, wire.ModifierCapsLock) },
		"position":  func(ctx context.Context) error { return c.MousePosition(ctx, 0, 1, 2) },
		"motion":    func(ctx context.Context) error { return c.MouseMove(ctx, 1, 2) },
		"monitors":  func(ctx context.Context) error { return c.SetMonitors(ctx, []wire.AgentMonitor{{Width: 1, Height: 1}}) },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := time.AfterFunc(5*time.Millisecond, func() { cancel(bored) })
		require.ErrorIs(t, call(ctx), bored, name)
		stop.Stop()
		require.ErrorIs(t, call(ctx), bored, "%s with a context that is over", name)
	}
	h.on.Store(false)
	close(h.release)
	require.NoError(t, c.SetModifiers(t.Context(), wire.ModifierScrollLock))
	// One message was being written when its context ended. The others were waiting for their turn, and are gone.
	first := p.next()
	require.NotEqual(t, &wire.InputsClientKeyModifiers{Modifiers: wire.ModifierScrollLock}, first)
	p.want(&wire.InputsClientKeyModifiers{Modifiers: wire.ModifierScrollLock})
	p.sync()
	m.sync()
}

func TestCloseEndsAWriteThatNobodyWaitsForAnyMore(t *testing.T) {
	s := serve(t, inputsID)
	h := &hold{release: make(chan struct{})}
	c := s.dial(spice.Config{DialFunc: h.dial})
	h.on.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*time.Millisecond, cancel)
	require.ErrorIs(t, c.Key(ctx, 0x1c, true), context.Canceled)
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Key(t.Context(), 0x1c, true), spice.ErrClosed)
}
