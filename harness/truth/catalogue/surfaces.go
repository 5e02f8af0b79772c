package catalogue

import (
	"fmt"
	"image"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// The size of offscreen surfaces, in pixels.
const (
	offWidth  = 170
	offHeight = 120
)

// offFormats are the formats of offscreen surfaces, and the numbers of the surfaces.
var offFormats = []struct {
	format qxl.SurfaceFormat
	id     uint32
	// palettes means that images with a palette can be drawn on the surface, and source that all
	// operations can draw from it. Otherwise spice-server aborts.
	palettes, source bool
}{
	{qxl.SurfaceXRGB, 10, true, true},
	{qxl.SurfaceARGB, 20, true, true},
	{qxl.Surface555, 30, true, false},
	{qxl.Surface565, 40, false, false},
	{qxl.SurfaceA8, 50, false, false},
}

const argbUnused = "the alpha that decoders give to images without alpha is not what the server's memory has"

// opsOn returns drawings in an area of a surface.
func opsOn(surface uint32, area image.Rectangle, format qxl.SurfaceFormat, palettes bool, seed uint64) []Step {
	var steps []Step
	add := func(operation, words string, clip qxl.Clip, op qxl.Op) *Step {
		steps = append(steps, Step{Operation: operation, Words: words, Do: []qxl.Command{&qxl.Drawable{Surface: surface, Box: area, Clip: clip, Op: op}}})
		return &steps[len(steps)-1]
	}
	w, h := area.Dx(), area.Dy()
	all := rect(0, 0, w, h)
	clip := qxl.ClipTo(area.Inset(9), image.Rectangle{Min: area.Min, Max: area.Min.Add(image.Pt(20, 30))})
	mask := qxl.Mask{Image: bits(qxl.Bit1BE, w, h, seed+1)}
	pic := func(f qxl.Format, look Look) *qxl.Image { seed++; return picture(f, w, h, look, seed) }
	small := func(f qxl.Format, look Look) *qxl.Image { seed++; return picture(f, w/2, h/3, look, seed) }

	add("fill", "xor, pattern, clip", clip, &qxl.Fill{Brush: qxl.Pattern(picture(qxl.Bit32, 19, 13, Noise, seed), image.Point{}), Rop: qxl.RopXor})
	add("fill", "put, solid, mask", qxl.Clip{}, &qxl.Fill{Brush: qxl.Solid(0x3a7bcd), Rop: qxl.RopPut, Mask: mask})
	add("fill", "and, solid", qxl.Clip{}, &qxl.Fill{Brush: qxl.Solid(0xf0f7ff), Rop: qxl.RopAnd})
	add("fill", "invers", clip, &qxl.Fill{Brush: qxl.Solid(0), Rop: qxl.RopInvers})
	add("copy", "32", clip, &qxl.Copy{Src: pic(qxl.Bit32, Noise), Area: all, Rop: qxl.RopPut})
	add("copy", "32, xor, mask", qxl.Clip{}, &qxl.Copy{Src: pic(qxl.Bit32, Gradient), Area: all, Rop: qxl.RopXor, Mask: mask})
	s := small(qxl.Bit32, Noise)
	add("copy", "32, scaled", qxl.Clip{}, &qxl.Copy{Src: s, Area: s.Bounds(), Rop: qxl.RopPut})
	s = small(qxl.Bit32, Noise)
	add("copy", "32, scaled, nearest, or", qxl.Clip{}, &qxl.Copy{Src: s, Area: s.Bounds(), Rop: qxl.RopOr, Scale: qxl.ScaleNearest})
	add("copy", "24", qxl.Clip{}, &qxl.Copy{Src: pic(qxl.Bit24, Gradient), Area: all, Rop: qxl.RopPut})
	add("copy", "RGBA", qxl.Clip{}, &qxl.Copy{Src: pic(qxl.RGBA, Noise), Area: all, Rop: qxl.RopPut})
	indexed := []qxl.Format{qxl.Bit16}
	if palettes {
		indexed = append(indexed, qxl.Bit8, qxl.Bit4BE, qxl.Bit1BE)
	}
	for _, f := range indexed {
		wrong := Expect{}
		if format == qxl.SurfaceARGB {
			wrong = Expect{Kind: ServerWrong, Reason: argbUnused}
		}
		add("copy", f.String(), qxl.Clip{}, &qxl.Copy{Src: pic(f, Flat), Area: all, Rop: qxl.RopPut}).Compressed = wrong
		add("alpha_blend", f.String(), clip, &qxl.AlphaBlend{Src: pic(f, Noise), Area: all, Alpha: 200}).Compressed = wrong
	}
	add("opaque", "xor, pattern", clip, &qxl.Opaque{Src: pic(qxl.Bit32, Noise), Area: all, Rop: qxl.RopXor, Brush: qxl.Pattern(picture(qxl.Bit32, 9, 9, Noise, seed), image.Pt(2, 2))})
	add("blend", "or", qxl.Clip{}, &qxl.Blend{Src: pic(qxl.Bit32, Flat), Area: all, Rop: qxl.RopOr})
	if format != qxl.SurfaceA8 { // the server has code for 32 and 16 bits only, and writes beyond the surface
		add("rop3", "96, pattern", clip, &qxl.Rop3{Src: pic(qxl.Bit32, Noise), Area: all, Code: 0x96, Brush: qxl.Pattern(picture(qxl.Bit32, 21, 15, Noise, seed), image.Point{})})
		add("rop3", "1b, solid", qxl.Clip{}, &qxl.Rop3{Src: pic(qxl.Bit32, Noise), Area: all, Code: 0x1b, Brush: qxl.Solid(0x778899)})
	}
	add("transparent", "32", qxl.Clip{}, &qxl.Transparent{Src: pic(qxl.Bit32, Flat), Area: all, SrcColor: 0xffffff, TrueColor: 0xffffff})
	s = small(qxl.Bit32, Flat)
	add("transparent", "32, scaled", qxl.Clip{}, &qxl.Transparent{Src: s, Area: s.Bounds(), SrcColor: 0x336699, TrueColor: 0x336699})
	add("alpha_blend", "RGBA", qxl.Clip{}, &qxl.AlphaBlend{Src: pic(qxl.RGBA, Noise), Area: all, Alpha: 255})
	add("alpha_blend", "RGBA, alpha 90, dest has alpha", clip, &qxl.AlphaBlend{Flags: qxl.AlphaDest, Src: pic(qxl.RGBA, Gradient), Area: all, Alpha: 90})
	s = small(qxl.RGBA, Noise)
	add("alpha_blend", "RGBA, scaled", qxl.Clip{}, &qxl.AlphaBlend{Src: s, Area: s.Bounds(), Alpha: 170})
	for _, op := range []int{3, 1, 11, 12, 5, 0x30, 0x3c} {
		var name string
		for _, o := range operators {
			if int(o.v) == op {
				name = o.words
			}
		}
		add("composite", join(name, "RGBA"), clip, &qxl.Composite{Operator: uint8(op), Src: Sampled(pic(qxl.RGBA, Noise))})
	}
	add("composite", "over, mask 8A", qxl.Clip{}, &qxl.Composite{Operator: 3, Src: Sampled(pic(qxl.RGBA, Noise)), Mask: Sampled(pic(qxl.Bit8A, Noise))})
	add("composite", "src, mask 8A", qxl.Clip{}, &qxl.Composite{Operator: 1, Src: Sampled(pic(qxl.RGBA, Gradient)), Mask: Sampled(pic(qxl.Bit8A, Noise))})
	add("composite", "over, component alpha", qxl.Clip{}, &qxl.Composite{Operator: 3, Src: Sampled(pic(qxl.RGBA, Noise)), Mask: Sampled(pic(qxl.RGBA, Noise)), Component: true})
	add("stroke", "zigzag", clip, &qxl.Stroke{Path: []qxl.Segment{{Flags: 3, Points: points(area.Min.X+5, area.Min.Y+5, area.Max.X-9, area.Min.Y+30, area.Min.X+20, area.Max.Y-8)}}, Rop: qxl.RopXor, Brush: qxl.Solid(0xffff00)})
	add("copy_bits", "", clip, &qxl.CopyBits{From: area.Min.Add(image.Pt(6, 4))})
	add("invers", "mask", qxl.Clip{}, &qxl.Invers{Mask: mask})
	add("whiteness", "clip", clip, &qxl.Whiteness{})
	add("blackness", "mask", clip, &qxl.Blackness{Mask: mask})
	g := glyphs(qxl.TextA1, 6, seed)
	for i := range g {
		g[i].Pos = area.Min.Add(image.Pt(5+i*20, 30))
	}
	add("text", "A1", clip, &qxl.Text{Flags: qxl.TextA1, Glyphs: g, Fore: qxl.Solid(0x12ab9f), Rop: qxl.RopPut})
	g = glyphs(qxl.TextA4, 6, seed)
	for i := range g {
		g[i].Pos = area.Min.Add(image.Pt(5+i*20, 60))
	}
	add("text", "A4", qxl.Clip{}, &qxl.Text{Flags: qxl.TextA4, Glyphs: g, Fore: qxl.Solid(0x9f12ab), Rop: qxl.RopPut})
	return steps
}

func surfaces() []Step {
	var steps []Step
	for i, off := range offFormats {
		name, id := off.format.String(), off.id
		steps = append(steps, refresh(uint64(40+i)))
		steps = append(steps, Step{Operation: "surface", Words: join(name, "made"), Do: []qxl.Command{
			&qxl.CreateSurface{Surface: id, Format: off.format, Width: offWidth, Height: offHeight},
			backdrop(id, offWidth, offHeight, uint64(50+i)),
		}})
		for _, s := range opsOn(id, rect(10, 8, 150, 110), off.format, off.palettes, uint64(7000+100*i)) {
			s.Words = join("on "+name, s.Operation, s.Words)
			s.Operation = "surface"
			steps = append(steps, s)
		}
		// Drawings from the surface to the primary surface.
		src := func() *qxl.Image { return fromSurface(id, offWidth, offHeight) }
		all, part := rect(0, 0, offWidth, offHeight), rect(5, 7, 165, 107)
		from := func(words string, op qxl.Op) {
			s := draw("surface", join("from "+name, words), clips[len(steps)%4].v, op)
			steps = append(steps, s)
		}
		from("scaled copy", &qxl.Copy{Src: src(), Area: all, Rop: qxl.RopPut})
		from("alpha_blend", &qxl.AlphaBlend{Src: src(), Area: part, Alpha: 255})
		if off.format != qxl.SurfaceXRGB { // whose unused byte is not the same everywhere
			from("alpha_blend, surface has alpha", &qxl.AlphaBlend{Flags: qxl.AlphaSrcSurface, Src: src(), Area: part, Alpha: 130})
		}
		from("alpha_blend, scaled", &qxl.AlphaBlend{Src: src(), Area: rect(0, 0, 80, 50), Alpha: 200})
		from("composite over", &qxl.Composite{Operator: 3, Src: Sampled(src())})
		from("composite, transformed", &qxl.Composite{Operator: 3, Src: qxl.Sampled{Image: src(), Transform: transforms[4].v, Filter: 1, Repeat: 1}})
		from("composite, not transformed any more", &qxl.Composite{Operator: 3, Src: Sampled(src())})
		from("composite, as a mask", &qxl.Composite{Operator: 3, Src: Sampled(picture(qxl.RGBA, 160, 100, Noise, 91)), Mask: Sampled(src())})
		if off.source {
			from("copy", &qxl.Copy{Src: src(), Area: part, Rop: qxl.RopPut})
			from("copy, xor, mask", &qxl.Copy{Src: src(), Area: part, Rop: qxl.RopXor, Mask: masks[1].v})
			from("copy, scaled, nearest, and", &qxl.Copy{Src: src(), Area: all, Rop: qxl.RopAnd, Scale: qxl.ScaleNearest})
			from("blend", &qxl.Blend{Src: src(), Area: part, Rop: qxl.RopOr})
			from("opaque", &qxl.Opaque{Src: src(), Area: part, Rop: qxl.RopXor, Brush: qxl.Solid(0x334455)})
			from("pattern", &qxl.Fill{Brush: qxl.Pattern(src(), image.Pt(3, 9)), Rop: qxl.RopXor})
			from("rop3", &qxl.Rop3{Src: src(), Area: part, Code: 0xca, Brush: qxl.Pattern(src(), image.Point{})})
			from("transparent", &qxl.Transparent{Src: src(), Area: part, SrcColor: 0xffffff, TrueColor: 0xffffff})
		}
		// Drawings between two surfaces of the format, and of a surface over itself.
		steps = append(steps,
			Step{Operation: "surface", Words: join("second " + name), Do: []qxl.Command{
				&qxl.CreateSurface{Surface: id + 1, Format: off.format, Width: offWidth, Height: offHeight},
				backdrop(id+1, offWidth, offHeight, uint64(60+i)),
			}},
			Step{Operation: "surface", Words: join("between two "+name, "copy"), Do: []qxl.Command{
				&qxl.Drawable{Surface: id + 1, Box: rect(10, 10, 110, 90), Op: &qxl.Copy{Src: src(), Area: rect(20, 15, 120, 95), Rop: qxl.RopPut}}}},
			Step{Operation: "surface", Words: join("between two "+name, "xor, clip"), Do: []qxl.Command{
				&qxl.Drawable{Surface: id + 1, Box: rect(10, 10, 110, 90), Clip: qxl.ClipTo(rect(20, 20, 60, 100)), Op: &qxl.Copy{Src: src(), Area: rect(0, 0, 100, 80), Rop: qxl.RopXor}}}},
			Step{Operation: "surface", Words: join("between two "+name, "composite"), Do: []qxl.Command{
				&qxl.Drawable{Surface: id + 1, Box: rect(10, 10, 110, 90), Op: &qxl.Composite{Operator: 3, Src: Sampled(src())}}}},
			Step{Operation: "surface", Words: join(name, "drawn to again and copied on"), Do: []qxl.Command{
				&qxl.Drawable{Surface: id, Box: rect(0, 0, 90, 60), Op: &qxl.Fill{Brush: qxl.Solid(0x8844cc), Rop: qxl.RopXor}},
				&qxl.Drawable{Surface: id + 1, Box: rect(30, 30, 150, 110), Op: &qxl.Copy{Src: src(), Area: rect(0, 0, 120, 80), Rop: qxl.RopPut}},
				&qxl.Drawable{Box: box, Op: &qxl.AlphaBlend{Src: fromSurface(id+1, offWidth, offHeight), Area: part, Alpha: 220}}}},
			Step{Operation: "surface", Words: join("second "+name, "destroyed"), Do: []qxl.Command{&qxl.DestroySurface{Surface: id + 1}}},
		)
		if off.format == qxl.SurfaceXRGB {
			// The surface number is reused.
			steps = append(steps, Step{Operation: "surface", Words: "the same number again, smaller", Do: []qxl.Command{
				&qxl.CreateSurface{Surface: id + 1, Format: off.format, Width: 90, Height: 70},
				backdrop(id+1, 90, 70, 65),
				&qxl.Drawable{Box: box, Op: &qxl.Copy{Src: fromSurface(id+1, 90, 70), Area: rect(0, 0, 90, 70), Rop: qxl.RopPut}},
				&qxl.DestroySurface{Surface: id + 1}}})
		}
		steps = append(steps, Step{Operation: "surface", Words: join(name, "destroyed"), Do: []qxl.Command{&qxl.DestroySurface{Surface: id}}})
	}
	// A surface of one bit of alpha, with the drawings that the server draws correctly on it.
	const id = 60
	steps = append(steps, Step{Operation: "surface", Words: "1_A made", Do: []qxl.Command{
		&qxl.CreateSurface{Surface: id, Format: qxl.SurfaceA1, Width: 160, Height: 120},
		&qxl.Drawable{Surface: id, Box: rect(0, 0, 160, 120), Op: &qxl.Blackness{}}}})
	on := func(words string, e Expect, clip qxl.Clip, op qxl.Op) {
		steps = append(steps, Step{Operation: "surface", Words: "on 1_A, " + words, Expect: e, Do: []qxl.Command{&qxl.Drawable{Surface: id, Box: rect(20, 10, 140, 100), Clip: clip, Op: op}}})
	}
	wrong := Expect{Kind: ServerWrong, Reason: "pixman fills 1-bit surfaces in whole words, also outside the box"}
	clip := qxl.ClipTo(rect(30, 20, 60, 90), rect(70, 20, 130, 50))
	on("fill put", Expect{}, clip, &qxl.Fill{Brush: qxl.Solid(0xffffff), Rop: qxl.RopPut})
	on("whiteness", Expect{}, clip, &qxl.Whiteness{})
	on("stroke", Expect{}, qxl.Clip{}, &qxl.Stroke{Path: []qxl.Segment{{Flags: 3, Points: points(25, 15, 130, 90)}}, Rop: qxl.RopPut, Brush: qxl.Solid(0xffffff)})
	on("fill invers", wrong, clip, &qxl.Fill{Brush: qxl.Solid(0), Rop: qxl.RopInvers})
	steps = append(steps, Step{Operation: "surface", Words: "1_A destroyed", Do: []qxl.Command{&qxl.DestroySurface{Surface: id}}})
	return steps
}

// primaries returns the operations on a primary surface of another format.
func primaries(name string) []Step {
	var steps []Step
	format := qxl.SurfaceARGB
	if name == "555" {
		format = qxl.Surface555
	}
	steps = append(steps, refresh(81))
	for round := range uint64(2) {
		for _, s := range opsOn(0, box, format, true, 9000+500*round) {
			if round > 0 {
				s.Words = join(s.Words, "again")
			}
			steps = append(steps, s)
		}
	}
	if format == qxl.SurfaceARGB {
		for _, op := range operators {
			steps = append(steps, draw("composite", join(op.words, "RGBA, mask RGBA"), clips[1].v,
				&qxl.Composite{Operator: op.v, Src: Sampled(picture(qxl.RGBA, 160, 100, Noise, 9900+uint64(op.v))), Mask: Sampled(picture(qxl.RGBA, 160, 100, Noise, 9950))}))
		}
	}
	return refreshed(steps, 12)
}

// batches returns steps of several commands without an update between them, so the server omits
// drawings that later ones cover.
func batches() []Step {
	var steps []Step
	for i := range 40 {
		s := Random(uint64(20000+i), 3+i)
		s.Words = fmt.Sprintf("%d commands, seed %d", len(s.Do), 20000+i)
		s.Operation, s.Batch = "batch", true
		steps = append(steps, s)
	}
	return steps
}
