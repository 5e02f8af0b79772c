package spice_test

import (
	"bytes"
	"image"
	stdjpeg "image/jpeg"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/wire"
)

// shown returns the rows of the primary surface.
func shown(t *testing.T, c *spice.Client) []string {
	t.Helper()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	return pixels(pic)
}

func TestServersWithoutSurfacesSetAMode(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(&wire.DisplayMode{Width: 2, Height: 1, Bits: 32}, fill(image.Rect(0, 0, 2, 1), 0x123456), &wire.DisplayMark{})
	d.sync()
	require.Equal(t, []string{"123456 123456"}, shown(t, c))
	info, err := c.AwaitPicture(t.Context(), 0)
	require.NoError(t, err)
	d.send(&wire.DisplayReset{})
	d.sync()
	require.Equal(t, []string{"000000 000000"}, shown(t, c))
	after, _ := c.Surface(0, 0)
	require.Greater(t, after.Generation, info.Generation)
	require.False(t, after.Marked)
	d.send(&wire.DisplayMode{Width: 1, Height: 1, Bits: 16}, fill(image.Rect(0, 0, 1, 1), 0x7c00))
	d.sync()
	require.Equal(t, []string{"ff0000"}, shown(t, c), "a mode takes the place of the one before")
}

func TestAwaitPictureSaysWhatItHasWhenItGivesUp(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(2, 1))
	d.sync()
	ctx, cancel := contextCanceled()
	defer cancel()
	_, err := c.AwaitPicture(ctx, 0)
	require.EqualError(t, err, "spice: waiting for the picture of display 0: context canceled; it has a surface of 2×1 pixels that the server has not called complete")
	_, err = c.AwaitPicture(ctx, 1)
	require.ErrorContains(t, err, "it has no surface")
}

func TestMonitorsAreTold(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	heads := []wire.Head{{ID: 1, Width: 800, Height: 600}, {ID: 2, X: 800, Width: 640, Height: 480}}
	d.send(&wire.DisplayMonitorsConfig{MaxAllowed: 4, Heads: heads})
	d.sync()
	require.Equal(t, heads, c.Heads(0))
	require.Nil(t, c.Heads(1))
}

func TestSurfacesOfUnknownFormatAreNotTrusted(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	create := primary(1, 1)
	create.Format = 77
	d.send(create)
	d.sync()
	info, ok := c.Surface(0, 0)
	require.True(t, ok)
	require.Equal(t, "surface_create: format-77", info.Problem)
	from := &wire.Image{Type: wire.ImageSurface, Width: 1, Height: 1}
	d.send(&wire.DisplaySurfaceCreate{Surface: 2, Width: 1, Height: 1, Format: wire.Surface32XRGB})
	copyOf := drawCopy(image.Point{}, from)
	copyOf.Base.Surface = 2
	d.send(copyOf)
	d.sync()
	info, _ = c.Surface(0, 2)
	require.Equal(t, "draw_copy: surface_create: format-77", info.Problem, "what is drawn from it is not trusted either")
}

func TestTheByteWithoutMeaningIsSetWhereTheServerSaysSo(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	high := bitmap(1, 1, 1, 0x112233)
	high.Flags = wire.ImageFlagHighBitsSet
	onto := drawCopy(image.Point{}, high)
	onto.Base.Surface = 1
	from := &wire.Image{Type: wire.ImageSurface, Surface: 1, Width: 1, Height: 1}
	d.send(primary(1, 1), fill(image.Rect(0, 0, 1, 1), 0xffffff),
		&wire.DisplaySurfaceCreate{Surface: 1, Width: 1, Height: 1, Format: wire.Surface32ARGB}, onto,
		&wire.DrawAlphaBlend{Base: base(image.Rect(0, 0, 1, 1)), Alpha: 255, Src: from, SrcArea: wire.RectOf(image.Rect(0, 0, 1, 1))})
	d.sync()
	require.Equal(t, []string{"112233"}, shown(t, c))
}

func TestRop3LeftOfItsPatternIsRefusedUnlessThePatternIsInTheMessage(t *testing.T) {
	const codeOfPattern = 0xf0
	box := image.Rect(0, 0, 2, 1)
	rop3 := func(pattern *wire.Image) *wire.DrawRop3 {
		return &wire.DrawRop3{Base: base(box), Src: bitmap(1, 2, 1, 0), SrcArea: wire.RectOf(box), Rop3: codeOfPattern,
			Brush: wire.Brush{Type: wire.BrushPattern, Pattern: pattern, Pos: wire.Point{X: 1}}}
	}
	kept := bitmap(2, 2, 2, 0x112233)
	kept.Flags = wire.ImageFlagCacheMe
	for name, tc := range map[string]struct {
		pattern *wire.Image
		refused bool
	}{
		"in the message": {bitmap(3, 2, 2, 0x112233), false},
		"kept":           {kept, true},
		"from the cache": {&wire.Image{ID: 4, Type: wire.ImageFromCache, Width: 2, Height: 2}, true},
		"a surface":      {&wire.Image{Type: wire.ImageSurface, Width: 2, Height: 2}, true},
	} {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		before := bitmap(4, 2, 2, 0x112233)
		before.Flags = wire.ImageFlagCacheMe
		d.send(primary(2, 2), drawCopy(image.Point{}, before), rop3(tc.pattern))
		d.sync()
		if tc.refused {
			require.Len(t, c.Stats().Unsupported, 1, name)
		} else {
			require.Empty(t, c.Stats().Unsupported, name)
			require.Equal(t, "112233 112233", shown(t, c)[0], name)
		}
	}
}

func TestALossyImageDoesNotPassForALosslessOne(t *testing.T) {
	p := codectest.UI(16, 16).Opaque()
	var jpg bytes.Buffer
	require.NoError(t, stdjpeg.Encode(&jpg, p.NRGBA(), nil))
	lossy := coded(wire.ImageJPEG, p, jpg.Bytes())
	lossy.ID, lossy.Flags = 4, wire.ImageFlagCacheMe
	cached := func(k wire.ImageType) *wire.Image { return &wire.Image{ID: 4, Type: k, Width: 16, Height: 16} }
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(16, 16), drawCopy(image.Point{}, lossy), drawCopy(image.Point{}, cached(wire.ImageFromCache)))
	d.sync()
	require.Empty(t, c.Stats().Unsupported)
	d.send(drawCopy(image.Point{}, cached(wire.ImageFromCacheLossless)))
	d.sync()
	require.Equal(t, map[string]uint64{"draw_copy: lossless image of which the cache has a lossy one": 1}, c.Stats().Unsupported)
	replace := bitmap(4, 16, 16, 0x010203)
	replace.Flags = wire.ImageFlagCacheReplaceMe
	d.send(drawCopy(image.Point{}, replace), fill(image.Rect(0, 0, 16, 16), 0), drawCopy(image.Point{}, cached(wire.ImageFromCacheLossless)))
	d.sync()
	require.Equal(t, "010203", shown(t, c)[3][:6])
}

func TestMessagesInsideOfAMessageAreCarriedOutFirst(t *testing.T) {
	s := serve(t, displayID)
	s.common = s.common.Without(wire.CapMiniHeader)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(2, 1))
	sub := func(m wire.ServerMessage) wire.SubMessage {
		return wire.SubMessage{Type: m.MessageType(), Body: m.Append(nil)}
	}
	last := fill(image.Rect(1, 0, 2, 1), 3)
	body, offset := wire.AppendSubMessages(last.Append(nil), 0, []wire.SubMessage{sub(fill(image.Rect(0, 0, 2, 1), 1)), sub(fill(image.Rect(0, 0, 1, 1), 2))})
	require.NoError(t, d.out.WriteRaw(wire.Header{Serial: 2, Type: last.MessageType(), SubList: offset}, body))
	d.sync()
	require.Equal(t, []string{"000002 000003"}, shown(t, c))
	require.EqualValues(t, 3, c.Stats().Ops["draw_fill"].Count)
	list, _ := wire.AppendSubMessages(nil, 0, []wire.SubMessage{sub(fill(image.Rect(0, 0, 2, 1), 7)), sub(&wire.DisplaySurfaceDestroy{Surface: 9})})
	require.NoError(t, d.out.WriteRaw(wire.Header{Serial: 9, Type: 8}, list))
	require.EqualError(t, c.Wait(), "spice: display:0: message 9 display.surface_destroy: surface 9 does not exist")
	require.Equal(t, []string{"000007 000007"}, shown(t, c))
}

func TestWhatAServerHasTheClientKeepIsBounded(t *testing.T) {
	keep := func(id uint64) wire.ServerMessage {
		m := bitmap(id, 8, 8, 0)
		m.Flags = wire.ImageFlagCacheMe
		return drawCopy(image.Point{}, m)
	}
	palette := func(id uint64) wire.ServerMessage {
		return drawCopy(image.Point{}, &wire.Image{Type: wire.ImageBitmap, Width: 1, Height: 1, Data: []byte{0},
			Palette: &wire.Palette{Unique: id, Colors: []uint32{1}},
			Bitmap:  wire.Bitmap{Format: wire.Bitmap8Bit, Flags: wire.BitmapFlagPaletteCacheMe, Width: 1, Height: 1, Stride: 1}})
	}
	cursor := func(id uint64) wire.ServerMessage {
		return &wire.CursorSet{Cursor: wire.Cursor{Flags: wire.CursorFlagCacheMe, Unique: id, Width: 1, Height: 1, Data: make([]byte, 4)}}
	}
	for _, tc := range []struct {
		on   wire.ChannelID
		make func(uint64) wire.ServerMessage
		fit  int
		want string
	}{
		// The cache may hold twice what was announced, and an image more.
		{displayID, keep, 2*2 + 1, "pixels in the pixmap cache: 384, more than the limit of 320"},
		{displayID, palette, 1024, "palettes in the palette cache: 1025, more than the limit of 1024"},
		{cursorID, cursor, 1024, "shapes in the cursor cache: 1025, more than the limit of 1024"},
	} {
		s := serve(t, displayID, cursorID)
		c := s.dial(spice.Config{PixmapCachePixels: 128, Limits: spice.Limits{ImagePixels: 64}})
		p := s.peer(tc.on)
		if tc.on == displayID {
			p.send(primary(8, 8))
		}
		for i := range tc.fit {
			p.send(tc.make(uint64(i)))
		}
		p.sync()
		p.send(tc.make(1 << 40))
		require.ErrorContains(t, c.Wait(), tc.want)
	}
}

func TestDestroyedSurfacesCountNoMore(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{Limits: spice.Limits{TotalPixels: 150}})
	d := s.peer(displayID)
	for range 5 {
		d.send(primary(10, 10), &wire.DisplayMark{}, &wire.DisplaySurfaceDestroy{})
	}
	d.send(primary(10, 10))
	d.sync()
	info, ok := c.Surface(0, 0)
	require.True(t, ok)
	require.False(t, info.Marked, "a new surface has to be called complete again")
}

func TestBlendingKeepsTheAlphaOfAnImageOnA16BitSurface(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	create := primary(2, 1)
	create.Format = wire.Surface16_555
	src := bitmap(1, 2, 1, 0, 0xff00ff00)
	src.Bitmap.Format = wire.BitmapRGBA
	box := image.Rect(0, 0, 2, 1)
	d.send(create, fill(box, 0x7c00), &wire.DrawAlphaBlend{Base: base(box), Alpha: 255, Src: src, SrcArea: wire.RectOf(box)})
	d.sync()
	require.Equal(t, []string{"ff0000 00ff00"}, shown(t, c))
}

func TestOpaqueCombinesItsBrushWithItsImage(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	box := image.Rect(0, 0, 1, 1)
	d.send(primary(1, 1), &wire.DrawOpaque{Base: base(box), Src: bitmap(1, 1, 1, 0x00ff0f), SrcArea: wire.RectOf(box),
		Brush: wire.Brush{Type: wire.BrushSolid, Color: 0x0f0f0f}, Rop: wire.RopAnd | wire.RopInversSrc})
	d.sync()
	require.Equal(t, []string{"0f0000"}, shown(t, c), "brush and not image")
}

func TestPicturesAndCursorsAreImagesOfTheStandardLibrary(t *testing.T) {
	s := serve(t, displayID, cursorID)
	c := s.dial(spice.Config{})
	d, p := s.peer(displayID), s.peer(cursorID)
	d.send(primary(2, 1), fill(image.Rect(1, 0, 2, 1), 0x102030))
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 255, 0x10, 0x20, 0x30, 255}, pic.Image().Pix)
	cursor, ok := c.Cursor(0)
	require.True(t, ok)
	require.Nil(t, cursor.Image())
	p.send(&wire.CursorSet{Visible: true, Cursor: wire.Cursor{Type: wire.CursorAlpha, Width: 1, Height: 1, Data: words(0x80112233)}})
	p.sync()
	cursor, _ = c.Cursor(0)
	require.Equal(t, []byte{0x11, 0x22, 0x33, 0x80}, cursor.Image().Pix)
	require.Equal(t, image.Rect(0, 0, 1, 1), cursor.Image().Bounds())
}
