package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spicelane/spicelane/harness/verdict"
)

// newMan returns the hidden command that writes the manual pages of a release.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a manual page for each command",
		Long:   "Write a manual page for each command into a directory, which must exist.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachCommand(cmd.Root(), func(c *cobra.Command) error {
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(manPage(c)), 0o644); err != nil {
					return &verdict.Error{Verdict: verdict.Harness, Op: "man", Err: err}
				}
				return nil
			})
		},
	}
}

// eachCommand calls f with each command that help shows.
func eachCommand(c *cobra.Command, f func(*cobra.Command) error) error {
	if c.Hidden || c.Name() == "help" {
		return nil
	}
	if err := f(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if err := eachCommand(sub, f); err != nil {
			return err
		}
	}
	return nil
}

// roff escapes text for troff: backslashes and dashes print as they are, and a line that begins
// with a dot or a quote is not a request. Characters beyond ASCII are written by their number.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	s = regexp.MustCompile(`(?m)^([.'])`).ReplaceAllString(s, `\&$1`)
	// Not every troff reads UTF-8, but all read this form.
	return regexp.MustCompile(`[^\x00-\x7f]`).ReplaceAllStringFunc(s, func(c string) string { return fmt.Sprintf(`\[u%04X]`, []rune(c)[0]) })
}

// described returns a command's description and its exit statuses. A command without the latter has
// those of its parent.
func described(c *cobra.Command) (long, status string) {
	long, status, _ = strings.Cut(c.Long, "\nExit status: ")
	if status == "" && c.HasParent() {
		_, status = described(c.Parent())
	}
	if long == "" {
		long = c.Short + "."
	}
	return strings.TrimSpace(long), status
}

// manPage returns the manual page of a command.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	dashed := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %q 1 \"\" \"spicelane\" \"Spicelane\"\n", strings.ToUpper(dashed))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(dashed), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	long, status := described(c)
	b.WriteString(".SH DESCRIPTION\n")
	for _, paragraph := range strings.Split(long, "\n\n") {
		if strings.HasPrefix(paragraph, " ") { // an example, as it stands
			fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", roff(paragraph))
		} else {
			fmt.Fprintf(&b, ".PP\n%s\n", roff(paragraph))
		}
	}
	options := false
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !options {
			b.WriteString(".SH OPTIONS\n")
			options = true
		}
		placeholder, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR %s\n%s\n", roff(name), roff(placeholder), roff(usage))
	})
	if subs := c.Commands(); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range subs {
			if !sub.Hidden && sub.Name() != "help" {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(strings.ReplaceAll(sub.CommandPath(), " ", "-")), roff(sub.Short))
			}
		}
	}
	fmt.Fprintf(&b, ".SH EXIT STATUS\n%s\n", roff(status))
	if c.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(strings.ReplaceAll(c.Parent().CommandPath(), " ", "-")))
	}
	return b.String()
}
