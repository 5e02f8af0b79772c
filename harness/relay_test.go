package harness

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/spice/vv"
)

func TestAllFilesOfALaneLeadThroughTheSameRelay(t *testing.T) {
	t.Parallel()
	l := &Lane{cfg: Config{Link: &impair.Profile{}, ImpairMode: impair.InProcess}}
	const callers = 64
	var arrived sync.WaitGroup
	arrived.Add(callers)
	l.newVV = func(context.Context) (*vv.File, error) {
		arrived.Done()
		arrived.Wait()
		return &vv.File{Type: "spice", Host: "127.0.0.1", Port: 9}, nil
	}
	defer func() { require.NoError(t, l.undo.run()) }()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		seen = map[int]bool{}
	)
	for range callers {
		all.Go(func() {
			f, err := l.VV(context.Background())
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				seen[f.Port] = true
			}
		})
	}
	all.Wait()
	require.Len(t, seen, 1)
	require.NotContains(t, seen, 9)
}
