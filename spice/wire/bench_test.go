package wire_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/wire"
)

// A draw_copy with a clip, a palette and a mask, as large as they get in steady
// use, and one of 64 KiB of pixels.
func busyDrawCopy() []byte {
	m := &wire.DrawCopy{Base: base(), SrcArea: srcArea(), Rop: wire.RopPut,
		Src: &wire.Image{Type: wire.ImageBitmap, Width: 256, Height: 256, Data: make([]byte, 65536),
			Bitmap:  wire.Bitmap{Format: wire.Bitmap8Bit, Width: 256, Height: 256, Stride: 256},
			Palette: &wire.Palette{Colors: make([]uint32, 256)}},
		Mask: wire.Mask{Bitmap: quicImage()}}
	m.Base.Clip = wire.Clip{Type: wire.ClipRects, Rects: make([]wire.Rect, 16)}
	return m.Append(nil)
}

func TestDecodingIntoAUsedMessageTakesNoMemory(t *testing.T) {
	body := busyDrawCopy()
	var m wire.DrawCopy
	require.NoError(t, m.Decode(body))
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if err := m.Decode(body); err != nil {
			panic(err)
		}
	}))
	assert.Same(t, &body[len(body)-25-256*4-10-65536], &m.Src.Data[0], "pixels are a window into the body")
}

func BenchmarkDecodeDrawCopy(b *testing.B) {
	body := busyDrawCopy()
	var m wire.DrawCopy
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrames(b *testing.B) {
	var stream bytes.Buffer
	w := wire.NewFrameWriter(&stream, wire.FrameConfig{Mini: true})
	body := busyDrawCopy()
	for range 16 {
		if err := w.WriteRaw(wire.Header{Type: 304}, body); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(stream.Len()))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		in := wire.NewFrameReader(bytes.NewReader(stream.Bytes()), wire.FrameConfig{Mini: true})
		for range 16 {
			_, err := in.Next()
			if err == nil {
				buf, err = in.Body(buf)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
