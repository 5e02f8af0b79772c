package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/internal/ctxio"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
	"github.com/spicelane/spicelane/spice/control/internal/pixels"
)

// maxAnswerLine is the longest line the driver reads: an uncompressed picture
// of 7680×4320 in base64 has 177 million bytes.
const maxAnswerLine = 192 << 20

// DriverConfig configures a [Driver]. Its zero value is useful.
type DriverConfig struct {
	// Name is sent as client_name. Empty is "spicelane".
	Name string
	// Version is the protocol version to ask for. Empty is [Version]; leave it empty unless you
	// test a server.
	Version string
}

// Driver is the driver half of the control socket: a typed client of a server,
// ours or ryll's. Its methods may be called at the same time.
type Driver struct {
	conn  net.Conn
	hello HelloResult

	subMu   sync.Mutex    // held while the server's subscriptions are changed
	writing chan struct{} // holds a value while a line is written

	mu      sync.Mutex
	nextID  int64
	pending map[string]chan Response // by id; each has room for one
	subs    map[*Subscription]bool
	err     error // why the connection is over
	done    chan struct{}
}

// Dial connects to the control socket at path and sends hello. If the server is busy with another
// client, the error is an *[Error] with the code busy.
func Dial(ctx context.Context, path string) (*Driver, error) {
	return DriverConfig{}.Dial(ctx, path)
}

// Dial connects as [Dial] does, with this configuration.
func (cfg DriverConfig) Dial(ctx context.Context, path string) (*Driver, error) {
	if n := len(path); n > MaxSocketPath {
		return nil, &PathError{Path: path, Hint: fmt.Sprintf("the path has %d bytes and a socket's has at most %d", n, MaxSocketPath)}
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		pe := &PathError{Path: path, Err: err}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			pe.Hint = "no control socket there: is the client running?"
		case errors.Is(err, syscall.ECONNREFUSED):
			pe.Hint = "nobody listens on it any more: the client has ended"
		}
		return nil, pe
	}
	return cfg.Hello(ctx, conn)
}

// DialWait does what Dial does, for a socket that may not exist yet or may still serve another
// client. It tries until it succeeds or ctx ends.
func (cfg DriverConfig) DialWait(ctx context.Context, path string) (*Driver, error) {
	const pause = 25 * time.Millisecond // short against a lane's start, long against a dial
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var last error // what stood in the way before ctx ended
	for {
		d, err := cfg.Dial(ctx, path)
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, &Error{Code: CodeBusy}), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			last = err
		case last != nil && (ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)):
			// The cause is ctx, even if the deadline of the connection expired a moment before ctx
			// reported it.
		default:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", last, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Hello sends hello on a connection and returns a driver, which owns the connection from then on.
// On an error the connection is closed.
func (cfg DriverConfig) Hello(ctx context.Context, conn net.Conn) (*Driver, error) {
	d := &Driver{
		conn:    conn,
		writing: make(chan struct{}, 1),
		pending: map[string]chan Response{},
		subs:    map[*Subscription]bool{},
		done:    make(chan struct{}),
	}
	go d.read()
	p := HelloParams{ClientName: cfg.Name, ProtocolVersion: cfg.Version}
	if p.ClientName == "" {
		p.ClientName = "spicelane"
	}
	if p.ProtocolVersion == "" {
		p.ProtocolVersion = Version
	}
	if err := d.Call(ctx, MethodHello, p, &d.hello); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Server returns what the server said about itself.
func (d *Driver) Server() HelloResult { return d.hello }

// Supports reports whether the server offers the method.
func (d *Driver) Supports(method string) bool {
	return slices.Contains(d.hello.SupportedMethods, method)
}

// SupportsEvent reports whether the server offers the event.
func (d *Driver) SupportsEvent(event string) bool {
	return slices.Contains(d.hello.SupportedEvents, event)
}

// Done returns a channel that is closed when the connection is over.
func (d *Driver) Done() <-chan struct{} { return d.done }

// Err returns why the connection is over; nil before that.
func (d *Driver) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// ErrDriverClosed is the error of calls after Close.
var ErrDriverClosed = errors.New("control: driver closed")

// Close closes the connection. The server cancels pastes that are still running.
func (d *Driver) Close() error {
	d.end(ErrDriverClosed)
	d.conn.Close()
	<-d.done
	return nil
}

// end records why the connection is over; the first reason stays.
func (d *Driver) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

// read reads lines until the connection ends, and then wakes all waiters.
func (d *Driver) read() {
	r := ndjson.NewReader(d.conn)
	for {
		line, tooLong, err := r.Read(maxAnswerLine)
		if err == nil && tooLong {
			err = fmt.Errorf("the server sent a line of more than %d bytes", maxAnswerLine)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			d.end(fmt.Errorf("control: connection to the server lost: %w", err))
			break
		}
		if len(line) == 0 {
			continue
		}
		if err := d.take(line); err != nil {
			d.end(err)
			break
		}
	}
	d.conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.done)
	for s := range d.subs {
		s.wakeLocked()
	}
}

// take passes one line to its receiver.
func (d *Driver) take(line []byte) error {
	var resp Response
	var ev Event
	err := splitObject(line, func(name string, value json.RawMessage) error {
		switch name {
		case "id":
			if string(value) != "null" {
				resp.ID = value
			}
		case "ok":
			return json.Unmarshal(value, &resp.OK)
		case "result":
			resp.Result = value
		case "error":
			return json.Unmarshal(value, &resp.Error)
		case "event":
			return json.Unmarshal(value, &ev.Name)
		case "data":
			ev.Data = value
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("control: the server sent a line that is not protocol: %s: %w", ndjson.Abbreviate(line), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case ev.Name != "":
		for s := range d.subs {
			s.pushLocked(ev)
		}
	case resp.ID != nil:
		// NB: an abandoned call is still pending, so that its answer has an owner.
		ch, ok := d.pending[string(resp.ID)]
		if !ok {
			return fmt.Errorf("control: the server sent an answer with an unknown id: %s", ndjson.Abbreviate(resp.ID))
		}
		delete(d.pending, string(resp.ID))
		ch <- resp
	case resp.Error != nil && len(d.pending) == 1 && resp.Error.Code != CodeBusy:
		// A server that could not parse a request cannot name it.
		for id, ch := range d.pending {
			delete(d.pending, id)
			ch <- resp
		}
	case resp.Error != nil:
		return resp.Error
	}
	return nil
}

// Call sends a request and decodes the result into result, a pointer, or discards it if that is
// nil. Use it for verbs that have no method here. An error answer is an *[Error].
func (d *Driver) Call(ctx context.Context, method string, params, result any) error {
	_, ch, err := d.send(ctx, method, params)
	if err != nil {
		return err
	}
	return d.await(ctx, method, ch, result)
}

// send writes a request. Its answer will come through the channel.
func (d *Driver) send(ctx context.Context, method string, params any) (id string, ch chan Response, err error) {
	if params == nil {
		params = struct{}{}
	}
	raw, err := ndjson.Marshal(params)
	if err != nil {
		return "", nil, fmt.Errorf("control: %s: %w", method, err)
	}
	d.mu.Lock()
	if d.err != nil {
		d.mu.Unlock()
		return "", nil, d.methodErr(method)
	}
	d.nextID++
	id = strconv.FormatInt(d.nextID, 10)
	ch = make(chan Response, 1)
	d.pending[id] = ch
	d.mu.Unlock()
	forget := func() {
		d.mu.Lock()
		delete(d.pending, id)
		d.mu.Unlock()
	}
	line, err := ndjson.Marshal(Request{ID: ID(id), Method: method, Params: raw})
	if err != nil {
		forget()
		return "", nil, fmt.Errorf("control: %s: %w", method, err)
	}
	if err := d.write(ctx, append(line, '\n')); err != nil {
		select {
		case resp := <-ch: // answered although the request did not get through: busy
			ch <- resp
			return id, ch, nil
		default:
		}
		forget()
		return "", nil, fmt.Errorf("control: %s: %w", method, err)
	}
	return id, ch, nil
}

// write writes a line until ctx ends. A truncated line ends the connection, because the server
// could not tell its rest from the next request.
func (d *Driver) write(ctx context.Context, line []byte) error {
	select {
	case d.writing <- struct{}{}:
		defer func() { <-d.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	n, err := ctxio.Write(ctx, d.conn, line)
	if err == nil || n == 0 && ctx.Err() != nil {
		return err
	}
	// The server's last line, for example busy, says more than the broken pipe. Let the reader come
	// to its end first.
	if c, ok := d.conn.(interface{ CloseWrite() error }); ok && ctx.Err() == nil && c.CloseWrite() == nil {
		select {
		case <-d.done:
		case <-ctx.Done():
		}
	}
	d.end(fmt.Errorf("control: write: %w", err))
	d.conn.Close()
	<-d.done
	return d.Err()
}

// await waits for the answer to a request that was sent.
func (d *Driver) await(ctx context.Context, method string, ch chan Response, result any) error {
	var resp Response
	select {
	case resp = <-ch:
	case <-ctx.Done():
		return fmt.Errorf("control: %s: no answer: %w", method, context.Cause(ctx))
	case <-d.done:
		select {
		case resp = <-ch: // the last line before the end
		default:
			return d.methodErr(method)
		}
	}
	if !resp.OK {
		if resp.Error == nil {
			return fmt.Errorf("control: %s: the server refused and gave no reason", method)
		}
		resp.Error.Method = method
		return resp.Error
	}
	var err error
	switch result := result.(type) {
	case nil:
	case *ScreenshotResult:
		err = result.decode(resp.Result)
	default:
		err = json.Unmarshal(resp.Result, result)
	}
	if err != nil {
		return fmt.Errorf("control: %s: result: %w", method, err)
	}
	return nil
}

// methodErr returns the connection's end as the error of one call.
func (d *Driver) methodErr(method string) error {
	err := d.Err()
	if e := new(Error); errors.As(err, &e) {
		return &Error{Method: method, Code: e.Code, Message: e.Message}
	}
	return fmt.Errorf("control: %s: %w", method, err)
}

// Status returns the state of the console.
func (d *Driver) Status(ctx context.Context) (Status, error) {
	var st Status
	err := d.Call(ctx, MethodStatus, nil, &st)
	return st, err
}

// SendKey presses, releases or taps a key. code is its AT set 1 make code, with a prefix of 0xe0 in
// the high byte.
func (d *Driver) SendKey(ctx context.Context, code uint16, state KeyState) error {
	return d.Call(ctx, MethodSendKey, SendKeyParams{Scancode: code, State: state}, nil)
}

// releaseTime limits how long a chord waits for the answer to a release after ctx has ended.
const releaseTime = 2 * time.Second

// Chord presses the keys in order and releases them in reverse order, even if one of them fails or
// ctx ends.
func (d *Driver) Chord(ctx context.Context, codes ...uint16) error {
	var err error
	n := 0
	for ; n < len(codes) && err == nil; n++ {
		err = d.SendKey(ctx, codes[n], Down)
	}
	for i := n - 1; i >= 0; i-- {
		if upErr := d.release(ctx, codes[i]); err == nil {
			err = upErr
		}
	}
	return err
}

// release releases a key, also if ctx has ended.
func (d *Driver) release(ctx context.Context, code uint16) error {
	within, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(releaseTime, func() { cancel(context.Cause(ctx)) })
	})()
	return d.SendKey(within, code, Up)
}

// Paste types a text and waits until all of it has been sent to the guest. It returns the number of
// characters sent. If the paste began and then failed, the error is a *PasteError.
func (d *Driver) Paste(ctx context.Context, p PasteParams) (int, error) {
	sub, err := d.Subscribe(ctx, EventPasteCompleted, EventPasteFailed)
	if err != nil {
		return 0, err
	}
	defer sub.Close()
	id, ch, err := d.send(ctx, MethodPaste, p)
	if err != nil {
		return 0, err
	}
	if err := d.await(ctx, MethodPaste, ch, nil); err != nil {
		return 0, err
	}
	for {
		ev, err := sub.Next(ctx)
		if err != nil {
			return 0, fmt.Errorf("control: paste: %w", err)
		}
		switch ev.Name {
		case EventPasteCompleted:
			var data PasteCompletedData
			if err := ev.Decode(&data); err != nil {
				return 0, err
			}
			if string(data.RequestID) == id {
				return int(data.CharsSent), nil
			}
		case EventPasteFailed:
			var data PasteFailedData
			if err := ev.Decode(&data); err != nil {
				return 0, err
			}
			if string(data.RequestID) == id {
				return 0, &PasteError{Reason: data.Reason}
			}
		}
	}
}

// PasteError says that a paste began and then failed.
type PasteError struct{ Reason string }

// Error says why.
func (e *PasteError) Error() string { return "control: paste failed: " + e.Reason }

// Screenshot takes a picture according to the params.
func (d *Driver) Screenshot(ctx context.Context, p ScreenshotParams) (ScreenshotResult, error) {
	var res ScreenshotResult
	err := d.Call(ctx, MethodScreenshot, p, &res)
	return res, err
}

// Image takes a picture and decodes it. It requests raw pixels unless the params say otherwise.
func (d *Driver) Image(ctx context.Context, p ScreenshotParams) (*image.NRGBA, error) {
	if p.Format == "" {
		p.Format = "rgba"
	}
	res, err := d.Screenshot(ctx, p)
	if err != nil {
		return nil, err
	}
	return res.Image()
}

// Image decodes the picture. In the format rgba, it shares the memory of r.Data.
func (r ScreenshotResult) Image() (*image.NRGBA, error) {
	switch r.Format {
	case "rgba":
		if r.Width <= 0 || r.Height <= 0 || len(r.Data)/4/r.Width != r.Height || len(r.Data)%(4*r.Width) != 0 {
			return nil, fmt.Errorf("control: screenshot: %d bytes are no %dx%d pixels", len(r.Data), r.Width, r.Height)
		}
		return &image.NRGBA{Pix: r.Data, Stride: 4 * r.Width, Rect: image.Rect(0, 0, r.Width, r.Height)}, nil
	case "png":
		img, err := pixels.DecodePNG(r.Data)
		if err != nil {
			return nil, fmt.Errorf("control: screenshot: %w", err)
		}
		if b := img.Bounds(); b != image.Rect(0, 0, r.Width, r.Height) {
			return nil, fmt.Errorf("control: screenshot: the PNG has %dx%d pixels and the answer says %dx%d", b.Dx(), b.Dy(), r.Width, r.Height)
		}
		return pixels.NRGBA(img), nil
	default:
		return nil, fmt.Errorf("control: screenshot: format %q", r.Format)
	}
}

// Digest returns the digest on the screen. If the server lacks the verb digest, it waits for the
// next digest_updated.
func (d *Driver) Digest(ctx context.Context) (Digest, error) {
	var dig Digest
	if d.Supports(MethodDigest) {
		err := d.Call(ctx, MethodDigest, nil, &dig)
		return dig, err
	}
	if !d.SupportsEvent(EventDigestUpdated) {
		return dig, &Error{Method: MethodDigest, Code: CodeUnknownMethod, Message: "the server does not read digests"}
	}
	sub, err := d.Subscribe(ctx, EventDigestUpdated)
	if err != nil {
		return dig, err
	}
	defer sub.Close()
	for {
		ev, err := sub.Next(ctx)
		if err != nil {
			return dig, fmt.Errorf("control: digest: %w", err)
		}
		if ev.Name == EventDigestUpdated {
			return dig, ev.Decode(&dig)
		}
	}
}

// PathError says why a path cannot be the control socket.
type PathError struct {
	Path string
	// InUse means that another process answers on the socket.
	InUse bool
	// Hint says what to do.
	Hint string
	// Err is the cause, if it came from the system.
	Err error
}

// Error says what is wrong with the path and what to do.
func (e *PathError) Error() string {
	s := "control: socket " + e.Path
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *PathError) Unwrap() error { return e.Err }
