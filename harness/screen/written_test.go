package screen_test

import (
	"context"
	"image"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
)

func grid(t *testing.T, p *pixmap.Picture) *text.Grid {
	t.Helper()
	g, err := text.Reader{}.Read(p)
	require.NoError(t, err)
	return g
}

func TestWhatIsTypedCountsOnlyWhereItWasNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := grid(t, page("Shell> ls", "Shell> "))
		src := newFilm(frame{0, page("Shell> ls", "Shell> ")}, frame{second, page("Shell> ls", "Shell> l")}, frame{2 * second, page("Shell> ls", "Shell> ls")})
		hit, err := screen.AwaitWritten(within(t, 9*second), src, text.Reader{}, before, "ls")
		require.NoError(t, err)
		require.Equal(t, image.Rect(7*8, 19, 9*8, 38), hit.Rect)
		// If the text never comes, the error says what is there.
		src = newFilm(frame{0, page("Shell> ls", "Shell> ")}, frame{second, page("Shell> ls", "Shell> la")})
		_, err = screen.AwaitWritten(within(t, 9*second), src, text.Reader{}, before, "ls")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `awaited "ls" where it was not before, saw last 40×10 cells with "Shell> ls\nShell> la"`)
	})
}

func TestACursorThatBlinksIsNoOtherText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := grid(t, page("Shell> ls"))
		cursor := page("Shell> ls█")
		src := newFilm(frame{0, page("Shell> ls")}, frame{second, cursor}, frame{2 * second, page("Shell> ls")})
		require.ErrorIs(t, screen.AwaitOtherText(within(t, 9*second), src, text.Reader{}, before), context.DeadlineExceeded)
		src = newFilm(frame{0, page("Shell> ls")}, frame{second, cursor}, frame{2 * second, page("Shell> ls", "empty")})
		require.NoError(t, screen.AwaitOtherText(within(t, 9*second), src, text.Reader{}, before))
	})
}

func TestAPromptHasTheCursorBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			lines []string
			want  bool
		}{
			{[]string{"Shell> █"}, true},
			{[]string{"Shell>█"}, true},
			{[]string{"Shell> ls", "Shell> █"}, true},
			{[]string{"Shell>  █"}, false},
			{[]string{"Shell> l█"}, false},
			{[]string{"Shell> "}, false},
			{[]string{"Shell> ", "█"}, false},
		} {
			require.Equal(t, tc.want, screen.IsPrompt(grid(t, page(tc.lines...)), "Shell>"), "%q", tc.lines)
		}
		src := newFilm(frame{0, page("Shell> ")}, frame{second, page("Shell> █")})
		require.NoError(t, screen.AwaitPrompt(within(t, 9*second), src, text.Reader{}, "Shell>"))
		err := screen.AwaitPrompt(within(t, 2*second), src, text.Reader{}, "login:")
		require.ErrorContains(t, err, `awaited the prompt "login:" with the cursor behind it, saw last 40×10 cells with "Shell>"`)
	})
}
