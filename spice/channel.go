package spice

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// writeTimeout bounds one write. A server that takes nothing for so long is gone: spice-server reads from every channel even
// while it is busy drawing.
const writeTimeout = 30 * time.Second

// channel is one open channel. One goroutine reads and carries out its messages, two on a display; writers take turns.
type channel struct {
	client  *Client
	id      wire.ChannelID
	conn    net.Conn
	link    *link.Channel
	tap     wire.Tap
	handler handler
	traffic traffic

	in *wire.FrameReader // the reader's own

	// Of the goroutine that carries out messages.
	ackWindow uint32 // messages between two acks; 0 for none
	ackLeft   uint32

	// handled is the serial of the last message that was carried out, for messages on other channels that
	// have to wait for it.
	handled atomic.Uint64
	ended   atomic.Bool

	turn chan struct{} // holds a value while somebody writes; guards what follows
	out  *wire.FrameWriter
	raw  []byte
}

// handler interprets the messages of one channel that are not common to all. It runs on one goroutine of the channel.
type handler interface {
	// begin is called before the first message is read.
	begin() error
	// handle carries out a message: in's own, or one inside of it. m and what it points to are void after it returns.
	handle(m wire.ServerMessage, in *incoming) error
}

// incoming is a message on its way from the connection to being carried out, with the memory that it needs.
type incoming struct {
	header     wire.Header
	received   time.Time
	message    wire.ServerMessage
	body       []byte
	messages   map[uint16]wire.ServerMessage // by type: what message was decoded into, for the next one of the type
	err        error                         // instead of a message: why there are no more
	prefetched prefetched                    // its image, decoded ahead of its turn
	cost       int                           // bytes that it counts for while it waits for its turn
	held       int                           // bytes of memory that it counts for afterwards
}

// read reads and carries out one message after the other. It is the goroutine of a channel that is not a display.
func (ch *channel) read() {
	defer ch.client.wg.Done()
	err := ch.handler.begin()
	var in incoming
	for err == nil {
		if err = ch.fetch(&in); err == nil {
			err = ch.carryOut(&in)
		}
	}
	ch.finish(err)
}

// finish ends the session because this channel has come to its end.
func (ch *channel) finish(err error) {
	ch.conn.Close()
	var typed *ChannelError
	if !errors.As(err, &typed) {
		err = &ChannelError{Channel: ch.id, Err: err}
	}
	ch.ended.Store(true)
	ch.client.endWith(ch.id, err)
	ch.client.notifier.notify()
}

// lastWords is how long the main channel has, after the server has hung up on another one, to say why.
const lastWords = 500 * time.Millisecond

// endWith ends the session with the error of a channel. A server that sends its clients elsewhere says so on the main channel and then hangs up on all,
// which is seen in any order: what the main channel ends with is the reason then.
func (c *Client) endWith(id wire.ChannelID, err error) {
	if id != mainID && errors.Is(err, errServerGone) {
		wait := time.NewTimer(lastWords)
		defer wait.Stop()
		select {
		case <-c.done:
		case <-wait.C:
		}
	}
	c.end(err)
}

// fetch reads the next message.
func (ch *channel) fetch(in *incoming) error {
	h, err := ch.in.Next()
	if err != nil {
		return serverGone(err)
	}
	if len(in.body) > keepBody {
		in.body = nil
	}
	if in.body, err = ch.in.Body(in.body); err != nil {
		return serverGone(err)
	}
	in.header, in.received = h, time.Now()
	if ch.tap != nil {
		ch.tap.Message(wire.FromServer, h, in.body)
	}
	in.message, err = ch.decode(in, h.Type, in.body)
	if err != nil {
		return &ChannelError{Channel: ch.id, Serial: h.Serial, Message: in.message.MessageName(), Err: err}
	}
	ch.traffic.received(in.message.MessageName(), int(h.Size)+ch.headerSize())
	return nil
}

// decode decodes a message into the memory of the last one of its type.
func (ch *channel) decode(in *incoming, t uint16, body []byte) (wire.ServerMessage, error) {
	m := in.messages[t]
	if m == nil {
		m = wire.NewServerMessage(ch.id.Type, t)
		if _, unknown := m.(*wire.Unknown); !unknown {
			if in.messages == nil {
				in.messages = map[uint16]wire.ServerMessage{}
			}
			in.messages[t] = m
		}
	}
	err := m.Decode(body)
	var malformed *wire.DecodeError
	if errors.As(err, &malformed) {
		malformed.Channel = ch.id.Type
	}
	return m, err
}

// carryOut does what a message says, and acknowledges it if it is time to.
func (ch *channel) carryOut(in *incoming) error {
	fail := func(m wire.ServerMessage, err error) error {
		var typed *ChannelError
		if errors.As(err, &typed) {
			return err
		}
		return &ChannelError{Channel: ch.id, Message: m.MessageName(), Serial: in.header.Serial, Err: err}
	}
	// Messages inside of this one come first. Only servers without mini headers have them.
	subs, err := wire.SubMessages(in.header, in.body)
	if err != nil {
		return fail(in.message, err)
	}
	for _, sub := range subs {
		m := wire.NewServerMessage(ch.id.Type, sub.Type)
		if err := m.Decode(sub.Body); err != nil {
			return fail(m, err)
		}
		if err := ch.handle(m, in); err != nil {
			return fail(m, err)
		}
	}
	if err := ch.handle(in.message, in); err != nil {
		return fail(in.message, err)
	}
	ch.handled.Store(in.header.Serial)
	ch.client.notifier.notify()
	if ch.ackWindow > 0 {
		if ch.ackLeft--; ch.ackLeft == 0 {
			ch.ackLeft = ch.ackWindow
			return ch.send(&wire.Ack{})
		}
	}
	return nil
}

// keepBody is the largest message body whose memory is used for the next one, in bytes.
const keepBody = 8 << 20

var errServerGone = errors.New("the server closed the connection")

// serverGone returns errServerGone for the many ways in which a connection says so, and err otherwise.
func serverGone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return errServerGone
	}
	return err
}

func (ch *channel) headerSize() int {
	if ch.link.Mini() {
		return wire.MiniHeaderSize
	}
	return wire.FullHeaderSize
}

// handle carries out the messages that all channels have and passes on the others.
func (ch *channel) handle(m wire.ServerMessage, in *incoming) error {
	c := ch.client
	switch m := m.(type) {
	case *wire.Ping:
		if ch.id.Type == wire.ChannelMain {
			c.main.pinged(c, in.received)
		}
		return ch.send(&wire.Pong{ID: m.ID, Timestamp: m.Timestamp})
	case *wire.SetAck:
		ch.ackWindow, ch.ackLeft = m.Window, m.Window
		// The message that sets the window is not counted in it.
		if m.Window > 0 {
			ch.ackLeft++
		}
		return ch.send(&wire.AckSync{Generation: m.Generation})
	case *wire.Disconnecting:
		return &DisconnectedError{Reason: m.Reason}
	case *wire.Notify:
		e := Notified{Channel: ch.id, Severity: m.Severity.String(), Text: m.Message}
		level := slog.LevelDebug // servers warn of every channel without TLS
		if m.Severity == wire.NotifyError {
			level = slog.LevelWarn
		}
		c.log.Log(c.ctx, level, "notice from the server", "channel", ch.id.String(), "severity", e.Severity, "text", e.Text)
		c.observers.emit(e)
		return nil
	case *wire.WaitForChannels:
		return ch.waitFor(m)
	case *wire.Migrate:
		// Nothing more is to be sent here than has been; a server that waits for the mark would hold up the migration.
		if m.Flags&wire.MigrateNeedFlush != 0 {
			return ch.send(&wire.MigrateFlushMark{})
		}
		return nil
	case *wire.MigrateData: // there is no connection to the target to pass it to
		return c.main.moved()
	case *wire.List: // what it lists has been carried out
		return nil
	case *wire.Unknown:
		c.miss("message " + ch.id.Type.String() + ".type-" + strconv.Itoa(int(m.Type)))
		return nil
	}
	return ch.handler.handle(m, in)
}

// waitFor blocks until other channels have carried out messages that this one builds on.
func (ch *channel) waitFor(m *wire.WaitForChannels) error {
	for _, w := range m.Wait {
		other := ch.client.channel(w.Channel)
		if other == nil || other == ch {
			continue // not open here: what it carries is not waited for by anything that we show
		}
		for {
			rung := ch.client.notifier.next()
			if other.handled.Load() >= w.Serial {
				break
			}
			select {
			case <-rung:
			case <-ch.client.done:
				return ErrClosed
			}
		}
	}
	return nil
}

// send writes one message. It may be called from any goroutine.
func (ch *channel) send(m wire.ClientMessage) error {
	ch.turn <- struct{}{}
	defer func() { <-ch.turn }()
	return ch.write(m)
}

// write writes one message. The caller has the turn.
func (ch *channel) write(m wire.ClientMessage) error {
	if err := ch.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	ch.raw = m.Append(ch.raw[:0])
	h := wire.Header{Serial: ch.out.Serial() + 1, Type: m.MessageType(), Size: uint32(len(ch.raw))}
	if ch.tap != nil {
		ch.tap.Message(wire.FromClient, h, ch.raw)
	}
	if err := ch.out.WriteRaw(h, ch.raw); err != nil {
		return serverGone(err)
	}
	ch.traffic.sent(m.MessageName(), ch.headerSize()+len(ch.raw))
	return nil
}

// ask sends a message on behalf of a caller outside of the readers: its error is the session's. If ctx ends before it is
// the message's turn, the message is not sent. If ctx ends while the message is written, writing goes on without the caller,
// because half a message would end the session.
func (c *Client) ask(ctx context.Context, id wire.ChannelID, m wire.ClientMessage) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.ended(); err != nil {
		return err
	}
	ch := c.channel(id)
	if ch == nil {
		return &ChannelError{Channel: id, Message: m.MessageName(), Err: errNotOpen}
	}
	select {
	case ch.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.ended()
	}
	return c.await(ctx, func() error {
		err := ch.write(m)
		<-ch.turn
		if err != nil {
			c.endWith(id, &ChannelError{Channel: id, Message: m.MessageName(), Err: err})
			err = c.ended()
		}
		return err
	}, func() { <-ch.turn })
}

// await runs fn on a goroutine of the session and returns its error, or ctx's cause if that ends first; fn goes on then. If
// the session is over it calls instead, if that is not nil, and returns what ended the session.
func (c *Client) await(ctx context.Context, fn func() error, instead func()) error {
	result := make(chan error, 1)
	if !c.spawn(func() { result <- fn() }) {
		if instead != nil {
			instead()
		}
		return c.ended()
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errNotOpen = errors.New("the channel is not open")
