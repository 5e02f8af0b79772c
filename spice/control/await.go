package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"slices"
	"strings"
	"time"
)

// defaultAwait is how long await waits if it is not told.
const defaultAwait = 10 * time.Second

// AwaitParams are the params of await: what to wait for, and for how long.
type AwaitParams struct {
	Condition
	// TimeoutMS is the longest wait in milliseconds, 10000 if nil.
	TimeoutMS *uint32 `json:"timeout_ms,omitempty"`
}

// Condition is one thing to wait for: exactly one of its fields is set.
type Condition struct {
	// All and Any combine conditions.
	All []Condition `json:"all,omitempty"`
	Any []Condition `json:"any,omitempty"`
	// Surface waits for a surface, of a size if that is given.
	Surface *SurfaceCondition `json:"surface,omitempty"`
	// Stable waits until the pixels have not changed for a while.
	Stable *StableCondition `json:"stable,omitempty"`
	// Region compares pixels.
	Region *RegionCondition `json:"region,omitempty"`
	// Digest looks at the guest's digest.
	Digest *DigestCondition `json:"digest,omitempty"`
	// Agent waits for the guest's agent to be connected, or not.
	Agent *bool `json:"agent,omitempty"`
	// Cursor looks at the pointer.
	Cursor *CursorCondition `json:"cursor,omitempty"`
}

// Place says which pixels are meant: a surface, the primary one if nothing is
// said, and a part of it, everything if nothing is said.
type Place struct {
	ChannelID *uint8  `json:"channel_id,omitempty"`
	SurfaceID *uint32 `json:"surface_id,omitempty"`
	Rect      *Rect   `json:"rect,omitempty"`
}

// SurfaceCondition holds when the surface exists and, where they are not 0, has
// the width and height.
type SurfaceCondition struct {
	ChannelID *uint8  `json:"channel_id,omitempty"`
	SurfaceID *uint32 `json:"surface_id,omitempty"`
	Width     int     `json:"width,omitempty"`
	Height    int     `json:"height,omitempty"`
}

// StableCondition holds when no pixel has changed for MS milliseconds.
type StableCondition struct {
	Place
	MS uint32 `json:"ms"`
}

// RegionCondition holds when the pixels are what is given, by PNG or by SHA256,
// or with Differs when they are not.
type RegionCondition struct {
	Place
	// PNG is a picture of the region's size, in base64.
	PNG []byte `json:"png,omitempty"`
	// SHA256 is the hex digest of the region in the form in which screenshot
	// gives it as rgba.
	SHA256 string `json:"sha256,omitempty"`
	// Differs turns the comparison round.
	Differs bool `json:"differs,omitempty"`
	// Tolerance is how far a colour channel of a pixel may be off, 0 to 255.
	// For PNG only.
	Tolerance uint8 `json:"tolerance,omitempty"`
	// MaxPixels is how many pixels may be off by more than that. For PNG only.
	MaxPixels int `json:"max_pixels,omitempty"`
	// Masks are parts of the region, relative to it, that are not compared. For
	// PNG only.
	Masks []Rect `json:"masks,omitempty"`
}

// DigestCondition holds when a digest that was shown since the wait began, the
// one on the screen at that moment included, meets everything that is set. With
// nothing set any digest does.
type DigestCondition struct {
	// MinCounter is the least frame counter.
	MinCounter *uint32 `json:"min_counter,omitempty"`
	// Event is the kind of an event that is among the newest, as "keypress".
	Event string `json:"event,omitempty"`
	// Fields are values that this event has.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
	// AfterMS asks for an event whose timestamp_ms is greater, so that one from
	// before does not count.
	AfterMS *uint64 `json:"after_ms,omitempty"`
	// Hashes are values of channel_hashes.
	Hashes map[string]uint32 `json:"hashes,omitempty"`
	// FramebufferHash is the value of framebuffer_hash.
	FramebufferHash *uint32 `json:"framebuffer_hash,omitempty"`
}

// CursorCondition holds when the pointer has everything that is set.
type CursorCondition struct {
	Visible *bool `json:"visible,omitempty"`
	X       *int  `json:"x,omitempty"`
	Y       *int  `json:"y,omitempty"`
}

// AwaitResult is the result of await.
type AwaitResult struct {
	WaitedMS float64 `json:"waited_ms"`
	// Seen is what each condition saw last, in the order in which they stand in
	// the request. In the error timeout it is in the error's data.
	Seen []Sight `json:"seen"`
}

// Sight is what one condition saw last.
type Sight struct {
	Condition string `json:"condition"` // what was wanted, for a person
	Met       bool   `json:"met"`
	Saw       string `json:"saw"` // for a person
}

// awaitCondition is the verb await.
func (s *session) awaitCondition(c *call) (any, error) {
	var p AwaitParams
	// Unlike elsewhere an unknown field is an error: a misspelled condition
	// would be waited for in vain, or not at all.
	dec := json.NewDecoder(bytes.NewReader(c.Params))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, errorf(CodeBadParams, "params: %s", strings.TrimPrefix(jsonReason(err), "json: "))
	}
	w := &wait{s: s}
	root, err := w.compile(p.Condition, "params")
	if err != nil {
		return nil, err
	}
	timeout := defaultAwait
	if p.TimeoutMS != nil {
		timeout = time.Duration(*p.TimeoutMS) * time.Millisecond
	}
	return w.run(c.ctx, root, timeout)
}

// wait is one await.
type wait struct {
	s      *session
	start  time.Time
	leaves []*leaf
	digest bool // some leaf looks at digests
}

// leaf is a condition that is no combination, and what it saw last.
type leaf struct {
	want string
	// look says whether the condition holds and what it saw. again is when it
	// may hold without anything happening; zero is never.
	look func() (met bool, saw string, again time.Time)
	met  bool
	saw  string
}

// node is a condition: it looks again and says whether it holds now.
type node func(again *time.Time) bool

// run looks now, and whenever something has happened, until the condition holds.
func (w *wait) run(ctx context.Context, root node, timeout time.Duration) (any, error) {
	wake, stop := w.s.waker()
	defer stop()
	if w.digest {
		if w.s.watchDigest() == nil {
			return nil, errorf(CodeBadParams, "the server does not read digests")
		}
	}
	w.start = time.Now()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	again := time.NewTimer(timeout)
	defer again.Stop()
	for {
		var at time.Time
		met := root(&at)
		if met {
			return AwaitResult{WaitedMS: milliseconds(time.Since(w.start)), Seen: w.seen()}, nil
		}
		if st := w.s.srv.cfg.Console.Status(); !st.SpiceConnected {
			return nil, w.fail(CodeDisconnected, "the session is over: "+cmpOr(st.Error, "not connected"))
		}
		again.Stop()
		if !at.IsZero() {
			again.Reset(time.Until(at))
		}
		select {
		case <-wake:
		case <-again.C:
		case <-deadline.C:
			return nil, w.fail(CodeTimeout, fmt.Sprintf("not within %s", timeout))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *wait) seen() []Sight {
	sights := make([]Sight, 0, len(w.leaves))
	for _, l := range w.leaves {
		sights = append(sights, Sight{Condition: l.want, Met: l.met, Saw: l.saw})
	}
	return sights
}

// fail says which conditions did not hold and what they saw last.
func (w *wait) fail(code Code, why string) error {
	var missing []string
	for _, l := range w.leaves {
		if !l.met {
			missing = append(missing, fmt.Sprintf("%s (last seen: %s)", l.want, l.saw))
		}
	}
	e := errorf(code, "%s: %s", why, strings.Join(missing, "; "))
	data, err := marshal(AwaitResult{WaitedMS: milliseconds(time.Since(w.start)), Seen: w.seen()})
	if err == nil {
		e.Data = data
	}
	return e
}

// compile checks a condition and makes it ready to be looked at.
func (w *wait) compile(c Condition, at string) (node, error) {
	var found []string
	var n node
	var err error
	take := func(name string, set bool, make func() (node, error)) {
		if !set || err != nil {
			return
		}
		found = append(found, name)
		n, err = make()
	}
	take("all", c.All != nil, func() (node, error) { return w.combine(c.All, at+".all", true) })
	take("any", c.Any != nil, func() (node, error) { return w.combine(c.Any, at+".any", false) })
	take("surface", c.Surface != nil, func() (node, error) { return w.surface(*c.Surface) })
	take("stable", c.Stable != nil, func() (node, error) { return w.stable(*c.Stable) })
	take("region", c.Region != nil, func() (node, error) { return w.region(*c.Region) })
	take("digest", c.Digest != nil, func() (node, error) { return w.digests(*c.Digest) })
	take("agent", c.Agent != nil, func() (node, error) { return w.agent(*c.Agent) })
	take("cursor", c.Cursor != nil, func() (node, error) { return w.cursor(*c.Cursor) })
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, errorf(CodeBadParams, "%s: want exactly one of all, any, surface, stable, region, digest, agent, cursor; got %d", at, len(found))
	}
	return n, nil
}

// combine makes a condition of conditions. All of them are looked at each time,
// so that the report is of one moment.
func (w *wait) combine(cs []Condition, at string, all bool) (node, error) {
	if len(cs) == 0 {
		return nil, errorf(CodeBadParams, "%s is empty", at)
	}
	var nodes []node
	for i, c := range cs {
		n, err := w.compile(c, fmt.Sprintf("%s[%d]", at, i))
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return func(again *time.Time) bool {
		met := 0
		for _, n := range nodes {
			if n(again) {
				met++
			}
		}
		return met == len(nodes) || !all && met > 0
	}, nil
}

// leaf adds a condition that is no combination.
func (w *wait) leaf(want string, look func() (bool, string, time.Time)) (node, error) {
	l := &leaf{want: want, look: look}
	w.leaves = append(w.leaves, l)
	return func(again *time.Time) bool {
		var at time.Time
		l.met, l.saw, at = l.look()
		if !l.met && !at.IsZero() && (again.IsZero() || at.Before(*again)) {
			*again = at
		}
		return l.met
	}, nil
}

func (w *wait) surface(c SurfaceCondition) (node, error) {
	want := "a surface"
	if c.SurfaceID != nil {
		want = fmt.Sprintf("surface %d", *c.SurfaceID)
	}
	if c.ChannelID != nil {
		want += fmt.Sprintf(" on channel %d", *c.ChannelID)
	}
	if c.Width != 0 || c.Height != 0 {
		want += fmt.Sprintf(" of %dx%d", c.Width, c.Height)
	}
	return w.leaf(want, func() (bool, string, time.Time) {
		sf, err := w.s.pickSurface(c.ChannelID, c.SurfaceID)
		if err != nil {
			return false, plain(err), time.Time{}
		}
		met := (c.Width == 0 || c.Width == sf.Width) && (c.Height == 0 || c.Height == sf.Height)
		return met, fmt.Sprintf("surface %d on channel %d of %dx%d", sf.SurfaceID, sf.ChannelID, sf.Width, sf.Height), time.Time{}
	})
}

// plain is an error's message without its code.
func plain(err error) string {
	if e := new(Error); errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// pixels copies what a place means.
func (w *wait) pixels(p Place) (*Picture, error) {
	sf, err := w.s.pickSurface(p.ChannelID, p.SurfaceID)
	if err != nil {
		return nil, err
	}
	return w.s.snapshot(sf, p.Rect)
}

func (p Place) String() string {
	s := "the picture"
	if p.SurfaceID != nil || p.ChannelID != nil {
		s = "the surface"
	}
	if p.Rect != nil {
		s = fmt.Sprintf("the region %dx%d at %d,%d", p.Rect.Width, p.Rect.Height, p.Rect.X, p.Rect.Y)
	}
	return s
}

func (w *wait) stable(c StableCondition) (node, error) {
	quiet := time.Duration(c.MS) * time.Millisecond
	var last []byte
	var since time.Time
	return w.leaf(fmt.Sprintf("%s unchanged for %s", c.Place, quiet), func() (bool, string, time.Time) {
		now := time.Now()
		pic, err := w.pixels(c.Place)
		if err != nil {
			last = nil
			return false, plain(err), time.Time{}
		}
		switch {
		case last == nil && !pic.Drawn.IsZero():
			since = pic.Drawn // nothing has been drawn since then
		case last == nil, !bytes.Equal(last, pic.Pix):
			since = now
		}
		last = pic.Pix
		return now.Sub(since) >= quiet, fmt.Sprintf("unchanged for %s", now.Sub(since).Round(time.Millisecond)), since.Add(quiet)
	})
}

func (w *wait) region(c RegionCondition) (node, error) {
	if (c.PNG == nil) == (c.SHA256 == "") {
		return nil, errorf(CodeBadParams, "region: want either png or sha256")
	}
	compare, err := c.comparer()
	if err != nil {
		return nil, err
	}
	verb := "equal to the given picture"
	if c.Differs {
		verb = "other than the given picture"
	}
	return w.leaf(fmt.Sprintf("%s %s", c.Place, verb), func() (bool, string, time.Time) {
		pic, err := w.pixels(c.Place)
		if err != nil {
			return false, plain(err), time.Time{}
		}
		same, saw := compare(pic.rgba())
		return same != c.Differs, saw, time.Time{}
	})
}

// comparer makes the function that compares pixels with what the condition gives.
func (c RegionCondition) comparer() (func(*image.NRGBA) (same bool, saw string), error) {
	if c.SHA256 != "" {
		want, err := hex.DecodeString(c.SHA256)
		if err != nil || len(want) != sha256.Size {
			return nil, errorf(CodeBadParams, "region.sha256: want %d hex digits", 2*sha256.Size)
		}
		return func(got *image.NRGBA) (bool, string) {
			sum := sha256.Sum256(got.Pix)
			return bytes.Equal(sum[:], want), fmt.Sprintf("%dx%d pixels with sha256 %x", got.Rect.Dx(), got.Rect.Dy(), sum)
		}, nil
	}
	img, err := png.Decode(bytes.NewReader(c.PNG))
	if err != nil {
		return nil, errorf(CodeBadParams, "region.png: %s", err)
	}
	want := toNRGBA(img)
	return func(got *image.NRGBA) (bool, string) {
		if got.Rect.Size() != want.Rect.Size() {
			return false, fmt.Sprintf("%dx%d pixels, the given picture has %dx%d", got.Rect.Dx(), got.Rect.Dy(), want.Rect.Dx(), want.Rect.Dy())
		}
		off, first := comparePixels(want, got, int(c.Tolerance), c.Masks)
		if off == 0 {
			return true, "no pixel differs"
		}
		return off <= c.MaxPixels, fmt.Sprintf("%d pixels differ, the first at %d,%d", off, first.X, first.Y)
	}, nil
}

// comparePixels counts the pixels of two pictures of one size that are further
// apart than the tolerance in some colour channel, outside the masks.
func comparePixels(want, got *image.NRGBA, tolerance int, masks []Rect) (off int, first image.Point) {
	masked := func(x, y int) bool {
		return slices.ContainsFunc(masks, func(m Rect) bool {
			return x >= m.X && x < m.X+m.Width && y >= m.Y && y < m.Y+m.Height
		})
	}
	for y := range want.Rect.Dy() {
		a, b := want.Pix[y*want.Stride:], got.Pix[y*got.Stride:]
		for x := range want.Rect.Dx() {
			for i := 4 * x; i < 4*x+3; i++ {
				if d := int(a[i]) - int(b[i]); d > tolerance || -d > tolerance {
					if !masked(x, y) {
						if off == 0 {
							first = image.Pt(x, y)
						}
						off++
					}
					break
				}
			}
		}
	}
	return off, first
}

func (w *wait) digests(c DigestCondition) (node, error) {
	if (c.Fields != nil || c.AfterMS != nil) && c.Event == "" {
		return nil, errorf(CodeBadParams, "digest: fields and after_ms are of an event: name it")
	}
	for name, raw := range c.Fields {
		canon, err := canonical(raw)
		if err != nil {
			return nil, errorf(CodeBadParams, "digest.fields.%s: %s", name, err)
		}
		c.Fields[name] = canon
	}
	w.digest = true
	seq := -1
	saw := "no digest"
	return w.leaf(c.String(), func() (bool, string, time.Time) {
		var ds []Digest
		ds, seq = w.s.watchDigest().since(seq)
		for _, d := range ds {
			var met bool
			if met, saw = c.matches(d); met {
				return true, saw, time.Time{}
			}
		}
		return false, saw, time.Time{}
	})
}

// String says what the condition wants.
func (c DigestCondition) String() string {
	var parts []string
	if c.MinCounter != nil {
		parts = append(parts, fmt.Sprintf("frame counter at least %d", *c.MinCounter))
	}
	if c.Event != "" {
		s := "event " + c.Event
		if len(c.Fields) > 0 {
			b, err := marshal(c.Fields)
			if err == nil {
				s += " with " + string(b)
			}
		}
		if c.AfterMS != nil {
			s += fmt.Sprintf(" after %d ms", *c.AfterMS)
		}
		parts = append(parts, s)
	}
	if len(c.Hashes) > 0 {
		parts = append(parts, fmt.Sprintf("hashes %v", c.Hashes))
	}
	if c.FramebufferHash != nil {
		parts = append(parts, fmt.Sprintf("framebuffer hash %#x", *c.FramebufferHash))
	}
	if len(parts) == 0 {
		return "a digest"
	}
	return "a digest with " + strings.Join(parts, ", ")
}

// matches says whether a digest meets the condition, and what there is of it.
func (c DigestCondition) matches(d Digest) (met bool, saw string) {
	saw = fmt.Sprintf("counter %d, framebuffer hash %#x, events %s", d.FrameCounter, d.FramebufferHash, bytes.Join(rawBytes(d.Events), []byte(" ")))
	if c.MinCounter != nil && d.FrameCounter < *c.MinCounter ||
		c.FramebufferHash != nil && d.FramebufferHash != *c.FramebufferHash {
		return false, saw
	}
	for name, want := range c.Hashes {
		if got, ok := d.ChannelHashes[name]; !ok || got != want {
			return false, fmt.Sprintf("%s, hash of %s %#x", saw, name, got)
		}
	}
	return c.Event == "" || slices.ContainsFunc(d.Events, c.matchesEvent), saw
}

func rawBytes(raws []json.RawMessage) [][]byte {
	out := make([][]byte, len(raws))
	for i, r := range raws {
		out[i] = r
	}
	return out
}

func (c DigestCondition) matchesEvent(raw json.RawMessage) bool {
	var ev map[string]map[string]json.RawMessage
	if json.Unmarshal(raw, &ev) != nil {
		return false
	}
	fields, ok := ev[c.Event]
	if !ok {
		return false
	}
	for name, want := range c.Fields {
		got, err := canonical(fields[name])
		if err != nil || !bytes.Equal(got, want) {
			return false
		}
	}
	if c.AfterMS != nil {
		var at uint64
		if json.Unmarshal(fields["timestamp_ms"], &at) != nil || at <= *c.AfterMS {
			return false
		}
	}
	return true
}

// canonical rewrites a JSON value so that equal values have equal bytes.
func canonical(raw json.RawMessage) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("no value")
		}
		return nil, err
	}
	return marshal(v)
}

func (w *wait) agent(want bool) (node, error) {
	name := map[bool]string{true: "the agent connected", false: "the agent gone"}
	return w.leaf(name[want], func() (bool, string, time.Time) {
		got := w.s.srv.cfg.Console.Status().AgentConnected
		return got == want, name[got], time.Time{}
	})
}

func (w *wait) cursor(c CursorCondition) (node, error) {
	src, ok := as[CursorSource](w.s.srv.cfg.Console)
	if !ok {
		return nil, errorf(CodeBadParams, "cursor: this console does not know its pointer")
	}
	var parts []string
	if c.Visible != nil {
		parts = append(parts, map[bool]string{true: "visible", false: "hidden"}[*c.Visible])
	}
	if c.X != nil {
		parts = append(parts, fmt.Sprintf("at x %d", *c.X))
	}
	if c.Y != nil {
		parts = append(parts, fmt.Sprintf("at y %d", *c.Y))
	}
	if len(parts) == 0 {
		return nil, errorf(CodeBadParams, "cursor: want visible, x or y")
	}
	return w.leaf("the pointer "+strings.Join(parts, ", "), func() (bool, string, time.Time) {
		cur := src.Cursor()
		saw := "hidden"
		if cur.Visible {
			saw = fmt.Sprintf("visible at %d,%d", cur.X, cur.Y)
		}
		met := (c.Visible == nil || *c.Visible == cur.Visible) && (c.X == nil || *c.X == cur.X) && (c.Y == nil || *c.Y == cur.Y)
		return met, saw, time.Time{}
	})
}
