// Package quantile computes quantiles of durations.
package quantile

import (
	"math"
	"slices"
	"time"
)

// Of returns the q-quantile (0 to 1) of times by the nearest rank. So the result is a measured
// time, not a value between two. Without times it is 0. Of does not change times.
func Of(times []time.Duration, q float64) time.Duration {
	return OfSorted(slices.Sorted(slices.Values(times)), q)
}

// OfSorted does the same as Of, for sorted times.
func OfSorted(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(times)))) - 1
	return times[min(max(i, 0), len(times)-1)]
}
