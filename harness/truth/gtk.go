package truth

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/spice/canvas"
)

// gtk makes spice-gtk take a picture directly from the server, and compares it with the server's
// memory. If they differ, spice-gtk is at fault if the direct client agrees with the server, and
// the server otherwise.
func (r *runner) gtk(ctx context.Context) (*Failure, error) {
	path := filepath.Join(r.cfg.Dir, "gtk.ppm")
	cmd := exec.CommandContext(ctx, r.cfg.Gtk, "-h", "127.0.0.1", "-p", strconv.Itoa(r.server.Port()), "-w", r.ticket, "-o", path)
	cmd.Stdout, cmd.Stderr = nil, nil
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("truth: %s: %w", r.cfg.Gtk, err)
	}
	defer os.Remove(path)
	got, err := readPPM(path)
	if err != nil {
		return nil, fmt.Errorf("truth: %s: %w", r.cfg.Gtk, err)
	}
	sf := r.server.surfaces[0]
	want := sf.cells(r.server.mem.all, nil)
	d := compare(0, want, got)
	if d == nil || r.setting.JPEG && d.within(jpegMost) {
		return nil, nil
	}
	direct, err := r.direct.surface(0)
	if err != nil {
		return nil, fmt.Errorf("truth: %w", err)
	}
	hop := HopServer
	if compare(0, want, direct) == nil {
		hop = "spice-gtk"
	}
	return r.wrong(hop, "spice-gtk: "+d.String(), &catalogue.Step{Number: int(r.mark)}, want, direct, got), nil
}

// readPPM decodes spicy-screenshot's output.
func readPPM(path string) (*canvas.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var w, h, most int
	if _, err := fmt.Fscanf(in, "P6\n%d %d\n%d\n", &w, &h, &most); err != nil {
		return nil, fmt.Errorf("%s: not a PPM: %w", path, err)
	}
	if w < 1 || h < 1 || w > 1<<14 || h > 1<<14 {
		return nil, fmt.Errorf("%s: a picture of %d×%d", path, w, h)
	}
	rgb := make([]byte, 3*w*h)
	if _, err := io.ReadFull(in, rgb); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c := canvas.New(canvas.XRGB, w, h)
	for i := range w * h {
		c.Pix[4*i], c.Pix[4*i+1], c.Pix[4*i+2] = rgb[3*i+2], rgb[3*i+1], rgb[3*i]
	}
	return c, nil
}

// fromImage converts a picture to cells.
func fromImage(im image.Image) *canvas.Image {
	b := im.Bounds()
	c := canvas.New(canvas.XRGB, b.Dx(), b.Dy())
	for y := range b.Dy() {
		for x := range b.Dx() {
			red, green, blue, _ := im.At(b.Min.X+x, b.Min.Y+y).RGBA()
			p := c.Pix[y*c.Stride+4*x:]
			p[0], p[1], p[2] = byte(blue>>8), byte(green>>8), byte(red>>8)
		}
	}
	return c
}

// alike returns the pictures of the server and of a foreign client in a form in which they can be
// compared. The client's has no alpha, and more bits for a colour than some surfaces have.
func alike(server, foreign *canvas.Image) (want, got *canvas.Image) {
	want, got = server, foreign.Convert(server.Format)
	if want.Format == canvas.ARGB {
		opaque := *want
		opaque.Format = canvas.XRGB
		want = &opaque
	}
	return want, got
}

// lookForeign compares the picture of the foreign client. The picture may be late, so lookForeign
// requests it again until it shows the sentinel. A client that never shows it is wrong, whatever
// may differ.
func (r *runner) lookForeign(ctx context.Context, s *catalogue.Step, expect catalogue.Expect) (*Failure, error) {
	sf := r.server.surfaces[0]
	server := sf.cells(r.server.mem.all, nil)
	wait, cancel := context.WithTimeoutCause(ctx, stepTime, fmt.Errorf("not within %v", stepTime))
	defer cancel()
	at := r.corner()
	var want, got *canvas.Image
	for {
		im, err := r.foreign.Screenshot(wait)
		switch {
		case err == nil:
			want, got = alike(server, fromImage(im))
		case ctx.Err() != nil:
			return nil, err
		case wait.Err() == nil || got == nil:
			return &Failure{Hop: HopForeign, What: err.Error()}, nil
		}
		seen := got.Width == want.Width && got.Height == want.Height &&
			(binary.LittleEndian.Uint32(got.Pix[at.Y*got.Stride+4*at.X:])^r.mark)&mask(qxl.SurfaceFormat(want.Format)) == 0
		if !seen && wait.Err() == nil {
			continue
		}
		r.report.Foreign++
		d := compare(0, want, got)
		switch {
		case !seen:
			what := fmt.Sprintf("it does not show what was drawn last: %v", context.Cause(wait))
			if d != nil {
				what += "; " + d.String()
			}
			return r.wrong(HopForeign, what, s, want, got, nil), nil
		case d == nil || expect.Kind == catalogue.ServerWrong || r.lossy(expect) && r.within(d, s, expect):
			return nil, nil
		}
		return r.wrong(HopForeign, d.String(), s, want, got, nil), nil
	}
}
