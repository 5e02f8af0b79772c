package proxy

import (
	"sync"

	"github.com/spicelane/spicelane/spice/wire"
)

// acks counts the acknowledgements of one channel: how many of the console's messages the client
// has not acknowledged yet. At twice the window the console stops sending, so a channel that stays
// there has a slow client.
type acks struct {
	mu         sync.Mutex
	generation uint32
	window     uint64 // messages per acknowledgement; 0: the channel has none
	since      uint64 // messages that the console had sent when it set the window
	synced     bool   // the client knows the window
	count      uint64 // acknowledgements since then
}

// set records a window, and how many messages the console has sent so far.
func (a *acks) set(m wire.SetAck, sent uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.generation, a.window, a.since = m.Generation, uint64(m.Window), sent
	a.synced, a.count = false, 0
}

// sync records that the client knows a window. Earlier acknowledgements belong to the previous
// window.
func (a *acks) sync(m wire.AckSync) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.synced = m.Generation == a.generation
}

// acknowledge records an acknowledgement.
func (a *acks) acknowledge() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.synced {
		a.count++
	}
}

// pending returns how many of the console's messages are not acknowledged. ok is false if the
// channel has no acknowledgements.
func (a *acks) pending(sent uint64) (n uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.window == 0 {
		return 0, false
	}
	done := a.since + a.count*a.window
	return sent - min(sent, done), true
}

// followAcks watches the acknowledgements of a channel. It only observes: an invalid one is a
// matter between its sender and its receiver.
func followAcks(ch *channel, fromClient, fromServer *pump) {
	var set wire.SetAck
	fromServer.watch(set.MessageType(), func(body []byte) error {
		if set.Decode(body) == nil {
			ch.acks.set(set, fromServer.scan.messages)
		}
		return nil
	})
	var sync wire.AckSync
	fromClient.watch(sync.MessageType(), func(body []byte) error {
		if sync.Decode(body) == nil {
			ch.acks.sync(sync)
		}
		return nil
	})
	fromClient.watch((*wire.Ack)(nil).MessageType(), func([]byte) error {
		ch.acks.acknowledge()
		return nil
	})
}
