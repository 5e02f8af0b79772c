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
	// Request is the client's link request.
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

// Step is one step of a script.
type Step struct {
	// Name names the step in errors.
	Name string
	// Run carries out the step.
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

// drain reads until the client disconnects.
func (c *Channel) drain() {
	for {
		if _, err := c.receive(time.Time{}); err != nil {
			return
		}
	}
}

// Send writes a message of either direction: tests send a client's message on purpose.
func (c *Channel) Send(m wire.Message) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.timeout())); err != nil {
		return err
	}
	return c.out.WriteMessage(m)
}

// SendRaw writes a message with an encoded body. If h.Serial is 0, the next serial is used. h.Size
// is set.
func (c *Channel) SendRaw(h wire.Header, body []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.timeout())); err != nil {
		return err
	}
	if h.Serial == 0 {
		h.Serial = c.out.Serial() + 1
	}
	// A recorded ping of a Sync: later ones continue from its number.
	var ping wire.Ping
	if h.Type == ping.MessageType() && ping.Decode(body) == nil && ping.ID > syncID && ping.ID < syncID+1<<24 {
		c.syncs = max(c.syncs, ping.ID-syncID)
	}
	return c.out.WriteRaw(h, body)
}

// SendBytes writes arbitrary bytes.
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

// Receive reads the next message, which owns its memory.
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

// lastHeard adds the last received message to err.
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

// skip reports whether a step that waits for want ignores m: Acks may come at any time.
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

// SendBytes sends arbitrary bytes.
func SendBytes(b []byte) Step {
	return Step{fmt.Sprintf("send %d bytes", len(b)), func(c *Channel) error { return c.SendBytes(b) }}
}

// Expect waits for exactly this message. It ignores Acks, unless want is one; any other message is
// an error.
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
			// Compare the bytes: an empty and a nil slice are the same message.
			if m.MessageType() != want.MessageType() || string(m.Append(nil)) != string(want.Append(nil)) {
				return fmt.Errorf("got %s, want %s", describe(m), describe(want))
			}
			return nil
		}
	}}
}

// ExpectA waits for a message of a type, and calls check with it if that is not nil. It ignores
// Acks; any other message is an error.
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

// Await ignores messages until one of a type comes that check, if not nil, accepts.
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

// Sync waits until the client has handled all that was sent on the channel: it sends a ping and
// ignores everything until its pong comes.
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

// AwaitHangUp ignores all messages until the client closes the connection.
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

// Do returns a step with the test's own function.
func Do(name string, run func(*Channel) error) Step { return Step{name, run} }
