package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kballard/go-shellquote"
	"github.com/stretchr/testify/require"
)

// commandLines returns the command lines of this program that a page shows, in blocks and
// in backquotes, without the program's name.
func commandLines(page string) [][]string {
	var texts []string
	block := regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```")
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		texts = append(texts, strings.ReplaceAll(m[1], "\\\n", " "))
	}
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(block.ReplaceAllString(page, ""), -1) {
		texts = append(texts, strings.ReplaceAll(m[1], "\n", " "))
	}
	start := regexp.MustCompile(`(?m)(?:^|\| |\$ |# )(?:bin/)?spicelane `)
	var all [][]string
	for _, text := range texts {
		for _, at := range start.FindAllStringIndex(text, -1) {
			args, err := shellquote.Split(commandEnd(text[at[1]:]))
			if err != nil {
				continue
			}
			all = append(all, args)
			for _, arg := range args {
				if inner, ok := strings.CutPrefix(arg, "spicelane "); ok {
					all = append(all, strings.Fields(inner))
				}
			}
		}
	}
	return all
}

// commandEnd returns the text up to the end of the command that it begins with: a newline,
// a pipe, a semicolon, an ampersand or a comment outside quotes.
func commandEnd(text string) string {
	quoted := false
	for i, r := range text {
		switch {
		case r == '\'':
			quoted = !quoted
		case quoted:
		case strings.ContainsRune("\n|;#&", r):
			return text[:i]
		}
	}
	return text
}

// checkCommandLine says what is wrong with a command line: the command, a flag or the
// number of arguments. It runs nothing.
func checkCommandLine(args []string) error {
	cmd, rest, err := newRoot().Find(args)
	if err != nil {
		return err
	}
	if cmd.DisableFlagParsing {
		return nil
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if !cmd.Runnable() && len(rest) > 0 {
		return fmt.Errorf("%s has no command %q", cmd.Name(), rest[0])
	}
	// A mention of a command, without arguments, is not meant to be run.
	if len(rest) == 0 {
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func TestTheCommandLinesInTheDocumentsAreAccepted(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	found := 0
	for _, path := range append(pages, "../../README.md", "../../fixtures/guest/README.md") {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, args := range commandLines(string(b)) {
			if args[0] == "COMMAND" {
				continue
			}
			found++
			if err := checkCommandLine(args); err != nil {
				t.Errorf("%s: spicelane %s: %v", path, strings.Join(args, " "), err)
			}
		}
	}
	require.Greater(t, found, 40, "this test no longer finds the command lines")
}

func TestAWrongCommandLineInADocumentIsFound(t *testing.T) {
	page := "Words `spicelane nothing` and\n```sh\nbin/spicelane up --colour red   # a comment\n$ spicelane digest a b --json\nspicelane up \\\n" +
		"    --proxy 'spicelane proxy --tls-lisen x\n   --api y' --name a\nspicelane down a\n```\n" +
		"`go test | spicelane report --wrong` `spicelane fixture lst`"
	var errs []string
	for _, args := range commandLines(page) {
		if err := checkCommandLine(args); err != nil {
			errs = append(errs, err.Error())
		}
	}
	require.Len(t, errs, 6, "%q", errs)
	for i, want := range []string{"--colour", "arg", "--tls-lisen", "nothing", "--wrong", "lst"} {
		require.Contains(t, errs[i], want)
	}
}

// documentedCommands returns the commands that the README's table lists.
func documentedCommands(readme string) []string {
	_, table, _ := strings.Cut(readme, "| commands | do |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var names []string
	for _, row := range strings.Split(table, "\n") {
		cells := strings.Split(row, "|")
		for i, word := range strings.Split(cells[1], "`") {
			if i%2 == 1 {
				names = append(names, word)
			}
		}
	}
	return names
}

func TestTheREADMEListsEveryCommand(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	listed := documentedCommands(string(b))
	var commands []string
	for _, c := range newRoot().Commands() {
		if !c.Hidden && c.IsAvailableCommand() && !slices.Contains([]string{"help", "completion"}, c.Name()) {
			commands = append(commands, c.Name())
		}
	}
	require.ElementsMatch(t, commands, listed)
}
