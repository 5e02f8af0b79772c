package termview

import "golang.org/x/sys/unix"

// The requests that read and set a terminal's attributes, see termios(3).
const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)
