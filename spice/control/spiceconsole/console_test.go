package spiceconsole_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

// A recorded session with QEMU: Beacon on a QXL device, GLZ images.
const recording = "../../spicetest/testdata/conversations/qxl-glz-plain"

// played connects a client to the recording and waits until all of it has been
// shown.
func played(ctx context.Context, t *testing.T) (*spice.Client, *spicetest.Server) {
	t.Helper()
	conversation, err := spicetest.Load(recording)
	require.NoError(t, err)
	srv := spicetest.Start(t, conversation.Config())
	client, err := spice.Dial(ctx, spice.Config{Host: "localhost", Port: 1, DialFunc: srv.Dial})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	require.NoError(t, srv.AwaitScripts(ctx, len(conversation.Recordings)))
	return client, srv
}

func TestASPICESessionCanBeDrivenThroughTheSocket(t *testing.T) {
	ctx := controltest.Within(t)
	client, srv := played(ctx, t)
	path, _ := controltest.Open(t, server.Config{Console: spiceconsole.New(client)})
	d := controltest.Dial(t, path)

	st, err := d.Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SPICEConnected)
	require.False(t, st.AgentConnected)
	require.Empty(t, st.Unsupported)
	require.Equal(t, []control.Surface{{Width: 640, Height: 480, Trusted: new(true)}}, st.Surfaces)
	require.Equal(t, fmt.Sprintf("%08x", client.MainState().ConnectionID), st.Session)
	require.ElementsMatch(t, []string{"main:0", "display:0", "inputs:0", "cursor:0"}, st.Channels)
	require.Positive(t, st.Messages)

	// The picture is QEMU's own, by the file that was kept with the recording.
	img, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)
	var rgb []byte
	for i := 0; i < len(img.Pix); i += 4 {
		rgb = append(rgb, img.Pix[i:i+3]...)
	}
	want, err := os.ReadFile(filepath.Join(recording, "picture"))
	require.NoError(t, err)
	require.Equal(t, string(want), fmt.Sprintf("%dx%d %x\n", img.Rect.Dx(), img.Rect.Dy(), sha256.Sum256(rgb)))
	part, err := d.Image(ctx, control.ScreenshotParams{Region: &control.Rect{X: 600, Y: 470, Width: 40, Height: 10}})
	require.NoError(t, err)
	for y := range 10 {
		for x := range 40 {
			require.Equal(t, img.NRGBAAt(600+x, 470+y), part.NRGBAAt(x, y))
		}
	}
	_, err = d.Image(ctx, control.ScreenshotParams{SurfaceID: new(uint32(77))})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeNoSuchSurface})

	inputs := wire.ChannelID{Type: wire.ChannelInputs}
	before := len(srv.Received(inputs))
	require.NoError(t, d.SendKey(ctx, control.KeyLeft, control.Press))
	require.NoError(t, d.MouseButton(ctx, "right", control.Press))
	require.Eventually(t, func() bool { return len(srv.Received(inputs)) >= before+4 }, 10*time.Second, time.Millisecond)
	require.Equal(t, []wire.ClientMessage{
		&wire.InputsKeyDown{Code: 0x4be0}, &wire.InputsKeyUp{Code: 0xcbe0},
		&wire.InputsMousePress{Button: wire.ButtonRight, Buttons: wire.ButtonRight.Mask()}, &wire.InputsMouseRelease{Button: wire.ButtonRight},
	}, srv.Received(inputs)[before:])

	require.ErrorIs(t, d.ClipboardSet(ctx, "x"), &control.Error{Code: control.CodeAgentNotConnected})
	require.ErrorIs(t, d.SetDisplay(ctx, 800, 600), &control.Error{Code: control.CodeAgentNotConnected})
	_, err = d.Cursor(ctx)
	require.NoError(t, err)
	var stats spice.Stats
	require.NoError(t, d.Stats(ctx, &stats))
	require.Equal(t, client.Stats().Channels, stats.Channels)
	require.False(t, d.Supports(control.MethodReconnect), "this console was given no way to dial again")

	// The session's end is reported at once, with its reason.
	over := make(chan error, 1)
	go func() {
		agent := true
		_, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{Agent: &agent}})
		over <- err
	}()
	srv.Close()
	require.ErrorIs(t, <-over, &control.Error{Code: control.CodeDisconnected})
	st, err = d.Status(ctx)
	require.NoError(t, err)
	require.False(t, st.SPICEConnected)
	require.Equal(t, client.Wait().Error(), st.Error)
	require.Empty(t, st.Surfaces)
}

func TestASPICESessionCanBeEndedAndDialledAgain(t *testing.T) {
	ctx := controltest.Within(t)
	dials := 0
	c, err := spiceconsole.Dial(ctx, func(ctx context.Context, _ func(*spice.Config)) (*spice.Client, error) {
		if dials++; dials == 3 {
			return nil, os.ErrPermission
		}
		client, _ := played(ctx, t)
		return client, nil
	})
	require.NoError(t, err)
	defer c.Close()
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	sub, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	require.NoError(t, err)
	before, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)

	require.NoError(t, d.Disconnect(ctx))
	st, err := d.Status(ctx)
	require.NoError(t, err)
	require.False(t, st.SPICEConnected)
	require.Equal(t, "closed", st.Error)
	require.NoError(t, d.Reconnect(ctx))
	st, err = d.Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SPICEConnected)
	after, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)
	require.Equal(t, before.Pix, after.Pix)
	err = d.Reconnect(ctx)
	require.ErrorIs(t, err, &control.Error{Method: "reconnect", Code: control.CodeDisconnected})
	require.ErrorContains(t, err, "permission denied")
	require.Zero(t, sub.Dropped())
}
