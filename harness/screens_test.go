package harness_test

import (
	"context"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/control"
)

// Beacon's console is text beside pictures that move.
func TestWhatBeaconWritesOnItsScreenIsReadAndAwaited(t *testing.T) {
	lanetest.AtOnce(t)
	dir := t.TempDir()
	lane := harness.Up(t, harness.Config{Needles: dir})
	ctx := lane.Context()
	hit, err := lane.AwaitText(ctx, "Hello from Beacon")
	require.NoError(t, err)
	grid, err := lane.Text(ctx)
	require.NoError(t, err)
	require.Equal(t, "beacon", grid.Font.Name)
	require.Contains(t, grid.Text(), "Any key goes on. 1 to 6 set the mode, 0 walks through all of them.")

	// A text that is not there is not found, and the error has the text that is there.
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = lane.AwaitTextMatch(short, screen.TextQuery{Pattern: regexp.MustCompile("Goodbye")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "Hello from Beacon")
	require.NotEqual(t, verdict.Harness, verdict.Of(err), "it is the product's fault, or that of a host that is too busy")
	_, err = lane.AwaitTextMatch(ctx, screen.TextQuery{})
	require.Equal(t, verdict.Harness, verdict.Of(err))

	// A reference image of that line, and one in which a pixel differs.
	_, err = lane.Screen(ctx).Matches("hello")
	require.ErrorContains(t, err, `has the tag or the name "hello"`)
	require.Equal(t, verdict.Harness, verdict.Of(err))
	now := lane.Screen(ctx)
	area := needle.Area{X: hit.Rect.Min.X, Y: hit.Rect.Min.Y, Width: hit.Rect.Dx(), Height: hit.Rect.Dy(), Type: needle.TypeMatch}
	good, err := needle.New("hello-good", []needle.Area{area}, []string{"hello"}, now.Picture)
	require.NoError(t, err)
	require.NoError(t, good.Save(dir))
	bad := now.Picture.Crop(now.Picture.Bounds())
	bad.Pix[hit.Rect.Min.Y*bad.Stride+4*hit.Rect.Min.X] ^= 1
	wrong, err := needle.New("wrong", []needle.Area{area}, []string{"wrong"}, bad)
	require.NoError(t, err)
	require.NoError(t, wrong.Save(dir))
	r, err := lane.AwaitScreen(ctx, "hello")
	require.NoError(t, err)
	require.Equal(t, hit.Rect, r.Match.Areas[0].At)
	r, err = lane.Screen(ctx).Matches("wrong")
	require.NoError(t, err)
	require.False(t, r.Matched())
	require.Equal(t, 1, r.Nearest.Areas[0].Differ)
	short, cancel = context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = lane.AwaitScreen(short, "wrong")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "needle wrong, area 1 at")
	require.NotEqual(t, verdict.Harness, verdict.Of(err), "it is the product's fault, or that of a host that is too busy")
	for _, name := range []string{"needle-wrong-screen.png", "needle-wrong-reference.png", "needle-wrong-area1.png"} {
		_, err := pixmap.ReadFile(filepath.Join(lane.State().Dir, name))
		require.NoError(t, err)
	}
	_, err = os.Stat(filepath.Join(lane.State().Dir, "needle-hello-good-screen.png"))
	require.ErrorIs(t, err, os.ErrNotExist)

	// The same line by OCR. The result says that it depends on OCR.
	t.Run("ocr", func(t *testing.T) {
		need.Program(t, "tesseract")
		read := area
		read.Type, read.Margin, read.Text = needle.TypeOCR, nil, "Hello from Beacon"
		for name, words := range map[string]string{"read": read.Text, "misread": "Hello from Beacons"} {
			read.Text = words
			n, err := needle.New(name, []needle.Area{read}, nil, now.Picture)
			require.NoError(t, err)
			require.NoError(t, n.Save(dir))
		}
		r, err := lane.AwaitScreen(ctx, "read")
		require.NoError(t, err)
		require.True(t, r.RestsOnOCR())
		require.Contains(t, r.String(), `reads "Hello from Beacon"; this rests on OCR, which guesses`)
		r, err = lane.Screen(ctx).Matches("misread")
		require.NoError(t, err)
		require.False(t, r.Matched(), r)
		b, err := os.ReadFile(filepath.Join(lane.State().Dir, timeline.File))
		require.NoError(t, err)
		require.Regexp(t, `"matched":true,"needle":"read","ocr":true`, string(b))
	})

	// If a reference image cannot be read, the test is at fault and nobody else.
	require.NoError(t, wrong.Save(dir))
	require.NoError(t, os.WriteFile(wrong.PNG(), []byte("no picture"), 0o600))
	_, err = lane.AwaitScreen(ctx, "wrong")
	require.Equal(t, verdict.Harness, verdict.Of(err), "%v", err)
	require.NotContains(t, err.Error(), "awaited")

	// A click arrives in the middle of a text, and at the click point of an image.
	clicked := func(want image.Point) {
		t.Helper()
		_, err := lane.AwaitDigest(ctx, fmt.Sprint("a button pressed at ", want), func(d harness.Digest) bool {
			return slices.ContainsFunc(d.Events, func(e digest.Event) bool {
				p, ok := e.(digest.Pointer)
				return ok && image.Pt(int(p.X), int(p.Y)) == want && p.Buttons != 0
			})
		})
		require.NoError(t, err)
	}
	where, err := lane.Click(ctx, "Hello from Beacon")
	require.NoError(t, err)
	require.False(t, where.Empty())
	clicked(hit.Rect.Min.Add(hit.Rect.Max).Div(2))
	good.Areas[0].Click = &needle.Click{X: 3, Y: 4}
	require.NoError(t, good.Save(dir))
	// Beacon has drawn a pointer over the text. The screen then equals the reference only if the
	// pointer is masked.
	r, err = lane.Screen(ctx).Matches("hello")
	require.NoError(t, err)
	require.False(t, r.Matched())
	_, err = lane.AwaitNeedle(ctx, screen.NeedleQuery{Query: needle.Query{Tag: "hello"}, IgnorePointer: true})
	require.NoError(t, err)
	r, err = lane.Screen(ctx).MatchesNeedle(screen.NeedleQuery{Query: needle.Query{Tag: "hello"}, IgnorePointer: true})
	require.NoError(t, err)
	require.True(t, r.Matched(), "%s", r)
	r, err = lane.Screen(ctx).MatchesNeedle(screen.NeedleQuery{Query: needle.Query{Tag: "hello", Masks: []image.Rectangle{image.Rect(500, 400, 600, 500)}}})
	require.NoError(t, err)
	require.False(t, r.Matched(), "another part is masked")
	ask := control.ScreenCondition{Dir: dir, Tag: "hello", Ignore: []string{"pointer"}}
	socket := lanetest.Control(t, lane)
	match, err := socket.Match(ctx, control.MatchParams{Screen: &ask})
	require.NoError(t, err)
	require.True(t, match.Matched, match.Saw)
	ask.Ignore = nil
	match, err = socket.Match(ctx, control.MatchParams{Screen: &ask})
	require.NoError(t, err)
	require.False(t, match.Matched, match.Saw)
	_, err = socket.Await(ctx, control.AwaitParams{Condition: control.Condition{Text: &control.TextCondition{Literal: "Any key goes on."}}})
	require.NoError(t, err)
	require.NoError(t, lanetest.Control(t, lane).MouseMove(ctx, control.MouseMoveParams{X: 500, Y: 400}))
	_, err = lane.Click(ctx, "hello")
	require.NoError(t, err)
	clicked(hit.Rect.Min.Add(image.Pt(3, 4)))
	short, cancel = context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = lane.Click(short, "Cancel")
	require.ErrorContains(t, err, `awaited text "Cancel"`)

	// The console changes when a key comes; the picture of the lighthouse does not.
	before := lane.Screen(ctx)
	require.NoError(t, lane.Press(ctx, "F10"))
	where, err = lane.AwaitChange(ctx, before, image.Rect(16, 520, 768, 570))
	require.NoError(t, err)
	require.False(t, where.Empty())
	require.NoError(t, lane.AwaitStill(ctx, time.Second, image.Rect(860, 150, 960, 500)))
}

// One of two alternatives was skipped, so it may have been on the screen.
func TestAWaitThatEndsWithoutWhatTesseractCouldNotReadIsTheHostsFault(t *testing.T) {
	late := &verdict.Error{Verdict: verdict.Product, Op: "await screen", Err: context.DeadlineExceeded}
	for unread, want := range map[error]verdict.Kind{nil: verdict.Product, ocr.ErrAbsent: verdict.Host} {
		err := harness.BlameReading(&needle.Result{Unread: unread}, late)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, want, verdict.Of(err))
	}
	require.NoError(t, harness.BlameReading(&needle.Result{Unread: ocr.ErrAbsent}, nil))
	require.Same(t, late, harness.BlameReading(nil, late))
}

func TestWhatIsTypedComesInPiecesThatAKeyboardCanHoldAndThatDoNotEndWithASpace(t *testing.T) {
	for text, want := range map[string][]string{
		"":           nil,
		"a":          {"a"},
		"abc":        {"ab", "c"},
		"a bc d":     {"a b", "c d"},
		"a  b":       {"a  b"},
		"a     b":    {"a   ", "  b"},
		"aäb":        {"aä", "b"},
		"ends with ": {"en", "ds", " w", "it", "h "},
		"A  B":       {"A", "  B"}, // 18 bytes
		"A b":        {"A b"},
		"  A":        {"  A"},
	} {
		pieces := harness.TypingPieces(text)
		require.Equal(t, strings.Join(want, "|"), strings.Join(pieces, "|"), text)
		require.Equal(t, text, strings.Join(pieces, ""))
	}
}

// The firmware without a guest: the test walks its setup by the text that it shows.
func TestTheFirmwaresSetupIsWalkedByText(t *testing.T) {
	lanetest.AtOnce(t)
	disk := filepath.Join(t.TempDir(), "empty.raw")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	lane := harness.Up(t, harness.Config{Image: disk, Display: "std"})
	ctx := lane.Context()
	prompt := screen.TextQuery{Pattern: regexp.MustCompile(`Shell> $`), Cursor: true}
	_, err := lane.AwaitTextMatch(ctx, prompt)
	require.NoError(t, err)
	typed, err := lane.TypeInto(ctx, "Shell>", "echo it is 42 of {3}\n")
	require.NoError(t, err)
	require.True(t, typed.Read)
	require.Equal(t, image.Pt(20*8, 19), typed.At.Size())
	_, err = lane.TypeInto(ctx, "Shell>", "two\nlines")
	require.ErrorContains(t, err, "want one line that can be seen")
	_, err = lane.TypeInto(ctx, "Shell>", "ä")
	require.ErrorContains(t, err, "nothing was typed")
	require.Equal(t, verdict.Harness, verdict.Of(err), "the test asks for what no keyboard has")
	hit, err := lane.AwaitTextMatch(ctx, screen.TextQuery{Pattern: regexp.MustCompile(`^\s*it is 42 of \{3\}$`)})
	require.NoError(t, err)
	grid, err := lane.Text(ctx)
	require.NoError(t, err)
	require.Equal(t, "ovmf", grid.Font.Name)
	require.Contains(t, grid.Line(hit.Row-1), "Shell> echo it is 42 of {3}")
	_, err = lane.AwaitTextMatch(ctx, prompt)
	require.NoError(t, err)
	require.NoError(t, lane.AwaitStill(ctx, 3*time.Second, image.Rectangle{}), "only the cursor blinks")
	_, err = lane.Click(ctx, "Shell>")
	require.ErrorContains(t, err, "wrong_mouse_mode", "the firmware has no tablet")
	require.NoError(t, lane.Type(ctx, "exit\n"))
	for _, line := range []string{"Boot Manager", "Boot Maintenance Manager", "Select Language"} {
		_, err := lane.AwaitText(ctx, line)
		require.NoError(t, err)
	}
	require.NoError(t, lane.Press(ctx, "Down"))
	require.NoError(t, lane.Press(ctx, "Enter"))
	_, err = lane.AwaitTextMatch(ctx, screen.TextQuery{Pattern: regexp.MustCompile(`│ +Device Manager +│`)})
	require.NoError(t, err)
	_, err = lane.AwaitText(ctx, "OVMF Platform Configuration")
	require.NoError(t, err)
}
