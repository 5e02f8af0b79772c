// Command spicelane brings up lanes (a QEMU guest, a SPICE proxy in front of
// it and a headless client behind that), drives them and says whether what is
// on the screen is right.
//
// Exit status: 0 all assertions passed, 1 an assertion about the product failed, 2 usage,
// socket, RPC or parse error, 3 the host lacks something. The one-line reason
// is the last line on stderr.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/verdict"
)

func main() {
	headless.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := host.AbsoluteEnvironment()
	if err == nil {
		err = host.CheckEnvironment(os.Getenv)
	}
	if err == nil {
		err = verdict.Classify("", root.ExecuteContext(ctx))
	}
	if err == nil {
		return 0
	}
	var d interface{ Details() string }
	if errors.As(err, &d) {
		if text := strings.TrimRight(d.Details(), "\n"); text != "" {
			fmt.Fprintln(stderr, text)
		}
	}
	fmt.Fprintf(stderr, "spicelane: %s\n", oneLine(err.Error()))
	return verdict.Of(err).ExitCode()
}

// oneLine folds a message into one line: scripts rely on the
// reason being the last line on stderr. What a guest said may stand in it, so control
// characters are shown and not passed on.
func oneLine(s string) string {
	return inertText(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "spicelane",
		Short: "Boot a guest, put a SPICE proxy in front of it, drive a client and check the screen",
		Long: `Spicelane tests remote consoles on real machines. A lane is one QEMU guest, the
SPICE proxy in front of it and a headless client behind that.

  spicelane up --name a        bring a lane up and leave it running
  spicelane smoke a            is the console right?
  spicelane screenshot a -o a.png
  spicelane down a

Exit status: 0 all assertions passed, 1 an assertion about the product failed, 2 usage,
socket, RPC or parse error, 3 the host lacks something.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.AddCommand(
		newDoctor(),
		newUp(), newStatus(), newDown(), newLogs(),
		newSmoke(), newScreenshot(), newDigest(), newKey(), newType(), newMouse(), newVV(), newConform(), newAttack(), newWatch(), newConsole(),
		newProxy(), newClient(), newTLS(), newFixture(),
		newReport(), newSoak(), newBench(),
		newTruth(), newCoverage(),
		newSupervise(),
	)
	// A command without subcommands of its own that is given an unknown word is
	// a usage error; cobra says so only with this.
	root.TraverseChildren = true
	addCompletions(root)
	return root
}

// usage makes a usage error: exit status 2.
func usage(format string, args ...any) error {
	return &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf(format, args...)}
}

// printJSON writes v as one indented object.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
