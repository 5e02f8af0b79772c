package canvas_test

import (
	"image"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/canvas"
)

// picture makes an image of rows of cells.
func picture(f canvas.Format, rows ...[]uint32) *canvas.Image {
	m := canvas.New(f, len(rows[0]), len(rows))
	for y, row := range rows {
		for x, v := range row {
			m.Set(x, y, v)
		}
	}
	return m
}

func rows(m *canvas.Image) [][]uint32 {
	var all [][]uint32
	for y := range m.Height {
		var row []uint32
		for x := range m.Width {
			row = append(row, m.At(x, y))
		}
		all = append(all, row)
	}
	return all
}

func wantRows(t *testing.T, m *canvas.Image, want ...[]uint32) {
	t.Helper()
	if diff := cmp.Diff(want, rows(m)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestPixelsLieInMemoryAsBlueGreenRed(t *testing.T) {
	m := canvas.New(canvas.XRGB, 2, 1)
	require.NoError(t, m.Fill(canvas.Area{Box: image.Rect(1, 0, 2, 1)}, canvas.Solid(0x112233), canvas.RopCopy))
	require.Equal(t, []byte{0, 0, 0, 0, 0x33, 0x22, 0x11, 0}, m.Pix)
}

func TestAllTernaryOperationsFollowTheirTruthTable(t *testing.T) {
	for code := range 256 {
		// The eight combinations of pattern, source and destination bits.
		dst := picture(canvas.XRGB, []uint32{0b10101010})
		src := picture(canvas.XRGB, []uint32{0b11001100})
		box := dst.Bounds()
		require.NoError(t, dst.Rop3(canvas.Area{Box: box}, src, box, canvas.Solid(0b11110000), uint8(code), canvas.Nearest))
		require.EqualValues(t, code, dst.At(0, 0)&0xff)
	}
}

func TestRop3LeftOfItsPatternTakesTheEndOfTheNextRow(t *testing.T) {
	pattern := picture(canvas.XRGB, []uint32{1, 2, 3}, []uint32{4, 5, 6})
	draw := func(m *canvas.Image, box image.Rectangle, b canvas.Brush) error {
		const codeOfPattern = 0xf0
		return m.Rop3(canvas.Area{Box: box}, m, box, b, codeOfPattern, canvas.Nearest)
	}
	m := canvas.New(canvas.XRGB, 6, 2)
	require.NoError(t, draw(m, image.Rect(0, 0, 6, 1), canvas.Pattern(pattern, image.Pt(2, 0))))
	wantRows(t, m, []uint32{5, 6, 1, 2, 3, 1}, []uint32{0, 0, 0, 0, 0, 0})
	m = canvas.New(canvas.XRGB, 6, 2)
	require.NoError(t, draw(m, image.Rect(0, 0, 2, 1), canvas.Pattern(pattern, image.Pt(2, 1))), "above and left: the first row")
	wantRows(t, m, []uint32{2, 3, 0, 0, 0, 0}, []uint32{0, 0, 0, 0, 0, 0})

	for name, tc := range map[string]struct {
		box   image.Rectangle
		brush canvas.Brush
	}{
		"left of the last row":      {image.Rect(0, 0, 6, 2), canvas.Pattern(pattern, image.Pt(2, 0))},
		"above the first row":       {image.Rect(0, 0, 6, 2), canvas.Pattern(pattern, image.Pt(0, 1))},
		"left, in memory not known": {image.Rect(0, 0, 6, 1), canvas.Pattern(pattern, image.Pt(2, 0)).InUnknownMemory()},
	} {
		m := canvas.New(canvas.XRGB, 6, 2)
		var unsupported *canvas.UnsupportedError
		require.ErrorAs(t, draw(m, tc.box, tc.brush), &unsupported, name)
		wantRows(t, m, make([]uint32, 6), make([]uint32, 6))
	}
	m = canvas.New(canvas.XRGB, 6, 2)
	require.NoError(t, draw(m, image.Rect(0, 0, 6, 1), canvas.Pattern(pattern, image.Point{}).InUnknownMemory()), "not beyond it")
	wantRows(t, m, []uint32{1, 2, 3, 1, 2, 3}, []uint32{0, 0, 0, 0, 0, 0})
}

func TestDescriptorsGiveTheirOperation(t *testing.T) {
	for _, tc := range []struct {
		d         canvas.Descriptor
		src, dest canvas.Descriptor
		want      canvas.Rop
	}{
		{canvas.OpPut, canvas.InvertSrc, canvas.InvertDest, canvas.RopCopy},
		{canvas.OpPut | canvas.InvertSrc, canvas.InvertSrc, canvas.InvertDest, canvas.RopCopyInverted},
		{canvas.OpPut | canvas.InvertSrc, canvas.InvertBrush, canvas.InvertDest, canvas.RopCopy},
		{canvas.OpPut | canvas.InvertSrc | canvas.InvertRes, canvas.InvertSrc, canvas.InvertDest, canvas.RopCopy},
		{canvas.OpXor | canvas.InvertDest, canvas.InvertSrc, canvas.InvertDest, canvas.RopEquiv},
		{canvas.OpAnd | canvas.InvertDest, canvas.InvertSrc, canvas.InvertDest, canvas.RopAndReverse},
		{canvas.OpOr | canvas.InvertSrc, canvas.InvertBrush, canvas.InvertSrc, canvas.RopOrReverse},
		{canvas.OpBlackness | canvas.InvertRes, canvas.InvertSrc, canvas.InvertDest, canvas.RopClear},
		{canvas.OpWhiteness, canvas.InvertSrc, canvas.InvertDest, canvas.RopSet},
		{canvas.OpInvert, canvas.InvertSrc, canvas.InvertDest, canvas.RopInvert},
		{canvas.OpPut | canvas.OpXor, canvas.InvertSrc, canvas.InvertDest, canvas.RopCopy},
		{0, canvas.InvertSrc, canvas.InvertDest, canvas.RopCopy},
	} {
		require.Equal(t, tc.want, tc.d.Rop(tc.src, tc.dest), "%#x", uint16(tc.d))
	}
}

func TestFlatOperations(t *testing.T) {
	m := picture(canvas.RGB555, []uint32{1, 2, 3})
	area := canvas.Area{Box: image.Rect(0, 0, 2, 1)}
	require.NoError(t, m.Invert(area))
	wantRows(t, m, []uint32{0xfffe, 0xfffd, 3})
	require.NoError(t, m.Whiteness(area))
	wantRows(t, m, []uint32{0xffff, 0xffff, 3})
	require.NoError(t, m.Blackness(area))
	wantRows(t, m, []uint32{0, 0, 3})
}

func TestOverlappingClipRectanglesCountOnce(t *testing.T) {
	m := canvas.New(canvas.XRGB, 4, 3)
	clip := []image.Rectangle{image.Rect(1, 1, 4, 3), image.Rect(0, 0, 2, 2), image.Rect(1, 1, 3, 2), {}, image.Rect(3, 2, 9, 9)}
	area := canvas.Area{Box: m.Bounds(), Clipped: true, Clip: clip}
	require.NoError(t, m.Fill(area, canvas.Solid(1), canvas.RopXor))
	wantRows(t, m, []uint32{1, 1, 0, 0}, []uint32{1, 1, 1, 1}, []uint32{0, 1, 1, 1})
	require.NoError(t, m.Fill(canvas.Area{Box: m.Bounds(), Clipped: true}, canvas.Solid(9), canvas.RopCopy))
	require.EqualValues(t, 1, m.At(0, 0), "an empty clip lets nothing through")
}

func TestTooManyLooseRectanglesAreRefused(t *testing.T) {
	m := canvas.New(canvas.XRGB, 4, 3)
	var clip []image.Rectangle
	for range 5000 {
		clip = append(clip, m.Bounds())
	}
	var bad *canvas.ArgumentError
	require.ErrorAs(t, m.Blackness(canvas.Area{Box: m.Bounds(), Clipped: true, Clip: clip}), &bad)
}

func TestMasksOfOtherFormatsAreUnsupported(t *testing.T) {
	m := canvas.New(canvas.XRGB, 1, 1)
	var what *canvas.UnsupportedError
	require.ErrorAs(t, m.Blackness(canvas.Area{Box: m.Bounds(), Mask: &canvas.Mask{Image: m}}), &what)
	require.EqualError(t, what, "canvas: unsupported mask of format 32_xrgb")
	require.ErrorAs(t, m.Blackness(canvas.Area{Box: m.Bounds(), Mask: &canvas.Mask{}}), &what)
}

func TestASurfaceCanBeItsOwnSource(t *testing.T) {
	line := func() *canvas.Image { return picture(canvas.XRGB, []uint32{1, 2, 3, 4}) }
	area := canvas.Area{Box: image.Rect(1, 0, 4, 1)}
	m := line()
	require.NoError(t, m.Copy(area, m, image.Rect(0, 0, 3, 1), canvas.RopCopy, canvas.Nearest))
	wantRows(t, m, []uint32{1, 1, 2, 3})
	m = line()
	require.NoError(t, m.CopyBits(area, image.Pt(0, 0)))
	wantRows(t, m, []uint32{1, 1, 2, 3})
	m = line()
	require.NoError(t, m.CopyBits(canvas.Area{Box: image.Rect(0, 0, 4, 1)}, image.Pt(1, 0)))
	wantRows(t, m, []uint32{2, 3, 4, 4})
	m = line()
	require.NoError(t, m.Transparent(area, m, image.Rect(0, 0, 3, 1), 2))
	wantRows(t, m, []uint32{1, 1, 3, 3})
	m = line()
	require.NoError(t, m.AlphaBlend(area, m, image.Rect(0, 0, 3, 1), canvas.Blend{Alpha: 255}))
	wantRows(t, m, []uint32{1, 0xff000001, 0xff000002, 0xff000003})
	m = line()
	s := canvas.Sampled{Image: m, Filter: canvas.FilterNearest}
	require.NoError(t, m.Composite(area, canvas.OpSrc, s, nil, false))
	wantRows(t, m, []uint32{1, 0xff000001, 0xff000002, 0xff000003})
	column := picture(canvas.XRGB, []uint32{1}, []uint32{2}, []uint32{3})
	require.NoError(t, column.CopyBits(canvas.Area{Box: image.Rect(0, 1, 1, 3)}, image.Pt(0, 0)))
	wantRows(t, column, []uint32{1}, []uint32{1}, []uint32{2})
}

func TestFormatsAreConvertedWithoutLoss(t *testing.T) {
	for _, f := range []canvas.Format{canvas.RGB555, canvas.RGB565} {
		m := canvas.New(f, 256, 256)
		bits := 1 << 16
		if f == canvas.RGB555 {
			bits = 1 << 15
		}
		for v := range bits {
			m.Set(v%256, v/256, uint32(v))
		}
		require.Equal(t, m.Pix, m.Convert(canvas.XRGB).Convert(f).Pix, f)
	}
	m := picture(canvas.A8, []uint32{0, 0x80, 0xff})
	wantRows(t, m.Convert(canvas.ARGB), []uint32{0, 0x80000000, 0xff000000})
	wantRows(t, m.Convert(canvas.A1), []uint32{0, 1, 1})
	require.Same(t, m, m.Convert(canvas.A8))
	x := picture(canvas.XRGB, []uint32{5})
	require.Same(t, x, x.Convert(canvas.ARGB))
	wantRows(t, x.Convert(canvas.A8), []uint32{0xff})
}

func TestGlyphsAreDrawnFromTheBottomUp(t *testing.T) {
	g := canvas.Glyph{Box: image.Rect(0, 0, 2, 2), Data: []byte{0b10000000, 0b01000000}}
	m := canvas.New(canvas.XRGB, 2, 2)
	area := canvas.Area{Box: m.Bounds()}
	s := canvas.String{Depth: 1, Glyphs: []canvas.Glyph{g}}
	require.NoError(t, m.Text(area, s, canvas.Solid(0xffffff), canvas.NoBrush(), image.Rectangle{}))
	require.Equal(t, [][]uint32{{0, 0xffffffff}, {0xffffffff, 0}}, rows(m))
	s.Depth = 8
	var unsupported *canvas.UnsupportedError
	require.ErrorAs(t, m.Text(area, s, canvas.Solid(0xffffff), canvas.NoBrush(), image.Rectangle{}), &unsupported)
}

func TestWhatCannotBeDrawnIsNamedAndDrawsNothing(t *testing.T) {
	m := picture(canvas.XRGB, []uint32{7})
	area := canvas.Area{Box: m.Bounds()}
	src := canvas.New(canvas.XRGB, 3, 3)
	glyph := canvas.String{Depth: 1, Glyphs: []canvas.Glyph{{Box: image.Rect(0, 0, 9, 9), Data: make([]byte, 17)}}}
	for want, err := range map[string]error{
		"canvas: dashes without length":                        m.Stroke(area, nil, canvas.Pen{Dash: []canvas.Fixed{1}}),
		"canvas: unsupported text of depth 0 (vector glyphs)":  m.Text(area, canvas.String{}, canvas.NoBrush(), canvas.NoBrush(), image.Rectangle{}),
		"canvas: glyph 0 of 9×9 pixels has 17 bytes, want 18":  m.Text(area, glyph, canvas.NoBrush(), canvas.NoBrush(), image.Rectangle{}),
		"canvas: unsupported scale mode 2":                     m.Copy(area, src, image.Rect(0, 0, 2, 2), canvas.RopCopy, 2),
		"canvas: cannot scale from (0,0)-(0,1) to (0,0)-(1,1)": m.Copy(area, src, image.Rect(0, 0, 0, 1), canvas.RopCopy, canvas.Nearest),
		"canvas: rop3 source (3,0)-(4,1) is not within (0,0)-(3,3)": m.Rop3(area, src, image.Rect(3, 0, 4, 1), canvas.NoBrush(), 1,
			canvas.Nearest),
		"canvas: pattern without pixels":                    m.Fill(area, canvas.Pattern(&canvas.Image{}, image.Point{}), canvas.RopCopy),
		"canvas: unsupported composite operator 0x3f":       m.Composite(area, 0x3f, canvas.Sampled{Image: src}, nil, false),
		"canvas: unsupported composite filter 5":            m.Composite(area, canvas.OpSrc, canvas.Sampled{Image: src, Filter: 5}, nil, false),
		"canvas: composite mask without pixels":             m.Composite(area, canvas.OpSrc, canvas.Sampled{Image: src}, &canvas.Sampled{}, false),
		"canvas: curve with 1 points, want a multiple of 3": m.Stroke(area, []canvas.Segment{{Begin: true, Bezier: true, Points: make([]canvas.PointFix, 2)}}, canvas.Pen{}),
		"canvas: curve without a start":                     m.Stroke(area, []canvas.Segment{{Bezier: true, Points: make([]canvas.PointFix, 3)}}, canvas.Pen{}),
	} {
		require.EqualError(t, err, want)
		require.EqualValues(t, 7, m.At(0, 0))
	}
}

func TestBlendingHueThroughAMaskIsRefusedWhereTheReferenceReadsMemoryThatItNeverWrote(t *testing.T) {
	argb, xrgb := picture(canvas.ARGB, []uint32{7}), picture(canvas.XRGB, []uint32{7})
	area := canvas.Area{Box: argb.Bounds()}
	src := canvas.Sampled{Image: canvas.New(canvas.ARGB, 3, 3)}
	moved := src
	moved.Repeat = canvas.RepeatPad
	const refused = "canvas: unsupported composite operator 0x3b with a mask and a moved source on a surface with alpha"
	require.EqualError(t, argb.Composite(area, canvas.OpHSLHue, moved, &src, false), refused)
	require.EqualValues(t, 7, argb.At(0, 0))
	require.NoError(t, argb.Composite(area, canvas.OpHSLHue, src, &src, false))
	require.NoError(t, argb.Composite(area, canvas.OpHSLHue, moved, nil, false))
	require.NoError(t, xrgb.Composite(area, canvas.OpHSLHue, moved, &src, false))
}

func TestCurvesOfOnePointEnd(t *testing.T) {
	m := canvas.New(canvas.XRGB, 4, 4)
	p := canvas.PointFix{X: 16, Y: 16}
	q := canvas.PointFix{X: 20, Y: 16}
	path := []canvas.Segment{{Begin: true, Bezier: true, Points: []canvas.PointFix{p, p, p, p, q, q, p}}}
	require.NoError(t, m.Stroke(canvas.Area{Box: m.Bounds()}, path, canvas.Pen{Brush: canvas.Solid(1), Rop: canvas.RopCopy}))
}

func TestLinesFromFarAwayTakeNoLongerThanTheSurface(t *testing.T) {
	m := canvas.New(canvas.XRGB, 3, 3)
	far := canvas.Fixed(math.MaxInt32)
	path := []canvas.Segment{{Begin: true, Points: []canvas.PointFix{{-far, -far}, {far, far}, {-far, 16}, {far, 16}}}}
	require.NoError(t, m.Stroke(canvas.Area{Box: m.Bounds()}, path, canvas.Pen{Brush: canvas.Solid(1), Rop: canvas.RopOr}))
	wantRows(t, m, []uint32{1, 0, 0}, []uint32{1, 1, 1}, []uint32{0, 0, 1})
}

// FuzzDraw draws with arguments that no sane server sends. Nothing but the destination may change, and nothing may panic.
func FuzzDraw(f *testing.F) {
	f.Add(uint8(8), uint64(1<<8|48|6), int32(100), int32(0), int32(800), int32(300), int32(0), int32(0), int32(80), int32(8))
	for op := range operations {
		f.Add(uint8(op), uint64(op), int32(0), int32(0), int32(8), int32(8), int32(0), int32(0), int32(8), int32(8))
		f.Add(uint8(op), uint64(op), int32(math.MinInt32), int32(-1), int32(math.MaxInt32), int32(2), int32(-5), int32(math.MinInt32), int32(7), int32(math.MaxInt32))
	}
	f.Fuzz(func(t *testing.T, op uint8, seed uint64, x0, y0, x1, y1, u0, v0, u1, v1 int32) {
		k, _ := newCase(int(op)%len(operations), all[int(seed%uint64(len(all)))], seed)
		m, area := k.dst, k.area
		box := image.Rectangle{Min: image.Pt(int(x0), int(y0)), Max: image.Pt(int(x1), int(y1))}
		from := image.Rectangle{Min: image.Pt(int(u0), int(v0)), Max: image.Pt(int(u1), int(v1))}
		area.Box = box
		area.Clip = append(area.Clip, from)
		src := k.image(canvas.ARGB, 5, 5)
		was := src.Clone()
		mode := canvas.ScaleMode(seed & 1)
		switch op % 10 {
		case 0:
			_ = m.Fill(area, canvas.Pattern(src, from.Min), canvas.Rop(seed&15))
		case 1:
			_ = m.Copy(area, src, from, canvas.Rop(seed&15), mode)
		case 2:
			_ = m.Opaque(area, src, from, canvas.Solid(uint32(seed)), canvas.Rop(seed&15), mode)
		case 3:
			_ = m.CopyBits(area, from.Min)
		case 4:
			_ = m.Transparent(area, src, from, uint32(seed))
		case 5:
			_ = m.AlphaBlend(area, src, from, canvas.Blend{Alpha: uint8(seed)})
		case 6:
			_ = m.Rop3(area, src, from, canvas.Pattern(src, box.Max), uint8(seed), mode)
		case 7:
			_ = m.Text(area, canvas.String{Depth: 1, Glyphs: []canvas.Glyph{{Box: from, Data: src.Pix}, {Box: box, Data: src.Pix}}}, canvas.Solid(1), canvas.Solid(2), box)
		case 8:
			path := []canvas.Segment{{Begin: true, Bezier: seed&1 == 0, Close: true, End: true, Points: []canvas.PointFix{
				{canvas.Fixed(x0), canvas.Fixed(y0)}, {canvas.Fixed(x1), canvas.Fixed(y1)}, {canvas.Fixed(u0), canvas.Fixed(v0)}, {canvas.Fixed(u1), canvas.Fixed(v1)},
			}}}
			pen := canvas.Pen{Brush: canvas.Solid(uint32(seed)), Rop: canvas.Rop(seed & 15)}
			if seed&16 != 0 {
				pen.Dash, pen.StartWithGap = []canvas.Fixed{canvas.Fixed(x0), canvas.Fixed(seed)}, seed&32 != 0
			}
			_ = m.Stroke(area, path, pen)
		case 9:
			s := canvas.Sampled{Image: src, Filter: canvas.Filter(seed % 5), Repeat: canvas.Repeat(seed >> 8 & 3), Origin: from.Min,
				Transform: &canvas.Transform{{x0, y0, x1}, {y1, u0, v0}}}
			_ = m.Composite(area, canvas.Operator(seed%13), s, nil, false)
		}
		require.Equal(t, was.Pix, src.Pix, "the source was changed")
	})
}

func BenchmarkCopy(b *testing.B) {
	dst, src := canvas.New(canvas.XRGB, 1920, 1080), canvas.New(canvas.XRGB, 1920, 1080)
	area := canvas.Area{Box: dst.Bounds()}
	b.SetBytes(int64(len(dst.Pix)))
	b.ReportAllocs()
	for b.Loop() {
		if err := dst.Copy(area, src, src.Bounds(), canvas.RopCopy, canvas.Nearest); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFill(b *testing.B) {
	for name, rop := range map[string]canvas.Rop{"copy": canvas.RopCopy, "xor": canvas.RopXor} {
		b.Run(name, func(b *testing.B) {
			dst := canvas.New(canvas.XRGB, 1920, 1080)
			area := canvas.Area{Box: dst.Bounds()}
			b.SetBytes(int64(len(dst.Pix)))
			b.ReportAllocs()
			for b.Loop() {
				if err := dst.Fill(area, canvas.Solid(0x123456), rop); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAlphaBlend(b *testing.B) {
	dst, src := canvas.New(canvas.XRGB, 1920, 1080), canvas.New(canvas.ARGB, 1920, 1080)
	area := canvas.Area{Box: dst.Bounds()}
	b.SetBytes(int64(len(dst.Pix)))
	b.ReportAllocs()
	for b.Loop() {
		if err := dst.AlphaBlend(area, src, src.Bounds(), canvas.Blend{Alpha: 200}); err != nil {
			b.Fatal(err)
		}
	}
}

// pixman 0.42.2 gave these values.
func TestSaturateWithAnOpaqueSourceIsRoundedAsOverReverse(t *testing.T) {
	for format, want := range map[canvas.Format]uint32{canvas.XRGB: 0xff2d963c, canvas.ARGB: 0xff2c963b} {
		dst, src := picture(canvas.ARGB, []uint32{0x80008000}), picture(format, []uint32{0xff5a2c78})
		require.NoError(t, dst.Composite(canvas.Area{Box: dst.Bounds()}, canvas.OpSaturate, canvas.Sampled{Image: src}, nil, false))
		require.Equal(t, want, dst.At(0, 0), "%08x of %v", dst.At(0, 0), format)
	}
}

func TestScaledPixelsOfFifteenBitsLoseTheBitWithoutMeaning(t *testing.T) {
	src := picture(canvas.RGB555, []uint32{0x8001, 0x8002})
	dst := picture(canvas.RGB555, []uint32{7, 7, 7, 7})
	// The key is 0x0001 in fifteen bits: the first pixel is it when it was scaled, and is not when it was not.
	require.NoError(t, dst.Transparent(canvas.Area{Box: dst.Bounds()}, src, src.Bounds(), 0x000008))
	wantRows(t, dst, []uint32{7, 7, 2, 2})
	dst = picture(canvas.RGB555, []uint32{7, 7})
	require.NoError(t, dst.Transparent(canvas.Area{Box: dst.Bounds()}, src, src.Bounds(), 0x000008))
	wantRows(t, dst, []uint32{0x8001, 0x8002})
}

func TestPixelsOfSixteenBitsAreScaledWithEightBitsAChannelForASurfaceOf32(t *testing.T) {
	src := picture(canvas.RGB555, []uint32{0, 0x1f})
	dst := picture(canvas.XRGB, []uint32{0, 0, 0, 0})
	require.NoError(t, dst.Copy(canvas.Area{Box: dst.Bounds()}, src, src.Bounds(), canvas.RopCopy, canvas.Interpolate))
	// In five bits the second pixel would be 7 of 31, widened to 0x39.
	require.Equal(t, uint32(0x3f), dst.At(1, 0)&0xffffff)
	require.Equal(t, uint32(0xbf), dst.At(2, 0)&0xffffff)
}

// The line's rows are 0 and 1, 2 to 5, 6 and 7. The second falls into two pieces: the later one is written over the third row,
// and drawn again in its place. libspice-server was seen to draw 120 random strokes this way.
func TestASpanThatFallsIntoPiecesCostsTheNextOneAsInTheReference(t *testing.T) {
	down := []canvas.Segment{{Begin: true, End: true, Points: []canvas.PointFix{{X: 0, Y: 0}, {X: 8 << 4, Y: 2 << 4}}}}
	up := []canvas.Segment{{Begin: true, End: true, Points: []canvas.PointFix{{X: 8 << 4, Y: 2 << 4}, {X: 0, Y: 0}}}}
	draw := func(path []canvas.Segment, rop canvas.Rop, clip ...image.Rectangle) [][]uint32 {
		m := canvas.New(canvas.XRGB, 9, 3)
		area := canvas.Area{Box: m.Bounds(), Clipped: true, Clip: clip}
		require.NoError(t, m.Stroke(area, path, canvas.Pen{Brush: canvas.Solid(7), Rop: rop}))
		return rows(m)
	}
	left, right := image.Rect(0, 0, 3, 3), image.Rect(4, 0, 9, 3)
	require.Equal(t, [][]uint32{{7, 7, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 7, 0, 7, 7, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0, 0}}, draw(down, canvas.RopCopy, left, right))
	require.Equal(t, [][]uint32{{7, 7, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 7, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0, 0}}, draw(down, canvas.RopXor, left, right))
	// Upwards the rows are taken from the top, too: the lowest one is lost.
	require.Equal(t, [][]uint32{{0, 7, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 7, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0, 0}}, draw(up, canvas.RopXor, left, right))
	// Columns that touch are one, and one rectangle above the other loses nothing.
	whole := [][]uint32{{7, 7, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 7, 7, 7, 7, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 7, 7, 0}}
	require.Equal(t, whole, draw(down, canvas.RopXor, left, image.Rect(3, 0, 9, 3)))
	require.Equal(t, whole, draw(down, canvas.RopXor, image.Rect(0, 0, 9, 1), image.Rect(0, 1, 9, 3)))
}
