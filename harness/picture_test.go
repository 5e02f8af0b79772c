package harness_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// One lane for each image compression that QEMU knows. What arrives must equal QEMU's picture,
// pixel for pixel, and everything must have been decoded.
func TestThePictureIsRightUnderEveryCompression(t *testing.T) {
	t.Parallel()
	for _, c := range []qemu.Compression{"off", "auto_glz", "quic", "glz", "lz"} {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			lane := harness.Up(t, harness.Config{Compression: c})
			ctx := lane.Context()
			requireSamePicture(ctx, t, lane)
			_, _, err := lane.AwaitVerifiedScreenshot(ctx)
			require.NoError(t, err)
			st, err := lanetest.Control(t, lane).Status(ctx)
			require.NoError(t, err)
			require.Empty(t, st.Unsupported)
			require.NotContains(t, lane.State().SPICE.Addr, "/", "on a unix socket nothing is compressed")
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

// Debian's own SPICE client goes through the proxy with the virt-viewer file, and sees what QEMU
// shows. Our client stays connected meanwhile.
func TestSpicyScreenshotSeesTheSameThroughTheProxy(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	lead := func() *vv.File {
		b, err := os.ReadFile(lane.State().VV)
		require.NoError(t, err)
		v, err := vv.Parse("console.vv", b)
		require.NoError(t, err)
		return v
	}
	requireSpicyAgrees(t, lane, lead)
	// It came over TLS from the server whose certificate the file holds.
	stranger, err := pki.New(pki.Config{})
	require.NoError(t, err)
	v := lead()
	v.CA = string(stranger.CACert)
	picture, said := spicySees(t, lane, v)
	require.Nil(t, picture, "it trusts every server")
	require.Contains(t, said, "Error in server certificate verification")
}

// spice-gtk waits for its socket even if OpenSSL has already taken the next message from it,
// together with another one. So messages that reach the proxy at once, as from a busy host, must
// not share one TLS record.
func TestSpicyScreenshotIsNotLeftWaitingForWhatCameAtOnce(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Agent: "off"}) // the agent's messages come last and would end the wait
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	direct := lane.DirectVV()
	const source, uuid = "gathered", "6f4e2c1a-0000-0000-0000-000000000001"
	catalog := one{only: console.Console{Source: source, UUID: uuid, Name: "beacon", Unix: gather(t, direct.UnixPath), Ticket: direct.Password}}
	p, err := proxy.Start(t.Context(), proxy.Config{TLS: bundle, Consoles: catalog})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	requireSpicyAgrees(t, lane, func() *vv.File {
		v, err := p.VV(lane.Context(), source, uuid)
		require.NoError(t, err)
		return v
	})
}

// one is a catalog of one console.
type one struct{ only console.Console }

func (o one) Consoles(context.Context) ([]console.Console, error) {
	return []console.Console{o.only}, nil
}

func (o one) Console(context.Context, string, string) (console.Console, error) { return o.only, nil }

// gather listens on the unix socket that it returns, and connects to the SPICE server at the other
// one. It forwards what the server sends after its first message only when the server is quiet. On
// the main channel, this puts the list of channels together with what comes before it.
func gather(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	lead := func(client net.Conn) error {
		defer client.Close()
		conn, err := net.Dial("unix", server)
		if err != nil {
			return err
		}
		defer conn.Close()
		wg.Go(func() {
			io.Copy(conn, client)
			conn.(*net.UnixConn).CloseWrite()
		})
		// SpiceLinkHeader ends with the size of SpiceLinkReply, which the result of the
		// ticket follows; SpiceMiniDataHeader ends with the size of its message.
		for _, part := range []struct{ size, sizeAt, more int }{{16, 12, 4}, {wire.MiniHeaderSize, 2, 0}} {
			head := make([]byte, part.size)
			if _, err := io.ReadFull(conn, head); err != nil {
				return err
			}
			if _, err := client.Write(head); err != nil {
				return err
			}
			size := int64(binary.LittleEndian.Uint32(head[part.sizeAt:])) + int64(part.more)
			if _, err := io.CopyN(client, conn, size); err != nil {
				return err
			}
		}
		all, buf := []byte(nil), make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			all = append(all, buf[:n]...)
			if err == nil && len(all) < len(buf) {
				if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
					return err
				}
				continue
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			if _, err := client.Write(all); err != nil {
				return err
			}
			all = all[:0]
			if err := conn.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
		}
	}
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { t.Logf("a gathered channel ended: %v", lead(client)) })
		}
	})
	return path
}

// spicySees returns what spicy-screenshot sees if it uses a virt-viewer file, or its output if it
// sees nothing.
func spicySees(t *testing.T, lane *harness.Lane, v *vv.File) (picture *image.NRGBA, said string) {
	t.Helper()
	program := need.Program(t, "spicy-screenshot")
	// spicy-screenshot has no option for a CA: it uses OpenSSL's own.
	home := t.TempDir()
	ca := filepath.Join(home, "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte(v.CA), 0o600))
	out := filepath.Join(home, "screen.ppm")
	once, cancel := context.WithTimeoutCause(lane.Context(), lane.Scaled(10*time.Second), errors.New("spicy-screenshot did not end"))
	defer cancel()
	cmd := exec.CommandContext(once, program, "-h", v.Host, "-s", fmt.Sprint(v.TLSPort), "-w", v.Password, "-o", out)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca)
	text, err := cmd.CombinedOutput()
	require.NoError(t, context.Cause(once), "%s", text)
	if _, missing := os.Stat(out); err != nil || missing != nil {
		return nil, fmt.Sprintf("%v: %s", err, text)
	}
	return readPPM(t, out), ""
}

// requireSpicyAgrees requires that spicy-screenshot, with a virt-viewer file, sees what QEMU shows.
func requireSpicyAgrees(t *testing.T, lane *harness.Lane, lead func() *vv.File) {
	t.Helper()
	ctx := lane.Context()
	for {
		before, err := lane.Screendump(ctx)
		require.NoError(t, err)
		spicy, said := spicySees(t, lane, lead())
		require.NotNil(t, spicy, said)
		after, err := lane.Screendump(ctx)
		require.NoError(t, err)
		// The guest may have blinked just before or just after spicy-screenshot's picture.
		diff := drive.FirstDifference(spicy, after)
		if diff == "" || drive.FirstDifference(spicy, before) == "" {
			// If a single pixel in the corner changes, it is another picture.
			after.Pix[len(after.Pix)-4] ^= 1
			require.NotEmpty(t, drive.FirstDifference(spicy, after))
			return
		}
		require.NoError(t, ctx.Err(), diff)
	}
}

// readPPM reads a binary PPM file with 8 bits per channel.
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

// A foreign proxy, which passes SPICE through inside TLS.
func TestAForeignProxyTakesTheBuiltinOnesPlace(t *testing.T) {
	t.Parallel()
	program := need.Program(t, "socat")
	lane := harness.Up(t, harness.Config{Proxy: harness.Command(program +
		" OPENSSL-LISTEN:{tls_port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={tls}/server-cert.pem,key={tls}/server-key.pem TCP:{spice_host}:{spice_port}"), Witness: true})
	require.NotZero(t, lane.State().PIDs.Proxy)
	requireSamePicture(lane.Context(), t, lane)
}

func TestAProxyThatEndsEndsTheStart(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	_, err := harness.Start(t.Context(), harness.Config{Dir: t.ArtifactDir(), Proxy: harness.Command("sh -c 'echo no such thing >&2; exit 7'")})
	require.Error(t, err)
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.ErrorContains(t, err, "no such thing")
	require.ErrorContains(t, err, "exit status 7")
}

// changed returns a console that shows the picture of take with another first row, as a client
// would if a row were corrupted on its way. A wrong checksum says that a picture is wrong, but not
// who made it so.
func changed(t *testing.T, take func(context.Context) (*image.NRGBA, error)) (socket string) {
	t.Helper()
	img, err := take(t.Context())
	require.NoError(t, err)
	size := img.Rect.Size()
	shown := controltest.New(size.X, size.Y)
	shown.Draw(0, 0, img.Rect, func(pix []byte, stride int) {
		for y := range size.Y {
			for x := range size.X {
				p := img.Pix[y*img.Stride+4*x:]
				copy(pix[y*stride+4*x:], []byte{p[2], p[1], p[0], 0})
			}
		}
		for x := range 4 * size.X {
			pix[x] ^= 0x80
		}
	})
	socket, _ = controltest.Open(t, server.Config{Console: shown, Scan: drive.ScanDigest})
	return socket
}

// Timeline: the client's picture has another row than QEMU's; then QEMU's own has that row, too, in
// every frame.
func TestQEMUsOwnPictureDecidesBetweenGuestAndPath(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	wrong := func(ctx context.Context) (*image.NRGBA, error) {
		img, err := lane.Screendump(ctx)
		if err == nil {
			for x := range 4 * img.Rect.Dx() {
				img.Pix[x] ^= 0x80 // the first row, far from the digest
			}
		}
		return img, err
	}
	socket := changed(t, lane.Screendump)
	for _, c := range []struct {
		name string
		qemu func(context.Context) (*image.NRGBA, error)
		hop  verdict.Hop
		says string
	}{
		{"a row corrupted on the way", lane.Screendump, verdict.HopPath, "the pixels were changed between QEMU and the client"},
		{"a row painted wrongly by the guest", wrong, verdict.HopGuest, "the guest painted or counted wrongly"},
		{"QEMU cannot be asked", func(context.Context) (*image.NRGBA, error) { return nil, errors.New("gone") }, "", "QEMU's own picture cannot be had: gone"},
		{"nobody is asked", nil, "", "saw last frame "},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, err := drive.Smoke(lane.Context(), drive.SmokeConfig{Socket: socket, Timeout: time.Second, RequireDigest: true, QEMUPicture: c.qemu})
			require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
			require.Equal(t, c.hop, verdict.HopOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, c.hop, report.Hop)
			require.Equal(t, 1, report.Verdict.ExitCode())
		})
	}
	ctx, cancel := context.WithTimeout(lane.Context(), time.Second)
	defer cancel()
	hop, said := drive.BlamePixels(ctx, func(context.Context) (*image.NRGBA, error) { return image.NewNRGBA(image.Rect(0, 0, 640, 480)), nil })
	require.Empty(t, hop, "without a digest nothing is known: %s", said)
}
