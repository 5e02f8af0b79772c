// Package ocr reads text in a part of a picture with tesseract. It is for proportional text, which
// package text cannot read.
//
// The answer is a guess, which helps people to find the reason of a failure. The only results that
// depend on it are those of reference images with areas of type ocr, and these results say so.
package ocr

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os/exec"
	"strings"
	"sync"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/verdict"
)

// ErrAbsent says that tesseract is not installed. An [Error] wraps it.
var ErrAbsent = errors.New("tesseract is not installed (Debian: apt-get install tesseract-ocr)")

// An Error says that tesseract is missing or has failed on this host. That is the host's fault.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Verdict implements [verdict.Judge].
func (e *Error) Verdict() verdict.Kind { return verdict.Host }

// zoom is the factor by which a region is enlarged. Tesseract works best with capitals of about 30
// pixels, and those of screens have about 10.
const zoom = 3

// remembered limits the number of readings that are kept.
const remembered = 256

// readings has earlier results by the hash of program and picture. So a wait reads a part of the
// screen again only if that part has changed.
var readings struct {
	sync.Mutex
	of map[[sha256.Size]byte]string
}

// Read returns what tesseract reads in a region of a picture, or in all of it if the region is empty.
// It remembers recent results, so that it does not run tesseract twice for the same pixels.
func Read(ctx context.Context, p *pixmap.Picture, region image.Rectangle) (string, error) {
	tesseract, err := exec.LookPath("tesseract")
	if err != nil {
		return "", &Error{ErrAbsent}
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
	key := sha256.Sum256(append([]byte(tesseract+"\x00"), in.Bytes()...))
	readings.Lock()
	text, known := readings.of[key]
	readings.Unlock()
	if known {
		return text, nil
	}
	cmd := exec.CommandContext(ctx, tesseract, "stdin", "stdout", "--psm", "6")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &stderr
	// One thread only, because lanes run on this host.
	cmd.Env = append(cmd.Environ(), "OMP_THREAD_LIMIT=1")
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("ocr: tesseract: %w", context.Cause(ctx))
		}
		return "", &Error{fmt.Errorf("ocr: tesseract: %w: %s", err, strings.TrimSpace(stderr.String()))}
	}
	text = strings.TrimSpace(out.String())
	readings.Lock()
	defer readings.Unlock()
	if readings.of == nil || len(readings.of) >= remembered {
		readings.of = make(map[[sha256.Size]byte]string)
	}
	readings.of[key] = text
	return text, nil
}

// Prepare returns a picture in the form that tesseract reads best: enlarged, and black on white.
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
	inverse := 2*light < len(grey) // the background has more pixels than the text
	const border = 10              // tesseract misses text that touches the edge
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

// threshold returns the brightness that best divides the pixels into dark and light ones, by Otsu's
// method: the variance between the two classes is largest.
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
