package viewer

import (
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/internal/quantile"
)

// Latencies summarise the newest samples of one latency.
type Latencies struct {
	N              int // samples
	Last, P50, P95 time.Duration
}

const (
	// keptSamples is how many samples are summarised.
	keptSamples = 100
	// forgotten is the time after which a drawing no longer counts as the answer to a key.
	forgotten = 2 * time.Second
)

// latency measures the time from keys to their effects. It cannot tell the answer to a key from
// what the guest draws by itself at that moment, such as a cursor. So trust medians, not single
// figures.
type latency struct {
	mu               sync.Mutex
	picture, digest  []time.Duration
	toPicture, toQR  time.Time // when the key went down that has not been answered
	foreign          int64     // the same of another client's key, in microseconds of its clock
	foreignIsPending bool
}

func (l *latency) pressed(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toPicture, l.toQR = at, at
}

// drawn records that pixels arrived at the given time.
func (l *latency) drawn(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.picture = answer(l.picture, &l.toPicture, at)
}

// shown records that a digest arrived that shows a key.
func (l *latency) shown(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.digest = answer(l.digest, &l.toQR, at)
}

func answer(samples []time.Duration, since *time.Time, at time.Time) []time.Duration {
	if since.IsZero() || at.Before(*since) {
		return samples
	}
	d := at.Sub(*since)
	*since = time.Time{}
	if d > forgotten {
		return samples
	}
	return keep(samples, d)
}

func keep(samples []time.Duration, d time.Duration) []time.Duration {
	if len(samples) == keptSamples {
		samples = slices.Delete(samples, 0, 1)
	}
	return append(samples, d)
}

// otherPressed and otherDrawn record the keys of the lane's own client, and drawings, from its
// timeline.
func (l *latency) otherPressed(us int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.foreign, l.foreignIsPending = us, true
}

func (l *latency) otherDrawn(us int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.foreignIsPending || us < l.foreign {
		return
	}
	l.foreignIsPending = false
	if d := time.Duration(us-l.foreign) * time.Microsecond; d <= forgotten {
		l.picture = keep(l.picture, d)
	}
}

func (l *latency) sums() (picture, digest Latencies) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sum(l.picture), sum(l.digest)
}

func sum(samples []time.Duration) Latencies {
	n := len(samples)
	if n == 0 {
		return Latencies{}
	}
	s := slices.Sorted(slices.Values(samples))
	return Latencies{N: n, Last: samples[n-1], P50: quantile.OfSorted(s, 0.5), P95: quantile.OfSorted(s, 0.95)}
}
