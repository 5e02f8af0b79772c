package harness

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Typed says what TypeInto changed on the screen.
type Typed struct {
	// Read is true if the text was read from the screen, character for character. If it is false,
	// the screen's text cannot be read; it is only known that something has changed.
	Read bool
	// At is the rectangle of the text, or of what has changed.
	At image.Rectangle
}

// TypeInto waits until a reference image or a text is on the screen, clicks on it, and types s.
// Then it waits until s is on the screen where it was not before. It types in pieces that fit into
// a keyboard's buffer, and waits for each piece to appear. So a slow guest loses nothing. what is
// found as by Click. If the text is a prompt, with a text cursor behind it, TypeInto does not
// click. If s ends with a newline, TypeInto presses Enter when the rest is on the screen, and waits
// until that has changed the text.
//
// If the screen's text cannot be read, because it is proportional, TypeInto only waits for a
// change. For a field that hides what is typed, use Click and Type.
func (l *Lane) TypeInto(ctx context.Context, what, s string) (Typed, error) {
	line, enter := strings.CutSuffix(s, "\n")
	if strings.Contains(line, "\n") || strings.TrimSpace(line) == "" {
		return Typed{}, &verdict.Error{Verdict: verdict.Harness, Op: "type into", Err: fmt.Errorf("%q: want one line that can be seen", s)}
	}
	if err := l.focus(ctx, what); err != nil {
		return Typed{}, err
	}
	reader, err := l.textReader()
	if err != nil {
		return Typed{}, err
	}
	before := l.Screen(ctx)
	grid, err := before.Text()
	readable := err == nil
	if !readable && !errors.Is(err, text.ErrNoText) {
		return Typed{}, err
	}
	typed := Typed{Read: readable}
	if readable {
		err = l.watchScreen(ctx, "type into", func(ctx context.Context, src screen.Source) error {
			done := ""
			for _, piece := range typingPieces(line) {
				if err := l.Type(ctx, piece); err != nil {
					return err
				}
				done += piece
				hit, err := screen.AwaitWritten(ctx, src, reader, grid, done)
				if err != nil {
					return err
				}
				typed.At = hit.Rect
			}
			return nil
		})
	} else if err = l.Type(ctx, line); err == nil {
		typed.At, err = l.AwaitChange(ctx, before, image.Rectangle{})
	}
	if err != nil {
		return typed, fmt.Errorf("after %q was typed into %q: %w", line, what, err)
	}
	if enter {
		if err := l.enter(ctx, reader, readable); err != nil {
			return typed, fmt.Errorf("after %q was typed into %q, and Enter: %w", line, what, err)
		}
	}
	return typed, nil
}

// focus moves the keyboard focus to a reference image or a text, unless a text cursor is behind it.
func (l *Lane) focus(ctx context.Context, what string) error {
	if l.driver == nil {
		return l.errUndriven()
	}
	st, err := l.driver.Status(ctx)
	if err != nil {
		return l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "type into", Err: err})
	}
	// A guest without absolute moves can only have a prompt; its cursor may blink.
	if st.MouseMode == "server" && !l.isNeedle(what) {
		reader, err := l.textReader()
		if err != nil {
			return err
		}
		return l.watchScreen(ctx, "type into", func(ctx context.Context, src screen.Source) error {
			return screen.AwaitPrompt(ctx, src, reader, what)
		})
	}
	at, err := l.locate(ctx, what)
	if err != nil {
		return err
	}
	if g, err := l.Text(ctx); err == nil && screen.IsPrompt(g, what) {
		return nil
	}
	return l.press(ctx, at)
}

// press clicks at a place.
func (l *Lane) press(ctx context.Context, at image.Point) error {
	err := l.driver.MouseMove(ctx, control.MouseMoveParams{X: at.X, Y: at.Y})
	if err == nil {
		err = l.driver.MouseButton(ctx, "left", control.Press)
	}
	if err != nil {
		return l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "click", Err: err})
	}
	return nil
}

// enter presses Enter and waits until that has changed the text on the screen, or anything if the
// text cannot be read.
func (l *Lane) enter(ctx context.Context, reader text.Reader, readable bool) error {
	before := l.Screen(ctx)
	if before.err != nil {
		return before.err
	}
	grid, err := reader.Read(before.Picture)
	if err := l.Press(ctx, "Enter"); err != nil {
		return err
	}
	if !readable || err != nil {
		_, err := l.AwaitChange(ctx, before, image.Rectangle{})
		return err
	}
	return l.watchScreen(ctx, "type into", func(ctx context.Context, src screen.Source) error {
		return screen.AwaitOtherText(ctx, src, reader, grid)
	})
}

// typingPieces divides a text into pieces for a keyboard's buffer of 16 bytes. A character with
// Shift takes six of them, one without takes three. If possible, no piece ends with a space.
func typingPieces(s string) []string {
	const buffer = 16
	size := func(r rune) int {
		if r == ' ' || r >= 'a' && r <= 'z' {
			return 3
		}
		return 6 // it may need Shift: that depends on the layout
	}
	var pieces []string
	for rest := []rune(s); len(rest) > 0; {
		n := min(2, len(rest))
		sum := 0
		for _, r := range rest[:n] {
			sum += size(r)
		}
		for n < 4 && n < len(rest) && rest[n-1] == ' ' {
			if sum += size(rest[n]); sum > buffer {
				n = 1 // the spaces go with what follows them
				break
			}
			n++
		}
		pieces, rest = append(pieces, string(rest[:n])), rest[n:]
	}
	return pieces
}
