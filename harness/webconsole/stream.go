package webconsole

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"math"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/internal/bgra"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// A picture message is binary, little-endian:
//
//	u16 width, height      of the whole screen
//	u16 count              of rectangles
//	then each rectangle:
//	u16 x, y, width, height
//	width×height times R, G, B, 255
//
// The page acknowledges each picture message. The server sends the next one only after that. So a
// slow page sees fewer pictures, but never old ones.

const (
	pictureHeader = 6
	rectHeader    = 8
)

// An update is a text message to the page. It contains only what has changed.
type update struct {
	State   *stateNews     `json:"state,omitempty"`
	Entries []viewer.Entry `json:"entries,omitempty"`
	Cursor  *cursorNews    `json:"cursor,omitempty"`
	// Typed is the result of typing a text that the page sent.
	Typed *typedNews `json:"typed,omitempty"`
	// Error is the error of a request from the page.
	Error string `json:"error,omitempty"`
}

type stateNews struct {
	Name      string   `json:"name"`
	Lane      string   `json:"lane"`
	Reason    string   `json:"reason"`
	Fixture   string   `json:"fixture"`
	Accel     string   `json:"accel"`
	Problem   string   `json:"problem"`
	Width     int      `json:"width"`
	Height    int      `json:"height"`
	Agent     bool     `json:"agent"`
	MouseMode string   `json:"mouse_mode"`
	Frame     *uint32  `json:"frame"`
	Undecoded []string `json:"undecoded"`
	ToPicture *ways    `json:"to_picture"`
	ToDigest  *ways    `json:"to_digest"`
}

// ways are latencies in milliseconds.
type ways struct {
	N    int     `json:"n"`
	Last float64 `json:"last"`
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
}

type cursorNews struct {
	Visible bool   `json:"visible"`
	X       int    `json:"x"`
	Y       int    `json:"y"`
	HotX    int    `json:"hot_x"`
	HotY    int    `json:"hot_y"`
	PNG     []byte `json:"png,omitempty"` // base64 in JSON
}

type typedNews struct {
	Sent int    `json:"sent"`
	Err  string `json:"err,omitempty"`
}

// A request is a text message from the page. One of its fields is set.
type request struct {
	Ack    bool           `json:"ack"`
	Key    *keyRequest    `json:"key"`
	Move   *moveRequest   `json:"move"`
	Button *buttonRequest `json:"button"`
	Wheel  int            `json:"wheel"`
	Text   *textRequest   `json:"text"`
}

type keyRequest struct {
	Code uint16 `json:"code"`
	Down bool   `json:"down"`
}

type moveRequest struct {
	X        int  `json:"x"`
	Y        int  `json:"y"`
	Relative bool `json:"relative"`
}

type buttonRequest struct {
	Button int  `json:"button"`
	Down   bool `json:"down"`
}

type textRequest struct {
	Text   string `json:"text"`
	Layout string `json:"layout"`
}

const (
	// maxRequest limits a message from the page, in bytes. Text to type is the longest.
	maxRequest = 256 << 10
	// frameTime is the shortest time between updates. People cannot see more.
	frameTime = 33 * time.Millisecond
	// sendTime is how long the page may take to accept one message. Even a page in the background
	// accepts messages.
	sendTime = 20 * time.Second
	// handTime limits one input, because a pointer may have to wait for the guest's acknowledgement.
	handTime = 2 * time.Second
	// maxWheel limits the steps of one turn of the wheel.
	maxWheel = 30
)

// A stream is one open page.
type stream struct {
	srv    *Server
	v      *viewer.Viewer
	conn   *websocket.Conn
	acked  chan struct{} // has a value when a picture may be sent
	typing sync.Mutex    // held while text is typed
	extra  chan update   // updates from other goroutines for send

	// keys and buttons are those that are down. They are released when the page disconnects.
	keys    map[uint16]bool
	buttons map[int]bool
}

// serveSocket serves one open page until it is closed.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, "the console was closed", http.StatusServiceUnavailable)
		return
	}
	defer s.joined.Done()
	// Accept refuses pages of another origin. Compression is off, because at this speed it does not
	// make pictures smaller.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // Accept has responded
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxRequest)
	st := &stream{
		srv: s, v: s.cfg.Viewer, conn: conn, acked: make(chan struct{}, 1), extra: make(chan update, 8),
		keys: map[uint16]bool{}, buttons: map[int]bool{},
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var joined sync.WaitGroup
	joined.Go(func() {
		defer cancel()
		st.receive(ctx, &joined)
	})
	st.send(ctx)
	cancel()
	joined.Wait()
}

// enter adds an open page to s.joined. It returns false if the server is closing.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.joined.Add(1)
	return true
}

// send sends updates and pictures until ctx ends or the page does not accept them.
func (st *stream) send(ctx context.Context) {
	damage := st.v.Damage()
	defer damage.Close()
	st.acked <- struct{}{} // the first picture need not wait
	var (
		from      int
		lastState stateNews
		shape     *byte // the address of the last cursor's pixels, which identifies them
		lastAt    cursorNews
		first     = true
		dirty     bool
	)
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		changed := st.v.Changed()
		var u update
		u.Entries, from = st.v.Entries(from)
		if now := newsOf(st.v.State()); first || !reflect.DeepEqual(now, lastState) {
			lastState, u.State = now, &now
		}
		if cur, ok := st.v.Cursor(); ok {
			at := cursorNews{Visible: cur.Visible, X: cur.X, Y: cur.Y, HotX: cur.HotX, HotY: cur.HotY}
			var now *byte
			if len(cur.Pix) > 0 {
				now = &cur.Pix[0]
			}
			if now != shape || at.differs(lastAt) {
				lastAt, u.Cursor = at, &at
				if now != shape && now != nil {
					u.Cursor.PNG = cursorPNG(cur)
				}
				shape = now
			}
		}
		if (u.State != nil || len(u.Entries) > 0 || u.Cursor != nil) && st.write(ctx, u) != nil {
			return
		}
		first = false
		pace.Reset(frameTime)
		for due, news := false, false; !due || !news; {
			// A picture is sent when something changed and the page is ready for it.
			acked := st.acked
			if !dirty {
				acked = nil
			}
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
				due = true
			case <-changed:
				changed, news = nil, true
			case <-damage.Ready():
				dirty = true
			case <-acked:
				dirty = false
				if err := st.sendPicture(ctx, damage); err != nil {
					return
				}
			case u := <-st.extra:
				if st.write(ctx, u) != nil {
					return
				}
			}
		}
	}
}

func (c cursorNews) differs(o cursorNews) bool {
	c.PNG, o.PNG = nil, nil
	return !reflect.DeepEqual(c, o)
}

func (st *stream) write(ctx context.Context, u update) error {
	b, err := json.Marshal(u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return st.conn.Write(ctx, websocket.MessageText, b)
}

// sendPicture sends the parts of the picture that have changed. If there is no picture now, it
// sends nothing: there will be new damage when there is one.
func (st *stream) sendPicture(ctx context.Context, damage *viewer.Damage) error {
	rects, all := damage.Take()
	pic, err := st.v.Picture(image.Rectangle{})
	if err != nil || pic.Width > math.MaxUint16 || pic.Height > math.MaxUint16 {
		st.ack()
		return nil
	}
	if all {
		rects = []image.Rectangle{{Max: image.Pt(pic.Width, pic.Height)}}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return st.conn.Write(ctx, websocket.MessageBinary, pictureMessage(pic, rects))
}

// pictureMessage returns a picture message with some rectangles of a picture.
func pictureMessage(pic *server.Picture, rects []image.Rectangle) []byte {
	size, whole := pictureHeader, image.Rect(0, 0, pic.Width, pic.Height)
	kept := rects[:0]
	for _, r := range rects {
		if r = r.Intersect(whole); !r.Empty() {
			kept = append(kept, r)
			size += rectHeader + 4*r.Dx()*r.Dy()
		}
	}
	le := binary.LittleEndian
	b := make([]byte, 0, size)
	b = le.AppendUint16(b, uint16(pic.Width))
	b = le.AppendUint16(b, uint16(pic.Height))
	b = le.AppendUint16(b, uint16(len(kept)))
	for _, r := range kept {
		for _, n := range []int{r.Min.X, r.Min.Y, r.Dx(), r.Dy()} {
			b = le.AppendUint16(b, uint16(n))
		}
		b = appendRGBA(b, &server.Picture{
			Pix: pic.Pix[r.Min.Y*pic.Stride+4*r.Min.X:], Stride: pic.Stride, Width: r.Dx(), Height: r.Dy(),
		})
	}
	return b
}

// appendRGBA appends a picture's pixels as R, G, B, 255.
func appendRGBA(b []byte, pic *server.Picture) []byte {
	for y := range pic.Height {
		row := pic.Pix[y*pic.Stride : y*pic.Stride+4*pic.Width]
		start := len(b)
		b = append(b, row...)
		bgra.Opaque(b[start:], row)
	}
	return b
}

func (st *stream) ack() {
	select {
	case st.acked <- struct{}{}:
	default:
	}
}

// receive handles the page's requests until the connection ends.
func (st *stream) receive(ctx context.Context, joined *sync.WaitGroup) {
	defer st.letGo()
	for {
		_, b, err := st.conn.Read(ctx)
		if err != nil {
			return
		}
		var r request
		if err := json.Unmarshal(b, &r); err != nil {
			st.say(update{Error: "a message that cannot be read: " + err.Error()})
			continue
		}
		if r.Text != nil {
			text := *r.Text
			joined.Go(func() { st.typeText(ctx, text) })
			continue
		}
		if err := st.do(ctx, r); err != nil && !errors.Is(err, context.Canceled) {
			st.say(update{Error: err.Error()})
		}
	}
}

// say queues an update for send. If the queue is full, because the page accepts nothing, it drops
// the update.
func (st *stream) say(u update) {
	select {
	case st.extra <- u:
	default:
	}
}

// do carries out one request.
func (st *stream) do(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	switch {
	case r.Ack:
		st.ack()
	case r.Key != nil:
		if !isMakeCode(r.Key.Code) {
			return errors.New("no key has that code")
		}
		st.keys[r.Key.Code] = r.Key.Down
		return st.v.Key(ctx, r.Key.Code, r.Key.Down)
	case r.Move != nil:
		return st.v.MouseMove(ctx, r.Move.X, r.Move.Y, r.Move.Relative)
	case r.Button != nil:
		if r.Button.Button < 1 || r.Button.Button > 7 {
			return errors.New("the mouse has no such button")
		}
		st.buttons[r.Button.Button] = r.Button.Down
		return st.v.MouseButton(ctx, r.Button.Button, r.Button.Down)
	case r.Wheel != 0:
		button, n := 4, r.Wheel
		if n < 0 {
			button, n = 5, -n
		}
		for range min(n, maxWheel) {
			if err := errors.Join(st.v.MouseButton(ctx, button, true), st.v.MouseButton(ctx, button, false)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isMakeCode reports whether a code is an AT set 1 make code. Extended codes have 0xe0 in the high
// byte.
func isMakeCode(code uint16) bool {
	prefix, low := code>>8, code&0xff
	return (prefix == 0 || prefix == 0xe0) && low > 0 && low < 0x80
}

// typeText types a text when earlier ones have been typed.
func (st *stream) typeText(ctx context.Context, t textRequest) {
	st.typing.Lock()
	defer st.typing.Unlock()
	res, err := st.v.Type(ctx, control.TypeParams{Text: t.Text, Layout: t.Layout})
	news := &typedNews{Sent: res.CharsSent}
	if err != nil {
		news.Err = err.Error()
	}
	st.say(update{Typed: news})
}

// letGo releases the keys and buttons that the page was holding down.
func (st *stream) letGo() {
	ctx, cancel := context.WithTimeout(context.Background(), handTime)
	defer cancel()
	for code, down := range st.keys {
		if down {
			_ = st.v.Key(ctx, code, false) // it fails if the session has ended first
		}
	}
	for b, down := range st.buttons {
		if down {
			_ = st.v.MouseButton(ctx, b, false)
		}
	}
}

// cursorPNG returns the pointer's shape as a PNG; nil if there is none.
func cursorPNG(c server.Cursor) []byte {
	img := c.Image()
	if img == nil {
		return nil
	}
	var b bytes.Buffer
	if png.Encode(&b, img) != nil { // fails only for impossible sizes
		return nil
	}
	return b.Bytes()
}

// newsOf converts a state to the form that the page gets.
func newsOf(s viewer.State) stateNews {
	n := stateNews{
		Name: s.Name, Lane: s.Lane, Reason: s.Reason, Fixture: s.Fixture, Accel: s.Accel, Problem: s.Problem,
		Width: s.Screen.X, Height: s.Screen.Y, Agent: s.Console.AgentConnected, MouseMode: s.Console.MouseMode,
		ToPicture: waysOf(s.Picture), ToDigest: waysOf(s.ToDigest),
	}
	if s.Digest != nil {
		frame := s.Digest.FrameCounter
		n.Frame = &frame
	}
	for _, u := range s.Console.Unsupported {
		n.Undecoded = append(n.Undecoded, u.What)
	}
	return n
}

func waysOf(l viewer.Latencies) *ways {
	if l.N == 0 {
		return nil
	}
	ms := func(d time.Duration) float64 { return math.Round(float64(d)/1e5) / 10 }
	return &ways{N: l.N, Last: ms(l.Last), P50: ms(l.P50), P95: ms(l.P95)}
}
