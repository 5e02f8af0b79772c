package ctxio_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/ctxio"
)

var errEnough = errors.New("enough")

func TestAWriteEndsWithItsContextAndSaysWhatItWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		type outcome struct {
			n   int
			err error
		}
		done := make(chan outcome, 1)
		go func() {
			n, err := ctxio.Write(ctx, ours, []byte("12345"))
			done <- outcome{n, err}
		}()
		_, err := io.ReadFull(theirs, make([]byte, 2))
		require.NoError(t, err)
		synctest.Wait()
		cancel(errEnough)
		require.Equal(t, outcome{2, errEnough}, <-done)

		// The connection works as before.
		go func() { _, _ = io.ReadFull(theirs, make([]byte, 3)) }()
		n, err := ctxio.Write(t.Context(), ours, []byte("678"))
		require.NoError(t, err)
		require.Equal(t, 3, n)
	})
}

func TestADeadlineOfTheContextIsItsErrorAndNotTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := ctxio.Write(ctx, ours, []byte("x"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func TestAnErrorOfTheConnectionIsNotTakenForTheContexts(t *testing.T) {
	ours, theirs := net.Pipe()
	theirs.Close()
	defer ours.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := ctxio.Do(ctx, ours.SetDeadline, func() error {
		_, err := ours.Write([]byte("x"))
		cancel() // too late to be the reason
		return err
	})
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestNothingIsDoneForAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	err := ctxio.Do(ctx, nil, func() error {
		t.Error("called")
		return nil
	})
	require.ErrorIs(t, err, errEnough)
}

// lateDeadlines is a connection. Setting a deadline in the past blocks there until release is
// closed.
type lateDeadlines struct {
	net.Conn
	entered, release chan struct{}
}

func (c lateDeadlines) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() {
		c.entered <- struct{}{}
		<-c.release
	}
	return c.Conn.SetWriteDeadline(t)
}

// The context ends during the write, and the write still succeeds. The deadline that should have
// interrupted it comes late.
func TestNoDeadlineIsLeftBehindWhenTheContextEndsDuringTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		conn := lateDeadlines{ours, make(chan struct{}), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- ctxio.Do(ctx, conn.SetWriteDeadline, func() error {
				cancel()
				<-conn.entered // the deadline is being set
				_, err := conn.Write([]byte("x"))
				return err
			})
		}()
		synctest.Wait()
		close(conn.release)
		require.NoError(t, <-done)
		synctest.Wait()
		_, err := conn.Write([]byte("y"))
		require.NoError(t, err)
	})
}
