package spice

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// writeTimeout bounds one write. A server that takes nothing for so long is gone: spice-server reads from every channel even
// while it is busy drawing.
const writeTimeout = 30 * time.Second

// channel is one open channel: a reader goroutine, and writers that take turns.
type channel struct {
	client  *Client
	id      wire.ChannelID
	conn    net.Conn
	link    *link.Channel
	tap     wire.Tap
	handler handler
	traffic traffic

	// The reader's own.
	in        *wire.FrameReader
	body      []byte
	messages  map[uint16]wire.ServerMessage
	ackWindow uint32 // messages between two acks; 0 for none
	ackLeft   uint32

	// handled is the serial of the last message that was carried out, for messages on other channels that
	// have to wait for it.
	handled atomic.Uint64
	ended   atomic.Bool

	outMu sync.Mutex
	out   *wire.FrameWriter
	raw   []byte
}

// handler interprets the messages of one channel that are not common to all. It runs on the channel's reader.
type handler interface {
	// begin is called before the first message is read.
	begin() error
	// handle carries out a message. received is when its last byte had been read. m and what it points to are void after it returns.
	handle(m wire.ServerMessage, received time.Time) error
}

// read is the channel's goroutine.
func (ch *channel) read() {
	c := ch.client
	defer c.wg.Done()
	defer ch.ended.Store(true)
	err := ch.handler.begin()
	for err == nil {
		err = ch.next()
	}
	ch.conn.Close()
	var typed *ChannelError
	if !errors.As(err, &typed) {
		err = &ChannelError{Channel: ch.id, Err: err}
	}
	c.end(err)
	c.bell.ring()
}

// next reads and carries out one message.
func (ch *channel) next() error {
	h, err := ch.in.Next()
	if err != nil {
		return gone(err)
	}
	if ch.body, err = ch.in.Body(ch.body); err != nil {
		return gone(err)
	}
	received := time.Now()
	if ch.tap != nil {
		ch.tap.Message(wire.FromServer, h, ch.body)
	}
	m := ch.message(h.Type)
	if err := m.Decode(ch.body); err != nil {
		var malformed *wire.DecodeError
		if errors.As(err, &malformed) {
			malformed.Channel = ch.id.Type
		}
		return &ChannelError{Channel: ch.id, Serial: h.Serial, Message: m.MessageName(), Err: err}
	}
	ch.traffic.received(m.MessageName(), int(h.Size)+ch.headerSize())
	if err := ch.handle(m, received); err != nil {
		var typed *ChannelError
		if errors.As(err, &typed) {
			return err
		}
		return &ChannelError{Channel: ch.id, Message: m.MessageName(), Serial: h.Serial, Err: err}
	}
	ch.handled.Store(h.Serial)
	ch.client.bell.ring()
	if ch.ackWindow > 0 {
		if ch.ackLeft--; ch.ackLeft == 0 {
			ch.ackLeft = ch.ackWindow
			if err := ch.send(&wire.Ack{}); err != nil {
				return err
			}
		}
	}
	if len(ch.body) > keepBody {
		ch.body = nil
	}
	return nil
}

// message is what a message of that type is decoded into. Its memory is used again for the next one of the type.
func (ch *channel) message(t uint16) wire.ServerMessage {
	if m := ch.messages[t]; m != nil {
		return m
	}
	m := wire.NewServerMessage(ch.id.Type, t)
	if _, unknown := m.(*wire.Unknown); !unknown {
		if ch.messages == nil {
			ch.messages = map[uint16]wire.ServerMessage{}
		}
		ch.messages[t] = m
	}
	return m
}

// keepBody is the largest message body whose memory is used for the next one.
const keepBody = 8 << 20

var errServerGone = errors.New("the server closed the connection")

// gone is errServerGone for the many ways in which a connection says so, and err otherwise.
func gone(err error) error {
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
func (ch *channel) handle(m wire.ServerMessage, received time.Time) error {
	c := ch.client
	switch m := m.(type) {
	case *wire.Ping:
		if ch.id.Type == wire.ChannelMain {
			c.main.pinged(c, received)
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
		c.log.Info("notice from the server", "channel", ch.id.String(), "severity", e.Severity, "text", e.Text)
		c.hub.emit(e)
		return nil
	case *wire.WaitForChannels:
		return ch.waitFor(m)
	case *wire.Unknown:
		c.miss("message " + ch.id.Type.String() + ".type-" + strconv.Itoa(int(m.Type)))
		return nil
	}
	return ch.handler.handle(m, received)
}

// waitFor blocks until other channels have carried out messages that this one builds on.
func (ch *channel) waitFor(m *wire.WaitForChannels) error {
	for _, w := range m.Wait {
		other := ch.client.channel(w.Channel)
		if other == nil || other == ch {
			continue // not open here: what it carries is not waited for by anything that we show
		}
		for {
			rung := ch.client.bell.next()
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
	ch.outMu.Lock()
	defer ch.outMu.Unlock()
	if err := ch.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	ch.raw = m.Append(ch.raw[:0])
	h := wire.Header{Serial: ch.out.Serial() + 1, Type: m.MessageType(), Size: uint32(len(ch.raw))}
	if ch.tap != nil {
		ch.tap.Message(wire.FromClient, h, ch.raw)
	}
	if err := ch.out.WriteRaw(h, ch.raw); err != nil {
		return gone(err)
	}
	ch.traffic.sent(m.MessageName(), ch.headerSize()+len(ch.raw))
	return nil
}

// ask sends a message on behalf of a caller outside of the readers: its error is the session's.
func (c *Client) ask(id wire.ChannelID, m wire.ClientMessage) error {
	if err := c.ended(); err != nil {
		return err
	}
	ch := c.channel(id)
	if ch == nil {
		return &ChannelError{Channel: id, Message: m.MessageName(), Err: errNotOpen}
	}
	if err := ch.send(m); err != nil {
		c.end(&ChannelError{Channel: id, Message: m.MessageName(), Err: err})
		return c.ended()
	}
	return nil
}

var errNotOpen = errors.New("the channel is not open")
