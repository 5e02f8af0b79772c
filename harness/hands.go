package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A Digest is what the guest says of itself on its screen.
type Digest = digest.Digest

// Screenshot takes the picture that the client holds.
func (l *Lane) Screenshot(ctx context.Context) (*image.NRGBA, error) {
	if l.Client == nil {
		return nil, errNoClient
	}
	img, err := l.Client.Image(ctx, control.ScreenshotParams{Format: "rgba"})
	if err != nil {
		return nil, l.explain(&verdict.Error{Verdict: clientVerdict(err), Op: "screenshot", Err: err})
	}
	return img, nil
}

// Screendump takes the picture that QEMU itself has of the guest's screen.
func (l *Lane) Screendump(ctx context.Context) (*image.NRGBA, error) {
	img, err := l.machine().Screenshot(ctx)
	if err != nil {
		return nil, verdict.Classify("screendump", err)
	}
	return img, nil
}

var errNoClient = &verdict.Error{Verdict: verdict.Harness, Err: errors.New("this lane has no client")}

// clientVerdict tells whose fault an answer on the control socket is: a client
// that answers with an error of its own is the product, everything else (a bad
// request, a lost socket) the harness.
func clientVerdict(err error) verdict.Kind {
	var e *control.Error
	if errors.As(err, &e) {
		switch e.Code {
		case control.CodeNoSuchSurface, control.CodeInternal, control.CodeNoDigest, control.CodeAgentNotConnected:
			return verdict.Product
		}
	}
	return verdict.Harness
}

// Press presses and releases keys, one after the other. A key is written as
// control.ParseKey takes it: "Enter", "a", "F10", "Ctrl+Alt+Delete".
func (l *Lane) Press(ctx context.Context, keys ...string) error {
	if l.Client == nil {
		return errNoClient
	}
	return l.explain(PressKeys(ctx, l.Client, keys...))
}

// PressKeys is Lane.Press on a control socket.
func PressKeys(ctx context.Context, d *control.Driver, keys ...string) error {
	for _, k := range keys {
		codes, err := control.ParseKey(k)
		if err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: "press " + k, Err: err}
		}
		if err := d.Chord(ctx, codes...); err != nil {
			return &verdict.Error{Verdict: clientVerdict(err), Op: "press " + k, Err: err}
		}
	}
	return nil
}

// Type types text on the guest's US keyboard and returns when all of it was
// sent.
func (l *Lane) Type(ctx context.Context, text string) error {
	if l.Client == nil {
		return errNoClient
	}
	if _, err := l.Client.Paste(ctx, control.PasteParams{Text: text}); err != nil {
		return l.explain(&verdict.Error{Verdict: clientVerdict(err), Op: "type", Err: err})
	}
	return nil
}

// AwaitSerial waits for a line on the guest's serial console that holds text.
func (l *Lane) AwaitSerial(ctx context.Context, text string) (serial.Line, error) {
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	line, err := l.Serial().Await(ctx, serial.Contains(text))
	if err != nil {
		var await *serial.AwaitError
		if errors.As(err, &await) && l.machine().Err() == nil {
			return line, l.reason(l.judgeWait(began, &verdict.Error{Verdict: verdict.Product, Op: "await serial line", Err: err}))
		}
		return line, verdict.Classify("await serial line", err)
	}
	return line, nil
}

// An AwaitError says that something did not come to be seen on the screen.
type AwaitError struct {
	// Wanted says what was awaited.
	Wanted string
	// Last is what was seen last, as text; empty if nothing was.
	Last string
	// Err says why waiting ended.
	Err error
}

func (e *AwaitError) Error() string {
	last := e.Last
	if last == "" {
		last = "nothing"
	}
	return fmt.Sprintf("awaited %s, saw last %s: %v", e.Wanted, last, e.Err)
}

func (e *AwaitError) Unwrap() error { return e.Err }

// AwaitDigest waits until the client's picture shows a digest that f accepts and
// returns it. What says in the error what was awaited.
func (l *Lane) AwaitDigest(ctx context.Context, what string, f func(Digest) bool) (Digest, error) {
	if l.Client == nil {
		return Digest{}, errNoClient
	}
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	d, err := AwaitDigest(ctx, l.Client, what, f)
	return d, l.judgeWait(began, l.explain(err))
}

// AwaitDigest is Lane.AwaitDigest on a control socket. A client that does not
// read digests itself is asked for pictures.
func AwaitDigest(ctx context.Context, d *control.Driver, what string, f func(Digest) bool) (Digest, error) {
	var last string
	fail := func(err error) (Digest, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		v := verdict.Product
		var e *control.Error
		if ctx.Err() == nil && !errors.As(err, &e) {
			v = verdict.Harness
		}
		return Digest{}, &verdict.Error{Verdict: v, Op: "await digest", Err: &AwaitError{Wanted: what, Last: last, Err: err}}
	}
	events := control.EventDigestUpdated
	if !d.SupportsEvent(events) {
		events = control.EventSurfaceDrawn
	}
	// NB: subscribed before the first look, so that no change is missed.
	sub, err := d.Subscribe(ctx, events)
	if err != nil {
		return fail(err)
	}
	defer sub.Close()
	for {
		got, err := ReadDigest(ctx, d)
		switch {
		case err == nil:
			last = describeDigest(got)
			if f(got) {
				return got, nil
			}
		case !noDigestYet(err):
			return fail(err)
		case last == "":
			last = err.Error()
		}
		// Digests that came by while the last was being looked at count, too.
		for {
			ev, err := sub.Next(ctx)
			if err != nil {
				return fail(err)
			}
			if ev.Name == control.EventDropped {
				continue
			}
			if ev.Name != control.EventDigestUpdated {
				break // a picture changed: look
			}
			got, err := digestOf(ev.Data)
			if err != nil {
				return fail(err)
			}
			last = describeDigest(got)
			if f(got) {
				return got, nil
			}
		}
	}
}

// ReadDigest reads the digest that the client's picture shows now. Without one
// the error is a *control.Error with CodeNoDigest or CodeNoSuchSurface, or a
// *qrscan.Error.
func ReadDigest(ctx context.Context, d *control.Driver) (Digest, error) {
	if d.Supports(control.MethodDigest) {
		var raw json.RawMessage
		if err := d.Call(ctx, control.MethodDigest, nil, &raw); err != nil {
			return Digest{}, err
		}
		return digestOf(raw)
	}
	img, err := d.Image(ctx, control.ScreenshotParams{})
	if err != nil {
		return Digest{}, err
	}
	res, err := qrscan.Scan(qrscan.FrameOf(img))
	if err != nil {
		return Digest{}, err
	}
	return *res.Digest, nil
}

// digestOf reads the data of digest_updated or the result of digest.
func digestOf(raw json.RawMessage) (Digest, error) {
	var d Digest
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("a digest that cannot be read: %w", err)
	}
	return d, nil
}

// noDigestYet tells whether err only says that there is nothing to read now.
func noDigestYet(err error) bool {
	var scan *qrscan.Error
	var e *control.Error
	return errors.As(err, &scan) ||
		errors.As(err, &e) && (e.Code == control.CodeNoDigest || e.Code == control.CodeNoSuchSurface)
}

func describeDigest(d Digest) string {
	b, err := json.Marshal(d.Events)
	if err != nil {
		b = []byte(err.Error())
	}
	return fmt.Sprintf("digest frame %d with events %s", d.FrameCounter, b)
}

// awaitSurface waits for a primary surface with something on it.
func (l *Lane) awaitSurface(ctx context.Context) (control.Surface, error) {
	ctx, stop := l.whileUp(ctx)
	defer stop()
	s, err := AwaitSurface(ctx, l.Client)
	return s, l.explain(err)
}

// AwaitSurface waits until the client has a primary surface that is not all of
// one colour.
func AwaitSurface(ctx context.Context, d *control.Driver) (control.Surface, error) {
	last := "no surface"
	fail := func(err error) (control.Surface, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return control.Surface{}, &verdict.Error{Verdict: verdict.Product, Op: "await picture", Err: &AwaitError{Wanted: "a picture of more than one colour on surface 0", Last: last, Err: err}}
	}
	sub, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return fail(err)
	}
	defer sub.Close()
	for {
		st, err := d.Status(ctx)
		if err != nil {
			return fail(err)
		}
		for _, s := range st.Surfaces {
			if s.SurfaceID != 0 {
				continue
			}
			img, err := d.Image(ctx, control.ScreenshotParams{})
			if err != nil && !noDigestYet(err) {
				return fail(err)
			}
			if err == nil && !oneColour(img) {
				return s, nil
			}
			last = fmt.Sprintf("surface 0 with %d×%d pixels of one colour", s.Width, s.Height)
		}
		if _, err := sub.Next(ctx); err != nil {
			return fail(err)
		}
	}
}

func oneColour(img *image.NRGBA) bool {
	if len(img.Pix) < 4 {
		return true
	}
	row := img.Pix[:4*img.Rect.Dx()]
	for x := 4; x < len(row); x += 4 {
		if !bytes.Equal(row[x:x+4], row[:4]) {
			return false
		}
	}
	for y := 1; y < img.Rect.Dy(); y++ {
		if !bytes.Equal(img.Pix[y*img.Stride:y*img.Stride+len(row)], row) {
			return false
		}
	}
	return true
}

// explain replaces a lost control socket by what it was a consequence of, if
// that is known: the end of QEMU or of the client.
func (l *Lane) explain(err error) error {
	if err == nil || l.client == nil {
		return err
	}
	if said := l.reason(nil); said != nil {
		return said
	}
	select {
	case <-l.Client.Done():
	case <-l.machine().Done():
	default:
		return err
	}
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.machine().Done():
		return verdict.Classify("", l.machine().Err())
	case <-l.client.Done():
		return l.clientEnd(l.client)
	case <-t.C:
		return err
	}
}

// whileUp is ctx, cancelled when a part of the lane ends, with the reason as its
// cause.
func (l *Lane) whileUp(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	// NB: read here: while a lane starts, the client comes later.
	client := l.client
	var clientDone <-chan struct{}
	if client != nil {
		clientDone = client.Done()
	}
	go func() {
		select {
		case <-l.machine().Done():
			cancel(l.machine().Err())
		case <-l.failures.failed:
			cancel(l.failures.err)
		case <-clientDone:
			cancel(l.clientEnd(client))
		case <-ctx.Done():
		case <-stop:
		}
	}()
	return ctx, func() {
		close(stop)
		cancel(nil)
	}
}

// Beat is one step of a scenario: it runs act, takes a picture of what it led
// to, and notes both on the timeline under name.
func (l *Lane) Beat(ctx context.Context, name string, act func(ctx context.Context) error) error {
	l.mu.Lock()
	l.beats++
	file := fmt.Sprintf("beat-%02d-%s.png", l.beats, fileName(name))
	l.mu.Unlock()
	began := time.Now()
	l.log.Add("beat", map[string]any{"name": name, "at": "begin"})
	err := act(ctx)
	end := map[string]any{"name": name, "at": "end", "ms": time.Since(began).Milliseconds()}
	if err != nil {
		end["error"] = err.Error()
	}
	if l.Client != nil {
		picture := filepath.Join(l.dir, file)
		if perr := l.savePicture(context.WithoutCancel(ctx), picture); perr == nil {
			end["picture"] = file
		} else if err == nil {
			err = perr
		}
	}
	l.log.Add("beat", end)
	if err != nil {
		return fmt.Errorf("beat %s: %w", name, err)
	}
	return nil
}

func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, s)
}

// pictureGrace bounds each last picture of a lane that is ending.
const pictureGrace = 3 * time.Second

// savePicture writes what the client shows to path.
func (l *Lane) savePicture(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, pictureGrace)
	defer cancel()
	img, err := l.Screenshot(ctx)
	if err != nil {
		return err
	}
	return WritePNG(path, img)
}

// lastPictures saves what client and QEMU show now, as far as they still can,
// and says where.
func (l *Lane) lastPictures() []string {
	if l.machine() == nil {
		return nil
	}
	var saved []string
	note := func(via, path string, err error) {
		if err != nil {
			l.log.Add("picture", map[string]any{"via": via, "error": err.Error()})
			return
		}
		l.log.Add("picture", map[string]any{"via": via, "file": filepath.Base(path)})
		saved = append(saved, path)
	}
	if l.Client != nil {
		path := filepath.Join(l.dir, "last-client.png")
		note("client", path, l.savePicture(context.Background(), path))
	}
	if l.machine().Err() == nil {
		path := filepath.Join(l.dir, "last-qemu.png")
		ctx, cancel := context.WithTimeout(context.Background(), pictureGrace)
		defer cancel()
		note("qmp", path, l.machine().SaveScreenshot(ctx, path))
	}
	return saved
}

// WritePNG writes a picture to path.
func WritePNG(path string, img image.Image) error {
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&b, img); err != nil {
		return verdict.Classify("picture", err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return verdict.Classify("picture", err)
	}
	return nil
}

// ScanPicture reads the digest in a picture. The error is a *qrscan.Error.
func ScanPicture(img image.Image) (Digest, error) {
	res, err := qrscan.Scan(qrscan.FrameOf(img))
	if err != nil {
		return Digest{}, err
	}
	return *res.Digest, nil
}

// DialControl connects to a control socket. While it serves another client,
// which is not for long, it waits for its turn until ctx ends; every other
// error is final.
func DialControl(ctx context.Context, name, socket string) (*control.Driver, error) {
	cfg := control.DriverConfig{Name: name}
	d, err := cfg.Dial(ctx, socket)
	if errors.Is(err, &control.Error{Code: control.CodeBusy}) {
		d, err = cfg.DialWait(ctx, socket)
	}
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "control socket", Err: err}
	}
	return d, nil
}
