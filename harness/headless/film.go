package headless

import (
	"image"
	"time"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
)

// KindScreenshot is the kind of a timeline entry for a picture that somebody took of a whole
// display. If the lane is filmed, the film shows that picture at the entry's time.
const KindScreenshot = "screenshot"

// A filmed is the SPICE session of a console in the form that package film needs.
type filmed struct {
	console  *spiceconsole.Console
	surfaces map[uint8]uint32 // the primary surface of each display channel
}

// session tells the pictures of a display channel apart.
type session struct {
	client  *spice.Client
	surface uint32
}

// Displays implements [film.Screen].
func (f *filmed) Displays() []film.Display {
	client := f.console.Client()
	f.surfaces = map[uint8]uint32{}
	select {
	case <-client.Done():
		return nil
	default:
	}
	var all []film.Display
	for _, s := range client.Surfaces() {
		if s.Primary {
			f.surfaces[s.Channel] = s.ID
			all = append(all, film.Display{Number: s.Channel, Size: image.Pt(s.Width, s.Height), Session: session{client, s.ID}})
		}
	}
	return all
}

// Copy implements [film.Screen].
func (f *filmed) Copy(display uint8, r image.Rectangle, dst *film.Pixels) bool {
	id, ok := f.surfaces[display]
	if !ok {
		return false
	}
	cells, err := f.console.Client().Cells(display, id, r, &canvas.Image{Pix: dst.Pix})
	if err != nil || cells.Width != r.Dx() || cells.Height != r.Dy() {
		return false
	}
	rgb := cells.Convert(canvas.XRGB)
	dst.Rect, dst.Pix, dst.Stride = r, rgb.Pix, rgb.Stride
	return true
}

// startFilm starts to film the console if ClientConfig.Film is set.
func (c *Client) startFilm() error {
	if c.cfg.Film == "" {
		return nil
	}
	var err error
	c.film, err = film.Start(film.Config{Path: c.cfg.Film, Clock: c.cfg.TimelineStart, Screen: &filmed{console: c.console}})
	if err != nil {
		return err
	}
	c.console.Observe(func(n server.Notice) {
		switch n := n.(type) {
		case server.Drawn:
			c.film.Drawn(n.Channel, n.Rect, n.At)
		case server.Changed:
			c.film.Changed()
		}
	})
	return nil
}

// endFilm ends the film. An error does not fail the lane: it is noted on the timeline.
func (c *Client) endFilm() {
	if err := c.film.Close(); err != nil {
		c.log.Add("film", map[string]any{"error": err.Error()})
	}
}

// Snapshot implements [server.Console]. A picture of a whole display is also in the film, and noted
// on the timeline at the moment that it shows.
func (c notedConsole) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*server.Picture, error) {
	info, ok := c.Client().Surface(channel, surface)
	if !r.Empty() || c.log == nil || !ok || !info.Primary {
		return c.Console.Snapshot(channel, surface, r)
	}
	var pic *server.Picture
	at, err := c.film.Take(channel, func() (*film.Pixels, error) {
		var err error
		if pic, err = c.Console.Snapshot(channel, surface, r); err != nil {
			return nil, err
		}
		return &film.Pixels{Rect: image.Rect(0, 0, pic.Width, pic.Height), Pix: pic.Pix, Stride: pic.Stride}, nil
	})
	if err == nil {
		noteScreenshot(c.log, at, channel, surface)
	}
	return pic, err
}

func noteScreenshot(log *timeline.Writer, at time.Time, channel uint8, surface uint32) {
	log.AddAt(at, KindScreenshot, map[string]any{"channel": channel, "surface": surface})
}
