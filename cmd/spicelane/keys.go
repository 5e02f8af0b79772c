package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/spice/control"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key NAME KEY...",
		Short: "Press keys, one after the other",
		Long: `Press and release keys, one after the other. A key is a name (Enter, F10, Left), a
character of the US layout, a make code (0xe04b), or several of these joined by +,
which are held together (Ctrl+Alt+Delete).`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := resolveTarget(args[0], "")
			if err != nil {
				return err
			}
			return withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
				asking, cancel := answering(ctx, 1)
				defer cancel()
				if st, err := d.Status(asking); err == nil && st.Locks != nil {
					for _, hint := range lockHints(*st.Locks, args[1:]) {
						fmt.Fprintln(cmd.ErrOrStderr(), hint)
					}
				}
				return pressAndSee(ctx, cmd.ErrOrStderr(), t, d, func() error {
					ctx, cancel := answering(ctx, len(args[1:]))
					defer cancel()
					return drive.Press(ctx, d, args[1:]...)
				})
			})
		},
	}
	return cmd
}

// lockHints returns a hint for each key whose character a lock changes.
func lockHints(locks control.Locks, keys []string) []string {
	var hints []string
	for _, k := range keys {
		last := k[strings.LastIndex(k[:max(len(k)-1, 0)], "+")+1:]
		pad, isPad := strings.CutPrefix(strings.ToLower(last), "kp")
		switch {
		case isPad && !locks.Num && (pad == "dot" || len(pad) == 1 && pad[0] >= '0' && pad[0] <= '9'):
			hints = append(hints, fmt.Sprintf("Num Lock is off in the guest: %s moves the cursor or deletes, and gives no digit", last))
		case locks.Caps && len([]rune(last)) == 1 && strings.ToUpper(last) != strings.ToLower(last):
			hints = append(hints, fmt.Sprintf("Caps Lock is on in the guest: %s arrives in the other case; type takes care of that", last))
		}
	}
	return hints
}

// ackWait is how long a guest may take to show a key in its digest. It draws a digest for every
// key, under TCG within some 100 ms.
const ackWait = 2 * time.Second

// pressAndSee runs press. If the guest shows digests, it then waits until the digest shows that a
// key arrived. A key without a character, such as Shift, may not appear there: then pressAndSee
// prints that, and returns nil.
func pressAndSee(ctx context.Context, stderr io.Writer, t target, d *control.Driver, press func() error) error {
	if !showsDigest(t) {
		return press()
	}
	before, err := awaitDigest(ctx, d, socketWait, "a digest", func(digest.Digest) bool { return true })
	if err != nil {
		return err
	}
	if err := press(); err != nil {
		return err
	}
	_, err = awaitDigest(ctx, d, ackWait, "the key in the digest", func(now digest.Digest) bool {
		return now.ChannelHashes.Keypress != before.ChannelHashes.Keypress
	})
	if err != nil && ctx.Err() == nil {
		sayUnseen(stderr, err, "showed no key")
	}
	return ctx.Err()
}

// sayUnseen says why a wait for the digest that shows what was sent has failed.
func sayUnseen(stderr io.Writer, err error, what string) {
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintf(stderr, "sent, but the guest's digest %s within %v\n", what, ackWait)
		return
	}
	fmt.Fprintf(stderr, "sent, but then no digest could be read: %s\n", oneLine(err.Error()))
}

// showsDigest tells whether the target is a lane whose fixture shows a digest.
func showsDigest(t target) bool {
	if t.lane == nil {
		return false
	}
	fx, err := fixtures.Find(t.lane.Fixture)
	return err == nil && fx.Digest != nil
}
