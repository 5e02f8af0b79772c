package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// A dying is a console whose client ends while it is looked at for the nth time.
type dying struct {
	*controltest.Console
	looks atomic.Int32 // left; the digest reader and a request may look at once
	end   func()
}

func newDying(console *controltest.Console, looks int32, end func()) *dying {
	c := &dying{Console: console, end: end}
	c.looks.Store(looks)
	return c
}

func (c *dying) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*server.Picture, error) {
	p, err := c.Console.Snapshot(channel, surface, r)
	if c.looks.Add(-1) == 0 {
		go c.end()
	}
	return p, err
}

// openDying returns the control socket of a client that ends at the nth look at its screen.
func openDying(t *testing.T, console *controltest.Console, looks int32) string {
	t.Helper()
	c := newDying(console, looks, nil)
	path, srv := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
	c.end = func() { _ = srv.Close() }
	return path
}

// A client that ends says nothing about the guest.
func TestADigestOfAClientThatEndsIsNotTheOldOne(t *testing.T) {
	c := controltest.New(256, 256)
	controltest.DrawDigest(c, 256, 256, 7, 1)
	status, out, stderr := spicelane(t, "digest", "--socket", openDying(t, c, 2))
	require.Equal(t, 2, status, "%s%s", out, stderr)
	require.Empty(t, out, "an old digest")
	require.NotContains(t, stderr, "has stopped")
}

// The guest had no time to show the key: it may be one that switches it off.
func TestAClientThatEndsAfterAKeyIsSaid(t *testing.T) {
	c := controltest.New(256, 256)
	controltest.DrawDigest(c, 256, 256, 7, 1)
	path, srv := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
	d, err := control.DriverConfig{Name: "test"}.Dial(t.Context(), path)
	require.NoError(t, err)
	defer d.Close()
	lane := target{lane: &registry.State{Fixture: "beacon"}}
	var stderr bytes.Buffer
	require.NoError(t, pressAndSee(t.Context(), &stderr, lane, d, srv.Close))
	require.Contains(t, stderr.String(), "sent, but then no digest could be read: ")
}

func TestAClientThatEndsWhileNeedleMatchWaitsIsNoFaultOfTheProduct(t *testing.T) {
	c, dir := controltest.New(256, 256), t.TempDir()
	status, _, stderr := spicelane(t, "needle", "new", "--socket", openDying(t, c, 9), "x", "--dir", dir,
		"--area", "9x9+0+0")
	require.Zero(t, status, stderr)
	c = controltest.New(256, 256)
	c.Draw(0, 0, image.Rect(0, 0, 256, 256), func(pix []byte, _ int) {
		for i := range pix {
			pix[i] = byte(i * 7)
		}
	})
	status, _, stderr = spicelane(t, "needle", "match", "--socket", openDying(t, c, 1), "x", "--dir", dir,
		"--wait", "1h")
	require.Equal(t, 2, status, stderr)
}

// Checks that the time did not suffice for say nothing about the server.
func TestAConformanceCheckThatTookTooLongIsNoFaultOfTheServer(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(64, 48)})
	status, out, stderr := spicelane(t, "conform", path, "--timeout", "1ns")
	require.Equal(t, 2, status, stderr)
	require.Contains(t, stderr, "spicelane: the checks took longer than 1ns\n")
	require.NotContains(t, out, "PASS")
}

func TestAFlagThatWouldBeIgnoredIsRefused(t *testing.T) {
	for want, args := range map[string][]string{
		"--learn makes a font":               {"text", "--png", setupScreen, "--learn", "x", "--find", "y"},
		"--region needs --find or --ocr":     {"text", "--png", setupScreen, "--region", "9x9+0+0"},
		"--known and --cell need --learn":    {"text", "--png", setupScreen, "--cell", "8x19"},
		"--via qmp needs only a lane's name": {"screenshot", "a", "-o", "x.png", "--via", "qmp", "--socket", "s"},
		"--junit needs the results of tests": {"report", ".", "--junit", "x.xml"},
		"--html needs the results of tests":  {"report", ".", "--html", "x.html"},
		"--dry-run shows all cells":          {"run", "x.yaml", "--dry-run", "--rerun-failed", "x"},
		"a virt-viewer file by its name":     {"watch", "--vv", "-"},
		"--fix prints commands for a shell":  {"doctor", "--fix", "--json"},
		"--speed 0":                          {"film", ".", "-o", "x.png", "--speed", "0"},
		"[only replay] were all set":         {"truth", "--replay", "x", "--only", "1"},
		"--max-tests is that of the search":  {"bisect", "--resume", "x", "--max-tests", "9"},
		"goes with no plan, --label":         {"run", "--resume", "x", "--label", "a=b"},
		"--font and --origin are for exact":  {"text", "--png", setupScreen, "--ocr", "--font", setupScreen},
		"the font is made: leave out --font": {"text", "--png", setupScreen, "--learn", "x", "--font", "Lat15-VGA16"},
		"--within needs --confirm":           {"type", "--socket", "s", "x", "--within", "1s"},
		"--font needs --ignore cursor":       {"needle", "match", "--png", setupScreen, "x", "--font", setupScreen},
		"--record-max-age needs --record":    {"proxy", "--sources", "x", "--record-max-age", "1h"},
		"--record-max-total needs --record":  {"proxy", "--sources", "x", "--record-max-total", "9"},
		"--allow-origin needs --websocket":   {"proxy", "--sources", "x", "--allow-origin", "https://a.example"},
		"--websocket-path needs --websocket": {"attack", "127.0.0.1:1", "--vv", "x", "--websocket-path", "/x"},
		"--good is for commits":              {"bisect", "--archived", "--cell", "x", "--good", "v1"},
		"--by needs --archived":              {"bisect", "--good", "v1", "--by", "proxy", "--", "true"},
		"--archive needs --archived or":      {"bisect", "--good", "v1", "--archive", "x", "--", "true"},
		"--title needs --summary or --html":  {"report", "-", "--title", "x"},
		"--artifacts-url needs --summary":    {"report", "-", "--artifacts-url", "https://a.example"},
	} {
		status, _, stderr := spicelane(t, args...)
		require.Equal(t, 2, status, want)
		require.Contains(t, stderr, want)
	}
}

// Zero is no limit, or no sessions at all, to whoever writes it. To the proxy it is the default.
func TestALimitOfTheProxyThatIsNoneIsRefused(t *testing.T) {
	for want, args := range map[string][]string{
		"--max-sessions 0: it has to be at least 1":                      {"--max-sessions", "0"},
		"--max-per-address -1: it has to be at least 1":                  {"--max-per-address", "-1"},
		"--token-lifetime 0s: it has to be at least 1ms":                 {"--token-lifetime", "0"},
		"--token-lifetime 1ns: it has to be at least 1ms":                {"--token-lifetime", "1ns"},
		"--keepalive 0s: it has to be at least 1ms":                      {"--keepalive", "0"},
		"--record-max-age 0s: it has to be at least 1ms":                 {"--record", "x", "--record-max-age", "0"},
		"--record-max-total 0: it has to be 1 to 8796093022207":          {"--record", "x", "--record-max-total", "0"},
		"--record-max-session 17592186044416: it has to be 1 to 8796093": {"--record", "x", "--record-max-session", "17592186044416"},
	} {
		status, _, stderr := spicelane(t, append([]string{"proxy", "--sources", "x"}, args...)...)
		require.Equal(t, 2, status, want)
		require.Contains(t, stderr, want)
	}
}

func TestAReportThatFindsTheDiskFullIsTheHostsFault(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results.json")
	require.NoError(t, os.WriteFile(results, []byte(`{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestX"}
{"Action":"pass","Package":"p","Test":"TestX","Elapsed":0.5}
{"Action":"pass","Package":"p","Elapsed":0.6}
`), 0o600))
	status, _, stderr := spicelane(t, "report", results, "--junit", "/dev/full")
	require.Equal(t, 3, status, stderr)
}

func TestAnImageThatIsNotThereHasNotTheWrongChecksum(t *testing.T) {
	entry := filepath.Join(t.TempDir(), "x.yaml")
	require.NoError(t, os.WriteFile(entry, []byte("name: x\nimage: gone.raw\n"), 0o600))
	status, _, stderr := spicelane(t, "fixture", "verify", entry)
	require.Equal(t, 2, status, stderr)
	require.Contains(t, stderr, "gone.raw")
}

// Whether the product failed does not depend on the order of the arguments.
func TestAnImageWithTheWrongChecksumIsNotHiddenByOneThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	gone, wrong := filepath.Join(dir, "gone.yaml"), filepath.Join(dir, "wrong.yaml")
	require.NoError(t, os.WriteFile(gone, []byte("name: gone\nimage: gone.raw\n"), 0o600))
	require.NoError(t, os.WriteFile(wrong, []byte("name: wrong\nimage: wrong.raw\nsha256: "+strings.Repeat("0", 64)+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wrong.raw"), []byte("x"), 0o600))
	for _, args := range [][]string{{gone, wrong}, {wrong, gone}} {
		status, _, stderr := spicelane(t, append([]string{"fixture", "verify"}, args...)...)
		require.Equal(t, 1, status, "%q: %s", args, stderr)
		require.Contains(t, stderr, "gone.raw")
	}
}

// A PNG of a few bytes can claim any size.
func TestAPictureThatClaimsToBeHugeIsNotReadForItsDigest(t *testing.T) {
	head := append([]byte("IHDR"), 0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0) // 65536×65536
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d")
	b.Write(binary.BigEndian.AppendUint32(head, crc32.ChecksumIEEE(head)))
	file := filepath.Join(t.TempDir(), "huge.png")
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	status, _, stderr := spicelane(t, "digest", "--png", file)
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "65536×65536 pixels, which is more than")
}

func TestEvidenceOfAReferenceImageIsLeftInANewDirectory(t *testing.T) {
	dir := t.TempDir()
	c := controltest.New(64, 48)
	path, _ := controltest.Open(t, server.Config{Console: c})
	status, _, stderr := spicelane(t, "needle", "new", "--socket", path, "x", "--dir", dir, "--area", "9x9+0+0")
	require.Zero(t, status, stderr)
	c.Draw(0, 0, image.Rect(0, 0, 64, 48), func(pix []byte, _ int) {
		for i := range pix {
			pix[i] = byte(i * 7)
		}
	})
	evidence := filepath.Join(dir, "artifacts", "x")
	status, _, stderr = spicelane(t, "needle", "match", "--socket", path, "x", "--dir", dir,
		"--evidence", evidence)
	require.Equal(t, 1, status, stderr)
	require.FileExists(t, filepath.Join(evidence, "needle-x-screen.png"))
}

// What a client says comes from a foreign program.
func TestWhatAClientSaysOfItsConsoleIsHarmlessInStatus(t *testing.T) {
	c := &consoleState{Status: &control.Status{Error: "gone\n\x1b]0;x\a"}}
	require.Equal(t, "not connected (gone; ^[]0;x^G)", c.summary())
	c.Status = &control.Status{SPICEConnected: true, MouseMode: "\x1b[2J"}
	require.Equal(t, "mouse: ^[[2J", c.summary())
}

func TestAMeasurementRemovesNoDirectoryOfTheUsers(t *testing.T) {
	t.Setenv("SPICELANE_QEMU", "/nonexistent")
	dir := t.TempDir()
	own := filepath.Join(dir, "lane", "notes")
	require.NoError(t, os.MkdirAll(filepath.Dir(own), 0o700))
	require.NoError(t, os.WriteFile(own, nil, 0o600))
	status, _, stderr := spicelane(t, "bench", "latency", "--dir", dir)
	require.Equal(t, 2, status, stderr)
	require.Contains(t, stderr, "would be removed")
	require.FileExists(t, own)
}
