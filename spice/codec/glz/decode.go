package glz

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"io"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

// Decoder decodes the GLZ images of one channel, one at a time. Make it with
// Window.NewDecoder.
type Decoder struct {
	w *Window

	// The image being decoded.
	ctx   context.Context
	e     *entry
	src   []byte
	ip    int           // position in src
	refs  [16]reference // images that were referred to, by the low bits of the distance
	cause error         // what await returned

	compressed bytes.Reader
	inflate    io.ReadCloser
	inflated   []byte
}

type reference struct {
	distance uint64
	pix      []byte
}

// NewDecoder returns a decoder of images that share w.
func (w *Window) NewDecoder() *Decoder { return &Decoder{w: w} }

// Decode decodes the image in src into the window and writes it to dst, rows stride
// bytes apart, in B,G,R,X from the top down. A nil dst is for images that need
// not be shown. X is 0 or left over from the alpha of an earlier image.
//
// It blocks while an image that src refers to is not decoded yet, until ctx ends;
// the error then wraps ctx's cause. The whole of src must be the image. Other errors
// are *codec.FormatError, *codec.UnsupportedError (see ParseHeader) and
// *codec.DestinationError. After an error from a valid header, images that refer to
// this one fail as well.
func (d *Decoder) Decode(ctx context.Context, dst []byte, stride int, src []byte) (Header, error) {
	h, err := ParseHeader(src)
	if err != nil {
		return Header{}, err
	}
	if dst != nil {
		if err := codec.CheckDestination(name, dst, stride, h.Width, h.Height); err != nil {
			return Header{}, err
		}
	}
	e, err := d.w.begin(h)
	if err != nil {
		return Header{}, err
	}
	d.ctx, d.e, d.src, d.ip = ctx, e, src, HeaderSize
	err = d.decode(h.Type)
	if err == nil && dst != nil {
		// NB: before end, after which the window may release the pixels.
		row := 4 * h.Width
		for y := range h.Height {
			to := y
			if !h.TopDown {
				to = h.Height - 1 - y
			}
			copy(dst[to*stride:][:row], e.pix[y*row:])
		}
	}
	d.w.end(e, err)
	d.ctx, d.e, d.src, d.refs, d.cause = nil, nil, nil, [16]reference{}, nil
	if err != nil {
		return Header{}, err
	}
	return h, nil
}

// DecodeZlib decodes an image that is compressed once more with zlib
// (SPICE_IMAGE_TYPE_ZLIB_GLZ_RGB). size is its glz_data_size, the length
// in bytes of the GLZ image; the zlib stream must be of that length exactly.
// Everything else is as with Decode; offsets in errors count
// decompressed bytes where they are about the GLZ image.
func (d *Decoder) DecodeZlib(ctx context.Context, dst []byte, stride, size int, src []byte) (Header, error) {
	glz, err := d.Inflate(size, src)
	if err != nil {
		return Header{}, err
	}
	return d.Decode(ctx, dst, stride, glz)
}

// Inflate returns the GLZ image in src, for a caller that reads its header before it allocates
// memory for Decode. size is as in DecodeZlib. The result is valid until the next call.
func (d *Decoder) Inflate(size int, src []byte) ([]byte, error) {
	// An image that compresses badly takes 4 bytes and a 32nd of a byte a pixel, and has
	// to fit into the window.
	if size < HeaderSize || size-HeaderSize > d.w.limit+d.w.limit/32+2 {
		return nil, &codec.FormatError{Codec: zlibName, Reason: fmt.Sprintf("declared size of %d bytes, want %d to %d",
			size, HeaderSize, HeaderSize+d.w.limit+d.w.limit/32+2)}
	}
	d.compressed.Reset(src)
	defer d.compressed.Reset(nil)
	var err error
	if d.inflate == nil {
		d.inflate, err = zlib.NewReader(&d.compressed)
	} else {
		err = d.inflate.(zlib.Resetter).Reset(&d.compressed, nil)
	}
	if err != nil {
		return nil, &codec.FormatError{Codec: zlibName, Offset: len(src) - d.compressed.Len(), Reason: err.Error()}
	}
	// Memory is allocated as data arrives, not as declared: deflate expands a thousandfold at most.
	d.inflated = d.inflated[:0]
	for {
		if len(d.inflated) == cap(d.inflated) {
			d.inflated = grow(d.inflated, min(size+1, 2*cap(d.inflated)+64<<10))
		}
		n, err := d.inflate.Read(d.inflated[len(d.inflated):min(cap(d.inflated), size+1)])
		d.inflated = d.inflated[:len(d.inflated)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &codec.FormatError{Codec: zlibName, Offset: len(src) - d.compressed.Len(), Reason: err.Error()}
		}
		if len(d.inflated) > size {
			break
		}
	}
	if len(d.inflated) != size {
		return nil, &codec.FormatError{Codec: zlibName, Offset: len(src) - d.compressed.Len(),
			Reason: fmt.Sprintf("%d bytes or more inflated, %d declared", len(d.inflated), size)}
	}
	if d.compressed.Len() > 0 {
		return nil, &codec.FormatError{Codec: zlibName, Offset: len(src) - d.compressed.Len(),
			Reason: fmt.Sprintf("%d bytes after the end of the zlib stream", d.compressed.Len())}
	}
	return d.inflated, nil
}

const zlibName = "zlib-glz"

func grow(b []byte, n int) []byte {
	g := make([]byte, len(b), n)
	copy(g, b)
	return g
}

// What can be wrong with a stream.
const (
	truncated   = "truncated"
	beforeStart = "match reaches back before the start of the image"
	pastEnd     = "item runs past the end of the image"
	pastRef     = "match runs past the end of the image that it refers to"
	tooOld      = "match refers to an image that the server has let go"
	damaged     = "match refers to an image that could not be decoded"
)

func (d *Decoder) decode(t Type) error {
	var reason string
	if t == RGB16 {
		reason = d.rgb16(d.e.pix)
	} else {
		reason = d.rgb(d.e.pix)
	}
	if t == RGBA && reason == "" {
		reason = d.alpha(d.e.pix)
	}
	if d.cause != nil {
		return d.cause
	}
	if reason == "" && d.ip != len(d.src) {
		reason = fmt.Sprintf("%d bytes after the end of the image", len(d.src)-d.ip)
	}
	if reason != "" {
		return &codec.FormatError{Codec: name, Offset: d.ip, Reason: reason}
	}
	return nil
}

const (
	maxCopy   = 32      // MAX_COPY, common/lz_common.h: smaller control bytes count literals
	maxLength = 1 << 28 // pixels of 16384x16384; keeps four times a sum of length bytes within 32 bits
)

// A match says which pixels come next.
type match struct {
	length  int    // biased, in pixels
	offset  int    // pixels: back from here, or from the start of the image referred to
	image   uint64 // how many images back, 0 for this one
	invalid bool   // the stream is truncated
}

// match reads the rest of an item whose control byte c is at least maxCopy.
//
//	c          LLLPOOOO: length, 7 meaning that bytes to be added follow up to the
//	           first that is not 255; P, a long offset; low bits of the offset
//	           then 8 more bits of the offset
//	           then IIXXXXXX: the number of bytes of image distance that follow, and
//	           without P low bits of the image distance; with P a bit that says whether
//	           a last byte of offset follows, and 5 more bits of the offset
func (d *Decoder) match(c byte) match {
	src, ip := d.src, d.ip
	m := match{length: int(c >> 5), offset: int(c & 15)}
	if m.length == 7 {
		for {
			if ip >= len(src) || m.length > maxLength {
				return match{invalid: true}
			}
			b := src[ip]
			ip++
			m.length += int(b)
			if b != 255 {
				break
			}
		}
	}
	if len(src)-ip < 2 {
		return match{invalid: true}
	}
	m.offset |= int(src[ip]) << 4
	b := src[ip+1]
	ip += 2
	n := int(b >> 6)
	if len(src)-ip < n+1 && (len(src)-ip < n || c&16 != 0 && b&32 != 0) {
		return match{invalid: true}
	}
	if c&16 == 0 {
		m.image = uint64(b & 63)
		for i := range n {
			m.image += uint64(src[ip+i]) << (6 + 8*i)
		}
		ip += n
	} else {
		m.offset |= int(b&31) << 12
		for i := range n {
			m.image += uint64(src[ip+i]) << (8 * i)
		}
		ip += n
		if b&32 != 0 {
			m.offset |= int(src[ip]) << 17
			ip++
		}
	}
	d.ip = ip
	return m
}

// source returns the pixels that a match of n bytes refers to, if they lie in
// another image.
func (d *Decoder) source(m match, n int) ([]byte, string) {
	r := &d.refs[m.image&15]
	if r.distance != m.image {
		pix, reason, err := d.w.await(d.ctx, d.e, m.image)
		if err != nil {
			d.cause = err
			return nil, tooOld
		}
		if reason != "" {
			return nil, reason
		}
		*r = reference{m.image, pix}
	}
	if from := 4 * m.offset; from <= len(r.pix) && n <= len(r.pix)-from {
		return r.pix[from : from+n], ""
	}
	return nil, pastRef
}

// copyMatch carries out a match of n bytes at op.
func (d *Decoder) copyMatch(dst []byte, op, n int, m match) string {
	if n > len(dst)-op {
		return pastEnd
	}
	if m.image != 0 {
		from, reason := d.source(m, n)
		copy(dst[op:], from)
		return reason
	}
	distance := 4 * (m.offset + 1)
	if distance > op {
		return beforeStart
	}
	pixel.Repeat(dst, op, distance, n)
	return ""
}

// rgb fills dst with a stream of 24-bit pixels.
func (d *Decoder) rgb(dst []byte) string {
	for op := 0; op < len(dst); {
		if d.ip >= len(d.src) {
			return truncated
		}
		c := d.src[d.ip]
		if c < maxCopy {
			n := int(c) + 1
			if 4*n > len(dst)-op {
				return pastEnd
			}
			d.ip++
			if 3*n > len(d.src)-d.ip {
				d.ip = len(d.src)
				return truncated
			}
			pixel.Expand888(dst[op:op+4*n], d.src[d.ip:d.ip+3*n])
			op += 4 * n
			d.ip += 3 * n
			continue
		}
		d.ip++
		m := d.match(c)
		if m.invalid {
			d.ip = len(d.src)
			return truncated
		}
		n := 4 * m.length
		if reason := d.copyMatch(dst, op, n, m); reason != "" {
			return reason
		}
		op += n
	}
	return ""
}

// rgb16 fills dst with a stream of 15-bit pixels, high byte first.
func (d *Decoder) rgb16(dst []byte) string {
	for op := 0; op < len(dst); {
		if d.ip >= len(d.src) {
			return truncated
		}
		c := d.src[d.ip]
		if c < maxCopy {
			n := int(c) + 1
			if 4*n > len(dst)-op {
				return pastEnd
			}
			d.ip++
			if 2*n > len(d.src)-d.ip {
				d.ip = len(d.src)
				return truncated
			}
			pixel.Expand555Swapped(dst[op:op+4*n], d.src[d.ip:d.ip+2*n])
			op += 4 * n
			d.ip += 2 * n
			continue
		}
		d.ip++
		m := d.match(c)
		if m.invalid {
			d.ip = len(d.src)
			return truncated
		}
		n := 4 * (m.length + 1)
		if reason := d.copyMatch(dst, op, n, m); reason != "" {
			return reason
		}
		op += n
	}
	return ""
}

// alpha writes the fourth byte of every pixel of dst.
func (d *Decoder) alpha(dst []byte) string {
	for op := 0; op < len(dst); {
		if d.ip >= len(d.src) {
			return truncated
		}
		c := d.src[d.ip]
		if c < maxCopy {
			n := int(c) + 1
			if 4*n > len(dst)-op {
				return pastEnd
			}
			d.ip++
			if n > len(d.src)-d.ip {
				d.ip = len(d.src)
				return truncated
			}
			pixel.SetAlpha(dst[op:op+4*n], d.src[d.ip:d.ip+n])
			op += 4 * n
			d.ip += n
			continue
		}
		d.ip++
		m := d.match(c)
		if m.invalid {
			d.ip = len(d.src)
			return truncated
		}
		n := 4 * (m.length + 2)
		if n > len(dst)-op {
			return pastEnd
		}
		if m.image != 0 {
			from, reason := d.source(m, n)
			if reason != "" {
				return reason
			}
			pixel.CopyAlpha(dst[op:op+n], from)
			op += n
			continue
		}
		distance := 4 * (m.offset + 1)
		if distance > op {
			return beforeStart
		}
		pixel.RepeatAlpha(dst, op, distance, n)
		op += n
	}
	return ""
}
