package runner

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// stuck is an input that its reader reads only when it is told to. It is not safe for concurrent
// calls.
type stuck struct {
	began, read chan struct{}
	closed      int
}

func (s *stuck) Write(p []byte) (int, error) {
	close(s.began)
	<-s.read
	s.closed += 0 // for the race detector
	return len(p), nil
}

func (s *stuck) Close() error {
	s.closed++
	return nil
}

func TestAnInputThatIsClosedDuringAWriteIsClosedAfterIt(t *testing.T) {
	t.Parallel()
	s := &stuck{began: make(chan struct{}), read: make(chan struct{})}
	in := &sshInput{to: s}
	wrote := make(chan error)
	go func() {
		_, err := in.Write([]byte("task"))
		wrote <- err
	}()
	<-s.began
	require.NoError(t, in.Close(), "it does not wait")
	require.NoError(t, in.Close())
	close(s.read)
	require.NoError(t, <-wrote)
	require.Equal(t, 1, s.closed)
	_, err := in.Write([]byte("more"))
	require.ErrorIs(t, err, io.ErrClosedPipe)

	in = &sshInput{to: s}
	require.NoError(t, in.Close())
	require.Equal(t, 2, s.closed, "nothing was being written")
}
