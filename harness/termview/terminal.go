package termview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Picture is a way to show a picture in a terminal.
type Picture string

// The ways to show a picture.
const (
	// Auto selects the best way that the terminal reports to support.
	Auto Picture = "auto"
	// Kitty and Sixel are protocols for real pixels.
	Kitty Picture = "kitty"
	Sixel Picture = "sixel"
	// Blocks shows coloured half blocks, which every terminal supports.
	Blocks Picture = "blocks"
	// Text shows characters without colour.
	Text Picture = "text"
	// None shows no picture.
	None Picture = "none"
)

// Pictures returns the names of all ways to show a picture.
func Pictures() []string {
	return []string{string(Auto), string(Kitty), string(Sixel), string(Blocks), string(Text), string(None)}
}

// A terminal is a terminal in raw mode that shows one full screen.
type terminal struct {
	in, out *os.File
	saved   *unix.Termios
	wake    [2]*os.File // a pipe that ends a wait for input
	cell    image.Point // the size of a cell in pixels; 0 if unknown
	kitty   bool
	sixel   bool
	tmux    bool // it is tmux, and the terminal around tmux is unknown
	depth   Depth
}

// ErrNoTerminal means that there is no terminal to draw on.
var ErrNoTerminal = errors.New("this is not a terminal")

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	return err == nil
}

// openTerminal puts the terminal into raw mode, asks it what it supports, and switches to the
// alternate screen. getenv reads the environment.
func openTerminal(in, out *os.File, getenv func(string) string) (*terminal, error) {
	if _, err := unix.IoctlGetTermios(int(out.Fd()), getTermios); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	saved, err := unix.IoctlGetTermios(int(in.Fd()), getTermios)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	raw := *saved
	raw.Iflag &^= unix.BRKINT | unix.ICRNL | unix.INPCK | unix.ISTRIP | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ICANON | unix.IEXTEN | unix.ISIG
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(in.Fd()), setTermios, &raw); err != nil {
		return nil, err
	}
	t := &terminal{in: in, out: out, saved: saved, depth: depthOf(getenv)}
	if t.wake[0], t.wake[1], err = os.Pipe(); err != nil {
		_ = unix.IoctlSetTermios(int(in.Fd()), setTermios, saved)
		return nil, err
	}
	t.ask(getenv)
	// The alternate screen, without a cursor and without wrapping at the last column.
	_, err = t.out.WriteString("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")
	return t, err
}

// close restores the terminal.
func (t *terminal) close() {
	if t.kitty {
		_, _ = t.out.WriteString(kittyForget)
	}
	_, _ = t.out.WriteString("\x1b[m\x1b[2J\x1b[?7h\x1b[?25h\x1b[?1049l")
	_ = unix.IoctlSetTermios(int(t.in.Fd()), setTermios, t.saved)
	t.wake[0].Close()
	t.wake[1].Close()
}

// depthOf returns the number of colours according to the environment.
func depthOf(getenv func(string) string) Depth {
	term := getenv("TERM")
	switch c := getenv("COLORTERM"); {
	case getenv("NO_COLOR") != "" || term == "dumb" || strings.HasPrefix(term, "vt"):
		return NoColour
	case c == "truecolor" || c == "24bit" || strings.HasSuffix(term, "-direct") || strings.Contains(term, "kitty") || strings.Contains(term, "ghostty"):
		return TrueColor
	case getenv("TMUX") != "":
		return TrueColor // tmux converts it to the colours of the terminal around it
	default:
		return Colour256
	}
}

// size returns the terminal's size in cells, and the size of a cell in pixels, which is 0 if
// unknown.
func (t *terminal) size() (w, h int, cell image.Point) {
	ws, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 || ws.Row == 0 {
		return 80, 24, t.cell
	}
	cell = t.cell
	if ws.Xpixel > 0 && ws.Ypixel > 0 {
		cell = image.Pt(int(ws.Xpixel/ws.Col), int(ws.Ypixel/ws.Row))
	}
	return int(ws.Col), int(ws.Row), cell
}

// askTime is how long a terminal may take to answer. A terminal across a slow connection may take
// longer, and then gets blocks.
const askTime = 300 * time.Millisecond

// ask asks the terminal what it supports, and waits for the answer to the last question, which
// every terminal gives.
func (t *terminal) ask(getenv func(string) string) {
	q := "\x1b[16t"
	t.tmux = getenv("TMUX") != ""
	if !t.tmux {
		// A query with a picture of one pixel, which is not shown. tmux would print it.
		q += "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
	}
	if _, err := t.out.WriteString(q + "\x1b[c"); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var got []byte
	for !answered(got) {
		b, err := t.read(ctx)
		if err != nil {
			break
		}
		got = append(got, b...)
	}
	t.cell, t.kitty, t.sixel = parseAnswers(got)
}

// answered reports whether the answer to the last question has arrived: CSI ? … c.
func answered(b []byte) bool {
	i := bytes.Index(b, []byte("\x1b[?"))
	return i >= 0 && bytes.IndexByte(b[i:], 'c') >= 0
}

// parseAnswers parses a terminal's answers.
func parseAnswers(b []byte) (cell image.Point, kitty, sixel bool) {
	s := string(b)
	kitty = strings.Contains(s, "\x1b_Gi=31;OK")
	for _, part := range strings.Split(s, "\x1b[") {
		if rest, ok := strings.CutPrefix(part, "6;"); ok { // 6 ; height ; width t
			rest, _, _ = strings.Cut(rest, "t")
			hs, ws, _ := strings.Cut(rest, ";")
			h, err1 := strconv.Atoi(hs)
			w, err2 := strconv.Atoi(ws)
			if err1 == nil && err2 == nil && w > 0 && h > 0 {
				cell = image.Pt(w, h)
			}
		}
		if rest, ok := strings.CutPrefix(part, "?"); ok {
			attrs, _, ended := strings.Cut(rest, "c")
			for i, a := range strings.Split(attrs, ";") {
				sixel = sixel || ended && i > 0 && a == "4"
			}
		}
	}
	return cell, kitty, sixel
}

// read waits for input until ctx ends, and returns it.
func (t *terminal) read(ctx context.Context) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _, _ = t.wake[1].Write([]byte{0}) })
	defer stop()
	fds := []unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}, {Fd: int32(t.wake[0].Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return nil, err
		}
		if fds[1].Revents != 0 {
			var b [1]byte
			_, _ = t.wake[0].Read(b[:])
			if ctx.Err() == nil {
				continue // it was for an earlier wait
			}
			return nil, context.Cause(ctx)
		}
		b := make([]byte, 256)
		n, err := unix.Read(int(t.in.Fd()), b)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, os.ErrClosed
		}
		return b[:n], nil
	}
}
