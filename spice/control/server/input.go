package server

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

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// defaultClipboard is how long clipboard_get waits for the guest's text.
const defaultClipboard = 5 * time.Second

// inOrder limits verbs that are answered in order and may have to wait for the guest: until then no
// later request is answered, and the server does not notice that the client has gone.
const inOrder = 5 * time.Second

// limited returns a context for such a verb.
func (c *call) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(c.ctx, inOrder, fmt.Errorf("not within %s", inOrder))
}

var mouseButtons = map[string]int{"left": 1, "middle": 2, "right": 3, "side": 6, "extra": 7}

const (
	wheelUp   = 4
	wheelDown = 5
	maxSteps  = 100
)

// has reports whether the console implements T. A verb that needs T is offered on that condition.
func has[T any](cfg *Config) bool {
	_, ok := as[T](cfg.Console)
	return ok
}

// failed converts an error of the console to an answer.
func failed(what string, err error) error {
	if e := new(control.Error); errors.As(err, &e) {
		return e
	}
	return errorf(control.CodeInternal, "%s: %s", what, err)
}

func (cn *connection) mouseMove(c *call) (any, error) {
	var p control.MouseMoveParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	st := cn.srv.cfg.Console.Status()
	if p.Relative == (st.MouseMode == "client") && st.MouseMode != "" {
		kinds := map[bool]string{true: "relative", false: "absolute"}
		return nil, errorf(control.CodeMouseMode, "the guest takes %s moves only", kinds[!p.Relative])
	}
	channel := uint8(0)
	if p.ChannelID != nil {
		channel = *p.ChannelID
	} else if sf, ok := st.Primary(); ok {
		channel = sf.ChannelID
	}
	if !p.Relative {
		sf, err := pickSurface(cn.srv.cfg.Console, &channel, nil)
		if err != nil {
			return nil, err
		}
		if !(image.Point{p.X, p.Y}.In(image.Rect(0, 0, sf.Width, sf.Height))) {
			return nil, errorf(control.CodeBadParams, "%d,%d is not on the display, which has %dx%d", p.X, p.Y, sf.Width, sf.Height)
		}
	} else if max(p.X, -p.X, p.Y, -p.Y) > math.MaxInt16 {
		return nil, errorf(control.CodeBadParams, "a move by %d,%d is too far", p.X, p.Y)
	}
	m, _ := as[Pointer](cn.srv.cfg.Console)
	ctx, cancel := c.limited()
	defer cancel()
	if err := m.MouseMove(ctx, channel, p.X, p.Y, p.Relative); err != nil {
		return nil, failed("move the mouse", err)
	}
	if p.Relative {
		cn.srv.pointer.Store(nil)
	} else {
		cn.srv.pointer.Store(&image.Point{X: p.X, Y: p.Y})
	}
	return nil, nil
}

func (cn *connection) mouseButton(c *call) (any, error) {
	var p control.MouseButtonParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	button, ok := mouseButtons[p.Button]
	if !ok {
		return nil, errorf(control.CodeBadParams, "params.button is %q: want left, middle, right, side or extra", ndjson.Abbreviate([]byte(p.Button)))
	}
	if p.State != control.Down && p.State != control.Up && p.State != control.Press {
		return nil, errorf(control.CodeBadState, `unrecognised state value %q: want "down", "up" or "press"`, ndjson.Abbreviate([]byte(p.State)))
	}
	return nil, cn.click(c.ctx, button, p.State)
}

func (cn *connection) click(ctx context.Context, button int, state control.KeyState) error {
	m, _ := as[Pointer](cn.srv.cfg.Console)
	if state != control.Up {
		if err := m.MouseButton(ctx, button, true); err != nil {
			return failed("press the button", err)
		}
	}
	if state != control.Down {
		if err := m.MouseButton(ctx, button, false); err != nil {
			return failed("release the button", err)
		}
	}
	return nil
}

func (cn *connection) mouseWheel(c *call) (any, error) {
	var p control.MouseWheelParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if p.Steps < -maxSteps || p.Steps > maxSteps {
		return nil, errorf(control.CodeBadParams, "params.steps is %d: want -%d to %d", p.Steps, maxSteps, maxSteps)
	}
	button, n := wheelUp, p.Steps
	if n < 0 {
		button, n = wheelDown, -n
	}
	for range n {
		if err := cn.click(c.ctx, button, control.Press); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// agentClipboard returns the console's clipboard, if the guest's agent is connected.
func (cn *connection) agentClipboard() (Clipboard, error) {
	board, ok := as[Clipboard](cn.srv.cfg.Console)
	if !ok || !cn.srv.cfg.Console.Status().AgentConnected {
		return nil, errorf(control.CodeAgentNotConnected, "the guest's agent is not connected: wait for agent_connected")
	}
	return board, nil
}

func (cn *connection) clipboardGet(c *call) (any, error) {
	var p control.ClipboardGetParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	board, err := cn.agentClipboard()
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
			return nil, errorf(control.CodeTimeout, "the guest did not hand its text over within %s", timeout)
		}
		return nil, failed("get the clipboard", err)
	}
	if !utf8.ValidString(text) {
		return nil, errorf(control.CodeInternal, "the guest's text is not valid UTF-8")
	}
	return control.ClipboardText{Text: text}, nil
}

func (cn *connection) clipboardSet(c *call) (any, error) {
	var p control.ClipboardText
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	board, err := cn.agentClipboard()
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.limited()
	defer cancel()
	if err := board.ClipboardSet(ctx, p.Text); err != nil {
		return nil, failed("set the clipboard", err)
	}
	return nil, nil
}

func (cn *connection) setDisplay(c *call) (any, error) {
	var p control.SetDisplayParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	const most = 1 << 14
	if p.Width < 1 || p.Width > most || p.Height < 1 || p.Height > most {
		return nil, errorf(control.CodeBadParams, "%dx%d is no display: want 1 to %d pixels each way", p.Width, p.Height, most)
	}
	if !cn.srv.cfg.Console.Status().AgentConnected {
		return nil, errorf(control.CodeAgentNotConnected, "the guest's agent is not connected: it alone can change the display")
	}
	r, _ := as[Resizer](cn.srv.cfg.Console)
	ctx, cancel := c.limited()
	defer cancel()
	if err := r.SetDisplay(ctx, p.Width, p.Height); err != nil {
		return nil, failed("set the display", err)
	}
	return nil, nil
}

func (cn *connection) cursor(*call) (any, error) {
	src, _ := as[CursorSource](cn.srv.cfg.Console)
	cur := src.Cursor()
	res := control.CursorResult{Visible: cur.Visible, X: cur.X, Y: cur.Y, HotX: cur.HotX, HotY: cur.HotY, Width: cur.Width, Height: cur.Height}
	if at := cn.srv.pointer.Load(); at != nil {
		res.MovedTo = &control.Point{X: at.X, Y: at.Y}
	}
	if img := cur.Image(); img != nil {
		var buf bytes.Buffer
		if err := pngEncoder.Encode(&buf, img); err != nil {
			return nil, fmt.Errorf("encode PNG: %w", err)
		}
		res.Data = buf.Bytes()
	}
	return res, nil
}

func (cn *connection) stats(*call) (any, error) {
	src, _ := as[StatsSource](cn.srv.cfg.Console)
	return src.Stats(), nil
}

func (cn *connection) recordStart(c *call) (any, error) {
	var p control.RecordStartParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(p.Dir) {
		return nil, errorf(control.CodeBadParams, "params.dir is %q: want an absolute path, the server has a working directory of its own", ndjson.Abbreviate([]byte(p.Dir)))
	}
	r, _ := as[Recorder](cn.srv.cfg.Console)
	err := r.RecordStart(c.ctx, p.Dir)
	if e := new(control.Error); err != nil && !errors.As(err, &e) {
		return nil, errorf(control.CodeDisconnected, "reconnect for the recording: %s", err)
	}
	return nil, err
}

func (cn *connection) recordStop(c *call) (any, error) {
	r, _ := as[Recorder](cn.srv.cfg.Console)
	rec, err := r.RecordStop(c.ctx)
	if err != nil {
		return nil, failed("the recording is not whole", err)
	}
	if rec.Files == nil {
		rec.Files = []string{}
	}
	return control.RecordStopResult(rec), nil
}

func (cn *connection) disconnect(c *call) (any, error) {
	r, _ := as[Reconnector](cn.srv.cfg.Console)
	if err := r.Disconnect(c.ctx); err != nil {
		return nil, failed("disconnect", err)
	}
	return nil, nil
}

func (cn *connection) reconnect(c *call) (any, error) {
	r, _ := as[Reconnector](cn.srv.cfg.Console)
	if err := r.Reconnect(c.ctx); err != nil {
		return nil, errorf(control.CodeDisconnected, "reconnect: %s", err)
	}
	return nil, nil
}
