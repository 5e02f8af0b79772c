// Package lz decodes SPICE's LZ images (SPICE_IMAGE_TYPE_LZ_RGB and LZ_PLT). An image is a header
// of seven big-endian words, and after it a FastLZ level 2 stream whose unit is the pixel.
// spice-common's common/lz.c is the reference.
//
//	var dec lz.Decoder
//	h, err := lz.ParseHeader(data)
//	...
//	_, err = dec.Decode(dst, 4*h.Width, data, palette)
//
// A stream is a sequence of two kinds of item, each introduced by a byte c:
//
//	c < 32   c+1 literal pixels follow
//	c >= 32  a match: copy pixels that were decoded before. The upper three bits
//	         are the length, 7 meaning that bytes to be added follow up to
//	         the first that is not 255; the lower five bits and the next byte are the
//	         distance less one; the distance 0x1fff says that two more bytes
//	         of distance follow
//
// Lengths are biased: a 1 means one pixel for 24 and 32 bits, two for 16 bits, and three if the
// unit is a byte (palettes, alpha). Palette images are compressed as bytes, however many pixels a
// byte has. RGBA images are two streams: the colours, then the alpha.
//
// The package does not look up palettes and does not decode GLZ, which shares only
// the idea; see package glz.
package lz

import (
	"encoding/binary"
	"fmt"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

const name = "lz"

// HeaderSize is the number of bytes before the first stream.
const HeaderSize = 28

const (
	magic   = 0x20205a4c // "LZ  ", common/lz_common.h
	version = 1<<16 | 1
)

// Type is LzImageType of spice-common's common/lz_common.h.
type Type uint32

const (
	PLT1LE Type = 1 + iota // eight palette indices a byte, the first in bit 0
	PLT1BE                 // eight palette indices a byte, the first in bit 7
	PLT4LE                 // two palette indices a byte, the first in bits 0 to 3
	PLT4BE                 // two palette indices a byte, the first in bits 4 to 7
	PLT8                   // palette indices
	RGB16                  // 15-bit colour, decoded with the high bits repeated
	RGB24                  // decoded exactly as RGB32
	RGB32                  // X decodes to 0
	RGBA                   // colour and alpha
	XXXA                   // alpha alone; Decode leaves the colours as they are
	A8                     // alpha alone; decoded to 0,0,0,A
)

var typeNames = [...]string{
	PLT1LE: "plt1-le", PLT1BE: "plt1-be", PLT4LE: "plt4-le", PLT4BE: "plt4-be", PLT8: "plt8",
	RGB16: "rgb16", RGB24: "rgb24", RGB32: "rgb32", RGBA: "rgba", XXXA: "xxxa", A8: "a8",
}

func (t Type) String() string {
	if t > 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// NeedsPalette reports whether the pixels are indices into a palette.
func (t Type) NeedsPalette() bool { return t >= PLT1LE && t <= PLT8 }

// HasAlpha reports whether the fourth byte of the decoded pixels means something.
func (t Type) HasAlpha() bool { return t >= RGBA && t <= A8 }

// rowBytes returns the stride that the header must state.
func (t Type) rowBytes(width int) int {
	switch t {
	case PLT1LE, PLT1BE:
		return (width + 7) / 8
	case PLT4LE, PLT4BE:
		return (width + 1) / 2
	case PLT8, A8:
		return width
	case RGB16:
		return 2 * width
	case RGB24:
		return 3 * width
	}
	return 4 * width
}

// Header is the header of an LZ image.
type Header struct {
	Type          Type
	Width, Height int  // pixels
	TopDown       bool // otherwise the last row comes first, and Decode flips the image
}

// ParseHeader reads and checks the header of an LZ image without decoding it.
// It returns *codec.FormatError or, for a version other than 1.1 or an unknown
// type, *codec.UnsupportedError.
func ParseHeader(src []byte) (Header, error) {
	if len(src) < HeaderSize {
		return Header{}, &codec.FormatError{Codec: name, Offset: len(src), Reason: "truncated header"}
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(src[4*i:]) }
	if word(0) != magic {
		return Header{}, &codec.FormatError{Codec: name, Offset: 0, Reason: fmt.Sprintf("magic %#08x, want %#08x", word(0), magic)}
	}
	if v := word(1); v != version {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: fmt.Sprintf("version %d.%d", v>>16, v&0xffff)}
	}
	t := Type(word(2))
	if t < PLT1LE || t > A8 {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: t.String()}
	}
	// Negative or huge sizes wrap to a number that CheckSize refuses.
	h := Header{Type: t, Width: int(int32(word(3))), Height: int(int32(word(4))), TopDown: word(6) != 0}
	if err := codec.CheckSize(name, 12, h.Width, h.Height); err != nil {
		return Header{}, err
	}
	if s := word(5); int64(s) != int64(t.rowBytes(h.Width)) {
		return Header{}, &codec.FormatError{Codec: name, Offset: 20,
			Reason: fmt.Sprintf("stride %d for %d pixels of %s, want %d", s, h.Width, t, t.rowBytes(h.Width))}
	}
	return h, nil
}

// Decoder decodes LZ images, one at a time. The zero value is ready. It keeps memory from one image
// to the next, so decoding images of the same size and type allocates nothing. It keeps one byte
// per pixel for palette and A8 images, and four if the destination's stride is not four times the
// width. For bottom-up images it keeps a row, too.
type Decoder struct {
	image []byte // scratch for a whole image
	row   []byte // scratch for Flip
}

// Decode writes the image in src to dst, rows stride bytes apart, in B,G,R,X from
// the top down. palette is 0x00RRGGBB and used by PLT images only. For XXXA
// only the fourth byte of each pixel is written.
//
// The whole of src must be the image: leftover bytes are an error, as missing ones are. Decode
// returns *codec.FormatError, *codec.UnsupportedError (see ParseHeader) or *codec.DestinationError.
func (d *Decoder) Decode(dst []byte, stride int, src []byte, palette []uint32) (Header, error) {
	h, err := ParseHeader(src)
	if err != nil {
		return Header{}, err
	}
	if err := codec.CheckDestination(name, dst, stride, h.Width, h.Height); err != nil {
		return Header{}, err
	}
	ip, reason := HeaderSize, ""
	switch {
	case h.Type.NeedsPalette() || h.Type == A8:
		if h.Type.NeedsPalette() && len(palette) == 0 {
			return Header{}, &codec.FormatError{Codec: name, Offset: 8, Reason: h.Type.String() + " without a palette"}
		}
		in := h.Type.rowBytes(h.Width)
		d.image = pixel.Grow(d.image, in*h.Height)
		if ip, reason = decode8(d.image, src, ip); reason == "" && ip == len(src) {
			if err := expand(dst, stride, d.image, in, h, palette); err != nil {
				return Header{}, err
			}
		}
	case stride == 4*h.Width:
		out := dst[:stride*h.Height]
		if h.Type == XXXA && !h.TopDown {
			// The colours that are there already must not be flipped.
			pixel.Flip(out, stride, stride, h.Height, d.flipRow(stride))
		}
		ip, reason = decode32(out, src, ip, h.Type)
		if !h.TopDown {
			pixel.Flip(out, stride, stride, h.Height, d.flipRow(stride))
		}
	default:
		row := 4 * h.Width
		d.image = pixel.Grow(d.image, row*h.Height)
		if ip, reason = decode32(d.image, src, ip, h.Type); reason == "" && ip == len(src) {
			place(dst, stride, d.image, row, h)
		}
	}
	if reason == "" && ip != len(src) {
		reason = fmt.Sprintf("%d bytes after the end of the image", len(src)-ip)
	}
	if reason != "" {
		return Header{}, &codec.FormatError{Codec: name, Offset: ip, Reason: reason}
	}
	return h, nil
}

func (d *Decoder) flipRow(n int) []byte {
	d.row = pixel.Grow(d.row, n)
	return d.row
}

// expand converts the bytes of a palette or A8 image to pixels. It ignores the fourth byte of the
// palette's colours.
func expand(dst []byte, stride int, src []byte, in int, h Header, palette []uint32) error {
	var colors [256]uint32
	n := min(len(palette), len(colors))
	for i, v := range palette[:n] {
		colors[i] = v & 0xffffff
	}
	palette = colors[:n]
	for y := 0; y < h.Height; y++ {
		to := y
		if !h.TopDown {
			to = h.Height - 1 - y
		}
		d, s := dst[to*stride:][:4*h.Width], src[y*in:][:in]
		var err error
		switch h.Type {
		case PLT1LE:
			err = pixel.Expand1(d, s, h.Width, pixel.LittleEndian, palette)
		case PLT1BE:
			err = pixel.Expand1(d, s, h.Width, pixel.BigEndian, palette)
		case PLT4LE:
			err = pixel.Expand4(d, s, h.Width, pixel.LittleEndian, palette)
		case PLT4BE:
			err = pixel.Expand4(d, s, h.Width, pixel.BigEndian, palette)
		case PLT8:
			err = pixel.Expand8(d, s, palette)
		case A8:
			pixel.ExpandAlpha(d, s)
		}
		if err != nil {
			return &codec.FormatError{Codec: name, Offset: HeaderSize, Reason: err.Error()}
		}
	}
	return nil
}

// place copies a decoded image to a destination with gaps between the rows.
func place(dst []byte, stride int, src []byte, row int, h Header) {
	for y := 0; y < h.Height; y++ {
		to := y
		if !h.TopDown {
			to = h.Height - 1 - y
		}
		d, s := dst[to*stride:][:row], src[y*row:]
		if h.Type != XXXA {
			copy(d, s)
			continue
		}
		for x := 3; x < row; x += 4 {
			d[x] = s[x]
		}
	}
}
