package codectest

import "encoding/binary"

// GLZEncoder makes the GLZ images of a session, as the server's dictionary does. The
// zero value starts at image 0 and keeps every image.
type GLZEncoder struct {
	// Keep is how many images the dictionary keeps besides the one being encoded.
	// 0 means all, negative none.
	Keep int
	// Next is the id of the next image.
	Next uint64

	first  uint64
	begun  bool
	images []glzImage
}

type glzImage struct {
	colour, alpha []uint32
	seen          [2]map[[3]uint32]int
}

// Encode returns the next image. lzType is LZRGB16, LZRGB24, LZRGB32 or LZRGBA;
// images refer only to earlier ones of their own type's colours.
func (g *GLZEncoder) Encode(p *Picture, lzType int, topDown bool) []byte {
	shown := p
	if lzType == LZRGB16 {
		_, shown = p.RGB555()
	}
	if !topDown {
		p, shown = p.Flipped(), shown.Flipped()
	}
	if !g.begun {
		g.begun, g.first = true, g.Next
	}
	keep := len(g.images)
	if g.Keep != 0 {
		keep = min(keep, max(g.Keep, 0))
	}
	old := g.images[len(g.images)-keep:]
	var out []byte
	out = binary.BigEndian.AppendUint32(out, 0x20205a4c)
	out = binary.BigEndian.AppendUint32(out, 1<<16|1)
	t := byte(lzType)
	if topDown {
		t |= 1 << 4
	}
	out = append(out, t)
	out = binary.BigEndian.AppendUint32(out, uint32(p.Width))
	out = binary.BigEndian.AppendUint32(out, uint32(p.Height))
	out = binary.BigEndian.AppendUint32(out, uint32(p.Width*[...]int{LZRGB16: 2, LZRGB24: 3, LZRGB32: 4, LZRGBA: 4}[lzType]))
	out = binary.BigEndian.AppendUint64(out, g.Next)
	out = binary.BigEndian.AppendUint32(out, uint32(keep))

	im := glzImage{colour: colourUnits(shown), alpha: make([]uint32, p.Width*p.Height)}
	if lzType == LZRGBA {
		im.alpha = alphaUnits(p)
	}
	if lzType == LZRGB16 {
		out = glzStream(out, im.colour, colourUnits16(p), 2, old, func(i *glzImage) []uint32 { return i.colour }, 0)
	} else {
		out = glzStream(out, im.colour, im.colour, 3, old, func(i *glzImage) []uint32 { return i.colour }, 0)
	}
	if lzType == LZRGBA {
		out = glzStream(out, im.alpha, im.alpha, 1, old, func(i *glzImage) []uint32 { return i.alpha }, 1)
	}
	for k, units := range [][]uint32{im.colour, im.alpha} {
		im.seen[k] = make(map[[3]uint32]int)
		for i := 0; i+3 <= len(units); i++ {
			key := [3]uint32(units[i:])
			if _, ok := im.seen[k][key]; !ok {
				im.seen[k][key] = i
			}
		}
	}
	g.images = append(old[:len(old):len(old)], im)
	g.Next++
	return out
}

// glzStream appends a stream of units; literals are what is written for them.
func glzStream(out []byte, units, literals []uint32, size int, old []glzImage, get func(*glzImage) []uint32, k int) []byte {
	last := make(map[[3]uint32]int)
	from := 0
	for i := 0; i < len(units); {
		length, offset, image := 0, 0, 0
		try := func(ref []uint32, j, o, dist int) {
			n := 0
			for i+n < len(units) && j+n < len(ref) && units[i+n] == ref[j+n] {
				n++
			}
			if n > length && o < 1<<25 {
				length, offset, image = n, o, dist
			}
		}
		if i > 0 {
			try(units, i-1, 0, 0)
		}
		if i+3 <= len(units) {
			key := [3]uint32(units[i:])
			for d := 1; d <= min(len(old), 4); d++ {
				ref := &old[len(old)-d]
				if units2 := get(ref); i < len(units2) {
					try(units2, i, i, d) // the same place
				}
				if j, ok := ref.seen[k][key]; ok {
					try(get(ref), j, j, d)
				}
			}
			if d := len(old); d > 4 {
				if j, ok := old[0].seen[k][key]; ok {
					try(get(&old[0]), j, j, d)
				}
			}
			if j, ok := last[key]; ok {
				try(units, j, i-j-1, 0)
			}
			last[key] = i
		}
		// The bias: 0, 1 or 2. A match takes up to seven bytes.
		if bias := 3 - size; length > bias && length*size > 7 {
			out = storeLiterals(out, literals[from:i], size)
			out = glzMatch(out, length-bias, offset, image)
			i += length
			from = i
			continue
		}
		i++
	}
	return storeLiterals(out, literals[from:], size)
}

// glzMatch writes a match as package glz's documentation describes it.
func glzMatch(out []byte, length, offset, image int) []byte {
	var dist []byte
	long := byte(0)
	rest := image
	if offset >= 1<<12 {
		long = 16
	} else {
		rest >>= 6
	}
	for ; rest > 0; rest >>= 8 {
		dist = append(dist, byte(rest))
	}
	if length < 7 {
		out = append(out, byte(length<<5)|long|byte(offset&15))
	} else {
		out = append(out, 7<<5|long|byte(offset&15))
		for length -= 7; length >= 255; length -= 255 {
			out = append(out, 255)
		}
		out = append(out, byte(length))
	}
	out = append(out, byte(offset>>4))
	if long == 0 {
		out = append(out, byte(len(dist)<<6|image&63))
		return append(out, dist...)
	}
	b := byte(len(dist)<<6 | offset>>12&31)
	if offset >= 1<<17 {
		b |= 32
	}
	out = append(out, b)
	out = append(out, dist...)
	if offset >= 1<<17 {
		out = append(out, byte(offset>>17))
	}
	return out
}
