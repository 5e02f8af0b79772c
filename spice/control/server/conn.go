package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// verb is one method of the protocol.
type verb struct {
	name string
	// offered reports whether the server supports the verb; nil means always.
	offered func(*Config) bool
	// waits marks verbs that wait for the guest. They run concurrently with later requests; all
	// others are answered in order.
	waits bool
	// types marks verbs that type: each waits for those that came before it.
	types bool
	run   func(*connection, *call) (any, error)
}

// verbs lists all methods in the order of the hello answer.
var verbs = []verb{
	{name: control.MethodHello, run: (*connection).hello},
	{name: control.MethodStatus, run: (*connection).status},
	{name: control.MethodSendKey, run: (*connection).sendKey},
	{name: control.MethodPaste, run: (*connection).paste, types: true},
	{name: control.MethodScreenshot, run: (*connection).screenshot},
	{name: control.MethodSubscribe, run: (*connection).subscribe},
	{name: control.MethodUnsubscribe, run: (*connection).unsubscribe},
	{name: control.MethodDigest, run: (*connection).digest, offered: func(c *Config) bool { return c.Scan != nil }},
	{name: control.MethodAwait, run: (*connection).awaitCondition, waits: true},
	{name: control.MethodMatch, run: (*connection).match, offered: func(c *Config) bool { return c.Finder != nil }},
	{name: control.MethodType, run: (*connection).typeText, waits: true, types: true},
	{name: control.MethodMouseMove, run: (*connection).mouseMove, offered: has[Pointer]},
	{name: control.MethodMouseButton, run: (*connection).mouseButton, offered: has[Pointer]},
	{name: control.MethodMouseWheel, run: (*connection).mouseWheel, offered: has[Pointer]},
	{name: control.MethodClipboardGet, run: (*connection).clipboardGet, offered: has[Clipboard], waits: true},
	{name: control.MethodClipboardSet, run: (*connection).clipboardSet, offered: has[Clipboard]},
	{name: control.MethodSetDisplay, run: (*connection).setDisplay, offered: has[Resizer]},
	{name: control.MethodCursor, run: (*connection).cursor, offered: has[CursorSource]},
	{name: control.MethodStats, run: (*connection).stats, offered: has[StatsSource]},
	{name: control.MethodRecordStart, run: (*connection).recordStart, offered: has[Recorder], waits: true},
	{name: control.MethodRecordStop, run: (*connection).recordStop, offered: has[Recorder], waits: true},
	{name: control.MethodDisconnect, run: (*connection).disconnect, offered: has[Reconnector], waits: true},
	{name: control.MethodReconnect, run: (*connection).reconnect, offered: has[Reconnector], waits: true},
}

// A call is one request being answered.
type call struct {
	control.Request
	ctx context.Context // ends with the connection
	// commit runs right before the answer is written, while no event can be written. So events of a
	// new subscription cannot precede its answer, and none is lost.
	commit func()
	// after runs when the answer has been written.
	after func()
	// hangUp closes the connection after the answer.
	hangUp bool
	// turn is the place in the queue of verbs that type.
	turn turn
}

// A turn is a place in a queue: its holder may begin when before is closed, and closes done when it
// has ended.
type turn struct {
	before <-chan struct{}
	done   chan struct{}
}

// chanMutex is a mutex made of a channel with a capacity of one. Unlike a sync.Mutex, it counts as
// blocked in testing/synctest.
type chanMutex chan struct{}

func (m chanMutex) Lock()   { m <- struct{}{} }
func (m chanMutex) Unlock() { <-m }

// connection is one client's connection.
type connection struct {
	srv    *Server
	conn   net.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	events *queue
	wg     sync.WaitGroup // verbs that wait, pastes
	typing chan struct{}  // closed when the last verb that types is done; used only by readRequests

	wmu chanMutex // held while a line is written

	// watching is held while the digest watcher starts. It is not mu, because the console may hold
	// a lock of its own while it calls observe, which takes mu, and Observe may need that lock.
	watching sync.Mutex

	mu         sync.Mutex
	greeted    bool
	subscribed map[string]bool
	inFlight   map[string]bool // ids of waiting verbs and pastes
	agent      bool            // the state that the client knows
	agentHeard bool
	digests    *DigestWatcher
}

func newConnection(s *Server, conn net.Conn) *connection {
	ctx, cancel := context.WithCancel(s.ctx)
	idle := make(chan struct{})
	close(idle)
	return &connection{
		srv: s, conn: conn, ctx: ctx, cancel: cancel,
		events:     newQueue(),
		typing:     idle,
		wmu:        make(chanMutex, 1),
		subscribed: map[string]bool{},
		inFlight:   map[string]bool{},
	}
}

// serve answers requests until the client disconnects. Then it cancels what is still running and
// waits for that.
func (cn *connection) serve() {
	log := cn.srv.cfg.logger()
	log.Info("control client connected")
	console := cn.srv.cfg.Console
	stop := console.Observe(cn.observe)
	// The state before the first notice. Reading it before Observe could miss a change in between.
	connected := console.Status().AgentConnected
	cn.mu.Lock()
	if !cn.agentHeard {
		cn.agent = connected
	}
	cn.mu.Unlock()

	writer := make(chan struct{})
	go func() { defer close(writer); cn.writeEvents() }()
	err := cn.readRequests()
	cn.cancel()
	stop()
	cn.wg.Wait()
	cn.mu.Lock()
	digests := cn.digests
	cn.mu.Unlock()
	if digests != nil {
		digests.Close()
	}
	linger(cn.conn)
	cn.conn.Close()
	<-writer
	if err != nil && cn.srv.ctx.Err() == nil {
		log.Warn("control client lost", "err", err)
		return
	}
	log.Info("control client gone")
}

// readRequests answers one line after another. It returns nil when the client has disconnected or
// will be disconnected.
func (cn *connection) readRequests() error {
	r := ndjson.NewReader(cn.conn)
	for {
		line, tooLong, err := r.Read(control.MaxRequestLine)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if tooLong {
			err := errorf(control.CodeBadParams, "the line is longer than %d bytes", control.MaxRequestLine)
			if err := cn.answer(idOfPrefix(line), nil, err); err != nil {
				return err
			}
			continue
		}
		if len(line) == 0 {
			continue
		}
		hangUp, err := cn.dispatch(line)
		if err != nil || hangUp {
			return err
		}
	}
}

// dispatch answers one request line, or starts what will answer it. The error is that of the
// connection; errors of the request have been answered.
func (cn *connection) dispatch(line []byte) (hangUp bool, err error) {
	req, err := ParseRequest(line)
	if err != nil {
		return false, cn.answer(req.ID, nil, err)
	}
	if !cn.greeted && req.Method != control.MethodHello {
		return false, cn.answer(req.ID, nil, errorf(control.CodeNoHelloYet, "first request must be hello"))
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == req.Method })
	if i < 0 || !slices.Contains(cn.srv.methods, req.Method) {
		return false, cn.answer(req.ID, nil, errorf(control.CodeUnknownMethod, "unknown method %q", req.Method))
	}
	c := &call{Request: req, ctx: cn.ctx}
	release := func() {}
	if verbs[i].waits {
		if release, err = cn.reserve(req.ID); err != nil {
			return false, cn.answer(req.ID, nil, err)
		}
	}
	if verbs[i].types {
		c.turn = turn{before: cn.typing, done: make(chan struct{})}
		cn.typing = c.turn.done
	}
	if !verbs[i].waits {
		result, err := cn.run(verbs[i], c)
		if err := cn.answerCall(c, result, err); err != nil {
			return false, err
		}
		if c.after != nil {
			c.after()
		}
		return c.hangUp, nil
	}
	cn.wg.Go(func() {
		result, err := cn.run(verbs[i], c)
		release()
		if cn.ctx.Err() != nil {
			return // the client has disconnected
		}
		if err := cn.answerCall(c, result, err); err != nil {
			cn.conn.Close()
		}
	})
	return false, nil
}

// reserve marks an id as in flight until release is called.
func (cn *connection) reserve(id control.ID) (release func(), err error) {
	key := string(id)
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.inFlight[key] {
		return nil, errorf(control.CodeBadParams, "id %s is still in flight: use another one", ndjson.Abbreviate(id))
	}
	cn.inFlight[key] = true
	return func() {
		cn.mu.Lock()
		delete(cn.inFlight, key)
		cn.mu.Unlock()
	}, nil
}

// run calls the verb and turns a panic into an error of the request: a bug in one verb must not end
// the connection or the session.
func (cn *connection) run(v verb, c *call) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			cn.srv.cfg.logger().Error("control verb panicked", "method", v.name, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errorf(control.CodeInternal, "%s panicked: %v", v.name, p)
		}
	}()
	return v.run(cn, c)
}

// answer writes a response line for no call.
func (cn *connection) answer(id control.ID, result any, err error) error {
	return cn.answerCall(&call{Request: control.Request{ID: id}}, result, err)
}

// answerCall writes the response line. Its error is that of the connection.
func (cn *connection) answerCall(c *call, result any, err error) error {
	if pic, ok := result.(control.ScreenshotResult); ok && err == nil {
		return cn.answerPicture(c, pic)
	}
	id := c.ID
	resp := struct {
		ID     control.ID     `json:"id,omitempty"`
		OK     bool           `json:"ok"`
		Result any            `json:"result,omitempty"`
		Error  *control.Error `json:"error,omitempty"`
	}{ID: id, OK: err == nil, Result: result}
	if err != nil {
		resp.Result = nil
		if !errors.As(err, &resp.Error) {
			resp.Error = errorf(control.CodeInternal, "%s", err)
		}
	} else if result == nil {
		resp.Result = struct{}{}
	}
	line, err := ndjson.Marshal(resp)
	if err != nil {
		line, err = ndjson.Marshal(control.Response{ID: id, Error: errorf(control.CodeInternal, "encode the result: %s", err)})
		if err != nil {
			return err
		}
	}
	cn.wmu.Lock()
	defer cn.wmu.Unlock()
	if c.commit != nil {
		c.commit()
	}
	return cn.write(line)
}

// pictureChunk is how many bytes of a picture are encoded at a time. It is a multiple of 3, so that
// the pieces of base64 can be joined.
const pictureChunk = 48 << 10

// answerPicture writes the response line of screenshot. It encodes the picture while writing;
// encoding/json would copy it three times.
func (cn *connection) answerPicture(c *call, pic control.ScreenshotResult) error {
	cn.wmu.Lock()
	defer cn.wmu.Unlock()
	buf := make([]byte, 0, base64.StdEncoding.EncodedLen(pictureChunk))
	buf = fmt.Appendf(buf, `{"id":%s,"ok":true,"result":{"width":%d,"height":%d,"format":%q,"data_base64":"`,
		c.ID, pic.Width, pic.Height, pic.Format)
	if err := cn.writePart(buf); err != nil {
		return err
	}
	for part := range slices.Chunk(pic.Data, pictureChunk) {
		if err := cn.writePart(base64.StdEncoding.AppendEncode(buf[:0], part)); err != nil {
			return err
		}
	}
	return cn.writePart([]byte("\"}}\n"))
}

func (cn *connection) writePart(b []byte) error {
	if _, err := cn.conn.Write(b); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	return nil
}

// write writes one whole line. The caller holds wmu.
func (cn *connection) write(line []byte) error {
	return cn.writePart(append(line, '\n'))
}

// writeEvents writes queued events until the connection ends.
func (cn *connection) writeEvents() {
	for {
		select {
		case <-cn.ctx.Done():
			return
		case <-cn.events.ready:
		}
		for more := true; more; {
			var err error
			if more, err = cn.writeEvent(); err != nil {
				cn.conn.Close() // ends readRequests too
				return
			}
		}
	}
}

// writeEvent writes the next queued event, if there is one.
func (cn *connection) writeEvent() (more bool, err error) {
	// NB: the event is taken from the queue with the lock held, so that none is in flight when
	// unsubscribe is answered.
	cn.wmu.Lock()
	defer cn.wmu.Unlock()
	ev, ok := cn.events.pop()
	if !ok {
		return false, nil
	}
	line, err := ndjson.Marshal(struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}{ev.name, ev.data})
	if err != nil {
		cn.srv.cfg.logger().Error("control event lost", "event", ev.name, "err", err)
		return true, nil
	}
	return true, cn.write(line)
}

// emit queues an event if the client has subscribed to it. Only dropped needs no subscription:
// every client that loses events gets a notice.
func (cn *connection) emit(name string, data any) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.subscribed[name] {
		cn.events.push(outEvent{name, data})
	}
}

// observe receives notices of the console. It does not block.
func (cn *connection) observe(n Notice) {
	now := time.Now()
	switch n := n.(type) {
	case Drawn:
		cn.emit(control.EventSurfaceDrawn, control.SurfaceDrawnData{
			DisplayChannelID: n.Channel,
			SurfaceID:        n.Surface,
			ProducedAtSecs:   n.At.Sub(cn.srv.start).Seconds(),
			WallclockUS:      now.UnixMicro(),
			Rect:             &control.Rect{X: n.Rect.Min.X, Y: n.Rect.Min.Y, Width: n.Rect.Dx(), Height: n.Rect.Dy()},
			Op:               n.Op,
		})
	case Latency:
		cn.emit(control.EventLatency, control.LatencyData{
			SampleMS:    float64(n.Interval) / float64(time.Millisecond),
			WallclockUS: now.UnixMicro(),
		})
	case AgentChanged:
		cn.mu.Lock()
		cn.agentHeard = true
		if cn.agent != n.Connected {
			cn.agent = n.Connected
			if cn.subscribed[control.EventAgentConnected] {
				cn.events.push(outEvent{control.EventAgentConnected, control.AgentConnectedData(n)})
			}
		}
		cn.mu.Unlock()
	}
}

// watchDigest returns the connection's digest watcher, and starts it if necessary. It returns nil
// if the server does not read digests.
func (cn *connection) watchDigest() *DigestWatcher {
	cn.watching.Lock()
	defer cn.watching.Unlock()
	cn.mu.Lock()
	w := cn.digests
	cn.mu.Unlock()
	if w == nil && cn.srv.digests != nil {
		w = cn.srv.digests.Watch(func(d control.Digest) { cn.emit(control.EventDigestUpdated, d) })
		cn.mu.Lock()
		cn.digests = w
		cn.mu.Unlock()
	}
	return w
}

// typist returns the Typist of the console.
func (cn *connection) typist() Typist {
	return Typist{Console: cn.srv.cfg.Console, Digests: cn.watchDigest}
}
