// Package quic decodes SPICE's QUIC images (SPICE_IMAGE_TYPE_QUIC). The coding is predictive, after
// Roman Starosolski's SFALIC, with adaptive Golomb-Rice codes and run lengths, in one bit stream
// for all channels. spice-common's common/quic.c is the reference.
//
//	var dec quic.Decoder
//	h, err := quic.ParseHeader(data)
//	...
//	_, err = dec.Decode(dst, 4*h.Width, data)
//
// The data is a sequence of little-endian 32-bit words whose bits are used from the
// highest down; the first five words are the header. Every image starts from the
// same state, so images can be decoded in any order and on several
// decoders at once. The comment at the top of model.go says how a pixel is coded.
//
// The package only decodes; codectest has an encoder for tests.
package quic

import (
	"encoding/binary"
	"fmt"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

const name = "quic"

// HeaderSize is the number of bytes before the first pixel.
const HeaderSize = 20

const (
	magic   = 0x43495551 // "QUIC", common/quic.c
	version = 0          // 0.0
)

// Type is QuicImageType of spice-common's common/quic.h.
type Type uint32

const (
	Gray  Type = 1 + iota // 8-bit gray; decoded to three equal colours
	RGB16                 // 15-bit colour, decoded with the high bits repeated
	RGB24                 // decoded exactly as RGB32
	RGB32                 // X decodes to 0
	RGBA
)

var typeNames = [...]string{Gray: "gray", RGB16: "rgb16", RGB24: "rgb24", RGB32: "rgb32", RGBA: "rgba"}

func (t Type) String() string {
	if t > 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// HasAlpha reports whether the fourth byte of the decoded pixels means something.
func (t Type) HasAlpha() bool { return t == RGBA }

// Header is the header of a QUIC image. QUIC images are always top-down.
type Header struct {
	Type          Type
	Width, Height int // pixels
}

// ParseHeader reads and checks the header of a QUIC image without decoding it. It
// returns *codec.FormatError or, for a version other than 0.0 or an unknown
// type, *codec.UnsupportedError.
func ParseHeader(src []byte) (Header, error) {
	if len(src) < HeaderSize {
		return Header{}, &codec.FormatError{Codec: name, Offset: len(src), Reason: "truncated header"}
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(src[4*i:]) }
	if word(0) != magic {
		return Header{}, &codec.FormatError{Codec: name, Offset: 0, Reason: fmt.Sprintf("magic %#08x, want %#08x", word(0), magic)}
	}
	if v := word(1); v != version {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: fmt.Sprintf("version %d.%d", v>>16, v&0xffff)}
	}
	t := Type(word(2))
	if t < Gray || t > RGBA {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: t.String()}
	}
	// Negative or huge sizes wrap to a number that CheckSize refuses.
	h := Header{Type: t, Width: int(int32(word(3))), Height: int(int32(word(4)))}
	if err := codec.CheckSize(name, 12, h.Width, h.Height); err != nil {
		return Header{}, err
	}
	return h, nil
}

// Decoder decodes QUIC images, one at a time. The zero value is ready. It keeps
// memory from one image to the next, 16 bytes a pixel of the widest row,
// so that decoding further images allocates nothing.
type Decoder struct {
	in    bitReader
	rgb   group
	alpha group       // or gray
	chans [4]channel  // by the byte of a pixel
	rows  [2][]uint32 // pixels of this row and of the row before it
}

// Decode writes the image in src to dst, rows stride bytes apart, in B,G,R,X from
// the top down. Gray images have three equal colours and X 0.
//
// Data that ends before the word that follows the last pixel's is truncated; what
// comes after that word is ignored, since servers may round up. Decode
// returns *codec.FormatError, *codec.UnsupportedError (see ParseHeader) or
// *codec.DestinationError.
func (d *Decoder) Decode(dst []byte, stride int, src []byte) (Header, error) {
	h, err := ParseHeader(src)
	if err != nil {
		return Header{}, err
	}
	if err := codec.CheckDestination(name, dst, stride, h.Width, h.Height); err != nil {
		return Header{}, err
	}
	f := family8
	if h.Type == RGB16 {
		f = family5
	}
	d.reset(f, src, h.Width)
	for y := 0; y < h.Height; y++ {
		cur, prev := d.rows[y&1], d.rows[(y+1)&1]
		if y == 0 {
			prev = nil
		}
		ok := true
		if h.Type != Gray {
			ok = d.row(&d.rgb, f, cur, prev)
		}
		if ok && (h.Type == Gray || h.Type == RGBA) {
			ok = d.row(&d.alpha, f, cur, prev)
		}
		if !ok {
			return Header{}, &codec.FormatError{Codec: name, Offset: d.in.offset(),
				Reason: fmt.Sprintf("no such code or run in row %d of %d", y, h.Height)}
		}
		if d.in.exhausted() {
			return Header{}, &codec.FormatError{Codec: name, Offset: len(src), Reason: fmt.Sprintf("truncated in row %d of %d", y, h.Height)}
		}
		out := dst[y*stride:][:4*h.Width]
		switch h.Type {
		case Gray:
			for x, v := range cur {
				binary.LittleEndian.PutUint32(out[4*x:], v>>24*0x010101)
			}
		case RGB16:
			for x, v := range cur {
				binary.LittleEndian.PutUint32(out[4*x:], v<<3|v>>2&0x070707)
			}
		default:
			pixel.Store(out, cur)
		}
	}
	return h, nil
}

func (d *Decoder) reset(f *family, src []byte, width int) {
	d.in.reset(src, HeaderSize)
	d.rgb.reset(false, width)
	d.alpha.reset(true, width)
	for i := range d.chans {
		d.chans[i].reset(f)
	}
	for i := range d.rows {
		d.rows[i] = grow(d.rows[i], width)
	}
}
