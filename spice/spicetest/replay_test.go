package spicetest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

// conversation is one recorded session with QEMU: Beacon at its first scene, a
// client that connects, presses a key and sees the picture change.
type conversation struct {
	display     string // as QEMU's device is called here: qxl, virtio or std
	compression string // QEMU's image-compression
	transport   string // plain or tls
}

func (c conversation) String() string {
	return fmt.Sprintf("%s-%s-%s", c.display, c.compression, c.transport)
}

func (c conversation) dir() string { return filepath.Join("testdata", "conversations", c.String()) }

var (
	displays     = []string{"qxl", "virtio", "std"}
	compressions = []string{"off", "auto_glz", "quic", "glz", "lz"}
	transports   = []string{"plain", "tls"}
)

func conversations() []conversation {
	var all []conversation
	for _, d := range displays {
		for _, c := range compressions {
			for _, t := range transports {
				all = append(all, conversation{d, c, t})
			}
		}
	}
	return all
}

// clientConfig returns how the client connects, recorded and played. The caches are
// those of a usual client, so that images come from them.
func clientConfig() spice.Config {
	return spice.Config{Host: "localhost", Password: "the-ticket"}
}

// golden is the file that says what QEMU's screendump showed when the recording
// ended: size, and the SHA-256 of its pixels as R, G, B.
const golden = "picture"

func describePicture(img image.Image) string {
	size := img.Bounds()
	rgb := make([]byte, 0, 3*size.Dx()*size.Dy())
	for y := range size.Dy() {
		for x := range size.Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			rgb = append(rgb, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return fmt.Sprintf("%dx%d %x\n", size.Dx(), size.Dy(), sha256.Sum256(rgb))
}

// asImage returns a snapshot as package image has it.
func asImage(p *spice.Picture) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for y := range p.Height {
		for x := range p.Width {
			b := p.Pix[y*p.Stride+4*x:]
			img.SetNRGBA(x, y, color.NRGBA{b[2], b[1], b[0], 255})
		}
	}
	return img
}

// With SPICELANE_RECORD=1 the conversations are recorded again first, which
// takes QEMU, OVMF and some minutes.
func TestRecordedConversationsEndInQEMUsOwnPicture(t *testing.T) {
	if os.Getenv("SPICELANE_RECORD") != "" {
		recordAll(t)
	}
	for _, c := range conversations() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			recorded, err := spicetest.Load(c.dir())
			require.NoError(t, err)
			script := recorded.Config()
			cfg := clientConfig()
			cfg.Port = 1
			if c.transport == "tls" {
				bundle, err := pki.New(pki.Config{})
				require.NoError(t, err)
				script.TLS = bundle.ServerTLS()
				cfg.Port, cfg.TLSPort, cfg.CA = 0, 1, bundle.CACert
			}
			srv := spicetest.Start(t, script)
			cfg.DialFunc = srv.Dial
			client, err := spice.Dial(t.Context(), cfg)
			require.NoError(t, err)
			defer client.Close()
			require.NoError(t, srv.AwaitScripts(t.Context(), len(recorded.Recordings)))
			assert.Empty(t, client.Stats().Unsupported)
			s, err := client.AwaitPicture(t.Context(), 0)
			require.NoError(t, err)
			got, err := client.Snapshot(s.Channel, s.ID, nil)
			require.NoError(t, err)
			want, err := os.ReadFile(filepath.Join(c.dir(), golden))
			require.NoError(t, err)
			if !assert.Equal(t, string(want), describePicture(asImage(got))) {
				keepPicture(t, asImage(got))
			}
		})
	}
}

// Every message of the recordings is understood, and what a server said is what
// our encoder would have said, byte for byte.
func TestRecordedMessagesAreEncodedAgainByteForByte(t *testing.T) {
	seen := map[string]int{}
	for _, c := range conversations() {
		recorded, err := spicetest.Load(c.dir())
		require.NoError(t, err)
		for _, r := range recorded.Recordings {
			for i, m := range r.Messages {
				decoded, err := wire.Decode(r.Link.Channel.Type, m.From, m.Header.Type, m.Body)
				require.NoErrorf(t, err, "%s %s message %d", c, r.Link.Channel, i+1)
				if !bytes.Equal(m.Body, decoded.Append(nil)) {
					t.Errorf("%s %s message %d: %s differs", c, r.Link.Channel, i+1, decoded.MessageName())
				}
				name := decoded.MessageName()
				if d, ok := decoded.(*wire.DrawCopy); ok {
					name += " " + d.Src.Type.String()
				}
				seen[name]++
			}
		}
	}
	for _, name := range []string{"main.init", "main.channels_list", "display.surface_create", "display.mark",
		"display.draw_copy bitmap", "display.draw_copy quic", "display.draw_copy lz_rgb", "inputs.init", "cursor.init"} {
		assert.NotZerof(t, seen[name], "no recording has a %s", name)
	}
	t.Logf("recorded messages: %v", seen)
}

// keepPicture leaves a picture that is wrong where it can be looked at.
func keepPicture(t *testing.T, img image.Image) {
	t.Helper()
	path := filepath.Join(t.ArtifactDir(), "got.png")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, png.Encode(f, img))
	t.Logf("the picture is %s (kept with go test -artifacts)", path)
}

// difference says where a picture first differs from what it should be, and is
// empty if it does not.
func difference(want image.Image, got *spice.Picture) string {
	size := want.Bounds()
	if size.Dx() != got.Width || size.Dy() != got.Height {
		return fmt.Sprintf("size %dx%d, want %dx%d", got.Width, got.Height, size.Dx(), size.Dy())
	}
	wrong, first := 0, ""
	for y := range got.Height {
		for x := range got.Width {
			p := got.Pix[y*got.Stride+4*x:]
			have := color.RGBA{p[2], p[1], p[0], 255}
			if r, g, b, _ := want.At(x, y).RGBA(); have != (color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}) {
				if wrong++; wrong == 1 {
					first = fmt.Sprintf("at %d,%d got %v, want %v", x, y, have, want.At(x, y))
				}
			}
		}
	}
	if wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%d pixels differ, %s", wrong, first)
}

// awaitPicture waits until the client shows exactly want.
func awaitPicture(ctx context.Context, client *spice.Client, s spice.SurfaceInfo, want image.Image) error {
	var last string
	var got *spice.Picture
	err := client.Await(ctx, func() bool {
		var err error
		if got, err = client.Snapshot(s.Channel, s.ID, got); err != nil {
			last = err.Error()
			return false
		}
		last = difference(want, got)
		return last == ""
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, last)
	}
	return nil
}
