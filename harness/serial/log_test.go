package serial_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/spicelane/spicelane/harness/serial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func boundary(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func write(t *testing.T, l *serial.Log, s string) {
	t.Helper()
	n, err := io.WriteString(l, s)
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

func texts(lines []serial.Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func TestLinesAreWhatTheGuestSentHoweverItIsCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{"Hello", " from Beacon", "\r\n", "\n", "\r", "\x1b[1m", "é", "\xc3", "\x00"})).Draw(t, "pieces")
		whole, cut := serial.NewLog(serial.Config{}), serial.NewLog(serial.Config{})
		all := strings.Join(pieces, "")
		io.WriteString(whole, all)
		for _, p := range pieces {
			io.WriteString(cut, p)
		}
		assert.Equal(t, all, string(cut.Bytes()))
		assert.EqualValues(t, len(all), cut.Len())
		assert.Equal(t, texts(whole.Lines()), texts(cut.Lines()))
		var raw []byte
		for i, l := range cut.Lines() {
			assert.Equal(t, i, l.N)
			assert.NotContains(t, l.Text, "\n")
			assert.NotContains(t, l.Text, "\x1b")
			assert.Equal(t, strings.HasSuffix(string(l.Raw), "\n"), l.Complete)
			raw = append(raw, l.Raw...)
		}
		assert.Equal(t, all, string(raw))
	})
}

func TestTextIsForPeople(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\r\n":    "plain",
		"\r\r\n":       "",
		"tab\tstays\n": "tab\tstays",
		"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading Boot0001\r\n": "BdsDxe: loading Boot0001",
		"\x1b[0;32m  OK  \x1b[0m\n":                              "  OK  ",
		"\x1b]0;title\x07prompt$ ":                               "prompt$ ",
		"\x1b(Bab\x1b=c\n":                                       "abc",
		"bell\a and \x00nul\n":                                   "bell and nul",
		"bad \xff utf-8\n":                                       "bad \uFFFD utf-8",
		"half \x1b[":                                             "half ",
		"half \x1b[3\n":                                          "half ",
	} {
		l := serial.NewLog(serial.Config{})
		write(t, l, in)
		assert.Equal(t, []string{want}, texts(l.Lines()), "%q", in)
	}
}

func TestLinesBearTheTimeOfTheirFirstByte(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := serial.NewLog(serial.Config{})
		for _, s := range []string{"a", "b\n", "c\n"} {
			write(t, l, s)
			time.Sleep(time.Second) // the bubble's clock
		}
		lines := l.Lines()
		assert.Equal(t, start, lines[0].Time)
		assert.Equal(t, start.Add(2*time.Second), lines[1].Time)
	})
}

func TestAwaitFindsWhatIsThereAndWhatComes(t *testing.T) {
	t.Parallel()
	l := serial.NewLog(serial.Config{})
	write(t, l, "one\r\ntwo\r\nthree: 1")
	line, err := l.Await(boundary(t), serial.Contains("two"))
	require.NoError(t, err)
	assert.Equal(t, 1, line.N)
	assert.Equal(t, "two\r\n", string(line.Raw))

	// An unfinished line counts for a substring and a prompt. It does not count for a pattern,
	// which might match half a number.
	line, err = l.Await(boundary(t), serial.Contains("three"))
	require.NoError(t, err)
	assert.False(t, line.Complete)
	_, err = l.Await(boundary(t), serial.Prompt(regexp.MustCompile(`: \d$`)))
	require.NoError(t, err)

	var wg sync.WaitGroup
	var got serial.Line
	wg.Go(func() { got, err = l.Await(boundary(t), serial.Matches(regexp.MustCompile(`three: \d+`))) })
	write(t, l, "2")
	write(t, l, "3\r\nfour\r\n")
	wg.Wait()
	require.NoError(t, err)
	assert.Equal(t, "three: 123", got.Text)

	// Output from before the mark does not count after it.
	mark := l.Next()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.AwaitFrom(ctx, mark, serial.Contains("four"))
	require.ErrorIs(t, err, context.Canceled)
	write(t, l, "four\n")
	line, err = l.AwaitFrom(boundary(t), mark, serial.Contains("four"))
	require.NoError(t, err)
	assert.Equal(t, mark, line.N)

	line, err = l.Await(boundary(t), serial.Func("the third line", func(l serial.Line) bool { return l.N == 2 }))
	require.NoError(t, err)
	assert.Equal(t, "three: 123", line.Text)
}

// A waiter looks again at a line that grows. For a pattern, it accepts only a complete line.
func TestAGrowingLineIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serial.NewLog(serial.Config{})
		var word, number string
		go func() {
			line, _ := l.Await(t.Context(), serial.Contains("frame=12"))
			word = line.Text
		}()
		go func() {
			line, _ := l.Await(t.Context(), serial.Matches(regexp.MustCompile(`frame=\d+`)))
			number = line.Text
		}()
		for _, step := range []struct{ write, word, number string }{
			{"fra", "", ""},
			{"me=1", "", ""},
			{"2", "frame=12", ""},
			{"3\r\n", "frame=12", "frame=123"},
		} {
			write(t, l, step.write)
			synctest.Wait()
			assert.Equal(t, step.word, word, "after %q", step.write)
			assert.Equal(t, step.number, number, "after %q", step.write)
		}
	})
}

func TestAMarkInAnUnfinishedLineBeginsWithTheNext(t *testing.T) {
	t.Parallel()
	l := serial.NewLog(serial.Config{})
	assert.Equal(t, 0, l.Next())
	write(t, l, "READY")
	assert.Equal(t, 1, l.Next())
	write(t, l, "\r\n")
	assert.Equal(t, 1, l.Next())
}

func TestAnAwaitThatFailsSaysWhatWasAwaitedAndWhatWasSeen(t *testing.T) {
	t.Parallel()
	why := errors.New("the machine is dead")
	l := serial.NewLog(serial.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Await(ctx, serial.Contains("Hello"))
	assert.EqualError(t, err, `serial console: awaited "Hello": context canceled; the guest has said nothing`)

	for i := range 20 {
		write(t, l, fmt.Sprintf("line %d\r\n\r\n", i))
	}
	write(t, l, "unfinished")
	errs := make(chan error)
	for range 3 {
		go func() {
			_, err := l.Await(boundary(t), serial.Matches(regexp.MustCompile("^x$")))
			errs <- err
		}()
	}
	l.End(why)
	l.End(errors.New("too late"))
	for range 3 {
		err := <-errs
		var await *serial.AwaitError
		require.ErrorAs(t, err, &await)
		require.ErrorIs(t, err, why)
		assert.Equal(t, "a line matching /^x$/", await.Wanted)
		assert.Len(t, await.Tail, 10)
		assert.Equal(t, "unfinished", await.Tail[9])
		assert.Contains(t, err.Error(), `it said last: "line 18", "line 19", "unfinished"`)
		assert.NotContains(t, err.Error(), "\n")
	}
	_, err = l.Write([]byte("more"))
	require.ErrorIs(t, err, io.ErrClosedPipe)

	// Output from before the end is still found, with the last line complete.
	line, err := l.Await(boundary(t), serial.Matches(regexp.MustCompile("^unfinished$")))
	require.NoError(t, err)
	assert.True(t, line.Complete)

	plain := serial.NewLog(serial.Config{})
	plain.End(nil)
	_, err = plain.Await(boundary(t), serial.Contains("x"))
	require.ErrorIs(t, err, serial.ErrEnded)
}

func TestTheZeroMatcherMatchesNothing(t *testing.T) {
	t.Parallel()
	assert.True(t, serial.Matcher{}.IsZero())
	assert.False(t, serial.Contains("").IsZero())
	assert.False(t, serial.Matcher{}.Match(serial.Line{}))
}

func TestATailIsTheLastLinesThatAreNotBlank(t *testing.T) {
	t.Parallel()
	l := serial.NewLog(serial.Config{})
	write(t, l, "a\r\n\r\n  \r\nb\r\nc")
	assert.Equal(t, []string{"b", "c"}, l.Tail(2))
	assert.Equal(t, []string{"a", "b", "c"}, l.Tail(9))
	assert.Empty(t, l.Tail(0))
}

// A guest with much output cannot make the log grow without limit, and neither can one that never
// ends a line. The numbers keep counting.
func TestTheOldestLinesGoWhenThereIsTooMuch(t *testing.T) {
	t.Parallel()
	l := serial.NewLog(serial.Config{MaxBytes: 100})
	early := l.Reader(0)
	for i := range 100 {
		write(t, l, fmt.Sprintf("line %02d\n", i))
	}
	lines := l.Lines()
	assert.Len(t, lines, 12)
	assert.Equal(t, 99, lines[11].N)
	assert.Equal(t, "line 88", lines[0].Text)
	assert.EqualValues(t, 800, l.Len())
	line, err := early.Next(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, "line 88", line.Text)
	assert.Equal(t, 88, early.Missed())

	long := serial.NewLog(serial.Config{})
	write(t, long, strings.Repeat("x", 150_000))
	assert.Len(t, long.Lines(), 3)
	assert.Len(t, long.Bytes(), 150_000)
}

func TestAReaderReadsEveryLineAtItsOwnPace(t *testing.T) {
	t.Parallel()
	l := serial.NewLog(serial.Config{})
	c := l.Reader(0)
	const n = 1000
	go func() {
		for i := range n {
			fmt.Fprintf(l, "line %d\r\n", i)
		}
		io.WriteString(l, "and a half")
		l.End(nil)
	}()
	for i := range n {
		line, err := c.Next(boundary(t))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("line %d", i), line.Text)
	}
	line, err := c.Next(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, "and a half", line.Text)
	_, err = c.Next(boundary(t))
	require.ErrorIs(t, err, io.EOF)
	assert.Zero(t, c.Missed())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = serial.NewLog(serial.Config{}).Reader(0).Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// A guest writes a last line and dies. A waiting caller may be woken by the end before the line
// arrives. The line still counts.
func TestALineThatComesWithTheEndOfTheWaitIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serial.NewLog(serial.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		found := make(chan error, 1)
		go func() {
			_, err := l.Await(ctx, serial.Contains("last words"))
			found <- err
		}()
		synctest.Wait()
		cancel()
		_, err := l.Write([]byte("last words\n"))
		require.NoError(t, err)
		require.NoError(t, <-found)
	})
}
