package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// What is printed has the same verdict as the exit status.
func TestTheReportOfAnInterruptedSmokeCheckDoesNotBlameTheProduct(t *testing.T) {
	for _, format := range []string{"--json=true", "--json=false"} {
		ctx, cancel := context.WithCancel(t.Context())
		c := newDying(controltest.New(256, 256), 1, cancel)
		path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
		var stdout, stderr strings.Builder
		args := []string{"smoke", "--require-digest", format, "--socket", path}
		require.Equal(t, 2, run(ctx, args, strings.NewReader(""), &stdout, &stderr), stderr.String())
		if format == "--json=true" {
			var report drive.SmokeReport
			require.NoError(t, json.Unmarshal([]byte(stdout.String()), &report))
			require.Equal(t, verdict.Harness, report.Verdict)
		} else {
			require.Contains(t, stdout.String(), "verdict: FAIL (harness)")
		}
	}
}

// consoleFile is a virt-viewer file for a console that plays a script on its main channel.
func consoleFile(t *testing.T, steps ...spicetest.Step) string {
	t.Helper()
	scripts := map[wire.ChannelID]spicetest.Script{mainID: {Steps: steps}}
	console := spicetest.Start(t, spicetest.Config{Ticket: "ticket", Scripts: scripts})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	console.ServeListener(ln)
	port := ln.Addr().(*net.TCPAddr).Port
	file := &vv.File{Type: "spice", Host: "127.0.0.1", Port: port, Password: "ticket"}
	text, err := file.MarshalText()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "console.vv")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// A server has the displays that it has, and says nothing about others.
func TestAScreenshotOfADisplayThatIsNotThereEnds(t *testing.T) {
	limit := pictureWait
	pictureWait = 200 * time.Millisecond
	t.Cleanup(func() { pictureWait = limit })
	path := consoleFile(t, spicetest.Send(&wire.MainInit{SessionID: 7}),
		spicetest.Send(&wire.MainChannelsList{Channels: []wire.ChannelID{{Type: wire.ChannelDisplay, ID: 0}}}))
	png := filepath.Join(t.TempDir(), "x.png")
	status, _, stderr := spicelane(t, "screenshot", "--vv", path, "--display", "5", "-o", png)
	require.Equal(t, 1, status, stderr)
	require.Contains(t, stderr, "waiting for the picture of display 5: no picture within 200ms")
}

// silentAfterHello plays a client that greets and then answers nothing.
func silentAfterHello(t *testing.T) (socket string) {
	t.Helper()
	socket = controltest.SocketPath(t)
	ln, err := net.Listen("unix", socket)
	require.NoError(t, err)
	ended := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, `{"id":1,"ok":true,"result":{"server_name":"x","protocol_version":"1.2",`+
				`"supported_methods":["mouse_move"],"supported_events":[]}}`+"\n")
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	return socket
}

func TestACommandDoesNotWaitForEverForAClientThatDoesNotAnswer(t *testing.T) {
	limit := answerWait
	answerWait = 200 * time.Millisecond
	t.Cleanup(func() { answerWait = limit })
	socket, dir := silentAfterHello(t), t.TempDir()
	for _, args := range [][]string{
		{"screenshot", "--socket", socket, "-o", filepath.Join(dir, "x.png")},
		{"text", "--socket", socket},
		{"needle", "new", "--socket", socket, "x", "--dir", dir, "--area", "9x9+0+0"},
		{"mouse", "--socket", socket, "wheel", "1"},
	} {
		status, _, stderr := spicelane(t, args...)
		assert.Equal(t, 2, status, "%q: %s", args, stderr)
		assert.Contains(t, stderr, "did not answer within 200ms", "%q", args)
	}
}

func TestAnInterruptEndsTheWaitForStandardInput(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(64, 48)})
	dir := t.TempDir()
	for _, args := range [][]string{
		{"type", "--socket", path, "-"},
		{"proxy", "--sources", "-"},
		{"client", "--vv", "-", "--socket", filepath.Join(dir, "s")},
		{"screenshot", "--vv", "-", "-o", filepath.Join(dir, "x.png")},
	} {
		stdin, writer := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stderr strings.Builder
		status := make(chan int, 1)
		go func() { status <- run(ctx, args, stdin, io.Discard, &stderr) }()
		select {
		case got := <-status:
			assert.Equal(t, 2, got, "%q: %s", args, stderr.String())
			assert.Contains(t, stderr.String(), "interrupted", "%q", args)
		case <-time.After(20 * time.Second):
			t.Errorf("%q still waits", args)
		}
		writer.Close()
	}
}

// Root may not write there either.
func TestAnOutputFileThatCannotBeWrittenIsTheHostsFault(t *testing.T) {
	const nowhere = "/sys/spicelane"
	sources := filepath.Join(t.TempDir(), "sources.yaml")
	require.NoError(t, os.WriteFile(sources, []byte("[]\n"), 0o600))
	for _, args := range [][]string{
		{"proxy", "--sources", sources, "--ready-file", nowhere},
		{"proxy", "--sources", sources, "--audit-log", nowhere},
	} {
		status, _, stderr := spicelane(t, args...)
		assert.Equal(t, 3, status, "%q: %s", args, stderr)
		assert.Contains(t, stderr, args[3])
	}
}

// A disk that is full does not make a bad commit a good one.
func TestAReportThatCannotBeWrittenDoesNotHideThatTheProductFailed(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results.json")
	require.NoError(t, os.WriteFile(results, []byte(`{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestX"}
{"Action":"output","Package":"p","Test":"TestX","Output":"    x_test.go:1: product fault: the screen is wrong\n"}
{"Action":"fail","Package":"p","Test":"TestX","Elapsed":0.5}
{"Action":"fail","Package":"p","Elapsed":0.6}
`), 0o600))
	status, _, stderr := spicelane(t, "report", results, "--junit", "/dev/full")
	require.Equal(t, 1, status, stderr)
	require.Contains(t, stderr, "no space left on device")
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	require.Contains(t, lines[len(lines)-1], "TestX")
}

// Half of a text is another text.
func TestATextThatIsTooLongIsNotTypedInPart(t *testing.T) {
	long := strings.Repeat("a", control.MaxRequestLine-1) + "é"
	_, err := typedText(t.Context(), strings.NewReader(long), []string{"-"})
	require.ErrorContains(t, err, "standard input has more than")
	text, err := typedText(t.Context(), strings.NewReader("aé"), []string{"-"})
	require.NoError(t, err)
	require.Equal(t, "aé", text)
}

// Half of an output is not success.
func TestAnOutputThatIsLostIsNoSuccess(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	for _, args := range [][]string{
		{"text", "--png", setupScreen, "--find", "Boot"},
		{"truth", "--list"},
		{"tls", filepath.Join(t.TempDir(), "tls")},
		{"--help"},
	} {
		var stderr strings.Builder
		assert.Equal(t, 3, run(t.Context(), args, strings.NewReader(""), full, &stderr), "%q", args)
		assert.Contains(t, stderr.String(), "no space left on device", "%q", args)
	}
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	defer writer.Close()
	var stderr strings.Builder
	assert.Zero(t, run(t.Context(), []string{"--help"}, strings.NewReader(""), writer, &stderr), stderr.String())
}

func TestAnAddressOrADirectoryThatCannotBeIsWrongUsage(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"console", "--dir", dir, "--listen", "nonsense"},
		{"console", "--dir", dir, "--listen", "127.0.0.1:99999"},
		{"tls", "/dev/null/x"},
	} {
		status, _, stderr := spicelane(t, args...)
		assert.Equal(t, 2, status, "%q: %s", args, stderr)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	taken := ln.Addr().String()
	status, _, stderr := spicelane(t, "console", "--dir", dir, "--listen", taken)
	require.Equal(t, 3, status, stderr)
	status, _, stderr = spicelane(t, "tls", "/sys/spicelane")
	require.Equal(t, 3, status, stderr)
}
