//go:build !linux

package impair

import (
	"errors"
	"fmt"
)

// Heard returns an error that wraps errors.ErrUnsupported: only Linux counts segments.
func (c *Conn) Heard() (Heard, error) {
	return Heard{}, fmt.Errorf("impair: count TCP segments: %w", errors.ErrUnsupported)
}
