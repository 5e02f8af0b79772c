package wire

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Tracer is a Tap that prints one line per message: the channel, the sender, the message's name,
// its body's size, and the error if it cannot be decoded:
//
//	display:0 server display.draw_copy 4213
//	display:0 client ack 0
//	main:0 server main.77 12
//
// It prints no content, and so no secrets. Lines are stable: the same conversation gives the same
// lines, unless Clock is set. It is safe for concurrent use, also by several channels with one
// writer.
type Tracer struct {
	mu      *sync.Mutex
	out     io.Writer
	channel ChannelID
	// Clock, if set, puts the time since start before every line.
	Clock func() time.Duration
}

// NewTracer returns a Tracer that traces a channel to w. It ignores errors of w.
func NewTracer(w io.Writer, channel ChannelID) *Tracer {
	return &Tracer{mu: new(sync.Mutex), out: w, channel: channel}
}

// For returns a tracer of another channel with the same writer and clock.
func (t *Tracer) For(channel ChannelID) *Tracer {
	return &Tracer{mu: t.mu, out: t.out, channel: channel, Clock: t.Clock}
}

// Linked prints the capabilities of both sides.
func (t *Tracer) Linked(info LinkInfo) {
	for _, side := range []struct {
		d    Direction
		caps CapSets
	}{{FromClient, info.Client}, {FromServer, info.Server}} {
		t.print(fmt.Sprintf("%s %s link common=%s channel=%s", t.channel, side.d,
			side.caps.Common.CommonNames(), side.caps.Channel.ChannelNames(t.channel.Type)))
	}
}

// Message prints a line.
func (t *Tracer) Message(d Direction, h Header, body []byte) {
	line := fmt.Sprintf("%s %s %s %d", t.channel, d, MessageName(t.channel.Type, d, h.Type), len(body))
	if _, err := Decode(t.channel.Type, d, h.Type, body); err != nil {
		line += " !" + err.Error()
	}
	t.print(line)
	if d == FromClient {
		return
	}
	subs, err := SubMessages(h, body)
	if err != nil {
		t.print(line + " !" + err.Error())
	}
	for _, sub := range subs {
		t.print(fmt.Sprintf("%s %s +%s %d", t.channel, d, MessageName(t.channel.Type, d, sub.Type), len(sub.Body)))
	}
}

func (t *Tracer) print(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Clock != nil {
		line = fmt.Sprintf("%10.6f %s", t.Clock().Seconds(), line)
	}
	_, _ = io.WriteString(t.out, line+"\n")
}

func unknownName(t ChannelType, messageType uint16) string {
	return fmt.Sprintf("%s.%d", t, messageType)
}
