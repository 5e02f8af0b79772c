package spice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/spicelane/spicelane/spice/wire"
)

// agentCaps are the capabilities that this side announces to the guest's agent.
var agentCaps = wire.MakeCaps(
	wire.AgentCapMonitorsConfig, wire.AgentCapReply, wire.AgentCapClipboardByDemand, wire.AgentCapClipboardSelection,
	wire.AgentCapSparseMonitorsConfig, wire.AgentCapMonitorsConfigPosition,
)

// maxAgentQueue limits the data that waits for the agent to accept it, in bytes.
const maxAgentQueue = 2 * wire.DefaultMaxAgentMessage

// agentState is the conversation with the guest's agent.
type agentState struct {
	mu        sync.Mutex
	connected bool
	tokens    uint64    // messages that may still be sent
	caps      wire.Caps // of both sides
	announced bool      // the agent has sent its capabilities
	queue     [][]byte
	queued    int           // bytes in queue
	turn      chan struct{} // holds a value while pieces are sent, or the conversation begins or ends; taken before mu
	in        wire.AgentAssembler

	offer map[wire.ClipboardSelection]map[wire.ClipboardType][]byte // what we offer to the guest
	guest map[wire.ClipboardSelection][]wire.ClipboardType          // what the guest offers to us
	asked []*clipRequest                                            // not answered yet, in their order
}

// clipRequest is a request for a clipboard of the guest. Its fields are guarded by agentState.mu.
type clipRequest struct {
	selection wire.ClipboardSelection
	kind      wire.ClipboardType
	answered  bool
	data      []byte
	gone      bool // the agent that was asked
}

// ClipboardGrabbed says that the guest has put something on a clipboard. Without Types, the
// clipboard is released.
type ClipboardGrabbed struct {
	Selection wire.ClipboardSelection
	Types     []wire.ClipboardType
}

func (ClipboardGrabbed) event() {}

func (m *mainChannel) agentConnected(tokens uint32) error {
	m.c.main.mu.Lock()
	m.c.main.session.AgentConnected = true
	m.c.main.mu.Unlock()
	if err := m.startAgent(tokens); err != nil {
		return err
	}
	m.c.observers.emit(AgentChanged{Connected: true})
	m.c.notifier.notify()
	return m.sendAgent(&wire.AgentAnnounceCapabilities{Request: true, Caps: agentCaps})
}

// startAgent begins a conversation with the agent. After the server gets this message, no piece of
// the previous conversation follows.
func (m *mainChannel) startAgent(tokens uint32) error {
	a := &m.c.agent
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	a.mu.Lock()
	a.reset()
	a.connected = true
	a.tokens = uint64(tokens)
	a.mu.Unlock()
	// Grant the server all tokens: the assembler limits what the agent may send.
	return m.ch.send(&wire.MainAgentStart{Tokens: math.MaxUint32})
}

func (m *mainChannel) agentGone() {
	a := &m.c.agent
	a.turn <- struct{}{}
	a.mu.Lock()
	a.reset()
	a.mu.Unlock()
	<-a.turn
	m.c.main.mu.Lock()
	m.c.main.session.AgentConnected = false
	m.c.main.mu.Unlock()
	m.c.observers.emit(AgentChanged{})
	m.c.notifier.notify()
}

// reset forgets the conversation. The caller holds mu.
func (a *agentState) reset() {
	a.connected, a.announced, a.tokens, a.caps = false, false, 0, nil
	a.queue, a.queued = nil, 0
	a.in.Reset()
	a.offer, a.guest = nil, nil
	for _, q := range a.asked {
		q.gone = true
	}
	a.asked = nil
}

// granted adds tokens.
func (m *mainChannel) granted(tokens uint32) error {
	a := &m.c.agent
	a.mu.Lock()
	a.tokens += uint64(tokens)
	a.mu.Unlock()
	return a.flush(m.ch)
}

// sendAgent queues a message for the agent and sends as much of the queue as the tokens allow. Only
// the main channel's reader calls it.
func (m *mainChannel) sendAgent(msg wire.AgentMessage) error {
	if err := m.c.agent.enqueue(msg, nil); err != nil {
		return err
	}
	return m.c.agent.flush(m.ch)
}

// askAgent does what sendAgent does, for a caller that is not one of the readers. If ctx ends
// first, askAgent returns, and the queue is still sent. request is not nil if msg is one for a
// clipboard.
func (c *Client) askAgent(ctx context.Context, msg wire.AgentMessage, request *clipRequest) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.ended(); err != nil {
		return err
	}
	ch := c.channel(mainID)
	if ch == nil {
		return ErrAgent
	}
	if err := c.agent.enqueue(msg, request); err != nil {
		return err
	}
	return c.await(ctx, func() error {
		if err := c.agent.flush(ch); err != nil {
			return c.unsent(mainID, "main.agent_data", err)
		}
		return nil
	}, nil)
}

func (a *agentState) enqueue(msg wire.AgentMessage, request *clipRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.connected {
		return ErrAgent
	}
	b := wire.AppendAgent(nil, msg, a.caps)
	if a.queued+len(b) > maxAgentQueue {
		return &LimitError{What: "bytes waiting for the agent", Got: int64(a.queued + len(b)), Want: maxAgentQueue}
	}
	a.queue = append(a.queue, wire.AgentChunks(b)...)
	a.queued += len(b)
	if request != nil {
		a.asked = append(a.asked, request)
	}
	return nil
}

// flush sends what the tokens allow. turn keeps the pieces in order; mu is not held during a write.
func (a *agentState) flush(ch *channel) error {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	for {
		piece := a.next()
		if piece == nil {
			return nil
		}
		if err := ch.send(&wire.MainClientAgentData{Data: piece}); err != nil {
			return err
		}
	}
}

// next removes the next piece that may be sent from the queue; nil if there is none.
func (a *agentState) next() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens == 0 || len(a.queue) == 0 {
		return nil
	}
	piece := a.queue[0]
	a.queue = a.queue[1:]
	a.queued -= len(piece)
	a.tokens--
	return piece
}

var mainID = wire.ChannelID{Type: wire.ChannelMain}

func (m *mainChannel) agentData(data []byte) error {
	a := &m.c.agent
	a.mu.Lock()
	done, err := a.in.Write(data)
	caps := a.caps
	a.mu.Unlock()
	if err != nil {
		return err
	}
	for _, raw := range done {
		msg, err := wire.DecodeAgent(raw, caps)
		if err != nil {
			return err
		}
		if err := m.agentMessage(msg); err != nil {
			// A disconnected agent does not end the session.
			if errors.Is(err, ErrAgent) {
				continue
			}
			return err
		}
		caps = m.c.agentCommon()
	}
	return nil
}

func (c *Client) agentCommon() wire.Caps {
	c.agent.mu.Lock()
	defer c.agent.mu.Unlock()
	return c.agent.caps
}

func (m *mainChannel) agentMessage(msg wire.AgentMessage) error {
	a := &m.c.agent
	switch msg := msg.(type) {
	case *wire.AgentAnnounceCapabilities:
		a.mu.Lock()
		a.caps = agentCaps.And(msg.Caps)
		a.announced = true
		a.mu.Unlock()
		m.c.notifier.notify()
		if msg.Request {
			return m.sendAgent(&wire.AgentAnnounceCapabilities{Caps: agentCaps})
		}
	case *wire.AgentClipboardGrab:
		m.grabbed(msg.Selection, slices.Clone(msg.Types))
	case *wire.AgentClipboardRelease:
		m.grabbed(msg.Selection, nil)
	case *wire.AgentClipboardRequest:
		a.mu.Lock()
		data, ok := a.offer[msg.Selection][msg.Type]
		a.mu.Unlock()
		kind := msg.Type
		if !ok {
			kind = wire.ClipboardNone
		}
		return m.sendAgent(&wire.AgentClipboard{Selection: msg.Selection, Type: kind, Data: data})
	case *wire.AgentClipboard:
		a.mu.Lock()
		// Agents answer in the order of the requests. An answer of no type says that there is
		// nothing of the requested one.
		for i, q := range a.asked {
			if q.selection == msg.Selection && (q.kind == msg.Type || msg.Type == wire.ClipboardNone) {
				q.answered, q.data = true, slices.Clone(msg.Data)
				a.asked = slices.Delete(a.asked, i, i+1)
				break
			}
		}
		a.mu.Unlock()
		m.c.notifier.notify()
	case *wire.AgentReply, *wire.AgentGraphicsDeviceInfo, *wire.AgentMouseState, *wire.AgentFileXferStatus, *wire.AgentMaxClipboard:
	default:
		m.c.miss("agent message " + msg.AgentType().String())
	}
	return nil
}

func (m *mainChannel) grabbed(s wire.ClipboardSelection, types []wire.ClipboardType) {
	a := &m.c.agent
	a.mu.Lock()
	if a.guest == nil {
		a.guest = map[wire.ClipboardSelection][]wire.ClipboardType{}
	}
	a.guest[s] = types
	delete(a.offer, s) // the side that grabbed last has the clipboard
	a.mu.Unlock()
	m.c.observers.emit(ClipboardGrabbed{Selection: s, Types: types})
	m.c.notifier.notify()
}

// AgentReady reports whether the guest's agent is connected and has sent its capabilities. caps are
// those that both sides have.
func (c *Client) AgentReady() (caps wire.Caps, ok bool) {
	a := &c.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.caps.Clone(), a.connected && a.announced
}

// ClipboardSet offers content to the guest, by type. The guest fetches it when something is pasted
// there. ClipboardSet waits for the agent's capabilities until ctx ends. Without an agent it
// returns ErrAgent at once.
func (c *Client) ClipboardSet(ctx context.Context, s wire.ClipboardSelection, content map[wire.ClipboardType][]byte) error {
	if err := c.awaitAgent(ctx); err != nil {
		return err
	}
	types := make([]wire.ClipboardType, 0, len(content))
	copied := map[wire.ClipboardType][]byte{}
	for t, data := range content {
		if len(data) > wire.DefaultMaxAgentMessage/2 {
			return &LimitError{What: "bytes for the guest's clipboard", Got: int64(len(data)), Want: wire.DefaultMaxAgentMessage / 2}
		}
		types = append(types, t)
		copied[t] = slices.Clone(data)
	}
	slices.Sort(types)
	a := &c.agent
	a.mu.Lock()
	if a.offer == nil {
		a.offer = map[wire.ClipboardSelection]map[wire.ClipboardType][]byte{}
	}
	a.offer[s] = copied
	a.mu.Unlock()
	return c.askAgent(ctx, &wire.AgentClipboardGrab{Selection: s, Types: types}, nil)
}

// ClipboardGet fetches the content of a guest's clipboard in type t, and waits for it until ctx
// ends. If the result is empty and there is no error, the guest has nothing of that type. Without
// an agent it returns ErrAgent.
func (c *Client) ClipboardGet(ctx context.Context, s wire.ClipboardSelection, t wire.ClipboardType) ([]byte, error) {
	if err := c.awaitAgent(ctx); err != nil {
		return nil, err
	}
	a := &c.agent
	a.mu.Lock()
	offered := slices.Contains(a.guest[s], t)
	a.mu.Unlock()
	if !offered {
		return nil, nil
	}
	q := &clipRequest{selection: s, kind: t}
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked = slices.DeleteFunc(a.asked, func(x *clipRequest) bool { return x == q })
	}()
	if err := c.askAgent(ctx, &wire.AgentClipboardRequest{Selection: s, Type: t}, q); err != nil {
		return nil, err
	}
	err := c.Await(ctx, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return q.answered || q.gone
	})
	if err != nil {
		return nil, fmt.Errorf("spice: waiting for the guest's clipboard: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !q.answered {
		return nil, ErrAgent
	}
	return q.data, nil
}

// SetMonitors asks the guest's agent to configure its monitors. It waits for the agent's
// capabilities until ctx ends; without an agent it returns ErrAgent. It does not wait for the
// change, which shows in Surfaces and Heads.
func (c *Client) SetMonitors(ctx context.Context, monitors []wire.AgentMonitor) error {
	if err := c.awaitAgent(ctx); err != nil {
		return err
	}
	return c.askAgent(ctx, &wire.AgentMonitorsConfig{Monitors: monitors}, nil)
}

// awaitAgent waits for a connected agent's capabilities.
func (c *Client) awaitAgent(ctx context.Context) error {
	connected := false
	err := c.Await(ctx, func() bool {
		c.agent.mu.Lock()
		defer c.agent.mu.Unlock()
		connected = c.agent.connected
		return !connected || c.agent.announced
	})
	if err != nil {
		return fmt.Errorf("spice: waiting for the agent's capabilities: %w", err)
	}
	if !connected {
		return ErrAgent
	}
	return nil
}
