package spice

import (
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// MainState is what the main channel has reported. It is a copy.
type MainState struct {
	// ConnectionID is the server's number for this session.
	ConnectionID uint32
	Name         string   // the guest's; empty if the server does not report it
	UUID         [16]byte // the guest's; zero if the server does not report it
	// MouseModes are the supported modes, MouseMode is the current one.
	MouseModes, MouseMode wire.MouseMode
	AgentConnected        bool
	// MultiMediaTime is the server's clock in milliseconds, as last reported.
	MultiMediaTime uint32
	// Offered has every channel that the server offers, opened or not.
	Offered []wire.ChannelID
}

// mainState is what the main channel has reported.
type mainState struct {
	mu       sync.Mutex
	session  MainState
	offered  []wire.ChannelID
	listed   bool
	mediaAt  time.Time // when session.MultiMediaTime was reported
	lastPing time.Time
	latency  time.Duration
	target   *wire.MigrationTarget // of a migration that has begun; otherwise nil
}

// Session is the old name of MainState.
//
// Deprecated: use MainState.
type Session = MainState

// Session returns what MainState returns.
//
// Deprecated: use MainState.
func (c *Client) Session() MainState { return c.MainState() }

// MainState returns what the main channel has reported so far.
func (c *Client) MainState() MainState {
	c.main.mu.Lock()
	defer c.main.mu.Unlock()
	s := c.main.session
	s.Offered = slices.Clone(c.main.offered)
	return s
}

// Latency returns the time between the last two pings of the server on the main channel; 0 before
// the second one.
func (c *Client) Latency() time.Duration {
	c.main.mu.Lock()
	defer c.main.mu.Unlock()
	return c.main.latency
}

// mediaTime returns the server's multimedia clock at a time, in milliseconds.
func (s *mainState) mediaTime(at time.Time) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session.MultiMediaTime + uint32(at.Sub(s.mediaAt).Milliseconds())
}

// pinged records a ping of the server.
func (s *mainState) pinged(c *Client, at time.Time) {
	s.mu.Lock()
	last := s.lastPing
	s.lastPing = at
	if last.IsZero() {
		s.mu.Unlock()
		return
	}
	s.latency = at.Sub(last)
	e := Latency{Interval: s.latency, At: at}
	s.mu.Unlock()
	c.observers.emit(e)
}

// mainChannel interprets the main channel.
type mainChannel struct {
	ch *channel
	c  *Client
}

func (m *mainChannel) begin() error { return nil }

func (m *mainChannel) handle(msg wire.ServerMessage, in *incoming) error {
	s := &m.c.main
	switch msg := msg.(type) {
	case *wire.MainInit:
		s.mu.Lock()
		s.session.ConnectionID = msg.SessionID
		s.session.MultiMediaTime, s.mediaAt = msg.MultiMediaTime, in.received
		s.mu.Unlock()
		if err := m.mouseMode(msg.SupportedMouseModes, msg.CurrentMouseMode); err != nil {
			return err
		}
		if msg.AgentConnected != 0 {
			if err := m.agentConnected(msg.AgentTokens); err != nil {
				return err
			}
		}
		return m.ch.send(&wire.MainAttachChannels{})
	case *wire.MainChannelsList:
		s.mu.Lock()
		s.offered = slices.Clone(msg.Channels)
		s.listed = true
		s.mu.Unlock()
		m.c.notifier.notify()
		return nil
	case *wire.MainMouseMode:
		return m.mouseMode(msg.Supported, msg.Current)
	case *wire.MainMultiMediaTime:
		s.mu.Lock()
		s.session.MultiMediaTime, s.mediaAt = msg.Time, in.received
		s.mu.Unlock()
		return nil
	case *wire.MainName:
		s.mu.Lock()
		s.session.Name = msg.Name
		s.mu.Unlock()
		return nil
	case *wire.MainUUID:
		s.mu.Lock()
		s.session.UUID = msg.UUID
		s.mu.Unlock()
		return nil
	case *wire.MainAgentConnected:
		return m.agentConnected(0)
	case *wire.MainAgentConnectedTokens:
		return m.agentConnected(msg.Tokens)
	case *wire.MainAgentDisconnected:
		m.agentGone()
		return nil
	case *wire.MainAgentToken:
		return m.granted(msg.Tokens)
	case *wire.MainAgentData:
		return m.agentData(msg.Data)
	case *wire.MainMigrateBegin:
		return m.migrationBegins(msg.Target)
	case *wire.MainMigrateBeginSeamless:
		return m.migrationBegins(msg.Target)
	case *wire.MainMigrateCancel:
		s.mu.Lock()
		s.target = nil
		s.mu.Unlock()
		return nil
	case *wire.MainMigrateEnd:
		return s.moved()
	case *wire.MainMigrateSwitchHost:
		return migratedTo(msg.Target)
	}
	m.c.miss("message " + msg.MessageName())
	return nil
}

// migrationBegins records where the guest is moving, and declines to migrate with it. The client
// announces neither seamless nor semi-seamless migration, so servers should not ask. If one does,
// the answer lets it continue and switch the client to the other host at the end.
func (m *mainChannel) migrationBegins(target wire.MigrationTarget) error {
	s := &m.c.main
	s.mu.Lock()
	s.target = &target
	s.mu.Unlock()
	return m.ch.send(&wire.MainMigrateConnectError{})
}

// moved returns the error that ends a session whose guest has arrived at the target of the last
// migration.
func (s *mainState) moved() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.target == nil {
		return protocolErrorf("the end of a migration that did not begin")
	}
	return migratedTo(*s.target)
}

func migratedTo(t wire.MigrationTarget) error {
	return &MigratedError{Host: t.Host, Port: portOf(t.Port), TLSPort: portOf(t.SecurePort), HostSubject: t.CertSubject}
}

// portOf returns a port of a migration's target. QEMU sends -1, in 16 bits, for an absent one.
func portOf(p uint16) int {
	if p == 0xffff {
		return 0
	}
	return int(p)
}

// mouseMode records the mode. If possible, it asks the server for positions instead of motion.
func (m *mainChannel) mouseMode(supported, current wire.MouseMode) error {
	s := &m.c.main
	s.mu.Lock()
	changed := s.session.MouseMode != current
	s.session.MouseModes, s.session.MouseMode = supported, current
	s.mu.Unlock()
	if changed {
		m.c.observers.emit(MouseModeChanged{Client: current == wire.MouseModeClient})
		m.c.notifier.notify()
	}
	if supported&wire.MouseModeClient != 0 && current != wire.MouseModeClient {
		return m.ch.send(&wire.MainMouseModeRequest{Mode: wire.MouseModeClient})
	}
	return nil
}
