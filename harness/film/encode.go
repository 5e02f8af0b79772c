package film

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"sync"

	"github.com/spicelane/spicelane/internal/bgra"
)

// Pixels are a rectangle of a screen: 32 bits each in the byte order B, G, R and one that means
// nothing, rows top down.
type Pixels struct {
	Rect   image.Rectangle // where on the screen
	Pix    []byte
	Stride int // bytes from one row to the next
}

// row returns the pixels of a row, which is counted on the screen, from x0 to x1.
func (p *Pixels) row(y, x0, x1 int) []byte {
	return p.Pix[(y-p.Rect.Min.Y)*p.Stride+4*(x0-p.Rect.Min.X):][:4*(x1-x0)]
}

// encoder turns pixels into PNGs. A screen of text has few colours, and then a PNG with a palette
// is made four times as fast as one without and is half as large.
type encoder struct {
	enc   png.Encoder
	buf   bytes.Buffer
	index []byte
	truth []byte
}

func newEncoder() *encoder {
	return &encoder{enc: png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: &buffers{}}}
}

// buffers keeps the encoder's tables between pictures.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() *png.EncoderBuffer {
	buf, _ := b.pool.Get().(*png.EncoderBuffer)
	return buf
}
func (b *buffers) Put(buf *png.EncoderBuffer) { b.pool.Put(buf) }

// encode returns p as PNG. The result is the caller's.
func (e *encoder) encode(p *Pixels) ([]byte, error) {
	e.buf.Reset()
	var img image.Image
	if pal := e.palette(p); pal != nil {
		img = pal
	} else {
		img = e.full(p)
	}
	if err := e.enc.Encode(&e.buf, img); err != nil {
		return nil, err
	}
	return bytes.Clone(e.buf.Bytes()), nil
}

// A PNG has a palette of at most so many colours.
const maxColours = 256

// palette returns p with a palette; nil if it has too many colours.
func (e *encoder) palette(p *Pixels) *image.Paletted {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	if cap(e.index) < w*h {
		e.index = make([]byte, w*h)
	}
	out := e.index[:w*h]
	var (
		colours color.Palette
		known   = map[uint32]byte{}
		last    = uint32(1) << 24 // no pixel's
		which   byte
	)
	for y := range h {
		row := p.Pix[y*p.Stride:][:4*w]
		to := out[y*w:][:w]
		for x := range to {
			c := uint32(row[4*x]) | uint32(row[4*x+1])<<8 | uint32(row[4*x+2])<<16
			if c != last {
				i, ok := known[c]
				if !ok {
					if len(colours) == maxColours {
						return nil
					}
					i = byte(len(colours))
					known[c] = i
					colours = append(colours, color.NRGBA{row[4*x+2], row[4*x+1], row[4*x], 0xff})
				}
				last, which = c, i
			}
			to[x] = which
		}
	}
	return &image.Paletted{Pix: out, Stride: w, Rect: image.Rect(0, 0, w, h), Palette: colours}
}

// full returns p with all its colours.
func (e *encoder) full(p *Pixels) *image.NRGBA {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	if cap(e.truth) < 4*w*h {
		e.truth = make([]byte, 4*w*h)
	}
	out := e.truth[:4*w*h]
	for y := range h {
		bgra.Opaque(out[4*y*w:][:4*w], p.Pix[y*p.Stride:][:4*w])
	}
	return &image.NRGBA{Pix: out, Stride: 4 * w, Rect: image.Rect(0, 0, w, h)}
}
