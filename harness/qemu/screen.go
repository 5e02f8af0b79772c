package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/qmp"
)

// Screenshot returns the primary display's picture from QEMU itself (screendump), without a SPICE
// client. Every pixel is opaque.
func (m *Machine) Screenshot(ctx context.Context) (*image.NRGBA, error) {
	img, err := screendump(ctx, m.qmp, m.cfg.Dir)
	if err != nil {
		return nil, m.orEnd(err)
	}
	return img, nil
}

// toolPatience is how long a command waits for a turn on a QMP socket, and for each answer. Another
// command uses the socket for as long as a picture takes.
const toolPatience = 15 * time.Second

// ScreenshotVia does what Machine.Screenshot does, for a machine of another process. It uses that
// machine's QMP socket, which should be Config.ToolSocket. QEMU's file is in dir temporarily.
func ScreenshotVia(ctx context.Context, socket, dir string) (*image.NRGBA, error) {
	c, err := qmp.Dial(ctx, socket, qmp.Config{Timeout: toolPatience})
	if err != nil {
		return nil, fmt.Errorf("QMP socket %s: %w", socket, err)
	}
	defer c.Close()
	return screendump(ctx, c, dir)
}

func screendump(ctx context.Context, c *qmp.Client, dir string) (*image.NRGBA, error) {
	f, err := os.CreateTemp(dir, "screendump-*")
	if err != nil {
		return nil, fileError(dir, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()

	// NB: depending on its version, QEMU creates a new file under this name or truncates this one,
	// so it is opened again.
	format, err := c.Screendump(ctx, f.Name())
	if err != nil {
		return nil, fmt.Errorf("take a picture: %w", err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		return nil, fmt.Errorf("take a picture: %w", err)
	}
	img, err := decodeScreendump(format, b)
	if err != nil {
		return nil, fmt.Errorf("read QEMU's picture: %w", err)
	}
	return img, nil
}

// SaveScreenshot writes the primary display's picture to a PNG file. Whoever reads the file meanwhile
// finds the old picture or the new one.
func (m *Machine) SaveScreenshot(ctx context.Context, path string) error {
	img, err := m.Screenshot(ctx)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&b, img); err != nil {
		return err
	}
	if err := atomicfile.WriteTo(path, b.Bytes(), 0o644); err != nil {
		return fileError(path, err)
	}
	return nil
}

func decodeScreendump(format qmp.ImageFormat, b []byte) (*image.NRGBA, error) {
	if format == qmp.PPM {
		return decodePPM(b)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if img, ok := img.(*image.NRGBA); ok {
		return img, nil
	}
	out := image.NewNRGBA(img.Bounds())
	draw.Draw(out, out.Bounds(), img, img.Bounds().Min, draw.Src)
	return out, nil
}

// maxPicture limits width and height of a picture; SPICE and QEMU's devices stop well below.
const maxPicture = 16384

// decodePPM decodes a binary portable pixmap (netpbm's ppm(5), P6) with 8 bits per sample, as QEMU
// writes it.
func decodePPM(b []byte) (*image.NRGBA, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	magic, err := ppmToken(r)
	if err != nil || magic != "P6" {
		return nil, errors.New("not a binary PPM")
	}
	var dims [3]int
	for i := range dims {
		tok, err := ppmToken(r)
		if err != nil {
			return nil, fmt.Errorf("PPM header: %w", err)
		}
		if dims[i], err = strconv.Atoi(tok); err != nil {
			return nil, fmt.Errorf("PPM header: %q is not a number", tok)
		}
	}
	w, h := dims[0], dims[1]
	if w <= 0 || h <= 0 || w > maxPicture || h > maxPicture {
		return nil, fmt.Errorf("PPM of %dx%d pixels", w, h)
	}
	if dims[2] != 255 {
		return nil, fmt.Errorf("PPM with samples up to %d, want 255", dims[2])
	}
	if len(b) < 3*w*h {
		return nil, io.ErrUnexpectedEOF
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	row := make([]byte, 3*w)
	for y := range h {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		out := img.Pix[y*img.Stride:]
		for x := range w {
			out[4*x], out[4*x+1], out[4*x+2], out[4*x+3] = row[3*x], row[3*x+1], row[3*x+2], 0xff
		}
	}
	return img, nil
}

// ppmToken returns the next word of a PPM header and skips one white space after it.
func ppmToken(r *bufio.Reader) (string, error) {
	const longest = 16
	var tok []byte
	for comment := false; ; {
		c, err := r.ReadByte()
		if err != nil {
			return "", io.ErrUnexpectedEOF
		}
		space := c == ' ' || c == '\n' || c == '\t' || c == '\r'
		switch {
		case comment:
			comment = c != '\n'
		case c == '#' && len(tok) == 0:
			comment = true
		case space && len(tok) > 0:
			return string(tok), nil
		case space:
		case len(tok) == longest:
			return "", errors.New("a word is too long")
		default:
			tok = append(tok, c)
		}
	}
}
