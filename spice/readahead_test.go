package spice_test

import (
	"bytes"
	"image"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/lz"
	"github.com/spicelane/spicelane/spice/codec/quic"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestImagesDecodedAheadAreDrawnInTheOrderOfTheirMessages(t *testing.T) {
	const w, h = 200, 150
	r := rand.New(rand.NewPCG(1, 2))
	pictures := []*codectest.Picture{codectest.Photo(90, 80).Opaque(), codectest.Noise(70, 70).Opaque(), codectest.UI(120, 100).Opaque(), codectest.Text(20, 20).Opaque()}
	var quics, lzs [][]byte // encoding takes longer than everything else here
	for _, p := range pictures {
		quics = append(quics, codectest.EncodeQUIC(p, int(quic.RGB32)))
		lzs = append(lzs, codectest.EncodeLZ(p, int(lz.RGB32), true))
	}
	var glz codectest.GLZEncoder
	want := canvas.New(canvas.XRGB, w, h)
	var messages []wire.ServerMessage
	for i := range 150 {
		at := image.Pt(r.IntN(w)-20, r.IntN(h)-20)
		if i%5 == 0 {
			box := image.Rect(0, 0, 40, 30).Add(at)
			messages = append(messages, fill(box, uint32(i)))
			require.NoError(t, want.Fill(canvas.Area{Box: box}, canvas.Solid(uint32(i)), canvas.RopCopy))
			continue
		}
		which := r.IntN(len(pictures))
		p := pictures[which]
		var m *wire.Image
		switch r.IntN(4) {
		case 0:
			m = coded(wire.ImageQuic, p, quics[which])
		case 1:
			m = coded(wire.ImageLZRGB, p, lzs[which])
		case 2:
			m = coded(wire.ImageGLZRGB, p, glz.Encode(p, int(lz.RGB32), true))
		case 3:
			m = coded(wire.ImageQuic, p, quics[which])
			m.ID, m.Flags = uint64(i), wire.ImageFlagCacheMe
			again := coded(wire.ImageFromCache, p, nil)
			again.ID = uint64(i)
			messages = append(messages, drawCopy(at, m))
			m, at = again, at.Add(image.Pt(3, 3))
			src := &canvas.Image{Format: canvas.XRGB, Width: p.Width, Height: p.Height, Stride: 4 * p.Width, Pix: p.Pix}
			before := at.Sub(image.Pt(3, 3))
			require.NoError(t, want.Copy(canvas.Area{Box: src.Bounds().Add(before)}, src, src.Bounds(), canvas.RopCopy, canvas.Nearest))
		}
		messages = append(messages, drawCopy(at, m))
		src := &canvas.Image{Format: canvas.XRGB, Width: p.Width, Height: p.Height, Stride: 4 * p.Width, Pix: p.Pix}
		require.NoError(t, want.Copy(canvas.Area{Box: src.Bounds().Add(at)}, src, src.Bounds(), canvas.RopCopy, canvas.Nearest))
	}
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(w, h))
	d.send(messages...)
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.True(t, bytes.Equal(opaque(want.Pix), opaque(pic.Pix)))
	require.Empty(t, c.Stats().Unsupported)
}

func TestWhatWasSentBeforeTheServerHungUpIsDrawn(t *testing.T) {
	p := codectest.Photo(100, 100).Opaque()
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.next() // init: a connection closed with unread bytes would lose what was sent
	d.send(primary(100, 100))
	data := codectest.EncodeQUIC(p, int(quic.RGB32))
	for range 20 {
		d.send(drawCopy(image.Point{}, coded(wire.ImageQuic, p, data)))
	}
	require.NoError(t, d.conn.Close())
	require.EqualError(t, c.Wait(), "spice: display:0: the server closed the connection")
	require.EqualValues(t, 20, c.Stats().Ops["draw_copy"].Count)
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	codectest.Equal(t, "the last picture", opaque(pic.Pix), p)
}

func TestCloseEndsAChannelWithImagesUnderWay(t *testing.T) {
	p := codectest.Noise(150, 150).Opaque()
	data := codectest.EncodeQUIC(p, int(quic.RGB32))
	for range 20 {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		d.send(primary(150, 150))
		for range 5 {
			d.send(drawCopy(image.Point{}, coded(wire.ImageQuic, p, data)))
		}
		require.NoError(t, c.Close())
		require.NoError(t, c.Wait())
	}
}

func TestASurfaceOf1080pCostsItsPixelsAndSixteenMegabytesAtMost(t *testing.T) {
	p := codectest.UI(1920, 1080).Opaque()
	raw := &wire.Image{Type: wire.ImageBitmap, Width: 1920, Height: 1080, Data: p.Pix,
		Bitmap: wire.Bitmap{Format: wire.Bitmap32Bit, Flags: wire.BitmapFlagTopDown, Width: 1920, Height: 1080, Stride: 4 * 1920}}
	bodies := [][]byte{
		drawCopy(image.Point{}, raw).Append(nil),
		drawCopy(image.Point{}, coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.RGB32), true))).Append(nil),
		drawCopy(image.Point{}, coded(wire.ImageGLZRGB, p, new(codectest.GLZEncoder).Encode(p, int(lz.RGB32), true))).Append(nil),
	}
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	s := serve(t, displayID)
	before := heap()
	// A GLZ window costs its pixels besides; here it holds one picture.
	c := s.dial(spice.Config{GLZWindowPixels: 1920 * 1080})
	d := s.peer(displayID)
	d.send(primary(1920, 1080))
	for range 3 {
		for _, body := range bodies[:2] {
			require.NoError(t, d.out.WriteRaw(wire.Header{Type: 304}, body))
		}
	}
	d.sync()
	const pixels = 4 * 1920 * 1080
	require.Less(t, heap()-before, pixels+16<<20)
	require.Empty(t, c.Stats().Unsupported)
	require.NoError(t, d.out.WriteRaw(wire.Header{Type: 304}, bodies[2]))
	d.sync()
	require.Less(t, heap()-before, 2*pixels+16<<20, "with a picture in the GLZ window")
}
