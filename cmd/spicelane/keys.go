package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/spice/control"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key NAME KEY...",
		Short: "Press keys, one after the other",
		Long: `Press and release keys, one after the other. A key is a name (Enter, F10,
Left), a character of the US layout, a make code (0xe04b), or several joined by
+ that are held together (Ctrl+Alt+Delete).`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := resolveTarget(args[0], "")
			if err != nil {
				return err
			}
			return withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
				return harness.PressKeys(ctx, d, args[1:]...)
			})
		},
	}
	return cmd
}

func newType() *cobra.Command {
	return &cobra.Command{
		Use:   "type NAME TEXT...",
		Short: "Type text on the guest's US keyboard",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := resolveTarget(args[0], "")
			if err != nil {
				return err
			}
			return withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
				_, err := d.Paste(ctx, control.PasteParams{Text: strings.Join(args[1:], " ")})
				return err
			})
		},
	}
}
