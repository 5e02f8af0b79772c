package catalogue

import (
	"fmt"
	"image"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// formats are the formats that spice-server accepts from a driver.
var formats = []qxl.Format{qxl.Bit1BE, qxl.Bit4BE, qxl.Bit8, qxl.Bit16, qxl.Bit24, qxl.Bit32, qxl.RGBA, qxl.Bit8A}

// show returns a step that copies a whole image to the upper left corner of box.
func show(words string, im *qxl.Image) Step {
	at := image.Rectangle{Min: box.Min, Max: box.Min.Add(image.Pt(im.Width, im.Height))}
	return Step{Operation: "image", Words: words, Do: []qxl.Command{&qxl.Drawable{Box: at, Op: &qxl.Copy{Src: im, Area: im.Bounds(), Rop: qxl.RopPut}}}}
}

func images() []Step {
	var steps []Step
	n := uint64(2000)
	for _, f := range formats {
		for _, size := range [][2]int{{1, 1}, {2, 3}, {7, 5}, {33, 1}, {1, 40}, {64, 64}, {131, 97}, {260, 200}} {
			for _, look := range []Look{Noise, Gradient, Flat} {
				n++
				if size[0] < 33 && look == Flat {
					continue
				}
				steps = append(steps, show(join(f.String(), fmt.Sprintf("%dx%d", size[0], size[1]), look.String()), picture(f, size[0], size[1], look, n)))
			}
		}
		for _, v := range []struct {
			words  string
			change func(*qxl.Image)
		}{
			{"bottom-up", func(im *qxl.Image) { im.TopDown = false }},
			{"padded rows", func(im *qxl.Image) { im.Pad = 8 }},
			{"bottom-up, padded rows", func(im *qxl.Image) { im.TopDown, im.Pad = false, 4 }},
			{"3 chunks", func(im *qxl.Image) { im.Chunks = 3 }},
			{"a chunk a row", func(im *qxl.Image) { im.Chunks = im.Height }},
			{"bottom-up, 5 chunks", func(im *qxl.Image) { im.TopDown, im.Chunks = false, 5 }},
			{"high bits set", func(im *qxl.Image) { im.Flags = qxl.ImageHighBits }},
			{"unstable", func(im *qxl.Image) { im.BitmapFlags = qxl.BitmapUnstable }},
		} {
			for _, look := range []Look{Noise, Gradient} {
				n++
				im := picture(f, 120, 72, look, n)
				v.change(im)
				steps = append(steps, show(join(f.String(), v.words, look.String()), im))
			}
		}
	}
	return refreshed(steps, 20)
}

// jpegs returns steps that a server with JPEG encodes with loss, and later drawings over the
// result.
func jpegs() []Step {
	var steps []Step
	n := uint64(30000)
	soft := func() Step {
		n++
		return Step{Operation: "jpeg", Words: fmt.Sprintf("backdrop %d", n), Do: []qxl.Command{&qxl.Drawable{Box: rect(0, 0, Width, Height),
			Op: &qxl.Copy{Src: picture(qxl.Bit32, Width, Height, Gradient, n), Area: rect(0, 0, Width, Height), Rop: qxl.RopPut}}}}
	}
	for _, f := range []qxl.Format{qxl.Bit32, qxl.Bit24, qxl.Bit16, qxl.RGBA} {
		steps = append(steps, soft())
		for _, sc := range scales {
			for _, clip := range clips[:3] {
				n++
				steps = append(steps, draw("jpeg", join(f.String(), "copy", sc.words, clip.words), clip.v,
					&qxl.Copy{Src: picture(f, sc.v.w, sc.v.h, Gradient, n), Area: sc.v.area, Rop: qxl.RopPut, Scale: sc.v.mode}))
			}
		}
		for _, op := range []named[qxl.Op]{
			{"xor", &qxl.Copy{Src: picture(f, 160, 100, Gradient, n), Area: rect(0, 0, 160, 100), Rop: qxl.RopXor}},
			{"blend", &qxl.AlphaBlend{Src: picture(f, 160, 100, Gradient, n), Area: rect(0, 0, 160, 100), Alpha: 160}},
			{"composite", &qxl.Composite{Operator: 3, Src: Sampled(picture(f, 160, 100, Gradient, n))}},
			{"opaque", &qxl.Opaque{Src: picture(f, 160, 100, Gradient, n), Area: rect(0, 0, 160, 100), Rop: qxl.RopAnd, Brush: qxl.Solid(0xf0f0f0)}},
			{"pattern", &qxl.Fill{Brush: qxl.Pattern(picture(qxl.Bit32, 70, 60, Gradient, n), image.Point{}), Rop: qxl.RopPut}},
		} {
			s := draw("jpeg", join(f.String(), op.words, "over what was coded with loss"), qxl.Clip{}, op.v)
			under := &qxl.Drawable{Box: box, Op: &qxl.Copy{Src: picture(qxl.Bit32, 160, 100, Gradient, n+1), Area: rect(0, 0, 160, 100), Rop: qxl.RopPut}}
			s.Do = append([]qxl.Command{under}, s.Do...)
			steps = append(steps, s)
		}
		kept := cached(f, 160, 100, Gradient, n)
		steps = append(steps, draw("jpeg", join(f.String(), "kept"), qxl.Clip{}, &qxl.Copy{Src: kept, Area: kept.Bounds(), Rop: qxl.RopPut}),
			draw("jpeg", join(f.String(), "from the cache"), clips[1].v, &qxl.Copy{Src: kept, Area: kept.Bounds(), Rop: qxl.RopPut}),
			draw("jpeg", join(f.String(), "from the cache, without loss"), qxl.Clip{}, &qxl.Copy{Src: kept, Area: kept.Bounds(), Rop: qxl.RopXor}))
	}
	steps = append(steps, soft(), draw("jpeg", "moved", qxl.Clip{}, &qxl.CopyBits{From: image.Pt(60, 70)}))
	// An operation must be lossless, but the cache has its image in lossy form. So the server sends
	// the image again, to replace the lossy one.
	kept := cached(qxl.Bit32, 160, 100, Gradient, n+1)
	and := &qxl.Opaque{Src: kept, Area: kept.Bounds(), Brush: qxl.Solid(0xf0f0f0), Rop: qxl.RopAnd}
	return append(steps, soft(),
		draw("jpeg", "kept with loss", qxl.Clip{}, &qxl.Copy{Src: kept, Area: kept.Bounds(), Rop: qxl.RopPut}),
		draw("jpeg", "replaced in the cache without loss", qxl.Clip{}, and),
		draw("jpeg", "from the cache without loss", qxl.Clip{}, and),
		draw("jpeg", "from the cache where loss is allowed", qxl.Clip{}, &qxl.Copy{Src: kept, Area: kept.Bounds(), Rop: qxl.RopPut}))
}

// firstID is the first id of cached images. The ids of other images are smaller.
const firstID = 0xf0000000

func cached(f qxl.Format, w, h int, look Look, id uint64) *qxl.Image {
	im := picture(f, w, h, look, id)
	im.ID, im.Flags = firstID+id, im.Flags|qxl.ImageCache
	return im
}

func caches() []Step {
	var steps []Step
	again := func(words string, id uint64, f qxl.Format, look Look) {
		s := show(words, cached(f, 90, 60, look, id))
		s.Operation = "cache"
		steps = append(steps, s)
	}
	// Each image appears twice, with others in between.
	for i, f := range []qxl.Format{qxl.Bit32, qxl.Bit24, qxl.Bit16, qxl.RGBA} {
		for _, look := range []Look{Noise, Gradient, Flat} {
			again(join("kept", f.String(), look.String()), uint64(10*i)+uint64(look), f, look)
		}
	}
	steps = append(steps, refresh(31))
	for i, f := range []qxl.Format{qxl.Bit32, qxl.Bit24, qxl.Bit16, qxl.RGBA} {
		for _, look := range []Look{Flat, Noise, Gradient} {
			again(join("from the cache", f.String(), look.String()), uint64(10*i)+uint64(look), f, look)
		}
	}
	// The image is another operand than the source of a copy.
	im := cached(qxl.Bit32, 90, 60, Noise, 0)
	steps = append(steps,
		draw("cache", "as a pattern", qxl.Clip{}, &qxl.Fill{Brush: qxl.Pattern(im, image.Point{}), Rop: qxl.RopXor}),
		draw("cache", "scaled", qxl.Clip{}, &qxl.Copy{Src: im, Area: im.Bounds(), Rop: qxl.RopPut}),
		draw("cache", "blended", qxl.Clip{}, &qxl.AlphaBlend{Src: cached(qxl.RGBA, 90, 60, Noise, 30), Alpha: 180, Area: im.Bounds()}),
		draw("cache", "composite", qxl.Clip{}, &qxl.Composite{Operator: 3, Src: Sampled(cached(qxl.RGBA, 90, 60, Gradient, 31))}))
	// These are more than the client can cache: the oldest are evicted and sent again.
	for i := range 40 {
		s := show(fmt.Sprintf("filling, %d", i), cached(qxl.Bit32, 200, 160, Look(i%3), uint64(100+i)))
		s.Operation = "cache"
		steps = append(steps, s)
	}
	for _, i := range []int{0, 1, 39, 38, 20, 0, 39} {
		s := show(fmt.Sprintf("after filling, %d", i), cached(qxl.Bit32, 200, 160, Look(i%3), uint64(100+i)))
		s.Operation = "cache"
		steps = append(steps, s)
	}
	again("thrown out, sent again", 0, qxl.Bit32, Noise)
	reset := show("the device empties the caches", cached(qxl.Bit32, 90, 60, Noise, 0))
	reset.Operation, reset.ResetCache = "cache", true
	steps = append(steps, reset)
	// Palettes are cached, too.
	for round, words := range []string{"palette kept", "palette from the cache", "palette from the cache again"} {
		for i, f := range []qxl.Format{qxl.Bit1BE, qxl.Bit4BE, qxl.Bit8} {
			im := picture(f, 100, 70, Noise, uint64(500+10*round+i))
			im.Palette = palette(uint64(600+i), 1<<f.Bits())
			im.Palette.Unique = uint64(700 + i)
			s := show(join(words, f.String()), im)
			s.Operation = "cache"
			steps = append(steps, s)
		}
	}
	// These are more palettes than a client keeps (CLIENT_PALETTE_CACHE_SIZE is 128).
	for i := range 140 {
		im := picture(qxl.Bit4BE, 24, 16, Noise, uint64(1000+i))
		im.Palette = palette(uint64(1200+i), 16)
		im.Palette.Unique = uint64(1500 + i)
		if i%10 == 0 || i > 127 {
			s := show(fmt.Sprintf("palette %d of many", i), im)
			s.Operation = "cache"
			steps = append(steps, s)
			continue
		}
		last := &steps[len(steps)-1]
		last.Do = append(last.Do, &qxl.Drawable{Box: rect(200+i%5*24, i/5*8, 224+i%5*24, i/5*8+16), Op: &qxl.Copy{Src: im, Area: im.Bounds(), Rop: qxl.RopPut}})
	}
	for _, i := range []int{0, 139, 64} {
		im := picture(qxl.Bit4BE, 24, 16, Noise, uint64(1000+i))
		im.Palette = palette(uint64(1200+i), 16)
		im.Palette.Unique = uint64(1500 + i)
		s := show(fmt.Sprintf("palette %d after many", i), im)
		s.Operation = "cache"
		steps = append(steps, s)
	}
	// The same pixels appear repeatedly, and moved: a case for a dictionary of earlier images.
	for i := range 24 {
		im := picture(qxl.Bit32, 150, 90, Flat, uint64(3000+i/8))
		s := show(fmt.Sprintf("seen before, %d", i), im)
		s.Operation = "dictionary"
		steps = append(steps, s)
	}
	for i := range 24 {
		s := show(fmt.Sprintf("dictionary filling, %d", i), picture(qxl.Bit32, 250, 190, Look(i%3), uint64(3100+i)))
		s.Operation = "dictionary"
		steps = append(steps, s)
	}
	return steps
}

// Sampled returns an operand of a Composite that reads an image without changes.
func Sampled(im *qxl.Image) qxl.Sampled { return qxl.Sampled{Image: im} }

// points returns a path of whole pixels.
func points(xy ...int) [][2]qxl.Fixed {
	var p [][2]qxl.Fixed
	for i := 0; i < len(xy); i += 2 {
		p = append(p, [2]qxl.Fixed{qxl.Fixed(xy[i] * 16), qxl.Fixed(xy[i+1] * 16)})
	}
	return p
}

func strokes() []Step {
	zigzag := []qxl.Segment{{Flags: qxl.PathBegin | qxl.PathEnd, Points: points(45, 35, 190, 60, 50, 90, 180, 125, 60, 120)}}
	closed := []qxl.Segment{{Flags: qxl.PathBegin | qxl.PathEnd | qxl.PathClose, Points: [][2]qxl.Fixed{{45*16 + 7, 35*16 + 3}, {190*16 + 9, 60*16 + 1}, {100*16 + 15, 120*16 + 8}}}}
	bezier := []qxl.Segment{{Flags: qxl.PathBegin, Points: points(50, 40)}, {Flags: qxl.PathEnd | qxl.PathBezier, Points: points(180, 40, 60, 120, 190, 125)}}
	lines := []qxl.Segment{
		{Flags: qxl.PathBegin | qxl.PathEnd, Points: points(50, 40, 190, 40)},
		{Flags: qxl.PathBegin | qxl.PathEnd, Points: points(60, 35, 60, 125)},
		{Flags: qxl.PathBegin | qxl.PathEnd, Points: points(70, 50, 140, 120)},
		{Flags: qxl.PathBegin | qxl.PathEnd, Points: points(190, 50, 120, 120)},
	}
	beyond := []qxl.Segment{{Flags: qxl.PathBegin | qxl.PathEnd, Points: points(-30, 10, 300, 200, 20, 150)}}
	paths := []named[[]qxl.Segment]{{"zigzag", zigzag}, {"closed, fractions", closed}, {"bezier", bezier}, {"lines", lines}, {"beyond the box", beyond}}
	pens := []named[qxl.Stroke]{
		{"", qxl.Stroke{}},
		{"dashed", qxl.Stroke{Flags: qxl.LineStyled, Style: []qxl.Fixed{5 * 16, 3 * 16}}},
		{"dashed, gap first", qxl.Stroke{Flags: qxl.LineStyled | qxl.LineStartWithGap, Style: []qxl.Fixed{7 * 16, 2 * 16, 16, 2 * 16}}},
		{"dashes of fractions", qxl.Stroke{Flags: qxl.LineStyled, Style: []qxl.Fixed{37, 22}}},
	}
	var steps []Step
	n := uint64(0)
	for _, p := range paths {
		for _, pen := range pens {
			for _, rop := range []named[qxl.Rop]{rops[0], rops[3], rops[6]} {
				n++
				clip := clips[n%4]
				s := pen.v
				s.Path, s.Rop, s.Brush = p.v, rop.v, brushes(n)[n%2].v
				steps = append(steps, draw("stroke", join(p.words, pen.words, rop.words, brushes(n)[n%2].words, clip.words), clip.v, &s))
			}
		}
	}
	// Several columns of clips cut the spans. Exclusive or shows which pixel was drawn twice.
	columns := qxl.ClipTo(rect(45, 30, 70, 130), rect(80, 30, 110, 130), rect(115, 30, 150, 130), rect(160, 30, 195, 130))
	for _, p := range paths {
		steps = append(steps, draw("stroke", join(p.words, "xor", "clip to columns"), columns,
			&qxl.Stroke{Path: p.v, Rop: qxl.RopXor, Brush: qxl.Solid(0x5af00f)}))
	}
	steps = append(steps,
		draw("stroke", "one point", qxl.Clip{}, &qxl.Stroke{Path: []qxl.Segment{{Flags: 3, Points: points(60, 60)}}, Rop: qxl.RopPut, Brush: qxl.Solid(0xff)}),
		draw("stroke", "odd number of dashes", qxl.Clip{}, &qxl.Stroke{Path: zigzag, Flags: qxl.LineStyled, Style: []qxl.Fixed{64, 32, 16}, Rop: qxl.RopPut, Brush: qxl.Solid(0xff00)}),
		draw("stroke", "inverted brush", qxl.Clip{}, &qxl.Stroke{Path: zigzag, Rop: qxl.RopPut | qxl.InversBrush, Brush: qxl.Solid(0xff00)}),
		draw("stroke", "rop 0", qxl.Clip{}, &qxl.Stroke{Path: zigzag, Brush: qxl.Solid(0xff00)}))
	return refreshed(steps, 12)
}

// glyphs returns n characters with the depth that flags state.
func glyphs(flags uint16, n int, seed uint64) []qxl.Glyph {
	bits := map[uint16]int{qxl.TextA1: 1, qxl.TextA4: 4, qxl.TextA8: 8}[flags&7]
	var all []qxl.Glyph
	for i := range n {
		w, h := 5+int(hash(seed, i, 0)%17), 7+int(hash(seed, i, 1)%15)
		g := qxl.Glyph{Pos: image.Pt(44+i%8*19, 45+i/8*27), Origin: image.Pt(int(hash(seed, i, 2)%4), -int(hash(seed, i, 3)%6)), Width: w, Height: h}
		stride := (w*bits + 7) / 8
		for j := range stride * h {
			g.Rows = append(g.Rows, byte(hash(seed, i, 100+j)))
		}
		all = append(all, g)
	}
	return all
}

func texts() []Step {
	var steps []Step
	n := uint64(0)
	a8 := Expect{Kind: ServerWrong, Reason: "A8: row i is drawn with the data of row h-i, and the first row with what lies behind the glyph"}
	for _, depth := range []named[uint16]{{"A1", qxl.TextA1}, {"A4", qxl.TextA4}, {"A8", qxl.TextA8}} {
		for _, down := range []named[uint16]{{"", 0}, {"top-down", qxl.TextTopDown}} {
			for _, fore := range brushes(7)[:2] {
				for _, clip := range clips {
					n++
					s := draw("text", join(depth.words, down.words, fore.words, clip.words), clip.v,
						&qxl.Text{Flags: depth.v | down.v, Glyphs: glyphs(depth.v, 20, n), Fore: fore.v, Rop: qxl.RopPut})
					if depth.v == qxl.TextA8 {
						s.Expect = a8
					}
					steps = append(steps, s)
				}
				n++
				s := draw("text", join(depth.words, down.words, fore.words, "background"), clips[n%4].v,
					&qxl.Text{Flags: depth.v | down.v, Glyphs: glyphs(depth.v, 20, n), Fore: fore.v, Rop: qxl.RopPut,
						Back: rect(42, 32, 190, 100), BackBrush: brushes(n)[n%2].v, BackRop: qxl.RopPut})
				if depth.v == qxl.TextA8 {
					s.Expect = a8
				}
				steps = append(steps, s)
			}
		}
	}
	for i := range 3 {
		steps = append(steps, draw("text", join("A1", rops[i+1].words, "no background"), qxl.Clip{},
			&qxl.Text{Flags: qxl.TextA1, Glyphs: glyphs(qxl.TextA1, 12, uint64(90+i)), Fore: qxl.Solid(0x3366cc), Rop: rops[i+1].v}))
	}
	steps = append(steps, draw("text", "A1, data in 4 chunks", qxl.Clip{},
		&qxl.Text{Flags: qxl.TextA1, Glyphs: glyphs(qxl.TextA1, 16, 99), Fore: qxl.Solid(0xcc6633), Rop: qxl.RopPut, DataChunks: 4}))
	return refreshed(steps, 10)
}

// operators are the operators of the X render extension that QXL has.
var operators = []named[uint8]{{"clear", 0}, {"src", 1}, {"dst", 2}, {"over", 3}, {"over reverse", 4}, {"in", 5}, {"in reverse", 6},
	{"out", 7}, {"out reverse", 8}, {"atop", 9}, {"atop reverse", 10}, {"xor", 11}, {"add", 12}, {"saturate", 13},
	{"multiply", 0x30}, {"screen", 0x31}, {"overlay", 0x32}, {"darken", 0x33}, {"lighten", 0x34}, {"color dodge", 0x35},
	{"color burn", 0x36}, {"hard light", 0x37}, {"soft light", 0x38}, {"difference", 0x39}, {"exclusion", 0x3a},
	{"hsl hue", 0x3b}, {"hsl saturation", 0x3c}, {"hsl color", 0x3d}, {"hsl luminosity", 0x3e}}

const one = 1 << 16

// transforms map the destination to the image.
var transforms = []named[*qxl.Transform]{
	{"", nil},
	{"moved", &qxl.Transform{{one, 0, 9 * one}, {0, one, -5 * one}}},
	{"half", &qxl.Transform{{2 * one, 0, 0}, {0, 2 * one, 0}}},
	{"three times", &qxl.Transform{{one / 3, 0, 0}, {0, one / 3, 0}}},
	{"turned", &qxl.Transform{{56756, -32768, 20 * one}, {32768, 56756, -10 * one}}},
	{"sheared", &qxl.Transform{{one, one / 4, -one / 2}, {one / 8, one, 0}}},
	{"mirrored", &qxl.Transform{{-one, 0, 80 * one}, {0, one, 0}}},
}

func composites() []Step {
	var steps []Step
	n := uint64(5000)
	for _, op := range operators {
		for _, v := range []struct {
			words     string
			src, mask *qxl.Image
			component bool
		}{
			{"RGBA", picture(qxl.RGBA, 160, 100, Noise, n+1), nil, false},
			{"32", picture(qxl.Bit32, 160, 100, Gradient, n+2), nil, false},
			{"RGBA, mask 8A", picture(qxl.RGBA, 160, 100, Noise, n+3), picture(qxl.Bit8A, 160, 100, Noise, n+4), false},
			{"RGBA, mask RGBA", picture(qxl.RGBA, 160, 100, Gradient, n+5), picture(qxl.RGBA, 160, 100, Noise, n+6), false},
			{"RGBA, component alpha", picture(qxl.RGBA, 160, 100, Noise, n+7), picture(qxl.RGBA, 160, 100, Noise, n+8), true},
		} {
			n += 10
			clip := clips[n/10%4]
			steps = append(steps, draw("composite", join(op.words, v.words, clip.words), clip.v,
				&qxl.Composite{Operator: op.v, Src: Sampled(v.src), Mask: Sampled(v.mask), Component: v.component}))
		}
	}
	filters := []named[uint32]{{"nearest", 0}, {"bilinear", 1}}
	repeats := []named[uint32]{{"", 0}, {"repeated", 1}, {"padded", 2}, {"reflected", 3}}
	for _, t := range transforms {
		for _, f := range filters {
			for _, r := range repeats {
				n++
				steps = append(steps,
					draw("composite", join("over", "src", t.words, f.words, r.words), qxl.Clip{},
						&qxl.Composite{Operator: 3, Src: qxl.Sampled{Image: picture(qxl.RGBA, 80, 50, Noise, n), Transform: t.v, Filter: f.v, Repeat: r.v}}),
					draw("composite", join("over", "mask", t.words, f.words, r.words), qxl.Clip{},
						&qxl.Composite{Operator: 3, Src: Sampled(picture(qxl.RGBA, 160, 100, Gradient, n)),
							Mask: qxl.Sampled{Image: picture(qxl.RGBA, 80, 50, Noise, n), Transform: t.v, Filter: f.v, Repeat: r.v}}))
			}
		}
	}
	for _, o := range []image.Point{image.Pt(11, 17), image.Pt(-20, -10), image.Pt(100, 80)} {
		n++
		steps = append(steps, draw("composite", fmt.Sprintf("over, from %d,%d", o.X, o.Y), qxl.Clip{},
			&qxl.Composite{Operator: 3, Src: qxl.Sampled{Image: picture(qxl.RGBA, 120, 90, Noise, n), Origin: o, Repeat: 1},
				Mask: qxl.Sampled{Image: picture(qxl.Bit8A, 120, 90, Noise, n), Origin: o, Repeat: 1}}))
	}
	for _, f := range []qxl.Format{qxl.Bit24, qxl.Bit16, qxl.Bit8, qxl.Bit4BE, qxl.Bit1BE, qxl.Bit8A} {
		n++
		steps = append(steps, draw("composite", join("over", f.String()), qxl.Clip{},
			&qxl.Composite{Operator: 3, Src: Sampled(picture(f, 160, 100, Flat, n))}))
	}
	return refreshed(steps, 12)
}
