// Package lz4 decodes SPICE's LZ4 images (SPICE_IMAGE_TYPE_LZ4). The reference is
// canvas_get_lz4 in spice-common's common/canvas_base.c.
//
// The data is a byte that says whether rows come from the top down, a byte with the bitmap format,
// and then blocks. Before each block is its length, as a big-endian 32-bit word. Blocks may refer
// to the content of the blocks before them. Width and height are those of the image descriptor:
//
//	var dec lz4.Decoder
//	h, err := lz4.ParseHeader(data)
//	err = dec.Decode(dst, 4*width, width, height, data)
//
// Package github.com/pierrec/lz4 decompresses the blocks themselves. SPICE does not use the LZ4
// frame format, so this package does not support it.
package lz4

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

const name = "lz4"

// HeaderSize is the number of bytes before the first block.
const HeaderSize = 2

// Format is the subset of SpiceBitmapFmt that LZ4 images have.
type Format uint8

const (
	RGB16 Format = 6 + iota // 15-bit colour, decoded with the high bits repeated
	RGB24                   // X decodes to 0
	RGB32                   // X is kept as it is
	RGBA
	A8 // alpha alone; decoded to 0,0,0,A. spice-server sends it, spice-common's own client refuses it
)

var formatNames = [...]string{RGB16: "rgb16", RGB24: "rgb24", RGB32: "rgb32", RGBA: "rgba", A8: "a8"}

func (f Format) String() string {
	if f >= RGB16 && f <= A8 {
		return formatNames[f]
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// HasAlpha reports whether the fourth byte of the decoded pixels means something.
func (f Format) HasAlpha() bool { return f >= RGBA }

var formatBytes = [...]int{RGB16: 2, RGB24: 3, RGB32: 4, RGBA: 4, A8: 1}

// bytes returns the size of a pixel in the blocks.
func (f Format) bytes() int { return formatBytes[f] }

// Header is the header of an LZ4 image; the image's size is in the image descriptor.
type Header struct {
	Format  Format
	TopDown bool // otherwise the last row comes first, and Decode flips the image
}

// ParseHeader reads the header of an LZ4 image. It returns *codec.FormatError or,
// for a format that LZ4 images do not have, *codec.UnsupportedError.
func ParseHeader(src []byte) (Header, error) {
	if len(src) < HeaderSize {
		return Header{}, &codec.FormatError{Codec: name, Offset: len(src), Reason: "truncated header"}
	}
	h := Header{Format: Format(src[1]), TopDown: src[0] != 0}
	if h.Format < RGB16 || h.Format > A8 {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: h.Format.String()}
	}
	return h, nil
}

// Decoder decodes LZ4 images, one at a time. The zero value is ready. It keeps memory from one
// image to the next, so decoding images of the same size allocates nothing. It keeps an image for
// pixels of less than 32 bits, and for destinations whose stride is not four times the width.
// Otherwise it keeps at most a row.
type Decoder struct {
	image []byte
	row   []byte
}

// Decode writes the image in src, width by height pixels, to dst, rows stride bytes
// apart, in B,G,R,X from the top down. The blocks must hold the image and no
// more.
//
// It returns *codec.FormatError, *codec.UnsupportedError (see ParseHeader) or
// *codec.DestinationError.
func (d *Decoder) Decode(dst []byte, stride, width, height int, src []byte) (Header, error) {
	h, err := ParseHeader(src)
	if err != nil {
		return Header{}, err
	}
	if err := codec.CheckSize(name, 0, width, height); err != nil {
		return Header{}, err
	}
	if err := codec.CheckDestination(name, dst, stride, width, height); err != nil {
		return Header{}, err
	}
	in := h.Format.bytes() * width
	if in == stride {
		out := dst[:stride*height]
		if err := blocks(out, src); err != nil {
			return Header{}, err
		}
		if !h.TopDown {
			d.row = pixel.Grow(d.row, stride)
			pixel.Flip(out, stride, stride, height, d.row)
		}
		return h, nil
	}
	d.image = pixel.Grow(d.image, in*height)
	if err := blocks(d.image, src); err != nil {
		return Header{}, err
	}
	for y := range height {
		to := y
		if !h.TopDown {
			to = height - 1 - y
		}
		out, row := dst[to*stride:][:4*width], d.image[y*in:][:in]
		switch h.Format {
		case RGB16:
			pixel.Expand555(out, row)
		case RGB24:
			pixel.Expand888(out, row)
		case A8:
			pixel.ExpandAlpha(out, row)
		default:
			copy(out, row)
		}
	}
	return h, nil
}

// history is how far back an LZ4 block can refer, in bytes.
const history = 64 << 10

// blocks fills dst with the blocks of src.
func blocks(dst, src []byte) error {
	op, ip := 0, HeaderSize
	for op < len(dst) {
		if len(src)-ip < 4 {
			return &codec.FormatError{Codec: name, Offset: len(src), Reason: "truncated"}
		}
		n := binary.BigEndian.Uint32(src[ip:])
		if uint64(n) > uint64(len(src)-ip-4) {
			return &codec.FormatError{Codec: name, Offset: ip, Reason: fmt.Sprintf("block of %d bytes with %d left", n, len(src)-ip-4)}
		}
		block := src[ip+4 : ip+4+int(n)]
		got, err := lz4.UncompressBlockWithDict(block, dst[op:], dst[max(0, op-history):op])
		if err != nil {
			return &codec.FormatError{Codec: name, Offset: ip, Reason: err.Error()}
		}
		if got == 0 {
			return &codec.FormatError{Codec: name, Offset: ip, Reason: "empty block"}
		}
		op += got
		ip += 4 + int(n)
	}
	if ip != len(src) {
		return &codec.FormatError{Codec: name, Offset: ip, Reason: fmt.Sprintf("%d bytes after the end of the image", len(src)-ip)}
	}
	return nil
}
