// Package jpeg decodes SPICE's lossy images (SPICE_IMAGE_TYPE_JPEG and JPEG_ALPHA)
// and the frames of its MJPEG streams, with the standard library's image/jpeg. A frame
// without Huffman tables is decoded with the standard's typical ones.
//
//	h, err := jpeg.ParseHeader(data)
//	...
//	var dec jpeg.Decoder
//	err = dec.Decode(dst, 4*h.Width, data)
//
// JPEG leaves decoders some room: colours may differ by a few units from those that
// spice-gtk, through libjpeg, shows for the same data. Compare with a tolerance.
// Chroma that is stored at half the resolution is interpolated as libjpeg does,
// between the nearest samples at weights of three to one.
//
// The alpha of a JPEG_ALPHA image is an LZ image of type XXXA; see package lz.
package jpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/lz"
)

const name = "jpeg"

// Header has the size of a JPEG image.
type Header struct {
	Width, Height int // pixels
	Gray          bool
}

// ParseHeader finds the size of a JPEG image without decoding it. It returns
// *codec.FormatError or *codec.UnsupportedError.
func ParseHeader(src []byte) (Header, error) {
	r := bytes.NewReader(src)
	c, err := jpeg.DecodeConfig(r)
	if err != nil {
		return Header{}, wrap(err, len(src)-r.Len())
	}
	if err := codec.CheckSize(name, 0, c.Width, c.Height); err != nil {
		return Header{}, err
	}
	return Header{c.Width, c.Height, c.ColorModel == color.GrayModel}, nil
}

// wrap converts an error of image/jpeg to one of package codec. The library reads ahead, so the
// offset is how far it has read.
func wrap(err error, offset int) error {
	if u, ok := errors.AsType[jpeg.UnsupportedError](err); ok {
		return &codec.UnsupportedError{Codec: name, Feature: string(u)}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &codec.FormatError{Codec: name, Offset: offset, Reason: "truncated"}
	}
	reason := err.Error()
	if f, ok := errors.AsType[jpeg.FormatError](err); ok {
		reason = string(f)
	}
	return &codec.FormatError{Codec: name, Offset: offset, Reason: reason}
}

// Decoder decodes JPEG images, one at a time. The zero value is ready. image/jpeg allocates what it
// decodes into, 1.5 to 3 bytes per pixel for each image; everything else is kept from one image to
// the next.
type Decoder struct {
	alpha  lz.Decoder
	src    source
	cb, cr []byte // a row of chroma at full width
}

// Decode writes the image in src to dst, rows stride bytes apart, in B,G,R,0 from
// the top down.
//
// It returns *codec.FormatError, *codec.UnsupportedError or *codec.DestinationError. The caller
// must have compared the size in ParseHeader with its limits and with the image descriptor.
func (d *Decoder) Decode(dst []byte, stride int, src []byte) (Header, error) {
	h, err := ParseHeader(src)
	if err != nil {
		return Header{}, err
	}
	if err := codec.CheckDestination(name, dst, stride, h.Width, h.Height); err != nil {
		return Header{}, err
	}
	d.src.reset(src)
	defer d.src.reset(nil)
	m, err := jpeg.Decode(&d.src)
	if err != nil {
		return Header{}, wrap(err, len(src)-d.src.left())
	}
	if m.Bounds() != image.Rect(0, 0, h.Width, h.Height) {
		return Header{}, &codec.FormatError{Codec: name, Reason: fmt.Sprintf("two sizes: %v and %dx%d", m.Bounds(), h.Width, h.Height)}
	}
	switch m := m.(type) {
	case *image.Gray:
		for y := range h.Height {
			out := dst[y*stride:][:4*h.Width]
			for x, v := range m.Pix[y*m.Stride:][:h.Width] {
				binary.LittleEndian.PutUint32(out[4*x:], uint32(v)*0x010101)
			}
		}
	case *image.YCbCr:
		d.ycbcr(dst, stride, m)
	case *image.RGBA: // three components marked as R, G and B
		for y := range h.Height {
			out, in := dst[y*stride:][:4*h.Width], m.Pix[y*m.Stride:][:4*h.Width]
			for x := 0; x < len(in); x += 4 {
				out[x], out[x+1], out[x+2], out[x+3] = in[x+2], in[x+1], in[x], 0
			}
		}
	default:
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: fmt.Sprintf("%T", m)}
	}
	return h, nil
}

// DecodeAlpha decodes a JPEG_ALPHA image: a JPEG of jpegSize bytes, and after it an LZ image with
// the alpha, which must have the same size. topDown is SPICE_JPEG_ALPHA_FLAGS_TOP_DOWN and must
// agree with the LZ image. Both parts are written from the top down. The pixels are B,G,R,A. Errors
// are those of Decode; errors of the alpha have the codec "lz".
func (d *Decoder) DecodeAlpha(dst []byte, stride int, topDown bool, jpegSize int, src []byte) (Header, error) {
	if jpegSize < 0 || jpegSize > len(src) {
		return Header{}, &codec.FormatError{Codec: name, Offset: len(src), Reason: fmt.Sprintf("JPEG of %d bytes in an image of %d", jpegSize, len(src))}
	}
	a, err := lz.ParseHeader(src[jpegSize:])
	if err != nil {
		return Header{}, err
	}
	h, err := ParseHeader(src[:jpegSize])
	if err != nil {
		return Header{}, err
	}
	if a.Type != lz.XXXA || a.Width != h.Width || a.Height != h.Height || a.TopDown != topDown {
		return Header{}, &codec.FormatError{Codec: name, Offset: jpegSize,
			Reason: fmt.Sprintf("alpha is %s of %dx%d, top-down %t; want %s of %dx%d, top-down %t",
				a.Type, a.Width, a.Height, a.TopDown, lz.XXXA, h.Width, h.Height, topDown)}
	}
	if h, err = d.Decode(dst, stride, src[:jpegSize]); err != nil {
		return Header{}, err
	}
	if _, err := d.alpha.Decode(dst, stride, src[jpegSize:], nil); err != nil {
		return Header{}, err
	}
	return h, nil
}
