package needle

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// WriteEvidence writes into dir what a person needs to judge a mismatch: the screen, the nearest
// needle's picture, and a picture of each area that does not match: wanted pixels, actual
// pixels and difference side by side. It returns the paths of the files. For a match it writes
// nothing.
func (r *Result) WriteEvidence(dir string) ([]string, error) {
	if r.Matched() {
		return nil, nil
	}
	base := filepath.Join(dir, "needle-"+fileName(r.Nearest.Needle.Name))
	var written []string
	write := func(path string, p *pixmap.Picture) error {
		var b bytes.Buffer
		enc := png.Encoder{CompressionLevel: png.BestSpeed}
		if err := enc.Encode(&b, p.Image()); err != nil {
			return err
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			return err
		}
		written = append(written, path)
		return nil
	}
	if err := write(base+"-screen.png", r.screen); err != nil {
		return written, err
	}
	reference, err := r.Nearest.Needle.picture()
	if err != nil {
		return written, err
	}
	if err := write(base+"-reference.png", reference); err != nil {
		return written, err
	}
	for _, a := range r.Nearest.Areas {
		if a.OK || a.Reason != "" {
			continue
		}
		if err := write(fmt.Sprintf("%s-area%d.png", base, a.Number), r.Nearest.sideBySide(a)); err != nil {
			return written, err
		}
	}
	return written, nil
}

// fileName returns a needle's name with the characters replaced that a file's name cannot have.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) || r < ' ' {
			return '_'
		}
		return r
	}, s)
}

// sideBySide returns a picture of the wanted pixels of an area, the actual ones, and the
// difference. In the difference, pixels that differ are red, pixels that are not compared are blue,
// and equal ones are dimmed.
func (f *Found) sideBySide(a FoundArea) *pixmap.Picture {
	const gap = 4
	t := a.template
	p := &pixmap.Picture{Width: 3*t.w + 2*gap, Height: t.h}
	p.Stride = 4 * p.Width
	p.Pix = make([]byte, p.Stride*p.Height)
	for i := range p.Pix {
		p.Pix[i] = 0x80 | byte(i&3/3*0x7f)
	}
	is := f.scene.Crop(image.Rect(a.at.X, a.at.Y, a.at.X+t.w, a.at.Y+t.h))
	put := func(x, y int, c pixmap.RGB) { copy(p.Pix[y*p.Stride+4*x:], []byte{c.R, c.G, c.B, 0xff}) }
	for y := range t.h {
		copy(p.Row(y, 0, t.w), t.pix[4*y*t.w:4*(y+1)*t.w])
		copy(p.Row(y, t.w+gap, 2*t.w+gap), is.Row(y, 0, t.w))
		for x := range t.w {
			put(2*(t.w+gap)+x, y, pixmap.RGB{B: 0xc0})
		}
	}
	t.eachSpan(f.scene, a.at, func(y int, sp span) bool {
		for x := sp.x0; x < sp.x1; x++ {
			c := is.At(x, y)
			if bytes.Equal(t.pix[4*(y*t.w+x):][:4], is.Row(y, x, x+1)) {
				c = pixmap.RGB{R: c.R / 3, G: c.G / 3, B: c.B / 3}
			} else {
				c = pixmap.RGB{R: 0xff}
			}
			put(2*(t.w+gap)+x, y, c)
		}
		return true
	})
	return p
}
