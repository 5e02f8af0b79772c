package truth

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/proc"
)

// helped returns a server whose helper is a shell script.
func helped(t *testing.T, script string) *Server {
	t.Helper()
	stdin, in, err := os.Pipe()
	require.NoError(t, err)
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	require.NoError(t, err)
	defer stdout.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	p, err := proc.Start(cmd)
	require.NoError(t, err)
	s := &Server{process: p, in: in, out: out, answers: bufio.NewReader(out)}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAnAnswerThatNobodyWaitedForIsNotTakenForThatToTheNextLine(t *testing.T) {
	t.Parallel()
	s := helped(t, `while read -r a && read -r b; do echo "to $a"; echo "to $b"; done`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.ask(ctx, "first")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	answer, err := s.ask(t.Context(), "second")
	require.Empty(t, answer)
	require.ErrorContains(t, err, `"first"`)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAServerIsNotKilledForACallersDeadline(t *testing.T) {
	t.Parallel()
	s := helped(t, `while read -r a; do :; done`)
	for range 500 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := s.ask(ctx, "a line")
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.broken = nil // for the next line
	}
}

func TestALineOfACallerThatHasGivenUpIsNotSent(t *testing.T) {
	t.Parallel()
	s := helped(t, `while read -r a; do echo "to $a"; done`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.ask(ctx, "first")
	require.ErrorIs(t, err, context.Canceled)
	answer, err := s.ask(t.Context(), "second")
	require.NoError(t, err)
	require.Equal(t, "to second", answer)
}

func TestBinaryDataOfAnImpossibleLengthIsABadRecording(t *testing.T) {
	t.Parallel()
	for _, n := range []int{math.MaxInt, math.MaxInt - 10, math.MaxInt - 100} {
		_, err := parseRecording("bad.replay", fmt.Appendf(nil,
			"SPICE_REPLAY 1\nevent 0 1 20 1\n320 240 1280 32\n0 1 0 0\nbinary 0 data %d:xx\n", n))
		var bad *BadRecording
		require.ErrorAs(t, err, &bad)
		require.ErrorContains(t, err, "cut off")
	}
}
