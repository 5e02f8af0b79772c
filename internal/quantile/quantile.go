// Package quantile sums up times.
package quantile

import (
	"math"
	"slices"
	"time"
)

// Of returns the q-quantile (0 to 1) of times by the nearest rank: a time that was measured,
// not one between two. It is 0 without times. Times is not changed.
func Of(times []time.Duration, q float64) time.Duration {
	return OfSorted(slices.Sorted(slices.Values(times)), q)
}

// OfSorted is Of for times that are sorted.
func OfSorted(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(times)))) - 1
	return times[min(max(i, 0), len(times)-1)]
}
