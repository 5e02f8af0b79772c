package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

func newType() *cobra.Command {
	var (
		p             control.TypeParams
		socket        string
		delay, within time.Duration
		asJSON        bool
	)
	cmd := &cobra.Command{
		Use:   "type [NAME | --socket PATH] TEXT...",
		Short: "Type text on the guest's keyboard",
		Long: `Type text on the guest's keyboard. Several words are joined by spaces, and a single
- means standard input. A line break becomes Enter.

With --confirm, the next key is sent only after the guest's digest has shown the
last one. The output says what was sent, seen, lost and reordered, and how long it
took from key to picture.

Exit status: 0 all was typed, 1 --confirm found a key lost or out of order, 2 usage,
socket, RPC or parse error.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if socket == "" {
				name, args = args[0], args[1:]
			}
			if cmd.Flags().Changed("within") && !p.Confirm {
				return usage("--within needs --confirm")
			}
			var err error
			if p.Text, err = typedText(cmd.Context(), cmd.InOrStdin(), args); err != nil {
				return err
			}
			if cmd.Flags().Changed("delay") {
				if p.DelayMS, err = milliseconds("--delay", delay); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("within") {
				if p.ConfirmMS, err = milliseconds("--within", within); err != nil {
					return err
				}
			}
			t, err := resolveTarget(name, socket)
			if err != nil {
				return err
			}
			return withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
				began := time.Now()
				res, err := typeText(ctx, cmd.ErrOrStderr(), t, d, p)
				took := time.Since(began)
				if err != nil {
					return err
				}
				if asJSON {
					if err := printJSON(cmd.OutOrStdout(), res); err != nil {
						return err
					}
				} else if p.Confirm {
					printTyped(cmd.OutOrStdout(), res, took)
				}
				if p.Confirm && res.Lost+res.Reordered+res.Unexpected > 0 {
					return &verdict.Error{Verdict: verdict.Product, Op: "type",
						Err: fmt.Errorf("of %d characters %d were lost and %d reordered, and the guest showed %d presses that no command sent",
							res.CharsSent, res.Lost, res.Reordered, res.Unexpected)}
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&p.Layout, "layout", "us", "the guest's keyboard `layout`: "+strings.Join(control.Layouts(), "|"))
	f.BoolVar(&p.Confirm, "confirm", false, "wait until the guest's digest shows each character")
	f.DurationVar(&delay, "delay", 10*time.Millisecond, "pause between characters; default with --confirm: none")
	f.DurationVar(&within, "within", 2*time.Second, "with --confirm: how long a character may take before it counts as lost")
	f.BoolVar(&asJSON, "json", false, "print what was typed and seen as JSON")
	return cmd
}

// typedText returns the text to type: the words, or standard input for "-".
func typedText(ctx context.Context, stdin io.Reader, words []string) (string, error) {
	switch {
	case len(words) == 0:
		return "", usage("type needs a text, or - for standard input")
	case len(words) == 1 && words[0] == "-":
		b, err := readAll(ctx, io.LimitReader(stdin, control.MaxRequestLine+1))
		if err != nil {
			return "", usage("standard input: %w", err)
		}
		if len(b) > control.MaxRequestLine {
			return "", usage("standard input has more than %d bytes", control.MaxRequestLine)
		}
		if !utf8.Valid(b) {
			return "", usage("standard input is not valid UTF-8")
		}
		return string(b), nil
	default:
		return strings.Join(words, " "), nil
	}
}

// milliseconds converts the duration of a flag for the control socket.
func milliseconds(flag string, d time.Duration) (*uint32, error) {
	if d < 0 || d.Milliseconds() > math.MaxUint32 {
		return nil, usage("%s %v: it must not be negative or longer than %v", flag, d, time.Duration(math.MaxUint32)*time.Millisecond)
	}
	n := uint32(d.Milliseconds())
	return &n, nil
}

// typeText types through a client with the verb type. If the client only has protocol 1.2, it uses
// paste if that is enough.
func typeText(ctx context.Context, stderr io.Writer, t target, d *control.Driver, p control.TypeParams) (res control.TypeResult, err error) {
	what := fmt.Sprintf("typing %d characters", utf8.RuneCountInString(p.Text))
	if d.Supports(control.MethodType) {
		if p.Confirm {
			err = slowly(stderr, what, func() error {
				res, err = d.Type(ctx, p)
				return err
			})
			return res, err
		}
		err = pressAndSee(ctx, stderr, t, d, func() error {
			return slowly(stderr, what, func() error {
				res, err = d.Type(ctx, p)
				return err
			})
		})
		return res, err
	}
	if p.Confirm || p.Layout != "us" {
		return res, usage("the client behind this control socket (%s) supports only a US keyboard, without --confirm", d.Server().ServerName)
	}
	err = pressAndSee(ctx, stderr, t, d, func() error {
		return slowly(stderr, what, func() error {
			res.CharsSent, err = d.Paste(ctx, control.PasteParams{Text: p.Text, CharDelayMS: p.DelayMS})
			return err
		})
	})
	return res, err
}

func printTyped(w io.Writer, r control.TypeResult, took time.Duration) {
	fmt.Fprintf(w, "sent %d characters (%d key events), seen %d, lost %d, reordered %d, unexpected %d\n",
		r.CharsSent, r.KeysSent, r.Seen, r.Lost, r.Reordered, r.Unexpected)
	fmt.Fprintf(w, "%.1f s, %.1f characters a second\n", took.Seconds(), float64(r.CharsSent)/took.Seconds())
	if l := r.Latency; l != nil {
		fmt.Fprintf(w, "key to picture: p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms\n", l.P50MS, l.P95MS, l.P99MS, l.MaxMS)
	}
	for _, o := range r.Anomalies {
		fmt.Fprintf(w, "  %s\n", oneLine(o))
	}
}
