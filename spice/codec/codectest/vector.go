package codectest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/spice/codec"
)

// What a vector expects of a decoder.
const (
	OK          = "ok"
	Malformed   = "malformed"   // *codec.FormatError
	Unsupported = "unsupported" // *codec.UnsupportedError
)

// A Vector is an image and what a decoder must make of it.
type Vector struct {
	Name          string // of the file, without its directory and extension
	Expect        string
	Width, Height int // pixels; 0 if the header says nothing
	SHA256        string
	Picture       string
	Palette       []uint32
	From, Comment string
	Data          []byte
}

// ParseVector reads a vector file.
func ParseVector(file []byte) (*Vector, error) {
	v := &Vector{}
	for n := 1; ; n++ {
		line, rest, found := bytes.Cut(file, []byte("\n"))
		if !found {
			return nil, fmt.Errorf("line %d: no empty line after the header", n)
		}
		file = rest
		if len(line) == 0 {
			break
		}
		key, value, found := strings.Cut(string(line), ": ")
		if !found {
			return nil, fmt.Errorf("line %d: %q is not of the form \"key: value\"", n, line)
		}
		switch key {
		case "expect":
			v.Expect = value
		case "size":
			if _, err := fmt.Sscanf(value, "%dx%d", &v.Width, &v.Height); err != nil {
				return nil, fmt.Errorf("line %d: size %q: %w", n, value, err)
			}
		case "sha256":
			v.SHA256 = value
		case "picture":
			v.Picture = value
		case "palette":
			for _, s := range strings.Fields(value) {
				c, err := strconv.ParseUint(s, 16, 24)
				if err != nil {
					return nil, fmt.Errorf("line %d: colour %q: %w", n, s, err)
				}
				v.Palette = append(v.Palette, uint32(c))
			}
		case "from":
			v.From = value
		case "comment":
			v.Comment = value
		default:
			return nil, fmt.Errorf("line %d: unknown key %q", n, key)
		}
	}
	v.Data = file
	switch v.Expect {
	case OK:
		if v.SHA256 == "" || v.Width == 0 {
			return nil, errors.New("expect: ok without sha256 or size")
		}
	case Malformed, Unsupported:
	default:
		return nil, fmt.Errorf("expect is %q, want %s, %s or %s", v.Expect, OK, Malformed, Unsupported)
	}
	if v.From == "" {
		return nil, errors.New("from is missing")
	}
	return v, nil
}

// Marshal returns the vector file.
func (v *Vector) Marshal() []byte {
	var b bytes.Buffer
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	line("expect", v.Expect)
	if v.Width != 0 {
		line("size", fmt.Sprintf("%dx%d", v.Width, v.Height))
	}
	line("sha256", v.SHA256)
	line("picture", v.Picture)
	if v.Palette != nil {
		var colours []string
		for _, c := range v.Palette {
			colours = append(colours, fmt.Sprintf("%06x", c))
		}
		line("palette", strings.Join(colours, " "))
	}
	line("from", v.From)
	line("comment", v.Comment)
	b.WriteByte('\n')
	b.Write(v.Data)
	return b.Bytes()
}

// Load reads the vector files in testdata of the package under test. Finding none is
// a failure.
func Load(tb testing.TB) []*Vector {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*.vec"))
	if err != nil || len(names) == 0 {
		tb.Fatalf("no vector files in testdata: %v", err)
	}
	var vectors []*Vector
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		v, err := ParseVector(file)
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		v.Name = strings.TrimSuffix(filepath.Base(name), ".vec")
		vectors = append(vectors, v)
	}
	return vectors
}

// Expected returns the picture that a description stands for. The description is the name of a
// picture, as in Pictures, and how it was stored: rgb32, rgb16, rgba, gray, alpha, or plt and the
// number of colours.
func Expected(description string, width, height int) (*Picture, error) {
	name, form, _ := strings.Cut(description, " ")
	var p *Picture
	for _, q := range Pictures(width, height) {
		if q.Name == name {
			p = q
		}
	}
	if p == nil {
		return nil, fmt.Errorf("no picture %q", name)
	}
	switch form {
	case "rgb32":
		return p, nil
	case "rgb16":
		_, p = p.RGB555()
		return p, nil
	case "rgba":
		return p.WithAlpha(), nil
	case "gray":
		return p.Gray(), nil
	case "alpha":
		return p.WithAlpha().AlphaOnly(), nil
	}
	if colours, ok := strings.CutPrefix(form, "plt"); ok {
		n, err := strconv.Atoi(colours)
		if err == nil && n > 0 && n <= 256 {
			_, _, p = p.Indexed(n)
			return p, nil
		}
	}
	return nil, fmt.Errorf("no form %q", form)
}

// Hash returns the SHA-256 of pixels as vector files write it.
func Hash(pix []byte) string {
	sum := sha256.Sum256(pix)
	return hex.EncodeToString(sum[:])
}

// Check compares what a decoder made of the vector with what it expects. pix is B,G,R,X
// from the top down without gaps; it counts only if err is nil.
func (v *Vector) Check(tb testing.TB, pix []byte, err error) {
	tb.Helper()
	if v.Expect != OK {
		if got := Kind(err); got != v.Expect {
			tb.Errorf("%s: got %s (%v), want %s", v.Name, got, err, v.Expect)
		}
		return
	}
	if err != nil {
		tb.Errorf("%s: %v", v.Name, err)
		return
	}
	if Hash(pix) == v.SHA256 {
		return
	}
	tb.Errorf("%s: the pixels' SHA-256 is %s, want %s", v.Name, Hash(pix), v.SHA256)
	if v.Picture == "" {
		return
	}
	want, err := Expected(v.Picture, v.Width, v.Height)
	if err != nil {
		tb.Error(err)
		return
	}
	Equal(tb, v.Name, pix, want)
}

// Kind names the kind of a decoder's error: OK for nil, Malformed, Unsupported, or
// the error's Go type.
func Kind(err error) string {
	if err == nil {
		return OK
	}
	if _, ok := errors.AsType[*codec.FormatError](err); ok {
		return Malformed
	}
	if _, ok := errors.AsType[*codec.UnsupportedError](err); ok {
		return Unsupported
	}
	return fmt.Sprintf("%T", err)
}

// Equal fails the test, showing the first rows that differ, unless pix, B,G,R,X from the
// top down without gaps, is want.
func Equal(tb testing.TB, what string, pix []byte, want *Picture) {
	tb.Helper()
	if bytes.Equal(pix, want.Pix) {
		return
	}
	if len(pix) != len(want.Pix) {
		tb.Errorf("%s: got %d bytes of pixels, want %d", what, len(pix), len(want.Pix))
		return
	}
	const shown = 6 // pixels, either side
	row, rows := 4*want.Width, 0
	var b strings.Builder
	for y := range want.Height {
		g, w := pix[y*row:][:row], want.Pix[y*row:][:row]
		if bytes.Equal(g, w) {
			continue
		}
		if rows++; rows > 3 {
			continue
		}
		x := 0
		for bytes.Equal(g[4*x:4*x+4], w[4*x:4*x+4]) {
			x++
		}
		from, to := max(0, x-shown), min(want.Width, x+shown)
		fmt.Fprintf(&b, "\n  row %d from column %d, first difference in column %d", y, from, x)
		for i, line := range [][]byte{g, w} {
			fmt.Fprintf(&b, "\n    %s", [...]string{"got ", "want"}[i])
			for x := from; x < to; x++ {
				fmt.Fprintf(&b, " %08x", binary.BigEndian.Uint32(line[4*x:]))
			}
		}
	}
	tb.Errorf("%s: %d of %d rows differ (pixels as B,G,R,X)%s", what, rows, want.Height, b.String())
}
