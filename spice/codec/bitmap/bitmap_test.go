package bitmap_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/bitmap"
	"github.com/spicelane/spicelane/spice/codec/codectest"
)

var formats = []bitmap.Format{
	bitmap.Format1BitLE, bitmap.Format1BitBE, bitmap.Format4BitLE, bitmap.Format4BitBE, bitmap.Format8Bit,
	bitmap.Format16Bit, bitmap.Format24Bit, bitmap.Format32Bit, bitmap.FormatRGBA, bitmap.Format8BitA,
}

// encode returns the picture as a bitmap whose rows are padded with pad bytes, and what it
// decodes to.
func encode(p *codectest.Picture, f bitmap.Format, topDown bool, pad int) (bitmap.Image, []byte, *codectest.Picture) {
	im := bitmap.Image{Format: f, TopDown: topDown, Width: p.Width, Height: p.Height}
	want := p
	var tight []byte // from the top down
	if f.NeedsPalette() {
		colours := map[int]int{1: 2, 4: 13, 8: 201}[f.Bits()]
		var indices []byte
		indices, im.Palette, want = p.Indexed(colours)
		tight = codectest.Pack(indices, p.Width, p.Height, f.Bits(), f == bitmap.Format1BitBE || f == bitmap.Format4BitBE, true)
	}
	switch f {
	case bitmap.Format16Bit:
		var pixels []uint16
		pixels, want = p.RGB555()
		for _, v := range pixels {
			tight = binary.LittleEndian.AppendUint16(tight, v|0x8000) // the highest bit means nothing
		}
	case bitmap.Format24Bit:
		for i := 0; i < len(p.Pix); i += 4 {
			tight = append(tight, p.Pix[i:i+3]...)
		}
	case bitmap.Format32Bit, bitmap.FormatRGBA:
		want = p.WithAlpha()
		tight = want.Pix
	case bitmap.Format8BitA:
		a := p.WithAlpha()
		want = a.AlphaOnly()
		for i := 3; i < len(a.Pix); i += 4 {
			tight = append(tight, a.Pix[i])
		}
	}
	row := len(tight) / p.Height
	im.Stride = row + pad
	data := make([]byte, im.Stride*p.Height)
	for y := range p.Height {
		to := y
		if !topDown {
			to = p.Height - 1 - y
		}
		copy(data[to*im.Stride:], tight[y*row:][:row])
	}
	return im, data[:len(data)-pad], want
}

func TestEveryFormatSurvives(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 7}, {3, 5}, {8, 2}, {9, 3}, {17, 33}} {
		for _, p := range codectest.Pictures(size[0], size[1]) {
			for _, f := range formats {
				for _, topDown := range []bool{true, false} {
					for _, pad := range []int{0, 1, 4} {
						im, data, want := encode(p, f, topDown, pad)
						what := fmt.Sprintf("%s %s %dx%d top-down %t pad %d", p.Name, f, p.Width, p.Height, topDown, pad)
						dst := make([]byte, len(p.Pix))
						require.NoError(t, bitmap.Decode(dst, 4*p.Width, im, data), what)
						codectest.Equal(t, what, dst, want)
					}
				}
			}
		}
	}
}

func TestBytesMeanWhatTheyShould(t *testing.T) {
	two := []uint32{0x111111, 0x222222}
	var sixteen []uint32
	for i := range 16 {
		sixteen = append(sixteen, uint32(i))
	}
	for _, tt := range []struct {
		format  bitmap.Format
		palette []uint32
		data    []byte
		want    []uint32
	}{
		{bitmap.Format1BitLE, two, []byte{0b00000101, 0b1}, []uint32{0x222222, 0x111111, 0x222222, 0x111111, 0x111111, 0x111111, 0x111111, 0x111111, 0x222222}},
		{bitmap.Format1BitBE, two, []byte{0b10100000}, []uint32{0x222222, 0x111111, 0x222222}},
		{bitmap.Format4BitLE, sixteen, []byte{0x21, 0x03}, []uint32{1, 2, 3}},
		{bitmap.Format4BitBE, sixteen, []byte{0x21, 0x30}, []uint32{2, 1, 3}},
		{bitmap.Format8Bit, sixteen, []byte{15, 0}, []uint32{15, 0}},
		{bitmap.Format8Bit, []uint32{0xff123456}, []byte{0}, []uint32{0xff123456}},
		{bitmap.Format16Bit, nil, []byte{0x01, 0x7c, 0xff, 0x7f, 0x10, 0x42}, []uint32{0xff0008, 0xffffff, 0x848484}},
		{bitmap.Format24Bit, nil, []byte{1, 2, 3}, []uint32{0x030201}},
		{bitmap.Format32Bit, nil, []byte{1, 2, 3, 4}, []uint32{0x04030201}},
		{bitmap.FormatRGBA, nil, []byte{1, 2, 3, 4}, []uint32{0x04030201}},
		{bitmap.Format8BitA, nil, []byte{0x80, 0}, []uint32{0x80000000, 0}},
	} {
		im := bitmap.Image{Format: tt.format, TopDown: true, Width: len(tt.want), Height: 1, Stride: len(tt.data), Palette: tt.palette}
		dst := make([]byte, 4*len(tt.want))
		if !assert.NoError(t, bitmap.Decode(dst, len(dst), im, tt.data), tt.format) {
			continue
		}
		got := make([]uint32, len(tt.want))
		for i := range got {
			got[i] = binary.LittleEndian.Uint32(dst[4*i:])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s % x (-want +got):\n%s", tt.format, tt.data, diff)
		}
	}
}

func TestRowsCanHaveGaps(t *testing.T) {
	for _, f := range formats {
		im, data, want := encode(codectest.UI(17, 33), f, false, 2)
		codectest.Gaps(t, f.String(), want, func(dst []byte, stride int) error {
			return bitmap.Decode(dst, stride, im, data)
		})
	}
}

func TestTruncatedDataIsMalformed(t *testing.T) {
	for _, f := range formats {
		im, data, _ := encode(codectest.UI(9, 5), f, true, 3)
		n, err := im.Size()
		require.NoError(t, err)
		assert.Equal(t, len(data), n)
		dst := make([]byte, 4*9*5)
		codectest.Prefixes(t, f.String(), data, func(b []byte) error { return bitmap.Decode(dst, 36, im, b) })
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	two := []uint32{0, 1}
	for _, tt := range []struct {
		im   bitmap.Image
		data []byte
		want string
	}{
		{bitmap.Image{Width: 1, Height: 1}, nil, "bitmap: unsupported image: format 0"},
		{bitmap.Image{Format: 11, Width: 1, Height: 1}, nil, "bitmap: unsupported image: format 11"},
		{bitmap.Image{Format: bitmap.Format8BitA, Width: -1, Height: 1}, nil, "bitmap: malformed image at byte 0: size -1x1, want 1 to 32768 each way"},
		{bitmap.Image{Format: bitmap.Format32Bit, Width: 2, Height: 1, Stride: 7}, nil, "bitmap: malformed image at byte 0: stride 7 for 2 pixels of 32bit"},
		{bitmap.Image{Format: bitmap.Format32Bit, Width: 2, Height: 1, Stride: math.MaxInt32}, nil, "bitmap: malformed image at byte 0: stride 2147483647 for 2 pixels of 32bit"},
		{bitmap.Image{Format: bitmap.Format32Bit, Width: 2, Height: 2, Stride: 8}, make([]byte, 15), "bitmap: malformed image at byte 15: 15 bytes of data, want 16"},
		{bitmap.Image{Format: bitmap.Format1BitBE, Width: 2, Height: 1, Stride: 1}, []byte{0}, "bitmap: malformed image at byte 0: 1bit-be without a palette"},
		{bitmap.Image{Format: bitmap.Format1BitBE, Width: 2, Height: 1, Stride: 1, Palette: two[:1]}, []byte{0x40}, "bitmap: malformed image at byte 0: palette index 1 with 1 entries"},
		{bitmap.Image{Format: bitmap.Format4BitLE, Width: 1, Height: 2, Stride: 1, Palette: two}, []byte{1, 2}, "bitmap: malformed image at byte 1: palette index 2 with 2 entries"},
		{bitmap.Image{Format: bitmap.Format8Bit, Width: 1, Height: 1, Stride: 1, Palette: two}, []byte{255}, "bitmap: malformed image at byte 0: palette index 255 with 2 entries"},
	} {
		assert.EqualError(t, bitmap.Decode(make([]byte, 16), 8, tt.im, tt.data), tt.want)
	}
	var d *codec.DestinationError
	err := bitmap.Decode(make([]byte, 15), 8, bitmap.Image{Format: bitmap.Format32Bit, Width: 2, Height: 2, Stride: 8}, make([]byte, 16))
	require.ErrorAs(t, err, &d)
	assert.EqualError(t, err, "bitmap: a destination of 15 bytes with stride 8 is too small for 2x2 pixels")
}

func TestDecodingAllocatesNothing(t *testing.T) {
	for _, f := range formats {
		im, data, want := encode(codectest.UI(100, 50), f, false, 0)
		dst := make([]byte, len(want.Pix))
		assert.Zero(t, testing.AllocsPerRun(10, func() {
			if err := bitmap.Decode(dst, 400, im, data); err != nil {
				t.Error(err)
			}
		}), f)
	}
}

func FuzzDecode(f *testing.F) {
	for _, format := range formats {
		im, data, _ := encode(codectest.UI(9, 5), format, true, 1)
		f.Add(uint8(format), true, im.Width, im.Height, im.Stride, uint16(len(im.Palette)), data)
	}
	f.Fuzz(func(t *testing.T, format uint8, topDown bool, width, height, stride int, colours uint16, data []byte) {
		im := bitmap.Image{Format: bitmap.Format(format), TopDown: topDown, Width: width, Height: height, Stride: stride,
			Palette: make([]uint32, colours%300)}
		need, err := im.Size()
		if err != nil || need > 1<<20 || width*height > 1<<16 {
			return
		}
		err = bitmap.Decode(make([]byte, 4*width*height), 4*width, im, data)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed {
			t.Fatalf("%+v: %v", im, err)
		}
		if err == nil && len(data) < need {
			t.Fatalf("%+v: decoded from %d bytes, want %d", im, len(data), need)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	p := codectest.UI(1280, 800)
	for _, f := range formats {
		b.Run(p.Name+"/"+f.String(), func(b *testing.B) {
			im, data, want := encode(p, f, true, 0)
			dst := make([]byte, len(want.Pix))
			codectest.Benchmark(b, p, func() error { return bitmap.Decode(dst, 4*p.Width, im, data) })
		})
	}
}
