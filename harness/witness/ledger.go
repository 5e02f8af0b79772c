package witness

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// A Ledger compares, message by message and while they pass, what a server says at a Relay
// with what its client receives.
type Ledger struct {
	relay  *Relay
	failed chan struct{}

	mu      sync.Mutex
	session uint32                   // the newest
	pairs   map[wire.ChannelID]*pair // of that session
	diff    *Difference
}

// A pair is what both ends of one channel have seen.
type pair struct{ server, client *Notes }

// NewLedger makes a ledger of what passes a relay.
func NewLedger(r *Relay) *Ledger {
	return &Ledger{relay: r, failed: make(chan struct{}), pairs: map[wire.ChannelID]*pair{}}
}

// A Difference says that a client did not receive what its server had said.
type Difference struct {
	Channel wire.ChannelID
	*spice.TraceDifference
}

func (d *Difference) Error() string {
	return fmt.Sprintf("of what the server said on %v, %v", d.Channel, d.TraceDifference)
}

// Tap returns a spice.Config's Tap for the sessions that are to be compared.
func (l *Ledger) Tap(id wire.ChannelID) wire.Tap {
	if id.Type == wire.ChannelMain {
		return nil
	}
	return &ledgerTap{ledger: l, channel: id}
}

// A ledgerTap notes what a client receives on one channel.
type ledgerTap struct {
	ledger  *Ledger
	channel wire.ChannelID
	pair    *pair // nil: the channel does not come by the relay
}

// Linked finds the other end's notes: the relay has made them before the link was answered.
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
		clear(t.ledger.pairs) // what a client that has gone did not read, it need not
	}
	t.ledger.pairs[t.channel] = t.pair
}

// Message compares what came with what was said.
func (t *ledgerTap) Message(d wire.Direction, h wire.Header, body []byte) {
	if d != wire.FromServer || t.pair == nil {
		return
	}
	t.pair.client.add(Message{h, bytes.Clone(body)})
	t.ledger.compare(t.channel, t.pair, enough)
}

// enough is how many messages that do not fit a client must have received before they are
// judged: the second tells whether two were swapped or one was lost.
const enough = 2

// compare looks for a difference in a pair of which the client has received at least so
// many messages that are not the server's next ones.
func (l *Ledger) compare(channel wire.ChannelID, p *pair, least int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.diff != nil {
		p.server.Clear() // nothing that follows can be told from it
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

// Failed is closed when a difference has been found.
func (l *Ledger) Failed() <-chan struct{} { return l.failed }

// Err looks once more and returns a *Difference if there is one. What is still on its way is
// none.
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

// Under counts the messages that the server has said in the newest session and the client has
// not received yet. Ok is false if nothing is compared: no session came by the relay.
func (l *Ledger) Under() (way int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pairs {
		way += p.server.Len()
	}
	return way, len(l.pairs) > 0
}
