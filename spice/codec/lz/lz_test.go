package lz_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/lz"
)

// sizes are small and odd, and large enough for distances of more than 13 bits.
var sizes = [][2]int{{1, 1}, {1, 9}, {2, 3}, {3, 5}, {9, 4}, {17, 33}, {301, 97}}

var types = []lz.Type{lz.PLT1LE, lz.PLT1BE, lz.PLT4LE, lz.PLT4BE, lz.PLT8, lz.RGB16, lz.RGB24, lz.RGB32, lz.RGBA, lz.XXXA, lz.A8}

// encode returns the picture as an LZ image, its palette if it has one, and what it
// decodes to.
func encode(p *codectest.Picture, t lz.Type, topDown bool) ([]byte, []uint32, *codectest.Picture) {
	if t.NeedsPalette() {
		colours := map[lz.Type]int{lz.PLT1LE: 2, lz.PLT1BE: 2, lz.PLT4LE: 16, lz.PLT4BE: 11, lz.PLT8: 256}[t]
		indices, palette, shown := p.Indexed(colours)
		return codectest.EncodeLZPalette(indices, p.Width, p.Height, int(t), topDown), palette, shown
	}
	a := p.WithAlpha()
	data := codectest.EncodeLZ(a, int(t), topDown)
	switch t {
	case lz.RGB16:
		_, p = p.RGB555()
	case lz.RGBA:
		p = a
	case lz.XXXA, lz.A8:
		p = a.AlphaOnly()
	}
	return data, nil, p
}

func TestVectorsDecodeToTheirPixels(t *testing.T) {
	var dec lz.Decoder
	for _, v := range codectest.Load(t) {
		dst := make([]byte, 4*v.Width*v.Height)
		h, err := dec.Decode(dst, 4*v.Width, v.Data, v.Palette)
		v.Check(t, dst, err)
		if err == nil {
			assert.Equal(t, v.Width, h.Width, v.Name)
			assert.Equal(t, v.Height, h.Height, v.Name)
		}
	}
}

func TestEveryTypeAndSizeSurvives(t *testing.T) {
	var dec lz.Decoder // one for all: nothing of an image may show in the next
	for _, size := range sizes {
		for _, p := range codectest.Pictures(size[0], size[1]) {
			for _, typ := range types {
				for _, topDown := range []bool{true, false} {
					data, palette, want := encode(p, typ, topDown)
					what := fmt.Sprintf("%s %s %dx%d top-down %t", p.Name, typ, p.Width, p.Height, topDown)
					dst := make([]byte, len(p.Pix))
					h, err := dec.Decode(dst, 4*p.Width, data, palette)
					require.NoError(t, err, what)
					if diff := cmp.Diff(lz.Header{Type: typ, Width: p.Width, Height: p.Height, TopDown: topDown}, h); diff != "" {
						t.Errorf("%s: header (-want +got):\n%s", what, diff)
					}
					codectest.Equal(t, what, dst, want)
				}
			}
		}
	}
}

func TestAlphaAloneLeavesColoursAsTheyAre(t *testing.T) {
	var dec lz.Decoder
	p := codectest.Photo(17, 33)
	want := p.WithAlpha()
	for _, topDown := range []bool{true, false} {
		data := codectest.EncodeLZ(want, codectest.LZXXXA, topDown)
		dst := append([]byte(nil), p.Pix...)
		_, err := dec.Decode(dst, 4*p.Width, data, nil)
		require.NoError(t, err)
		codectest.Equal(t, fmt.Sprintf("top-down %t", topDown), dst, want)

		wide := make([]byte, (4*p.Width+12)*p.Height)
		for y := range p.Height {
			copy(wide[y*(4*p.Width+12):], p.Pix[y*4*p.Width:][:4*p.Width])
		}
		_, err = dec.Decode(wide, 4*p.Width+12, data, nil)
		require.NoError(t, err)
		var pix []byte
		for y := range p.Height {
			pix = append(pix, wide[y*(4*p.Width+12):][:4*p.Width]...)
		}
		codectest.Equal(t, fmt.Sprintf("with gaps, top-down %t", topDown), pix, want)
	}
}

func TestRowsCanHaveGaps(t *testing.T) {
	var dec lz.Decoder
	for _, typ := range types {
		if typ == lz.XXXA {
			continue // keeps what is there; see above
		}
		for _, topDown := range []bool{true, false} {
			data, palette, want := encode(codectest.UI(17, 33), typ, topDown)
			codectest.Gaps(t, typ.String(), want, func(dst []byte, stride int) error {
				_, err := dec.Decode(dst, stride, data, palette)
				return err
			})
		}
	}
}

func TestTruncatedImagesAreMalformed(t *testing.T) {
	var dec lz.Decoder
	for _, p := range []*codectest.Picture{codectest.UI(17, 13), codectest.Photo(3, 5), codectest.Text(1, 1), codectest.Text(64, 9)} {
		for _, typ := range types {
			data, palette, _ := encode(p, typ, true)
			dst := make([]byte, len(p.Pix))
			codectest.Prefixes(t, p.Name+" "+typ.String(), data, func(b []byte) error {
				_, err := dec.Decode(dst, 4*p.Width, b, palette)
				return err
			})
		}
	}
}

// Streams by hand, so that what the encoder never writes is covered as well.
func TestItemsMeanWhatTheyShould(t *testing.T) {
	const a, b, c = "\x01\x02\x03", "\x04\x05\x06", "\x07\x08\x09"
	for _, tt := range []struct {
		name   string
		stream string
		want   []uint32
	}{
		{"literals", "\x02" + a + b + c, []uint32{0x030201, 0x060504, 0x090807}},
		{"run of one", "\x00" + a + "\x20\x00", []uint32{0x030201, 0x030201}},
		{"overlapping match", "\x01" + a + b + "\x60\x01", []uint32{0x030201, 0x060504, 0x030201, 0x060504, 0x030201}},
		{"match of seven", "\x00" + a + "\xe0\x00\x00", []uint32{0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201}},
		{"match of nine", "\x00" + a + "\xe0\x02\x00", []uint32{0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201, 0x030201}},
		{"two matches", "\x01" + a + b + "\x20\x01\x40\x00", []uint32{0x030201, 0x060504, 0x030201, 0x030201, 0x030201}},
	} {
		data := binary.BigEndian.AppendUint32(nil, 0x20205a4c)
		for _, v := range []uint32{1<<16 | 1, uint32(lz.RGB32), uint32(len(tt.want)), 1, uint32(4 * len(tt.want)), 1} {
			data = binary.BigEndian.AppendUint32(data, v)
		}
		dst := make([]byte, 4*len(tt.want))
		var dec lz.Decoder
		_, err := dec.Decode(dst, len(dst), append(data, tt.stream...), nil)
		if !assert.NoError(t, err, tt.name) {
			continue
		}
		got := make([]uint32, len(tt.want))
		for i := range got {
			got[i] = binary.LittleEndian.Uint32(dst[4*i:])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestItemsThatGoWrongAreMalformed(t *testing.T) {
	const (
		before = "match reaches back before the start of the image"
		past   = "item runs past the end of the image"
	)
	for _, tt := range []struct {
		typ    lz.Type
		stream string
		at     int
		reason string
	}{
		{lz.PLT8, "\x00\x01\x20\x01", 30, before},
		{lz.PLT8, "\x00\x01\x40\x00", 30, past}, // four where three are left
		{lz.PLT8, "\x04\x01\x01\x01\x01\x01", 28, past},
		{lz.RGB16, "\x00\x01\x01\x20\x01", 31, before},
		{lz.RGB16, "\x00\x01\x01\x60\x00", 31, past},
		{lz.RGB16, "\x04\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", 28, past},
		{lz.RGB32, "\x00\x01\x01\x01\x20\x01", 32, before},
		{lz.RGB32, "\x00\x01\x01\x01\x80\x00", 32, past},
		{lz.RGB32, "\x04\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", 28, past},
		{lz.XXXA, "\x00\x01\x20\x01", 30, before},
		{lz.XXXA, "\x00\x01\x40\x00", 30, past},
		{lz.XXXA, "\x04\x01\x01\x01\x01\x01", 28, past},
		{lz.RGBA, "\x00\x01\x01\x01\x60\x00\x00\x01\x20\x01", 36, before}, // in the alpha
	} {
		stride := map[lz.Type]uint32{lz.PLT8: 4, lz.RGB16: 8}[tt.typ]
		if stride == 0 {
			stride = 16
		}
		data := binary.BigEndian.AppendUint32(nil, 0x20205a4c)
		for _, v := range []uint32{1<<16 | 1, uint32(tt.typ), 4, 1, stride, 1} {
			data = binary.BigEndian.AppendUint32(data, v)
		}
		var dec lz.Decoder
		_, err := dec.Decode(make([]byte, 16, 64), 16, append(data, tt.stream...), []uint32{0, 1})
		assert.EqualError(t, err, fmt.Sprintf("lz: malformed image at byte %d: %s", tt.at, tt.reason), "%s % x", tt.typ, tt.stream)
	}
}

// TestAMatchBeforeTheStartIsMalformedFarFromTheEndToo: where there is room, short items of 16 bits are
// decoded another way.
func TestAMatchBeforeTheStartIsMalformedFarFromTheEndToo(t *testing.T) {
	const width = 400
	for _, item := range []string{"\x20\x04", "\x5f\x00", "\x3f\xff\x00\x00", "\xe0\x00\x04"} {
		data := binary.BigEndian.AppendUint32(nil, 0x20205a4c)
		for _, v := range []uint32{1<<16 | 1, uint32(lz.RGB16), width, 1, 2 * width, 1} {
			data = binary.BigEndian.AppendUint32(data, v)
		}
		data = append(append(data, "\x03\x01\x01\x01\x01\x01\x01\x01\x01"...), item...)
		data = append(data, bytes.Repeat([]byte("\x00\x01\x01"), width)...)
		var dec lz.Decoder
		_, err := dec.Decode(make([]byte, 4*width), 4*width, data, nil)
		assert.EqualError(t, err, "lz: malformed image at byte 37: match reaches back before the start of the image", "% x", item)
	}
}

func TestFarMatchesReachAllTheWay(t *testing.T) {
	// One row in which every pixel is its own colour, and then matches of two pixels at
	// distances around the border between near and far, and at the farthest.
	const width = 32768
	for _, distance := range []int{8190, 8191, 8192, 8193, 16384} {
		p := &codectest.Picture{Name: "ramp", Width: width, Height: 1, Pix: make([]byte, 4*width)}
		for i := range width {
			v := uint32(i * 5)
			if i >= width-8 {
				v = uint32((i - distance) * 5)
			}
			binary.LittleEndian.PutUint32(p.Pix[4*i:], v&0xffffff)
		}
		data := codectest.EncodeLZ(p, codectest.LZRGB32, true)
		stored := codectest.LZStored(p)
		require.Less(t, len(data), len(stored)-8, "no match at distance %d", distance)
		dst := make([]byte, len(p.Pix))
		var dec lz.Decoder
		for _, d := range [][]byte{data, stored} {
			_, err := dec.Decode(dst, 4*width, d, nil)
			require.NoError(t, err)
			codectest.Equal(t, fmt.Sprint("distance ", distance), dst, p)
		}
	}
}

func TestHeaderIsReadFromItsBytes(t *testing.T) {
	data := []byte{
		' ', ' ', 'Z', 'L', // magic
		0, 1, 0, 1, // version
		0, 0, 0, 9, // type
		0, 0, 0x05, 0x00, // width
		0, 0, 0x03, 0x20, // height
		0, 0, 0x14, 0x00, // stride
		0, 0, 0, 1, // top-down
	}
	h, err := lz.ParseHeader(data)
	require.NoError(t, err)
	assert.Equal(t, lz.Header{Type: lz.RGBA, Width: 1280, Height: 800, TopDown: true}, h)
	assert.True(t, h.Type.HasAlpha())
	codectest.Prefixes(t, "header", data, func(b []byte) error {
		_, err := lz.ParseHeader(b)
		return err
	})
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	p := codectest.UI(4, 4)
	data := codectest.LZStored(p)
	set := func(word int, v uint32) []byte {
		b := append([]byte(nil), data...)
		binary.BigEndian.PutUint32(b[4*word:], v)
		return b
	}
	for _, tt := range []struct {
		data []byte
		want string
	}{
		{data[:10], "lz: malformed image at byte 10: truncated header"},
		{set(0, 1), "lz: malformed image at byte 0: magic 0x00000001, want 0x20205a4c"},
		{set(1, 2<<16), "lz: unsupported image: version 2.0"},
		{set(2, 13), "lz: unsupported image: type 13"},
		{set(3, 0), "lz: malformed image at byte 12: size 0x4, want 1 to 32768 each way"},
		{set(5, 12), "lz: malformed image at byte 20: stride 12 for 4 pixels of rgb32, want 16"},
		{set(2, uint32(lz.PLT4LE)), "lz: malformed image at byte 20: stride 16 for 4 pixels of plt4-le, want 2"},
		{data[:30], "lz: malformed image at byte 30: truncated"},
		{append(set(0, 0x20205a4c), 1, 2), "lz: malformed image at byte 77: 2 bytes after the end of the image"},
	} {
		var dec lz.Decoder
		_, err := dec.Decode(make([]byte, 64), 16, tt.data, nil)
		assert.EqualError(t, err, tt.want)
	}
}

func TestShortDestinationIsTheCallersMistake(t *testing.T) {
	data, _, want := encode(codectest.UI(17, 33), lz.RGB32, true)
	var dec lz.Decoder
	for _, tt := range []struct{ n, stride int }{
		{len(want.Pix) - 1, 68}, {len(want.Pix), 67}, {0, 68}, {len(want.Pix), 69}, {len(want.Pix), -68}, {len(want.Pix), math.MaxInt},
	} {
		_, err := dec.Decode(make([]byte, tt.n), tt.stride, data, nil)
		var d *codec.DestinationError
		assert.ErrorAs(t, err, &d, "%d bytes, stride %d", tt.n, tt.stride)
	}
}

func TestSteadyDecodingAllocatesNothing(t *testing.T) {
	for _, typ := range types {
		for _, topDown := range []bool{true, false} {
			data, palette, want := encode(codectest.UI(100, 50), typ, topDown)
			dst := make([]byte, len(want.Pix))
			var dec lz.Decoder
			allocs := testing.AllocsPerRun(10, func() {
				if _, err := dec.Decode(dst, 4*want.Width, data, palette); err != nil {
					t.Error(err)
				}
			})
			assert.Zero(t, allocs, typ)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range codectest.Pictures(9, 7) {
		for i, typ := range types {
			data, _, _ := encode(p, typ, i%2 == 0)
			f.Add(data, uint16(16))
		}
	}
	var dec lz.Decoder
	f.Fuzz(func(t *testing.T, data []byte, colours uint16) {
		h, err := lz.ParseHeader(data)
		if err != nil {
			if k := codectest.Kind(err); k != codectest.Malformed && k != codectest.Unsupported {
				t.Fatalf("header: %v", err)
			}
			return
		}
		if h.Width*h.Height > 1<<16 {
			return
		}
		palette := make([]uint32, colours%300)
		for i := range palette {
			palette[i] = uint32(i * 7)
		}
		dst := make([]byte, 4*h.Width*h.Height)
		got, err := dec.Decode(dst, 4*h.Width, data, palette)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed {
			t.Fatalf("%v: %v", h, err)
		}
		if err == nil && got != h {
			t.Fatalf("header %v, then %v", h, got)
		}
		// With gaps between the rows, another way through the decoder has to come
		// to the same end.
		stride := 4*h.Width + 4
		wide := make([]byte, stride*h.Height)
		_, err2 := dec.Decode(wide, stride, data, palette)
		if codectest.Kind(err2) != codectest.Kind(err) {
			t.Fatalf("%v: %v, then with gaps %v", h, err, err2)
		}
		for y := range h.Height {
			if err == nil && string(dst[y*4*h.Width:][:4*h.Width]) != string(wide[y*stride:][:4*h.Width]) {
				t.Fatalf("%v: row %d is another with gaps", h, y)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, p := range codectest.Pictures(1280, 800) {
		for _, typ := range []lz.Type{lz.RGB32, lz.RGBA, lz.RGB16, lz.PLT8} {
			b.Run(p.Name+"/"+typ.String(), func(b *testing.B) {
				data, palette, want := encode(p, typ, true)
				dst := make([]byte, len(want.Pix))
				var dec lz.Decoder
				codectest.Benchmark(b, p, func() error {
					_, err := dec.Decode(dst, 4*p.Width, data, palette)
					return err
				})
			})
		}
	}
}
