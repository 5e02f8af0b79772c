package film

import "encoding/binary"

// differ returns the first pixel at which two rows differ, and the pixel after the last one. Both
// are 0 if the rows are equal. It ignores the fourth byte of each pixel.
func differ(a, b []byte) (from, to int) {
	n := len(a) / 4
	b = b[:len(a)]
	const two = 0x00ffffff_00ffffff
	i := 0
	for ; i+1 < n; i += 2 {
		if (binary.LittleEndian.Uint64(a[4*i:])^binary.LittleEndian.Uint64(b[4*i:]))&two != 0 {
			break
		}
	}
	for ; i < n && same(a, b, i); i++ {
	}
	if i == n {
		return 0, 0
	}
	from, to = i, n
	for ; to > from+1 && same(a, b, to-1); to-- {
	}
	return from, to
}

func same(a, b []byte, i int) bool {
	return a[4*i] == b[4*i] && a[4*i+1] == b[4*i+1] && a[4*i+2] == b[4*i+2]
}
