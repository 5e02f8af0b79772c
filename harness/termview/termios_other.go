//go:build !linux

package termview

import "golang.org/x/sys/unix"

// The requests that read and set a terminal's attributes, see termios(4).
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
