package catalogue

import (
	"fmt"
	"image"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// dice rolls numbers that look random and depend only on a seed.
type dice struct {
	seed uint64
	n    int
}

func (d *dice) roll(sides int) int {
	d.n++
	return int(hash(d.seed, d.n, 17) % uint64(sides))
}

// Random returns a step of n drawings on the primary surface. Each depends only on the seed and its
// index, and not on n.
func Random(seed uint64, n int) Step {
	s := Step{Operation: "random", Words: fmt.Sprintf("seed %d, %d commands", seed, n)}
	for i := range n {
		s.Do = append(s.Do, randomDrawing(&dice{seed: hash(seed, i, 0)}))
	}
	return s
}

// RandomSteps returns n steps of one drawing each.
func RandomSteps(seed uint64, n int) []Step {
	var steps []Step
	for i := range n {
		d := randomDrawing(&dice{seed: hash(seed, i, 0)})
		steps = append(steps, Step{Operation: "random", Words: fmt.Sprintf("seed %d, %d: %T", seed, i, d.Op), Do: []qxl.Command{d}})
	}
	return refreshed(steps, 50)
}

func randomDrawing(r *dice) *qxl.Drawable {
	x, y := r.roll(Width-10), r.roll(Height-10)
	b := image.Rect(x, y, min(Width, x+1+r.roll(180)), min(Height-1, y+1+r.roll(130)))
	d := &qxl.Drawable{Box: b}
	if r.roll(3) == 0 {
		d.Clip.Clipped = true
		for range 1 + r.roll(4) {
			cx, cy := b.Min.X-5+r.roll(b.Dx()+5), b.Min.Y-5+r.roll(b.Dy()+5)
			d.Clip.Rects = append(d.Clip.Rects, image.Rect(cx, cy, cx+1+r.roll(90), cy+1+r.roll(70)))
		}
	}
	rop := rops[r.roll(len(rops))].v
	if r.roll(4) == 0 {
		rop |= srcInversions[r.roll(4)].v
	}
	var mask qxl.Mask
	if r.roll(4) == 0 {
		mask = qxl.Mask{Image: bits(qxl.Bit1BE, b.Dx(), b.Dy(), uint64(r.roll(1<<20))), Invers: r.roll(2) == 0}
	}
	all := image.Rectangle{Max: b.Size()}
	image32 := func() *qxl.Image {
		f := []qxl.Format{qxl.Bit32, qxl.Bit32, qxl.RGBA, qxl.Bit24, qxl.Bit16, qxl.Bit8, qxl.Bit4BE, qxl.Bit1BE}[r.roll(8)]
		im := picture(f, b.Dx(), b.Dy(), Look(r.roll(3)), uint64(r.roll(1<<20)))
		im.TopDown = r.roll(2) == 0
		return im
	}
	brush := qxl.Solid(uint32(r.roll(1 << 24)))
	if r.roll(2) == 0 {
		brush = qxl.Pattern(picture(qxl.Bit32, 3+r.roll(40), 3+r.roll(40), Noise, uint64(r.roll(1<<20))), image.Pt(r.roll(9), r.roll(9)))
	}
	switch r.roll(14) {
	case 0, 1:
		d.Op = &qxl.Copy{Src: image32(), Area: all, Rop: rop, Mask: mask}
	case 2:
		im := picture(qxl.Bit32, 1+r.roll(200), 1+r.roll(150), Look(r.roll(3)), uint64(r.roll(1<<20)))
		d.Op = &qxl.Copy{Src: im, Area: im.Bounds(), Rop: qxl.RopPut, Scale: uint8(r.roll(2)), Mask: mask}
	case 3:
		d.Op = &qxl.Fill{Brush: brush, Rop: rop, Mask: mask}
	case 4:
		d.Op = &qxl.Opaque{Src: image32(), Area: all, Brush: brush, Rop: rop, Mask: mask}
	case 5:
		d.Op = &qxl.Blend{Src: image32(), Area: all, Rop: rop, Mask: mask}
	case 6:
		code := r.roll(256)
		for unneeded[code] {
			code = (code + 1) % 256
		}
		// Above the pattern, or left of its last row, the server reads memory beyond the pattern.
		brush.Pos = image.Pt(min(brush.Pos.X, b.Min.X), min(brush.Pos.Y, b.Min.Y))
		d.Op = &qxl.Rop3{Src: picture(qxl.Bit32, b.Dx(), b.Dy(), Noise, uint64(r.roll(1<<20))), Area: all, Brush: brush, Code: uint8(code), Mask: mask}
	case 7:
		d.Op = &qxl.AlphaBlend{Src: image32(), Area: all, Alpha: uint8(r.roll(256))}
	case 8:
		d.Op = &qxl.Composite{Operator: operators[r.roll(len(operators))].v,
			Src: qxl.Sampled{Image: picture(qxl.RGBA, b.Dx(), b.Dy(), Noise, uint64(r.roll(1<<20))), Repeat: uint32(r.roll(4))}}
	case 9:
		d.Op = &qxl.CopyBits{From: image.Pt(r.roll(Width-b.Dx()+1), r.roll(Height-b.Dy()+1))}
	case 10:
		d.Op = &qxl.Invers{Mask: mask}
	case 11:
		var p [][2]qxl.Fixed
		for range 2 + r.roll(6) {
			p = append(p, [2]qxl.Fixed{qxl.Fixed(16*b.Min.X + r.roll(16*b.Dx()+1)), qxl.Fixed(16*b.Min.Y + r.roll(16*b.Dy()+1))})
		}
		st := &qxl.Stroke{Path: []qxl.Segment{{Flags: 3, Points: p}}, Rop: rops[r.roll(4)].v, Brush: brush}
		if r.roll(2) == 0 {
			st.Flags, st.Style = qxl.LineStyled, []qxl.Fixed{qxl.Fixed(16 + r.roll(90)), qxl.Fixed(16 + r.roll(90))}
		}
		d.Op = st
	case 12:
		d.Op = &qxl.Transparent{Src: picture(qxl.Bit32, b.Dx(), b.Dy(), Flat, uint64(r.roll(1<<20))), Area: all, SrcColor: 0xffffff, TrueColor: 0xffffff}
	default:
		g := glyphs(qxl.TextA1, 1+r.roll(8), uint64(r.roll(1<<20)))
		for i := range g {
			g[i].Pos = b.Min.Add(image.Pt(i*17, 20))
		}
		d.Op = &qxl.Text{Flags: qxl.TextA1, Glyphs: g, Fore: brush, Rop: qxl.RopPut}
	}
	return d
}
