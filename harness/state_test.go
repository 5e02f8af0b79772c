package harness

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/registry"
)

// Timeline: the guest resets itself; while this is written, the lane fails.
func TestTheStateThatIsPublishedLastIsTheNewest(t *testing.T) {
	t.Parallel()
	var published registry.State
	writing, failed := make(chan struct{}), make(chan struct{})
	l := &Lane{cfg: Config{OnState: func(s registry.State) {
		if s.State == registry.StateReady {
			close(writing)
			select { // its writer is slow
			case <-failed:
			case <-time.After(100 * time.Millisecond):
			}
		}
		published = s
	}}}
	l.state.State = registry.StateReady
	var both sync.WaitGroup
	both.Go(func() { l.setState(func(s *registry.State) { s.Resets++ }) })
	<-writing
	both.Go(func() {
		defer close(failed)
		l.setState(func(s *registry.State) { s.State = registry.StateFailed })
	})
	both.Wait()
	require.Equal(t, l.State(), published)
}
