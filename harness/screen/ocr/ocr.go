// Package ocr asks tesseract what is written in a part of a picture, where text is proportional and
// package text cannot read it.
//
// The answer is a guess. It is for people who look for the reason of a failure, and proves nothing.
package ocr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os/exec"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// ErrAbsent says that tesseract is not installed.
var ErrAbsent = errors.New("tesseract is not installed (Debian: apt-get install tesseract-ocr)")

// zoom is by how much a region is enlarged: tesseract wants capitals of about 30 pixels, and those of
// screens have about 10.
const zoom = 3

// Read returns what tesseract reads in a region of a picture, or in all of it if the region is empty.
func Read(ctx context.Context, p *pixmap.Picture, region image.Rectangle) (string, error) {
	tesseract, err := exec.LookPath("tesseract")
	if err != nil {
		return "", ErrAbsent
	}
	if region.Empty() {
		region = p.Bounds()
	}
	if !region.In(p.Bounds()) {
		return "", fmt.Errorf("ocr: the region %v is not within the picture, which has %d×%d pixels", region, p.Width, p.Height)
	}
	var in, out, stderr bytes.Buffer
	if err := png.Encode(&in, Prepare(p.Crop(region))); err != nil {
		return "", fmt.Errorf("ocr: %w", err)
	}
	cmd := exec.CommandContext(ctx, tesseract, "stdin", "stdout", "--psm", "6")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &stderr
	// One thread: the host has lanes to run.
	cmd.Env = append(cmd.Environ(), "OMP_THREAD_LIMIT=1")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ocr: tesseract: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Prepare returns a picture as tesseract reads it best: enlarged, black on white.
func Prepare(p *pixmap.Picture) *image.Gray {
	grey := make([]uint8, p.Width*p.Height)
	var histogram [256]int
	for y := range p.Height {
		for x := range p.Width {
			c := p.At(x, y)
			v := uint8((299*int(c.R) + 587*int(c.G) + 114*int(c.B)) / 1000)
			grey[y*p.Width+x] = v
			histogram[v]++
		}
	}
	limit := threshold(histogram, len(grey))
	light := 0
	for _, v := range grey {
		if int(v) > limit {
			light++
		}
	}
	inverse := 2*light < len(grey) // there is more ground than ink
	const border = 10              // tesseract misses what touches the edge
	img := image.NewGray(image.Rect(0, 0, zoom*p.Width+2*border, zoom*p.Height+2*border))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	for y := range zoom * p.Height {
		for x := range zoom * p.Width {
			if ink := (int(grey[y/zoom*p.Width+x/zoom]) > limit) == inverse; ink {
				img.Pix[img.PixOffset(x+border, y+border)] = 0
			}
		}
	}
	return img
}

// threshold returns the brightness that divides the pixels best into dark and light ones, by Otsu's
// method: the largest variance between both.
func threshold(histogram [256]int, pixels int) int {
	total := 0
	for v, n := range histogram {
		total += v * n
	}
	best, at := -1.0, 0
	dark, darkSum := 0, 0
	for v, n := range histogram {
		dark += n
		darkSum += v * n
		light := pixels - dark
		if dark == 0 || light == 0 {
			continue
		}
		d := float64(darkSum)/float64(dark) - float64(total-darkSum)/float64(light)
		if between := float64(dark) * float64(light) * d * d; between > best {
			best, at = between, v
		}
	}
	return at
}
