package harness_test

import (
	"bufio"
	"context"
	"fmt"
	"image"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/spice/vv"
)

// One lane for each image compression that QEMU knows; what arrives must be
// what QEMU has, pixel for pixel, and everything must have been decoded.
func TestThePictureIsRightUnderEveryCompression(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"off", "auto_glz", "quic", "glz", "lz"} {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			lane := harness.Up(t, harness.Config{Compression: c})
			ctx := lane.Context()
			requireSamePicture(ctx, t, lane)
			_, _, err := lane.ProvenPicture(ctx)
			require.NoError(t, err)
			st, err := lane.Client.Status(ctx)
			require.NoError(t, err)
			require.Empty(t, st.Unsupported)
		})
	}
}

func TestThePictureIsRightOverTLSToQEMU(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{BackendTLS: true})
	requireSamePicture(lane.Context(), t, lane)
}

func TestThePictureIsRightWithoutAProxy(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Proxy: harness.None})
	require.Zero(t, lane.State().Proxy)
	requireSamePicture(lane.Context(), t, lane)
}

// Debian's own SPICE client goes through the proxy with what the virt-viewer
// file says, and sees what QEMU sees. Our client stays connected meanwhile.
func TestSpicyScreenshotSeesTheSameThroughTheProxy(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	program, err := exec.LookPath("spicy-screenshot")
	if err != nil {
		harness.SkipOrFail(t, "spicy-screenshot was not found; install it with: sudo apt-get install -y spice-client-gtk")
	}
	ctx := lane.Context()

	for {
		b, err := os.ReadFile(lane.State().VV)
		require.NoError(t, err)
		v, err := vv.Parse("console.vv", b)
		require.NoError(t, err)

		// spicy-screenshot has no option for a CA: it takes OpenSSL's own.
		home := t.TempDir()
		ca := filepath.Join(home, "ca.pem")
		require.NoError(t, os.WriteFile(ca, []byte(v.CA), 0o600))
		out := filepath.Join(home, "screen.ppm")
		before, err := lane.Screendump(ctx)
		require.NoError(t, err)
		once, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		cmd := exec.CommandContext(once, program, "-h", v.Host, "-s", fmt.Sprint(v.TLSPort), "-w", v.Password, "-o", out)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
		spicy := readPPM(t, out)

		after, err := lane.Screendump(ctx)
		require.NoError(t, err)
		// The guest may have blinked on both sides of spicy's moment.
		diff := harness.FirstDifference(spicy, after)
		if diff == "" || harness.FirstDifference(spicy, before) == "" {
			return
		}
		require.NoError(t, ctx.Err(), diff)
	}
}

// readPPM reads a binary PPM file of 8 bits a channel.
func readPPM(t *testing.T, path string) *image.NRGBA {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r := bufio.NewReader(f)
	var w, h, depth int
	_, err = fmt.Fscanf(r, "P6\n%d %d\n%d\n", &w, &h, &depth)
	require.NoError(t, err)
	require.Equal(t, 255, depth)
	rgb := make([]byte, 3*w*h)
	_, err = io.ReadFull(r, rgb)
	require.NoError(t, err)
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		copy(img.Pix[4*i:], rgb[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	return img
}

// A proxy of somebody else's that passes SPICE through inside TLS.
func TestAForeignProxyTakesTheBuiltinOnesPlace(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("socat")
	if err != nil {
		harness.SkipOrFail(t, "socat was not found; install it with: sudo apt-get install -y socat")
	}
	lane := harness.Up(t, harness.Config{Proxy: program +
		" OPENSSL-LISTEN:{tls_port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={tls}/server-cert.pem,key={tls}/server-key.pem TCP:{spice_host}:{spice_port}"})
	require.NotZero(t, lane.State().PIDs.Proxy)
	requireSamePicture(lane.Context(), t, lane)
}

func TestAProxyThatEndsEndsTheStart(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	_, err := harness.Start(t.Context(), harness.Config{Dir: t.ArtifactDir(), Proxy: "sh -c 'echo no such thing >&2; exit 7'"})
	require.Error(t, err)
	require.Equal(t, harness.Product, harness.VerdictOf(err))
	require.ErrorContains(t, err, "no such thing")
	require.ErrorContains(t, err, "exit status 7")
}
