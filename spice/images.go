package spice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/bitmap"
	"github.com/spicelane/spicelane/spice/codec/glz"
	"github.com/spicelane/spicelane/spice/codec/lz"
	"github.com/spicelane/spicelane/spice/wire"
)

// unsupportedError names something that is not interpreted. It is counted under its name, and the
// session continues.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string { return "unsupported " + e.what }

// unsupported returns the name of what err reports as unsupported; ok is false for other errors.
func unsupported(err error) (what string, ok bool) {
	if err == nil {
		return "", false
	}
	var own *unsupportedError
	var pixels *codec.UnsupportedError
	var drawing *canvas.UnsupportedError
	switch {
	case errors.As(err, &own):
		return own.what, true
	case errors.As(err, &pixels):
		return "image " + pixels.Codec + ": " + pixels.Feature, true
	case errors.As(err, &drawing):
		return drawing.What, true
	}
	return "", false
}

// pixmapCache has the images that the server makes the client cache. All display channels of a
// session share it. The server decides which ones are evicted; limit only stops a server that
// evicts none.
type pixmapCache struct {
	mu     sync.Mutex
	byID   map[uint64]cachedImage
	pixels int64
	limit  int64
}

type cachedImage struct {
	img   *canvas.Image // nil: it was unsupported
	what  string        // the name of what was unsupported
	lossy bool
}

// cachedCost is the least cost of an entry, in pixels, so that tiny images cannot fill the memory
// unnoticed.
const cachedCost = 64

func (c cachedImage) cost() int64 {
	if c.img == nil {
		return cachedCost
	}
	return max(cachedCost, int64(c.img.Width)*int64(c.img.Height))
}

func (p *pixmapCache) put(id uint64, e cachedImage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.byID[id]; ok {
		p.pixels -= old.cost()
	}
	if p.pixels+e.cost() > p.limit {
		return &LimitError{What: "pixels in the pixmap cache", Got: p.pixels + e.cost(), Want: p.limit}
	}
	if p.byID == nil {
		p.byID = map[uint64]cachedImage{}
	}
	p.byID[id] = e
	p.pixels += e.cost()
	return nil
}

func (p *pixmapCache) get(id uint64) (cachedImage, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.byID[id]
	return e, ok
}

func (p *pixmapCache) remove(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.byID[id]; ok {
		p.pixels -= old.cost()
		delete(p.byID, id)
	}
}

func (p *pixmapCache) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.byID)
	p.pixels = 0
}

// maxPalettes limits the palettes that a server can make a channel cache. spice-server itself
// caches 64 (CLIENT_PALETTE_CACHE_SIZE).
const maxPalettes = 1024

// images decodes the images of one display channel's messages.
type images struct {
	c        *Client
	d        *display
	alone    decoders
	glz      *glz.Decoder
	palettes map[uint64][]uint32
	colors   []uint32 // a palette widened for a 16-bit surface
}

// slot is the memory of one decoded image of a message. The next message reuses it.
type slot struct {
	img canvas.Image
	pix []byte
}

// keepFlags are the flags that put an image into the pixmap cache.
const keepFlags = wire.ImageFlagCacheMe | wire.ImageFlagCacheReplaceMe

// inMessage reports whether an image depends only on its message, and not on a surface or the
// cache.
func inMessage(m *wire.Image) bool {
	switch m.Type {
	case wire.ImageSurface, wire.ImageFromCache, wire.ImageFromCacheLossless:
		return false
	}
	return m.Flags&keepFlags == 0
}

// maxSlot is the most memory that a slot keeps between messages, in bytes.
const maxSlot = 16 << 20

func (s *slot) make(f canvas.Format, w, h int) *canvas.Image {
	n := w * h * canvas.CellSize
	if n > cap(s.pix) {
		s.pix = make([]byte, n)
	}
	s.img = canvas.Image{Format: f, Width: w, Height: h, Stride: w * canvas.CellSize, Pix: s.pix[:n]}
	return &s.img
}

func (s *slot) release() {
	s.img = canvas.Image{} // it may point into the message's memory
	if cap(s.pix) > maxSlot {
		s.pix = nil
	}
}

// decode returns the pixels of an image. They are in the memory of s, of the cache or of a surface,
// and must not be changed. format is that of the surface to draw on. With asMask, an indexed image
// of one bit is a stencil.
func (im *images) decode(m *wire.Image, s *slot, format canvas.Format, asMask bool) (*canvas.Image, error) {
	switch m.Type {
	case wire.ImageFromCache, wire.ImageFromCacheLossless:
		e, ok := im.c.cache.get(m.ID)
		switch {
		case !ok:
			return nil, protocolErrorf("image %#x is not in the pixmap cache", m.ID)
		case e.img == nil:
			return nil, &unsupportedError{e.what}
		case e.lossy && m.Type == wire.ImageFromCacheLossless:
			return nil, &unsupportedError{"lossless image of which the cache has a lossy one"}
		}
		im.c.counters.image(m.Type.String(), e.img.Width*e.img.Height, 0, 0)
		return e.img, nil
	case wire.ImageSurface:
		src := im.d.surfaces.byID[m.Surface]
		if src == nil {
			return nil, protocolErrorf("surface %d to draw from does not exist", m.Surface)
		}
		if src.info.Problem != "" {
			return nil, &unsupportedError{src.info.Problem}
		}
		im.c.counters.image(m.Type.String(), src.img.Width*src.img.Height, 0, 0)
		return src.img, nil
	}
	keep := m.Flags&keepFlags != 0
	var img *canvas.Image
	var err error
	var took time.Duration
	if im.d.in.prefetched.image == m {
		img, took, err = im.d.in.prefetched.result(im.c)
	} else {
		if keep {
			s = new(slot) // the cache owns the memory
		}
		start := time.Now()
		img, err = im.pixels(m, s, format, asMask)
		took = time.Since(start)
	}
	what, missing := unsupported(err)
	if err != nil && !missing {
		return nil, fmt.Errorf("image %#x: %w", m.ID, err)
	}
	if err == nil {
		if m.Flags&wire.ImageFlagHighBitsSet != 0 && img.Format == canvas.XRGB {
			setHighBits(img)
		}
		im.c.counters.image(m.Type.String(), img.Width*img.Height, len(m.Data), took)
	}
	if keep {
		lossy := m.Type == wire.ImageJPEG || m.Type == wire.ImageJPEGAlpha
		if err := im.c.cache.put(m.ID, cachedImage{img: img, what: what, lossy: lossy}); err != nil {
			return nil, err
		}
	}
	if missing {
		return nil, &unsupportedError{what}
	}
	return img, nil
}

// pixels decodes an image that is in the message.
func (im *images) pixels(m *wire.Image, s *slot, format canvas.Format, asMask bool) (*canvas.Image, error) {
	if standsAlone(m.Type) {
		return im.alone.decode(m, s)
	}
	w, h, err := imageSize(m.Width, m.Height, im.c.cfg.Limits.imagePixels())
	if err != nil {
		return nil, err
	}
	switch m.Type {
	case wire.ImageBitmap:
		return im.bitmap(m, s, format, asMask)
	case wire.ImageLZPLT:
		head, err := lz.ParseHeader(m.Data)
		if err != nil {
			return nil, err
		}
		if err := sameSize(m, head.Width, head.Height); err != nil {
			return nil, err
		}
		if !head.Type.NeedsPalette() {
			return nil, protocolErrorf("%v image holds %v", m.Type, head.Type)
		}
		palette, err := im.palette(m, format)
		if err != nil {
			return nil, err
		}
		img := s.make(canvas.XRGB, w, h)
		_, err = im.alone.lz.Decode(img.Pix, img.Stride, m.Data, palette)
		return img, err
	case wire.ImageGLZRGB:
		return im.decodeGLZ(m, s, m.Data)
	case wire.ImageZlibGLZRGB:
		if most := int64(4*w*h) + int64(w*h)/8 + glzSlack; int64(m.GLZSize) > most {
			return nil, &LimitError{What: "bytes of an inflated image", Got: int64(m.GLZSize), Want: most}
		}
		data, err := im.glz.Inflate(int(m.GLZSize), m.Data)
		if err != nil {
			return nil, err
		}
		return im.decodeGLZ(m, s, data)
	}
	return nil, &unsupportedError{"image type " + m.Type.String()}
}

// glzSlack is how much larger than its pixels a GLZ image may be, for its header. In addition,
// incompressible pixels cost one byte per 32.
const glzSlack = 4096

func (im *images) decodeGLZ(m *wire.Image, s *slot, data []byte) (*canvas.Image, error) {
	head, err := glz.ParseHeader(data)
	if err != nil {
		return nil, err
	}
	if err := sameSize(m, head.Width, head.Height); err != nil {
		return nil, err
	}
	img := s.make(alphaFormat(head.Type.HasAlpha()), head.Width, head.Height)
	_, err = im.glz.Decode(im.c.ctx, img.Pix, img.Stride, data)
	return img, err
}

// invalidate removes what the server has invalidated; done is false if msg does not invalidate
// anything.
func (d *display) invalidate(msg wire.ServerMessage) (done bool, err error) {
	switch m := msg.(type) {
	case *wire.DisplayInvalList:
		for _, r := range m.Resources {
			if r.Type == wire.ResourcePixmap {
				d.c.cache.remove(r.ID)
			}
		}
		return true, nil
	case *wire.DisplayInvalAllPixmaps:
		if err := d.ch.waitFor(&wire.WaitForChannels{Wait: m.Wait}); err != nil {
			return true, err
		}
		d.c.cache.clear()
		return true, nil
	case *wire.DisplayInvalPalette:
		delete(d.images.palettes, m.ID)
		return true, nil
	case *wire.DisplayInvalAllPalettes:
		clear(d.images.palettes)
		return true, nil
	}
	return false, nil
}

// imageSize checks an image's dimensions against the greatest number of pixels, before memory is
// allocated for it.
func imageSize(width, height uint32, most int) (w, h int, err error) {
	if width < 1 || height < 1 || width > codec.MaxDimension || height > codec.MaxDimension {
		return 0, 0, protocolErrorf("image of %d×%d pixels, want 1 to %d each way", width, height, codec.MaxDimension)
	}
	if int(width)*int(height) > most {
		return 0, 0, &LimitError{What: "pixels of an image", Got: int64(width) * int64(height), Want: int64(most)}
	}
	return int(width), int(height), nil
}

func sameSize(m *wire.Image, width, height int) error {
	if uint32(width) != m.Width || uint32(height) != m.Height {
		return protocolErrorf("%v image of %d×%d pixels in a descriptor of %d×%d", m.Type, width, height, m.Width, m.Height)
	}
	return nil
}

func alphaFormat(alpha bool) canvas.Format {
	if alpha {
		return canvas.ARGB
	}
	return canvas.XRGB
}

// toA8 converts pixels that have only alpha to cells of alpha.
func toA8(img *canvas.Image) {
	img.Format = canvas.A8
	for i := 0; i+3 < len(img.Pix); i += canvas.CellSize {
		binary.LittleEndian.PutUint32(img.Pix[i:], uint32(img.Pix[i+3]))
	}
}

// setHighBits sets the fourth byte of each cell, which is not a colour, to 0xff.
func setHighBits(img *canvas.Image) {
	for i := 3; i < len(img.Pix); i += canvas.CellSize {
		img.Pix[i] = 0xff
	}
}

// stencilPalette converts an indexed image of one bit to cells of format A1.
var stencilPalette = []uint32{0, 1}

func (im *images) bitmap(m *wire.Image, s *slot, format canvas.Format, asMask bool) (*canvas.Image, error) {
	w, h, err := imageSize(m.Bitmap.Width, m.Bitmap.Height, im.c.cfg.Limits.imagePixels())
	if err != nil {
		return nil, err
	}
	b := bitmap.Image{
		Format: bitmap.Format(m.Bitmap.Format), TopDown: m.Bitmap.Flags&wire.BitmapFlagTopDown != 0,
		Width: w, Height: h, Stride: int(m.Bitmap.Stride),
	}
	f := alphaFormat(b.Format.HasAlpha())
	if b.Format.NeedsPalette() && format == canvas.ARGB {
		f = canvas.ARGB // the palette's colours have the surface's format, and so alpha
	}
	switch {
	case asMask:
		if b.Format.Bits() != 1 {
			return nil, &unsupportedError{"mask of bitmap format " + m.Bitmap.Format.String()}
		}
		b.Palette = stencilPalette
		f = canvas.A1
	case b.Format.NeedsPalette():
		if b.Palette, err = im.palette(m, format); err != nil {
			return nil, err
		}
	}
	if b.Format == bitmap.Format32Bit && b.TopDown && m.Flags&keepFlags == 0 {
		// These pixels are drawn with as they are; nothing changes them.
		if n, err := b.Size(); err != nil || n > len(m.Data) {
			return nil, protocolErrorf("bitmap of %d×%d pixels with %d bytes", w, h, len(m.Data))
		}
		s.img = canvas.Image{Format: f, Width: w, Height: h, Stride: b.Stride, Pix: m.Data}
		return &s.img, nil
	}
	img := s.make(f, w, h)
	if err := bitmap.Decode(img.Pix, img.Stride, b, m.Data); err != nil {
		return nil, err
	}
	switch b.Format {
	case bitmap.Format8BitA:
		toA8(img)
	case bitmap.Format16Bit:
		setHighBits(img) // as pixman widens an opaque pixel
	}
	return img, nil
}

// palette returns the colours of an indexed image, from the message or the cache, as 0x00RRGGBB.
func (im *images) palette(m *wire.Image, format canvas.Format) ([]uint32, error) {
	var colors []uint32
	switch {
	case m.Bitmap.Flags&wire.BitmapFlagPaletteFromCache != 0:
		var ok bool
		if colors, ok = im.palettes[m.PaletteID]; !ok {
			return nil, protocolErrorf("palette %#x is not in the palette cache", m.PaletteID)
		}
	case m.Palette == nil:
		return nil, protocolErrorf("indexed image without a palette")
	default:
		colors = m.Palette.Colors
		if m.Bitmap.Flags&wire.BitmapFlagPaletteCacheMe != 0 {
			if len(im.palettes) >= maxPalettes {
				return nil, &LimitError{What: "palettes in the palette cache", Got: maxPalettes + 1, Want: maxPalettes}
			}
			if im.palettes == nil {
				im.palettes = map[uint64][]uint32{}
			}
			im.palettes[m.Palette.Unique] = append([]uint32(nil), colors...)
		}
	}
	// The colours have the format of the surface on which they are drawn.
	switch format {
	case canvas.XRGB, canvas.ARGB:
		return colors, nil
	case canvas.RGB555:
		im.colors = im.colors[:0]
		for _, v := range colors {
			r, g, b := v>>10&31, v>>5&31, v&31
			im.colors = append(im.colors, (r<<3|r>>2)<<16|(g<<3|g>>2)<<8|b<<3|b>>2)
		}
		return im.colors, nil
	}
	return nil, &unsupportedError{"indexed image on a surface of format " + format.String()}
}
