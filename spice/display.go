package spice

import (
	"context"
	"fmt"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

// Head is one monitor: the part of a surface that it shows.
type Head = wire.Head

// budget counts the pixels that all surfaces of a session use together.
type budget struct {
	mu    sync.Mutex
	used  int64
	limit int64
}

func (b *budget) take(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+int64(n) > b.limit {
		return &LimitError{What: "pixels of all surfaces", Got: b.used + int64(n), Want: b.limit}
	}
	b.used += int64(n)
	return nil
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= int64(n)
}

// display interprets one display channel.
type display struct {
	ch *channel
	c  *Client

	surfaces   surfaces
	marked     bool // guarded by surfaces.mu, like heads
	heads      []Head
	generation uint64 // of the last change of any surface; guarded by surfaces.mu

	// Used only by the goroutine that carries out messages.
	in      *incoming // the message that is being carried out
	images  images
	streams streams
	clip    []image.Rectangle
	used    featureList
	slots   struct{ src, brush, back, mask slot }
}

func newDisplay(ch *channel) *display {
	d := &display{ch: ch, c: ch.client}
	d.surfaces.byID = map[uint32]*surface{}
	d.images = images{c: ch.client, d: d, alone: decoders{most: ch.client.cfg.Limits.imagePixels()}, glz: ch.client.glz.NewDecoder()}
	return d
}

// sharedCache is the number under which all display channels share one pixmap cache and one GLZ
// window.
const sharedCache = 1

func (d *display) begin() error {
	err := d.ch.send(&wire.DisplayInit{
		PixmapCacheID: sharedCache, PixmapCacheSize: int64(d.c.cfg.pixmapCachePixels()),
		GLZDictionaryID: sharedCache, GLZWindowSize: int32(min(d.c.cfg.glzWindowPixels(), 1<<30)),
	})
	if err != nil {
		return err
	}
	if p := d.c.cfg.PreferredCompression; p != 0 && d.ch.link.ChannelCaps.Has(wire.CapDisplayPrefCompression) {
		return d.ch.send(&wire.DisplayPreferredCompression{Compression: p})
	}
	return nil
}

func (d *display) handle(msg wire.ServerMessage, in *incoming) error {
	d.in = in
	d.used = d.used[:0]
	d.used.of(msg)
	d.c.counters.use(d.used)
	switch m := msg.(type) {
	case *wire.DrawCopy:
		return d.drawCopy("draw_copy", m)
	case *wire.DrawFill:
		return d.drawFill(m)
	case *wire.DisplayCopyBits:
		return d.draw("copy_bits", &m.Base, func(s *surface) error {
			return s.img.CopyBits(d.area(&m.Base), pt(m.SrcPos))
		})
	case *wire.DrawOpaque:
		return d.drawOpaque(m)
	case *wire.DrawBlend:
		return d.drawCopy("draw_blend", (*wire.DrawCopy)(m))
	case *wire.DrawBlackness:
		return d.drawFlat("draw_blackness", &m.Base, &m.Mask, (*canvas.Image).Blackness)
	case *wire.DrawWhiteness:
		return d.drawFlat("draw_whiteness", &m.Base, &m.Mask, (*canvas.Image).Whiteness)
	case *wire.DrawInvers:
		return d.drawFlat("draw_invers", &m.Base, &m.Mask, (*canvas.Image).Invert)
	case *wire.DrawRop3:
		return d.drawRop3(m)
	case *wire.DrawStroke:
		return d.drawStroke(m)
	case *wire.DrawText:
		return d.drawText(m)
	case *wire.DrawTransparent:
		return d.drawTransparent(m)
	case *wire.DrawAlphaBlend:
		return d.drawAlphaBlend(m)
	case *wire.DrawComposite:
		return d.drawComposite(m)
	case *wire.DisplaySurfaceCreate:
		return d.create(m)
	case *wire.DisplaySurfaceDestroy:
		return d.destroy(m.Surface)
	case *wire.DisplayMode:
		format := wire.Surface32XRGB
		if m.Bits == 16 {
			format = wire.Surface16_555
		}
		return d.create(&wire.DisplaySurfaceCreate{Width: m.Width, Height: m.Height, Format: format, Flags: wire.SurfacePrimary})
	case *wire.DisplayMark:
		d.mark(true)
		return nil
	case *wire.DisplayReset:
		d.reset()
		return nil
	case *wire.DisplayMonitorsConfig:
		d.surfaces.mu.Lock()
		d.heads = slices.Clone(m.Heads)
		d.surfaces.mu.Unlock()
		d.c.notifier.notify()
		return nil
	}
	if done, err := d.stream(msg); done {
		return err
	}
	if done, err := d.invalidate(msg); done {
		return err
	}
	// The unknown message may have drawn something, so nothing of this channel can be trusted any
	// more.
	name := "message " + msg.MessageName()
	d.c.miss(name)
	d.distrustAll(name)
	return nil
}

// lookup returns a surface to draw on. It needs no lock: only the goroutine that carries out
// messages calls it, and only that goroutine changes the set of surfaces.
func (d *display) lookup(id uint32) (*surface, error) {
	if s := d.surfaces.byID[id]; s != nil {
		return s, nil
	}
	return nil, protocolErrorf("surface %d does not exist", id)
}

// draw carries out an operation on a surface and notifies observers. fn runs with the surfaces
// locked.
func (d *display) draw(op string, base *wire.DisplayBase, fn func(*surface) error) error {
	s, err := d.lookup(base.Surface)
	if err != nil {
		return err
	}
	return d.change(op, s, base.Box.Bounds(), fn)
}

// change carries out an operation on s that changes nothing outside box.
func (d *display) change(op string, s *surface, box image.Rectangle, fn func(*surface) error) error {
	d.surfaces.mu.Lock()
	err := fn(s)
	now := time.Now()
	if err == nil {
		d.generation++
		s.info.Generation = d.generation
		s.info.Drawn = now
	}
	generation := s.info.Generation
	d.surfaces.mu.Unlock()
	if err != nil {
		return d.failed(op, s, err)
	}
	box = box.Intersect(s.img.Bounds())
	d.c.counters.op(op, box.Dx()*box.Dy(), now.Sub(d.in.received))
	if d.c.observers.active() {
		d.c.observers.emit(Drawn{Channel: d.ch.id.ID, Surface: s.info.ID, Rect: box, Op: op, Received: d.in.received, At: now, Generation: generation})
	}
	d.c.notifier.notify()
	return nil
}

// failed decides what an operation's error means. If something is not supported, it is noted on the
// surface; other errors end the session.
func (d *display) failed(op string, s *surface, err error) error {
	what, ok := unsupported(err)
	if !ok {
		return err
	}
	what = op + ": " + what
	d.c.miss(what)
	d.surfaces.mu.Lock()
	s.spoil(what)
	d.surfaces.mu.Unlock()
	d.c.notifier.notify()
	return nil
}

func (d *display) distrustAll(what string) {
	d.surfaces.mu.Lock()
	for _, s := range d.surfaces.byID {
		s.spoil(what)
	}
	d.surfaces.mu.Unlock()
	d.c.notifier.notify()
}

func (d *display) create(m *wire.DisplaySurfaceCreate) error {
	format := canvas.Format(m.Format)
	w, h, err := d.surfaceSize(m)
	if err != nil {
		return err
	}
	if d.surfaces.byID[m.Surface] != nil {
		if err := d.destroy(m.Surface); err != nil {
			return err
		}
	}
	if most := d.c.cfg.Limits.surfaces(); len(d.surfaces.byID) >= most {
		return &LimitError{What: "surfaces", Got: int64(most) + 1, Want: int64(most)}
	}
	if err := d.c.budget.take(w * h); err != nil {
		return err
	}
	problem := ""
	if !format.Known() {
		problem = "surface_create: " + format.String()
		d.c.miss(problem)
		format = canvas.XRGB
	}
	s := &surface{
		img: canvas.New(format, w, h),
		info: SurfaceInfo{
			Channel: d.ch.id.ID, ID: m.Surface, Width: w, Height: h, Format: format,
			Primary: m.Flags&wire.SurfacePrimary != 0, Problem: problem, Drawn: time.Now(),
		},
	}
	d.surfaces.mu.Lock()
	d.generation++
	s.info.Generation = d.generation
	s.info.Marked = s.info.Primary && d.marked
	d.surfaces.byID[m.Surface] = s
	d.surfaces.mu.Unlock()
	d.c.observers.emit(SurfaceChanged{Channel: d.ch.id.ID, Surface: m.Surface, Width: w, Height: h})
	d.c.notifier.notify()
	return nil
}

func (d *display) surfaceSize(m *wire.DisplaySurfaceCreate) (w, h int, err error) {
	const most = 1 << 15
	if m.Width < 1 || m.Height < 1 || m.Width > most || m.Height > most {
		return 0, 0, protocolErrorf("surface %d of %d×%d pixels, want 1 to %d each way", m.Surface, m.Width, m.Height, most)
	}
	w, h = int(m.Width), int(m.Height)
	if limit := d.c.cfg.Limits.surfacePixels(); w*h > limit {
		return 0, 0, &LimitError{What: fmt.Sprintf("pixels of surface %d (%d×%d)", m.Surface, w, h), Got: int64(w) * int64(h), Want: int64(limit)}
	}
	return w, h, nil
}

func (d *display) destroy(id uint32) error {
	s, err := d.lookup(id)
	if err != nil {
		return err
	}
	d.surfaces.mu.Lock()
	delete(d.surfaces.byID, id)
	if s.info.Primary {
		d.marked = false
	}
	d.surfaces.mu.Unlock()
	d.c.budget.give(s.img.Width * s.img.Height)
	d.c.observers.emit(SurfaceChanged{Channel: d.ch.id.ID, Surface: id})
	d.c.notifier.notify()
	return nil
}

// mark records whether the primary surface is complete.
func (d *display) mark(on bool) {
	d.surfaces.mu.Lock()
	d.marked = on
	for _, s := range d.surfaces.byID {
		s.info.Marked = s.info.Primary && on
	}
	d.surfaces.mu.Unlock()
	d.c.notifier.notify()
}

// reset clears the primary surface to black and empties the palette cache. Servers request that
// before they set a mode.
func (d *display) reset() {
	clear(d.images.palettes)
	d.surfaces.mu.Lock()
	for _, s := range d.surfaces.byID {
		if s.info.Primary {
			clear(s.img.Pix)
			d.generation++
			s.info.Generation = d.generation
			s.info.Drawn = time.Now()
		}
	}
	d.surfaces.mu.Unlock()
	d.mark(false)
}

// Heads returns the monitors of a display channel, as the server last described them.
func (c *Client) Heads(channel uint8) []Head {
	d := c.display(channel)
	if d == nil {
		return nil
	}
	d.surfaces.mu.Lock()
	defer d.surfaces.mu.Unlock()
	return slices.Clone(d.heads)
}

// AwaitPicture waits until the primary surface of a display channel exists and the server has
// marked it as complete.
func (c *Client) AwaitPicture(ctx context.Context, channel uint8) (SurfaceInfo, error) {
	var found SurfaceInfo
	err := c.Await(ctx, func() bool {
		for _, s := range c.Surfaces() {
			if s.Channel == channel && s.Primary && s.Marked {
				found = s
				return true
			}
		}
		return false
	})
	if err != nil {
		seen := "no surface"
		for _, s := range c.Surfaces() {
			if s.Channel == channel && s.Primary {
				seen = fmt.Sprintf("a surface of %d×%d pixels that the server has not called complete", s.Width, s.Height)
			}
		}
		err = fmt.Errorf("spice: waiting for the picture of display %d: %w; it has %s", channel, err, seen)
	}
	return found, err
}
