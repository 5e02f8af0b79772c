package catalogue

import (
	"fmt"
	"image"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// refresh returns a step that draws a background for the following steps.
func refresh(seed uint64) Step {
	return Step{Operation: "copy", Words: fmt.Sprintf("backdrop %d", seed), Do: []qxl.Command{backdrop(0, Width, Height, seed)}}
}

// refreshed adds a background before every n-th step.
func refreshed(steps []Step, n int) []Step {
	var all []Step
	for i, s := range steps {
		if i%n == 0 {
			all = append(all, refresh(uint64(i/n+1)))
		}
		all = append(all, s)
	}
	return all
}

// brushes returns the kinds of brushes.
func brushes(seed uint64) []named[qxl.Brush] {
	return []named[qxl.Brush]{
		{"solid", qxl.Solid(uint32(hash(seed, 1, 2)) & 0xffffff)},
		{"pattern", qxl.Pattern(picture(qxl.Bit32, 23, 17, Noise, seed), image.Pt(5, 3))},
		{"pattern 8", qxl.Pattern(picture(qxl.Bit8, 32, 32, Flat, seed), image.Pt(0, 0))},
	}
}

// The possible inversions of operations with a brush, and of operations with an image.
var (
	brushInversions = []named[qxl.Rop]{{"", 0}, {"inverted brush", qxl.InversBrush}, {"inverted dest", qxl.InversDest}, {"inverted result", qxl.InversRes}}
	srcInversions   = []named[qxl.Rop]{{"", 0}, {"inverted src", qxl.InversSrc}, {"inverted dest", qxl.InversDest}, {"inverted result", qxl.InversRes}}
)

func fills() []Step {
	var steps []Step
	n := 0
	for _, rop := range rops {
		for _, inv := range brushInversions {
			for _, b := range brushes(uint64(n)) {
				clip := clips[n%len(clips)]
				n++
				steps = append(steps, draw("fill", join(rop.words, inv.words, b.words, clip.words), clip.v,
					&qxl.Fill{Brush: b.v, Rop: rop.v | inv.v}))
			}
		}
	}
	for _, rop := range rops {
		for _, clip := range clips {
			for _, mask := range masks {
				b := brushes(uint64(n))[n%3]
				n++
				steps = append(steps, draw("fill", join(rop.words, b.words, clip.words, mask.words), clip.v,
					&qxl.Fill{Brush: b.v, Rop: rop.v, Mask: mask.v}))
			}
		}
	}
	var none []Step
	for i, rop := range rops {
		clip := clips[i%len(clips)]
		none = append(none, draw("fill", join(rop.words, "no brush", clip.words), clip.v, &qxl.Fill{Rop: rop.v}))
	}
	return append(refreshed(steps, 16), refreshed(none, 16)...)
}

func copyBits() []Step {
	var steps []Step
	for _, from := range []named[image.Point]{
		{"from above", image.Pt(40, 10)}, {"from below", image.Pt(40, 50)}, {"from the left", image.Pt(20, 30)},
		{"from the right", image.Pt(61, 30)}, {"from both", image.Pt(47, 39)}, {"from the other both", image.Pt(33, 21)},
		{"from elsewhere", image.Pt(150, 135)}, {"from beyond the edge", image.Pt(200, 180)}, {"from above the top", image.Pt(40, -9)},
	} {
		for _, clip := range clips {
			steps = append(steps, draw("copy_bits", join(from.words, clip.words), clip.v, &qxl.CopyBits{From: from.v}))
		}
	}
	return refreshed(steps, 8)
}

// scaled is a part (area) of an image of w×h pixels, which is scaled into box.
type scaled struct {
	w, h int
	area image.Rectangle
	mode uint8
}

// scales are the ways to scale an image into box.
var scales = []named[scaled]{
	{"", scaled{160, 100, rect(0, 0, 160, 100), 0}},
	{"part", scaled{200, 140, rect(17, 23, 177, 123), 0}},
	{"up interpolated", scaled{77, 41, rect(0, 0, 77, 41), qxl.ScaleInterpolate}},
	{"up nearest", scaled{77, 41, rect(0, 0, 77, 41), qxl.ScaleNearest}},
	{"down interpolated", scaled{250, 190, rect(0, 0, 250, 190), qxl.ScaleInterpolate}},
	{"down nearest", scaled{250, 190, rect(9, 7, 241, 180), qxl.ScaleNearest}},
	{"one way", scaled{160, 47, rect(0, 0, 160, 47), qxl.ScaleInterpolate}},
}

func copies() []Step {
	var steps []Step
	n := uint64(100)
	for _, rop := range rops {
		for _, inv := range srcInversions {
			for _, sc := range scales {
				if sc.words == "one way" && rop.v != qxl.RopPut {
					continue
				}
				n++
				steps = append(steps, draw("copy", join(rop.words, inv.words, sc.words), qxl.Clip{},
					&qxl.Copy{Src: picture(qxl.Bit32, sc.v.w, sc.v.h, Look(n%3), n), Area: sc.v.area, Rop: rop.v | inv.v, Scale: sc.v.mode}))
			}
		}
	}
	for _, clip := range clips {
		for _, mask := range masks {
			n++
			sc := scales[n%4]
			steps = append(steps, draw("copy", join("put", sc.words, clip.words, mask.words), clip.v,
				&qxl.Copy{Src: picture(qxl.Bit32, sc.v.w, sc.v.h, Look(n%3), n), Area: sc.v.area, Rop: qxl.RopPut, Scale: sc.v.mode, Mask: mask.v}))
		}
	}
	return refreshed(steps, 16)
}

func opaques() []Step {
	var steps []Step
	n := uint64(400)
	for _, rop := range rops {
		for _, sc := range scales {
			for _, b := range brushes(n)[:2] {
				n++
				steps = append(steps, draw("opaque", join(rop.words, b.words, sc.words), clips[n%4].v,
					&qxl.Opaque{Src: picture(qxl.Bit32, sc.v.w, sc.v.h, Look(n%3), n), Area: sc.v.area, Brush: b.v, Rop: rop.v, Scale: sc.v.mode}))
				steps[len(steps)-1].Words = join(steps[len(steps)-1].Words, clips[n%4].words)
			}
		}
	}
	for _, clip := range clips {
		for _, mask := range masks {
			n++
			steps = append(steps, draw("opaque", join("xor", "pattern", clip.words, mask.words), clip.v,
				&qxl.Opaque{Src: picture(qxl.Bit32, 160, 100, Noise, n), Area: rect(0, 0, 160, 100), Brush: brushes(n)[1].v, Rop: qxl.RopXor, Mask: mask.v}))
		}
	}
	return refreshed(steps, 16)
}

func blends() []Step {
	var steps []Step
	n := uint64(600)
	for _, rop := range rops {
		for _, inv := range srcInversions {
			for _, sc := range scales[:3] {
				n++
				clip := clips[n%4]
				steps = append(steps, draw("blend", join(rop.words, inv.words, sc.words, clip.words), clip.v,
					&qxl.Blend{Src: picture(qxl.Bit32, sc.v.w, sc.v.h, Look(n%3), n), Area: sc.v.area, Rop: rop.v | inv.v, Scale: sc.v.mode}))
			}
		}
	}
	for _, mask := range masks {
		n++
		steps = append(steps, draw("blend", join("and", mask.words), qxl.Clip{},
			&qxl.Blend{Src: picture(qxl.Bit32, 160, 100, Noise, n), Area: rect(0, 0, 160, 100), Rop: qxl.RopAnd, Mask: mask.v}))
	}
	return refreshed(steps, 16)
}

func transparents() []Step {
	var steps []Step
	n := uint64(800)
	for _, f := range []qxl.Format{qxl.Bit32, qxl.Bit24, qxl.Bit16, qxl.Bit8, qxl.Bit4BE, qxl.Bit1BE} {
		for _, sc := range []named[scaled]{scales[0], scales[1], scales[2], scales[4]} {
			n++
			src := picture(f, sc.v.w, sc.v.h, Flat, n)
			color := uint32(0xffffff)
			if src.Palette != nil {
				color = src.Palette.Colors[0]
			}
			if f == qxl.Bit16 {
				color = 0xf8f8f8 | 0x070707 // white of 15 bits, widened
			}
			steps = append(steps, draw("transparent", join(f.String(), sc.words, clips[n%4].words), clips[n%4].v,
				&qxl.Transparent{Src: src, Area: sc.v.area, SrcColor: color, TrueColor: color}))
		}
	}
	return refreshed(steps, 12)
}

func alphaBlends() []Step {
	var steps []Step
	n := uint64(900)
	for _, alpha := range []uint8{255, 200, 128, 1, 0} {
		for _, f := range []qxl.Format{qxl.RGBA, qxl.Bit32, qxl.Bit24, qxl.Bit16, qxl.Bit8, qxl.Bit4BE, qxl.Bit1BE} {
			for _, sc := range []named[scaled]{scales[0], scales[2]} {
				n++
				clip := clips[n%4]
				steps = append(steps, draw("alpha_blend", join(f.String(), fmt.Sprintf("alpha %d", alpha), sc.words, clip.words), clip.v,
					&qxl.AlphaBlend{Alpha: alpha, Src: picture(f, sc.v.w, sc.v.h, Look(n%3), n), Area: sc.v.area}))
			}
		}
		n++
		steps = append(steps, draw("alpha_blend", fmt.Sprintf("RGBA, alpha %d, dest has alpha", alpha), qxl.Clip{},
			&qxl.AlphaBlend{Flags: qxl.AlphaDest, Alpha: alpha, Src: picture(qxl.RGBA, 160, 100, Noise, n), Area: rect(0, 0, 160, 100)}))
	}
	return refreshed(steps, 10)
}

func flats() []Step {
	var steps []Step
	for _, clip := range clips {
		for _, mask := range masks {
			steps = append(steps,
				draw("blackness", join(clip.words, mask.words), clip.v, &qxl.Blackness{Mask: mask.v}),
				draw("whiteness", join(clip.words, mask.words), clip.v, &qxl.Whiteness{Mask: mask.v}),
				draw("invers", join(clip.words, mask.words), clip.v, &qxl.Invers{Mask: mask.v}))
		}
	}
	return refreshed(steps, 9)
}

// unneeded has the rop3 codes that do not use all of pattern, source and destination. Drivers send
// simpler commands for them, and spice-server does not implement them.
var unneeded = map[int]bool{0x00: true, 0x03: true, 0x05: true, 0x0a: true, 0x0c: true, 0x0f: true, 0x11: true, 0x22: true,
	0x30: true, 0x33: true, 0x3c: true, 0x3f: true, 0x44: true, 0x50: true, 0x55: true, 0x5a: true, 0x5f: true, 0x66: true,
	0x77: true, 0x88: true, 0x99: true, 0xa0: true, 0xa5: true, 0xaa: true, 0xaf: true, 0xbb: true, 0xc0: true, 0xc3: true,
	0xcc: true, 0xcf: true, 0xdd: true, 0xee: true, 0xf0: true, 0xf3: true, 0xf5: true, 0xfa: true, 0xfc: true, 0xff: true}

func rop3s() []Step {
	var steps []Step
	n := uint64(1100)
	for code := range 256 {
		if unneeded[code] {
			continue
		}
		n++
		clip := clips[n%4]
		steps = append(steps, draw("rop3", join(fmt.Sprintf("%02x", code), "pattern", clip.words), clip.v,
			&qxl.Rop3{Src: picture(qxl.Bit32, 160, 100, Noise, n), Area: rect(0, 0, 160, 100), Brush: brushes(n)[1].v, Code: uint8(code)}))
		n++
		mask, sc := masks[n%7], scales[n%7]
		steps = append(steps, draw("rop3", join(fmt.Sprintf("%02x", code), "solid", sc.words, mask.words), qxl.Clip{},
			&qxl.Rop3{Src: picture(qxl.Bit32, sc.v.w, sc.v.h, Noise, n), Area: sc.v.area, Brush: brushes(n)[0].v, Code: uint8(code),
				Scale: sc.v.mode, Mask: mask.v}))
	}
	return append(refreshed(steps, 16), rop3sLeftOfTheirPattern()...)
}

// rop3sLeftOfTheirPattern returns drawings that begin left of the pattern's origin. There the
// server uses the last pixels of the pattern's next row. Left of the pattern's last row it uses
// memory outside the pattern.
func rop3sLeftOfTheirPattern() []Step {
	rop3 := func(words string, code uint8, b image.Rectangle, clip qxl.Clip) Step {
		// The box's rows 0 to 6 show the pattern's rows 10 to 16, which is the last one. Row 7
		// shows row 0.
		brush := qxl.Pattern(picture(qxl.Bit32, 23, 17, Noise, uint64(code)), image.Pt(box.Min.X+12, box.Min.Y-10))
		src := picture(qxl.Bit32, b.Dx(), b.Dy(), Noise, uint64(code)+1)
		s := draw("rop3", join(fmt.Sprintf("%02x", code), words), clip, &qxl.Rop3{Src: src, Area: src.Bounds(), Brush: brush, Code: code})
		s.Do[0].(*qxl.Drawable).Box = b
		return s
	}
	last := box.Min.Y + 6 // the row that shows the pattern's last one
	above := rect(box.Min.X, box.Min.Y, box.Max.X, last)
	below := rect(box.Min.X, last+1, box.Max.X, last+17)
	unknown := rop3("left of its pattern's last row", 0x96, box, qxl.Clip{})
	unknown.Expect = Expect{Kind: ServerWrong, Reason: "the pixels left of the pattern's last row are from memory before the pattern"}
	return []Step{
		refresh(30),
		rop3("left of its pattern", 0xca, below, qxl.Clip{}),
		rop3("left of its pattern, clip leaves out its last row", 0xb8, box, qxl.ClipTo(above, below)),
		unknown,
	}
}
