package harness

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A test's cleanup and its own Close may run at once. The second call waits until the lane is closed,
// and does not remove anything that the first still uses.
func TestASecondCloseWaitsForTheFirst(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log, err := timeline.Open(filepath.Join(dir, timeline.File), time.Now())
		require.NoError(t, err)
		var (
			mu    sync.Mutex
			order []string
		)
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		ends := make(chan struct{})
		slow := func(what string) *part {
			return &part{stop: func() error {
				<-ends
				note(what)
				return nil
			}}
		}
		l := &Lane{dir: dir, log: log, client: slow("client"), proxy: slow("proxy"),
			closing: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{})}
		l.undo.push(log.Close)
		l.undo.push(func() error { note("undo"); return nil })
		close(l.done) // nobody watches
		var closers sync.WaitGroup
		for _, who := range []string{"a", "b"} {
			closers.Go(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				note("closed " + who)
			})
		}
		synctest.Wait() // both block: the first waits for a part, the second for the first
		mu.Lock()
		early := slices.Clone(order)
		mu.Unlock()
		close(ends)
		closers.Wait()
		require.Empty(t, early, "this came before the client's end")
		require.Equal(t, []string{"client", "proxy", "undo"}, order[:3])
		require.ElementsMatch(t, []string{"closed a", "closed b"}, order[3:])
	})
}

// A wait in another goroutine does not report that a part has failed, if only Close ended the
// parts.
func TestAWaitIsToldThatTheLaneWasClosed(t *testing.T) {
	t.Parallel()
	lane := Up(t, Config{})
	waited := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		_, err := lane.AwaitDigest(lane.Context(), "nothing that comes", func(Digest) bool {
			select {
			case <-begun:
			default:
				close(begun)
			}
			return false
		})
		waited <- err
	}()
	<-begun
	require.NoError(t, lane.Close())
	require.EqualError(t, <-waited, "the lane was closed")
}

func TestAWaitForASerialLineThatTheLanesCloseEndsIsNoFaultOfTheProduct(t *testing.T) {
	t.Parallel()
	lane := Up(t, Config{Proxy: None, Client: None})
	waited := make(chan error, 1)
	go func() {
		_, err := lane.AwaitSerial(context.Background(), "never said")
		waited <- err
	}()
	require.NoError(t, lane.Close())
	err := <-waited
	require.ErrorContains(t, err, "the lane was closed")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}
