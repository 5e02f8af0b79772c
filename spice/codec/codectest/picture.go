package codectest

import (
	"encoding/binary"
	"image"
	"math"
)

// A Picture is an uncompressed image: B,G,R,A pixels from the top down without gaps.
type Picture struct {
	Name          string
	Width, Height int // pixels
	Pix           []byte
}

func newPicture(name string, w, h int) *Picture {
	return &Picture{Name: name, Width: w, Height: h, Pix: make([]byte, 4*w*h)}
}

func (p *Picture) set(x, y int, c uint32) {
	if x >= 0 && y >= 0 && x < p.Width && y < p.Height {
		binary.LittleEndian.PutUint32(p.Pix[4*(y*p.Width+x):], c)
	}
}

func (p *Picture) fill(x, y, w, h int, c uint32) {
	for j := y; j < y+h; j++ {
		for i := x; i < x+w; i++ {
			p.set(i, j, c)
		}
	}
}

// Pictures returns one picture of each kind: text, photo, noise and ui. They are
// the same on every machine and in every release.
func Pictures(w, h int) []*Picture {
	return []*Picture{Text(w, h), Photo(w, h), Noise(w, h), UI(w, h)}
}

// Text returns a terminal: mostly background, sharp glyphs in few colours.
func Text(w, h int) *Picture {
	p := newPicture("text", w, h)
	p.fill(0, 0, w, h, 0x101418)
	rnd := random(1)
	inks := [...]uint32{0xc8ccd0, 0xc8ccd0, 0xc8ccd0, 0x40d060, 0xf0b040}
	for y := 4; y+14 <= h; y += 16 {
		columns := int(int64(rnd.next()) % int64(w/8+1)) // none at all every other time
		ink := inks[rnd.next()%uint64(len(inks))]
		for x := 1; x < columns; x++ {
			// A glyph is 5 by 9 dots, one of 40 kinds, which repeat as letters do.
			glyph := rnd.next() % 48
			if glyph >= 40 {
				continue // a space
			}
			dots := random(glyph + 1000).next()
			for i := range 45 {
				if dots>>i&1 != 0 {
					p.set(8*x+i%5, y+i/5, ink)
				}
			}
		}
	}
	return p
}

// Photo returns something like a photograph: smooth shapes with a little grain.
func Photo(w, h int) *Picture {
	p := newPicture("photo", w, h)
	rnd := random(2)
	// NB: only additions and multiplications that round alike on every machine; the
	// explicit conversions forbid fused multiply-add.
	for y := range h {
		fy := float64(y) / float64(h)
		for x := range w {
			fx := float64(x) / float64(w)
			sky := float64(200) - float64(120*fy)
			dx, dy := fx-0.3, fy-0.6
			d := float64(dx*dx) + float64(dy*dy)
			hill := float64(90) * math.Max(0, float64(1)-float64(d*6))
			wave := float64(40) * triangle(float64(fx*7)+float64(fy*3))
			grain := rnd.next()
			r := int(sky+hill) + int(grain&7)
			g := int(float64(sky*0.8)+wave) + int(grain>>3&7)
			b := int(float64(255)-sky+float64(hill*0.5)) + int(grain>>6&7)
			p.set(x, y, clamp(r)<<16|clamp(g)<<8|clamp(b))
		}
	}
	return p
}

// Noise returns a gradient under so much noise that nothing compresses it well.
func Noise(w, h int) *Picture {
	p := newPicture("noise", w, h)
	rnd := random(3)
	for y := range h {
		for x := range w {
			n := rnd.next()
			r := 255*x/w + int(n&63) - 32
			g := 255*y/h + int(n>>6&63) - 32
			b := 128 + int(n>>12&127) - 64
			p.set(x, y, clamp(r)<<16|clamp(g)<<8|clamp(b))
		}
	}
	return p
}

// UI returns a desktop: windows with title bars, gradients, flat areas and text.
func UI(w, h int) *Picture {
	p := newPicture("ui", w, h)
	for y := range h {
		for x := range w {
			p.set(x, y, clamp(30+60*y/h)<<16|clamp(60+80*y/h)<<8|clamp(110+90*x/w))
		}
	}
	rnd := random(4)
	for n := range 6 {
		ww, wh := w/3+int(rnd.next()%uint64(w/4+1)), h/3+int(rnd.next()%uint64(h/4+1))
		x0, y0 := int(rnd.next()%uint64(w)), int(rnd.next()%uint64(h))
		p.fill(x0+4, y0+4, ww, wh, 0x202428) // shadow
		p.fill(x0, y0, ww, wh, 0xf4f4f0)
		for i := range 24 { // title bar, a vertical gradient
			p.fill(x0, y0+i, ww, 1, clamp(70+2*i)<<16|clamp(90+2*i)<<8|clamp(150+3*i))
		}
		for row := range wh/20 - 2 {
			p.fill(x0+12, y0+36+20*row, 12, 12, 0x3070c0+uint32(row*n)<<9)
			length := int(rnd.next() % uint64(ww/8+1))
			for k := range length {
				dots := random(rnd.next()%40 + 1000).next()
				for i := range 35 {
					if dots>>i&1 != 0 {
						p.set(x0+30+6*k+i%5, y0+38+20*row+i/5, 0x303030)
					}
				}
			}
		}
	}
	return p
}

// WithAlpha returns a copy whose alpha varies: flat areas, ramps and noise.
func (p *Picture) WithAlpha() *Picture {
	q := newPicture(p.Name+"-alpha", p.Width, p.Height)
	copy(q.Pix, p.Pix)
	rnd := random(5)
	for y := range p.Height {
		for x := range p.Width {
			var a byte
			switch 3 * x / p.Width {
			case 0:
				a = 255
			case 1:
				a = byte(255 * y / p.Height)
			case 2:
				a = byte(rnd.next())
			}
			q.Pix[4*(y*p.Width+x)+3] = a
		}
	}
	return q
}

// Gray returns a copy that has its green in all three colours and no alpha.
func (p *Picture) Gray() *Picture {
	q := newPicture(p.Name+"-gray", p.Width, p.Height)
	for i := 0; i < len(p.Pix); i += 4 {
		g := p.Pix[i+1]
		q.Pix[i], q.Pix[i+1], q.Pix[i+2] = g, g, g
	}
	return q
}

// AlphaOnly returns a copy that is black but has the picture's alpha.
func (p *Picture) AlphaOnly() *Picture {
	q := newPicture(p.Name+"-only", p.Width, p.Height)
	for i := 3; i < len(p.Pix); i += 4 {
		q.Pix[i] = p.Pix[i]
	}
	return q
}

// NRGBA returns the picture for the encoders of the standard library, opaque.
func (p *Picture) NRGBA() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := 0; i < len(p.Pix); i += 4 {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = p.Pix[i+2], p.Pix[i+1], p.Pix[i], 255
	}
	return m
}

// RGB555 returns the picture as 16-bit pixels, and the picture that they expand to.
func (p *Picture) RGB555() (pixels []uint16, expanded *Picture) {
	pixels = make([]uint16, p.Width*p.Height)
	expanded = newPicture(p.Name+"-555", p.Width, p.Height)
	for i := range pixels {
		b, g, r := p.Pix[4*i]>>3, p.Pix[4*i+1]>>3, p.Pix[4*i+2]>>3
		pixels[i] = uint16(r)<<10 | uint16(g)<<5 | uint16(b)
		copy(expanded.Pix[4*i:], []byte{b<<3 | b>>2, g<<3 | g>>2, r<<3 | r>>2, 0})
	}
	return pixels, expanded
}

// Indexed returns the picture as palette indices below colours, one a byte, the
// palette, and the picture that they stand for.
func (p *Picture) Indexed(colours int) (indices []byte, palette []uint32, shown *Picture) {
	palette = make([]uint32, colours)
	for i := range palette {
		palette[i] = uint32(random(uint64(i)+77).next()) & 0xffffff
	}
	indices = make([]byte, p.Width*p.Height)
	shown = newPicture(p.Name+"-indexed", p.Width, p.Height)
	for i := range indices {
		sum := int(p.Pix[4*i]) + int(p.Pix[4*i+1]) + int(p.Pix[4*i+2])
		indices[i] = byte(sum * colours / (3*255 + 1))
		binary.LittleEndian.PutUint32(shown.Pix[4*i:], palette[indices[i]])
	}
	return indices, palette, shown
}

// Flipped returns a copy with the rows in the opposite order.
func (p *Picture) Flipped() *Picture {
	q := newPicture(p.Name, p.Width, p.Height)
	row := 4 * p.Width
	for y := range p.Height {
		copy(q.Pix[y*row:], p.Pix[(p.Height-1-y)*row:][:row])
	}
	return q
}

func clamp(v int) uint32 { return uint32(min(max(v, 0), 255)) }

func triangle(v float64) float64 {
	v -= math.Floor(v)
	return math.Abs(float64(2*v) - 1)
}

// generator is splitmix64, for pictures that do not depend on math/rand's algorithms.
type generator uint64

func random(seed uint64) *generator {
	g := generator(seed * 0x9e3779b97f4a7c15)
	return &g
}

func (g *generator) next() uint64 {
	*g += 0x9e3779b97f4a7c15
	z := uint64(*g)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Opaque returns a copy whose fourth bytes are zero, as decoders leave X.
func (p *Picture) Opaque() *Picture {
	q := newPicture(p.Name, p.Width, p.Height)
	for i := range p.Width * p.Height {
		copy(q.Pix[4*i:], p.Pix[4*i:4*i+3])
	}
	return q
}
