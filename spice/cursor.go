package spice

import (
	"encoding/binary"
	"image"
	"sync"

	"github.com/spicelane/spicelane/internal/bgra"
	"github.com/spicelane/spicelane/spice/wire"
)

// Cursor is the pointer of a cursor channel.
type Cursor struct {
	Visible bool
	// X, Y is the position of the hot spot on the display. In client mouse mode servers do not
	// report it; then it is where the guest last placed the pointer.
	X, Y  int
	Shape *CursorShape // nil before the first shape; never changed after it was returned
}

// CursorShape is the pointer's image.
type CursorShape struct {
	Type          wire.CursorType
	Width, Height int // pixels
	HotX, HotY    int
	// Pix has the rows of pixels in the order B, G, R, A, not premultiplied.
	Pix []byte
	// Xor is nil, or rows of B, G, R, X. Where a pixel of Pix has alpha 0, the picture below is
	// combined with it by exclusive or.
	Xor []byte
}

// Image returns the cursor's shape in the byte order R, G, B, A, without Xor; nil if there is no
// shape.
func (k Cursor) Image() *image.NRGBA {
	if k.Shape == nil {
		return nil
	}
	img := image.NewNRGBA(image.Rect(0, 0, k.Shape.Width, k.Shape.Height))
	bgra.Alpha(img.Pix, k.Shape.Pix)
	return img
}

// maxCursors limits the shapes that a server can make a channel cache. spice-server itself caches
// 256 (CLIENT_CURSOR_CACHE_SIZE).
const maxCursors = 1024

// maxCursorSide limits the width and height of a shape, in pixels.
const maxCursorSide = 1024

// cursorChannel interprets one cursor channel.
type cursorChannel struct {
	ch *channel
	c  *Client

	mu    sync.Mutex
	state Cursor

	cache map[uint64]*CursorShape // used only by the reader
	used  featureList             // used only by the reader
}

func (k *cursorChannel) begin() error { return nil }

func (k *cursorChannel) handle(msg wire.ServerMessage, _ *incoming) error {
	switch m := msg.(type) {
	case *wire.CursorInit:
		clear(k.cache)
		return k.set(m.Position, m.Visible, &m.Cursor)
	case *wire.CursorSet:
		return k.set(m.Position, m.Visible, &m.Cursor)
	case *wire.CursorMove:
		k.update(func(s *Cursor) { s.X, s.Y, s.Visible = int(m.Position.X), int(m.Position.Y), true })
	case *wire.CursorHide:
		k.update(func(s *Cursor) { s.Visible = false })
	case *wire.CursorReset:
		clear(k.cache)
		k.update(func(s *Cursor) { *s = Cursor{} })
	case *wire.CursorTrail: // trails are never drawn
	case *wire.CursorInvalOne:
		delete(k.cache, m.ID)
	case *wire.CursorInvalAll:
		clear(k.cache)
	default:
		k.c.miss("message " + msg.MessageName())
	}
	return nil
}

func (k *cursorChannel) update(fn func(*Cursor)) {
	k.mu.Lock()
	fn(&k.state)
	k.mu.Unlock()
	k.c.observers.emit(CursorChanged{Channel: k.ch.id.ID})
	k.c.notifier.notify()
}

func (k *cursorChannel) set(at wire.Point16, visible bool, m *wire.Cursor) error {
	k.used = k.used[:0]
	k.used.ofCursor(m)
	k.c.counters.use(k.used)
	shape, err := k.shape(m)
	if what, soft := unsupported(err); soft {
		k.c.miss(what)
	} else if err != nil {
		return err
	}
	k.update(func(s *Cursor) {
		*s = Cursor{X: int(at.X), Y: int(at.Y), Visible: visible && shape != nil, Shape: shape}
	})
	return nil
}

// shape returns the shape of a message; nil for none.
func (k *cursorChannel) shape(m *wire.Cursor) (*CursorShape, error) {
	if m.Flags&wire.CursorFlagNone != 0 {
		return nil, nil
	}
	if m.Flags&wire.CursorFlagFromCache != 0 {
		s, ok := k.cache[m.Unique]
		if !ok {
			return nil, protocolErrorf("cursor %#x is not in the cursor cache", m.Unique)
		}
		return s, nil
	}
	s, err := decodeCursor(m)
	if _, soft := unsupported(err); err != nil && !soft {
		return nil, err
	}
	if m.Flags&wire.CursorFlagCacheMe != 0 {
		if len(k.cache) >= maxCursors {
			return nil, &LimitError{What: "shapes in the cursor cache", Got: maxCursors + 1, Want: maxCursors}
		}
		if k.cache == nil {
			k.cache = map[uint64]*CursorShape{}
		}
		k.cache[m.Unique] = s
	}
	return s, err
}

// decodeCursor decodes a shape's data into pixels.
func decodeCursor(m *wire.Cursor) (*CursorShape, error) {
	w, h := int(m.Width), int(m.Height)
	if w > maxCursorSide || h > maxCursorSide {
		return nil, &LimitError{What: "width or height of a cursor", Got: int64(max(w, h)), Want: maxCursorSide}
	}
	s := &CursorShape{Type: m.Type, Width: w, Height: h, HotX: min(int(m.HotSpotX), w), HotY: min(int(m.HotSpotY), h), Pix: make([]byte, 4*w*h)}
	n := w * h
	// need returns an error unless the data is long enough for pixels, palette and mask, in bytes.
	need := func(pixels, palette, mask int) error {
		if all := pixels + palette + mask; len(m.Data) < all {
			return protocolErrorf("%v cursor of %d×%d pixels with %d bytes, want %d", m.Type, w, h, len(m.Data), all)
		}
		return nil
	}
	if m.Type == wire.CursorAlpha {
		if err := need(4*n, 0, 0); err != nil {
			return nil, err
		}
		copy(s.Pix, m.Data)
		return s, nil
	}
	if m.Type == wire.CursorMono {
		stride := (w + 7) / 8
		if err := need(stride*h, 0, stride*h); err != nil {
			return nil, err
		}
		for y := range h {
			for x := range w {
				at, bit := y*stride+x/8, byte(0x80>>(x%8))
				masked := m.Data[at]&bit != 0
				var color uint32
				if m.Data[stride*h+at]&bit != 0 {
					color = 0xffffff
				}
				s.put(y*w+x, color, masked)
			}
		}
		return s, nil
	}
	var pixels, colors int // size of the pixels in bytes, and number of colours
	var pixel func(i int) uint32
	switch m.Type {
	case wire.CursorColor4:
		pixels, colors = (w+1)/2*h, 16
		pixel = func(i int) uint32 {
			v := m.Data[i/2]
			if i%2 == 0 {
				v >>= 4
			}
			return binary.LittleEndian.Uint32(m.Data[pixels+4*int(v&15):])
		}
	case wire.CursorColor8:
		pixels, colors = n, 256
		pixel = func(i int) uint32 { return binary.LittleEndian.Uint32(m.Data[pixels+4*int(m.Data[i]):]) }
	case wire.CursorColor16:
		pixels = 2 * n
		pixel = func(i int) uint32 {
			v := uint32(binary.LittleEndian.Uint16(m.Data[2*i:]))
			r, g, b := v>>10&31, v>>5&31, v&31
			return (r<<3|r>>2)<<16 | (g<<3|g>>2)<<8 | b<<3 | b>>2
		}
	case wire.CursorColor24:
		pixels = 3 * n
		pixel = func(i int) uint32 {
			return uint32(m.Data[3*i]) | uint32(m.Data[3*i+1])<<8 | uint32(m.Data[3*i+2])<<16
		}
	case wire.CursorColor32:
		pixels = 4 * n
		pixel = func(i int) uint32 { return binary.LittleEndian.Uint32(m.Data[4*i:]) }
	default:
		return nil, &unsupportedError{"cursor type " + m.Type.String()}
	}
	if err := need(pixels, 4*colors, (n+7)/8); err != nil {
		return nil, err
	}
	mask := m.Data[pixels+4*colors:]
	for i := range n {
		// NB: the mask's rows are not padded to bytes.
		s.put(i, pixel(i)&0xffffff, mask[i/8]&(0x80>>(i%8)) != 0)
	}
	return s, nil
}

// put sets a pixel: opaque, or if masked, combined with the picture below by exclusive or.
func (s *CursorShape) put(i int, color uint32, masked bool) {
	if !masked {
		binary.LittleEndian.PutUint32(s.Pix[4*i:], color|0xff000000)
		return
	}
	if color != 0 {
		if s.Xor == nil {
			s.Xor = make([]byte, len(s.Pix))
		}
		binary.LittleEndian.PutUint32(s.Xor[4*i:], color)
	}
}

// Cursor returns the pointer of a cursor channel; false if there is no such channel.
func (c *Client) Cursor(channel uint8) (Cursor, bool) {
	ch := c.channel(wire.ChannelID{Type: wire.ChannelCursor, ID: channel})
	if ch == nil {
		return Cursor{}, false
	}
	k := ch.handler.(*cursorChannel)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, true
}

// DrawCursor draws a visible cursor on a picture, as a viewer would show it.
func (p *Picture) DrawCursor(k Cursor) {
	s := k.Shape
	if !k.Visible || s == nil {
		return
	}
	for y := range s.Height {
		py := k.Y - s.HotY + y
		if py < 0 || py >= p.Height {
			continue
		}
		for x := range s.Width {
			px := k.X - s.HotX + x
			if px < 0 || px >= p.Width {
				continue
			}
			src := s.Pix[4*(y*s.Width+x):]
			dst := p.Pix[py*p.Stride+4*px:]
			a := uint32(src[3])
			for i := range 3 {
				dst[i] = byte((uint32(src[i])*a + uint32(dst[i])*(255-a) + 127) / 255)
			}
			if a == 0 && s.Xor != nil {
				for i := range 3 {
					dst[i] ^= s.Xor[4*(y*s.Width+x)+i]
				}
			}
		}
	}
}
