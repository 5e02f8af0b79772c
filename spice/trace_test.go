package spice_test

import (
	"image"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

// traced dials a server, sends messages on its display channel and returns what was noted of them.
func traced(t *testing.T, messages ...wire.ServerMessage) []spice.Received {
	t.Helper()
	s := serve(t, displayID)
	var trace spice.Trace
	s.dial(spice.Config{Tap: trace.Tap})
	d := s.peer(displayID)
	d.send(&wire.SetAck{Generation: 1, Window: 20})
	d.send(messages...)
	d.sync()
	return trace.Take()
}

func TestATraceDescribesWhatADisplayReceivedAndLeavesOutWhatIsTheConnections(t *testing.T) {
	copied := drawCopy(image.Pt(1, 2), bitmap(7, 2, 1, 5))
	copied.Base.Clip = wire.Clip{Type: wire.ClipRects, Rects: []wire.Rect{wire.RectOf(image.Rect(0, 0, 2, 3))}}
	copied.Src.Flags = wire.ImageFlagCacheMe
	got := traced(t, primary(4, 4), copied)
	require.Len(t, got, 2, "neither the ping nor the ack window is noted")
	require.Equal(t, "display.surface_create", got[0].Name)
	require.Nil(t, got[0].Draw)
	body := copied.Append(nil)
	require.Equal(t, len(body), got[1].Bytes)
	require.Equal(t, &spice.ReceivedDraw{
		Box: image.Rect(1, 2, 3, 3), Clipped: true, Clip: 1, How: "put",
		Images: []spice.ReceivedImage{{
			Role: "source", Type: "bitmap", Format: "32bit", Width: 2, Height: 1, ID: 7, Flags: "cache_me", Bytes: 8,
		}},
	}, got[1].Draw)
	require.Regexp(t, `^display:0 message 2 display.draw_copy on surface 0 in \(1,2\)-\(3,3\), clip of 1, put, `+
		`source bitmap 32bit 2×1, \d+ bytes [0-9a-f]{16}$`, got[1].String())
}

func TestTheFirstMessageThatDiffersIsNamedWithWhatBecameOfIt(t *testing.T) {
	messages := []wire.ServerMessage{primary(4, 4)}
	for i := range 4 {
		messages = append(messages, fill(image.Rect(0, 0, 1+i%4, 1), uint32(i)))
	}
	whole := traced(t, messages...)
	require.Nil(t, spice.CompareTraces(whole, traced(t, messages...)))
	for _, tc := range []struct {
		kind   string
		change func([]wire.ServerMessage) []wire.ServerMessage
		index  int
	}{
		{"lost", func(m []wire.ServerMessage) []wire.ServerMessage { return slices.Delete(m, 2, 3) }, 2},
		{"lost", func(m []wire.ServerMessage) []wire.ServerMessage { return m[:4] }, 4},
		{"added", func(m []wire.ServerMessage) []wire.ServerMessage { return slices.Insert(m, 3, m[2]) }, 3},
		{"added", func(m []wire.ServerMessage) []wire.ServerMessage { return append(m, m[4]) }, 5},
		{"reordered", func(m []wire.ServerMessage) []wire.ServerMessage {
			m[2], m[3] = m[3], m[2]
			return m
		}, 2},
		{"changed", func(m []wire.ServerMessage) []wire.ServerMessage {
			m[3] = fill(image.Rect(0, 0, 1, 1), 77)
			return m
		}, 3},
	} {
		got := spice.CompareTraces(whole, traced(t, tc.change(slices.Clone(messages))...))
		require.NotNil(t, got, tc.kind)
		require.Equal(t, tc.kind, got.Kind)
		require.Equal(t, tc.index, got.Index, tc.kind)
		require.Contains(t, got.String(), tc.kind)
	}
}

func TestCellsAreASurfacesRawValuesInItsOwnFormat(t *testing.T) {
	for _, format := range []wire.SurfaceFormat{
		wire.Surface1A, wire.Surface8A, wire.Surface16_555, wire.Surface16_565, wire.Surface32XRGB, wire.Surface32ARGB,
	} {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		_, err := c.Cells(0, 3, image.Rectangle{}, nil)
		require.ErrorIs(t, err, spice.ErrNoSurface)
		create := &wire.DisplaySurfaceCreate{Surface: 3, Width: 3, Height: 2, Format: format}
		paint := fill(image.Rect(1, 0, 3, 1), 0xa1b2c3d5)
		paint.Base.Surface = 3
		d.send(create, paint)
		d.sync()
		want := map[wire.SurfaceFormat]uint32{
			wire.Surface1A: 1, wire.Surface8A: 0xd5, wire.Surface16_555: 0xc3d5, wire.Surface16_565: 0xc3d5,
			wire.Surface32XRGB: 0xa1b2c3d5, wire.Surface32ARGB: 0xa1b2c3d5,
		}[format]
		got, err := c.Cells(0, 3, image.Rectangle{}, nil)
		require.NoError(t, err)
		require.Equal(t, canvas.Format(format), got.Format)
		require.Equal(t, []uint32{0, want, want, 0, 0, 0}, argb(got.Pix), "%v", format)
		memory := &got.Pix[0]
		part, err := c.Cells(0, 3, image.Rect(2, 0, 9, 9), got)
		require.NoError(t, err)
		require.Equal(t, image.Rect(0, 0, 1, 2), part.Bounds(), "the area is cut to the surface")
		require.Equal(t, []uint32{want, 0}, argb(part.Pix))
		require.Same(t, memory, &part.Pix[0])
	}
}

func TestFeaturesOfDrawingMessagesAreCounted(t *testing.T) {
	s := serve(t, displayID, cursorID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	xor := drawCopy(image.Point{}, bitmap(7, 2, 1, 5))
	xor.Rop, xor.Src.Flags = wire.RopXor, wire.ImageFlagCacheMe
	xor.Base.Clip = wire.Clip{Type: wire.ClipRects, Rects: []wire.Rect{wire.RectOf(image.Rect(0, 0, 2, 3))}}
	d.send(primary(4, 4), fill(image.Rect(0, 0, 1, 1), 1), xor)
	d.sync()
	p := s.peer(cursorID)
	p.send(&wire.CursorSet{Cursor: wire.Cursor{Flags: wire.CursorFlagNone}})
	p.sync()
	require.Equal(t, map[string]uint64{
		"clip none": 1, "rop copy": 1, "brush solid": 1,
		"clip rects": 1, "rop xor": 1, "image cache_me": 1, "bitmap 32bit": 1,
		"cursor hidden": 1,
	}, c.Stats().Features)
	count := map[string]uint64{}
	for _, r := range spice.CoverageOf(c.Stats()) {
		if r.Kind == "feature" {
			count[r.Name] = r.Count
		}
	}
	require.Equal(t, uint64(1), count["rop xor"])
	require.Contains(t, count, "mask inverted")
	require.Zero(t, count["mask inverted"])
	for name := range c.Stats().Features {
		require.Contains(t, count, name)
	}
}
