package fresh_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/fresh"
)

func TestWhatAWindowShowsAnewIsToldFromWhatItHadShown(t *testing.T) {
	t.Parallel()
	equal := func(a, b string) bool { return a == b }
	for _, c := range []struct{ seen, window, want string }{
		{"", "", ""},
		{"", "a b", "a b"},
		{"a b", "a b", ""},
		{"a b", "a b c", "c"},
		{"a b c", "b c d e", "d e"},
		{"a b c", "c d", "d"},
		{"a b c", "d e", "d e"}, // more came than the window holds
		{"a b c", "a b", "a b"}, // what was seen first is not its end
		{"a a", "a a a", "a"},   // the longest end counts
		{"x y a b", "a b", ""},
		{"a b", "", ""},
	} {
		got := fresh.After(strings.Fields(c.seen), strings.Fields(c.window), equal)
		require.Equal(t, c.want, strings.Join(got, " "), "%q after %q", c.window, c.seen)
	}
}
