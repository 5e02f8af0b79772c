package quic_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/quic"
)

// sizes are small and odd, wide enough for the waiting mask to change in a row and
// between rows, and tall.
var sizes = [][2]int{{1, 1}, {1, 9}, {2, 3}, {3, 5}, {4, 4}, {17, 33}, {5, 700}, {2048, 2}, {2049, 3}, {4097, 4}}

var types = []quic.Type{quic.Gray, quic.RGB16, quic.RGB24, quic.RGB32, quic.RGBA}

// encode returns the picture as a QUIC image and what it decodes to.
func encode(p *codectest.Picture, t quic.Type) ([]byte, *codectest.Picture) {
	data := codectest.EncodeQUIC(p.WithAlpha(), int(t))
	switch t {
	case quic.Gray:
		return data, p.Gray()
	case quic.RGB16:
		_, p = p.RGB555()
	case quic.RGBA:
		p = p.WithAlpha()
	}
	return data, p
}

func TestVectorsDecodeToTheirPixels(t *testing.T) {
	var dec quic.Decoder
	for _, v := range codectest.Load(t) {
		dst := make([]byte, 4*v.Width*v.Height)
		h, err := dec.Decode(dst, 4*v.Width, v.Data)
		v.Check(t, dst, err)
		if err == nil {
			assert.Equal(t, v.Width, h.Width, v.Name)
			assert.Equal(t, v.Height, h.Height, v.Name)
		}
	}
}

// The encoder of codectest writes exactly what spice-common's quic_encode writes. The
// hashes are those of the latter's output.
func TestEncoderAgreesWithTheReference(t *testing.T) {
	for _, tt := range []struct {
		picture *codectest.Picture
		hash    string
	}{
		{codectest.Text(1280, 800), "01f0fa0dbeede0740cef9523ed7ed75f0ea6aa5b98489b4e65b73313f80a9f47"},
		{codectest.Photo(1280, 800), "a333cb84be73637446642bfba06a009f3beb1377117502eba9c2fc9c4c5eac22"},
		{codectest.Noise(1280, 800), "e8966bb57ddc35b6e5aea083dd3a3ac6b8dff317913ccee9c188230739320da3"},
		{codectest.UI(1280, 800), "5ad2ff40e167fb2cca298c417aed8651cbe6cd491206f3231e332e52fc701d77"},
	} {
		assert.Equal(t, tt.hash, codectest.Hash(codectest.EncodeQUIC(tt.picture, codectest.QUICRGB32)), tt.picture.Name)
	}
}

func TestEveryTypeAndSizeSurvives(t *testing.T) {
	var dec quic.Decoder // one for all: nothing of an image may show in the next
	for _, size := range sizes {
		for _, p := range codectest.Pictures(size[0], size[1]) {
			for _, typ := range types {
				data, want := encode(p, typ)
				what := fmt.Sprintf("%s %s %dx%d", p.Name, typ, p.Width, p.Height)
				dst := make([]byte, len(p.Pix))
				h, err := dec.Decode(dst, 4*p.Width, data)
				require.NoError(t, err, what)
				if diff := cmp.Diff(quic.Header{Type: typ, Width: p.Width, Height: p.Height}, h); diff != "" {
					t.Errorf("%s: header (-want +got):\n%s", what, diff)
				}
				codectest.Equal(t, what, dst, want)
			}
		}
	}
}

func TestRowsCanHaveGaps(t *testing.T) {
	var dec quic.Decoder
	for _, typ := range types {
		data, want := encode(codectest.UI(17, 33), typ)
		codectest.Gaps(t, typ.String(), want, func(dst []byte, stride int) error {
			_, err := dec.Decode(dst, stride, data)
			return err
		})
	}
}

func TestTruncatedImagesAreMalformed(t *testing.T) {
	var dec quic.Decoder
	for _, p := range []*codectest.Picture{codectest.UI(17, 13), codectest.Photo(3, 5), codectest.Text(1, 1), codectest.Text(64, 9)} {
		for _, typ := range types {
			data, _ := encode(p, typ)
			dst := make([]byte, len(p.Pix))
			codectest.Prefixes(t, p.Name+" "+typ.String(), data, func(b []byte) error {
				_, err := dec.Decode(dst, 4*p.Width, b)
				return err
			})
		}
	}
}

func TestNumbersThatNoEncoderWritesAreMalformed(t *testing.T) {
	// Black but for the blue of the last pixel, whose number is the largest, 255, in a code
	// whose other numbers have a unary prefix: 18 zeros and 237 in 8 bits.
	p := &codectest.Picture{Name: "black", Width: 64, Height: 64, Pix: make([]byte, 4*64*64)}
	p.Pix[len(p.Pix)-4] = 128
	data := codectest.EncodeQUIC(p, codectest.QUICRGB32)
	dst := make([]byte, len(p.Pix))
	var dec quic.Decoder
	_, err := dec.Decode(dst, 4*p.Width, data)
	require.NoError(t, err)
	codectest.Equal(t, "before", dst, p)

	last := len(data) - 8 // behind it is the word that is read ahead
	word := binary.LittleEndian.Uint32(data[last:])
	word |= word & -word << 1 // 239
	binary.LittleEndian.PutUint32(data[last:], word)
	_, err = dec.Decode(dst, 4*p.Width, data)
	assert.ErrorContains(t, err, "no such code or run in row 63 of 64")
}

func TestDamageIsReportedOrShowsInPixels(t *testing.T) {
	for _, p := range []*codectest.Picture{codectest.Text(12, 9), codectest.UI(12, 9)} {
		for _, typ := range types {
			data, _ := encode(p, typ)
			for i := 8 * quic.HeaderSize; i < 8*len(data); i++ {
				damaged := append([]byte(nil), data...)
				damaged[i/8] ^= 1 << (i % 8)
				var dec quic.Decoder // a new one, whose memory is no larger than it must be
				_, err := dec.Decode(make([]byte, len(p.Pix)), 4*p.Width, damaged)
				if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed {
					t.Fatalf("%s %s, bit %d: %v", p.Name, typ, i, err)
				}
			}
		}
	}
}

func TestRunsEndWithTheirRow(t *testing.T) {
	// Ones from any bit on: where a run begins they mean one without an end.
	p := &codectest.Picture{Name: "black", Width: 8, Height: 4, Pix: make([]byte, 4*8*4)}
	data := codectest.EncodeQUIC(p, codectest.QUICRGB32)
	refused := 0
	for i := 8 * quic.HeaderSize; i < 8*(len(data)-4); i++ {
		damaged := append([]byte(nil), data...)
		for j := i; j < 8*(len(data)-4); j++ {
			damaged[j/32*4+3-j%32/8] |= 0x80 >> (j % 8) // the order in which bits are read
		}
		var dec quic.Decoder
		if _, err := dec.Decode(make([]byte, len(p.Pix)), 4*p.Width, damaged); err != nil {
			assert.Equal(t, codectest.Malformed, codectest.Kind(err))
			refused++
		}
	}
	assert.Positive(t, refused)
}

func TestBytesAfterTheImageAreIgnored(t *testing.T) {
	data, want := encode(codectest.UI(17, 33), quic.RGB32)
	dst := make([]byte, len(want.Pix))
	var dec quic.Decoder
	_, err := dec.Decode(dst, 4*want.Width, append(data, 1, 2, 3, 4, 5))
	require.NoError(t, err)
	codectest.Equal(t, "with five bytes more", dst, want)
}

func TestHeaderIsReadFromItsBytes(t *testing.T) {
	data := []byte{
		'Q', 'U', 'I', 'C', // magic
		0, 0, 0, 0, // version
		5, 0, 0, 0, // type
		0x00, 0x05, 0, 0, // width
		0x20, 0x03, 0, 0, // height
	}
	h, err := quic.ParseHeader(data)
	require.NoError(t, err)
	assert.Equal(t, quic.Header{Type: quic.RGBA, Width: 1280, Height: 800}, h)
	assert.True(t, h.Type.HasAlpha())
	codectest.Prefixes(t, "header", data, func(b []byte) error {
		_, err := quic.ParseHeader(b)
		return err
	})
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	data := codectest.EncodeQUIC(codectest.UI(4, 4), codectest.QUICRGB32)
	set := func(word int, v uint32) []byte {
		b := append([]byte(nil), data...)
		binary.LittleEndian.PutUint32(b[4*word:], v)
		return b
	}
	for _, tt := range []struct {
		data []byte
		want string
	}{
		{data[:10], "quic: malformed image at byte 10: truncated header"},
		{set(0, 1), "quic: malformed image at byte 0: magic 0x00000001, want 0x43495551"},
		{set(1, 2<<16), "quic: unsupported image: version 2.0"},
		{set(2, 9), "quic: unsupported image: type 9"},
		{set(3, 0), "quic: malformed image at byte 12: size 0x4, want 1 to 32768 each way"},
		{set(4, math.MaxUint32), "quic: malformed image at byte 12: size 4x-1, want 1 to 32768 each way"},
	} {
		_, err := quic.ParseHeader(tt.data)
		assert.EqualError(t, err, tt.want)
	}
	var dec quic.Decoder
	_, err := dec.Decode(make([]byte, 64), 16, data[:24])
	assert.EqualError(t, err, "quic: malformed image at byte 24: truncated in row 0 of 4")
}

func TestShortDestinationIsTheCallersMistake(t *testing.T) {
	data, want := encode(codectest.UI(17, 33), quic.RGB32)
	var dec quic.Decoder
	for _, tt := range []struct{ n, stride int }{
		{len(want.Pix) - 1, 68}, {len(want.Pix), 67}, {0, 68}, {len(want.Pix), 69}, {len(want.Pix), -68}, {len(want.Pix), math.MaxInt},
	} {
		_, err := dec.Decode(make([]byte, tt.n), tt.stride, data)
		var d *codec.DestinationError
		assert.ErrorAs(t, err, &d, "%d bytes, stride %d", tt.n, tt.stride)
	}
}

func TestSteadyDecodingAllocatesNothing(t *testing.T) {
	for _, typ := range types {
		data, want := encode(codectest.UI(100, 50), typ)
		dst := make([]byte, len(want.Pix))
		var dec quic.Decoder
		allocs := testing.AllocsPerRun(10, func() {
			if _, err := dec.Decode(dst, 4*want.Width, data); err != nil {
				t.Error(err)
			}
		})
		assert.Zero(t, allocs, typ)
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range codectest.Pictures(9, 7) {
		for _, typ := range types {
			data, _ := encode(p, typ)
			f.Add(data)
		}
	}
	var dec quic.Decoder
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := quic.ParseHeader(data)
		if err != nil {
			if k := codectest.Kind(err); k != codectest.Malformed && k != codectest.Unsupported {
				t.Fatalf("header: %v", err)
			}
			return
		}
		if h.Width*h.Height > 1<<16 {
			return
		}
		dst := make([]byte, 4*h.Width*h.Height)
		got, err := dec.Decode(dst, 4*h.Width, data)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed {
			t.Fatalf("%v: %v", h, err)
		}
		if err == nil && got != h {
			t.Fatalf("header %v, then %v", h, got)
		}
		// A decoder that has seen other images makes the same of it as a new one.
		again := make([]byte, len(dst))
		var fresh quic.Decoder
		if _, err2 := fresh.Decode(again, 4*h.Width, data); codectest.Kind(err2) != codectest.Kind(err) {
			t.Fatalf("%v: %v, then %v", h, err, err2)
		}
		if err == nil && string(again) != string(dst) {
			t.Fatalf("%v: two decoders, two pictures", h)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, p := range codectest.Pictures(1280, 800) {
		for _, typ := range []quic.Type{quic.RGB32, quic.RGBA, quic.RGB16} {
			b.Run(p.Name+"/"+typ.String(), func(b *testing.B) {
				data, want := encode(p, typ)
				dst := make([]byte, len(want.Pix))
				var dec quic.Decoder
				codectest.Benchmark(b, p, func() error {
					_, err := dec.Decode(dst, 4*p.Width, data)
					return err
				})
			})
		}
	}
}
