package harness_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/timeline"
)

// The lane is up until two loads have come and a picture was counted. The timeline has the loads
// that OnLoad received.
func TestWhatQEMUAndItsSPICEServerUseIsOnTheTimeline(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*harness.Config){
		"with the built-in proxy":                      func(*harness.Config) {},
		"with the built-in proxy in another process":   func(c *harness.Config) { c.Processes = true },
		"without a proxy":                              func(c *harness.Config) { c.Proxy = harness.None },
		"where nobody counts what the client receives": func(c *harness.Config) { c.Proxy, c.Client = harness.None, harness.None },
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var loads []harness.Load
			var sent, received uint64
			cfg := harness.Config{}
			change(&cfg)
			seen := make(chan struct{})
			enough := sync.OnceFunc(func() { close(seen) })
			cfg.OnLoad = func(l harness.Load) {
				mu.Lock()
				defer mu.Unlock()
				loads = append(loads, l)
				sent, received = sent+l.SPICEOut, received+l.SPICEIn
				// A picture is larger.
				if len(loads) >= 2 && (sent > 10_000 || cfg.Client == harness.None) {
					enough()
				}
			}
			lane := harness.Up(t, cfg)
			<-seen
			dir := lane.Dir()
			require.NoError(t, lane.Close())
			file, err := os.Open(filepath.Join(dir, timeline.File))
			require.NoError(t, err)
			defer file.Close()
			var noted []map[string]any
			_, err = timeline.Read(file, func(e timeline.Entry) error {
				if e.Kind != harness.KindLoad {
					return nil
				}
				var fields map[string]any
				defer func() { noted = append(noted, fields) }()
				return e.Decode(&fields)
			})
			require.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			require.Len(t, noted, len(loads))
			_, counted := noted[1]["spice_out"]
			require.Equal(t, cfg.Client != harness.None, counted)
			require.Equal(t, counted, loads[1].SPICEKnown)
			require.Greater(t, loads[1].Memory, int64(10<<20), "QEMU alone has more")
			require.InDelta(t, loads[1].Memory, noted[1]["memory"], 0)
			require.Positive(t, loads[0].QEMU+loads[1].QEMU)
			require.Positive(t, loads[1].LoadAverage)
			require.Less(t, received, sent/2+1, "a client sends little")
		})
	}
}
