package spicetest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/recording"
)

// zipAbove is the size of a text file beyond which it is committed zipped.
const zipAbove = 8 << 10

// recordAll boots Beacon once for each display and compression and records a
// session over each transport.
func recordAll(t *testing.T) {
	for _, d := range displays {
		for _, comp := range compressions {
			m := bootMachine(t, d, comp)
			for _, transport := range transports {
				m.record(t, conversation{d, comp, transport})
			}
			m.stop()
		}
	}
}

// machine is a QEMU with Beacon at its first scene.
type machine struct {
	cmd       *exec.Cmd
	stderr    *bytes.Buffer
	dir       string
	qmp       net.Conn
	replies   *json.Decoder
	port, tls int
	bundle    *pki.Bundle
}

var displayDevices = map[string]string{"qxl": "qxl-vga", "virtio": "virtio-vga", "std": "VGA"}

func bootMachine(t *testing.T, display, compression string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "rec") // short: it holds a socket
	require.NoError(t, err)
	m := &machine{dir: dir, stderr: &bytes.Buffer{}, port: freePort(t), tls: freePort(t)}
	m.bundle, err = pki.New(pki.Config{})
	require.NoError(t, err)
	require.NoError(t, m.bundle.WriteDir(filepath.Join(dir, "tls")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ticket"), []byte(clientConfig().Password), 0o600))
	vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vars"), vars, 0o600))
	m.cmd = exec.Command("qemu-system-x86_64", "-nodefaults", "-machine", "q35", "-m", "256", "-display", "none",
		"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
		"-drive", "if=pflash,format=raw,file="+filepath.Join(dir, "vars"),
		"-drive", "if=virtio,snapshot=on,file=../../fixtures/images/beacon.qcow2",
		"-device", displayDevices[display],
		"-object", "secret,id=ticket,file="+filepath.Join(dir, "ticket"),
		"-spice", fmt.Sprintf("addr=127.0.0.1,port=%d,tls-port=%d,x509-dir=%s,password-secret=ticket,image-compression=%s",
			m.port, m.tls, filepath.Join(dir, "tls"), compression),
		"-serial", "file:"+filepath.Join(dir, "serial"),
		"-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off")
	m.cmd.Stderr = m.stderr
	require.NoError(t, m.cmd.Start())
	t.Cleanup(m.stop)
	m.await(t, "the QMP socket", func() bool {
		m.qmp, err = net.Dial("unix", filepath.Join(dir, "qmp"))
		return err == nil
	})
	m.replies = json.NewDecoder(bufio.NewReader(m.qmp))
	m.do(t, "qmp_capabilities", nil)
	m.await(t, "Beacon's banner", func() bool {
		serial, _ := os.ReadFile(filepath.Join(dir, "serial"))
		return bytes.Contains(serial, []byte("Hello from Beacon"))
	})
	// The smallest mode: what is recorded is committed. Beacon may take its keyboard
	// only after the banner, so that the key is pressed again every two seconds.
	looks := 0
	m.await(t, "the mode 640x480", func() bool {
		if looks++; looks%20 == 1 {
			m.do(t, "send-key", map[string]any{"keys": []any{map[string]any{"type": "qcode", "data": "1"}}})
		}
		m.do(t, "screendump", map[string]any{"filename": filepath.Join(dir, "mode.ppm")})
		img, err := readPPM(filepath.Join(dir, "mode.ppm"))
		return err == nil && img.Bounds().Dx() == 640
	})
	return m
}

// await looks for what only shows in the file system, ten times a second.
func (m *machine) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no sign of %s; QEMU said: %s", what, m.stderr)
		}
	}
}

func (m *machine) stop() {
	if m.cmd.ProcessState != nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	if m.qmp != nil {
		_ = m.qmp.Close()
	}
	_ = os.RemoveAll(m.dir)
}

// do runs a QMP command and passes over events.
func (m *machine) do(t *testing.T, command string, arguments map[string]any) {
	t.Helper()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	require.NoError(t, json.NewEncoder(m.qmp).Encode(request))
	for {
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		require.NoError(t, m.replies.Decode(&reply))
		if reply.Error != nil {
			t.Fatalf("%s: %s", command, reply.Error.Desc)
		}
		if reply.Return != nil {
			return
		}
	}
}

// record records one session.
func (m *machine) record(t *testing.T, c conversation) {
	t.Helper()
	require.NoError(t, os.RemoveAll(c.dir()))
	version, err := exec.Command("qemu-system-x86_64", "--version").Output()
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(version), "\n")
	rec, err := recording.NewRecorder(recording.Config{Dir: c.dir(), Secrets: []string{clientConfig().Password},
		Comments: []string{first, "display " + c.display + ", image-compression " + c.compression + ", " + c.transport}})
	require.NoError(t, err)
	cfg := clientConfig()
	cfg.Port, cfg.Tap = m.port, rec.Tap
	if c.transport == "tls" {
		cfg.Port, cfg.TLSPort, cfg.CA = 0, m.tls, m.bundle.CACert
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := spice.Dial(ctx, cfg)
	require.NoError(t, err)
	defer client.Close()
	s, err := client.AwaitPicture(ctx, 0)
	require.NoError(t, err)
	m.awaitChange(t, ctx, client, s.Channel)
	require.NoError(t, client.Key(t.Context(), 0x1e, true))
	require.NoError(t, client.Key(t.Context(), 0x1e, false))
	m.awaitChange(t, ctx, client, s.Channel)
	m.do(t, "stop", nil)
	ppm := filepath.Join(m.dir, "screen.ppm")
	m.do(t, "screendump", map[string]any{"filename": ppm})
	want, err := readPPM(ppm)
	require.NoError(t, err)
	s, err = client.AwaitPicture(ctx, 0)
	require.NoError(t, err)
	require.NoError(t, awaitPicture(ctx, client, s, want), c.String())
	require.NoError(t, client.Close())
	require.NoError(t, rec.Close())
	m.do(t, "cont", nil)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir(), golden), []byte(describePicture(want)), 0o644))
	zipLarge(t, c.dir())
}

// changes is how often the picture changes between the steps of a recording:
// enough for the digest to be redrawn.
const changes = 6

// awaitChange waits until the picture has changed some times.
func (m *machine) awaitChange(t *testing.T, ctx context.Context, client *spice.Client, channel uint8) {
	t.Helper()
	generation := func() uint64 {
		for _, s := range client.Surfaces() {
			if s.Channel == channel && s.Primary {
				return s.Generation
			}
		}
		return 0
	}
	begin := generation()
	require.NoError(t, client.Await(ctx, func() bool { return generation() >= begin+changes }), m.stderr)
}

// zipLarge replaces large text files by zipped ones, the same bytes every time.
func zipLarge(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	require.NoError(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if len(text) <= zipAbove {
			continue
		}
		var zipped bytes.Buffer
		z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		require.NoError(t, err)
		_, err = z.Write(text)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		require.NoError(t, os.WriteFile(name+".gz", zipped.Bytes(), 0o644))
		require.NoError(t, os.Remove(name))
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// readPPM reads QEMU's screendump: P6, no comments, 255 as the largest value.
func readPPM(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var width, height, most int
	if _, err := fmt.Fscanf(in, "P6\n%d %d\n%d\n", &width, &height, &most); err != nil || most != 255 {
		return nil, fmt.Errorf("%s: no P6 of 8 bits: %w", path, err)
	}
	rgb := make([]byte, 3*width*height)
	if _, err := io.ReadFull(in, rgb); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.SetNRGBA(i%width, i/width, color.NRGBA{rgb[3*i], rgb[3*i+1], rgb[3*i+2], 255})
	}
	return img, nil
}
