// Package fresh finds what is new in a window that moves over a list, such as the newest events in
// a guest's digest.
package fresh

import "slices"

// After returns the part of window that is not in seen. It omits the longest beginning of window
// that is also the end of seen. If there is none, all of window is new.
func After[E any](seen, window []E, equal func(a, b E) bool) []E {
	for n := min(len(seen), len(window)); n > 0; n-- {
		if slices.EqualFunc(seen[len(seen)-n:], window[:n], equal) {
			return window[n:]
		}
	}
	return window
}
