// Package fresh tells what is new in a window that moves over a list, such as the newest
// events that a guest's digest shows.
package fresh

import "slices"

// After returns those of window that come after seen: what is left when the longest end of
// seen that window begins with is taken away. Without such an end all of window is new.
func After[E any](seen, window []E, equal func(a, b E) bool) []E {
	for n := min(len(seen), len(window)); n > 0; n-- {
		if slices.EqualFunc(seen[len(seen)-n:], window[:n], equal) {
			return window[n:]
		}
	}
	return window
}
