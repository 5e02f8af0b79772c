package replay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/film"
)

// ErrNoPicture means that a lane left no picture.
var ErrNoPicture = errors.New("replay: the lane left no picture")

// Thumbnail returns a JPEG of the last picture that the lane in dir left in its film, its page or
// its last screenshots. The JPEG is at most width pixels wide. The error is ErrNoPicture if there
// is none.
func Thumbnail(dir string, width int) ([]byte, error) {
	img := lastPicture(dir)
	if img == nil {
		return nil, ErrNoPicture
	}
	small := shrink(img, width)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: 75}); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return b.Bytes(), nil
}

// lastPicture returns the last picture of the lane in dir; nil if there is none.
func lastPicture(dir string) *image.NRGBA {
	if exists(filepath.Join(dir, film.File)) {
		if f, err := film.ReadFile(filepath.Join(dir, film.File)); err == nil {
			if img := lastOfFilm(f); img != nil {
				return img
			}
		}
	}
	if f := readPageFilm(filepath.Join(dir, File)); f != nil {
		if img := lastOfFilm(f); img != nil {
			return img
		}
	}
	for _, name := range []string{"last-client.png", "last-qemu.png"} {
		l := &lane{dir: dir}
		if b := l.readPicture(name); b != nil {
			if img := decode(b); img != nil {
				return img
			}
		}
	}
	return nil
}

// lastOfFilm returns the last picture of a film. If its display had none at the end, it is the
// picture before that.
func lastOfFilm(f *film.Film) *image.NRGBA {
	for i := len(f.Frames) - 1; i >= 0; i-- {
		if fr := f.Frames[i]; !fr.Gone {
			img, err := f.At(fr.Display, fr.At)
			if err != nil {
				return nil
			}
			return img
		}
	}
	return nil
}

// maxPixels limits the pictures that are made smaller, in pixels.
const maxPixels = 1 << 25

// fits tells whether a picture of w×h pixels is one that is made smaller.
func fits(w, h int) bool { return w > 0 && h > 0 && w <= maxPixels/h }

func decode(b []byte) *image.NRGBA {
	cfg, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil || !fits(cfg.Width, cfg.Height) {
		return nil
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	out := image.NewNRGBA(image.Rect(0, 0, cfg.Width, cfg.Height))
	draw.Draw(out, out.Rect, img, img.Bounds().Min, draw.Src)
	return out
}

// readPageFilm reads the film in a page. It returns nil if the page has no film, or one that is
// made from pictures that the test took.
func readPageFilm(path string) *film.Film {
	if !exists(path) {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	r, err := Text(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r, 256<<20))
	var d pageData
	if err != nil || json.Unmarshal(text, &d) != nil || d.Stills || len(d.Film) == 0 {
		return nil
	}
	_, pictures, ok := strings.Cut(string(b), `<script type="application/octet-stream" id="pictures">`)
	if !ok {
		return nil
	}
	pictures, _, _ = strings.Cut(pictures, "<")
	out := &film.Film{}
	for _, f := range d.Film {
		fr := film.Frame{At: time.Duration(f.T) * time.Microsecond, Since: time.Duration(f.Since) * time.Microsecond, Display: f.Display, Key: f.Key, Gone: f.Gone, Size: image.Pt(f.Size[0], f.Size[1])}
		if f.Size != [2]int{} && !fits(f.Size[0], f.Size[1]) {
			return nil
		}
		for _, p := range f.Patches {
			if p[4] < 0 || p[5] < 0 || p[4] > len(pictures)-p[5] {
				return nil
			}
			data, err := base64.StdEncoding.DecodeString(pictures[p[4] : p[4]+p[5]])
			if err != nil {
				return nil
			}
			fr.Patches = append(fr.Patches, film.Patch{Rect: image.Rect(p[0], p[1], p[0]+p[2], p[1]+p[3]), PNG: data})
		}
		out.Frames = append(out.Frames, fr)
	}
	return out
}

// shrink makes a picture at most width pixels wide. Each new pixel is the mean of those that it
// replaces.
func shrink(img *image.NRGBA, width int) *image.NRGBA {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	if w <= width {
		return img
	}
	height := max(1, h*width/w)
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		y0, y1 := y*h/height, max((y+1)*h/height, y*h/height+1)
		for x := range width {
			x0, x1 := x*w/width, (x+1)*w/width
			var r, g, b, n int
			for sy := y0; sy < y1; sy++ {
				row := img.Pix[sy*img.Stride+4*x0 : sy*img.Stride+4*x1]
				for i := 0; i < len(row); i += 4 {
					r, g, b, n = r+int(row[i]), g+int(row[i+1]), b+int(row[i+2]), n+1
				}
			}
			out.SetNRGBA(x, y, color.NRGBA{uint8(r / n), uint8(g / n), uint8(b / n), 255})
		}
	}
	return out
}
