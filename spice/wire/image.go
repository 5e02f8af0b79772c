package wire

// ImageType says how an image is encoded (SPICE_IMAGE_TYPE_*).
type ImageType uint8

// The image types.
const (
	ImageBitmap            ImageType = 0
	ImageQuic              ImageType = 1
	ImageLZPLT             ImageType = 100
	ImageLZRGB             ImageType = 101
	ImageGLZRGB            ImageType = 102
	ImageFromCache         ImageType = 103
	ImageSurface           ImageType = 104
	ImageJPEG              ImageType = 105
	ImageFromCacheLossless ImageType = 106
	ImageZlibGLZRGB        ImageType = 107
	ImageJPEGAlpha         ImageType = 108
	ImageLZ4               ImageType = 109
)

var imageTypeNames = map[uint32]string{0: "bitmap", 1: "quic", 100: "lz_plt", 101: "lz_rgb", 102: "glz_rgb",
	103: "from_cache", 104: "surface", 105: "jpeg", 106: "from_cache_lossless", 107: "zlib_glz_rgb",
	108: "jpeg_alpha", 109: "lz4"}

// String returns "bitmap", "quic", … or "image-N".
func (t ImageType) String() string { return enumName("image", uint32(t), imageTypeNames) }

// ImageTypes lists the types that the protocol knows, in numeric order.
func ImageTypes() []ImageType {
	return []ImageType{ImageBitmap, ImageQuic, ImageLZPLT, ImageLZRGB, ImageGLZRGB, ImageFromCache,
		ImageSurface, ImageJPEG, ImageFromCacheLossless, ImageZlibGLZRGB, ImageJPEGAlpha, ImageLZ4}
}

// ImageCompression is the compression that a server uses for images (SPICE_IMAGE_COMPRESSION_*).
type ImageCompression uint8

// The compressions. 0 is not one.
const (
	CompressionOff     ImageCompression = 1
	CompressionAutoGLZ ImageCompression = 2
	CompressionAutoLZ  ImageCompression = 3
	CompressionQuic    ImageCompression = 4
	CompressionGLZ     ImageCompression = 5
	CompressionLZ      ImageCompression = 6
	CompressionLZ4     ImageCompression = 7
)

var compressionNames = map[uint32]string{1: "off", 2: "auto_glz", 3: "auto_lz", 4: "quic", 5: "glz", 6: "lz", 7: "lz4"}

// String returns the name that QEMU's image-compression option takes.
func (c ImageCompression) String() string {
	return enumName("compression", uint32(c), compressionNames)
}

// ImageFlags say how the pixmap cache treats an image, and what its unused bytes contain
// (SPICE_IMAGE_FLAGS_*).
type ImageFlags uint8

// The image flags.
const (
	ImageFlagCacheMe        ImageFlags = 1 << 0
	ImageFlagHighBitsSet    ImageFlags = 1 << 1 // 32-bit pixels whose unused byte is 0xff: usable as opaque ARGB
	ImageFlagCacheReplaceMe ImageFlags = 1 << 2 // lossless, replaces the lossy image in the cache
)

// String returns the names of the flags.
func (f ImageFlags) String() string {
	return flagNames(uint32(f), []string{"cache_me", "high_bits_set", "cache_replace_me"})
}

// BitmapFormat is the layout of an uncompressed image (SPICE_BITMAP_FMT_*).
type BitmapFormat uint8

// The bitmap formats.
const (
	Bitmap1BitLE BitmapFormat = 1 // leftmost pixel in the lowest bit
	Bitmap1BitBE BitmapFormat = 2 // leftmost pixel in the highest bit
	Bitmap4BitLE BitmapFormat = 3
	Bitmap4BitBE BitmapFormat = 4
	Bitmap8Bit   BitmapFormat = 5
	Bitmap16Bit  BitmapFormat = 6 // 0rrrrrgggggbbbbb
	Bitmap24Bit  BitmapFormat = 7 // blue, green, red
	Bitmap32Bit  BitmapFormat = 8 // blue, green, red, unused
	BitmapRGBA   BitmapFormat = 9 // blue, green, red, alpha
	Bitmap8BitA  BitmapFormat = 10
)

var bitmapFormatNames = map[uint32]string{1: "1bit_le", 2: "1bit_be", 3: "4bit_le", 4: "4bit_be", 5: "8bit",
	6: "16bit", 7: "24bit", 8: "32bit", 9: "rgba", 10: "8bit_a"}

// String returns "1bit_le", … "rgba".
func (f BitmapFormat) String() string { return enumName("bitmap", uint32(f), bitmapFormatNames) }

// Indexed reports whether pixels of the format are numbers in a palette.
func (f BitmapFormat) Indexed() bool { return f >= Bitmap1BitLE && f <= Bitmap8Bit }

// BitmapFlags say where the palette comes from, and the order of rows
// (SPICE_BITMAP_FLAGS_*).
type BitmapFlags uint8

// The bitmap flags.
const (
	BitmapFlagPaletteCacheMe   BitmapFlags = 1 << 0
	BitmapFlagPaletteFromCache BitmapFlags = 1 << 1
	BitmapFlagTopDown          BitmapFlags = 1 << 2
)

// String returns the names of the flags.
func (f BitmapFlags) String() string {
	return flagNames(uint32(f), []string{"pal_cache_me", "pal_from_cache", "top_down"})
}

// Palette has the colors of an indexed image, each 0x00rrggbb.
type Palette struct {
	Unique uint64 // the key in the palette cache
	Colors []uint32
}

func (p *Palette) decode(r *Reader) {
	p.Unique = r.Uint64()
	p.Colors = resize(p.Colors, r.Count(uint64(r.Uint16()), 4))
	for i := range p.Colors {
		p.Colors[i] = r.Uint32()
	}
}

func (p *Palette) encode(w *writer) {
	w.u64(p.Unique)
	w.u16(uint16(len(p.Colors)))
	for _, c := range p.Colors {
		w.u32(c)
	}
}

// Image is a picture in a draw message: its description, and its encoded bytes. Type decides which
// fields have a meaning.
type Image struct {
	ID     uint64 // the key in the pixmap cache
	Type   ImageType
	Flags  ImageFlags
	Width  uint32 // pixels
	Height uint32

	// Bitmap describes ImageBitmap. Of ImageLZPLT only Bitmap.Flags is used.
	Bitmap Bitmap
	// Palette belongs to ImageBitmap and ImageLZPLT, unless BitmapFlagPaletteFromCache is set: then
	// PaletteID names a palette in the cache. It is nil if the image has none.
	Palette   *Palette
	PaletteID uint64

	// GLZSize is the size of an ImageZlibGLZRGB after inflating, in bytes.
	GLZSize uint32
	// JPEGTopDown and JPEGSize belong to ImageJPEGAlpha: the first JPEGSize
	// bytes of Data are the JPEG, the rest is the alpha plane in LZ.
	JPEGTopDown bool
	JPEGSize    uint32
	// Surface is the surface to copy from of an ImageSurface.
	Surface uint32

	// Data has the pixels, encoded as Type says, as a window into the message. For ImageBitmap it
	// has exactly Bitmap.Stride*Bitmap.Height bytes.
	Data []byte
}

// Bitmap is the layout of an uncompressed image.
type Bitmap struct {
	Format BitmapFormat
	Flags  BitmapFlags
	Width  uint32 // pixels
	Height uint32
	Stride uint32 // bytes from one row to the next
}

// image reads the offset of an image, and decodes the image there into old, or into a new one if
// old is nil. It returns nil for offset 0.
func (r *Reader) image(old *Image) *Image {
	offset := r.Uint32()
	if offset == 0 {
		return nil
	}
	sub := r.At(offset)
	if old == nil {
		old = new(Image)
	}
	old.decode(&sub)
	r.Adopt(&sub)
	return old
}

func (m *Image) decode(r *Reader) {
	palette := m.Palette
	*m = Image{ID: r.Uint64(), Type: ImageType(r.Uint8()), Flags: ImageFlags(r.Uint8()),
		Width: r.Uint32(), Height: r.Uint32()}
	switch m.Type {
	case ImageBitmap:
		m.Bitmap = Bitmap{Format: BitmapFormat(r.Uint8()), Flags: BitmapFlags(r.Uint8()),
			Width: r.Uint32(), Height: r.Uint32(), Stride: r.Uint32()}
		m.decodePalette(r, palette, false)
		m.Data = r.Bytes(uint64(m.Bitmap.Stride) * uint64(m.Bitmap.Height))
	case ImageQuic, ImageLZRGB, ImageGLZRGB, ImageJPEG, ImageLZ4:
		m.Data = r.Bytes(uint64(r.Uint32()))
	case ImageLZPLT:
		m.Bitmap.Flags = BitmapFlags(r.Uint8())
		size := r.Uint32()
		m.decodePalette(r, palette, true)
		m.Data = r.Bytes(uint64(size))
	case ImageZlibGLZRGB:
		m.GLZSize = r.Uint32()
		m.Data = r.Bytes(uint64(r.Uint32()))
	case ImageJPEGAlpha:
		m.JPEGTopDown = r.Uint8()&1 != 0
		m.JPEGSize = r.Uint32()
		m.Data = r.Bytes(uint64(r.Uint32()))
		if uint64(m.JPEGSize) > uint64(len(m.Data)) {
			r.Failf("a JPEG of %d bytes in %d bytes of data", m.JPEGSize, len(m.Data))
		}
	case ImageSurface:
		m.Surface = r.Uint32()
	}
	// Images from the cache, and types that the protocol does not know, have nothing after the
	// descriptor. The code that draws decides by Type.
}

// decodePalette reads the palette's id, or its offset, and decodes the palette there into old.
func (m *Image) decodePalette(r *Reader, old *Palette, required bool) {
	if m.Bitmap.Flags&BitmapFlagPaletteFromCache != 0 {
		m.PaletteID = r.Uint64()
		return
	}
	offset := r.Uint32()
	if offset == 0 {
		if required {
			r.Failf("offset 0 for a palette that must be there")
		}
		return
	}
	sub := r.At(offset)
	if old == nil {
		old = new(Palette)
	}
	m.Palette = old
	m.Palette.decode(&sub)
	r.Adopt(&sub)
}

// image writes the offset of an image that follows later.
func (w *writer) image(m *Image) {
	if m == nil {
		w.at(nil)
		return
	}
	w.at(m.encode)
}

func (m *Image) encode(w *writer) {
	w.u64(m.ID)
	w.u8(uint8(m.Type))
	w.u8(uint8(m.Flags))
	w.u32(m.Width)
	w.u32(m.Height)
	switch m.Type {
	case ImageBitmap:
		w.u8(uint8(m.Bitmap.Format))
		w.u8(uint8(m.Bitmap.Flags))
		w.u32(m.Bitmap.Width)
		w.u32(m.Bitmap.Height)
		w.u32(m.Bitmap.Stride)
		m.encodePalette(w)
		w.bytes(m.Data)
	case ImageQuic, ImageLZRGB, ImageGLZRGB, ImageJPEG, ImageLZ4:
		w.u32(uint32(len(m.Data)))
		w.bytes(m.Data)
	case ImageLZPLT:
		w.u8(uint8(m.Bitmap.Flags))
		w.u32(uint32(len(m.Data)))
		m.encodePalette(w)
		w.bytes(m.Data)
	case ImageZlibGLZRGB:
		w.u32(m.GLZSize)
		w.u32(uint32(len(m.Data)))
		w.bytes(m.Data)
	case ImageJPEGAlpha:
		w.bool(m.JPEGTopDown)
		w.u32(m.JPEGSize)
		w.u32(uint32(len(m.Data)))
		w.bytes(m.Data)
	case ImageSurface:
		w.u32(m.Surface)
	}
}

func (m *Image) encodePalette(w *writer) {
	switch {
	case m.Bitmap.Flags&BitmapFlagPaletteFromCache != 0:
		w.u64(m.PaletteID)
	case m.Palette != nil:
		w.at(m.Palette.encode)
	default:
		w.at(nil)
	}
}
