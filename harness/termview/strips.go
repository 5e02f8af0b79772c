package termview

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"strconv"
)

// Pictures of real pixels are sent in strips, each one row of characters high. So a change sends
// only the strips that it touches, and it does not matter how a terminal treats overlapping
// pictures.

// strips returns the number of strips of a picture.
func strips(p *pixels, cellH int) int { return (p.h + cellH - 1) / cellH }

// kittyStrip shows a strip at the cursor with kitty's graphics protocol. It replaces the previous
// picture with the number id.
func kittyStrip(out *bytes.Buffer, id int, rgb []byte, w, h, cols int) {
	var packed bytes.Buffer
	z, _ := zlib.NewWriterLevel(&packed, zlib.BestSpeed) // NB: it fails only for an invalid level
	_, _ = z.Write(rgb)                                  // NB: a buffer accepts everything
	_ = z.Close()
	data := base64.StdEncoding.EncodeToString(packed.Bytes())
	const chunk = 4096 // the protocol's limit
	first := true
	for first || len(data) > 0 {
		n := min(chunk, len(data))
		more := 0
		if n < len(data) {
			more = 1
		}
		out.WriteString("\x1b_G")
		if first {
			// q=2: no answers, C=1: the cursor stays.
			fmt.Fprintf(out, "a=T,i=%d,p=1,f=24,o=z,s=%d,v=%d,c=%d,r=1,q=2,C=1,", id, w, h, cols)
			first = false
		}
		fmt.Fprintf(out, "m=%d;", more)
		out.WriteString(data[:n])
		out.WriteString("\x1b\\")
		data = data[n:]
	}
}

// kittyForget is the sequence that removes all pictures.
const kittyForget = "\x1b_Ga=d,d=A,q=2\x1b\\"

// sixelStrip shows a strip at the cursor as a sixel picture.
func sixelStrip(out *bytes.Buffer, rgb []byte, w, h int) {
	palette, pix := quantize(rgb)
	// The second parameter, 1, keeps pixels without a colour as they are. The aspect ratio is 1:1.
	fmt.Fprintf(out, "\x1bP0;1;0q\"1;1;%d;%d", w, h)
	for i, c := range palette {
		pct := func(v uint8) int { return (int(v)*100 + 127) / 255 }
		fmt.Fprintf(out, "#%d;2;%d;%d;%d", i, pct(c[0]), pct(c[1]), pct(c[2]))
	}
	row := make([]byte, w)
	for top := 0; top < h; top += 6 {
		// Each band of six rows is written once for each colour in it.
		inBand := map[uint8]bool{}
		var order []uint8
		for _, c := range pix[top*w : min(top+6, h)*w] {
			if !inBand[c] {
				inBand[c] = true
				order = append(order, c)
			}
		}
		for n, c := range order {
			for x := range w {
				row[x] = '?'
				for k := 0; k < 6 && top+k < h; k++ {
					if pix[(top+k)*w+x] == c {
						row[x] += 1 << k
					}
				}
			}
			if n > 0 {
				out.WriteByte('$')
			}
			out.WriteByte('#')
			out.WriteString(strconv.Itoa(int(c)))
			runs(out, row)
		}
		out.WriteByte('-')
	}
	out.WriteString("\x1b\\")
}

// runs writes sixels. It writes more than three equal ones as a count and one sixel.
func runs(out *bytes.Buffer, row []byte) {
	for i := 0; i < len(row); {
		n := 1
		for i+n < len(row) && row[i+n] == row[i] {
			n++
		}
		if n > 3 {
			out.WriteByte('!')
			out.WriteString(strconv.Itoa(n))
			out.WriteByte(row[i])
		} else {
			out.Write(row[i : i+n])
		}
		i += n
	}
}

// quantize reduces a picture to at most 256 colours. If it has no more, it keeps its own colours.
// Otherwise it gets those of a cube of 6×7×6, with most steps for green, which eyes see best.
func quantize(rgb []byte) (palette [][3]uint8, pix []uint8) {
	pix = make([]uint8, len(rgb)/3)
	seen := map[[3]uint8]uint8{}
	for i := range pix {
		c := [3]uint8(rgb[3*i : 3*i+3])
		n, ok := seen[c]
		if !ok {
			if len(palette) == 256 {
				return quantizeCube(rgb)
			}
			n = uint8(len(palette))
			seen[c] = n
			palette = append(palette, c)
		}
		pix[i] = n
	}
	return palette, pix
}

func quantizeCube(rgb []byte) (palette [][3]uint8, pix []uint8) {
	const nr, ng, nb = 6, 7, 6
	step := func(v uint8, n int) int { return (int(v)*(n-1) + 127) / 255 }
	for r := range nr {
		for g := range ng {
			for b := range nb {
				palette = append(palette, [3]uint8{uint8(r * 255 / (nr - 1)), uint8(g * 255 / (ng - 1)), uint8(b * 255 / (nb - 1))})
			}
		}
	}
	pix = make([]uint8, len(rgb)/3)
	for i := range pix {
		c := rgb[3*i:]
		pix[i] = uint8((step(c[0], nr)*ng+step(c[1], ng))*nb + step(c[2], nb))
	}
	return palette, pix
}
