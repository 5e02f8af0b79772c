package termview

import (
	"image"

	"github.com/spicelane/spicelane/spice/control/server"
)

// pixels is a scaled picture: rows of R, G, B without padding.
type pixels struct {
	w, h int
	pix  []byte
}

// rows returns n rows from y on, or fewer at the end.
func (p *pixels) rows(y, n int) []byte {
	end := min(y+n, p.h)
	return p.pix[3*p.w*y : 3*p.w*end]
}

// fit returns the largest size with the aspect ratio of src that fits into max.
func fit(src, max image.Point) image.Point {
	if src.X <= 0 || src.Y <= 0 || max.X <= 0 || max.Y <= 0 {
		return image.Point{}
	}
	if src.X*max.Y > src.Y*max.X { // too wide
		return image.Pt(max.X, clamp(src.Y*max.X/src.X, 1, max.Y))
	}
	return image.Pt(clamp(src.X*max.Y/src.Y, 1, max.X), max.Y)
}

func clamp(n, low, high int) int { return min(max(n, low), high) }

// scale scales a picture to w×h pixels. Each pixel is the mean of the pixels that it represents.
func scale(src *server.Picture, w, h int) *pixels {
	out := &pixels{w: w, h: h, pix: make([]byte, 3*w*h)}
	if src.Width == 0 || src.Height == 0 {
		return out
	}
	for y := range h {
		y0 := y * src.Height / h
		y1 := max((y+1)*src.Height/h, y0+1)
		for x := range w {
			x0 := x * src.Width / w
			x1 := max((x+1)*src.Width/w, x0+1)
			var b, g, r int
			for sy := y0; sy < y1; sy++ {
				line := src.Pix[sy*src.Stride+4*x0 : sy*src.Stride+4*x1]
				for i := 0; i+3 < len(line); i += 4 {
					b += int(line[i])
					g += int(line[i+1])
					r += int(line[i+2])
				}
			}
			n := (y1 - y0) * (x1 - x0)
			o := out.pix[3*(y*w+x):]
			o[0], o[1], o[2] = uint8(r/n), uint8(g/n), uint8(b/n)
		}
	}
	return out
}

// drawBlocks draws a picture into a grid, two pixels per cell: the upper one is the foreground of a
// half block, the lower one its background.
func drawBlocks(g *grid, x, y int, p *pixels) {
	at := func(px, py int) colour {
		if py >= p.h {
			return 0
		}
		o := p.pix[3*(py*p.w+px):]
		return rgb(o[0], o[1], o[2])
	}
	for py := 0; py < p.h; py += 2 {
		for px := range p.w {
			top, bottom := at(px, py), at(px, py+1)
			c := cell{r: '▀', fg: top, bg: bottom}
			if top == bottom {
				c = cell{r: ' ', bg: top}
			}
			g.set(x+px, y+py/2, c)
		}
	}
}

// ramp has characters from dark to light.
const ramp = " .:-=+*#%@"

// drawText draws a picture into a grid as characters without colours, two pixels per cell.
func drawText(g *grid, x, y int, p *pixels) {
	for py := 0; py+1 < p.h; py += 2 {
		for px := range p.w {
			sum := 0
			for _, o := range [][]byte{p.pix[3*(py*p.w+px):], p.pix[3*((py+1)*p.w+px):]} {
				sum += 299*int(o[0]) + 587*int(o[1]) + 114*int(o[2])
			}
			g.set(x+px, y+py/2, cell{r: rune(ramp[sum*len(ramp)/(2*255*1000+1)])})
		}
	}
}
