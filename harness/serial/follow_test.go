package serial_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/serial"
)

// follow feeds a log from a file until stop is called.
func follow(t *testing.T, path string, from int64) (l *serial.Log, stop func() error) {
	t.Helper()
	l = serial.NewLog(serial.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		err := serial.FollowFrom(ctx, path, from, l)
		l.End(err)
		errs <- err
	}()
	return l, func() error { cancel(); return <-errs }
}

func TestAFileIsFollowedAsItGrows(t *testing.T) {
	t.Run("woken by the system", growingFile)
	serial.WithoutWatches(func() { t.Run("by looking", growingFile) })
}

func growingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	require.NoError(t, err)
	defer f.Close()
	fmt.Fprint(f, "before\r\n")
	l, stop := follow(t, path, 0)
	_, err = l.Await(boundary(t), serial.Contains("before"))
	require.NoError(t, err)
	for i := range 200 {
		fmt.Fprintf(f, "line %d\r\n", i)
		if i%50 == 0 {
			_, err := l.Await(boundary(t), serial.Contains(fmt.Sprintf("line %d", i)))
			require.NoError(t, err)
		}
	}
	// When following stops, what is in the file is read without a wake-up.
	fmt.Fprint(f, "last words")
	require.NoError(t, stop())
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(l.Bytes()))
}

func TestFollowingMayBeginInTheMiddle(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "serial.log")
	require.NoError(t, os.WriteFile(path, []byte("earlier\r\nnow\r\n"), 0o644))
	l, stop := follow(t, path, int64(len("earlier\r\n")))
	require.NoError(t, stop())
	assert.Equal(t, "now\r\n", string(l.Bytes()))
}

func TestFollowEndsWithWhatGoesWrong(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, serial.Follow(t.Context(), filepath.Join(t.TempDir(), "none"), io.Discard), os.ErrNotExist)

	path := filepath.Join(t.TempDir(), "serial.log")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o644))
	broken := errors.New("broken")
	require.ErrorIs(t, serial.Follow(t.Context(), path, failing{broken}), broken)
	require.ErrorContains(t, serial.Follow(t.Context(), path, failing{broken}), path)

	// A log that has ended accepts no more, and that is not an error.
	ended := serial.NewLog(serial.Config{})
	ended.End(nil)
	require.NoError(t, serial.Follow(t.Context(), path, ended))
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
