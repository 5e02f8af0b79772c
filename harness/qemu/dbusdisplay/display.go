// Package dbusdisplay reads a machine's screen from QEMU's D-Bus display (-display dbus,p2p=yes):
// every change as QEMU makes it, without polling and without files.
//
//	d, err := dbusdisplay.Open(ctx, machine.QMP())
//	if err != nil { … }
//	defer d.Close()
//	shot, err := d.Picture(ctx)               // the first one, or the present one
//	shot, err = d.Await(ctx, shot.Changes)    // after something was painted
//
// A Display keeps a copy of the first console's surface and applies QEMU's updates in order. Before
// Open it costs nothing, because QEMU draws only for listeners. Like a screendump, its pictures do
// not contain the pointer.
//
// It talks to QEMU over two socket pairs without a bus. QMP passes the first; a call over the first
// passes the second. QEMU's ui/dbus-display1.xml describes the interfaces.
package dbusdisplay

import (
	"context"
	"errors"
	"fmt"
	"image"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/spicelane/spicelane/internal/socketpair"
	"github.com/spicelane/spicelane/qmp"
)

const (
	consolePath  = "/org/qemu/Display1/Console_0"
	registerCall = "org.qemu.Display1.Console.RegisterListener"
	listenerName = "org.qemu.Display1.Listener"
)

// A Picture is the screen at one moment.
type Picture struct {
	*image.NRGBA // opaque; the caller's own
	// Changes is how many times QEMU has painted or set up something so far.
	Changes uint64
	// Scanouts counts the surfaces: it rises with each change of the mode.
	Scanouts int
}

// A Display is a copy of a machine's screen. Its methods may be called from any
// goroutine.
type Display struct {
	console *dbus.Conn
	stale   chan struct{} // holds a token when the surface has to be sent again
	stop    chan struct{} // closed by Close
	joined  sync.WaitGroup

	registering sync.Mutex // held while a listener is registered or asked

	mu       sync.Mutex
	closed   bool
	listener *dbus.Conn
	img      *image.NRGBA // nil while there is no surface, or it is not known
	err      error        // why the screen cannot be shown; nil after a good Scanout
	changes  uint64
	scanouts int
	changed  chan struct{} // closed at the next change
}

// Open makes QEMU report every change to a new Display. ctx limits the call. An error of QEMU is a
// *qmp.Error; without a D-Bus display the error says so.
func Open(ctx context.Context, c *qmp.Client) (*Display, error) {
	d := &Display{changed: make(chan struct{}), stale: make(chan struct{}, 1), stop: make(chan struct{})}
	err := d.open(ctx, c)
	if err == nil {
		err = d.register(ctx)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("D-Bus display: %w", err)
	}
	d.joined.Go(d.follow)
	return d, nil
}

// open connects to QEMU's console.
func (d *Display) open(ctx context.Context, c *qmp.Client) error {
	ours, theirs, err := socketpair.New("dbus")
	if err != nil {
		return err
	}
	defer theirs.Close()
	if d.console, err = dial(ours, dbus.WithIncomingInterceptor(d.resized)); err != nil {
		return errors.Join(err, ours.Close())
	}
	const name = "dbus-display"
	if err := c.GetFD(ctx, name, theirs); err != nil {
		return err
	}
	if err := c.Do(ctx, "add_client", map[string]any{"protocol": "@dbus-display", "fdname": name}, nil); err != nil {
		return err
	}
	return auth(ctx, d.console, ours)
}

// register makes QEMU report all changes to this Display, beginning with the whole surface. It ends
// an earlier registration.
func (d *Display) register(ctx context.Context) error {
	d.registering.Lock()
	defer d.registering.Unlock()
	ours, theirs, err := socketpair.New("dbus")
	if err != nil {
		return err
	}
	defer theirs.Close()
	// NB: use the interceptor, because each call is answered by a separate goroutine, so in any
	// order, and updates must stay in order.
	var conn *dbus.Conn
	conn, err = dial(ours, dbus.WithHandler(answers{}),
		dbus.WithIncomingInterceptor(func(msg *dbus.Message) { d.receive(conn, msg) }))
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	d.mu.Lock()
	former := d.listener
	d.listener, d.img = conn, nil
	closed := d.closed
	d.mu.Unlock()
	// NB: QEMU knows both connections by the same name. When the former one ends, it may drop this
	// one.
	context.AfterFunc(conn.Context(), func() { d.lost(conn) })
	if former != nil {
		former.Close()
	}
	if closed {
		return errors.Join(errEnded, conn.Close())
	}
	call := d.console.Object("", consolePath).GoWithContext(ctx, registerCall, 0, make(chan *dbus.Call, 1), dbus.UnixFD(theirs.Fd()))
	// QEMU waits for the other side's handshake before it continues.
	if err := auth(ctx, conn, ours); err != nil {
		return err
	}
	select {
	case <-call.Done:
		return call.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// registerLimit is how long QEMU may take to send a surface again.
const registerLimit = 30 * time.Second

// follow registers again whenever QEMU has a surface that it has not sent.
func (d *Display) follow() {
	for {
		select {
		case <-d.stop:
			return
		case <-d.console.Context().Done():
			return
		case <-d.stale:
		}
		ctx, cancel := context.WithTimeout(context.Background(), registerLimit)
		stop := context.AfterFunc(d.console.Context(), cancel)
		err := d.register(ctx)
		stop()
		cancel()
		if d.console.Context().Err() != nil {
			return
		}
		if err != nil {
			d.mu.Lock()
			d.err = fmt.Errorf("D-Bus display: cannot get the new surface: %w", err)
			d.note()
			d.mu.Unlock()
		}
	}
}

// outdated records that QEMU shows another surface. QEMU sends a new surface with its first full
// update, which never comes in text modes. The caller holds d.mu.
func (d *Display) outdated() {
	d.img = nil
	select {
	case d.stale <- struct{}{}:
	default:
	}
}

// lost notes that QEMU has ended a listener's connection.
func (d *Display) lost(conn *dbus.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn == d.listener && !d.closed {
		d.outdated()
	}
}

// resized checks the properties of QEMU's console: a new size means a new surface.
func (d *Display) resized(msg *dbus.Message) {
	if msg.Type != dbus.TypeSignal || len(msg.Body) < 2 {
		return
	}
	if member, _ := msg.Headers[dbus.FieldMember].Value().(string); member != "PropertiesChanged" {
		return
	}
	changed, _ := msg.Body[1].(map[string]dbus.Variant)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.img == nil {
		return
	}
	for name, is := range map[string]int{"Width": d.img.Rect.Dx(), "Height": d.img.Rect.Dy()} {
		if v, ok := changed[name].Value().(uint32); ok && int(v) != is {
			d.outdated()
			return
		}
	}
}

// note wakes all waiters. The caller holds d.mu.
func (d *Display) note() {
	d.changes++
	close(d.changed)
	d.changed = make(chan struct{})
}

// auth authenticates as this user. There is no bus that needs a Hello.
func auth(ctx context.Context, c *dbus.Conn, conn *net.UnixConn) error {
	me := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		me = u.Uid
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := c.Auth([]dbus.Auth{dbus.AuthExternal(me), dbus.AuthAnonymous()})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Close ends the connections. It is idempotent.
func (d *Display) Close() error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.stop)
	}
	listener := d.listener
	d.mu.Unlock()
	var errs []error
	for _, c := range []*dbus.Conn{listener, d.console} {
		if c != nil {
			if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	d.joined.Wait()
	return errors.Join(errs...)
}

// errEnded means that QEMU, or Close, has ended the connection.
var errEnded = errors.New("D-Bus display: the connection has ended")

// Picture returns the present screen; it waits until there is a surface.
func (d *Display) Picture(ctx context.Context) (Picture, error) { return d.await(ctx, 0) }

// Await waits until QEMU has painted or set up something since a picture with that many Changes,
// and returns the screen.
func (d *Display) Await(ctx context.Context, since uint64) (Picture, error) {
	return d.await(ctx, since+1)
}

func (d *Display) await(ctx context.Context, changes uint64) (Picture, error) {
	for {
		if d.console != nil && d.console.Context().Err() != nil {
			return Picture{}, errEnded
		}
		d.mu.Lock()
		changed, err := d.changed, d.err
		if d.changes >= changes && d.img != nil && err == nil {
			p := Picture{&image.NRGBA{Pix: append([]byte(nil), d.img.Pix...), Stride: d.img.Stride, Rect: d.img.Rect}, d.changes, d.scanouts}
			d.mu.Unlock()
			return p, nil
		}
		d.mu.Unlock()
		if err != nil {
			return Picture{}, err
		}
		select {
		case <-changed:
		case <-d.console.Context().Done():
			return Picture{}, errEnded
		case <-ctx.Done():
			return Picture{}, fmt.Errorf("D-Bus display: awaiting a picture: %w", context.Cause(ctx))
		}
	}
}

// Sync waits until everything that QEMU sent before has been applied.
func (d *Display) Sync(ctx context.Context) error {
	d.registering.Lock()
	defer d.registering.Unlock()
	d.mu.Lock()
	conn := d.listener
	d.mu.Unlock()
	// QEMU's answer follows what it sent before.
	err := conn.Object("", consolePath).CallWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0).Err
	if ctx.Err() != nil {
		return fmt.Errorf("D-Bus display: awaiting an answer: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("D-Bus display: %w", err)
	}
	return nil
}

// receive handles one call of QEMU on conn, on the goroutine of conn's reader. It ignores calls on
// a former connection.
func (d *Display) receive(conn *dbus.Conn, msg *dbus.Message) {
	if msg.Type != dbus.TypeMethodCall {
		return
	}
	if name, _ := msg.Headers[dbus.FieldInterface].Value().(string); name != listenerName {
		return
	}
	member, _ := msg.Headers[dbus.FieldMember].Value().(string)
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn != d.listener {
		return
	}
	switch member {
	case "Scanout":
		d.err = d.scanout(msg.Body)
	case "Update":
		if err := d.update(msg.Body); err != nil {
			d.err = err
		}
	case "Disable":
		d.img = nil
	case "ScanoutDMABUF", "UpdateDMABUF":
		d.err = errors.New("D-Bus display: the picture is in the graphics card's memory")
	default:
		return // the pointer
	}
	d.note()
}

// scanout sets up a new surface.
func (d *Display) scanout(body []any) error {
	n, data, ok := arguments[uint32](body, 4)
	if !ok {
		return errors.New("D-Bus display: malformed Scanout")
	}
	w, h, stride, format := n[0], n[1], n[2], n[3]
	if w == 0 || h == 0 || w > maxPicture || h > maxPicture {
		return fmt.Errorf("D-Bus display: a surface of %d×%d", w, h)
	}
	d.scanouts++
	d.img = image.NewNRGBA(image.Rect(0, 0, int(w), int(h)))
	return paint(d.img, d.img.Rect, int(stride), format, data)
}

// arguments returns n numbers of one kind and the bytes that may follow. It asserts types, because
// dbus.Store would copy megabytes byte by byte.
func arguments[T any](body []any, n int) (numbers []T, data []byte, ok bool) {
	if len(body) < n {
		return nil, nil, false
	}
	for _, v := range body[:n] {
		number, ok := v.(T)
		if !ok {
			return nil, nil, false
		}
		numbers = append(numbers, number)
	}
	if len(body) > n {
		if data, ok = body[n].([]byte); !ok {
			return nil, nil, false
		}
	}
	return numbers, data, true
}

// update paints one rectangle. It ignores updates before the first surface, which contains them.
func (d *Display) update(body []any) error {
	if d.img == nil {
		return nil
	}
	if len(body) != 7 {
		return errors.New("D-Bus display: malformed Update")
	}
	at, _, ok := arguments[int32](body[:4], 4)
	n, data, ok2 := arguments[uint32](body[4:], 2)
	if !ok || !ok2 {
		return errors.New("D-Bus display: malformed Update")
	}
	x, y, w, h, stride, format := at[0], at[1], at[2], at[3], n[0], n[1]
	r := image.Rect(int(x), int(y), int(x)+int(w), int(y)+int(h))
	if w < 0 || h < 0 {
		return fmt.Errorf("D-Bus display: an update of %d×%d pixels", w, h)
	}
	if !r.In(d.img.Rect) {
		d.outdated()
		return nil
	}
	return paint(d.img, r, int(stride), format, data)
}

// maxPicture limits width and height; QEMU's devices stop well below.
const maxPicture = 16384

// Formats of pixels (pixman.h, PIXMAN_x8r8g8b8 and others), in the host's byte order.
const (
	x8r8g8b8 = 0x20020888
	a8r8g8b8 = 0x20028888
	r5g6b5   = 0x10020565
	x1r5g5b5 = 0x10020555
)

// paint copies QEMU's pixels into rectangle r of img.
func paint(img *image.NRGBA, r image.Rectangle, stride int, format uint32, data []byte) error {
	size := 4
	switch format {
	case x8r8g8b8, a8r8g8b8:
	case r5g6b5, x1r5g5b5:
		size = 2
	default:
		return fmt.Errorf("D-Bus display: pixels of the format %#x are not read here", format)
	}
	if r.Empty() {
		return nil
	}
	if stride < size*r.Dx() || len(data) < stride*(r.Dy()-1)+size*r.Dx() {
		return fmt.Errorf("D-Bus display: %d bytes in lines of %d for %d×%d pixels", len(data), stride, r.Dx(), r.Dy())
	}
	for y := range r.Dy() {
		in, out := data[y*stride:], img.Pix[img.PixOffset(r.Min.X, r.Min.Y+y):]
		out = out[:4*r.Dx()]
		switch format {
		case x8r8g8b8, a8r8g8b8:
			in = in[:len(out)]
			for i := 0; i < len(out); i += 4 {
				out[i], out[i+1], out[i+2], out[i+3] = in[i+2], in[i+1], in[i], 0xff
			}
		default:
			for x := range r.Dx() {
				v := uint16(in[2*x]) | uint16(in[2*x+1])<<8
				red, green, blue := widen(v>>10, 5), widen(v>>5, 5), widen(v, 5)
				if format == r5g6b5 {
					red, green = widen(v>>11, 5), widen(v>>5, 6)
				}
				out[4*x], out[4*x+1], out[4*x+2], out[4*x+3] = red, green, blue, 0xff
			}
		}
	}
	return nil
}

// widen expands the lowest n bits of v to eight bits by repeating the highest of them.
func widen(v uint16, n int) byte {
	v &= 1<<n - 1
	return byte(v<<(8-n) | v>>(2*n-8))
}

// answers answers QEMU's calls, which receive has handled, without decoding them again: a whole
// surface has megabytes.
type answers struct{ method string }

func (a answers) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return a, true }
func (a answers) LookupInterface(string) (dbus.Interface, bool)          { return a, true }
func (a answers) LookupMethod(name string) (dbus.Method, bool)           { return answers{name}, true }

func (answers) DecodeArguments(*dbus.Conn, string, *dbus.Message, []any) ([]any, error) {
	return nil, nil
}

// Call answers a call. Newer QEMUs ask for a listener's properties, which list the other ways of
// passing pictures that it supports. It supports none.
func (a answers) Call(...any) ([]any, error) {
	switch a.method {
	case "Get":
		return []any{dbus.MakeVariant([]string{})}, nil
	case "GetAll":
		return []any{map[string]dbus.Variant{"Interfaces": dbus.MakeVariant([]string{})}}, nil
	}
	return nil, nil
}

func (answers) NumArguments() int     { return 0 }
func (answers) NumReturns() int       { return 0 }
func (answers) ArgumentValue(int) any { return nil }
func (answers) ReturnValue(int) any   { return nil }
