package lz

import (
	"encoding/binary"

	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

const (
	maxCopy     = 32          // MAX_COPY, common/lz_common.h: smaller control bytes count literals
	maxDistance = 1<<13 - 1   // MAX_DISTANCE, common/lz.c: from here on a distance takes two more bytes
	maxLength   = 1 << 30     // no image has as many pixels; keeps a sum of length bytes in range
	farMarker   = 31<<8 + 255 // the distance bytes that announce a far match
)

// What can be wrong with a stream.
const (
	truncated   = "truncated"
	beforeStart = "match reaches back before the start of the image"
	pastEnd     = "item runs past the end of the image"
)

// match reads the rest of an item whose control byte c is at least maxCopy. It
// returns the position after it, the biased length and the distance in units; a
// position of 0 means that the stream is truncated.
func match(src []byte, ip int, c byte) (next, length, distance int) {
	length = int(c>>5) - 1
	distance = int(c&31) << 8
	if length == 6 {
		for {
			if ip >= len(src) || length > maxLength {
				return 0, 0, 0
			}
			b := src[ip]
			ip++
			length += int(b)
			if b != 255 {
				break
			}
		}
	}
	if ip >= len(src) {
		return 0, 0, 0
	}
	distance += int(src[ip])
	ip++
	if distance == farMarker {
		if len(src)-ip < 2 {
			return 0, 0, 0
		}
		distance = int(src[ip])<<8 + int(src[ip+1]) + maxDistance
		ip += 2
	}
	return ip, length, distance + 1
}

// decode8 fills dst with a stream of bytes that starts at src[ip]. It returns
// where it stopped and, unless dst is full, why.
func decode8(dst, src []byte, ip int) (int, string) {
	op := 0
	for op < len(dst) {
		if ip >= len(src) {
			return ip, truncated
		}
		c := src[ip]
		ip++
		if c < maxCopy {
			n := int(c) + 1
			if n > len(dst)-op {
				return ip - 1, pastEnd
			}
			if n > len(src)-ip {
				return len(src), truncated
			}
			copy(dst[op:op+n], src[ip:ip+n])
			op += n
			ip += n
			continue
		}
		next, n, distance := match(src, ip, c)
		if next == 0 {
			return len(src), truncated
		}
		n += 3
		if distance > op {
			return ip - 1, beforeStart
		}
		if n > len(dst)-op {
			return ip - 1, pastEnd
		}
		ip = next
		pixel.Repeat(dst, op, distance, n)
		op += n
	}
	return ip, ""
}

// decode32 fills dst, whose length is a multiple of 4, with the stream or, for
// RGBA, the two streams that start at src[ip]. It returns where it stopped and,
// unless dst is full, why.
func decode32(dst, src []byte, ip int, t Type) (int, string) {
	var reason string
	switch t {
	case RGB16:
		return decodeRGB16(dst, src, ip)
	case XXXA:
		return decodeAlpha(dst, src, ip)
	case RGBA:
		if ip, reason = decodeRGB(dst, src, ip); reason != "" {
			return ip, reason
		}
		return decodeAlpha(dst, src, ip)
	}
	return decodeRGB(dst, src, ip)
}

func decodeRGB(dst, src []byte, ip int) (int, string) {
	op := 0
	for op < len(dst) {
		if ip >= len(src) {
			return ip, truncated
		}
		c := src[ip]
		ip++
		if c < maxCopy {
			n := int(c) + 1
			if 4*n > len(dst)-op {
				return ip - 1, pastEnd
			}
			if 3*n > len(src)-ip {
				return len(src), truncated
			}
			pixel.Expand888(dst[op:op+4*n], src[ip:ip+3*n])
			op += 4 * n
			ip += 3 * n
			continue
		}
		next, n, distance := match(src, ip, c)
		if next == 0 {
			return len(src), truncated
		}
		n, distance = 4*(n+1), 4*distance
		if distance > op {
			return ip - 1, beforeStart
		}
		if n > len(dst)-op {
			return ip - 1, pastEnd
		}
		ip = next
		pixel.Repeat(dst, op, distance, n)
		op += n
	}
	return ip, ""
}

// shortItem is how many bytes of an image shortItems may write for an item, and shortSource how
// many bytes of the stream it may read: 32 literals, and the excess of fixed-size copies.
const (
	shortItem   = 4*maxCopy + 16
	shortSource = 1 + 2*maxCopy + 8
)

// shortItems decodes the items of a 16-bit stream up to one that is long, wrong or near an end. It
// returns where that is. Photographs are hundreds of thousands of matches of three pixels: a call
// or a mispredicted branch costs more than the work, so it copies more than a short item needs.
func shortItems(dst, src []byte, op, ip int) (int, int) {
	for len(dst)-op >= shortItem && len(src)-ip >= shortSource {
		in := (*[shortSource]byte)(src[ip:])
		c := int(in[0])
		if c < maxCopy {
			n := c + 1
			pixel.FourOf555Swapped((*[16]byte)(dst[op:]), binary.BigEndian.Uint64(in[1:]))
			if n > 4 {
				pixel.Expand555Swapped(dst[op+16:op+4*n], in[9:1+2*n])
			}
			op += 4 * n
			ip += 1 + 2*n
			continue
		}
		distance, next := (c&31)<<8+int(in[1]), ip+2
		if distance == farMarker {
			distance, next = int(binary.BigEndian.Uint16(in[2:]))+maxDistance, ip+4
		}
		from := op - 4*(distance+1)
		if c >= 7<<5 || from < 0 {
			return op, ip
		}
		if distance < 3 {
			pixel.Repeat(dst, op, 4*(distance+1), 4*(c>>5+1))
			op += 4 * (c>>5 + 1)
			ip = next
			continue
		}
		// Two steps, so that the second one may read what the first one wrote.
		*(*[16]byte)(dst[op:]) = *(*[16]byte)(dst[from:])
		*(*[16]byte)(dst[op+16:]) = *(*[16]byte)(dst[from+16:])
		op += 4 * (c>>5 + 1)
		ip = next
	}
	return op, ip
}

func decodeRGB16(dst, src []byte, ip int) (int, string) {
	op := 0
	for op < len(dst) {
		if op, ip = shortItems(dst, src, op, ip); op == len(dst) {
			break
		}
		if ip >= len(src) {
			return ip, truncated
		}
		c := src[ip]
		ip++
		if c < maxCopy {
			n := int(c) + 1
			if 4*n > len(dst)-op {
				return ip - 1, pastEnd
			}
			if 2*n > len(src)-ip {
				return len(src), truncated
			}
			// In the stream, unlike in memory, the high byte comes first.
			pixel.Expand555Swapped(dst[op:op+4*n], src[ip:ip+2*n])
			op += 4 * n
			ip += 2 * n
			continue
		}
		next, n, distance := match(src, ip, c)
		if next == 0 {
			return len(src), truncated
		}
		n, distance = 4*(n+2), 4*distance
		if distance > op {
			return ip - 1, beforeStart
		}
		if n > len(dst)-op {
			return ip - 1, pastEnd
		}
		ip = next
		pixel.Repeat(dst, op, distance, n)
		op += n
	}
	return ip, ""
}

// decodeAlpha writes the fourth byte of every pixel.
func decodeAlpha(dst, src []byte, ip int) (int, string) {
	op := 0
	for op < len(dst) {
		if ip >= len(src) {
			return ip, truncated
		}
		c := src[ip]
		ip++
		if c < maxCopy {
			n := int(c) + 1
			if 4*n > len(dst)-op {
				return ip - 1, pastEnd
			}
			if n > len(src)-ip {
				return len(src), truncated
			}
			pixel.SetAlpha(dst[op:op+4*n], src[ip:ip+n])
			op += 4 * n
			ip += n
			continue
		}
		next, n, distance := match(src, ip, c)
		if next == 0 {
			return len(src), truncated
		}
		n, distance = 4*(n+3), 4*distance
		if distance > op {
			return ip - 1, beforeStart
		}
		if n > len(dst)-op {
			return ip - 1, pastEnd
		}
		ip = next
		pixel.RepeatAlpha(dst, op, distance, n)
		op += n
	}
	return ip, ""
}
