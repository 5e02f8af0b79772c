package catalogue

import (
	"encoding/binary"
	"fmt"
	"image"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

var cursorNames = []named[qxl.CursorType]{{"alpha", qxl.CursorAlpha}, {"mono", qxl.CursorMono}, {"color4", qxl.CursorColor4},
	{"color8", qxl.CursorColor8}, {"color16", qxl.CursorColor16}, {"color24", qxl.CursorColor24}, {"color32", qxl.CursorColor32}}

// shape returns a cursor's data and its expected image, made from the same pixels.
func shape(t qxl.CursorType, w, h int, hot image.Point, seed uint64) (*qxl.Shape, *CursorShape) {
	s := &qxl.Shape{CursorType: t, Width: w, Height: h, Hot: hot}
	k := &CursorShape{Type: t, Width: w, Height: h, Hot: hot, Pix: make([]byte, 4*w*h)}
	put := func(i int, color uint32, masked bool) {
		switch {
		case !masked:
			binary.LittleEndian.PutUint32(k.Pix[4*i:], color|0xff000000)
		case color != 0:
			if k.Xor == nil {
				k.Xor = make([]byte, 4*w*h)
			}
			binary.LittleEndian.PutUint32(k.Xor[4*i:], color)
		}
	}
	colors := palette(seed, 256).Colors
	stride := (w + 7) / 8
	and, xor := make([]byte, stride*h), make([]byte, stride*h)
	mask := make([]byte, (w*h+7)/8)
	nibbles := make([]byte, (w+1)/2*h)
	for y := range h {
		for x := range w {
			i := y*w + x
			c := uint32(hash(seed, x, y) >> 16)
			masked := hash(seed, x/3, y/2)&1 == 0
			if masked && t != qxl.CursorMono && t != qxl.CursorColor4 && t != qxl.CursorColor8 && c&0x300 == 0 {
				c &= 0xff000000 // transparent, not exclusive or
			}
			if masked {
				mask[i/8] |= 0x80 >> (i % 8)
			}
			switch t {
			case qxl.CursorAlpha:
				s.Data = binary.LittleEndian.AppendUint32(s.Data, c)
				binary.LittleEndian.PutUint32(k.Pix[4*i:], c)
			case qxl.CursorMono:
				on := c&1 == 1
				if masked {
					and[y*stride+x/8] |= 0x80 >> (x % 8)
				}
				if on {
					xor[y*stride+x/8] |= 0x80 >> (x % 8)
					put(i, 0xffffff, masked)
				} else {
					put(i, 0, masked)
				}
			case qxl.CursorColor4:
				nibbles[i/2] |= byte(c&15) << (4 * (1 - i%2))
				put(i, colors[c&15], masked)
			case qxl.CursorColor8:
				s.Data = append(s.Data, byte(c))
				put(i, colors[c&255], masked)
			case qxl.CursorColor16:
				v := to555(c)
				s.Data = binary.LittleEndian.AppendUint16(s.Data, v)
				wide := func(v uint32) uint32 { return v<<3 | v>>2 }
				put(i, wide(uint32(v)>>10&31)<<16|wide(uint32(v)>>5&31)<<8|wide(uint32(v)&31), masked)
			case qxl.CursorColor24:
				s.Data = append(s.Data, byte(c), byte(c>>8), byte(c>>16))
				put(i, c&0xffffff, masked)
			case qxl.CursorColor32:
				s.Data = binary.LittleEndian.AppendUint32(s.Data, c&0xffffff)
				put(i, c&0xffffff, masked)
			}
		}
	}
	table := func(n int) {
		for _, c := range colors[:n] {
			s.Data = binary.LittleEndian.AppendUint32(s.Data, c)
		}
	}
	switch t {
	case qxl.CursorAlpha:
		return s, k
	case qxl.CursorMono:
		s.Data = append(and, xor...)
		return s, k
	case qxl.CursorColor4:
		s.Data = nibbles
		table(16)
	case qxl.CursorColor8:
		table(256)
	}
	s.Data = append(s.Data, mask...)
	return s, k
}

func cursors() []Step {
	var steps []Step
	now := Cursor{Visible: true}
	add := func(words string, c qxl.Command) {
		k := now
		steps = append(steps, Step{Operation: "cursor", Words: words, Do: []qxl.Command{c}, Cursor: &k})
	}
	set := func(words string, s *qxl.Shape, k *CursorShape, at image.Point, visible bool) {
		now = Cursor{At: at, Visible: visible, Shape: k}
		add(words, &qxl.SetCursor{At: at, Visible: visible, Shape: s})
	}
	move := func(to image.Point) {
		now.At, now.Visible = to, true
		add(fmt.Sprintf("moved to %d,%d", to.X, to.Y), &qxl.MoveCursor{To: to})
	}
	n := uint64(0)
	for _, t := range cursorNames {
		for _, size := range [][2]int{{8, 8}, {32, 32}, {24, 17}, {64, 64}} {
			w, h := size[0], size[1]
			for _, hot := range []image.Point{{}, {w / 2, h / 3}, {w - 1, h - 1}} {
				n++
				s, k := shape(t.v, w, h, hot, n)
				set(join(t.words, fmt.Sprintf("%dx%d", w, h), fmt.Sprintf("hot spot %d,%d", hot.X, hot.Y)), s, k, image.Pt(10+int(n), 20+int(n)), true)
			}
		}
		move(image.Pt(100+int(n), 50))
	}
	for _, to := range []image.Point{{0, 0}, {319, 239}, {-5, -7}, {400, 300}, {160, 120}} {
		move(to)
	}
	now.Visible = false
	add("hidden", &qxl.HideCursor{})
	move(image.Pt(77, 66))
	add("trail", &qxl.TrailCursor{Length: 5, Frequency: 2})
	move(image.Pt(78, 66))
	s, k := shape(qxl.CursorAlpha, 20, 20, image.Pt(1, 1), 900)
	set("set, not visible", s, k, image.Pt(5, 6), false)
	move(image.Pt(9, 9))
	s, k = shape(qxl.CursorAlpha, 40, 40, image.Pt(1, 1), 901)
	s.Chunks = 3
	set("data in 3 chunks", s, k, image.Pt(50, 60), true)
	// The client caches these shapes. There are more than it can keep (CLIENT_CURSOR_CACHE_SIZE is
	// 256).
	kept := func(words string, id int) {
		s, k := shape(qxl.CursorAlpha, 12, 12, image.Pt(id%12, id/12%12), uint64(1000+id))
		s.Unique = uint64(100 + id)
		set(words, s, k, image.Pt(id, 2*id), true)
	}
	for i := range 6 {
		kept(fmt.Sprintf("kept %d", i), i)
	}
	for i := range 6 {
		kept(fmt.Sprintf("from the cache %d", i), 5-i)
	}
	for i := range 270 {
		if i%30 == 0 {
			kept(fmt.Sprintf("one of many %d", i), 10+i)
			continue
		}
		id := 10 + i
		sh, _ := shape(qxl.CursorAlpha, 12, 12, image.Pt(id%12, id/12%12), uint64(1000+id))
		sh.Unique = uint64(100 + id)
		last := &steps[len(steps)-1]
		last.Do = append([]qxl.Command{&qxl.SetCursor{Visible: true, Shape: sh}}, last.Do...)
	}
	kept("thrown out, sent again", 0)
	kept("still there", 279)
	return steps
}

func monitors() []Step {
	at := func(id uint32, r image.Rectangle) qxl.Monitor { return qxl.Monitor{ID: id, Area: r} }
	var steps []Step
	for _, m := range []named[[]qxl.Monitor]{
		{"one, all of the surface", []qxl.Monitor{at(0, rect(0, 0, 320, 240))}},
		{"two beside each other", []qxl.Monitor{at(0, rect(0, 0, 160, 240)), at(1, rect(160, 0, 320, 240))}},
		{"four", []qxl.Monitor{at(0, rect(0, 0, 160, 120)), at(1, rect(160, 0, 320, 120)), at(2, rect(0, 120, 160, 240)), at(3, rect(160, 120, 320, 240))}},
		{"the second only", []qxl.Monitor{at(1, rect(50, 60, 300, 200))}},
		{"overlapping", []qxl.Monitor{at(0, rect(0, 0, 200, 200)), at(1, rect(100, 100, 320, 240))}},
		{"one again, part of the surface", []qxl.Monitor{at(0, rect(10, 20, 200, 180))}},
		{"one, all of the surface, again", []qxl.Monitor{at(0, rect(0, 0, 320, 240))}},
	} {
		steps = append(steps, Step{Operation: "monitors", Words: m.words, Monitors: m.v})
	}
	return steps
}

func streams() []Step {
	within := Expect{Kind: Within, Reason: "MJPEG is lossy", Most: 30}
	area := rect(40, 30, 200, 150)
	var steps []Step
	add := func(words string, f Frames) {
		f.Seed = uint64(len(steps) + 1)
		steps = append(steps, Step{Operation: "stream", Words: words, Frames: &f, Expect: within})
	}
	add("started", Frames{Box: area, Count: 60})
	steps = append(steps, refresh(95))
	steps[len(steps)-1].Operation = "stream"
	steps[len(steps)-1].Words = "stopped by a picture over it"
	add("clipped", Frames{Box: area, Count: 50, Clip: qxl.ClipTo(rect(60, 50, 150, 120))})
	add("drawn over", Frames{Box: area, Count: 50, Over: &qxl.Drawable{Box: rect(80, 60, 120, 90), Op: &qxl.Fill{Brush: qxl.Solid(0xff0000), Rop: qxl.RopPut}}})
	add("resized", Frames{Box: area, Count: 60, Grow: image.Pt(40, 30)})
	add("elsewhere", Frames{Box: rect(100, 80, 300, 220), Count: 50})
	add("frames lost", Frames{Box: area, Count: 140, Lose: true})
	reset := refresh(98)
	reset.Operation, reset.Words, reset.Reset = "stream", "stopped by a reset of the device", true
	return append(steps, reset)
}

// drops returns steps that the server ignores.
func drops() []Step {
	var steps []Step
	add := func(words, reason string, c ...qxl.Command) {
		steps = append(steps, Step{Operation: "dropped", Words: words, Expect: Expect{Kind: Dropped, Reason: reason}, Do: c})
	}
	red := &qxl.Fill{Brush: qxl.Solid(0xff0000), Rop: qxl.RopPut}
	pic := picture(qxl.Bit32, 160, 100, Noise, 1)
	put := func(im *qxl.Image, area image.Rectangle) *qxl.Drawable {
		return &qxl.Drawable{Box: box, Op: &qxl.Copy{Src: im, Area: area, Rop: qxl.RopPut}}
	}
	const outside = "its box is not on the surface"
	add("box outside", outside, &qxl.Drawable{Box: rect(400, 10, 500, 60), Op: red})
	add("box above", outside, &qxl.Drawable{Box: rect(-90, -90, -10, -10), Op: red})
	add("box partly outside", outside, &qxl.Drawable{Box: rect(300, 200, 400, 300), Op: red})
	add("box negative", outside, &qxl.Drawable{Box: rect(-10, -10, 50, 50), Op: red})
	add("box empty", "there is nothing to draw", &qxl.Drawable{Box: image.Rectangle{Min: image.Pt(50, 50), Max: image.Pt(50, 80)}, Op: red})
	add("box swapped", "there is nothing to draw", &qxl.Drawable{Box: image.Rectangle{Min: image.Pt(90, 80), Max: image.Pt(50, 50)}, Op: red})
	add("unknown surface", "the surface does not exist", &qxl.Drawable{Surface: 77, Box: box, Op: red})
	add("surface beyond the limit", "the surface cannot exist", &qxl.Drawable{Surface: 5000, Box: box, Op: red})
	add("unknown type", "the operation does not exist", &qxl.Drawable{Box: box, Op: &qxl.Raw{DrawType: 77}})
	add("empty clip list", "nothing is left", &qxl.Drawable{Box: box, Clip: qxl.ClipTo(), Op: red})
	add("clip outside the box", "nothing is left", &qxl.Drawable{Box: box, Clip: qxl.ClipTo(rect(210, 140, 220, 150)), Op: red})
	add("copy without an image", "there is nothing to draw", put(nil, rect(0, 0, 160, 100)))
	add("copy from beyond the image", "the source area is not in the image", put(pic, rect(10, 10, 170, 110)))
	add("palette missing", "the image cannot be read", put(&qxl.Image{Format: qxl.Bit8, Width: 160, Height: 100, Data: Texture{}}, rect(0, 0, 160, 100)))
	add("image beyond the memory", "the address is not valid", put(&qxl.Image{Format: qxl.Bit32, Width: 160, Height: 100, Data: Texture{}, Nowhere: qxl.BeyondSlot}, rect(0, 0, 160, 100)))
	add("from a surface that does not exist", "the command names it", put(fromSurface(99, 160, 100), rect(0, 0, 160, 100)))
	add("copy_bits to where it is", "nothing changes", &qxl.Drawable{Box: box, Op: &qxl.CopyBits{From: box.Min}})
	return append([]Step{refresh(97)}, steps...)
}

// deaths returns steps that end the server.
func deaths() []Step {
	var steps []Step
	add := func(words, reason string, c ...qxl.Command) {
		steps = append(steps, Step{Operation: "deadly", Words: words, Expect: Expect{Kind: Dies, Reason: reason}, Do: c})
	}
	on := func(op qxl.Op) *qxl.Drawable { return &qxl.Drawable{Box: box, Op: op} }
	all := rect(0, 0, 160, 100)
	pic := picture(qxl.Bit32, 160, 100, Noise, 1)
	for code := range 256 {
		if unneeded[code] {
			add(fmt.Sprintf("rop3 %02x", code), "no handler: drivers send something simpler for this code",
				on(&qxl.Rop3{Src: pic, Area: all, Brush: qxl.Solid(0x123456), Code: uint8(code)}))
		}
	}
	for _, f := range []qxl.Format{qxl.Bit1LE, qxl.Bit4LE} {
		add("image "+f.String(), "the format is not implemented", on(&qxl.Copy{Src: picture(f, 160, 100, Noise, 1), Area: all, Rop: qxl.RopPut}))
	}
	for _, f := range []qxl.SurfaceFormat{qxl.Surface565, qxl.SurfaceA8, qxl.SurfaceA1} {
		add("palette on "+f.String(), "unsupported palette format",
			&qxl.CreateSurface{Surface: 5, Format: f, Width: 160, Height: 100},
			&qxl.Drawable{Surface: 5, Box: all, Op: &qxl.Copy{Src: picture(qxl.Bit8, 160, 100, Noise, 1), Area: all, Rop: qxl.RopPut}})
	}
	for _, f := range []qxl.SurfaceFormat{qxl.Surface555, qxl.Surface565, qxl.SurfaceA8} {
		from := fromSurface(5, 160, 100)
		for _, op := range []named[qxl.Op]{
			{"copy", &qxl.Copy{Src: from, Area: all, Rop: qxl.RopPut}},
			{"xor", &qxl.Copy{Src: from, Area: all, Rop: qxl.RopXor}},
			{"brush", &qxl.Fill{Brush: qxl.Pattern(from, image.Point{}), Rop: qxl.RopXor}},
			{"rop3", &qxl.Rop3{Src: from, Area: all, Code: 0xca, Brush: qxl.Solid(1)}},
			{"transparent", &qxl.Transparent{Src: from, Area: all}},
		} {
			add(join(op.words, "from "+f.String()+" to 32 bits"), "the depths differ",
				&qxl.CreateSurface{Surface: 5, Format: f, Width: 160, Height: 100},
				&qxl.Drawable{Surface: 5, Box: all, Op: &qxl.Fill{Brush: qxl.Solid(0x55aa55), Rop: qxl.RopPut}},
				on(op.v))
		}
	}
	add("text, background and xor", "a background needs put",
		on(&qxl.Text{Flags: qxl.TextA1, Glyphs: glyphs(qxl.TextA1, 3, 1), Fore: qxl.Solid(1), Rop: qxl.RopXor, Back: rect(50, 40, 90, 90), BackBrush: qxl.Solid(2), BackRop: qxl.RopPut}))
	add("text without glyphs", "there must be one", on(&qxl.Text{Flags: qxl.TextA1, Fore: qxl.Solid(1), Rop: qxl.RopPut}))
	add("text without a depth", "there must be one", on(&qxl.Text{Glyphs: glyphs(qxl.TextA1, 3, 1), Fore: qxl.Solid(1), Rop: qxl.RopPut}))
	add("bezier of 2 points", "there must be 3 a curve",
		on(&qxl.Stroke{Path: []qxl.Segment{{Flags: qxl.PathBegin, Points: points(50, 40)}, {Flags: qxl.PathEnd | qxl.PathBezier, Points: points(60, 50, 80, 70)}}, Rop: qxl.RopPut, Brush: qxl.Solid(1)}))
	add("dashes of length 0", "the worker spins for ever",
		on(&qxl.Stroke{Path: []qxl.Segment{{Flags: 3, Points: points(50, 40, 90, 80)}}, Flags: qxl.LineStyled, Style: []qxl.Fixed{0, 0}, Rop: qxl.RopPut, Brush: qxl.Solid(1)}))
	add("opaque without an image", "there must be one", on(&qxl.Opaque{Area: all, Brush: qxl.Solid(1), Rop: qxl.RopPut}))
	add("composite without an image", "there must be one", on(&qxl.Composite{Operator: 3}))
	add("pattern without an image", "there must be one", on(&qxl.Fill{Brush: qxl.Brush{Type: 2}, Rop: qxl.RopPut}))
	add("from a surface that does not exist", "it is not looked for",
		&qxl.Drawable{Box: box, Unnamed: true, Op: &qxl.Copy{Src: fromSurface(99, 160, 100), Area: all, Rop: qxl.RopPut}})
	add("rop3 from beyond the image", "bad src bitmap size", on(&qxl.Rop3{Src: picture(qxl.Bit32, 80, 50, Noise, 1), Area: all, Brush: qxl.Solid(1), Code: 0xca}))
	add("scale mode 2", "there is none", on(&qxl.Copy{Src: picture(qxl.Bit32, 80, 50, Noise, 1), Area: rect(0, 0, 80, 50), Rop: qxl.RopPut, Scale: 2}))
	add("mask of 8 bits", "masks have one", on(&qxl.Fill{Brush: qxl.Solid(1), Rop: qxl.RopPut, Mask: qxl.Mask{Image: picture(qxl.Bit8A, 160, 100, Noise, 1)}}))
	add("image in an unknown slot", "slots are not checked", on(&qxl.Copy{Src: &qxl.Image{Format: qxl.Bit32, Width: 160, Height: 100, Data: Texture{}, Nowhere: qxl.UnknownSlot}, Area: all, Rop: qxl.RopPut}))
	add("clip with fewer rectangles than it says", "an assertion", &qxl.Drawable{Box: box, Clip: qxl.Clip{Clipped: true, Rects: []image.Rectangle{rect(50, 50, 90, 90)}, Lie: 3}, Op: &qxl.Fill{Brush: qxl.Solid(1), Rop: qxl.RopPut}})
	return steps
}
