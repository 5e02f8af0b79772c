package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// verb is one method of the protocol.
type verb struct {
	name string
	// offered says whether the server can do it; nil is always.
	offered func(*Config) bool
	// waits marks verbs that wait for the guest. They run beside the requests
	// that come after them; all others are answered in the order they came.
	waits bool
	// types marks verbs that type: each waits for those that came before it.
	types bool
	run   func(*session, *call) (any, error)
}

// verbs lists all methods in the order in which hello names them.
var verbs = []verb{
	{name: MethodHello, run: (*session).hello},
	{name: MethodStatus, run: (*session).status},
	{name: MethodSendKey, run: (*session).sendKey},
	{name: MethodPaste, run: (*session).paste, types: true},
	{name: MethodScreenshot, run: (*session).screenshot},
	{name: MethodSubscribe, run: (*session).subscribe},
	{name: MethodUnsubscribe, run: (*session).unsubscribe},
	{name: MethodDigest, run: (*session).digest, offered: func(c *Config) bool { return c.Scan != nil }},
	{name: MethodAwait, run: (*session).awaitCondition, waits: true},
	{name: MethodType, run: (*session).typeText, waits: true, types: true},
	{name: MethodMouseMove, run: (*session).mouseMove, offered: has[Pointer]},
	{name: MethodMouseButton, run: (*session).mouseButton, offered: has[Pointer]},
	{name: MethodMouseWheel, run: (*session).mouseWheel, offered: has[Pointer]},
	{name: MethodClipboardGet, run: (*session).clipboardGet, offered: has[Clipboard], waits: true},
	{name: MethodClipboardSet, run: (*session).clipboardSet, offered: has[Clipboard]},
	{name: MethodSetDisplay, run: (*session).setDisplay, offered: has[Resizer]},
	{name: MethodCursor, run: (*session).cursor, offered: has[CursorSource]},
	{name: MethodStats, run: (*session).stats, offered: has[StatsSource]},
	{name: MethodRecordStart, run: (*session).recordStart, offered: has[Recorder], waits: true},
	{name: MethodRecordStop, run: (*session).recordStop, offered: has[Recorder], waits: true},
	{name: MethodDisconnect, run: (*session).disconnect, offered: has[Reconnector], waits: true},
	{name: MethodReconnect, run: (*session).reconnect, offered: has[Reconnector], waits: true},
}

// call is one request being answered.
type call struct {
	Request
	ctx context.Context // ends with the connection
	// commit is run right before the answer is written, while no event can be:
	// what a subscribe begins cannot overtake its answer and loses nothing.
	commit func()
	// after is run once the answer is on the wire.
	after func()
	// hangUp closes the connection after the answer.
	hangUp bool
	// turn is the place in the queue of those who type.
	turn turn
}

// turn is a place in a queue: its holder may begin when before is closed, and
// closes done when it has ended.
type turn struct {
	before <-chan struct{}
	done   chan struct{}
}

// session is one client's connection.
type session struct {
	srv    *Server
	conn   net.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	events *queue
	wg     sync.WaitGroup // verbs that wait, pastes
	typing chan struct{}  // closed when the last one who types is done; of readRequests only

	wmu sync.Mutex // held while a line is written

	mu         sync.Mutex
	greeted    bool
	subscribed map[string]bool
	inFlight   map[string]bool // ids of waiting verbs and pastes
	agent      bool            // the state that the client knows
	agentHeard bool
	digests    *digestWatcher
	wakers     map[chan<- struct{}]bool
}

func newSession(s *Server, conn net.Conn) *session {
	ctx, cancel := context.WithCancel(s.ctx)
	idle := make(chan struct{})
	close(idle)
	return &session{
		srv: s, conn: conn, ctx: ctx, cancel: cancel,
		events:     newQueue(),
		typing:     idle,
		subscribed: map[string]bool{},
		inFlight:   map[string]bool{},
		wakers:     map[chan<- struct{}]bool{},
	}
}

// serve answers requests until the client goes, then cancels what it left
// behind and waits for that.
func (s *session) serve() {
	log := s.srv.cfg.logger()
	log.Info("control client connected")
	console := s.srv.cfg.Console
	stop := console.Observe(s.observe)
	// The state before the first notice. Asking earlier could miss a change
	// between the question and Observe.
	connected := console.Status().AgentConnected
	s.mu.Lock()
	if !s.agentHeard {
		s.agent = connected
	}
	s.mu.Unlock()

	writer := make(chan struct{})
	go func() { defer close(writer); s.writeEvents() }()
	err := s.readRequests()
	s.cancel()
	stop()
	s.wg.Wait()
	s.mu.Lock()
	digests := s.digests
	s.mu.Unlock()
	if digests != nil {
		digests.close()
	}
	linger(s.conn)
	s.conn.Close()
	<-writer
	if err != nil && s.srv.ctx.Err() == nil {
		log.Warn("control client lost", "err", err)
		return
	}
	log.Info("control client gone")
}

// readRequests answers one line after another. It returns nil when the client
// has closed or is to be hung up on.
func (s *session) readRequests() error {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	for {
		line, tooLong, err := readLine(r, MaxRequestLine)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if tooLong {
			err := errorf(CodeBadParams, "the line is longer than %d bytes", MaxRequestLine)
			if err := s.answer(idOfPrefix(line), nil, err); err != nil {
				return err
			}
			continue
		}
		if len(line) == 0 {
			continue
		}
		hangUp, err := s.dispatch(line)
		if err != nil || hangUp {
			return err
		}
	}
}

// readLine reads up to a newline and returns the line without it and without
// surrounding white space. Of a line longer than limit it returns the first
// limit bytes and tooLong, having read it to its end. A last line without a
// newline is no line: the client went in the middle of it.
func readLine(r *bufio.Reader, limit int) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		complete := err == nil
		if complete {
			part = part[:len(part)-1]
		} else if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, err
		}
		if room := limit - len(line); len(part) > room {
			part, tooLong = part[:room], true
		}
		line = append(line, part...)
		if complete {
			return trimSpace(line), tooLong, nil
		}
	}
}

// trimSpace cuts JSON's white space off both ends.
func trimSpace(b []byte) []byte {
	isSpace := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// dispatch answers one request line, or starts what will answer it. The error
// is the connection's; one of the request has been answered.
func (s *session) dispatch(line []byte) (hangUp bool, err error) {
	req, err := ParseRequest(line)
	if err != nil {
		return false, s.answer(req.ID, nil, err)
	}
	if !s.greeted && req.Method != MethodHello {
		return false, s.answer(req.ID, nil, errorf(CodeNoHelloYet, "first request must be hello"))
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == req.Method })
	if i < 0 || !slices.Contains(s.srv.methods, req.Method) {
		return false, s.answer(req.ID, nil, errorf(CodeUnknownMethod, "unknown method %q", req.Method))
	}
	c := &call{Request: req, ctx: s.ctx}
	release := func() {}
	if verbs[i].waits {
		if release, err = s.reserve(req.ID); err != nil {
			return false, s.answer(req.ID, nil, err)
		}
	}
	if verbs[i].types {
		c.turn = turn{before: s.typing, done: make(chan struct{})}
		s.typing = c.turn.done
	}
	if !verbs[i].waits {
		result, err := s.run(verbs[i], c)
		if err := s.answerCall(c, result, err); err != nil {
			return false, err
		}
		if c.after != nil {
			c.after()
		}
		return c.hangUp, nil
	}
	s.wg.Go(func() {
		result, err := s.run(verbs[i], c)
		release()
		if s.ctx.Err() != nil {
			return // nobody is there to be answered
		}
		if err := s.answerCall(c, result, err); err != nil {
			s.conn.Close()
		}
	})
	return false, nil
}

// reserve marks an id as in flight until release is called.
func (s *session) reserve(id ID) (release func(), err error) {
	key := string(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight[key] {
		return nil, errorf(CodeBadParams, "id %s is still in flight: use another one", abbreviate(id))
	}
	s.inFlight[key] = true
	return func() {
		s.mu.Lock()
		delete(s.inFlight, key)
		s.mu.Unlock()
	}, nil
}

// run calls the verb and turns a panic into an error of the request: a fault in
// one verb must not take the connection, let alone the session, with it.
func (s *session) run(v verb, c *call) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.srv.cfg.logger().Error("control verb panicked", "method", v.name, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errorf(CodeInternal, "%s panicked: %v", v.name, p)
		}
	}()
	return v.run(s, c)
}

// answer writes a response line that belongs to no call.
func (s *session) answer(id ID, result any, err error) error {
	return s.answerCall(&call{Request: Request{ID: id}}, result, err)
}

// answerCall writes the response line. The returned error is the connection's.
func (s *session) answerCall(c *call, result any, err error) error {
	id := c.ID
	resp := struct {
		ID     ID     `json:"id,omitempty"`
		OK     bool   `json:"ok"`
		Result any    `json:"result,omitempty"`
		Error  *Error `json:"error,omitempty"`
	}{ID: id, OK: err == nil, Result: result}
	if err != nil {
		resp.Result = nil
		if !errors.As(err, &resp.Error) {
			resp.Error = errorf(CodeInternal, "%s", err)
		}
	} else if result == nil {
		resp.Result = struct{}{}
	}
	line, err := marshal(resp)
	if err != nil {
		line, err = marshal(Response{ID: id, Error: errorf(CodeInternal, "encode the result: %s", err)})
		if err != nil {
			return err
		}
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if c.commit != nil {
		c.commit()
	}
	return s.write(line)
}

// write puts one whole line on the wire. The caller holds wmu.
func (s *session) write(line []byte) error {
	if _, err := s.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	return nil
}

// writeEvents writes queued events until the connection ends.
func (s *session) writeEvents() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.events.ready:
		}
		for more := true; more; {
			var err error
			if more, err = s.writeEvent(); err != nil {
				s.conn.Close() // ends readRequests too
				return
			}
		}
	}
}

// writeEvent writes the next queued event, if there is one.
func (s *session) writeEvent() (more bool, err error) {
	// NB: the event is taken off the queue with the lock held, so that none is
	// on its way when unsubscribe is answered.
	s.wmu.Lock()
	defer s.wmu.Unlock()
	ev, ok := s.events.pop()
	if !ok {
		return false, nil
	}
	line, err := marshal(struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}{ev.name, ev.data})
	if err != nil {
		s.srv.cfg.logger().Error("control event lost", "event", ev.name, "err", err)
		return true, nil
	}
	return true, s.write(line)
}

// emit queues an event if the client subscribed to it. Only dropped needs no
// subscription: whoever loses events is told.
func (s *session) emit(name string, data any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subscribed[name] {
		s.events.push(outEvent{name, data})
	}
}

// observe takes what happens on the console. It does not block.
func (s *session) observe(n Notice) {
	now := time.Now()
	switch n := n.(type) {
	case Drawn:
		s.mu.Lock()
		digests := s.digests
		s.mu.Unlock()
		if digests != nil {
			digests.drawn(n)
		}
		s.emit(EventSurfaceDrawn, SurfaceDrawnData{
			DisplayChannelID: n.Channel,
			SurfaceID:        n.Surface,
			ProducedAtSecs:   n.At.Sub(s.srv.start).Seconds(),
			WallclockUS:      now.UnixMicro(),
			Rect:             &Rect{n.Rect.Min.X, n.Rect.Min.Y, n.Rect.Dx(), n.Rect.Dy()},
			Op:               n.Op,
		})
	case Latency:
		s.emit(EventLatency, LatencyData{
			SampleMS:    float64(n.Interval) / float64(time.Millisecond),
			WallclockUS: now.UnixMicro(),
		})
	case AgentChanged:
		s.mu.Lock()
		s.agentHeard = true
		if s.agent != n.Connected {
			s.agent = n.Connected
			if s.subscribed[EventAgentConnected] {
				s.events.push(outEvent{EventAgentConnected, AgentConnectedData(n)})
			}
		}
		s.mu.Unlock()
	case Changed:
		s.mu.Lock()
		digests := s.digests
		s.mu.Unlock()
		if digests != nil {
			digests.resized()
		}
	}
	s.wake()
}

// wake tells everyone who waits for a condition to look again.
func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.wakers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// waker returns a channel that has a value after something happened, until
// stop is called.
func (s *session) waker() (ch <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	s.mu.Lock()
	s.wakers[w] = true
	s.mu.Unlock()
	return w, func() {
		s.mu.Lock()
		delete(s.wakers, w)
		s.mu.Unlock()
	}
}
