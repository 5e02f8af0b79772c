package host

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Timeline: the watchdog reads the old QEMU's times; a new QEMU takes its place; then
// the watchdog notes what it has read.
func TestWhatWasReadOfTheProcessBeforeIsNotCounted(t *testing.T) {
	t.Parallel()
	w := &Watchdog{pid: 1}
	began := time.Now()
	w.add(1, hostSample{at: began, cpu: time.Hour})
	w.Follow(2)
	w.add(1, hostSample{at: began.Add(1), cpu: time.Hour})
	w.add(2, hostSample{at: began.Add(2), cpu: time.Second})
	w.add(2, hostSample{at: began.Add(3), cpu: 2 * time.Second})
	require.Equal(t, time.Second, w.Since(began).CPU)
}
