package harness

import (
	"context"
	"errors"
	"image"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/verdict"
)

// released returns a lane without a guest whose client's control socket is left to others.
func released() *Lane {
	return &Lane{cfg: Config{ReleaseControl: true}, standIn: &standIn{}, failures: newConsoleWatch(nil, nil),
		loadFonts: func() ([]*text.Font, error) { return nil, nil },
		client:    &part{done: make(chan struct{})}, closing: make(chan struct{}), done: make(chan struct{})}
}

func TestAFailedComparisonInALaneThatLeftItsControlSocketIsAnError(t *testing.T) {
	t.Parallel()
	wrong := errors.New("no picture")
	err := released().AwaitScreensMatchOf(t.Context(), func(context.Context) (*image.NRGBA, error) { return nil, wrong },
		func(context.Context) error { return wrong })
	require.ErrorContains(t, err, "this lane's server is not the truth server")
}

func TestALaneThatLeftItsControlSocketSaysSoAndNotThatItHasNoClient(t *testing.T) {
	t.Parallel()
	l := released()
	ctx := t.Context()
	for what, call := range map[string]func() error{
		"Press":             func() error { return l.Press(ctx, "x") },
		"Type":              func() error { return l.Type(ctx, "x") },
		"Screenshot":        func() error { _, err := l.Screenshot(ctx); return err },
		"AwaitScreensMatch": func() error { return l.AwaitScreensMatch(ctx) },
		"AwaitVerified":     func() error { _, _, err := l.AwaitVerifiedScreenshot(ctx); return err },
		"AwaitDigest":       func() error { _, err := l.AwaitDigest(ctx, "one", nil); return err },
		"AwaitStill":        func() error { return l.AwaitStill(ctx, time.Second, image.Rectangle{}) },
		"Click":             func() error { _, err := l.Click(ctx, "x"); return err },
		"TypeInto":          func() error { _, err := l.TypeInto(ctx, "x", "y"); return err },
	} {
		err := call()
		require.ErrorContains(t, err, "this lane's control socket was left to others", what)
		require.Equal(t, verdict.Harness, verdict.Of(err), what)
	}
}
