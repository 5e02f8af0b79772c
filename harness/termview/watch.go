// Package termview shows a lane live in a terminal: its picture, its state, the last lines on its
// serial console, and the guest's digest.
//
//	v := viewer.Open(viewer.Of(state, nil))
//	defer v.Close()
//	err := termview.Run(ctx, v, termview.Config{})   // until q is pressed
//
// If the terminal supports kitty's protocol or sixel, the picture has real pixels; Run asks the
// terminal. Otherwise, for example in tmux, it has coloured half blocks. Run writes only changes,
// so it writes nothing while nothing changes.
//
// Without a terminal, Lines prints the events and the serial console line by line.
package termview

import (
	"bytes"
	"context"
	"errors"
	"image"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/spice/control/server"
)

// A Config says where and how to show the lane. The zero Config uses this process's terminal, with
// the best picture that it supports.
type Config struct {
	// In and Out are the terminal; nil means standard input and output.
	In, Out *os.File
	// Picture is the way to show the picture; empty means Auto.
	Picture Picture
	// Getenv reads the environment; nil means os.Getenv.
	Getenv func(string) string
}

// frameTime is the shortest time between two updates of the screen. A terminal across a network is
// slow, and people cannot see more.
const frameTime = 50 * time.Millisecond

// Run shows a lane until q, Escape or Ctrl-C is pressed, or ctx ends. Then it restores the
// terminal. The error matches ErrNoTerminal if there is no terminal.
func Run(ctx context.Context, v *viewer.Viewer, cfg Config) error {
	in, out, getenv := cfg.In, cfg.Out, cfg.Getenv
	if in == nil {
		in = os.Stdin
	}
	if out == nil {
		out = os.Stdout
	}
	if getenv == nil {
		getenv = os.Getenv
	}
	t, err := openTerminal(in, out, getenv)
	if err != nil {
		return err
	}
	defer t.close()
	ctx, cancel := context.WithCancel(ctx)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	keys := make(chan byte)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		readKeys(ctx, t, keys)
	}()
	// Wait for the reader before restoring the terminal.
	defer func() {
		cancel()
		<-ended
	}()

	s := newScreen(v, how(cfg.Picture, t), t.depth)
	damage := v.Damage()
	defer damage.Close()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		changed := v.Changed()
		if err := s.draw(t); err != nil {
			return err
		}
		// Changes until the next frame are collected and shown with it.
		pace.Reset(frameTime)
		waiting, due := true, false
		for !due || waiting {
			select {
			case <-ctx.Done():
				return nil
			case <-pace.C:
				due = true
			case <-changed:
				waiting, changed = false, nil
			case <-damage.Ready():
				damage.Take()
				s.stale = true
				waiting = false
			case <-resized:
				s.resized()
				waiting = false
			case k := <-keys:
				switch k {
				case 'q', 'Q', 3, 0x1b:
					return nil
				case 'p':
					s.nextPicture(t)
				case 'r', 12:
					s.resized()
				}
				waiting = false
			}
		}
	}
}

// readKeys sends single keys to keys until ctx ends. It ignores sequences that begin with Escape,
// such as those of arrow keys.
func readKeys(ctx context.Context, t *terminal, keys chan<- byte) {
	for {
		b, err := t.read(ctx)
		if err != nil {
			if ctx.Err() == nil {
				b = []byte{'q'} // the terminal is gone
			} else {
				return
			}
		}
		if len(b) > 1 && b[0] == 0x1b {
			continue
		}
		for _, k := range b {
			select {
			case keys <- k:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// how returns the way to show pictures on a terminal: p, or the best one if p is Auto.
func how(p Picture, t *terminal) Picture {
	if p != Auto && p != "" {
		return p
	}
	switch {
	case t.kitty:
		return Kitty
	case t.sixel && !t.tmux:
		// tmux 3.4 and newer report support for sixel, but show nothing if the terminal around tmux
		// does not support it.
		return Sixel
	case t.depth == NoColour:
		return Text
	default:
		return Blocks
	}
}

// A screen is the state of what the terminal shows.
type screen struct {
	v       *viewer.Viewer
	picture Picture
	depth   Depth
	stale   bool // the guest's picture has changed since it was drawn
	clear   bool // everything must be written again
	from    int  // the next entry to ask for
	entries []viewer.Entry
	old     *grid
	small   *pixels // the picture as it was drawn last
	place   image.Rectangle
	kitty   bool // the terminal shows pictures of kitty's protocol
	out     bytes.Buffer
}

func newScreen(v *viewer.Viewer, p Picture, d Depth) *screen {
	return &screen{v: v, picture: p, depth: d, stale: true, clear: true}
}

func (s *screen) resized() { s.clear, s.stale = true, true }

// nextPicture selects the next way to show a picture that this terminal supports.
func (s *screen) nextPicture(t *terminal) {
	ways := []Picture{Blocks, Text, None}
	if t.sixel || s.picture == Sixel {
		ways = slices.Insert(ways, 0, Sixel)
	}
	if t.kitty || s.picture == Kitty {
		ways = slices.Insert(ways, 0, Kitty)
	}
	s.picture = ways[(slices.Index(ways, s.picture)+1)%len(ways)]
	s.resized()
}

// blockCell is the size of a cell in half blocks.
var blockCell = image.Pt(1, 2)

// fallbackCell is a usual cell size in pixels. It is for terminals that accept pictures of pixels
// but do not report the size of a cell.
var fallbackCell = image.Pt(8, 16)

// draw writes the changes to the terminal.
func (s *screen) draw(t *terminal) error {
	w, h, cell := t.size()
	s.out.Reset()
	s.render(w, h, cell)
	if s.out.Len() == 0 {
		return nil
	}
	// Mode 2026, synchronized output: a terminal that supports it does not show incomplete frames.
	_, err := t.out.Write(slices.Concat([]byte("\x1b[?2026h"), s.out.Bytes(), []byte("\x1b[?2026l")))
	if errors.Is(err, syscall.EAGAIN) {
		return nil
	}
	return err
}

// render writes the changes for a terminal of w×h cells into s.out.
func (s *screen) render(w, h int, cell image.Point) {
	switch s.picture {
	case Kitty, Sixel:
		if cell.X <= 0 || cell.Y <= 0 {
			cell = fallbackCell
		}
	default:
		cell = blockCell
	}
	news, next := s.v.Entries(s.from)
	s.from = next
	s.entries = append(s.entries, news...)
	if drop := len(s.entries) - 1000; drop > 0 {
		s.entries = slices.Delete(s.entries, 0, drop)
	}
	state := s.v.State()
	l := arrange(w, h, state.Screen, cell, s.picture != None)
	if s.clear || l.picture != s.place {
		if s.kitty {
			s.out.WriteString(kittyForget)
		}
		s.kitty = s.picture == Kitty
		s.out.WriteString("\x1b[m\x1b[2J")
		s.old, s.small = nil, nil
		s.stale, s.clear, s.place = true, false, l.picture
	}
	g := newGrid(w, h)
	drawWords(g, l, state, s.entries, "p picture  q quit")
	before := s.small
	if s.picture != None && !l.picture.Empty() && state.Screen != (image.Point{}) {
		if s.stale || s.small == nil {
			s.stale = false
			if pic, err := s.v.Picture(image.Rectangle{}); err == nil {
				s.small = scaleInto(pic, l.picture, cell)
			}
		}
		if s.small != nil {
			switch s.picture {
			case Blocks:
				drawBlocks(g, l.picture.Min.X, l.picture.Min.Y, s.small)
			case Text:
				drawText(g, l.picture.Min.X, l.picture.Min.Y, s.small)
			default:
				for y := l.picture.Min.Y; y < l.picture.Max.Y; y++ {
					for x := l.picture.Min.X; x < l.picture.Max.X; x++ {
						g.set(x, y, cellOfPicture)
					}
				}
			}
		}
	}
	g.diff(&s.out, s.old, s.depth)
	s.old = g
	if s.small != nil && (s.picture == Kitty || s.picture == Sixel) {
		s.sendStrips(l, cell, before)
	}
}

// cellOfPicture is a cell that is covered by real pixels.
var cellOfPicture = cell{}

// scaleInto scales a picture so that it fits into its place. cell is the size of a cell in pixels.
func scaleInto(pic *server.Picture, place image.Rectangle, cell image.Point) *pixels {
	size := fit(image.Pt(pic.Width, pic.Height), image.Pt(place.Dx()*cell.X, place.Dy()*cell.Y))
	return scale(pic, size.X, size.Y)
}

// sendStrips sends the strips that differ from those of before. If before is nil, it sends all.
func (s *screen) sendStrips(l layout, cell image.Point, before *pixels) {
	p := s.small
	cols := (p.w + cell.X - 1) / cell.X
	for i := range strips(p, cell.Y) {
		rows := p.rows(i*cell.Y, cell.Y)
		if before != nil && before.w == p.w && before.h == p.h && bytes.Equal(rows, before.rows(i*cell.Y, cell.Y)) {
			continue
		}
		moveTo(&s.out, l.picture.Min.X, l.picture.Min.Y+i)
		h := len(rows) / 3 / p.w
		if s.picture == Kitty {
			kittyStrip(&s.out, i+1, rows, p.w, h, cols)
		} else {
			sixelStrip(&s.out, rows, p.w, h)
		}
	}
}
