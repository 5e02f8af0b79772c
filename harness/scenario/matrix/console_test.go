package matrix_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/spice/control"
)

// Guests on every display device, also on those that show no digest. The text that Linux and the
// firmware write on the screen is read there, and equals what they write on the serial line.
func TestLinuxTheFirmwareAndBeaconGoThroughTheSuitesForAnyGuest(t *testing.T) {
	lanetest.AtLength(t)
	t.Parallel()
	for i, display := range displays {
		t.Run("linux/"+string(display), func(t *testing.T) {
			lanetest.AtOnce(t)
			lane := harness.Up(t, harness.Config{Fixture: "linux", Display: display})
			scenario.Run(t, lane)
			linuxPrints(t, lane, i)
		})
		t.Run("firmware/"+string(display), func(t *testing.T) {
			lanetest.AtOnce(t)
			cfg := harness.Config{Fixture: "firmware", Display: display}
			// These files make the machine another one each time, so its state would never be used
			// again.
			sample := i == 0 || lineCount(t) > 1
			var files *lineFiles
			if sample {
				files = newLineFiles(t, i)
				cfg.ExtraArgs, cfg.Warm = files.disk(), harness.WarmOff
			}
			lane := harness.Up(t, cfg)
			scenario.Run(t, lane)
			if sample {
				files.print(t, lane)
			}
		})
		t.Run("beacon/"+string(display), func(t *testing.T) {
			lanetest.AtOnce(t)
			scenario.Run(t, harness.Up(t, harness.Config{Display: display}), scenario.ForAnyGuest()...)
		})
	}
}

// lineCount returns how many random lines each guest prints on each display device:
// SPICELANE_LINES, or one screen.
func lineCount(t *testing.T) int {
	t.Helper()
	s := os.Getenv("SPICELANE_LINES")
	if s == "" {
		return 1
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, "SPICELANE_LINES")
	require.Positive(t, n, "SPICELANE_LINES")
	return n
}

// consoleFonts are the fonts in which the Linux guest's screen is written, one after another. The
// first is the kernel's own: there is no way back to it.
var consoleFonts = []string{"linux-vga-8x16", "Lat15-VGA16", "Lat15-Terminus16", "Lat15-TerminusBold16", "Lat15-Fixed16"}

// linuxPrints makes the Linux guest write random lines of printable ASCII to the screen and to the
// serial line, screen by screen, and compares the text from both. The first screen uses one of the
// fonts, depending on seed.
func linuxPrints(t *testing.T, lane *harness.Lane, seed int) {
	const rows, width = 40, 120
	pattern := lineOf(width)
	// The control socket knows the guest's font, too.
	prompt, err := lanetest.Control(t, lane).Match(lane.Context(), control.MatchParams{Text: &control.TextCondition{Literal: "linux#"}})
	require.NoError(t, err)
	require.True(t, prompt.Matched, prompt.Saw)
	total := lineCount(t)
	var c comparison
	for n := 0; c.lines < total; n++ {
		font := consoleFonts[(n+seed)%len(consoleFonts)]
		setFont := "font " + font + "; "
		if font == consoleFonts[0] {
			if setFont = ""; n > 0 {
				continue
			}
		}
		mark := lane.Serial().Next()
		command(t, lane, "linux# ", fmt.Sprintf("%sclear; lines %d %d; echo printed %d", setFont, rows, width, n))
		awaitText(t, lane, fmt.Sprintf(`^printed %d$`, n))
		grid, err := lane.Text(lane.Context())
		require.NoError(t, err)
		require.Equal(t, font, grid.Font.Name)
		c.add(t, grid.Lines()[:rows], serialLines(t, lane, mark, pattern, rows))
	}
	c.report(t, "Linux")
}

// lineFiles are files with random lines that the firmware's shell prints.
type lineFiles struct {
	dir   string
	lines [][]string
	width int
}

func newLineFiles(t *testing.T, seed int) *lineFiles {
	t.Helper()
	const rows = 20
	f := &lineFiles{dir: t.TempDir(), width: 76}
	for n := 0; n*rows < lineCount(t); n++ {
		lines := randomLines(rand.New(rand.NewPCG(uint64(n), uint64(seed))), rows, f.width)
		f.lines = append(f.lines, lines)
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, fmt.Sprintf("L%d.TXT", n)), []byte(strings.Join(lines, "\r\n")+"\r\n"), 0o600))
	}
	return f
}

// disk returns QEMU's arguments for a disk with the files.
func (f *lineFiles) disk() []string {
	return []string{"-drive", "if=none,id=lines,format=raw,read-only=on,file=fat:" + f.dir, "-device", "virtio-blk-pci,drive=lines"}
}

// print makes the firmware's shell print the files, one per screen, and compares the text from the
// screen with that from the serial line.
func (f *lineFiles) print(t *testing.T, lane *harness.Lane) {
	var c comparison
	for n, written := range f.lines {
		mark := lane.Serial().Next()
		command(t, lane, "Shell> ", "cls")
		command(t, lane, "Shell> ", fmt.Sprintf("type fs0:\\L%d.TXT", n))
		command(t, lane, "Shell> ", fmt.Sprintf("echo printed %d", n))
		awaitText(t, lane, fmt.Sprintf(`^ *printed %d$`, n))
		grid, err := lane.Text(lane.Context())
		require.NoError(t, err)
		require.Equal(t, "ovmf", grid.Font.Name)
		all := grid.Lines()
		command := slices.IndexFunc(all, func(l string) bool { return strings.Contains(l, "Shell> type fs0:") })
		require.GreaterOrEqual(t, command, 0, grid.Text())
		require.Less(t, command+len(written), grid.Rows, grid.Text())
		// The text is in the middle of a wider screen.
		margin := strings.Index(all[command], "Shell>")
		var shown []string
		for _, line := range all[command+1:][:len(written)] {
			shown = append(shown, line[min(margin, len(line)):])
		}
		said := serialLines(t, lane, mark, lineOf(f.width), len(written))
		require.Equal(t, written, said, "the serial line does not have what is in the file")
		c.add(t, shown, said)
	}
	c.report(t, "the firmware's shell")
}

// lineOf matches a line of [randomLines].
func lineOf(width int) *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`^[ -~]{%d}\|$`, width-1))
}

// randomLines returns lines of printable ASCII that end with a bar, so that spaces before the bar
// are seen.
func randomLines(r *rand.Rand, n, width int) []string {
	lines := make([]string, n)
	for i := range lines {
		b := make([]byte, width-1, width)
		for j := range b {
			b[j] = byte(' ' + r.IntN('~'-' '+1))
		}
		lines[i] = string(append(b, '|'))
	}
	return lines
}

// command types a command at a shell's prompt and runs it.
func command(t *testing.T, lane *harness.Lane, prompt, line string) {
	t.Helper()
	_, err := lane.TypeInto(lane.Context(), prompt, line+"\n")
	require.NoError(t, err)
}

// awaitText waits for a line that matches a pattern.
func awaitText(t *testing.T, lane *harness.Lane, pattern string) {
	t.Helper()
	_, err := lane.AwaitTextMatch(lane.Context(), screen.TextQuery{Pattern: regexp.MustCompile(pattern)})
	require.NoError(t, err)
}

// serialLines waits for n lines of the serial line that match a pattern, after a mark.
func serialLines(t *testing.T, lane *harness.Lane, mark int, pattern *regexp.Regexp, n int) []string {
	t.Helper()
	var lines []string
	for len(lines) < n {
		l, err := lane.Serial().AwaitFrom(lane.Context(), mark, serial.Func(fmt.Sprintf("line %d of %d like %v", len(lines)+1, n, pattern), func(l serial.Line) bool {
			return l.Complete && pattern.MatchString(strings.TrimRight(string(l.Raw), "\r\n"))
		}))
		require.NoError(t, err)
		lines = append(lines, strings.TrimRight(string(l.Raw), "\r\n"))
		mark = l.N + 1
	}
	return lines
}

// A comparison counts the differences between two readings of the same lines.
type comparison struct {
	lines, characters, wrong int
	first                    string // the first difference
}

func (c *comparison) add(t *testing.T, screen, serial []string) {
	t.Helper()
	require.Len(t, screen, len(serial))
	for i := range serial {
		c.line([]rune(screen[i]), []rune(serial[i]))
	}
}

func (c *comparison) line(screen, serial []rune) {
	c.lines++
	c.characters += len(serial)
	for i := range max(len(screen), len(serial)) {
		if i >= len(screen) || i >= len(serial) || screen[i] != serial[i] {
			c.wrong++
			if c.first == "" {
				c.first = fmt.Sprintf("column %d: the screen has\n%q, the serial line\n%q", i, string(screen), string(serial))
			}
		}
	}
}

func (c *comparison) report(t *testing.T, what string) {
	t.Helper()
	t.Logf("%s: %d lines, %d characters, %d wrong", what, c.lines, c.characters, c.wrong)
	require.Zero(t, c.wrong, c.first)
	require.Positive(t, c.characters)
}

func TestAComparisonOfLinesCountsWhatIsWrongMissingAndTooMuch(t *testing.T) {
	var c comparison
	c.add(t, []string{"same|", "sane|", "short", "long||"}, []string{"same|", "same|", "short|", "long|"})
	require.Equal(t, comparison{lines: 4, characters: 21, wrong: 3, first: "column 2: the screen has\n\"sane|\", the serial line\n\"same|\""}, c)
}
