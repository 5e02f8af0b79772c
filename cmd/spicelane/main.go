// Command spicelane brings up lanes, drives them and says whether the screen is right. A lane is a
// QEMU guest, a SPICE proxy in front of it and a headless client that connects through the proxy.
//
// Exit status: 0 all assertions passed, 1 an assertion about the product failed, 2 usage, socket,
// RPC or parse error, 3 the host lacks something. The last line on stderr is the reason.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/plan/result"
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
	out := &standardOutput{Writer: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	err := host.AbsoluteEnvironment()
	if err == nil {
		err = host.CheckEnvironment(os.Getenv)
	}
	if err == nil {
		err = verdict.Classify("", root.ExecuteContext(ctx))
	}
	if err == nil {
		err = verdict.Classify("standard output", out.err())
	}
	if err == nil {
		return 0
	}
	err = notInterrupted(ctx, err)
	var d interface{ Details() string }
	if errors.As(err, &d) {
		if text := strings.TrimRight(d.Details(), "\n"); text != "" {
			fmt.Fprintln(stderr, text)
		}
	}
	fmt.Fprintf(stderr, "spicelane: %s\n", oneLine(err.Error()))
	var own *statusError
	if errors.As(err, &own) {
		return own.status
	}
	return verdict.Of(err).ExitCode()
}

// notInterrupted returns err, without the product's fault if the user has interrupted the command:
// what the user did not wait for is no fault of the product.
func notInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) && verdict.Of(err) == verdict.Product {
		return &verdict.Error{Verdict: verdict.Harness, Err: err}
	}
	return err
}

// joined returns all errors as one, with the worst of their verdicts; nil if there is none.
func joined(errs []error) error {
	err := errors.Join(errs...)
	if err == nil {
		return nil
	}
	var kinds []verdict.Kind
	for _, err := range errs {
		if err != nil {
			kinds = append(kinds, verdict.Of(err))
		}
	}
	return &verdict.Error{Verdict: result.Worst(kinds...), Err: err}
}

// readAll reads standard input to its end, or until ctx ends: a read from a terminal does not end
// by itself when the user interrupts the command.
func readAll(ctx context.Context, stdin io.Reader) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	read := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(stdin)
		read <- result{b, err}
	}()
	select {
	case r := <-read:
		return r.b, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
}

// oneLine folds a message into one line, because scripts rely on the reason being the last line on
// stderr. The message may quote a guest, so control characters are shown as text.
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
		Version:       version(debug.ReadBuildInfo()),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("spicelane {{.Version}}\n")
	root.AddCommand(
		newDoctor(),
		newUp(), newStatus(), newDown(), newLogs(),
		newSmoke(), newScreenshot(), newDigest(), newText(), newNeedle(), newKey(), newType(), newMouse(), newVV(), newConform(), newAttack(), newWatch(), newConsole(),
		newProxy(), newClient(), newTLS(), newFixture(),
		newRun(), newPlan(), newRunCell(), newHoldHost(),
		newReport(), newArchive(), newBisect(), newVerdict(), newFilm(), newSoak(), newBench(),
		newTruth(), newCoverage(), newMCP(), newMan(),
		newSupervise(),
	)
	// Without this, cobra does not report an unknown subcommand as a usage error.
	root.TraverseChildren = true
	addCompletions(root)
	return root
}

// version says which build this is: the version of the module, the commit if the toolchain recorded it,
// and what it was made with and for.
func version(info *debug.BuildInfo, ok bool) string {
	module, commit := "(unknown)", ""
	if ok {
		module = cmp.Or(info.Main.Version, module)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = ", commit " + s.Value
			}
		}
	}
	return fmt.Sprintf("%s%s, %s %s/%s", module, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// usage returns a usage error: exit status 2.
func usage(format string, args ...any) error {
	return &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf(format, args...)}
}

// printJSON writes v as one indented JSON object.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
