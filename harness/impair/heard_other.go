//go:build !linux

package impair

import (
	"errors"
	"fmt"
)

// Heard returns how much the two ends of the connection have sent so far. Only Linux counts
// it.
func (c *Conn) Heard() (Heard, error) {
	return Heard{}, fmt.Errorf("impair: count TCP segments: %w", errors.ErrUnsupported)
}
