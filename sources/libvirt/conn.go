package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// location says where a libvirtd is, and which driver to open there.
type location struct {
	uri     golibvirt.ConnectURI // as libvirtd wants it, as in "qemu:///system"
	sockets []string             // the first that exists is used
}

func (l location) wrap(err error) error { return fmt.Errorf("libvirt %s: %w", l.uri, err) }

// parseURI reads a libvirt URI that means a unix socket of this machine
// (https://libvirt.org/uri.html).
func parseURI(text string) (location, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return location{}, fmt.Errorf("%q is not a libvirt URI, as in qemu:///system", text)
	}
	driver, transport, _ := strings.Cut(u.Scheme, "+")
	if u.Host != "" || transport != "" && transport != "unix" {
		return location{}, fmt.Errorf("%q is on another machine, and only unix sockets work: forward its socket "+
			"(ssh -L /run/it.sock:/run/libvirt/libvirt-sock HOST) and write %s://%s?socket=/run/it.sock", u.Redacted(), driver, u.Path)
	}
	l := location{uri: golibvirt.ConnectURI(driver + "://" + u.Path)}
	query := u.Query()
	for key := range query {
		if key != "socket" {
			return location{}, fmt.Errorf("%q has the parameter %q, which is unknown: only socket= works", text, key)
		}
	}
	// On newer systems virtqemud and similar daemons replace libvirtd.
	names := []string{"virt" + driver + "d-sock", "libvirt-sock"}
	switch socket := query.Get("socket"); {
	case socket != "":
		if !filepath.IsAbs(socket) {
			return location{}, fmt.Errorf("%q: the socket's path is not absolute", text)
		}
		l.sockets = []string{socket}
	case u.Path == "/system":
		for _, name := range names {
			l.sockets = append(l.sockets, filepath.Join("/run/libvirt", name))
		}
	case u.Path == "/session":
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			if dir, err = os.UserCacheDir(); err != nil {
				return location{}, err
			}
		}
		for _, name := range names {
			l.sockets = append(l.sockets, filepath.Join(dir, "libvirt", name))
		}
	default:
		return location{}, fmt.Errorf("%q has neither /system nor /session nor a socket=", text)
	}
	return l, nil
}

// dial connects to the socket.
func (l location) dial(ctx context.Context) (net.Conn, error) {
	path := l.sockets[len(l.sockets)-1]
	for _, p := range l.sockets {
		if _, err := os.Stat(p); err == nil {
			path = p
			break
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w (may this user speak to libvirtd? its group is often called libvirt)", err)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (is libvirtd running?)", err)
	}
	return conn, err
}

// conn is one connection to a libvirtd. Only one goroutine at a time makes calls.
//
// NB: use only calls of the library with one answer and without a stream. Do not use Disconnect and
// Disconnected: they wait forever if the connection broke at the wrong moment. Ending a
// subscription blocks the reader forever if an event comes meanwhile, so end it only after the
// reader has ended.
type conn struct {
	at          location
	rpc         *golibvirt.Libvirt
	wire        *guard
	told        <-chan golibvirt.DomainEventLifecycleMsg // nil if there is no subscription
	unsubscribe context.CancelFunc
}

// connect connects and opens the URI.
func (l location) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	raw, err := l.dial(ctx)
	if err != nil {
		return nil, l.wrap(err)
	}
	c := &conn{at: l, wire: newGuard(raw)}
	c.rpc = golibvirt.NewWithDialer(dialed{c.wire})
	err = c.call(ctx, "open", func() error { return c.rpc.ConnectToURI(l.uri) })
	if err != nil {
		c.close()
		return nil, err
	}
	close(c.wire.open)
	return c, nil
}

// dialed is a dialer that returns an existing connection.
type dialed struct{ conn net.Conn }

func (d dialed) Dial() (net.Conn, error) { return d.conn, nil }

// call makes a call. If ctx ends or no answer comes, it closes the connection, because nothing else
// ends a call.
func (c *conn) call(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %s", answerTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.wire.fail(context.Cause(ctx)) })
	err := f()
	stop()
	var refused golibvirt.Error
	if err != nil && !errors.As(err, &refused) {
		// The library says that it was interrupted, but not why.
		if why := c.wire.why(); why != nil {
			err = why
		}
	}
	if err != nil {
		return c.at.wrap(fmt.Errorf("%s: %w", what, err))
	}
	return nil
}

// events subscribes to the lifecycle events of domains. The channel is closed when the connection
// ends.
func (c *conn) events(ctx context.Context) (<-chan golibvirt.DomainEventLifecycleMsg, error) {
	var subscribed context.Context
	subscribed, c.unsubscribe = context.WithCancel(context.Background())
	err := c.call(ctx, "subscribe to events", func() (err error) {
		c.told, err = c.rpc.LifecycleEvents(subscribed)
		return err
	})
	return c.told, err
}

// ended returns why the connection ended.
func (c *conn) ended() error {
	if why := c.wire.why(); why != nil {
		return why
	}
	return errors.New("the connection has ended")
}

// close ends the connection and the subscription.
func (c *conn) close() {
	c.wire.fail(net.ErrClosed)
	if c.unsubscribe == nil {
		return
	}
	<-c.wire.readerGone
	c.unsubscribe()
	if c.told != nil {
		for range c.told {
		}
	}
}

// Packets of libvirt's protocol: five numbers, then the body
// (https://libvirt.org/kbase/internals/rpc.html).
const (
	packetHead = 28      // length, program, version, procedure, type, serial, status
	maxPacket  = 1 << 25 // at least VIR_NET_MESSAGE_MAX

	remoteProgram    = 0x20008086
	qemuProgram      = 0x20008087
	keepaliveProgram = 0x6b656570

	procConnectOpen = 1
	typeReply       = 1
)

// guard is a connection that passes only packets of libvirt's protocol to the library. Without it
// the library allocates any announced length, panics if the length is too small, and never returns
// from a call with two answers.
type guard struct {
	net.Conn
	open chan struct{} // is closed when ConnectToURI has returned

	head   []byte // of the packet: bytes not yet passed on
	body   int    // of the packet: how many bytes are still to be read
	opened bool   // the answer to ConnectToURI's last call has passed
	serial int32  // of the last answer

	readerGone chan struct{} // is closed when Read has returned an error
	gone       sync.Once

	closed chan struct{}
	once   sync.Once
	err    error // why it was closed
}

func newGuard(c net.Conn) *guard {
	return &guard{Conn: c, open: make(chan struct{}), closed: make(chan struct{}), readerGone: make(chan struct{})}
}

// fail closes the connection for a reason. The first reason counts.
func (g *guard) fail(err error) {
	g.once.Do(func() {
		g.err = err
		close(g.closed)
		g.Conn.Close()
	})
}

// Close closes the connection.
func (g *guard) Close() error {
	g.fail(net.ErrClosed)
	return nil
}

// why returns why the connection was closed, nil if it is open.
func (g *guard) why() error {
	select {
	case <-g.closed:
		return g.err
	default:
		return nil
	}
}

// Read reads well-formed packets. Anything else ends the connection.
func (g *guard) Read(b []byte) (int, error) {
	n, err := g.read(b)
	if err != nil {
		g.fail(hungUp(err))
		g.gone.Do(func() { close(g.readerGone) })
		return n, g.why()
	}
	return n, nil
}

// Write writes b. An error ends the connection.
func (g *guard) Write(b []byte) (int, error) {
	n, err := g.Conn.Write(b)
	if err != nil {
		g.fail(hungUp(err))
		return n, g.why()
	}
	return n, nil
}

// hungUp replaces the errors that mean that libvirtd has closed the connection; which of them
// occurs depends on the bytes in flight. It returns other errors unchanged.
func hungUp(err error) error {
	for _, hangup := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, hangup) {
			return errors.New("libvirtd has closed the connection")
		}
	}
	return err
}

func (g *guard) read(b []byte) (int, error) {
	if len(g.head) == 0 && g.body == 0 {
		if g.opened {
			// ConnectToURI writes a variable of the library that the library's reader reads.
			select {
			case <-g.open:
			case <-g.closed:
			}
		}
		g.head = make([]byte, packetHead)
		if _, err := io.ReadFull(g.Conn, g.head); err != nil {
			return 0, err
		}
		if err := g.check(g.head); err != nil {
			return 0, err
		}
	}
	if len(g.head) > 0 {
		n := copy(b, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	n, err := g.Conn.Read(b[:min(len(b), g.body)])
	g.body -= n
	return n, err
}

// check returns what is wrong with the head of a packet.
func (g *guard) check(head []byte) error {
	var field [packetHead / 4]uint32
	for i := range field {
		field[i] = binary.BigEndian.Uint32(head[4*i:])
	}
	length, program, procedure, kind, serial := field[0], field[1], field[3], field[4], int32(field[5])
	switch {
	case !slices.Contains([]uint32{remoteProgram, qemuProgram, keepaliveProgram}, program):
		return fmt.Errorf("this is not a libvirtd: it begins with % x", head[:8])
	case length < packetHead || length > maxPacket:
		return fmt.Errorf("a packet has %d bytes, want %d to %d", length, packetHead, maxPacket)
	case program == remoteProgram && kind == typeReply && serial <= g.serial:
		return fmt.Errorf("call %d was answered twice", serial)
	}
	if program == remoteProgram && kind == typeReply {
		g.serial = serial
		g.opened = g.opened || procedure == procConnectOpen
	}
	g.body = int(length) - packetHead
	return nil
}
