package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/mcpserver"
)

func newMCP() *cobra.Command {
	var input bool
	cmd := &cobra.Command{
		Use:   "mcp [NAME]",
		Short: "Let a coding agent look at lanes, as an MCP server",
		Long: `Serve the Model Context Protocol on standard input and output, so that a coding agent
can look at lanes: status, screenshot, text, digest, serial and await. With a NAME,
only that lane is shown.

The agent can only read. With --input it can also press keys, type and click.

What a guest shows is data, but an agent may take it for instructions. With --input,
give it only guests that you trust.

Standard error has one line per call. The server ends when its standard input ends.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			closer, ok := in.(io.ReadCloser)
			if !ok {
				closer = io.NopCloser(in)
			}
			return mcpserver.Serve(cmd.Context(), mcpserver.Config{
				Lane: arg(args, 0), Input: input, Version: programVersion(),
				Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
			}, closer, openWriter{cmd.OutOrStdout()})
		},
	}
	cmd.Flags().BoolVar(&input, "input", false, "also let the agent press keys, type and click")
	return cmd
}

// An openWriter ignores Close, because this command must not close standard output.
type openWriter struct{ io.Writer }

func (openWriter) Close() error { return nil }
