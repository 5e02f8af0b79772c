package film

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"

	"github.com/klauspost/compress/zlib"
)

// Pixels are the pixels of a rectangle of a screen. Each has four bytes: B, G, R and one without
// meaning. Rows are top down.
type Pixels struct {
	Rect   image.Rectangle // on the screen
	Pix    []byte
	Stride int // bytes from one row to the next
}

// row returns the pixels of row y from x0 up to x1. All are coordinates on the screen.
func (p *Pixels) row(y, x0, x1 int) []byte {
	return p.Pix[(y-p.Rect.Min.Y)*p.Stride+4*(x0-p.Rect.Min.X):][:4*(x1-x0)]
}

// An encoder turns pixels into PNGs. It does not use image/png, which tries five filters on each
// row and so takes six times as long for a screen of many colours. This encoder always filters a
// row by the one above. If there are few colours, as on a screen of text, the PNG has a palette and
// no filter.
type encoder struct {
	out    bytes.Buffer
	zip    *zlib.Writer
	line   []byte
	index  []byte // a palette index for each pixel
	colour []uint32
	known  map[uint32]byte
	// recent is a faster cache of known: a colour and its index, by the colour's hash.
	recent [1 << recentBits]struct {
		colour uint32
		index  byte
	}
}

const recentBits = 8

func newEncoder() *encoder {
	zip, err := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	return &encoder{zip: zip, known: map[uint32]byte{}}
}

// The colour types of a PNG (its specification, 11.2.2).
const (
	trueColour    = 2
	indexedColour = 3
)

// The filters of a PNG's rows (its specification, 9.2).
const (
	filterNone = 0
	filterUp   = 2
)

// encode returns p as a PNG. The caller owns the result.
func (e *encoder) encode(p *Pixels) ([]byte, error) {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	e.out.Reset()
	e.out.WriteString("\x89PNG\r\n\x1a\n")
	indexed := e.findColours(p)
	head := binary.BigEndian.AppendUint32(nil, uint32(w))
	head = binary.BigEndian.AppendUint32(head, uint32(h))
	var bits int
	if indexed {
		bits = indexBits(len(e.colour))
		head = append(head, byte(bits), indexedColour, 0, 0, 0)
	} else {
		head = append(head, 8, trueColour, 0, 0, 0)
	}
	e.chunk("IHDR", head)
	if indexed {
		var table []byte
		for _, c := range e.colour {
			table = append(table, byte(c>>16), byte(c>>8), byte(c))
		}
		e.chunk("PLTE", table)
	}
	at := e.beginChunk("IDAT")
	e.zip.Reset(&e.out)
	var err error
	if indexed {
		err = e.writeIndexes(w, h, bits)
	} else {
		err = e.writeColours(p)
	}
	if err == nil {
		err = e.zip.Close()
	}
	if err != nil {
		return nil, err
	}
	e.endChunk(at)
	e.chunk("IEND", nil)
	return bytes.Clone(e.out.Bytes()), nil
}

func (e *encoder) chunk(name string, body []byte) {
	at := e.beginChunk(name)
	e.out.Write(body)
	e.endChunk(at)
}

// beginChunk begins a chunk and returns its offset, for endChunk.
func (e *encoder) beginChunk(name string) int {
	at := e.out.Len()
	e.out.WriteString("\x00\x00\x00\x00" + name)
	return at
}

func (e *encoder) endChunk(at int) {
	b := e.out.Bytes()[at:]
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	e.out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b[4:])))
}

// maxColours is the largest number of colours in a PNG's palette.
const maxColours = 256

// findColours lists the colours of p, and the index of each pixel's colour. It returns false if
// there are more than maxColours.
func (e *encoder) findColours(p *Pixels) bool {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	if cap(e.index) < w*h {
		e.index = make([]byte, w*h)
	}
	e.index, e.colour = e.index[:w*h], e.colour[:0]
	clear(e.known)
	const none = 1 << 24 // a colour that no pixel has
	for i := range e.recent {
		e.recent[i].colour = none
	}
	last, which := uint32(none), byte(0)
	var above []byte
	for y := range h {
		row := p.Pix[y*p.Stride:][:4*w]
		to := e.index[y*w:][:w]
		if bytes.Equal(row, above) {
			copy(to, e.index[(y-1)*w:])
			continue
		}
		above = row
		for x := range to {
			c := binary.LittleEndian.Uint32(row[4*x:]) & 0xffffff
			if c != last {
				cached := &e.recent[c*0x9e3779b1>>(32-recentBits)]
				if cached.colour != c {
					i, ok := e.known[c]
					if !ok {
						if len(e.colour) == maxColours {
							return false
						}
						i = byte(len(e.colour))
						e.known[c] = i
						e.colour = append(e.colour, c)
					}
					cached.colour, cached.index = c, i
				}
				last, which = c, cached.index
			}
			to[x] = which
		}
	}
	return true
}

// indexBits returns the number of bits per index in a PNG with that many colours.
func indexBits(colours int) int {
	switch {
	case colours <= 2:
		return 1
	case colours <= 4:
		return 2
	case colours <= 16:
		return 4
	}
	return 8
}

func (e *encoder) writeIndexes(w, h, bits int) error {
	for y := range h {
		row := e.index[y*w:][:w]
		e.line = append(e.line[:0], filterNone)
		if bits == 8 {
			e.line = append(e.line, row...)
		} else {
			var b byte
			perByte := 8 / bits
			for x, i := range row {
				b = b<<bits | i
				if x%perByte == perByte-1 {
					e.line = append(e.line, b)
					b = 0
				}
			}
			if rest := w % perByte; rest != 0 {
				e.line = append(e.line, b<<(bits*(perByte-rest)))
			}
		}
		if _, err := e.zip.Write(e.line); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) writeColours(p *Pixels) error {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	if cap(e.line) < 3*w+1 {
		e.line = make([]byte, 3*w+1)
	}
	e.line = e.line[:3*w+1]
	e.line[0] = filterUp
	above := make([]byte, 4*w) // above the first row all is black
	for y := range h {
		row := p.Pix[y*p.Stride:][:4*w]
		to := e.line[1:]
		if bytes.Equal(row, above) {
			clear(to)
		} else {
			above := above[:len(row)]
			for i, o := 0, 0; i+3 < len(row); i, o = i+4, o+3 {
				to[o], to[o+1], to[o+2] = row[i+2]-above[i+2], row[i+1]-above[i+1], row[i]-above[i]
			}
		}
		if _, err := e.zip.Write(e.line); err != nil {
			return err
		}
		above = row
	}
	return nil
}
