package truth

import "slices"

// shrink returns the fewest items, in their order, that still fail: without any one of them it
// passes. fails is called with smaller and smaller lists, and is true for all.
func shrink[T any](all []T, fails func([]T) bool) []T {
	pieces := 2
	for len(all) > 1 {
		size := max(1, len(all)/pieces)
		smaller := false
		for at := 0; at < len(all); at += size {
			rest := slices.Concat(all[:at], all[min(at+size, len(all)):])
			if len(rest) > 0 && fails(rest) {
				all, smaller = rest, true
				break
			}
		}
		switch {
		case smaller:
			pieces = max(2, pieces-1)
		case size == 1:
			return all
		default:
			pieces = min(2*pieces, len(all))
		}
	}
	return all
}
