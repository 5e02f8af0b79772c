package codectest

import (
	"bytes"
	"image/png"
	"sync"
	"testing"
	"time"
)

// Prefixes calls decode with every proper prefix of data and fails the test where it does
// not return a *codec.FormatError: truncated data is never right.
func Prefixes(tb testing.TB, what string, data []byte, decode func([]byte) error) {
	tb.Helper()
	for n := range data {
		// A copy, so that a decoder that reads beyond the slice is detected.
		if err := decode(bytes.Clone(data[:n])); Kind(err) != Malformed {
			tb.Errorf("%s: the first %d of %d bytes: got %v, want a *codec.FormatError", what, n, len(data), err)
			return
		}
	}
}

// Gaps calls decode with destinations that have room between the rows and fails the test
// unless the pixels are p's and what lies between is left alone.
func Gaps(tb testing.TB, what string, p *Picture, decode func(dst []byte, stride int) error) {
	tb.Helper()
	const mark = 0xa5
	row := 4 * p.Width
	for _, gap := range []int{1, 4, 64} {
		stride := row + gap
		dst := bytes.Repeat([]byte{mark}, stride*(p.Height-1)+row)
		if err := decode(dst, stride); err != nil {
			tb.Errorf("%s: stride %d: %v", what, stride, err)
			return
		}
		pix := make([]byte, 0, len(p.Pix))
		for y := range p.Height {
			pix = append(pix, dst[y*stride:][:row]...)
			if y+1 < p.Height {
				if between := dst[y*stride+row : (y+1)*stride]; bytes.Count(between, []byte{mark}) != gap {
					tb.Errorf("%s: stride %d: the bytes after row %d are % x, want % x", what, stride, y, between, bytes.Repeat([]byte{mark}, gap))
					return
				}
			}
		}
		Equal(tb, what, pix, p)
	}
}

var yardsticks sync.Map // name of a picture → time.Duration

// Benchmark measures decode, which decodes p once, in bytes of decoded pixels. It also reports the
// metric ×png: how many times faster decode is than image/png for the same picture in the same run.
func Benchmark(b *testing.B, p *Picture, decode func() error) {
	b.Helper()
	yardstick, ok := yardsticks.Load(p.Name)
	if !ok {
		var buf bytes.Buffer
		if err := png.Encode(&buf, p.NRGBA()); err != nil {
			b.Fatal(err)
		}
		best := time.Duration(1<<63 - 1)
		for range 5 {
			start := time.Now()
			if _, err := png.Decode(bytes.NewReader(buf.Bytes())); err != nil {
				b.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		yardstick = best
		yardsticks.Store(p.Name, best)
	}
	if err := decode(); err != nil { // takes the memory that is kept
		b.Fatal(err)
	}
	b.SetBytes(int64(len(p.Pix)))
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(); err != nil {
			b.Fatal(err)
		}
	}
	mean := b.Elapsed() / time.Duration(b.N)
	b.ReportMetric(float64(yardstick.(time.Duration))/float64(mean), "×png")
}
