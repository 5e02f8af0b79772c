package witness

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// A Ledger compares the messages that a server sends to a Relay with those that its client
// receives. It does so message by message, while they pass.
type Ledger struct {
	relay  *Relay
	failed chan struct{}

	mu      sync.Mutex
	session uint32                   // the newest
	pairs   map[wire.ChannelID]*pair // of that session
	diff    *Difference
}

// A pair has the notes of both ends of one channel.
type pair struct{ server, client *Notes }

// NewLedger returns a ledger for the sessions that pass r.
func NewLedger(r *Relay) *Ledger {
	return &Ledger{relay: r, failed: make(chan struct{}), pairs: map[wire.ChannelID]*pair{}}
}

// A Difference says that a client did not receive what its server sent.
type Difference struct {
	Channel wire.ChannelID
	*spice.TraceDifference
}

func (d *Difference) Error() string {
	return fmt.Sprintf("of what the server said on %v, %v", d.Channel, d.TraceDifference)
}

// Tap returns the function for spice.Config.Tap of the sessions to compare.
func (l *Ledger) Tap(id wire.ChannelID) wire.Tap {
	if id.Type == wire.ChannelMain {
		return nil
	}
	return &ledgerTap{ledger: l, channel: id}
}

// A ledgerTap notes the messages that a client receives on one channel.
type ledgerTap struct {
	ledger  *Ledger
	channel wire.ChannelID
	pair    *pair // nil if the channel does not come through the relay
}

// Linked finds the other end's notes. The relay made them before the link was answered.
func (t *ledgerTap) Linked(i wire.LinkInfo) {
	server := t.ledger.relay.known(i.ConnectionID, t.channel)
	if server == nil {
		return
	}
	t.pair = &pair{server, NewNotes(t.channel)}
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	if t.ledger.session != i.ConnectionID {
		t.ledger.session = i.ConnectionID
		clear(t.ledger.pairs) // a client that has disconnected need not read the rest
	}
	t.ledger.pairs[t.channel] = t.pair
}

// Message compares what the client received with what the server sent.
func (t *ledgerTap) Message(d wire.Direction, h wire.Header, body []byte) {
	if d != wire.FromServer || t.pair == nil {
		return
	}
	t.pair.client.add(Message{h, bytes.Clone(body)})
	t.ledger.compare(t.channel, t.pair, enough)
}

// enough is the number of differing messages after which a client is judged. With the second
// message, compare can tell whether two were swapped or one was lost.
const enough = 2

// compare looks for a difference in a pair. It decides only if the client has received at least the
// given number of messages that differ from the server's next ones.
func (l *Ledger) compare(channel wire.ChannelID, p *pair, least int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.diff != nil {
		p.server.Clear() // nothing can be concluded from what follows
		p.client.Clear()
		return
	}
	match(p.server, p.client)
	if n := p.client.Len(); n == 0 || n < least {
		return
	}
	if d := FirstDifference(p.server, p.client, false); d != nil {
		l.diff = &Difference{channel, d}
		close(l.failed)
	}
}

// Failed returns a channel that is closed when the ledger has found a difference.
func (l *Ledger) Failed() <-chan struct{} { return l.failed }

// Err compares again and returns a *Difference if there is one. Messages in flight are no
// difference.
func (l *Ledger) Err() error {
	l.mu.Lock()
	pairs := make(map[wire.ChannelID]*pair, len(l.pairs))
	for id, p := range l.pairs {
		pairs[id] = p
	}
	l.mu.Unlock()
	for id, p := range pairs {
		l.compare(id, p, 1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.diff == nil {
		return nil
	}
	return l.diff
}

// Under returns the number of messages in flight: those that the server sent in the newest session
// and the client has not received yet. ok is false if that is not known: no session came through the
// relay, or GaveUp.
func (l *Ledger) Under() (way int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ok = len(l.pairs) > 0
	for _, p := range l.pairs {
		way += p.server.Len()
		ok = ok && !p.server.gaveUp()
	}
	return way, ok
}

// GaveUp reports whether a channel of the newest session is not compared any more, because too much
// that the server sent had not been received.
func (l *Ledger) GaveUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pairs {
		if p.server.gaveUp() {
			return true
		}
	}
	return false
}
