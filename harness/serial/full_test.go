package serial

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALineOfAFullLogCostsNoCopyOfTheWholeLog(t *testing.T) {
	l := NewLog(Config{MaxBytes: 64 << 10})
	line := bytes.Repeat([]byte("x"), 15)
	line = append(line, '\n')
	for range 2 * (64 << 10) / len(line) {
		_, err := l.Write(line)
		require.NoError(t, err)
	}
	kept := len(l.lines)
	require.Equal(t, 64<<10/len(line), kept)
	const more = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range more {
		_, err := l.Write(line)
		require.NoError(t, err)
	}
	runtime.ReadMemStats(&after)
	require.Len(t, l.lines, kept)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/more, uint64(8<<10), "bytes for each line")
	require.Equal(t, l.first, l.Lines()[0].N)
	require.Len(t, l.Bytes(), 64<<10)
}

func TestAControlSequenceWithoutEndTakesNoMoreAndMoreMemory(t *testing.T) {
	l := NewLog(Config{MaxBytes: 1 << 10})
	_, err := l.Write([]byte("\x1b["))
	require.NoError(t, err)
	for range 100 {
		_, err := l.Write(bytes.Repeat([]byte("1"), 10_000))
		require.NoError(t, err)
	}
	require.Less(t, cap(l.row.params), 10_000)
	_, err = l.Write([]byte("Khello\n"))
	require.NoError(t, err)
	lines := l.Lines()
	require.Equal(t, "hello", lines[len(lines)-1].Text)
}
