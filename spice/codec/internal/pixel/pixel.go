// Package pixel holds the row operations that several SPICE image decoders need: expanding 16-bit,
// 24-bit and palette pixels to B,G,R,X, and flipping an image. It does not repeat the checks of its
// callers.
package pixel

import (
	"encoding/binary"
	"strconv"
	"unsafe"
)

// Order is the order in which pixels lie in a byte that holds several.
type Order bool

const (
	LittleEndian Order = false // the first pixel is in the low bits
	BigEndian    Order = true  // the first pixel is in the high bits
)

// PaletteError says that a pixel's value lies beyond the end of the palette.
type PaletteError struct {
	Index, Len int
}

func (e *PaletteError) Error() string {
	return "palette index " + strconv.Itoa(e.Index) + " with " + strconv.Itoa(e.Len) + " entries"
}

// RGB555 expands a 16-bit xRRRRRGGGGGBBBBB pixel to 0x00RRGGBB. The low three
// bits of each colour repeat its high ones, so that 31 becomes 255.
func RGB555(v uint16) uint32 {
	c := uint32(v)
	c = (c&0x7c00)<<9 | (c&0x03e0)<<6 | (c&0x001f)<<3
	return c | c>>5&0x070707
}

// Expand555 writes the little-endian 16-bit pixels of src as B,G,R,0. dst has room
// for 4 bytes a pixel.
func Expand555(dst, src []byte) {
	for len(src) >= 8 && len(dst) >= 16 {
		v := binary.LittleEndian.Uint64(src)
		binary.LittleEndian.PutUint64(dst, twoOf555(v&0xffff|v<<16&0xffff_00000000))
		binary.LittleEndian.PutUint64(dst[8:], twoOf555(v>>32&0xffff|v>>16&0xffff_00000000))
		dst, src = dst[16:], src[8:]
	}
	for len(src) >= 2 && len(dst) >= 4 {
		binary.LittleEndian.PutUint32(dst, RGB555(binary.LittleEndian.Uint16(src)))
		dst, src = dst[4:], src[2:]
	}
}

// Expand555Swapped does what Expand555 does, for pixels whose high byte comes first.
func Expand555Swapped(dst, src []byte) {
	for len(src) >= 8 && len(dst) >= 16 {
		FourOf555Swapped((*[16]byte)(dst), binary.BigEndian.Uint64(src))
		dst, src = dst[16:], src[8:]
	}
	for len(src) >= 2 && len(dst) >= 4 {
		binary.LittleEndian.PutUint32(dst, RGB555(binary.BigEndian.Uint16(src)))
		dst, src = dst[4:], src[2:]
	}
}

// FourOf555Swapped writes four pixels, of which the first one is in the high bits of v.
func FourOf555Swapped(dst *[16]byte, v uint64) {
	binary.LittleEndian.PutUint64(dst[:], twoOf555(v>>48|v&0xffff_00000000))
	binary.LittleEndian.PutUint64(dst[8:], twoOf555(v>>16&0xffff|v<<32&0xffff_00000000))
}

// twoOf555 does what RGB555 does, for a pixel in the low half of c and one in the high half.
func twoOf555(c uint64) uint64 {
	c = (c&0x7c00_00007c00)<<9 | (c&0x03e0_000003e0)<<6 | (c&0x001f_0000001f)<<3
	return c | c>>5&0x070707_00070707
}

// SetAlpha writes each byte of src as the fourth byte of a pixel of dst.
func SetAlpha(dst, src []byte) {
	for len(src) >= 4 && len(dst) >= 16 {
		dst[3], dst[7], dst[11], dst[15] = src[0], src[1], src[2], src[3]
		dst, src = dst[16:], src[4:]
	}
	for len(src) >= 1 && len(dst) >= 4 {
		dst[3] = src[0]
		dst, src = dst[4:], src[1:]
	}
}

// alphaOfTwo has the bits of the fourth bytes of two pixels.
const alphaOfTwo = 0xff000000_ff000000

// putAlpha writes the fourth bytes of two pixels; the other bytes of a are zero.
func putAlpha(dst []byte, a uint64) {
	binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(dst)&^alphaOfTwo|a)
}

// CopyAlpha copies the fourth bytes of src's pixels to dst's. src may begin two or more pixels
// before dst in the same memory: what is written is then read again.
func CopyAlpha(dst, src []byte) {
	src = src[:len(dst)]
	for len(dst) >= 32 && len(src) >= 32 {
		putAlpha(dst[:8], binary.LittleEndian.Uint64(src[:8])&alphaOfTwo)
		putAlpha(dst[8:16], binary.LittleEndian.Uint64(src[8:16])&alphaOfTwo)
		putAlpha(dst[16:24], binary.LittleEndian.Uint64(src[16:24])&alphaOfTwo)
		putAlpha(dst[24:32], binary.LittleEndian.Uint64(src[24:32])&alphaOfTwo)
		dst, src = dst[32:], src[32:]
	}
	for len(dst) >= 8 && len(src) >= 8 {
		putAlpha(dst, binary.LittleEndian.Uint64(src)&alphaOfTwo)
		dst, src = dst[8:], src[8:]
	}
	if len(dst) >= 4 && len(src) >= 4 {
		dst[3] = src[3]
	}
}

// RepeatAlpha copies the fourth bytes of n bytes of pixels within dst, from distance before op to
// op, pixel after pixel from the front. distance and n are in bytes.
func RepeatAlpha(dst []byte, op, distance, n int) {
	d := dst[op : op+n]
	if distance > 4 {
		CopyAlpha(d, dst[op-distance:])
		return
	}
	a := uint64(dst[op-1]) << 24
	a |= a << 32
	for len(d) >= 32 {
		putAlpha(d[:8], a)
		putAlpha(d[8:16], a)
		putAlpha(d[16:24], a)
		putAlpha(d[24:32], a)
		d = d[32:]
	}
	for len(d) >= 8 {
		putAlpha(d, a)
		d = d[8:]
	}
	if len(d) >= 4 {
		d[3] = byte(a >> 24)
	}
}

// Expand888 writes the B,G,R pixels of src as B,G,R,0. dst has room for 4
// bytes a pixel.
func Expand888(dst, src []byte) {
	// All but the last pixel are loaded with the first byte of the next.
	for len(src) >= 4 && len(dst) >= 4 {
		binary.LittleEndian.PutUint32(dst, binary.LittleEndian.Uint32(src)&0xffffff)
		dst, src = dst[4:], src[3:]
	}
	if len(src) >= 3 && len(dst) >= 4 {
		dst[0], dst[1], dst[2], dst[3] = src[0], src[1], src[2], 0
	}
}

// ExpandAlpha writes each byte of src as a pixel 0,0,0,A.
func ExpandAlpha(dst, src []byte) {
	for i, a := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], uint32(a)<<24)
	}
}

// Expand8 writes a row of palette indices, one a byte, as B,G,R and the palette's fourth byte.
func Expand8(dst, src []byte, palette []uint32) error {
	if len(palette) >= 256 {
		p := (*[256]uint32)(palette)
		for len(src) >= 4 && len(dst) >= 16 {
			binary.LittleEndian.PutUint32(dst, p[src[0]])
			binary.LittleEndian.PutUint32(dst[4:], p[src[1]])
			binary.LittleEndian.PutUint32(dst[8:], p[src[2]])
			binary.LittleEndian.PutUint32(dst[12:], p[src[3]])
			dst, src = dst[16:], src[4:]
		}
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], p[v])
		}
		return nil
	}
	for i, v := range src {
		if int(v) >= len(palette) {
			return &PaletteError{int(v), len(palette)}
		}
		binary.LittleEndian.PutUint32(dst[4*i:], palette[v])
	}
	return nil
}

// Expand4 writes width palette indices, two a byte, as B,G,R and the palette's fourth byte.
func Expand4(dst, src []byte, width int, order Order, palette []uint32) error {
	var flip int
	if order == BigEndian {
		flip = 1
	}
	for x := 0; x < width; x++ {
		v := src[x>>1] >> (uint((x^flip)&1) * 4) & 0xf
		if int(v) >= len(palette) {
			return &PaletteError{int(v), len(palette)}
		}
		binary.LittleEndian.PutUint32(dst[4*x:], palette[v])
	}
	return nil
}

// Expand1 writes width palette indices, eight a byte, as B,G,R and the palette's fourth byte.
func Expand1(dst, src []byte, width int, order Order, palette []uint32) error {
	var flip int
	if order == BigEndian {
		flip = 7
	}
	for x := 0; x < width; x++ {
		v := src[x>>3] >> uint((x^flip)&7) & 1
		if int(v) >= len(palette) {
			return &PaletteError{int(v), len(palette)}
		}
		binary.LittleEndian.PutUint32(dst[4*x:], palette[v])
	}
	return nil
}

// Repeat copies n bytes within dst from distance before op to op, byte after byte from the front.
// So a distance below n repeats the bytes in between. It may also write up to 31 bytes after them,
// which are still to be decoded.
func Repeat(dst []byte, op, distance, n int) {
	if n <= 32 && distance >= 32 && 32 <= len(dst)-op {
		// The same number of bytes for every length, because a loop's end is hard to predict.
		*(*[32]byte)(dst[op:]) = *(*[32]byte)(dst[op-distance:])
		return
	}
	if n <= 64 && n+8 <= len(dst)-op {
		// Most matches are shorter than a call of copy is worth.
		if distance >= 8 {
			d := dst[op : op+n+8]
			s := dst[op-distance:][:len(d)]
			for i := 0; i < n; i += 8 {
				binary.LittleEndian.PutUint64(d[i:i+8], binary.LittleEndian.Uint64(s[i:i+8]))
			}
			return
		}
		if distance == 4 {
			d := dst[op : op+n+8]
			v := uint64(binary.LittleEndian.Uint32(dst[op-4:]))
			v |= v << 32
			for i := 0; i < n; i += 8 {
				binary.LittleEndian.PutUint64(d[i:i+8], v)
			}
			return
		}
	}
	from := op - distance
	for end := op + n; op < end; {
		op += copy(dst[op:end], dst[from:op])
	}
}

// littleEndian says whether a uint32 lies in memory as a pixel does.
var littleEndian = binary.NativeEndian.Uint32([]byte{1, 0, 0, 0}) == 1

// Store writes pixels as bytes. dst has room for 4 bytes a pixel.
func Store(dst []byte, pixels []uint32) {
	if littleEndian && len(pixels) > 0 {
		// NB: in bounds, since a uint32 has four bytes; ten times as fast as the loop.
		copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(&pixels[0])), 4*len(pixels)))
		return
	}
	for x, v := range pixels {
		binary.LittleEndian.PutUint32(dst[4*x:], v)
	}
}

// Flip reverses the order of an image's rows in place. row is how many bytes of each row are used,
// at most stride; tmp has room for one row.
func Flip(dst []byte, stride, row, height int, tmp []byte) {
	tmp = tmp[:row]
	for top, bottom := 0, (height-1)*stride; top < bottom; top, bottom = top+stride, bottom-stride {
		a, b := dst[top:top+row], dst[bottom:bottom+row]
		copy(tmp, a)
		copy(a, b)
		copy(b, tmp)
	}
}

// Grow returns a slice of n bytes, buf's memory if it is large enough. The content
// is undefined.
func Grow(buf []byte, n int) []byte {
	if cap(buf) >= n {
		return buf[:n]
	}
	return make([]byte, n)
}
