package serial_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/serial"
)

// A line of a console is what a terminal shows, not what was sent. Progress displays redraw their
// line with a carriage return, shells with backspaces and erasing.
func TestALineIsWhatStandsThereInTheEnd(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"loading 10%\rloading 50%\rpanic: no root\r\n": "panic: no root",
		"loading 100%\rok\n":                           "okading 100%",
		"loading 100%\r\x1b[Kok\n":                     "ok",
		"loading 100%\x1b[2K\rok\n":                    "ok",
		"loading 100%\x1b[1K\n":                        "",
		"abcdef\x1b[3D\x1b[1K!\n":                      "   !ef",
		"abcdef\x1b[3D\x1b[K!\n":                       "abc!",
		"abcdef\x1b[2JX\n":                             "      X",
		"helo\b\blp\n":                                 "help",
		"\b\bx\n":                                      "x",
		"abc\x1b[Gx\n":                                 "xbc",
		"abc\x1b[2Gx\x1b[5Gy\n":                        "axc y",
		"ab\x1b[3Cc\n":                                 "ab   c",
		"abcdef\r\x1b[2P\n":                            "cdef",
		"abcdef\r\x1b[2@\n":                            "  abcdef",
		"abcdef\r\x1b[3X\n":                            "   def",
		"=\x1b[4b>\n":                                  "=====>",
		"a\tb\n":                                       "a\tb",
		"abcdefghij\r\tX\n":                            "abcdefghXj",
		"a\tb\r\x1b[3Cx\n":                             "a  x    b",
		"\x1b[5;7HX\n":                                 "      X",
		"\x1b[999999999CX\n":                           strings.Repeat(" ", 1000) + "X",
		// A size probe, as systemd and many shells make one: save, move far away, report, move
		// back.
		"[  OK  ] up\x1b7\x1b[r\x1b[999;999H\x1b[6n\x1b8 and running\n": "[  OK  ] up and running",
		"ab\x1b[s\x1b[9;9H\x1b[uc\n":                                    "abc",
		"one\x1b[A\x1b[B two\n":                                         "one two",
	} {
		l := serial.NewLog(serial.Config{})
		write(t, l, in)
		assert.Equal(t, []string{want}, texts(l.Lines()), "%q", in)
	}
}

// https://github.com/systemd/systemd/issues/37538: systemd asks the terminal for its name with a
// DCS, right before what it prints. Other control strings are terminated in the same way.
func TestControlStringsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	fatal := serial.Matches(regexp.MustCompile(`^FATAL: `))
	for name, prefix := range map[string]string{
		"DCS":                          "\x1bP+q544E\x1b\\",
		"APC":                          "\x1b_Gi=1,a=q\x1b\\",
		"PM":                           "\x1b^private\x1b\\",
		"SOS":                          "\x1bXstart\x1b\\",
		"OSC":                          "\x1b]11;?\x1b\\",
		"OSC that BEL ends":            "\x1b]0;title\a",
		"a window title as of screen":  "\x1bkbash\x1b\\",
		"DCS with a BEL inside":        "\x1bPa\ab\x1b\\",
		"DCS that CAN ends":            "\x1bP+q544E\x18",
		"DCS that an escape cuts":      "\x1bP+q544E\x1b[0m",
		"CSI":                          "\x1b[?2004h\x1b[38:5:1m\x1b[>c",
		"CSI with a control inside":    "\x1b[\a0m",
		"CSI that another escape cuts": "\x1b[3\x1b[0m",
	} {
		l := serial.NewLog(serial.Config{})
		write(t, l, prefix+"FATAL: no disk\r\n")
		l.End(nil)
		assert.Equal(t, []string{"FATAL: no disk"}, texts(l.Lines()), name)
		_, err := l.Await(boundary(t), fatal)
		assert.NoError(t, err, name)
	}
	// A guest that dies inside a control string does not take the next line with it.
	l := serial.NewLog(serial.Config{})
	write(t, l, "\x1bP+q54\nFATAL: no disk\n")
	assert.Equal(t, []string{"", "FATAL: no disk"}, texts(l.Lines()))
}

// Full-screen programs and boot menus never send a newline: the text that they write on another row
// is another line.
func TestWhatIsWrittenOnAnotherRowIsAnotherLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"\x1b[2J\x1b[1;1HGNU GRUB\x1b[3;1Hgrub> ": {"GNU GRUB", "grub> "},
		"one\x1b[Btwo":             {"one", "   two"},
		"one\x1b[Etwo\x1b[Fthree":  {"one", "two", "three"},
		"one\x1bEtwo":              {"one", "two"},
		"one\x1bctwo":              {"two"},
		"one\vtwo":                 {"one", "   two"},
		"\x1b[4;1Hone\x1b[4;1Htwo": {"two"},
		"\x1b[4;1Hone\x1b[5;1H\x1b[K\x1b[4;4H two": {"one two"},
		"   \x1b[5;1Hx": {"x"},
	} {
		l := serial.NewLog(serial.Config{})
		write(t, l, in)
		assert.Equal(t, want, texts(l.Lines()), "%q", in)
		assert.Equal(t, in, string(l.Bytes()))
		for i, line := range l.Lines() {
			assert.Equal(t, i < len(want)-1, line.Complete)
		}
	}
}

// Text that was drawn over is found, however short the time to look at it was.
func TestWhatWasDrawnOverIsStillFound(t *testing.T) {
	t.Parallel()
	l := serial.NewLog(serial.Config{})
	write(t, l, "loading 10%\rloading 50%\rpanic: no root\rrestarting     \r\n")
	line := l.Lines()[0]
	assert.Equal(t, "restarting     ", line.Text)
	assert.Equal(t, []string{"loading 10%", "loading 50%", "panic: no root"}, line.Before)
	for _, m := range []serial.Matcher{
		serial.Contains("50%"), serial.Contains("restarting"), serial.Matches(regexp.MustCompile("^panic: no root$")),
		serial.Prompt(regexp.MustCompile("10%$")), serial.Pattern(regexp.MustCompile("^panic")),
	} {
		assert.True(t, m.Match(line), m.String())
	}
	assert.False(t, serial.Contains("loading 10%loading").Match(line))

	// Typing with mistakes. The space that the terminal erases with stays.
	m := serial.NewLog(serial.Config{})
	write(t, m, "rooot\b \b\bt\n")
	assert.Equal(t, []string{"rooot"}, m.Lines()[0].Before[:1])

	// However long a guest redraws a line, what is kept of it is limited.
	long := serial.NewLog(serial.Config{})
	for i := range 10000 {
		write(t, long, fmt.Sprintf("\r%s %4d", strings.Repeat("#", 1000), i))
		if line := long.Lines(); len(line) > 1 {
			break
		}
	}
	size := 0
	for _, s := range long.Lines()[0].Before {
		size += len(s)
	}
	assert.Less(t, size, 64<<10+1)
}

// https://github.com/coreos/coreos-assembler/issues/1366: a guest that waits at a prompt has
// printed its last text, and no newline follows.
func TestAPromptIsSeenBeforeItsLineEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			pattern, says string
			atOnce        bool // without waiting until the guest is still
		}{
			{`^grub rescue>`, "grub rescue> ", true},
			{`^\(initramfs\)`, "(initramfs) ", true},
			{`^dracut:/#`, "dracut:/# ", true},
			{`login: $`, "beacon login: ", false},
			{`\bassword\b`, "Password: assword", false},
		} {
			l := serial.NewLog(serial.Config{})
			write(t, l, "Welcome\r\n")
			r := l.Reader(0)
			pattern := serial.Pattern(regexp.MustCompile(tc.pattern))
			line, err := r.Look(t.Context())
			require.NoError(t, err)
			require.Equal(t, "Welcome", line.Text)
			for _, piece := range strings.SplitAfter(tc.says, "") {
				write(t, l, piece)
			}
			line, err = r.Look(t.Context())
			require.NoError(t, err)
			require.Equal(t, tc.says, line.Text)
			require.False(t, line.Complete || line.Still)
			require.Equal(t, tc.atOnce, pattern.Match(line), tc.pattern)

			line, err = r.Look(t.Context()) // the bubble's clock goes on by itself
			require.NoError(t, err)
			require.True(t, line.Still)
			require.True(t, pattern.Match(line), tc.pattern)

			write(t, l, "root\r\n")
			line, err = r.Look(t.Context())
			require.NoError(t, err)
			require.True(t, line.Complete)
			require.Equal(t, tc.says+"root", line.Text)
			l.End(nil)
			_, err = r.Look(t.Context())
			require.Error(t, err)
		}
	})
}

// A pattern for the end of a line does not accept half a line.
func TestAHalfLineIsNotTakenForAWholeOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serial.NewLog(serial.Config{})
		r := l.Reader(0)
		failed := serial.Pattern(regexp.MustCompile(`error$`))
		write(t, l, "no error")
		line, err := r.Look(t.Context())
		require.NoError(t, err)
		require.False(t, failed.Match(line))
		write(t, l, "s found\n")
		line, err = r.Look(t.Context())
		require.NoError(t, err)
		require.True(t, line.Complete)
		require.False(t, failed.Match(line))
		l.End(nil)
	})
}

// A line without an end is split every 64 KiB; nothing is missing at the split.
func TestWhatFallsAcrossA64KiBBreakIsFound(t *testing.T) {
	t.Parallel()
	const piece = 64 << 10
	for _, before := range []int{piece - 40, piece - 7, piece - 1, 2*piece - 5, piece} {
		l := serial.NewLog(serial.Config{})
		write(t, l, strings.Repeat(".", before)+"Kernel \x1b[1mpanic\x1b[0m - not sÿncing, Hello from Beacon\n")
		l.End(nil)
		for _, m := range []serial.Matcher{
			serial.Contains("Hello from Beacon"), serial.Matches(regexp.MustCompile("panic - not sÿncing")),
			serial.Pattern(regexp.MustCompile("Kernel panic - not sÿncing")), serial.Matches(regexp.MustCompile("Beacon$")),
		} {
			_, err := l.Await(boundary(t), m)
			assert.NoError(t, err, "%d %v", before, m)
		}
		for _, line := range l.Lines()[1:] {
			assert.False(t, serial.Matches(regexp.MustCompile(`^\.|^K|^[a-zA-Z]`)).Match(line), "no line begins at the break")
		}
		for i, line := range l.Lines() {
			assert.Equal(t, i < len(l.Lines())-1, line.Cut)
			assert.True(t, line.Complete)
		}
	}
	// The end of a piece is not the end of the line.
	l := serial.NewLog(serial.Config{})
	write(t, l, strings.Repeat(".", piece-5)+"errors: none\n")
	for _, line := range l.Lines() {
		assert.False(t, serial.Pattern(regexp.MustCompile(`error$`)).Match(line))
		assert.False(t, serial.Matches(regexp.MustCompile(`error$`)).Match(line))
	}
}
