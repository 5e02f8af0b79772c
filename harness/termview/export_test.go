package termview

import (
	"bytes"
	"image"

	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Exports for the external tests of this package.

type (
	Grid   = grid
	Cell   = cell
	Pixels = pixels
	Layout = layout
)

var (
	NewGrid      = newGrid
	ParseAnswers = parseAnswers
	Answered     = answered
	DepthOf      = depthOf
	Arrange      = arrange
	Fit          = fit
	Printable    = printable
	Index256     = index256
	DrawBlocks   = drawBlocks
	Quantize     = quantize
)

func RGB(r, g, b uint8) uint32 { return uint32(rgb(r, g, b)) }

func MakeCell(r rune, fg, bg uint32, bold bool) Cell { return cell{r, colour(fg), colour(bg), bold} }

func (c cell) Parts() (r rune, fg, bg uint32, bold bool) {
	return c.r, uint32(c.fg), uint32(c.bg), c.bold
}

func (g *grid) Set(x, y int, c Cell) { g.set(x, y, c) }
func (g *grid) At(x, y int) Cell     { return g.cells[y*g.w+x] }

func (g *grid) Diff(old *Grid, d Depth) []byte {
	var b bytes.Buffer
	g.diff(&b, old, d)
	return b.Bytes()
}

func Words(w, h int, s viewer.State, entries []viewer.Entry) *Grid {
	g := newGrid(w, h)
	drawWords(g, arrange(w, h, s.Screen, blockCell, true), s, entries, "q quit")
	return g
}

func Scale(p *server.Picture, w, h int) *Pixels { return scale(p, w, h) }
func (p *pixels) Pix() []byte                   { return p.pix }

func KittyStrip(rgb []byte, w, h int) []byte {
	var b bytes.Buffer
	kittyStrip(&b, 7, rgb, w, h, 3)
	return b.Bytes()
}

func SixelStrip(rgb []byte, w, h int) []byte {
	var b bytes.Buffer
	sixelStrip(&b, rgb, w, h)
	return b.Bytes()
}

func (l layout) Parts() (picture, side, serial image.Rectangle) { return l.picture, l.side, l.serial }

// How returns the way to show pictures on a terminal that was queried.
func How(p Picture, kitty, sixel, tmux bool, d Depth) Picture {
	return how(p, &terminal{kitty: kitty, sixel: sixel, tmux: tmux, depth: d})
}
