package jpeg_test

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	stdjpeg "image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/jpeg"
)

// load reads a file of testdata: a JPEG image that libjpeg-turbo made, or as PNG
// what libjpeg-turbo decoded it to.
func load(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return b
}

func encode(tb testing.TB, p *codectest.Picture) []byte {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, stdjpeg.Encode(&b, p.NRGBA(), &stdjpeg.Options{Quality: 90}))
	return b.Bytes()
}

func TestPicturesAreCloseToLibjpegs(t *testing.T) {
	names, err := filepath.Glob("testdata/*.jpg")
	require.NoError(t, err)
	require.Len(t, names, 10)
	var dec jpeg.Decoder
	for _, file := range names {
		name := strings.TrimSuffix(filepath.Base(file), ".jpg")
		data := load(t, name+".jpg")
		m, err := png.Decode(bytes.NewReader(load(t, name+".png")))
		require.NoError(t, err)
		want := image.NewNRGBA(m.Bounds())
		draw.Draw(want, want.Bounds(), m, image.Point{}, draw.Src)
		w, h := want.Rect.Dx(), want.Rect.Dy()

		head, err := jpeg.ParseHeader(data)
		require.NoError(t, err)
		assert.Equal(t, jpeg.Header{Width: w, Height: h, Gray: strings.HasSuffix(name, "gray")}, head)
		dst := make([]byte, 4*w*h)
		_, err = dec.Decode(dst, 4*w, data)
		require.NoError(t, err)
		worst, sum := 0, 0
		for i := range w * h {
			for c := range 3 {
				d := int(dst[4*i+c]) - int(want.Pix[4*i+2-c])
				worst, sum = max(worst, d, -d), sum+max(d, -d)
			}
			require.Zero(t, dst[4*i+3], "X")
		}
		assert.LessOrEqual(t, worst, 3, "%s: largest difference", name)
		assert.Less(t, float64(sum)/float64(3*w*h), 0.1, "%s: mean difference", name)
	}
}

func TestRowsCanHaveGaps(t *testing.T) {
	var dec jpeg.Decoder
	for _, size := range [][2]int{{1, 1}, {2, 2}, {3, 5}, {17, 33}} {
		data := encode(t, codectest.Photo(size[0], size[1]))
		want := codectest.Photo(size[0], size[1])
		_, err := dec.Decode(want.Pix, 4*want.Width, data)
		require.NoError(t, err)
		codectest.Gaps(t, fmt.Sprint(size), want, func(dst []byte, stride int) error {
			_, err := dec.Decode(dst, stride, data)
			return err
		})
	}
}

func TestTruncatedImagesAreMalformed(t *testing.T) {
	var dec jpeg.Decoder
	data := load(t, "ui-420.jpg")
	dst := make([]byte, 4*67*45)
	codectest.Prefixes(t, "420", data, func(b []byte) error {
		_, err := dec.Decode(dst, 4*67, b)
		return err
	})
}

func TestAlphaLiesBehindTheColours(t *testing.T) {
	p := codectest.Photo(40, 30).WithAlpha()
	colours := encode(t, p)
	var dec jpeg.Decoder
	want := codectest.Photo(40, 30)
	_, err := dec.Decode(want.Pix, 160, colours)
	require.NoError(t, err)
	for i := 3; i < len(p.Pix); i += 4 {
		want.Pix[i] = p.Pix[i]
	}
	for _, topDown := range []bool{true, false} {
		data := append(bytes.Clone(colours), codectest.EncodeLZ(p, codectest.LZXXXA, topDown)...)
		dst := make([]byte, len(p.Pix))
		_, err := dec.DecodeAlpha(dst, 160, topDown, len(colours), data)
		require.NoError(t, err)
		codectest.Equal(t, fmt.Sprintf("top-down %t", topDown), dst, want)

		codectest.Prefixes(t, "with alpha", data, func(b []byte) error {
			_, err := dec.DecodeAlpha(dst, 160, topDown, len(colours), b)
			return err
		})
		for what, err := range map[string]error{
			"the wrong way up": second(dec.DecodeAlpha(dst, 160, !topDown, len(colours), data)),
			"negative size":    second(dec.DecodeAlpha(dst, 160, topDown, -1, data)),
			"another type": second(dec.DecodeAlpha(dst, 160, topDown, len(colours),
				append(bytes.Clone(colours), codectest.EncodeLZ(p, codectest.LZRGB32, topDown)...))),
			"another size": second(dec.DecodeAlpha(dst, 160, topDown, len(colours),
				append(bytes.Clone(colours), codectest.EncodeLZ(codectest.Photo(30, 40), codectest.LZXXXA, topDown)...))),
		} {
			assert.Equal(t, codectest.Malformed, codectest.Kind(err), "%s: %v", what, err)
		}
	}
}

func second(_ jpeg.Header, err error) error { return err }

func TestErrorsSayWhatIsWrong(t *testing.T) {
	data := load(t, "photo-444.jpg")
	_, err := jpeg.ParseHeader([]byte("PNG"))
	assert.EqualError(t, err, "jpeg: malformed image at byte 3: missing SOI marker")
	_, err = jpeg.ParseHeader(data[:20])
	assert.EqualError(t, err, "jpeg: malformed image at byte 20: truncated")
	var dec jpeg.Decoder
	_, err = dec.Decode(make([]byte, 4*67*45-1), 4*67, data)
	var d *codec.DestinationError
	assert.ErrorAs(t, err, &d)
	// 12-bit samples: valid, and not for us.
	at := bytes.Index(data, []byte{0xff, 0xc0})
	require.Positive(t, at)
	wide := bytes.Clone(data)
	wide[at+4] = 12
	_, err = jpeg.ParseHeader(wide)
	assert.Equal(t, codectest.Unsupported, codectest.Kind(err), "%v", err)
	// 60000 pixels wide.
	huge := bytes.Clone(data)
	huge[at+7] = 0xea
	_, err = jpeg.ParseHeader(huge)
	assert.Equal(t, codectest.Malformed, codectest.Kind(err), "%v", err)
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"photo-420", "photo-422", "photo-440", "photo-444", "ui-gray"} {
		f.Add(load(f, name+".jpg"))
	}
	var dec jpeg.Decoder
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := jpeg.ParseHeader(data)
		if err != nil {
			if k := codectest.Kind(err); k != codectest.Malformed && k != codectest.Unsupported {
				t.Fatalf("header: %v", err)
			}
			return
		}
		if h.Width*h.Height > 1<<16 {
			return
		}
		_, err = dec.Decode(make([]byte, 4*h.Width*h.Height), 4*h.Width, data)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed && k != codectest.Unsupported {
			t.Fatalf("%v: %v", h, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, p := range codectest.Pictures(1280, 800) {
		b.Run(p.Name, func(b *testing.B) {
			data := encode(b, p)
			dst := make([]byte, len(p.Pix))
			var dec jpeg.Decoder
			codectest.Benchmark(b, p, func() error {
				_, err := dec.Decode(dst, 4*p.Width, data)
				return err
			})
		})
	}
}
