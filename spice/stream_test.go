package spice_test

import (
	"bytes"
	"image"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/codec/jpeg"
	"github.com/spicelane/spicelane/spice/wire"
)

// fieldFrame returns a frame of 504×504 pixels that spice-server sent in the middle of a stream, without Huffman tables.
func fieldFrame(t *testing.T) []byte {
	t.Helper()
	frame, err := os.ReadFile("codec/jpeg/testdata/stream/no-tables-504x504.jpg")
	require.NoError(t, err)
	return frame
}

// The client connects in the middle of a stream: the frame that had the tables went to another client.
func TestAStreamIsShownFromAFrameThatHasNoHuffmanTables(t *testing.T) {
	frame := fieldFrame(t)
	want := make([]byte, 4*504*504)
	var dec jpeg.Decoder
	_, err := dec.Decode(want, 4*504, frame)
	require.NoError(t, err)
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(504, 504),
		&wire.DisplayStreamCreate{Codec: wire.VideoMJPEG, Flags: wire.StreamTopDown, Dest: wire.RectOf(image.Rect(0, 0, 504, 504))},
		&wire.DisplayStreamData{Data: frame})
	d.sync()
	got, err := c.Cells(0, 0, image.Rectangle{}, nil)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got.Pix))
	require.Empty(t, c.Stats().Unsupported)
	require.Equal(t, uint64(1), c.Stats().Images["stream_mjpeg"].Count)
}

func TestAFrameThatCannotBeDecodedIsCountedAndTheNextOneIsShown(t *testing.T) {
	good := fieldFrame(t)
	for name, bad := range map[string][]byte{
		"truncated": good[:3000], "empty": nil, "no JPEG": []byte("BM this is not a JPEG"), "header only": good[:200],
	} {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		d.next() // init
		d.send(primary(504, 504),
			&wire.DisplayStreamCreate{Stream: 5, Codec: wire.VideoMJPEG, Flags: wire.StreamTopDown, Dest: wire.RectOf(image.Rect(0, 0, 504, 504))},
			&wire.DisplayStreamActivateReport{Stream: 5, UniqueID: 9, MaxWindowSize: 1, Timeout: 60000},
			&wire.DisplayStreamData{Stream: 5, Time: 1, Data: bad})
		d.sync()
		require.Equal(t, map[string]uint64{"stream_data: frame that cannot be decoded": 1}, c.Stats().Unsupported, name)
		info, ok := c.Surface(0, 0)
		require.True(t, ok)
		require.Equal(t, "stream_data: stream 5: frame that cannot be decoded", info.Problem, name)
		d.send(&wire.DisplayStreamData{Stream: 5, Time: 2, Data: good})
		report := d.next().(*wire.DisplayStreamReport)
		require.Equal(t, [2]uint32{1, 1}, [2]uint32{report.NumFrames, report.NumDrops}, name)
		d.sync()
		info, _ = c.Surface(0, 0)
		require.Empty(t, info.Problem, "%s: the next frame repairs the picture", name)
		// A message that names another size than the frame has is no reason to end the session either.
		d.send(&wire.DisplayStreamDataSized{Stream: 5, Time: 3, Width: 500, Height: 504, Dest: wire.RectOf(image.Rect(0, 0, 4, 4)), Data: good})
		d.sync()
		require.Equal(t, uint64(1), c.Stats().Unsupported["stream_data_sized: frame that cannot be decoded"])
	}
}

func TestAFrameRepairsOnlyWhatItsOwnStreamHasSpoilt(t *testing.T) {
	good := fieldFrame(t)
	box := image.Rect(0, 0, 504, 504)
	begin := func() (*spice.Client, *peer) {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		d.send(primary(504, 504))
		for id := range uint32(2) {
			d.send(&wire.DisplayStreamCreate{Stream: id, Codec: wire.VideoMJPEG, Flags: wire.StreamTopDown, Dest: wire.RectOf(box)},
				&wire.DisplayStreamData{Stream: id, Data: good[:200]})
		}
		return c, d
	}
	problem := func(c *spice.Client, d *peer) string {
		d.sync()
		info, ok := c.Surface(0, 0)
		require.True(t, ok)
		return info.Problem
	}

	c, d := begin()
	d.send(&wire.DisplayStreamData{Stream: 0, Data: good})
	require.Equal(t, "stream_data: stream 1: frame that cannot be decoded", problem(c, d), "the other stream's frame is still missing")
	d.send(&wire.DisplayStreamData{Stream: 1, Data: good})
	require.Empty(t, problem(c, d))

	c, d = begin()
	d.send(drawCopy(image.Point{}, &wire.Image{ID: 5, Type: 77, Width: 1, Height: 1}),
		&wire.DisplayStreamData{Stream: 0, Data: good}, &wire.DisplayStreamData{Stream: 1, Data: good})
	require.Equal(t, "draw_copy: image type image-77", problem(c, d), "no frame repairs that")

	c, d = begin()
	d.send(&wire.DisplayStreamDestroy{Stream: 0}, &wire.DisplayStreamData{Stream: 1, Data: good})
	require.Equal(t, "stream_data: stream 0: frame that cannot be decoded", problem(c, d), "its next frame never comes")
}
