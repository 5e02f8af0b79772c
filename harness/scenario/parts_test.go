package scenario_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/spice/control"
)

func TestTheStrongestFrequencyIsFound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []int{44100, 48000} {
		for _, want := range []float64{100, 439, 440, 441.7, 1000, 7000} {
			samples := make([]float64, rate*8/10)
			for i := range samples {
				at := 2 * math.Pi * float64(i) / float64(rate)
				samples[i] = 0.25*math.Sin(want*at+1) + 0.1*math.Sin(2*want*at) + 0.1*math.Sin(57*at) + 0.05*random.Float64()
			}
			got, peak := scenario.Dominant(samples, rate)
			require.InDelta(t, want, got, 0.001*want+0.1, "%d samples a second", rate)
			require.InDelta(t, 0.45, peak, 0.1)
		}
	}
	hz, peak := scenario.Dominant(nil, 48000)
	require.Zero(t, hz)
	require.Zero(t, peak)
	_, peak = scenario.Dominant(make([]float64, 4096), 48000)
	require.Zero(t, peak)
}

// 104 keys, each once. They type what the US layout says.
func TestTheKeyboardHas104Keys(t *testing.T) {
	t.Parallel()
	codes := scenario.Keyboard104()
	require.Len(t, codes, 104)
	sorted := slices.Clone(codes)
	slices.Sort(sorted)
	require.Len(t, slices.Compact(sorted), 104)

	plain, shifted := scenario.Characters()
	require.Len(t, plain, 47)
	require.Len(t, shifted, 47)
	for r, code := range plain {
		got, err := control.ParseKey(string(r))
		require.NoError(t, err)
		require.Equal(t, []uint16{code}, got, "%q", r)
	}
	for r, code := range shifted {
		got, err := control.ParseKey(string(r))
		require.NoError(t, err)
		require.Equal(t, []uint16{control.KeyShift, code}, got, "%q", r)
	}
}

func TestTheClipboardsTextHasItsLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 30, 31, 64 << 10, 1_000_000} {
		text := scenario.ClipboardText(n)
		require.Len(t, text, n)
		require.True(t, utf8.ValidString(text))
	}
}

func TestTheTypedTextHasEveryCharacterOfTheKeyboard(t *testing.T) {
	t.Parallel()
	text := scenario.TypedText(2000)
	require.Len(t, text, 2000)
	count := map[rune]int{}
	pairs := map[string]bool{}
	for i, r := range text {
		count[r]++
		pairs[text[i:min(i+2, len(text))]] = true
	}
	plain, shifted := scenario.Characters()
	require.Len(t, count, len(plain)+len(shifted)+1)
	for r := ' '; r <= '~'; r++ {
		require.GreaterOrEqual(t, count[r], 20, "%q", r)
	}
	require.Greater(t, len(pairs), 1500, "each character has ever other neighbours")
	require.True(t, pairs["  "], "and itself")
}

// press is a guest's report of a key with a character.
func press(text string) (events []digest.Event) {
	for _, r := range text {
		events = append(events, digest.Scancode{State: digest.KeyDown}, digest.Keypress{Unicode: digest.Char(r)}, digest.Scancode{})
	}
	return events
}

func TestMarksDivideWhatWasTyped(t *testing.T) {
	t.Parallel()
	mark := []digest.Event{digest.Scancode{Code: 0x43, State: digest.KeyDown}, digest.Keypress{Scancode: 0x13}, digest.Scancode{Code: 0x43}}
	events := slices.Concat(press("before"), []digest.Event{digest.Hold{On: true}}, press("a b"), mark, mark, press("c"), mark, press("d"))
	require.Equal(t, []string{"a b", "c", "d"}, scenario.TypedParts(events))
	require.Equal(t, []string{"a b", "c"}, scenario.TypedParts(events[:len(events)-3]))
	require.Empty(t, scenario.TypedParts(press("not held")))
}

func TestWhatIsRightIsWhatBothHaveInOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 0}, {"abc", "abc", 3}, {"abc", "cba", 1}, {"abcdef", "xbxdfx", 3},
		{"abc", "aabbcc", 3}, {"hello", "hlo", 3}, {"hello", "HELLO", 0},
	} {
		require.Equal(t, tt.want, scenario.InCommon(tt.a, tt.b), "%q %q", tt.a, tt.b)
		require.Equal(t, tt.want, scenario.InCommon(tt.b, tt.a), "%q %q", tt.b, tt.a)
	}
}
