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

// foreignPicture returns the pictures of the server and of the foreign client in a form in which they
// can be compared. The client's may be late, so foreignPicture requests it again until it shows the
// sentinel. late says why it does not; got is nil if there is no picture at all.
func (r *runner) foreignPicture(ctx context.Context) (want, got *canvas.Image, late, err error) {
	sf := r.server.surfaces[0]
	server := sf.cells(r.server.mem.all, nil)
	wait, cancel := context.WithTimeoutCause(ctx, stepTime, fmt.Errorf("not within %v", stepTime))
	defer cancel()
	at := r.corner()
	for {
		im, err := r.foreign.Screenshot(wait)
		switch {
		case err == nil:
			want, got = alike(server, fromImage(im))
		case ctx.Err() != nil:
			return nil, nil, nil, err
		case wait.Err() == nil || got == nil:
			return nil, nil, err, nil
		}
		seen := got.Width == want.Width && got.Height == want.Height &&
			(binary.LittleEndian.Uint32(got.Pix[at.Y*got.Stride+4*at.X:])^r.mark)&mask(qxl.SurfaceFormat(want.Format)) == 0
		switch {
		case seen:
			return want, got, nil, nil
		case wait.Err() != nil:
			return want, got, context.Cause(wait), nil
		}
	}
}

// lookForeign compares the picture of the foreign client. A client that never shows the sentinel is
// wrong, whatever may differ.
func (r *runner) lookForeign(ctx context.Context, s *catalogue.Step, expect catalogue.Expect) (*Failure, error) {
	want, got, late, err := r.foreignPicture(ctx)
	switch {
	case err != nil:
		return nil, err
	case got == nil:
		return &Failure{Hop: HopForeign, What: late.Error()}, nil
	}
	r.report.Foreign++
	d := compare(0, want, got)
	switch {
	case late != nil:
		what := fmt.Sprintf("it does not show what was drawn last: %v", late)
		if d != nil {
			what += "; " + d.String()
		}
		return r.wrong(HopForeign, what, s, want, got, nil), nil
	case d == nil || expect.Kind == catalogue.ServerWrong || r.lossy(expect) && r.within(d, s, expect):
		return nil, nil
	}
	return r.wrong(HopForeign, d.String(), s, want, got, nil), nil
}

// secondOpinion has the foreign client decide a failure of which the direct client was accused. If
// both clients show the same, the server has sent something other than it has drawn.
func (r *runner) secondOpinion(ctx context.Context, f *Failure, s *catalogue.Step, expect catalogue.Expect) error {
	want, got, late, err := r.foreignPicture(ctx)
	if err != nil || got == nil || late != nil {
		return err
	}
	r.report.Foreign++
	same := func(a, b *canvas.Image) bool {
		d := compare(0, a, b)
		return d == nil || r.lossy(expect) && r.within(d, s, expect)
	}
	ours, _ := alike(f.shown, got)
	if same(ours, got) && !same(want, got) {
		f.Hop, f.What = HopServer, "both clients show what it has not drawn: "+f.What
	}
	return nil
}
