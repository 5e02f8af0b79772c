package jpeg

import (
	"encoding/binary"
	"image"
)

// ycbcr converts to B,G,R,0.
func (d *Decoder) ycbcr(dst []byte, stride int, m *image.YCbCr) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	var hx, vx int // chroma is 1/hx as wide and 1/vx as high
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		hx, vx = 2, 1
	case image.YCbCrSubsampleRatio420:
		hx, vx = 2, 2
	case image.YCbCrSubsampleRatio440:
		hx, vx = 1, 2
	case image.YCbCrSubsampleRatio411:
		hx, vx = 4, 1
	case image.YCbCrSubsampleRatio410:
		hx, vx = 4, 2
	default:
		hx, vx = 1, 1
	}
	cw, ch := (w+hx-1)/hx, (h+vx-1)/vx
	if cap(d.cb) < w+3 {
		d.cb, d.cr = make([]byte, w+3), make([]byte, w+3)
	}
	cb, cr := d.cb[:w+3], d.cr[:w+3]
	for y := range h {
		near := y / vx
		far := near // the other row of chroma to mix in
		if hx <= 2 && vx == 2 {
			far = min(max(near-1+2*(y&1), 0), ch-1)
		}
		for i, plane := range [2][]byte{m.Cb, m.Cr} {
			out := cb
			if i == 1 {
				out = cr
			}
			a, b := plane[near*m.CStride:][:cw], plane[far*m.CStride:][:cw]
			switch {
			case hx == 2 && vx == 2:
				mixRows(out, a, b)
			case hx == 2:
				mix(out, a)
			case hx == 1 && vx == 2:
				mixDown(out, a, b, y&1)
			case hx == 1:
				copy(out, a)
			default:
				for x := range w {
					out[x] = a[x/hx]
				}
			}
		}
		convert(dst[y*stride:][:4*w], m.Y[y*m.YStride:][:w], cb[:w], cr[:w])
	}
}

// mix doubles the width of a row: each sample becomes two, each a quarter of the way
// to its neighbour. Halves are rounded down and up in turn, so that no
// side is favoured.
func mix(out, in []byte) {
	last := len(in) - 1
	for x, v := range in {
		c := 3 * int(v)
		out[2*x] = byte((c + int(in[max(x-1, 0)]) + 1) >> 2)
		out[2*x+1] = byte((c + int(in[min(x+1, last)]) + 2) >> 2)
	}
	out[0], out[2*last+1] = in[0], in[last]
}

// mixRows does what mix does, and mixes rows as well: near counts three times, far once.
func mixRows(out, near, far []byte) {
	last := len(near) - 1
	sum := func(x int) int { return 3*int(near[x]) + int(far[x]) }
	prev, here := sum(0), sum(0)
	for x := range near {
		next := here
		if x < last {
			next = sum(x + 1)
		}
		out[2*x] = byte((3*here + prev + 8) >> 4)
		out[2*x+1] = byte((3*here + next + 7) >> 4)
		prev, here = here, next
	}
}

// mixDown mixes between rows only: near counts three times, far once, and halves are
// rounded down in upper rows, up in lower ones.
func mixDown(out, near, far []byte, lower int) {
	far = far[:len(near)]
	for x, v := range near {
		out[x] = byte((3*int(v) + int(far[x]) + 1 + lower) >> 2)
	}
}

// convert does the colour conversion of the JFIF specification, in 16.16 fixed point.
func convert(dst, luma, cb, cr []byte) {
	const half = 1 << 15
	cb, cr = cb[:len(luma)], cr[:len(luma)]
	for x, v := range luma {
		y := int32(v)<<16 + half
		u, w := int32(cb[x])-128, int32(cr[x])-128
		r := clamp(y + 91881*w)
		g := clamp(y - 22554*u - 46802*w)
		b := clamp(y + 116130*u)
		binary.LittleEndian.PutUint32(dst[4*x:], r<<16|g<<8|b)
	}
}

// clamp returns the integer part of v, between 0 and 255.
func clamp(v int32) uint32 {
	if uint32(v)&0xff000000 == 0 {
		return uint32(v) >> 16
	}
	return uint32(^v>>31) & 255
}
