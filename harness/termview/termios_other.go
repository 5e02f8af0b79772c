//go:build !linux

package termview

import "golang.org/x/sys/unix"

// The requests that read and set how a terminal works, termios(4).
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
