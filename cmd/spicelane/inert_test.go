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

	"github.com/spicelane/spicelane/harness/qemu"
)

// What a guest can do to the terminal of somebody who looks at its console: titles,
// colours, cursor movements, answers that the terminal types (DECRQSS, DA), and text
// that reads the other way round (CVE-2003-0063, CVE-2021-42574).
func TestWhatAGuestSaysIsShownAndNotCarriedOut(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":                  "plain\ttext\n",
		"a line\r\nand another\r\n":      "a line\nand another\n",
		"10%\r50%\rdone":                 "10%^M50%^Mdone",
		"\x1b]0;title\a":                 "^[]0;title^G",
		"\x1bP$q q\x1b\\":                "^[P$q q^[\\",
		"\x1b[2J\x1b[1;31mred":           "^[[2J^[[1;31mred",
		"\u009b6n":                       "<U+009B>6n",
		"\x9b6n":                         `\x9b6n`,
		"back\b\b\x7f\x00":               "back^H^H^?^@",
		"grüße € \U0001f600":             "grüße € \U0001f600",
		"if \u202e\u2066// \u2069\u2066": "if <U+202E><U+2066>// <U+2069><U+2066>",
	} {
		var all bytes.Buffer
		w := &inert{w: &all}
		n, err := w.Write([]byte(in))
		require.NoError(t, err)
		require.Equal(t, len(in), n)
		require.Equal(t, want, all.String(), "%q", in)

		// A character that falls apart between two reads stays whole.
		var bytewise bytes.Buffer
		w = &inert{w: &bytewise}
		for _, b := range []byte(in) {
			_, err := w.Write([]byte{b})
			require.NoError(t, err)
		}
		require.Equal(t, want, bytewise.String(), "%q", in)
	}
	require.Equal(t, "panic: ^[]0;x^G; then", oneLine("panic: \x1b]0;x\a\nthen"))
}

func TestOnlyATerminalGetsLogsMadeInert(t *testing.T) {
	var pipe bytes.Buffer
	_, err := forPeople(&pipe).Write([]byte("\x1b[2J"))
	require.NoError(t, err)
	require.Equal(t, "\x1b[2J", pipe.String(), "a pipe gets every byte")

	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv(qemu.EnvLanes) == string(qemu.LanesRequire) {
			t.Fatalf("no pseudo terminal here, and lanes are required: %v", err)
		}
		t.Skipf("no pseudo terminal here: %v", err)
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
