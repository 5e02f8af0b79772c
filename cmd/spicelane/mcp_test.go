package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
)

// An agent starts the server as a program and drives a real lane through it:
//
//	agent ─ stdio ─ spicelane mcp ─ control socket ─ client ─ proxy ─ guest
func TestAnAgentDrivesALane(t *testing.T) {
	lane := harness.Up(t, harness.Config{ReleaseControl: true})
	var log bytes.Buffer
	server := exec.Command(testProgram(t), "mcp", "--input", lane.State().Name)
	server.Args[0] = "spicelane"
	server.Stderr = &log
	ctx := lane.Context()
	agent, err := mcp.NewClient(&mcp.Implementation{Name: "agent"}, nil).Connect(ctx, &mcp.CommandTransport{Command: server}, nil)
	require.NoError(t, err)
	defer agent.Close()
	call := func(tool string, args map[string]any) (*mcp.CallToolResult, string) {
		t.Helper()
		res, err := agent.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
		require.NoError(t, err)
		text := ""
		for _, c := range res.Content {
			if c, ok := c.(*mcp.TextContent); ok {
				text += c.Text
			}
		}
		return res, text
	}
	ok := func(tool string, args map[string]any, want string) *mcp.CallToolResult {
		t.Helper()
		res, text := call(tool, args)
		require.False(t, res.IsError, text)
		require.Contains(t, text, want, "%s %v", tool, args)
		return res
	}
	type object = map[string]any

	ok("status", nil, `"height":768`)
	ok("status", nil, `"mouse_mode":"client"`)
	ok("serial", nil, "Hello from Beacon")
	ok("await", object{"serial": "^Hello from", "timeout_ms": 60000}, "Hello from Beacon")
	ok("await", object{"text": "Hello from .*n", "timeout_ms": 60000}, "Hello from Beacon")
	ok("text", nil, "Hello from Beacon")

	// Beacon takes keys once F10 was pressed, and shows each in its digest.
	ok("press", object{"keys": []string{"F10", "q"}}, `"pressed":2`)
	ok("await", object{"event": "keypress", "fields": object{"unicode": "q"}, "timeout_ms": 60000}, `unicode`)
	ok("type", object{"text": "xyz"}, `"characters":3`)
	ok("await", object{"event": "keypress", "fields": object{"unicode": "z"}, "timeout_ms": 60000}, `unicode`)
	ok("digest", nil, `"frame_counter"`)
	ok("click", object{"x": 300, "y": 200}, `"x":300,"y":200`)
	ok("await", object{"event": "pointer", "fields": object{"x": 300, "y": 200}, "timeout_ms": 60000}, "300")

	// Pictures: all of the screen, and the digest's corner of it.
	for _, c := range []struct {
		args object
		w, h int
	}{{nil, 1024, 768}, {object{"region": object{"x": 844, "y": 588, "width": 180, "height": 180}}, 180, 180}} {
		res := ok("screenshot", c.args, "")
		img, err := png.Decode(bytes.NewReader(res.Content[0].(*mcp.ImageContent).Data))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(c.w, c.h), fmt.Sprint(img.Bounds().Dx(), img.Bounds().Dy()))
		b, err := json.Marshal(res.StructuredContent)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"width":%d,"height":%d,"scale":1}`, c.w, c.h), string(b))
	}

	// What does not hold is said, with what was seen, and the lane stays usable.
	for _, c := range []struct {
		tool string
		args object
		want string
	}{
		{"await", object{"text": "Goodbye", "timeout_ms": 300}, "product: "},
		{"await", object{"event": "keypress", "fields": object{"unicode": "Q"}, "timeout_ms": 1500}, "product: "},
		{"await", object{"event": "no_such_event", "timeout_ms": 300}, "no_such_event"},
		{"await", object{"event": "no_such_event", "timeout_ms": 100}, "not within 100ms"},
		{"screenshot", object{"region": object{"x": 1000, "y": 0, "width": 25, "height": 1}}, "not on the screen"},
		{"click", object{"x": 1024, "y": 0}, "not on the display"},
		{"click", object{"x": -1, "y": 0}, "not on the display"},
		{"type", object{"text": "naïve •"}, "unmappable"},
		{"status", object{"lane": "another"}, "only lane"},
	} {
		res, text := call(c.tool, c.args)
		require.True(t, res.IsError, "%s %v: %s", c.tool, c.args, text)
		require.Contains(t, text, c.want, "%s %v", c.tool, c.args)
	}
	ok("status", nil, `"connected":true`)

	require.NoError(t, agent.Close()) // the server ends with its standard input
	require.Equal(t, 0, server.ProcessState.ExitCode(), log.String())
	require.Contains(t, log.String(), "tool=type")
	require.NotContains(t, log.String(), "xyz")
}

// testProgram returns this test's own program, which is spicelane if it is started by that name.
func testProgram(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

func TestAnAgentThatSpeaksNoMCPEndsTheServer(t *testing.T) {
	server := exec.Command(testProgram(t), "mcp")
	server.Args[0] = "spicelane"
	server.Stdin = strings.NewReader("GET / HTTP/1.1\r\n\r\n")
	var stderr bytes.Buffer
	server.Stderr = &stderr
	out, err := server.Output()
	require.Error(t, err)
	require.Equal(t, 2, server.ProcessState.ExitCode())
	require.Empty(t, out, "standard output belongs to the protocol")
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	require.Regexp(t, `^spicelane: mcp: .*JSON-RPC`, lines[len(lines)-1])
}
