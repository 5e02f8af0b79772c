package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// defaultClipboard is how long clipboard_get waits for the guest's text.
const defaultClipboard = 5 * time.Second

// MouseMoveParams are the params of mouse_move.
type MouseMoveParams struct {
	X int `json:"x"`
	Y int `json:"y"`
	// Relative moves by X, Y instead of to them.
	Relative bool `json:"relative,omitempty"`
	// ChannelID is the display that X, Y are on; nil is the primary one.
	ChannelID *uint8 `json:"channel_id,omitempty"`
}

// MouseButtonParams are the params of mouse_button.
type MouseButtonParams struct {
	// Button is left, middle, right, side or extra.
	Button string   `json:"button"`
	State  KeyState `json:"state"`
}

// MouseWheelParams are the params of mouse_wheel.
type MouseWheelParams struct {
	// Steps is how far to turn, positive away from the user; at most 100 either
	// way.
	Steps int `json:"steps"`
}

// ClipboardText is the params of clipboard_set and the result of clipboard_get.
type ClipboardText struct {
	Text string `json:"text"`
}

// ClipboardGetParams are the params of clipboard_get.
type ClipboardGetParams struct {
	// TimeoutMS is how long to wait for the guest in milliseconds, 5000 if nil.
	TimeoutMS *uint32 `json:"timeout_ms,omitempty"`
}

// SetDisplayParams are the params of set_display, in pixels.
type SetDisplayParams struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

// CursorResult is the result of cursor.
type CursorResult struct {
	Visible bool `json:"visible"`
	// X, Y is where the hot spot is on the display.
	X int `json:"x"`
	Y int `json:"y"`
	// HotX, HotY is where the hot spot is in the shape.
	HotX int `json:"hot_x"`
	HotY int `json:"hot_y"`
	// Width and Height are the shape's.
	Width  int `json:"width"`
	Height int `json:"height"`
	// Data is the shape as a PNG file; nil if there is none.
	Data []byte `json:"data_base64,omitempty"`
}

// RecordStartParams are the params of record_start.
type RecordStartParams struct {
	// Dir is the absolute path of a directory on the server's host. It is made if
	// it does not exist, and must not hold a recording yet.
	Dir string `json:"dir"`
}

// RecordStopResult is the result of record_stop.
type RecordStopResult struct {
	// Dir is the directory that record_start was given.
	Dir string `json:"dir"`
	// Files are the names in it of what was written, and Bytes their size together.
	Files []string `json:"files"`
	Bytes int64    `json:"bytes"`
}

var mouseButtons = map[string]int{"left": 1, "middle": 2, "right": 3, "side": 6, "extra": 7}

const (
	wheelUp   = 4
	wheelDown = 5
	maxSteps  = 100
)

// has is a verb's condition that the console implements an interface.
func has[T any](cfg *Config) bool {
	_, ok := as[T](cfg.Console)
	return ok
}

// failed turns an error of the console into an answer.
func failed(what string, err error) error {
	if e := new(Error); errors.As(err, &e) {
		return e
	}
	return errorf(CodeInternal, "%s: %s", what, err)
}

func (s *session) mouseMove(c *call) (any, error) {
	var p MouseMoveParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	st := s.srv.cfg.Console.Status()
	if p.Relative == (st.MouseMode == "client") && st.MouseMode != "" {
		kinds := map[bool]string{true: "relative", false: "absolute"}
		return nil, errorf(CodeMouseMode, "the guest takes %s moves only", kinds[!p.Relative])
	}
	channel := uint8(0)
	if p.ChannelID != nil {
		channel = *p.ChannelID
	} else if sf, ok := primary(st); ok {
		channel = sf.ChannelID
	}
	if !p.Relative {
		sf, err := s.pickSurface(&channel, nil)
		if err != nil {
			return nil, err
		}
		if !(image.Point{p.X, p.Y}.In(image.Rect(0, 0, sf.Width, sf.Height))) {
			return nil, errorf(CodeBadParams, "%d,%d is not on the display, which has %dx%d", p.X, p.Y, sf.Width, sf.Height)
		}
	} else if max(p.X, -p.X, p.Y, -p.Y) > math.MaxInt16 {
		return nil, errorf(CodeBadParams, "a move by %d,%d is too far", p.X, p.Y)
	}
	m, _ := as[Pointer](s.srv.cfg.Console)
	if err := m.MouseMove(c.ctx, channel, p.X, p.Y, p.Relative); err != nil {
		return nil, failed("move the mouse", err)
	}
	return nil, nil
}

func (s *session) mouseButton(c *call) (any, error) {
	var p MouseButtonParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	button, ok := mouseButtons[p.Button]
	if !ok {
		return nil, errorf(CodeBadParams, "params.button is %q: want left, middle, right, side or extra", abbreviate([]byte(p.Button)))
	}
	if p.State != Down && p.State != Up && p.State != Press {
		return nil, errorf(CodeBadState, `unrecognised state value %q: want "down", "up" or "press"`, abbreviate([]byte(p.State)))
	}
	return nil, s.click(c.ctx, button, p.State)
}

func (s *session) click(ctx context.Context, button int, state KeyState) error {
	m, _ := as[Pointer](s.srv.cfg.Console)
	if state != Up {
		if err := m.MouseButton(ctx, button, true); err != nil {
			return failed("press the button", err)
		}
	}
	if state != Down {
		if err := m.MouseButton(ctx, button, false); err != nil {
			return failed("release the button", err)
		}
	}
	return nil
}

func (s *session) mouseWheel(c *call) (any, error) {
	var p MouseWheelParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if p.Steps < -maxSteps || p.Steps > maxSteps {
		return nil, errorf(CodeBadParams, "params.steps is %d: want -%d to %d", p.Steps, maxSteps, maxSteps)
	}
	button, n := wheelUp, p.Steps
	if n < 0 {
		button, n = wheelDown, -n
	}
	for range n {
		if err := s.click(c.ctx, button, Press); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// agentClipboard is the console's clipboard, if the guest's agent is there.
func (s *session) agentClipboard() (Clipboard, error) {
	board, ok := as[Clipboard](s.srv.cfg.Console)
	if !ok || !s.srv.cfg.Console.Status().AgentConnected {
		return nil, errorf(CodeAgentNotConnected, "the guest's agent is not connected: wait for agent_connected")
	}
	return board, nil
}

func (s *session) clipboardGet(c *call) (any, error) {
	var p ClipboardGetParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	board, err := s.agentClipboard()
	if err != nil {
		return nil, err
	}
	timeout := defaultClipboard
	if p.TimeoutMS != nil {
		timeout = time.Duration(*p.TimeoutMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	text, err := board.ClipboardGet(ctx)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && c.ctx.Err() == nil {
			return nil, errorf(CodeTimeout, "the guest did not hand its text over within %s", timeout)
		}
		return nil, failed("get the clipboard", err)
	}
	if !utf8.ValidString(text) {
		return nil, errorf(CodeInternal, "the guest's text is not valid UTF-8")
	}
	return ClipboardText{text}, nil
}

func (s *session) clipboardSet(c *call) (any, error) {
	var p ClipboardText
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	board, err := s.agentClipboard()
	if err != nil {
		return nil, err
	}
	if err := board.ClipboardSet(c.ctx, p.Text); err != nil {
		return nil, failed("set the clipboard", err)
	}
	return nil, nil
}

func (s *session) setDisplay(c *call) (any, error) {
	var p SetDisplayParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	const most = 1 << 14
	if p.Width < 1 || p.Width > most || p.Height < 1 || p.Height > most {
		return nil, errorf(CodeBadParams, "%dx%d is no display: want 1 to %d pixels each way", p.Width, p.Height, most)
	}
	if !s.srv.cfg.Console.Status().AgentConnected {
		return nil, errorf(CodeAgentNotConnected, "the guest's agent is not connected: it alone can change the display")
	}
	r, _ := as[Resizer](s.srv.cfg.Console)
	if err := r.SetDisplay(c.ctx, p.Width, p.Height); err != nil {
		return nil, failed("set the display", err)
	}
	return nil, nil
}

func (s *session) cursor(*call) (any, error) {
	src, _ := as[CursorSource](s.srv.cfg.Console)
	cur := src.Cursor()
	res := CursorResult{Visible: cur.Visible, X: cur.X, Y: cur.Y, HotX: cur.HotX, HotY: cur.HotY, Width: cur.Width, Height: cur.Height}
	if n := 4 * cur.Width * cur.Height; n > 0 && len(cur.Pix) >= n {
		img := image.NewNRGBA(image.Rect(0, 0, cur.Width, cur.Height))
		for i := 0; i+3 < n; i += 4 {
			img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = cur.Pix[i+2], cur.Pix[i+1], cur.Pix[i], cur.Pix[i+3]
		}
		var buf bytes.Buffer
		if err := pngEncoder.Encode(&buf, img); err != nil {
			return nil, fmt.Errorf("encode PNG: %w", err)
		}
		res.Data = buf.Bytes()
	}
	return res, nil
}

func (s *session) stats(*call) (any, error) {
	src, _ := as[StatsSource](s.srv.cfg.Console)
	return src.Stats(), nil
}

func (s *session) recordStart(c *call) (any, error) {
	var p RecordStartParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(p.Dir) {
		return nil, errorf(CodeBadParams, "params.dir is %q: want an absolute path, the server has a working directory of its own", abbreviate([]byte(p.Dir)))
	}
	r, _ := as[Recorder](s.srv.cfg.Console)
	err := r.RecordStart(c.ctx, p.Dir)
	if e := new(Error); err != nil && !errors.As(err, &e) {
		return nil, errorf(CodeDisconnected, "reconnect for the recording: %s", err)
	}
	return nil, err
}

func (s *session) recordStop(*call) (any, error) {
	r, _ := as[Recorder](s.srv.cfg.Console)
	rec, err := r.RecordStop()
	if err != nil {
		return nil, failed("the recording is not whole", err)
	}
	if rec.Files == nil {
		rec.Files = []string{}
	}
	return RecordStopResult(rec), nil
}

func (s *session) disconnect(c *call) (any, error) {
	r, _ := as[Reconnector](s.srv.cfg.Console)
	if err := r.Disconnect(c.ctx); err != nil {
		return nil, failed("disconnect", err)
	}
	return nil, nil
}

func (s *session) reconnect(c *call) (any, error) {
	r, _ := as[Reconnector](s.srv.cfg.Console)
	if err := r.Reconnect(c.ctx); err != nil {
		return nil, errorf(CodeDisconnected, "reconnect: %s", err)
	}
	return nil, nil
}
