package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// sessions are the sessions that are alive. Its mutex guards all fields of a session that change.
type sessions struct {
	limit, channelLimit, typeLimit int
	takeover                       Takeover

	mu      sync.Mutex
	byID    map[string]*session
	byToken map[tokenHash]*session
	onEmpty []chan struct{}
	closing bool // no session may be opened any more
}

// session has the channels of one client with one token.
type session struct {
	id    string
	token tokenHash
	grant
	client  string
	started time.Time
	order   uint64 // sessions are listed in order of arrival

	// ctx ends when the session does; every channel uses it.
	ctx context.Context
	end context.CancelFunc

	// The recording, if there is one: set before the main channel is relayed. Until then, secrets
	// has what must not appear in it, and both belong to the main channel's goroutine.
	recording *sessionRecording
	secrets   []string

	name         string // of the console, once known
	linked       bool   // the main channel was admitted
	connectionID uint32
	known        bool // connectionID is known: the console sent its MAIN_INIT
	mainEnded    bool
	channels     []*channel

	// Why and by whom the session was ended; the first reason stays.
	endReason Reason
	endedBy   string
	// What its ended channels have relayed.
	bytesFromClient, bytesFromServer uint64
}

// channel is one connection of a session, on both sides.
type channel struct {
	session *session
	name    string // of the console; set by the channel's goroutine when the channel is linked
	id      wire.ChannelID
	client  string
	started time.Time

	transport string // as in Event; set before the console is linked, by the channel's goroutine

	tap *boundedTap // nil if the session is not recorded; set before the channel is relayed

	fromClient, fromServer traffic
	relaying               atomic.Bool
	first                  end // the first end of its two directions
	silence                silence
	acks                   acks
	verdicts               verdicts
	farewell               atomic.Pointer[func(text string)] // of the main channel, once it relays
}

func newChannel(s *session, id wire.ChannelID, client string, now time.Time) *channel {
	ch := &channel{session: s, id: id, client: client, started: now}
	ch.silence.last.Store(now.UnixNano())
	return ch
}

// traffic counts one direction of a channel.
type traffic struct{ bytes, messages atomic.Uint64 }

// silence measures how long a channel relays nothing in either direction.
type silence struct{ last, longest atomic.Int64 } // Unix time and duration in ns

// broken records that data is passing.
func (s *silence) broken(now time.Time) {
	at := now.UnixNano()
	s.extend(at - s.last.Swap(at))
}

func (s *silence) extend(length int64) {
	for {
		longest := s.longest.Load()
		if length <= longest || s.longest.CompareAndSwap(longest, length) {
			return
		}
	}
}

// at returns how long the channel has been silent now, and its longest silence.
func (s *silence) at(now time.Time) (current, longest time.Duration) {
	current = max(0, time.Duration(now.UnixNano()-s.last.Load()))
	return current, max(current, time.Duration(s.longest.Load()))
}

// SessionInfo describes a live session.
type SessionInfo struct {
	ID       string        `json:"id"`
	Source   string        `json:"source"`
	UUID     string        `json:"uuid"`
	Name     string        `json:"name"`
	Viewer   string        `json:"viewer,omitempty"` // the viewer for whom the token was issued
	Client   string        `json:"client"`           // address of the main channel's client
	Started  time.Time     `json:"started"`
	Channels []ChannelInfo `json:"channels"`
}

// ChannelInfo describes one channel of a session. Data in flight is already counted.
type ChannelInfo struct {
	Channel            string    `json:"channel"` // as in "display:0"
	Client             string    `json:"client"`
	Started            time.Time `json:"started"`
	Relaying           bool      `json:"relaying"` // false until the console is linked
	BytesFromClient    uint64    `json:"bytes_from_client"`
	BytesFromServer    uint64    `json:"bytes_from_server"`
	MessagesFromClient uint64    `json:"messages_from_client"`
	MessagesFromServer uint64    `json:"messages_from_server"`
	// Unacknowledged is the number of messages from the server that the client has not
	// acknowledged; nil if the channel has no acknowledgements.
	Unacknowledged *uint64 `json:"unacknowledged,omitempty"`
	// SilenceMS and LongestSilenceMS are how long nothing was relayed in either direction: now, and
	// at most.
	SilenceMS        int64 `json:"silence_ms"`
	LongestSilenceMS int64 `json:"longest_silence_ms"`
}

var sessionOrder atomic.Uint64

// open makes a session, with its main channel as the first one, if there is room for one more and
// spend accepts the token. It ends with ctx.
func (ss *sessions) open(ctx context.Context, token tokenHash, client string, id wire.ChannelID, now time.Time,
	look, spend func() (grant, Reason)) (_ *channel, replaced []*session, _ Reason) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	// Check before using the token up: it must stay valid for another attempt.
	if ss.closing {
		return nil, nil, ReasonShutdown
	}
	if len(ss.byID) >= ss.limit {
		return nil, nil, ReasonTooManySessions
	}
	if g, refused := look(); refused == "" && ss.takeover != TakeoverShare {
		for _, other := range ss.byID {
			if other.source == g.source && other.uuid == g.uuid && !other.mainEnded && other.ctx.Err() == nil {
				replaced = append(replaced, other)
			}
		}
		if ss.takeover == TakeoverRefuse && len(replaced) > 0 {
			return nil, nil, ReasonConsoleTaken
		}
	}
	g, refused := spend()
	if refused != "" {
		return nil, nil, refused
	}
	var raw [12]byte
	rand.Read(raw[:])
	s := &session{id: hex.EncodeToString(raw[:]), token: token, grant: g, client: client,
		started: now, order: sessionOrder.Add(1)}
	s.ctx, s.end = context.WithCancel(ctx)
	ch := newChannel(s, id, client, now)
	s.channels = []*channel{ch}
	ss.byID[s.id] = s
	ss.byToken[token] = s
	return ch, replaced, ""
}

// join adds another channel to the session of a token. A refusal without a session means that the
// token has no live session.
func (ss *sessions) join(token tokenHash, connectionID uint32, client string, id wire.ChannelID, now time.Time) (*channel, *session, Reason) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.byToken[token]
	switch {
	case s == nil:
		return nil, nil, ReasonSessionOver
	case s.mainEnded || s.ctx.Err() != nil:
		return nil, s, ReasonSessionOver
	case !s.known || s.connectionID != connectionID:
		return nil, s, ReasonWrongConnectionID
	case id.Type == wire.ChannelMain:
		return nil, s, ReasonSecondMain
	}
	sameType := 0
	for _, c := range s.channels {
		if c.id.Type == id.Type {
			sameType++
		}
		if c.id == id && c.first.Load() == nil {
			return nil, s, ReasonChannelTaken
		}
	}
	if len(s.channels) >= ss.channelLimit || sameType >= ss.typeLimit {
		return nil, s, ReasonTooManyChannels
	}
	ch := newChannel(s, id, client, now)
	s.channels = append(s.channels, ch)
	return ch, s, ""
}

// of returns the sessions with a connection id; several consoles may have given out the same one.
func (ss *sessions) of(connectionID uint32) []*session {
	if connectionID == 0 {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var all []*session
	for _, s := range ss.byID {
		if s.known && s.connectionID == connectionID {
			all = append(all, s)
		}
	}
	return all
}

// learn records the connection id that the console gave to the session.
func (ss *sessions) learn(s *session, connectionID uint32) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.connectionID, s.known = connectionID, true
}

// markLinked records that a channel was admitted. It reports whether that opened the session.
func (ss *sessions) markLinked(s *session, name string) (opened bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	opened = !s.linked
	s.linked, s.name = true, name
	return opened
}

// leave removes a channel from its session. After the main channel, no new channels may join; after
// the last channel, the session has ended. It reports whether channels remain without a main
// channel, and whether this ended a session that had been opened.
func (ss *sessions) leave(ch *channel) (orphans, closed bool) {
	s := ch.session
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.channels = slices.DeleteFunc(s.channels, func(c *channel) bool { return c == ch })
	s.bytesFromClient += ch.fromClient.bytes.Load()
	s.bytesFromServer += ch.fromServer.bytes.Load()
	if ch.id.Type == wire.ChannelMain {
		s.mainEnded = true
		if e := ch.first.Load(); e != nil && s.endReason == "" {
			s.endReason, s.endedBy = e.reason, endedBy(e.reason)
		}
	}
	if len(s.channels) > 0 {
		return s.mainEnded, false
	}
	s.end()
	delete(ss.byID, s.id)
	delete(ss.byToken, s.token)
	if len(ss.byID) == 0 {
		for _, done := range ss.onEmpty {
			close(done)
		}
		ss.onEmpty = nil
	}
	return false, s.linked
}

// terminate ends a session for a reason. It reports whether there was one that had not ended. If
// possible at once, it sends the client a notice. The channels end by themselves.
func (ss *sessions) terminate(s *session, reason Reason, by string) bool {
	ss.mu.Lock()
	if s.ctx.Err() != nil || ss.byID[s.id] != s {
		ss.mu.Unlock()
		return false
	}
	if s.endReason == "" {
		s.endReason, s.endedBy = reason, by
	}
	var farewell func(text string)
	for _, ch := range s.channels {
		if f := ch.farewell.Load(); f != nil {
			farewell = *f
		}
	}
	ss.mu.Unlock()
	if text := farewells[reason]; farewell != nil && text != "" {
		farewell(text)
	}
	s.end()
	return true
}

// farewells are the notices to clients whose session is ended.
var farewells = map[Reason]string{
	ReasonDeleted:  "An operator has ended this session.",
	ReasonReplaced: "Another viewer has taken over this console.",
	ReasonShutdown: "The console proxy is shutting down.",
	ReasonFirewall: "The console proxy has ended this session: it carried a message that is not allowed.",
}

// empty returns a channel that is closed when no session is left. terminateAll must have been
// called.
func (ss *sessions) empty() <-chan struct{} {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	done := make(chan struct{})
	if len(ss.byID) == 0 {
		close(done)
	} else {
		ss.onEmpty = append(ss.onEmpty, done)
	}
	return done
}

// len returns how many sessions have channels, including ended ones.
func (ss *sessions) len() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.byID)
}

// get returns a session; nil if there is none with that id.
func (ss *sessions) get(id string) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byID[id]
}

// terminateAll ends every session for a reason, and lets nobody open another one.
func (ss *sessions) terminateAll(reason Reason, by string) {
	ss.mu.Lock()
	ss.closing = true
	all := slices.Collect(maps.Values(ss.byID))
	ss.mu.Unlock()
	// In parallel: the notice takes a moment for a client that does not read.
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() { ss.terminate(s, reason, by) })
	}
	wg.Wait()
}

// ending returns why a session ended and who ended it.
func (ss *sessions) ending(s *session) (Reason, string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return s.endReason, s.endedBy
}

func (ss *sessions) list(now time.Time) []SessionInfo {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	all := make([]*session, 0, len(ss.byID))
	for _, s := range ss.byID {
		if s.ctx.Err() == nil {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.order, b.order) })
	infos := make([]SessionInfo, len(all))
	for i, s := range all {
		channels := make([]ChannelInfo, len(s.channels))
		for j, ch := range s.channels {
			current, longest := ch.silence.at(now)
			channels[j] = ChannelInfo{SilenceMS: current.Milliseconds(), LongestSilenceMS: longest.Milliseconds(),
				Channel: ch.id.String(), Client: ch.client, Started: ch.started, Relaying: ch.relaying.Load(),
				BytesFromClient: ch.fromClient.bytes.Load(), BytesFromServer: ch.fromServer.bytes.Load(),
				MessagesFromClient: ch.fromClient.messages.Load(), MessagesFromServer: ch.fromServer.messages.Load()}
			if n, ok := ch.acks.pending(channels[j].MessagesFromServer); ok {
				channels[j].Unacknowledged = &n
			}
		}
		infos[i] = SessionInfo{ID: s.id, Source: s.source, UUID: s.uuid, Name: s.name, Viewer: s.viewer, Client: s.client,
			Started: s.started, Channels: channels}
	}
	return infos
}

// each calls f with every live channel.
func (ss *sessions) each(f func(ch *channel)) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.byID {
		for _, ch := range s.channels {
			f(ch)
		}
	}
}
