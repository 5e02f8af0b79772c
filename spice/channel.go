package spice

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// writeTimeout limits one write. A server that reads nothing for so long is gone: spice-server
// reads from every channel even while it is drawing.
const writeTimeout = 30 * time.Second

// channel is one open channel. One goroutine reads its messages and carries them out; on a display
// there are two. Writers take turns.
type channel struct {
	client  *Client
	id      wire.ChannelID
	conn    net.Conn
	link    *link.Channel
	tap     wire.Tap
	handler handler
	traffic traffic

	in *wire.FrameReader // used only by the reader

	// Used only by the goroutine that carries out messages.
	ackWindow uint32 // messages between two acks; 0 for none
	ackLeft   uint32
	notice    string // the text of a notice, if that was the last message

	// handled is the serial of the last message that was carried out. Messages on other channels
	// may have to wait for it.
	handled atomic.Uint64
	ended   atomic.Bool

	turn chan struct{} // holds a value while a message is written; guards what follows
	out  *wire.FrameWriter
	raw  []byte
}

// A handler interprets the messages of one channel that are not common to all. All calls of handle
// are on one goroutine of the channel; on a display, begin is on another one.
type handler interface {
	// begin is called before the first message is read.
	begin() error
	// handle carries out a message: in's own message, or one inside it. m and what it points to are
	// invalid after it returns.
	handle(m wire.ServerMessage, in *incoming) error
}

// incoming is a message that was read and is not yet carried out, with its memory.
type incoming struct {
	header     wire.Header
	received   time.Time
	message    wire.ServerMessage
	body       []byte
	messages   map[uint16]wire.ServerMessage // by type: the message last decoded, to be reused for the next of its type
	err        error                         // instead of a message: why there are no more
	prefetched prefetched                    // its image, decoded ahead of its turn
	cost       int                           // bytes that it counts while it waits for its turn
	held       int                           // bytes of memory that it counts afterwards
}

// read reads the messages and carries them out one by one. It is the goroutine of a channel that is
// not a display.
func (ch *channel) read() {
	defer ch.client.wg.Done()
	err := ch.handler.begin()
	var in incoming
	var gone error // why nothing can be sent any more
	for err == nil {
		if err = ch.fetch(&in); err != nil {
			break
		}
		if err = ch.carryOut(&in); errors.Is(err, errServerGone) {
			// What the server said before it closed the connection may tell why.
			if gone == nil {
				gone = err
				_ = ch.conn.SetReadDeadline(time.Now().Add(lastWords))
			}
			err = nil
		}
	}
	if gone != nil && (errors.Is(err, errServerGone) || errors.Is(err, os.ErrDeadlineExceeded)) {
		err = gone
	}
	ch.finish(err)
}

// finish ends the session because this channel has ended.
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

// lastWords is how long to wait for the main channel's reason after the server has closed another
// channel.
const lastWords = 500 * time.Millisecond

// endWith ends the session with the error of a channel. A server that sends its clients elsewhere
// says so on the main channel and then closes all channels. Their ends are seen in any order, so
// the main channel's reason counts.
func (c *Client) endWith(id wire.ChannelID, err error) {
	var cut *wire.FrameError // a message was not complete
	if id != mainID && (errors.Is(err, errServerGone) || errors.As(err, &cut) && cut.Err != nil) {
		c.awaitLastWords()
	}
	c.end(err)
}

func (c *Client) awaitLastWords() {
	wait := time.NewTimer(lastWords)
	defer wait.Stop()
	select {
	case <-c.done:
	case <-wait.C:
	}
}

// unsent ends the session because a message of a caller could not be written. It returns what ended
// the session: a reader that has also seen the end knows more about it.
func (c *Client) unsent(id wire.ChannelID, message string, err error) error {
	switch {
	case errors.Is(err, net.ErrClosed): // by a reader, or by end
		<-c.done
	case errors.Is(err, errServerGone):
		c.awaitLastWords()
	}
	c.end(&ChannelError{Channel: id, Message: message, Err: err})
	return c.ended()
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

// decode decodes a message into the memory of the last message of its type.
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

// carryOut carries out a message, and acknowledges it if an acknowledgement is due.
func (ch *channel) carryOut(in *incoming) error {
	fail := func(m wire.ServerMessage, err error) error {
		var typed *ChannelError
		if errors.As(err, &typed) {
			return err
		}
		return &ChannelError{Channel: ch.id, Message: m.MessageName(), Serial: in.header.Serial, Err: err}
	}
	// Messages inside this one come first. Only servers without mini headers send them.
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

// keepBody is the largest message body, in bytes, whose memory is reused for the next one.
const keepBody = 8 << 20

var errServerGone = errors.New("the server closed the connection")

// serverGone returns errServerGone if err means that the connection has ended, and err otherwise.
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

// handle carries out the messages that are common to all channels and passes on the others.
func (ch *channel) handle(m wire.ServerMessage, in *incoming) error {
	c := ch.client
	notice := ch.notice
	ch.notice = ""
	switch m := m.(type) {
	case *wire.Ping:
		if ch.id.Type == wire.ChannelMain {
			c.main.pinged(c, in.received)
		}
		return ch.send(&wire.Pong{ID: m.ID, Timestamp: m.Timestamp})
	case *wire.SetAck:
		ch.ackWindow, ch.ackLeft = m.Window, m.Window
		// The message that sets the window does not count.
		if m.Window > 0 {
			ch.ackLeft++
		}
		return ch.send(&wire.AckSync{Generation: m.Generation})
	case *wire.Disconnecting:
		return &DisconnectedError{Reason: m.Reason, Notice: notice}
	case *wire.Notify:
		ch.notice = m.Message
		e := Notified{Channel: ch.id, Severity: m.Severity.String(), Text: m.Message}
		level := slog.LevelDebug // servers warn about every channel without TLS
		if m.Severity == wire.NotifyError {
			level = slog.LevelWarn
		}
		c.log.Log(c.ctx, level, "notice from the server", "channel", ch.id.String(), "severity", e.Severity, "text", e.Text)
		c.observers.emit(e)
		return nil
	case *wire.WaitForChannels:
		return ch.waitFor(m)
	case *wire.Migrate:
		// This side sends nothing more on this channel. A server that waits for the mark would hold
		// up the migration.
		if m.Flags&wire.MigrateNeedFlush != 0 {
			return ch.send(&wire.MigrateFlushMark{})
		}
		return nil
	case *wire.MigrateData: // no connection to the target exists that could receive it
		return c.main.moved()
	case *wire.List: // the messages that it lists have been carried out
		return nil
	case *wire.Unknown:
		name := "message " + ch.id.Type.String() + ".type-" + strconv.Itoa(int(m.Type))
		c.miss(name)
		if d, ok := ch.handler.(*display); ok && m.Type >= firstOwnMessage {
			d.distrustAll(name) // it may have drawn something
		}
		return nil
	}
	return ch.handler.handle(m, in)
}

// waitFor blocks until other channels have carried out messages that this one depends on.
func (ch *channel) waitFor(m *wire.WaitForChannels) error {
	for _, w := range m.Wait {
		if w.Channel == ch.id || w.Channel != mainID && !ch.client.willOpen(w.Channel) {
			continue // not open here, so nothing that is shown depends on it
		}
		for {
			rung := ch.client.notifier.next()
			other := ch.client.channel(w.Channel)
			if other != nil && other.handled.Load() >= w.Serial {
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

// write writes one message. The caller must have the turn.
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

// ask sends a message for a caller that is not one of the readers. A write error ends the session.
// If ctx ends before the message's turn, it is not sent. If ctx ends during the write, the write
// continues without the caller, because half a message would end the session.
func (c *Client) ask(ctx context.Context, id wire.ChannelID, m wire.ClientMessage) error {
	_, err := c.tryAsk(ctx, id, m)
	return err
}

// tryAsk does what ask does. begun reports whether the message's turn has come: otherwise nothing of
// it was or will be sent.
func (c *Client) tryAsk(ctx context.Context, id wire.ChannelID, m wire.ClientMessage) (begun bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := c.ended(); err != nil {
		return false, err
	}
	ch := c.channel(id)
	if ch == nil {
		return false, &ChannelError{Channel: id, Message: m.MessageName(), Err: errNotOpen}
	}
	select {
	case ch.turn <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-c.done:
		return false, c.ended()
	}
	begun = true
	err = c.await(ctx, func() error {
		err := ch.write(m)
		<-ch.turn
		if err != nil {
			err = c.unsent(id, m.MessageName(), err)
		}
		return err
	}, func() {
		<-ch.turn
		begun = false
	})
	return begun, err
}

// await runs fn on a goroutine of the session and returns its error. If ctx ends first, it returns
// ctx's cause, and fn continues. If the session is over, it calls instead, if that is not nil, and
// returns the error that ended the session.
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
