package codectest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/codectest"
)

// The pictures are part of what the vectors mean: they must not change.
func TestPicturesAreTheSameEverywhere(t *testing.T) {
	got := map[string]string{}
	for _, p := range codectest.Pictures(1280, 800) {
		got[p.Name] = codectest.Hash(p.Pix)
		got[p.WithAlpha().Name] = codectest.Hash(p.WithAlpha().Pix)
	}
	want := map[string]string{
		"noise":       "c1aebc5f3d44f72f36875772f6d7fa29a058f4813b0249925a94c041d90395d6",
		"noise-alpha": "84095cf633bc728eba04a68d9240afda544b4b00a70d22da8d67384efb79e27e",
		"photo":       "b4df71cc42699f3e5ff3d2fb45020fec22442a75934eaaba1f7f5877ca61bec5",
		"photo-alpha": "7a19c94a159d471989bf40c7766d00660f6c8a0408ad1e39e1c99f29ceef0c50",
		"text":        "40f3d296c11c951d0606eff7034721319c01836d1ce7a57f8f2906f53d3df6dc",
		"text-alpha":  "b56b4811a9895a527061dfa2e6c565bd44eea0102951aeb30087760ef2228e77",
		"ui":          "75baab523301d09f5e74dc186a846875a2f9ad21f3f54e72aba6a6f2df9ce08f",
		"ui-alpha":    "84d422ef347e7a8401e72a091e0fdac03355c2a4d9d77d32cc4893ce128adeba",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hashes (-want +got):\n%s", diff)
	}
}

func TestVectorsSurvive(t *testing.T) {
	want := &codectest.Vector{
		Expect: codectest.OK, Width: 3, Height: 5, SHA256: "00ff", Picture: "ui plt2", Palette: []uint32{0, 0xabcdef},
		From: "a test", Comment: "with: a colon", Data: []byte("any\n\nbytes\x00"),
	}
	file := want.Marshal()
	assert.True(t, bytes.HasPrefix(file, []byte("expect: ok\nsize: 3x5\n")), "%q", file)
	got, err := codectest.ParseVector(file)
	require.NoError(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVectorHeadersAreChecked(t *testing.T) {
	for header, want := range map[string]string{
		"expect: malformed\nfrom: x\ncolour: red\n\n": `line 3: unknown key "colour"`,
		"expect: malformed\nfrom: x\n":                "line 3: no empty line after the header",
		"expect: maybe\nfrom: x\n\n":                  `expect is "maybe"`,
		"from: x\n\n":                                 `expect is ""`,
		"expect: ok\nfrom: x\nsize: 1x1\n\n":          "expect: ok without sha256 or size",
		"expect: ok\nfrom: x\nsha256: 00\n\n":         "expect: ok without sha256 or size",
		"expect: malformed\n\n":                       "from is missing",
		"expect: malformed\nfrom: x\nsize: big\n\n":   `line 3: size "big"`,
		"expect: malformed\nfrom: x\npalette: 1g\n\n": `line 3: colour "1g"`,
		"expect malformed\n\n":                        `line 1: "expect malformed" is not of the form`,
	} {
		_, err := codectest.ParseVector([]byte(header))
		assert.ErrorContains(t, err, want, "%q", header)
	}
}

func TestExpectedKnowsItsForms(t *testing.T) {
	for _, form := range []string{"rgb32", "rgb16", "rgba", "gray", "alpha", "plt2", "plt256"} {
		p, err := codectest.Expected("ui "+form, 9, 7)
		require.NoError(t, err, form)
		assert.Len(t, p.Pix, 4*9*7)
	}
	for _, bad := range []string{"", "ui", "ui plt0", "ui plt257", "ui pltx", "cat rgb32"} {
		_, err := codectest.Expected(bad, 9, 7)
		assert.Error(t, err, "%q", bad)
	}
}

// record is a testing.TB that keeps its messages.
type record struct {
	testing.TB
	failures []string
}

func (r *record) Helper() {}
func (r *record) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *record) Error(args ...any) { r.failures = append(r.failures, fmt.Sprint(args...)) }

func TestFailuresShowTheRowsThatDiffer(t *testing.T) {
	p := codectest.UI(17, 33)
	pix := bytes.Clone(p.Pix)
	pix[4*(2*17+5)+1] ^= 0xff
	pix[4*(30*17+1)] ^= 0xff
	var r record
	codectest.Equal(&r, "this", pix, p)
	require.Len(t, r.failures, 1)
	assert.Contains(t, r.failures[0], "this: 2 of 33 rows differ")
	assert.Contains(t, r.failures[0], "row 2 from column 0, first difference in column 5")
	assert.Contains(t, r.failures[0], "row 30 from column 0, first difference in column 1")

	r = record{}
	codectest.Equal(&r, "this", pix[:8], p)
	assert.Equal(t, []string{"this: got 8 bytes of pixels, want 2244"}, r.failures)
}

func TestChecksFindWhatIsWrong(t *testing.T) {
	malformed := &codec.FormatError{Codec: "x"}
	v := &codectest.Vector{Name: "v", Expect: codectest.Malformed}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{malformed, ""},
		{fmt.Errorf("wrapped: %w", malformed), ""},
		{nil, "v: got ok"},
		{&codec.UnsupportedError{}, "v: got unsupported"},
		{errors.New("other"), "v: got *errors.errorString"},
	} {
		var r record
		v.Check(&r, nil, tt.err)
		assert.Contains(t, strings.Join(r.failures, "\n"), tt.want)
		assert.Equal(t, tt.want == "", len(r.failures) == 0, "%v", tt.err)
	}

	var r record
	codectest.Prefixes(&r, "p", []byte("abc"), func(b []byte) error {
		if len(b) == 2 {
			return nil
		}
		return malformed
	})
	assert.Equal(t, []string{"p: the first 2 of 3 bytes: got <nil>, want a *codec.FormatError"}, r.failures)

	p := codectest.UI(3, 3)
	write := func(dst []byte, stride int) error {
		for y := range p.Height {
			copy(dst[y*stride:], p.Pix[12*y:12*y+12])
		}
		return nil
	}
	r = record{}
	codectest.Gaps(&r, "g", p, write)
	assert.Empty(t, r.failures)
	codectest.Gaps(&r, "g", p, func(dst []byte, stride int) error {
		err := write(dst, stride)
		dst[12] = 0
		return err
	})
	require.Len(t, r.failures, 1)
	assert.Contains(t, r.failures[0], "g: stride 13: the bytes after row 0 are 00, want a5")
}

func FuzzParseVector(f *testing.F) {
	f.Add([]byte("expect: malformed\nfrom: x\n\ndata"))
	f.Add((&codectest.Vector{Expect: codectest.OK, Width: 1, Height: 1, SHA256: "0", Palette: []uint32{1}, From: "x"}).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := codectest.ParseVector(b)
		if err != nil {
			return
		}
		again, err := codectest.ParseVector(v.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
