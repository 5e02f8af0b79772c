package codectest

import "encoding/binary"

// LZType numbers are those of LzImageType in spice-common's common/lz_common.h.
const (
	LZPLT1LE = 1 + iota
	LZPLT1BE
	LZPLT4LE
	LZPLT4BE
	LZPLT8
	LZRGB16
	LZRGB24
	LZRGB32
	LZRGBA
	LZXXXA
	LZA8
)

// EncodeLZ returns the picture as an LZ image of the given type, one of those above
// from LZRGB16 on; 16-bit images lose colour (see Picture.RGB555). With topDown false
// the rows are stored from the bottom up.
func EncodeLZ(p *Picture, lzType int, topDown bool) []byte {
	if !topDown {
		p = p.Flipped()
	}
	stride := p.Width * [...]int{LZRGB16: 2, LZRGB24: 3, LZRGB32: 4, LZRGBA: 4, LZXXXA: 4, LZA8: 1}[lzType]
	out := lzHeader(lzType, p.Width, p.Height, stride, topDown)
	switch lzType {
	case LZRGB16:
		out = lzStream(out, colourUnits16(p), 2, lzMatch)
	case LZRGBA:
		out = lzStream(out, colourUnits(p), 3, lzMatch)
		out = lzStream(out, alphaUnits(p), 1, lzMatch)
	case LZXXXA, LZA8:
		out = lzStream(out, alphaUnits(p), 1, lzMatch)
	default:
		out = lzStream(out, colourUnits(p), 3, lzMatch)
	}
	return out
}

// EncodeLZPalette returns an LZ image of palette indices, one a byte in indices, packed
// as the type asks, LZPLT1LE to LZPLT8.
func EncodeLZPalette(indices []byte, width, height, lzType int, topDown bool) []byte {
	bits := [...]int{LZPLT1LE: 1, LZPLT1BE: 1, LZPLT4LE: 4, LZPLT4BE: 4, LZPLT8: 8}[lzType]
	packed := Pack(indices, width, height, bits, lzType == LZPLT1BE || lzType == LZPLT4BE, topDown)
	units := make([]uint32, len(packed))
	for i, b := range packed {
		units[i] = uint32(b)
	}
	return lzStream(lzHeader(lzType, width, height, len(packed)/height, topDown), units, 1, lzMatch)
}

// Pack packs palette indices, one a byte, into rows of whole bytes with bits bits an
// index; bigEndian puts the first one into the high bits.
func Pack(indices []byte, width, height, bits int, bigEndian, topDown bool) []byte {
	stride := (width*bits + 7) / 8
	out := make([]byte, stride*height)
	for y := range height {
		to := y
		if !topDown {
			to = height - 1 - y
		}
		for x := range width {
			shift := x * bits % 8
			if bigEndian {
				shift = 8 - bits - shift
			}
			out[to*stride+x*bits/8] |= indices[y*width+x] << shift
		}
	}
	return out
}

// LZStored returns an LZ image of type LZRGB32 that consists of literals only, so that its size is
// known. Tests that truncate or alter an image use it.
func LZStored(p *Picture) []byte {
	return storeLiterals(lzHeader(LZRGB32, p.Width, p.Height, 4*p.Width, true), colourUnits(p), 3)
}

func lzHeader(lzType, width, height, stride int, topDown bool) []byte {
	var out []byte
	down := 0
	if topDown {
		down = 1
	}
	for _, v := range []int{0x20205a4c, 1<<16 | 1, lzType, width, height, stride, down} {
		out = binary.BigEndian.AppendUint32(out, uint32(v))
	}
	return out
}

func colourUnits(p *Picture) []uint32 {
	units := make([]uint32, p.Width*p.Height)
	for i := range units {
		units[i] = binary.LittleEndian.Uint32(p.Pix[4*i:]) & 0xffffff
	}
	return units
}

func colourUnits16(p *Picture) []uint32 {
	pixels, _ := p.RGB555()
	units := make([]uint32, len(pixels))
	for i, v := range pixels {
		units[i] = uint32(v)
	}
	return units
}

func alphaUnits(p *Picture) []uint32 {
	units := make([]uint32, p.Width*p.Height)
	for i := range units {
		units[i] = uint32(p.Pix[4*i+3])
	}
	return units
}

// appendUnit appends the size bytes of a literal as they stand in a stream.
func appendUnit(out []byte, v uint32, size int) []byte {
	switch size {
	case 1:
		return append(out, byte(v))
	case 2:
		return append(out, byte(v>>8), byte(v))
	}
	return append(out, byte(v), byte(v>>8), byte(v>>16))
}

func storeLiterals(out []byte, units []uint32, size int) []byte {
	for len(units) > 0 {
		n := min(len(units), 32)
		out = append(out, byte(n-1))
		for _, v := range units[:n] {
			out = appendUnit(out, v, size)
		}
		units = units[n:]
	}
	return out
}

// lzStream appends a stream of units whose literals take size bytes. encode appends a
// match, unless it is too short to be written or not worth it.
func lzStream(out []byte, units []uint32, size int, encode func(out []byte, length, distance, size int) ([]byte, bool)) []byte {
	last := make(map[[3]uint32]int) // where three units were seen last
	from := 0                       // literals not written yet
	for i := 0; i < len(units); {
		length, distance := 0, 0
		try := func(d int) {
			n := 0
			for i+n < len(units) && units[i+n] == units[i+n-d] {
				n++
			}
			if n > length {
				length, distance = n, d
			}
		}
		if i > 0 {
			try(1)
		}
		if i+3 <= len(units) {
			key := [3]uint32(units[i:])
			if j, ok := last[key]; ok {
				try(i - j)
			}
			last[key] = i
		}
		if length > 0 {
			before := len(out)
			out = storeLiterals(out, units[from:i], size)
			if longer, ok := encode(out, length, distance, size); ok {
				out = longer
				i += length
				from = i
				continue
			}
			out = out[:before]
		}
		i++
	}
	return storeLiterals(out, units[from:], size)
}

// lzMatch writes a match as package lz's documentation describes it.
func lzMatch(out []byte, length, distance, size int) ([]byte, bool) {
	length -= 3 - size // the bias: 2, 1 or 0
	distance--
	const far = 1<<13 - 1
	if length < 1 || distance >= far+1<<16-1 || (distance >= far && length < 2) {
		return out, false
	}
	high, low := distance>>8, distance&255
	if distance >= far {
		high, low = 31, 255
	}
	if length < 7 {
		out = append(out, byte(length<<5|high))
	} else {
		out = append(out, byte(7<<5|high))
		for length -= 7; length >= 255; length -= 255 {
			out = append(out, 255)
		}
		out = append(out, byte(length))
	}
	out = append(out, byte(low))
	if distance >= far {
		out = append(out, byte((distance-far)>>8), byte(distance-far))
	}
	return out, true
}
