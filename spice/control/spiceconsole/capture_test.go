package spiceconsole_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
	rec "github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

// token opens the sessions of a recordable console. Their server says it, too.
const token = "the-token"

// recordable is a console whose sessions are each the recorded one. Fate is asked
// before the session of that number is dialled, and about one that has been: its
// error is dial's.
func recordable(ctx context.Context, t *testing.T, fate func(number int, dialled bool) error) (*spiceconsole.Console, *control.Driver) {
	t.Helper()
	conversation, err := spicetest.Load(recording)
	require.NoError(t, err)
	dials := 0
	c, err := spiceconsole.Dial(ctx, func(ctx context.Context, tape func(*spice.Config)) (*spice.Client, error) {
		if dials++; fate == nil {
			fate = func(int, bool) error { return nil }
		}
		if err := fate(dials, false); err != nil {
			return nil, err
		}
		played := conversation.Config()
		said := spicetest.Send(&wire.Notify{Message: "is " + token + " your token?"})
		main := played.Scripts[wire.ChannelID{Type: wire.ChannelMain}]
		main.Steps = slices.Insert(main.Steps, len(main.Steps)-1, said)
		played.Scripts[wire.ChannelID{Type: wire.ChannelMain}] = main
		srv := spicetest.Start(t, played)
		cfg := spice.Config{Host: "localhost", Port: 1, Password: token, DialFunc: srv.Dial}
		tape(&cfg)
		client, err := spice.Dial(ctx, cfg)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { client.Close() })
		if err := srv.AwaitScripts(ctx, len(conversation.Recordings)); err != nil {
			return nil, err
		}
		if err := fate(dials, true); err != nil {
			return nil, errors.Join(err, client.Close())
		}
		return client, nil
	})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	path, _ := controltest.Open(t, server.Config{Console: c})
	return c, controltest.Dial(t, path)
}

// A session that is recorded in its middle is opened again, and what is recorded
// shows the same picture when it is played.
func TestALiveSessionIsRecordedFromItsBeginning(t *testing.T) {
	ctx := controltest.Within(t)
	console, d := recordable(ctx, t, nil)
	first := console.Client()
	dir := filepath.Join(t.TempDir(), "a", "recording")
	require.NoError(t, d.RecordStart(ctx, dir))
	require.NotSame(t, first, console.Client())
	require.NoError(t, d.SendKey(ctx, control.KeyLeft, control.Press))
	want, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)
	res, err := d.RecordStop(ctx)
	require.NoError(t, err)
	require.Equal(t, dir, res.Dir)
	require.Equal(t, []string{"cursor-0.txt", "display-0.txt", "inputs-0.txt", "main-0.txt"}, res.Files)
	var size int64
	for _, name := range res.Files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		size += int64(len(text))
		switch name {
		case "inputs-0.txt":
			require.Contains(t, string(text), "\ne04b0000\n")
		case "main-0.txt":
			c, err := rec.Parse(bytes.NewReader(text))
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(c.Messages, func(m rec.Message) bool {
				return bytes.Contains(m.Body, []byte("is xxxxxxxxx your token?"))
			}))
		}
	}
	require.Equal(t, size, res.Bytes)

	// The session goes on, and what it does is recorded no more.
	require.NoError(t, d.SendKey(ctx, control.KeyLeft, control.Press))
	st, err := d.Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SPICEConnected)
	text, err := os.ReadFile(filepath.Join(dir, "inputs-0.txt"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "\ne04b0000\n"))

	require.Equal(t, want.Pix, play(ctx, t, dir).Pix)
}

// play plays a recording and is the picture it ends in.
func play(ctx context.Context, t *testing.T, dir string) *server.Picture {
	t.Helper()
	conversation, err := spicetest.Load(dir)
	require.NoError(t, err)
	srv := spicetest.Start(t, conversation.Config())
	client, err := spice.Dial(ctx, spice.Config{Host: "localhost", Port: 1, DialFunc: srv.Dial})
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, srv.AwaitScripts(ctx, len(conversation.Recordings)))
	path, _ := controltest.Open(t, server.Config{Console: spiceconsole.New(client)})
	img, err := controltest.Dial(t, path).Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)
	return &server.Picture{Pix: img.Pix, Width: img.Rect.Dx(), Height: img.Rect.Dy()}
}

func TestEverySessionOfARecordingHasItsDirectory(t *testing.T) {
	ctx := controltest.Within(t)
	_, d := recordable(ctx, t, nil)
	dir := t.TempDir()
	require.NoError(t, d.RecordStart(ctx, dir))
	require.NoError(t, d.Reconnect(ctx))
	want, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)
	require.NoError(t, d.Disconnect(ctx))
	res, err := d.RecordStop(ctx)
	require.NoError(t, err)
	require.Len(t, res.Files, 8)
	require.Contains(t, res.Files, "main-0.txt")
	require.Contains(t, res.Files, "session-2/main-0.txt")
	for _, session := range []string{dir, filepath.Join(dir, "session-2")} {
		require.Equal(t, want.Pix, play(ctx, t, session).Pix)
	}
}

func TestARecordingIsRefusedAtTheWrongMomentOrPlace(t *testing.T) {
	ctx := controltest.Within(t)
	failing := func(bool) bool { return false }
	console, d := recordable(ctx, t, func(_ int, dialled bool) error {
		if failing(dialled) {
			return os.ErrPermission
		}
		return nil
	})
	first := console.Client()
	_, err := d.RecordStop(ctx)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeRecording})
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	held, err := filepath.Abs(recording)
	require.NoError(t, err)
	for _, dir := range []string{"relative", file, filepath.Join(file, "below"), held} {
		require.ErrorIs(t, d.RecordStart(ctx, dir), &control.Error{Code: control.CodeBadParams}, dir)
	}
	require.Same(t, first, console.Client(), "the session was cut off for nothing")

	dir := t.TempDir()
	require.NoError(t, d.RecordStart(ctx, dir))
	err = d.RecordStart(ctx, t.TempDir())
	require.ErrorIs(t, err, &control.Error{Code: control.CodeRecording})
	require.ErrorContains(t, err, dir)
	_, err = d.RecordStop(ctx)
	require.NoError(t, err)
	err = d.RecordStart(ctx, dir)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	require.ErrorContains(t, err, "holds a recording already")

	// A session that cannot be opened leaves neither a recording nor its directory.
	dir = filepath.Join(t.TempDir(), "new")
	for _, late := range []bool{false, true} {
		failing = func(dialled bool) bool { return dialled == late }
		err = d.RecordStart(ctx, dir)
		require.ErrorIs(t, err, &control.Error{Code: control.CodeDisconnected})
		require.ErrorContains(t, err, "permission denied")
		require.NoDirExists(t, dir)
		_, err = d.RecordStop(ctx)
		require.ErrorIs(t, err, &control.Error{Code: control.CodeRecording})
	}
	failing = func(bool) bool { return false }
	require.NoError(t, d.RecordStart(ctx, dir))
}

func TestADiskThatFillsUpIsReportedWhenTheRecordingEnds(t *testing.T) {
	ctx := controltest.Within(t)
	dir := t.TempDir()
	_, d := recordable(ctx, t, func(number int, dialled bool) error {
		if number == 2 && !dialled {
			return os.Symlink("/dev/full", filepath.Join(dir, "display-0.txt"))
		}
		return nil
	})
	require.NoError(t, d.RecordStart(ctx, dir))
	_, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err, "the session does not care")
	_, err = d.RecordStop(ctx)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeInternal})
	require.ErrorContains(t, err, "display-0.txt: no space left on device")
	_, err = d.RecordStop(ctx)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeRecording}, "it has ended all the same")
}
