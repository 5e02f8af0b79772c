package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// firstDraw is the lowest number of a display message that draws (SPICE_MSG_DISPLAY_DRAW_FILL).
const firstDraw = 302

// A Message is one message from a server.
type Message struct {
	Header wire.Header
	Body   []byte
}

// Notes keeps the messages that one end of a channel has seen and that have not been compared. It
// is a wire.Tap. Any goroutine may call its methods.
type Notes struct {
	channel wire.ChannelID

	mu       sync.Mutex
	list     []Message
	bytes    int  // in list
	compared int  // messages that were the same at both ends
	given    bool // nothing compares the messages, so none are kept
}

// mostKept limits the bytes kept for one channel. Sockets' buffers limit the bytes in flight, so
// larger notes mean that nothing compares them.
const mostKept = 128 << 20

// NewNotes returns empty notes of a channel.
func NewNotes(channel wire.ChannelID) *Notes { return &Notes{channel: channel} }

// add keeps a message. The caller must not use its body again.
func (n *Notes) add(m Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.given {
		return
	}
	if n.bytes += len(m.Body); n.bytes > mostKept {
		n.list, n.given = nil, true
		return
	}
	n.list = append(n.list, m)
}

// Linked does nothing.
func (n *Notes) Linked(wire.LinkInfo) {}

// Message keeps a message that the server sent.
func (n *Notes) Message(d wire.Direction, h wire.Header, body []byte) {
	if d == wire.FromServer {
		n.add(Message{h, bytes.Clone(body)})
	}
}

// Draws returns the number of noted, uncompared messages that draw.
func (n *Notes) Draws() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, m := range n.list {
		if m.Header.Type >= firstDraw {
			count++
		}
	}
	return count
}

// Len returns the number of noted, uncompared messages.
func (n *Notes) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.list)
}

// gaveUp reports whether there were too many messages to keep.
func (n *Notes) gaveUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.given
}

// Clear forgets all messages.
func (n *Notes) Clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list, n.bytes = nil, 0
}

// drop removes the first count messages, which were the same at both ends.
func (n *Notes) drop(count int) {
	for _, m := range n.list[:count] {
		n.bytes -= len(m.Body)
	}
	clear(n.list[:count]) // the bodies of a busy channel are large
	n.list = n.list[count:]
	n.compared += count
}

// FirstDifference compares what a server sent with what a client received, and drops the messages
// that are the same. It returns nil if there is no difference. Messages that the client has not
// received yet are a difference only if all is set.
func FirstDifference(server, client *Notes, all bool) *spice.TraceDifference {
	match(server, client)
	server.mu.Lock()
	defer server.mu.Unlock()
	client.mu.Lock()
	defer client.mu.Unlock()
	if server.given || client.given || len(client.list) == 0 && (!all || len(server.list) == 0) {
		return nil
	}
	d := spice.CompareTraces(server.describe(), client.describe())
	if d != nil {
		d.Index += server.compared
	}
	return d
}

// match drops the messages that are the same at both ends.
func match(server, client *Notes) {
	server.mu.Lock()
	defer server.mu.Unlock()
	client.mu.Lock()
	defer client.mu.Unlock()
	i := 0
	for i < len(server.list) && i < len(client.list) && server.list[i].same(&client.list[i]) {
		i++
	}
	server.drop(i)
	client.drop(i)
}

func (m *Message) same(o *Message) bool {
	return m.Header.Type == o.Header.Type && bytes.Equal(m.Body, o.Body)
}

// mostDescribed limits the number of messages that one difference describes. The first ones show
// what kind of difference it is.
const mostDescribed = 64

// describe returns descriptions of the messages.
func (n *Notes) describe() []spice.Received {
	var all []spice.Received
	for i, m := range n.list[:min(len(n.list), mostDescribed)] {
		r := m.describe(n.channel)
		r.Number = n.compared + i + 1
		all = append(all, r)
	}
	return all
}

func (m *Message) describe(channel wire.ChannelID) spice.Received {
	var trace spice.Trace
	if tap := trace.Tap(channel); tap != nil {
		tap.Message(wire.FromServer, m.Header, m.Body)
		if words := trace.Take(); len(words) > 0 {
			return words[len(words)-1]
		}
	}
	sum := sha256.Sum256(m.Body)
	return spice.Received{
		Channel: channel.ID, Bytes: len(m.Body), Digest: hex.EncodeToString(sum[:8]),
		Name: wire.MessageName(channel.Type, wire.FromServer, m.Header.Type),
	}
}
