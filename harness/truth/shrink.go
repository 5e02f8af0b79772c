package truth

import "slices"

// shrink returns items of all, in their order, that still fail, and pass without any one of them.
// fails tells whether a list fails; it must be true for all.
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
