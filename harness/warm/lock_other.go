//go:build !linux

package warm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// setLock fails: the locks of other systems belong to a process, and its goroutines share them.
func setLock(uintptr, *unix.Flock_t) error {
	return fmt.Errorf("only Linux has locks of an open file: %w", errors.ErrUnsupported)
}
