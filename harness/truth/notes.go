package truth

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

// notes are the messages that one end of a channel has seen and that have not been compared.
type notes struct {
	channel wire.ChannelID

	mu   sync.Mutex
	list []note
}

// note is one message.
type note struct {
	header wire.Header
	body   []byte
}

// add keeps a message. body is not the caller's any more.
func (n *notes) add(h wire.Header, body []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, note{h, body})
}

// Linked does nothing: notes are a wire.Tap.
func (n *notes) Linked(wire.LinkInfo) {}

// Message keeps what the server says.
func (n *notes) Message(d wire.Direction, h wire.Header, body []byte) {
	if d == wire.FromServer {
		n.add(h, bytes.Clone(body))
	}
}

// draws counts the messages that were noted and draw something.
func (n *notes) draws() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, m := range n.list {
		if m.header.Type >= firstDraw {
			count++
		}
	}
	return count
}

// take empties the notes.
func (n *notes) take() []note {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.list
	n.list = nil
	return taken
}

// firstDifference compares what a server said with what a client received, and forgets what was the
// same. What the client has not received yet is a difference only if all of it must be there.
func firstDifference(server, client *notes, all bool) *spice.TraceDifference {
	server.mu.Lock()
	defer server.mu.Unlock()
	client.mu.Lock()
	defer client.mu.Unlock()
	i := 0
	for i < len(server.list) && i < len(client.list) && server.list[i].same(&client.list[i]) {
		i++
	}
	said, received := server.list[i:], client.list[i:]
	server.list, client.list = said, received
	if len(received) == 0 && (!all || len(said) == 0) {
		return nil
	}
	return spice.CompareTraces(describe(server.channel, said), describe(server.channel, received))
}

func (n *note) same(o *note) bool {
	return n.header.Type == o.header.Type && bytes.Equal(n.body, o.body)
}

// describe puts messages into words.
func describe(channel wire.ChannelID, list []note) []spice.Received {
	var all []spice.Received
	for i, m := range list {
		var trace spice.Trace
		if tap := trace.Tap(channel); tap != nil {
			tap.Message(wire.FromServer, m.header, m.body)
			if words := trace.Take(); len(words) > 0 {
				words[len(words)-1].Number = i + 1
				all = append(all, words[len(words)-1])
				continue
			}
		}
		sum := sha256.Sum256(m.body)
		all = append(all, spice.Received{
			Channel: channel.ID, Number: i + 1, Bytes: len(m.body), Digest: hex.EncodeToString(sum[:8]),
			Name: wire.MessageName(channel.Type, wire.FromServer, m.header.Type),
		})
	}
	return all
}
