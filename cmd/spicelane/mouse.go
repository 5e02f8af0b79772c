package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/spice/control"
)

func newMouse() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "mouse [NAME | --socket PATH] move X Y | by DX DY | button BUTTON down|up|click | wheel STEPS",
		Short: "Move the pointer, press mouse buttons, turn the wheel",
		Long: `Move the pointer, press its buttons, turn its wheel.

  spicelane mouse a move 300 200          to a position on the screen, in pixels
  spicelane mouse a by -10 4              relative, for a guest without a tablet
  spicelane mouse a button left click     left, middle, right, side or extra
  spicelane mouse a wheel -3              positive is away from the user

If the guest reports its pointer in the digest, print that report.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if socket == "" {
				name, args = args[0], args[1:]
			}
			act, err := parseMouse(args)
			if err != nil {
				return err
			}
			t, err := resolveTarget(name, socket)
			if err != nil {
				return err
			}
			return withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
				if !d.Supports(control.MethodMouseMove) {
					return usage("the client behind this control socket (%s) does not support a mouse", d.Server().ServerName)
				}
				return pointAndSee(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), t, d, act)
			})
		},
	}
	// Numbers may be negative, so nothing after the first word is a flag.
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	return cmd
}

// A mouseAct is a mouse action, and a function that tells from the guest's pointer records whether
// it has happened.
type mouseAct struct {
	do   func(context.Context, *control.Driver) error
	seen func(before, now digest.Pointer) bool
}

// parseMouse parses the arguments of the mouse command.
func parseMouse(args []string) (act mouseAct, err error) {
	if len(args) == 0 {
		return act, usage("mouse needs an action: move X Y, by DX DY, button BUTTON down|up|click, or wheel STEPS")
	}
	want := map[string]int{"move": 3, "by": 3, "button": 3, "wheel": 2}[args[0]]
	switch {
	case want == 0:
		return act, usage("unknown mouse action %q; use move, by, button or wheel", args[0])
	case len(args) != want:
		return act, usage("mouse %s takes %d words, not %d", args[0], want-1, len(args)-1)
	}
	if args[0] == "button" {
		state, ok := map[string]control.KeyState{"down": control.Down, "up": control.Up, "click": control.Press}[args[2]]
		switch {
		case !slices.Contains(control.MouseButtons(), args[1]):
			return act, usage("unknown mouse button %s; use one of %s", args[1], strings.Join(control.MouseButtons(), ", "))
		case !ok:
			return act, usage("mouse button %s: unknown action %s; use down, up or click", args[1], args[2])
		}
		act.do = func(ctx context.Context, d *control.Driver) error { return d.MouseButton(ctx, args[1], state) }
		act.seen = func(before, now digest.Pointer) bool {
			return now != before && (state != control.Press || now.Buttons == before.Buttons)
		}
		return act, nil
	}
	var n [2]int
	for i, a := range args[1:] {
		if n[i], err = strconv.Atoi(a); err != nil {
			return act, usage("mouse %s: %q is not a whole number", args[0], a)
		}
	}
	switch args[0] {
	case "wheel":
		act.do = func(ctx context.Context, d *control.Driver) error { return d.MouseWheel(ctx, n[0]) }
		act.seen = func(before, now digest.Pointer) bool { return int(now.Wheel)-int(before.Wheel) == n[0] }
	default:
		p := control.MouseMoveParams{X: n[0], Y: n[1], Relative: args[0] == "by"}
		act.do = func(ctx context.Context, d *control.Driver) error { return d.MouseMove(ctx, p) }
		act.seen = func(before, now digest.Pointer) bool {
			return now != before && (p.Relative || int(now.X) == p.X && int(now.Y) == p.Y)
		}
	}
	return act, nil
}

// pointAndSee does act. If the guest shows digests, it then prints what the digest says about the
// pointer.
func pointAndSee(ctx context.Context, stdout, stderr io.Writer, t target, d *control.Driver, act mouseAct) error {
	do := func() error {
		ctx, cancel := answering(ctx, 1)
		defer cancel()
		return act.do(ctx, d)
	}
	if !showsDigest(t) {
		return do()
	}
	first, err := awaitDigest(ctx, d, socketWait, "a digest", func(digest.Digest) bool { return true })
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	before, _ := newestPointer(first)
	var last digest.Pointer
	any := false
	_, err = awaitDigest(ctx, d, ackWait, "the pointer in the digest", func(now digest.Digest) bool {
		p, ok := newestPointer(now)
		if ok && p != before {
			last, any = p, true
		}
		return ok && act.seen(before, p)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		sayUnseen(stderr, err, "did not show it")
	}
	if any {
		fmt.Fprintf(stdout, "the guest reports: pointer at %d,%d, buttons %d, wheel %d (%s)\n", last.X, last.Y, last.Buttons, last.Wheel, last.Source)
	}
	return nil
}

// newestPointer returns the newest pointer record in a digest.
func newestPointer(d digest.Digest) (digest.Pointer, bool) {
	for _, e := range slices.Backward(d.Events) {
		if p, ok := e.(digest.Pointer); ok {
			return p, true
		}
	}
	return digest.Pointer{}, false
}
