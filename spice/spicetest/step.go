package spicetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// Channel is the server's end of one connection, for steps.
type Channel struct {
	// Request is what the client asked for.
	Request link.Request

	server *Server
	conn   net.Conn
	in     *wire.FrameReader
	out    *wire.FrameWriter
	mini   bool
	outMu  sync.Mutex
	// received is guarded by server.mu.
	received []wire.ClientMessage
	syncs    uint32
}

// Step is one thing that a script does.
type Step struct {
	// Name says what, for errors.
	Name string
	// Run does it.
	Run func(*Channel) error
}

// play runs the steps.
func (c *Channel) play(steps []Step) error {
	for i, step := range steps {
		if err := step.Run(c); err != nil {
			return fmt.Errorf("spicetest: %s: step %d of %d (%s): %w", c.Request.Channel, i+1, len(steps), step.Name, err)
		}
	}
	return nil
}

// drain reads until the client hangs up.
func (c *Channel) drain() {
	for {
		if _, err := c.receive(time.Time{}); err != nil {
			return
		}
	}
}

// Send writes a message, of either direction: sending one that belongs to the
// client is a mistake that tests make on purpose.
func (c *Channel) Send(m wire.Message) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.timeout())); err != nil {
		return err
	}
	return c.out.WriteMessage(m)
}

// SendRaw writes a message whose body is at hand. h.Serial 0 is the next one.
// h.Size is corrected.
func (c *Channel) SendRaw(h wire.Header, body []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.timeout())); err != nil {
		return err
	}
	if h.Serial == 0 {
		h.Serial = c.out.Serial() + 1
	}
	// A ping of a Sync that was recorded: later ones count on from it.
	var ping wire.Ping
	if h.Type == ping.MessageType() && ping.Decode(body) == nil && ping.ID > syncID && ping.ID < syncID+1<<24 {
		c.syncs = max(c.syncs, ping.ID-syncID)
	}
	return c.out.WriteRaw(h, body)
}

// SendBytes writes anything at all.
func (c *Channel) SendBytes(b []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.timeout())); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// Mini reports whether the channel has the 6-byte header.
func (c *Channel) Mini() bool { return c.mini }

// Receive reads the next message. It owns its memory.
func (c *Channel) Receive() (wire.ClientMessage, error) {
	return c.receive(time.Now().Add(c.server.cfg.timeout()))
}

func (c *Channel) receive(deadline time.Time) (wire.ClientMessage, error) {
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	h, err := c.in.Next()
	if err != nil {
		return nil, c.lastHeard(err)
	}
	body, err := c.in.Body(nil)
	if err != nil {
		return nil, c.lastHeard(err)
	}
	m, err := wire.DecodeClient(c.Request.Channel.Type, h.Type, body)
	if err != nil {
		return nil, err
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.received = append(c.received, m)
	return m, nil
}

// lastHeard adds to err what came last.
func (c *Channel) lastHeard(err error) error {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the client hung up: %w", io.ErrUnexpectedEOF)
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if n := len(c.received); n > 0 {
		return fmt.Errorf("%w (the last of %d messages was %s)", err, n, describe(c.received[n-1]))
	}
	return fmt.Errorf("%w (no message came before)", err)
}

func describe(m wire.Message) string {
	return fmt.Sprintf("%s %+v", m.MessageName(), reflect.Indirect(reflect.ValueOf(m)))
}

// skip reports whether a step that waits for want passes over m: Acks come when
// they come.
func skip(m wire.ClientMessage, want reflect.Type) bool {
	_, ack := m.(*wire.Ack)
	return ack && reflect.TypeOf(m) != want
}

// Send sends messages.
func Send(messages ...wire.Message) Step {
	name := "send nothing"
	if len(messages) > 0 {
		name = "send " + messages[0].MessageName()
	}
	return Step{name, func(c *Channel) error {
		for _, m := range messages {
			if err := c.Send(m); err != nil {
				return err
			}
		}
		return nil
	}}
}

// SendRaw sends a message by number and body.
func SendRaw(messageType uint16, body []byte) Step {
	return Step{fmt.Sprintf("send type %d", messageType), func(c *Channel) error {
		return c.SendRaw(wire.Header{Type: messageType}, body)
	}}
}

// SendBytes sends anything at all.
func SendBytes(b []byte) Step {
	return Step{fmt.Sprintf("send %d bytes", len(b)), func(c *Channel) error { return c.SendBytes(b) }}
}

// Expect waits for exactly this message. Acks are passed over, unless want is
// one; anything else that comes is an error.
func Expect(want wire.ClientMessage) Step {
	return Step{"expect " + want.MessageName(), func(c *Channel) error {
		for {
			m, err := c.Receive()
			if err != nil {
				return err
			}
			if skip(m, reflect.TypeOf(want)) {
				continue
			}
			// Compared as bytes: an empty and a nil slice are the same message.
			if m.MessageType() != want.MessageType() || string(m.Append(nil)) != string(want.Append(nil)) {
				return fmt.Errorf("got %s, want %s", describe(m), describe(want))
			}
			return nil
		}
	}}
}

// ExpectA waits for a message of a type, and shows it to check if that is not
// nil. Acks are passed over, anything else that comes is an error.
func ExpectA[M wire.ClientMessage](check func(M) error) Step {
	want := reflect.TypeFor[M]()
	return Step{"expect a " + want.String(), func(c *Channel) error {
		for {
			m, err := c.Receive()
			if err != nil {
				return err
			}
			if skip(m, want) {
				continue
			}
			typed, ok := m.(M)
			if !ok {
				return fmt.Errorf("got %s, want a %s", describe(m), want)
			}
			if check == nil {
				return nil
			}
			return check(typed)
		}
	}}
}

// Await passes over everything until a message of a type comes that check, if
// not nil, agrees to.
func Await[M wire.ClientMessage](check func(M) bool) Step {
	want := reflect.TypeFor[M]()
	return Step{"await a " + want.String(), func(c *Channel) error {
		for {
			m, err := c.Receive()
			if err != nil {
				return err
			}
			if typed, ok := m.(M); ok && (check == nil || check(typed)) {
				return nil
			}
		}
	}}
}

// syncID marks the pings of Sync among others.
const syncID = 0x5f000000

// Sync waits until the client has handled all that was sent on the channel: it
// sends a ping and passes over everything until its pong comes.
func Sync() Step {
	return Step{"sync", func(c *Channel) error {
		c.syncs++
		id := syncID + c.syncs
		if err := c.Send(&wire.Ping{ID: id}); err != nil {
			return err
		}
		return Await(func(m *wire.Pong) bool { return m.ID == id }).Run(c)
	}}
}

// HangUp closes the connection. Steps after it fail.
func HangUp() Step {
	return Step{"hang up", func(c *Channel) error { return c.conn.Close() }}
}

// AwaitHangUp passes over everything until the client closes the connection.
func AwaitHangUp() Step {
	return Step{"await the client's hanging up", func(c *Channel) error {
		for {
			_, err := c.Receive()
			switch {
			case err == nil:
			case hungUp(err):
				return nil
			default:
				return err
			}
		}
	}}
}

// Do returns a step of the test's own.
func Do(name string, run func(*Channel) error) Step { return Step{name, run} }
