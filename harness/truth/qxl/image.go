package qxl

import "image"

// Format is the layout of an image's pixels in memory (SPICE_BITMAP_FMT_*).
type Format uint8

// The formats of images.
const (
	Bit1LE Format = 1
	Bit1BE Format = 2
	Bit4LE Format = 3
	Bit4BE Format = 4
	Bit8   Format = 5
	Bit16  Format = 6
	Bit24  Format = 7
	Bit32  Format = 8
	RGBA   Format = 9
	Bit8A  Format = 10
)

var formatNames = map[Format]string{Bit1LE: "1LE", Bit1BE: "1BE", Bit4LE: "4LE", Bit4BE: "4BE", Bit8: "8", Bit16: "16",
	Bit24: "24", Bit32: "32", RGBA: "RGBA", Bit8A: "8A"}

// String returns the format's name, such as "1BE", "32" or "RGBA".
func (f Format) String() string { return formatNames[f] }

// Bits returns the size of a pixel in bits.
func (f Format) Bits() int {
	switch f {
	case Bit1LE, Bit1BE:
		return 1
	case Bit4LE, Bit4BE:
		return 4
	case Bit8, Bit8A:
		return 8
	case Bit16:
		return 16
	case Bit24:
		return 24
	}
	return 32
}

// Stride returns the size in bytes of a row of w pixels without padding.
func (f Format) Stride(w int) int { return (w*f.Bits() + 7) / 8 }

// The flags of images (QXL_IMAGE_*).
const (
	ImageCache    = 1 // keep it in the clients' caches under its ID
	ImageHighBits = 2 // the unused byte of 32-bit pixels is 0xff
)

// The flags of bitmaps (QXL_BITMAP_*).
const (
	BitmapDirect   = 1 // the pixels are not in chunks
	BitmapUnstable = 2 // the guest may change them
)

// Pixels provides an image's bytes when the image is packed.
type Pixels interface {
	// Pixels returns the rows of im, each of im.Stride() bytes, in the order in memory.
	Pixels(im *Image) []byte
}

// Bytes are pixels in the order in memory.
type Bytes []byte

// Pixels returns b.
func (b Bytes) Pixels(*Image) []byte { return b }

// Palette has the colours of an indexed image.
type Palette struct {
	Unique uint64 // key in the clients' palette caches; 0: not cached
	Colors []uint32
}

// Image is a QXLImage: a bitmap, or a surface to draw from.
type Image struct {
	ID    uint64 // key in the clients' caches; 0: a unique one
	Flags uint8  // ImageCache, ImageHighBits

	// FromSurface makes this the surface Surface of Width×Height pixels.
	FromSurface bool
	Surface     uint32

	Format        Format
	Width, Height int
	Pad           int // bytes added to each row
	TopDown       bool
	BitmapFlags   uint8 // BitmapDirect, BitmapUnstable
	Palette       *Palette
	Chunks        int // of the pixels, each of whole rows; 0 means 1
	Data          Pixels

	// Nowhere gives the image an address that does not exist. PixelsNowhere does so for its pixels.
	Nowhere       Nowhere
	PixelsNowhere Nowhere
}

// Nowhere is an address that a broken driver might give.
type Nowhere uint8

// The addresses.
const (
	Somewhere   Nowhere = iota // a valid address
	BeyondSlot                 // beyond the end of the memory
	UnknownSlot                // in a memory slot that does not exist
)

func (n Nowhere) address(good uint64) uint64 {
	switch n {
	case BeyondSlot:
		return 1 << 40
	case UnknownSlot:
		return 1<<63 | good
	}
	return good
}

// Stride returns the size of a row in bytes, with padding.
func (im *Image) Stride() int { return im.Format.Stride(im.Width) + im.Pad }

// Bounds returns the image's rectangle.
func (im *Image) Bounds() image.Rectangle { return image.Rect(0, 0, im.Width, im.Height) }

// The types of images that a driver may use (SPICE_IMAGE_TYPE_*).
const (
	imageBitmap  = 0
	imageSurface = 104
)

// imageSize is the least number of bytes that a server reads of an image; they must be mapped.
const imageSize = 64

// image packs im and returns its address; nil has address 0.
func (p *packer) image(im *Image) uint64 {
	if im == nil {
		return 0
	}
	var b buf
	id := im.ID
	if id == 0 {
		p.ids++
		id = p.ids
	}
	// The group of the driver's images is 0; its numbers are in the high half.
	b.u64(id << 32)
	kind := uint8(imageBitmap)
	if im.FromSurface {
		kind = imageSurface
	}
	b.u8(kind)
	b.u8(im.Flags)
	b.u32(uint32(im.Width))
	b.u32(uint32(im.Height))
	if im.FromSurface {
		b.u32(im.Surface)
	} else {
		p.bitmap(&b, im)
	}
	for len(b) < imageSize {
		b.u8(0)
	}
	return im.Nowhere.address(p.put(b))
}

func (p *packer) bitmap(b *buf, im *Image) {
	flags := im.BitmapFlags
	if im.TopDown {
		flags |= 4
	}
	b.u8(uint8(im.Format))
	b.u8(flags)
	b.u32(uint32(im.Width))
	b.u32(uint32(im.Height))
	b.u32(uint32(im.Stride()))
	b.u64(p.palette(im.Palette))
	pixelsOf := p.pixels
	if pixelsOf == nil {
		pixelsOf = im.Data.Pixels
	}
	pixels := pixelsOf(im)
	var at uint64
	if flags&BitmapDirect != 0 {
		at = p.put(pixels)
	} else {
		at = p.rows(pixels, im.Stride(), max(im.Chunks, 1))
	}
	b.u64(im.PixelsNowhere.address(at))
}

// rows writes rows of pixels as a chain of chunks. Each chunk ends at the end of a row, because
// spice-server may abort when it compresses others ("more lines failed").
func (p *packer) rows(pixels []byte, stride, parts int) uint64 {
	if parts <= 1 || stride == 0 {
		return p.chain(pixels, 1)
	}
	n := (len(pixels)/stride + parts - 1) / parts * stride
	n = min(max(n, stride), len(pixels))
	var b buf
	b.u32(uint32(n))
	b.u64(0)
	if n < len(pixels) {
		b.u64(p.rows(pixels[n:], stride, parts-1))
	} else {
		b.u64(0)
	}
	return p.put(append(b, pixels[:n]...))
}

func (p *packer) palette(pal *Palette) uint64 {
	if pal == nil {
		return 0
	}
	var b buf
	b.u64(pal.Unique)
	b.u16(uint16(len(pal.Colors)))
	for _, c := range pal.Colors {
		b.u32(c)
	}
	return p.put(b)
}
