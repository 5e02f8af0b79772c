package catalogue

import (
	"encoding/binary"
	"image"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// Look is the kind of an image's content. Servers choose codecs by it.
type Look uint8

// The looks of images.
const (
	Noise    Look = iota // random pixels, which nothing compresses
	Gradient             // smooth, with a little noise, like a photograph
	Flat                 // few colours in rectangles, like a user interface
)

func (l Look) String() string { return [...]string{"noise", "gradient", "flat"}[l] }

// Texture generates pixels from a seed when they are needed.
type Texture struct {
	Look Look
	Seed uint64
	// Opaque sets the alpha of all pixels to 255.
	Opaque bool
}

// hash returns a pseudo-random number for a seed and a position.
func hash(seed uint64, x, y int) uint64 {
	// The constants are those of splitmix64.
	z := seed*0x9e3779b97f4a7c15 + uint64(x)*0xbf58476d1ce4e5b9 + uint64(y)*0x94d049bb133111eb
	z ^= z >> 30
	z *= 0xbf58476d1ce4e5b9
	z ^= z >> 27
	z *= 0x94d049bb133111eb
	return z ^ z>>31
}

// At returns the pixel at x, y as 0xaarrggbb, not premultiplied.
func (t Texture) At(x, y int) uint32 {
	switch t.Look {
	case Gradient:
		s := hash(t.Seed, 0, 0)
		r := uint32(x*3) + uint32(s)&0xff
		g := uint32(y*3) + uint32(s>>8)&0xff
		b := uint32(x+y) + uint32(s>>16)&0xff
		return 0xff000000 | tri(r)<<16 | tri(g)<<8 | tri(b)
	case Flat:
		h := hash(t.Seed, x/9, y/7)
		return 0xff000000 | flatColors[h%uint64(len(flatColors))]
	}
	return uint32(hash(t.Seed, x, y) >> 16)
}

var flatColors = [...]uint32{0xffffff, 0x000000, 0xd4d0c8, 0x336699, 0xff8000, 0x808080, 0x00a000, 0x2040c0}

// tri returns a triangle wave between 0 and 255.
func tri(v uint32) uint32 {
	if v &= 0x1ff; v > 0xff {
		return 0x1ff - v
	}
	return v
}

// Pixels returns the bytes of an image, in its format.
func (t Texture) Pixels(im *qxl.Image) []byte {
	stride := im.Stride()
	all := make([]byte, stride*im.Height)
	colors := 1 << min(im.Format.Bits(), 8)
	if im.Palette != nil && len(im.Palette.Colors) > 0 {
		colors = min(colors, len(im.Palette.Colors))
	}
	for y := range im.Height {
		row := all[y*stride : (y+1)*stride]
		if !im.TopDown {
			row = all[(im.Height-1-y)*stride:]
		}
		for x := range im.Width {
			c := t.At(x, y)
			// The index into the palette depends on all three colours.
			index := int(c&0xff+c>>8&0xff+c>>16&0xff) % colors
			switch im.Format {
			case qxl.Bit1BE:
				row[x/8] |= byte(index) << (7 - x%8)
			case qxl.Bit1LE:
				row[x/8] |= byte(index) << (x % 8)
			case qxl.Bit4BE:
				row[x/2] |= byte(index) << (4 * (1 - x%2))
			case qxl.Bit4LE:
				row[x/2] |= byte(index) << (4 * (x % 2))
			case qxl.Bit8:
				row[x] = byte(index)
			case qxl.Bit8A:
				row[x] = byte(c)
			case qxl.Bit16:
				binary.LittleEndian.PutUint16(row[2*x:], to555(c))
			case qxl.Bit24:
				row[3*x], row[3*x+1], row[3*x+2] = byte(c), byte(c>>8), byte(c>>16)
			case qxl.Bit32:
				c &= 0xffffff
				if im.Flags&qxl.ImageHighBits != 0 {
					c |= 0xff000000
				}
				binary.LittleEndian.PutUint32(row[4*x:], c)
			case qxl.RGBA:
				if t.Opaque {
					c |= 0xff000000
				} else if t.Look != Noise {
					c = c&0xffffff | tri(uint32(2*x+3*y))<<24
				}
				binary.LittleEndian.PutUint32(row[4*x:], premultiply(c))
			}
		}
	}
	return all
}

// coarse is the side, in pixels, of the squares of Coarse.
const coarse = 8

// Coarse returns the pixels of an image in squares of one colour each. A recording of the catalogue
// then has the same operations, and compresses to a fraction of the bytes.
func Coarse(im *qxl.Image) []byte {
	all := im.Data.Pixels(im)
	stride, size := im.Stride(), im.Format.Bits()/8
	if size == 0 {
		return all
	}
	for y := range im.Height {
		row := all[y*stride:][:im.Width*size]
		if y%coarse > 0 {
			copy(row, all[(y-y%coarse)*stride:])
			continue
		}
		for x := range im.Width {
			copy(row[x*size:(x+1)*size], row[(x-x%coarse)*size:])
		}
	}
	return all
}

func to555(c uint32) uint16 { return uint16(c>>19&31<<10 | c>>11&31<<5 | c>>3&31) }

// premultiply multiplies the colours of c by its alpha. Colours above the alpha would overflow, and
// implementations differ in how.
func premultiply(c uint32) uint32 {
	a := c >> 24
	mul := func(v uint32) uint32 { return (v&0xff*a + 127) / 255 }
	return a<<24 | mul(c>>16)<<16 | mul(c>>8)<<8 | mul(c)
}

// picture returns an image with a texture.
func picture(f qxl.Format, w, h int, look Look, seed uint64) *qxl.Image {
	im := &qxl.Image{Format: f, Width: w, Height: h, TopDown: true, Data: Texture{Look: look, Seed: seed}}
	switch f {
	case qxl.Bit1BE, qxl.Bit1LE, qxl.Bit4BE, qxl.Bit4LE, qxl.Bit8:
		im.Palette = palette(seed, 1<<f.Bits())
	}
	return im
}

// palette returns a palette of n colours that depend on seed.
func palette(seed uint64, n int) *qxl.Palette {
	p := &qxl.Palette{}
	for i := range n {
		p.Colors = append(p.Colors, uint32(hash(seed, i, -1))&0xffffff)
	}
	return p
}

// bits returns a mask: an image of one bit per pixel without a palette.
func bits(f qxl.Format, w, h int, seed uint64) *qxl.Image {
	// It has rectangles and noise, so it has both long and short runs.
	return &qxl.Image{Format: f, Width: w, Height: h, TopDown: true, Data: stencil{seed}}
}

// stencil has the pixels of a mask.
type stencil struct{ seed uint64 }

func (s stencil) Pixels(im *qxl.Image) []byte {
	stride := im.Stride()
	all := make([]byte, stride*im.Height)
	for y := range im.Height {
		for x := range im.Width {
			on := hash(s.seed, x/11, y/5)&1 == 1
			if x > im.Width/2 {
				on = hash(s.seed, x, y)&1 == 1
			}
			if !on {
				continue
			}
			row := all[y*stride:]
			if !im.TopDown {
				row = all[(im.Height-1-y)*stride:]
			}
			if im.Format == qxl.Bit1BE {
				row[x/8] |= 0x80 >> (x % 8)
			} else {
				row[x/8] |= 1 << (x % 8)
			}
		}
	}
	return all
}

// fromSurface returns an image that is the content of a surface.
func fromSurface(id uint32, w, h int) *qxl.Image {
	return &qxl.Image{FromSurface: true, Surface: id, Width: w, Height: h}
}

func rect(x0, y0, x1, y1 int) image.Rectangle { return image.Rect(x0, y0, x1, y1) }

// box is the rectangle in which most steps draw.
var box = rect(40, 30, 200, 130)

// backdrop draws a picture over the whole surface as a background for the following steps.
func backdrop(surface uint32, w, h int, seed uint64) *qxl.Drawable {
	return &qxl.Drawable{Surface: surface, Box: rect(0, 0, w, h), Op: &qxl.Copy{
		Src: picture(qxl.Bit32, w, h, Noise, seed), Area: rect(0, 0, w, h), Rop: qxl.RopPut,
	}}
}

// A named is a value, and the words that describe it.
type named[T any] struct {
	words string
	v     T
}

// clips are the kinds of clips, for box.
var clips = []named[qxl.Clip]{
	{"", qxl.Clip{}},
	{"clip one", qxl.ClipTo(rect(60, 50, 150, 110))},
	{"clip sorted", qxl.ClipTo(rect(45, 35, 90, 60), rect(100, 35, 190, 70), rect(50, 80, 195, 125))},
	{"clip overlapping", qxl.ClipTo(rect(50, 40, 140, 100), rect(90, 60, 210, 140), rect(30, 90, 100, 128))},
}

// masks are the kinds of masks, for box.
var masks = []named[qxl.Mask]{
	{"", qxl.Mask{}},
	{"mask 1BE", qxl.Mask{Image: bits(qxl.Bit1BE, 160, 100, 71)}},
	{"mask 1LE", qxl.Mask{Image: bits(qxl.Bit1LE, 160, 100, 72)}},
	{"mask inverted", qxl.Mask{Image: bits(qxl.Bit1BE, 160, 100, 73), Invers: true}},
	{"mask offset", qxl.Mask{Image: bits(qxl.Bit1BE, 200, 140, 74), Pos: image.Pt(13, 21)}},
	{"mask bottom-up", qxl.Mask{Image: bottomUp(bits(qxl.Bit1BE, 160, 100, 75))}},
	{"mask smaller", qxl.Mask{Image: bits(qxl.Bit1BE, 97, 61, 76)}},
}

func bottomUp(im *qxl.Image) *qxl.Image {
	im.TopDown = false
	return im
}

// rops are the raster operations.
var rops = []named[qxl.Rop]{
	{"put", qxl.RopPut}, {"or", qxl.RopOr}, {"and", qxl.RopAnd}, {"xor", qxl.RopXor},
	{"black", qxl.RopBlack}, {"white", qxl.RopWhite}, {"invers", qxl.RopInvers},
}

// join joins the words that are not empty with commas.
func join(words ...string) string {
	s := ""
	for _, w := range words {
		if w == "" {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += w
	}
	return s
}

// draw returns a step with one drawing in box.
func draw(operation, words string, clip qxl.Clip, op qxl.Op) Step {
	return Step{Operation: operation, Words: words, Do: []qxl.Command{&qxl.Drawable{Box: box, Clip: clip, Op: op}}}
}

// Frame returns the n-th picture of a video, w×h pixels: a moving gradient, like a camera's
// picture.
func Frame(f *Frames, n, w, h int) *qxl.Image {
	return &qxl.Image{Format: qxl.Bit32, Width: w, Height: h, TopDown: true, Data: moving{Texture{Look: Gradient, Seed: f.Seed}, 3 * n}}
}

// moving is a texture that moves.
type moving struct {
	texture Texture
	by      int
}

func (m moving) Pixels(im *qxl.Image) []byte {
	all := make([]byte, 0, 4*im.Width*im.Height)
	for y := range im.Height {
		for x := range im.Width {
			all = binary.LittleEndian.AppendUint32(all, m.texture.At(x+m.by, y+m.by/2)&0xffffff)
		}
	}
	return all
}
