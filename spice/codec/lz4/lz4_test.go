package lz4_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/lz4"
)

var formats = []lz4.Format{lz4.RGB16, lz4.RGB24, lz4.RGB32, lz4.RGBA, lz4.A8}

// encode returns the picture as an LZ4 image and what it decodes to.
func encode(p *codectest.Picture, f lz4.Format, topDown bool, rows int) ([]byte, *codectest.Picture) {
	p = p.WithAlpha()
	data := codectest.EncodeLZ4(p, int(f), topDown, rows)
	switch f {
	case lz4.RGB16:
		_, p = p.RGB555()
	case lz4.RGB24:
		p = p.Opaque()
	case lz4.A8:
		p = p.AlphaOnly()
	}
	return data, p
}

func TestVectorsDecodeToTheirPixels(t *testing.T) {
	var dec lz4.Decoder
	for _, v := range codectest.Load(t) {
		dst := make([]byte, 4*v.Width*v.Height)
		_, err := dec.Decode(dst, 4*v.Width, v.Width, v.Height, v.Data)
		v.Check(t, dst, err)
	}
}

func TestEveryFormatSurvives(t *testing.T) {
	var dec lz4.Decoder // one for all: nothing of an image may show in the next
	for _, size := range [][2]int{{1, 1}, {3, 5}, {17, 33}, {301, 97}} {
		for _, p := range codectest.Pictures(size[0], size[1]) {
			for _, f := range formats {
				for _, topDown := range []bool{true, false} {
					for _, rows := range []int{1, 4, 1000} {
						data, want := encode(p, f, topDown, rows)
						what := fmt.Sprintf("%s %s %dx%d top-down %t, %d rows a block", p.Name, f, p.Width, p.Height, topDown, rows)
						dst := make([]byte, len(p.Pix))
						h, err := dec.Decode(dst, 4*p.Width, p.Width, p.Height, data)
						require.NoError(t, err, what)
						assert.Equal(t, lz4.Header{Format: f, TopDown: topDown}, h, what)
						codectest.Equal(t, what, dst, want)
					}
				}
			}
		}
	}
}

func TestRowsCanHaveGaps(t *testing.T) {
	var dec lz4.Decoder
	for _, f := range formats {
		for _, topDown := range []bool{true, false} {
			data, want := encode(codectest.UI(17, 33), f, topDown, 5)
			codectest.Gaps(t, f.String(), want, func(dst []byte, stride int) error {
				_, err := dec.Decode(dst, stride, 17, 33, data)
				return err
			})
		}
	}
}

func TestTruncatedImagesAreMalformed(t *testing.T) {
	var dec lz4.Decoder
	for _, f := range formats {
		data, want := encode(codectest.UI(17, 13), f, true, 5)
		dst := make([]byte, len(want.Pix))
		codectest.Prefixes(t, f.String(), data, func(b []byte) error {
			_, err := dec.Decode(dst, 4*17, 17, 13, b)
			return err
		})
	}
}

func TestBytesMeanWhatTheyShould(t *testing.T) {
	// Two blocks, the second of which copies the pixel that the first one holds.
	data := []byte{
		1, 8, // top-down, SPICE_BITMAP_FMT_32BIT
		0, 0, 0, 5, 0x40, 1, 2, 3, 4, // four literals
		0, 0, 0, 8, 0x00, 4, 0, 0x40, 5, 6, 7, 8, // four bytes from four back, four literals
	}
	dst := make([]byte, 12)
	var dec lz4.Decoder
	h, err := dec.Decode(dst, 12, 3, 1, data)
	require.NoError(t, err)
	assert.Equal(t, lz4.Header{Format: lz4.RGB32, TopDown: true}, h)
	assert.Equal(t, []byte{1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8}, dst)
}

func TestAnImageOfAlphaAloneHasAByteAPixel(t *testing.T) {
	data := []byte{
		0, 10, // bottom-up, SPICE_BITMAP_FMT_8BIT_A
		0, 0, 0, 7, 0x60, 1, 2, 3, 4, 5, 6, // six literals
	}
	dst := make([]byte, 24)
	var dec lz4.Decoder
	h, err := dec.Decode(dst, 12, 3, 2, data)
	require.NoError(t, err)
	assert.Equal(t, lz4.Header{Format: lz4.A8}, h)
	assert.True(t, h.Format.HasAlpha())
	assert.Equal(t, []byte{0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}, dst)
}

func TestBlocksHoldSomething(t *testing.T) {
	var dec lz4.Decoder
	data := []byte{1, 8, 0, 0, 0, 1, 0, 0, 0, 0, 5, 0x40, 1, 2, 3, 4} // nothing, then a pixel
	_, err := dec.Decode(make([]byte, 4), 4, 1, 1, data)
	assert.Equal(t, codectest.Malformed, codectest.Kind(err), "%v", err)
}

func TestSizesAreChecked(t *testing.T) {
	data, want := encode(codectest.UI(17, 33), lz4.RGB32, true, 5)
	var dec lz4.Decoder
	for _, size := range [][2]int{{0, 33}, {17, -1}, {40000, 1}} {
		_, err := dec.Decode(make([]byte, 1<<20), 1<<18, size[0], size[1], data)
		assert.Equal(t, codectest.Malformed, codectest.Kind(err), "%v: %v", size, err)
	}
	for _, tt := range []struct{ n, stride int }{
		{len(want.Pix) - 1, 68}, {len(want.Pix), 67}, {0, 68}, {len(want.Pix), -68}, {len(want.Pix), math.MaxInt},
	} {
		_, err := dec.Decode(make([]byte, tt.n), tt.stride, 17, 33, data)
		var d *codec.DestinationError
		assert.ErrorAs(t, err, &d, "%d bytes, stride %d", tt.n, tt.stride)
	}
}

func TestSteadyDecodingAllocatesNothing(t *testing.T) {
	for _, f := range formats {
		data, want := encode(codectest.UI(100, 50), f, false, 8)
		dst := make([]byte, len(want.Pix))
		var dec lz4.Decoder
		assert.Zero(t, testing.AllocsPerRun(10, func() {
			if _, err := dec.Decode(dst, 400, 100, 50, data); err != nil {
				t.Error(err)
			}
		}), f)
	}
}

func FuzzDecode(f *testing.F) {
	for _, format := range formats {
		data, _ := encode(codectest.UI(9, 7), format, true, 3)
		f.Add(9, 7, data)
	}
	f.Add(3, 1, binary.BigEndian.AppendUint32([]byte{0, 8}, 0xffffffff))
	var dec lz4.Decoder
	f.Fuzz(func(t *testing.T, width, height int, data []byte) {
		if width < 1 || height < 1 || width > 1<<10 || height > 1<<6 {
			return
		}
		_, err := dec.Decode(make([]byte, 4*width*height), 4*width, width, height, data)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed && k != codectest.Unsupported {
			t.Fatalf("%dx%d: %v", width, height, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, p := range codectest.Pictures(1280, 800) {
		for _, f := range []lz4.Format{lz4.RGB32, lz4.RGB24} {
			b.Run(p.Name+"/"+f.String(), func(b *testing.B) {
				data, want := encode(p, f, true, 32)
				dst := make([]byte, len(want.Pix))
				var dec lz4.Decoder
				codectest.Benchmark(b, p, func() error {
					_, err := dec.Decode(dst, 4*p.Width, p.Width, p.Height, data)
					return err
				})
			})
		}
	}
}
