package wire

import (
	"bytes"
	"fmt"
	"strings"
)

// enumName returns the name of v, or "what-N".
func enumName(what string, v uint32, names map[uint32]string) string {
	if name, ok := names[v]; ok {
		return name
	}
	return fmt.Sprintf("%s-%d", what, v)
}

// flagNames returns the names of the bits of v in order, joined by "|". Bits without a name follow
// in hex. If no bit is set, it returns "0".
func flagNames(v uint32, names []string) string {
	var parts []string
	for i, name := range names {
		if bit := uint32(1) << i; v&bit != 0 && name != "" {
			parts = append(parts, name)
			v &^= bit
		}
	}
	if v != 0 || len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("%#x", v))
	}
	return strings.Join(parts, "|")
}

// resize returns a slice of n elements, in the memory of s if that is large enough.
func resize[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	return make([]T, n)
}

// cString returns b up to its first zero byte.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
