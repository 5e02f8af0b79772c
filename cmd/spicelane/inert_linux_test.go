package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/internal/need"
)

func TestOnlyATerminalGetsLogsMadeInert(t *testing.T) {
	var pipe bytes.Buffer
	_, err := forPeople(&pipe).Write([]byte("\x1b[2J"))
	require.NoError(t, err)
	require.Equal(t, "\x1b[2J", pipe.String(), "a pipe gets every byte")

	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		need.OrSkip(t, "no pseudo terminal here: "+err.Error())
	}
	defer master.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer slave.Close()
	_, err = forPeople(slave).Write([]byte("\x1b[2J"))
	require.NoError(t, err)
	got := make([]byte, len("^[[2J"))
	_ = master.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = io.ReadFull(master, got)
	require.NoError(t, err)
	require.Equal(t, "^[[2J", string(got))
}
