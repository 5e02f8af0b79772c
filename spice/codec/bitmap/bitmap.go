// Package bitmap decodes SPICE's uncompressed images (SPICE_IMAGE_TYPE_BITMAP,
// SpiceBitmap in spice-protocol/spice/enums.h and qxl_dev.h) into B,G,R,X pixels.
//
//	im := bitmap.Image{Format: bitmap.Format8Bit, Width: w, Height: h, Stride: w, Palette: pal}
//	err := bitmap.Decode(dst, 4*w, im, data)
//
// It does not keep palettes: a caller whose message refers to a cached palette
// looks it up first. It is safe for concurrent use, allocates nothing, and has no
// state.
package bitmap

import (
	"fmt"
	"math"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

const name = "bitmap"

// Format is SpiceBitmapFmt.
type Format uint8

const (
	Format1BitLE Format = 1 + iota // palette, first pixel in bit 0
	Format1BitBE                   // palette, first pixel in bit 7
	Format4BitLE                   // palette, first pixel in bits 0 to 3
	Format4BitBE                   // palette, first pixel in bits 4 to 7
	Format8Bit                     // palette
	Format16Bit                    // xRRRRRGGGGGBBBBB, little-endian
	Format24Bit                    // B,G,R
	Format32Bit                    // B,G,R,X; X is kept as it is
	FormatRGBA                     // B,G,R,A
	Format8BitA                    // A alone; decoded to 0,0,0,A
)

var formatNames = [...]string{
	Format1BitLE: "1bit-le", Format1BitBE: "1bit-be", Format4BitLE: "4bit-le", Format4BitBE: "4bit-be",
	Format8Bit: "8bit", Format16Bit: "16bit", Format24Bit: "24bit", Format32Bit: "32bit",
	FormatRGBA: "rgba", Format8BitA: "8bit-a",
}

func (f Format) String() string {
	if int(f) < len(formatNames) && formatNames[f] != "" {
		return formatNames[f]
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// Bits returns the size of a pixel in bits, 0 for an unknown format.
func (f Format) Bits() int {
	switch f {
	case Format1BitLE, Format1BitBE:
		return 1
	case Format4BitLE, Format4BitBE:
		return 4
	case Format8Bit, Format8BitA:
		return 8
	case Format16Bit:
		return 16
	case Format24Bit:
		return 24
	case Format32Bit, FormatRGBA:
		return 32
	}
	return 0
}

// NeedsPalette reports whether the pixels are indices into a palette.
func (f Format) NeedsPalette() bool { return f >= Format1BitLE && f <= Format8Bit }

// HasAlpha reports whether the fourth byte of the decoded pixels means something.
func (f Format) HasAlpha() bool { return f == FormatRGBA || f == Format8BitA }

// Image has the properties of a bitmap message's data.
type Image struct {
	Format        Format
	TopDown       bool     // SPICE_BITMAP_FLAGS_TOP_DOWN; otherwise the last row comes first
	Width, Height int      // pixels, 1 to codec.MaxDimension
	Stride        int      // bytes from row to row of the data; at least the row's bits rounded up to bytes
	Palette       []uint32 // 0xAARRGGBB, as on the wire for 32-bit surfaces; nil if the format needs none
}

// Size returns the number of bytes of data that the image needs; the last row may be shorter than
// the stride. It returns the same errors as Decode for an image that no data could satisfy.
func (im *Image) Size() (int, error) {
	bits := im.Format.Bits()
	if bits == 0 {
		return 0, &codec.UnsupportedError{Codec: name, Feature: im.Format.String()}
	}
	if err := codec.CheckSize(name, 0, im.Width, im.Height); err != nil {
		return 0, err
	}
	row := im.rowBytes()
	// Real strides are the row rounded up to 4 bytes. The upper limit, twice the widest row, keeps
	// a hostile stride from overflowing.
	if im.Stride < row || im.Stride > 8*codec.MaxDimension {
		return 0, &codec.FormatError{Codec: name, Reason: fmt.Sprintf("stride %d for %d pixels of %s", im.Stride, im.Width, im.Format)}
	}
	if im.Format.NeedsPalette() && len(im.Palette) == 0 {
		return 0, &codec.FormatError{Codec: name, Reason: im.Format.String() + " without a palette"}
	}
	size := int64(im.Stride)*int64(im.Height-1) + int64(row)
	if size > math.MaxInt {
		return 0, &codec.FormatError{Codec: name, Reason: "larger than this machine can address"}
	}
	return int(size), nil
}

func (im *Image) rowBytes() int { return (im.Width*im.Format.Bits() + 7) / 8 }

// Decode writes the image's pixels to dst, rows stride bytes apart, in B,G,R,X from the top down; X
// is the fourth byte of a palette's colour. It ignores bytes of src beyond the last row, because
// servers round rows up.
//
// The error is a *codec.FormatError for short data, a bad stride, a missing palette or an index
// beyond its end. It is a *codec.UnsupportedError for an unknown format, and a
// *codec.DestinationError if dst is too small.
func Decode(dst []byte, stride int, im Image, src []byte) error {
	need, err := im.Size()
	if err != nil {
		return err
	}
	if len(src) < need {
		return &codec.FormatError{Codec: name, Offset: len(src),
			Reason: fmt.Sprintf("%d bytes of data, want %d", len(src), need)}
	}
	if err := codec.CheckDestination(name, dst, stride, im.Width, im.Height); err != nil {
		return err
	}
	in, out := im.rowBytes(), 4*im.Width
	for y := 0; y < im.Height; y++ {
		s := src[y*im.Stride:][:in]
		to := y
		if !im.TopDown {
			to = im.Height - 1 - y
		}
		d := dst[to*stride:][:out]
		var err error
		switch im.Format {
		case Format1BitLE:
			err = pixel.Expand1(d, s, im.Width, pixel.LittleEndian, im.Palette)
		case Format1BitBE:
			err = pixel.Expand1(d, s, im.Width, pixel.BigEndian, im.Palette)
		case Format4BitLE:
			err = pixel.Expand4(d, s, im.Width, pixel.LittleEndian, im.Palette)
		case Format4BitBE:
			err = pixel.Expand4(d, s, im.Width, pixel.BigEndian, im.Palette)
		case Format8Bit:
			err = pixel.Expand8(d, s, im.Palette)
		case Format16Bit:
			pixel.Expand555(d, s)
		case Format24Bit:
			pixel.Expand888(d, s)
		case Format32Bit, FormatRGBA:
			copy(d, s)
		case Format8BitA:
			pixel.ExpandAlpha(d, s)
		}
		if err != nil {
			return &codec.FormatError{Codec: name, Offset: y * im.Stride, Reason: err.Error()}
		}
	}
	return nil
}
