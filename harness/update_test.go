package harness_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Each of three lanes looks for a line of Beacon's screen. One pixel of the reference image is
// wrong.
func TestAReferenceImageIsReplacedIfThatIsAskedForAndFailsTheTestUnlessThatIsWanted(t *testing.T) {
	lanetest.AtOnce(t)
	dir := t.TempDir()
	png, json := filepath.Join(dir, "hello.png"), filepath.Join(dir, "hello.json")
	var wrong []byte
	try := func(tb testing.TB, how string) {
		lane := harness.Up(tb, harness.Updating(harness.Config{Needles: dir}, how))
		ctx := lane.Context()
		hit, err := lane.AwaitText(ctx, "Hello from Beacon")
		require.NoError(tb, err)
		bad := lane.Screen(ctx).Picture
		bad = bad.Crop(bad.Bounds())
		bad.Pix[hit.Rect.Min.Y*bad.Stride+4*hit.Rect.Min.X] ^= 1
		area := needle.Area{X: hit.Rect.Min.X, Y: hit.Rect.Min.Y, Width: hit.Rect.Dx(), Height: hit.Rect.Dy(), Type: needle.TypeMatch, Margin: new(int)}
		n, err := needle.New("hello", []needle.Area{area}, []string{"greeting"}, bad)
		require.NoError(tb, err)
		require.NoError(tb, n.Save(dir))
		wrong, err = os.ReadFile(png)
		require.NoError(tb, err)
		text, err := os.ReadFile(json)
		require.NoError(tb, err)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		r, err := lane.AwaitScreen(short, "greeting")
		if how == "false" {
			require.ErrorIs(tb, err, context.DeadlineExceeded)
			require.NotEqual(tb, verdict.Harness, verdict.Of(err))
			return
		}
		require.NoError(tb, err)
		require.True(tb, r.Matched(), "the test goes on with the new reference image")
		after, err := os.ReadFile(json)
		require.NoError(tb, err)
		require.Equal(tb, string(text), string(after), "areas and tags stay as they are")
		now, err := lane.Screen(ctx).Matches("greeting")
		require.NoError(tb, err)
		require.True(tb, now.Matched(), "%s", now)
		lines, err := os.ReadFile(filepath.Join(lane.State().Dir, "timeline.ndjson"))
		require.NoError(tb, err)
		require.Regexp(tb, `"kind":"needle".*"matched":false.*"tag":"greeting"`, string(lines))
		require.Regexp(tb, `"kind":"needle".*"matched":true,"needle":"hello".*"tag":"greeting"`, string(lines))
	}
	is := func() []byte {
		t.Helper()
		b, err := os.ReadFile(png)
		require.NoError(t, err)
		return b
	}

	require.Empty(t, lanetest.Failing(t, func(tb testing.TB) { try(tb, "false") }))
	require.Equal(t, wrong, is(), "nobody asked for it")
	said := lanetest.Failing(t, func(tb testing.TB) { try(tb, "true") })
	require.Len(t, said, 1)
	require.Contains(t, said[0], png+" is the screen now: look at the change, and run the test again without -update-screens; it was ")
	require.Contains(t, said[0], "1 of 2448 pixels differ")
	require.NotEqual(t, wrong, is())
	require.Empty(t, lanetest.Failing(t, func(tb testing.TB) { try(tb, "accept") }))
	require.NotEqual(t, wrong, is())
}

func TestTheFlagAndTheVariableForReferenceImagesMeanTheSame(t *testing.T) {
	f := flag.Lookup("update-screens")
	require.NotNil(t, f)
	require.True(t, f.Value.(interface{ IsBoolFlag() bool }).IsBoolFlag(), "it needs no value")
	defer func() { require.NoError(t, f.Value.Set("false")) }()
	for value, want := range map[string]string{"true": "true", "1": "true", "accept": "accept", "false": "", "0": ""} {
		require.NoError(t, f.Value.Set(value))
		got, err := harness.ScreensUpdating()
		require.NoError(t, err)
		require.Equal(t, want, got, "flag %s", value)
		require.NoError(t, f.Value.Set("false"))
		t.Setenv("SPICELANE_UPDATE_SCREENS", value)
		got, err = harness.ScreensUpdating()
		require.NoError(t, err)
		require.Equal(t, want, got, "variable %s", value)
		t.Setenv("SPICELANE_UPDATE_SCREENS", "")
	}
	require.EqualError(t, f.Value.Set("yes"), `want nothing, or "accept"`)
	t.Setenv("SPICELANE_UPDATE_SCREENS", "yes")
	_, err := harness.ScreensUpdating()
	require.ErrorContains(t, err, `SPICELANE_UPDATE_SCREENS is "yes": want 1 or accept`)
	require.Equal(t, verdict.Harness, verdict.Of(err))
}
