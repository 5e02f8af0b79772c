package spice_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// argb returns rows of pixels as AARRGGBB words.
func argb(pix []byte) []uint32 {
	var all []uint32
	for ; len(pix) > 0; pix = pix[4:] {
		all = append(all, binary.LittleEndian.Uint32(pix))
	}
	return all
}

func words(v ...uint32) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestCursorsOfEveryTypeAreDecoded(t *testing.T) {
	const opaque = 0xff000000
	mask := []byte{0b01100000} // the second and the third pixel are not opaque
	palette := func(n int, v ...uint32) []byte {
		return append(words(v...), bytes.Repeat([]byte{0}, 4*(n-len(v)))...)
	}
	for _, tc := range []struct {
		kind wire.CursorType
		data []byte
		pix  []uint32
		xor  []uint32
	}{
		{wire.CursorAlpha, words(0x80112233, 0, 0xff445566, 1), []uint32{0x80112233, 0, 0xff445566, 1}, nil},
		// AND 0 XOR 0 is black, 0 1 white, 1 0 transparent, 1 1 inverts.
		{wire.CursorMono, []byte{0b00110000, 0b01010000}, []uint32{opaque, opaque | 0xffffff, 0, 0}, []uint32{0, 0, 0, 0xffffff}},
		{wire.CursorColor4, append(append([]byte{0x12, 0x01}, palette(16, 0, 0xffffff, 0x123456)...), mask...),
			[]uint32{opaque | 0xffffff, 0, 0, opaque | 0xffffff}, []uint32{0, 0x123456, 0, 0}},
		{wire.CursorColor8, append(append([]byte{2, 1, 0, 2}, palette(256, 0, 0xffffff, 0x123456)...), mask...),
			[]uint32{opaque | 0x123456, 0, 0, opaque | 0x123456}, []uint32{0, 0xffffff, 0, 0}},
		{wire.CursorColor16, append([]byte{0x00, 0x7c, 0xff, 0x7f, 0, 0, 0x1f, 0}, mask...),
			[]uint32{opaque | 0xff0000, 0, 0, opaque | 0xff}, []uint32{0, 0xffffff, 0, 0}},
		{wire.CursorColor24, append([]byte{1, 2, 3, 0, 0, 0, 0xff, 0xff, 0xff, 4, 5, 6}, mask...),
			[]uint32{opaque | 0x030201, 0, 0, opaque | 0x060504}, []uint32{0, 0, 0xffffff, 0}},
		{wire.CursorColor32, append(words(0x112233, 0xffffff, 0, 0x77445566), mask...),
			[]uint32{opaque | 0x112233, 0, 0, opaque | 0x445566}, []uint32{0, 0xffffff, 0, 0}},
	} {
		t.Run(tc.kind.String(), func(t *testing.T) {
			s := serve(t, cursorID)
			c := s.dial(spice.Config{})
			p := s.peer(cursorID)
			shape := wire.Cursor{Type: tc.kind, Width: 4, Height: 1, HotSpotX: 1, HotSpotY: 9, Data: tc.data}
			p.send(&wire.CursorInit{Position: wire.Point16{X: 5, Y: 6}, Visible: true, Cursor: shape})
			p.sync()
			got, ok := c.Cursor(0)
			require.True(t, ok)
			require.True(t, got.Visible)
			require.Equal(t, [4]int{5, 6, 1, 1}, [4]int{got.X, got.Y, got.Shape.HotX, got.Shape.HotY}, "the hot spot is kept within the shape")
			require.Equal(t, tc.pix, argb(got.Shape.Pix))
			require.Equal(t, tc.xor, argb(got.Shape.Xor))
			shape.Data = shape.Data[:len(shape.Data)-1]
			p.send(&wire.CursorSet{Visible: true, Cursor: shape})
			require.ErrorContains(t, c.Wait(), "cursor.set: "+tc.kind.String()+" cursor of 4×1 pixels with ")
		})
	}
}

func TestCursorsMoveHideAndAreCached(t *testing.T) {
	s := serve(t, cursorID)
	c := s.dial(spice.Config{})
	p := s.peer(cursorID)
	state := func() spice.Cursor {
		p.sync()
		k, ok := c.Cursor(0)
		require.True(t, ok)
		return k
	}
	shape := wire.Cursor{Flags: wire.CursorFlagCacheMe, Unique: 7, Width: 1, Height: 1, Data: words(0xffabcdef)}
	cached := wire.Cursor{Flags: wire.CursorFlagFromCache, Unique: 7}
	p.send(&wire.CursorInit{Cursor: wire.Cursor{Flags: wire.CursorFlagNone}})
	require.False(t, state().Visible)
	p.send(&wire.CursorSet{Visible: true, Cursor: shape})
	first := state().Shape
	p.send(&wire.CursorMove{Position: wire.Point16{X: 3, Y: 4}})
	require.Equal(t, spice.Cursor{Visible: true, X: 3, Y: 4, Shape: first}, state())
	p.send(&wire.CursorHide{})
	require.False(t, state().Visible)
	p.send(&wire.CursorTrail{Length: 3}, &wire.CursorSet{Position: wire.Point16{X: 1}, Visible: true, Cursor: cached})
	require.Equal(t, spice.Cursor{Visible: true, X: 1, Shape: first}, state())
	p.send(&wire.CursorSet{Visible: true, Cursor: wire.Cursor{Type: 99, Width: 1, Height: 1}})
	require.False(t, state().Visible, "a type that is not known is not shown")
	require.Equal(t, map[string]uint64{"cursor type cursor-99": 1}, c.Stats().Unsupported)
	p.send(&wire.CursorReset{})
	require.Equal(t, spice.Cursor{}, state())
	p.send(&wire.CursorSet{Visible: true, Cursor: cached})
	require.ErrorContains(t, c.Wait(), "cursor 0x7 is not in the cursor cache")
	_, ok := c.Cursor(1)
	require.False(t, ok)
}

func TestAPictureIsTakenWithTheCursorOnIt(t *testing.T) {
	picture := func() *spice.Picture {
		return &spice.Picture{SurfaceInfo: spice.SurfaceInfo{Width: 3, Height: 1}, Stride: 12, Pix: words(0x101010, 0x101010, 0x101010)}
	}
	shape := &spice.CursorShape{Width: 3, Height: 1, HotX: 1, Pix: words(0xffff0000, 0x80ffffff, 0), Xor: words(0, 0, 0xffffff)}
	p := picture()
	p.DrawCursor(spice.Cursor{Visible: true, X: 1, Shape: shape})
	require.Equal(t, []string{"ff0000 888888 efefef"}, pixels(p))
	p = picture()
	p.DrawCursor(spice.Cursor{Visible: true, X: 3, Shape: shape})
	require.Equal(t, []string{"101010 101010 ff0000"}, pixels(p), "what is outside is cut off")
	p = picture()
	p.DrawCursor(spice.Cursor{X: 1, Shape: shape})
	require.Equal(t, []string{"101010 101010 101010"}, pixels(p), "a hidden cursor is not drawn")
}
