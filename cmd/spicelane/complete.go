package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/spice/control"
)

// `spicelane completion bash|zsh|fish|powershell` prints a script for the shell. The shell then
// asks this program for completions.

// A completer returns the possible words at index i of the arguments, given those before it. If it
// returns nil, the shell offers nothing.
type completer func(args []string, i int) []string

// argCompleters are the completers of commands' arguments, by path.
var argCompleters = map[string]completer{
	"status":     first(allNames),
	"logs":       words(allNames, fixed("serial", "qemu", "proxy", "client", "supervisor", "timeline")),
	"smoke":      first(readyNames),
	"screenshot": first(readyNames),
	"digest":     first(readyNames),
	"text":       first(readyNames),
	"vv":         first(readyNames),
	"watch":      first(readyNames),
	"console":    first(readyNames),
	"type":       first(readyNames),
	"conform":    first(readyNames),
	"mcp":        first(readyNames),
	"key": func(_ []string, i int) []string {
		if i == 0 {
			return readyNames()
		}
		return control.KeyNames()
	},
	"down": func(args []string, _ int) []string {
		// Lanes of tests end with their tests, so they are not offered.
		return slices.DeleteFunc(upNames(), func(n string) bool { return slices.Contains(args, n) })
	},
	"mouse": func(args []string, i int) []string {
		switch {
		case i == 0:
			return readyNames()
		case i == 1:
			return []string{"move", "by", "button", "wheel"}
		case args[1] == "button" && i == 2:
			return control.MouseButtons()
		case args[1] == "button" && i == 3:
			return []string{"down", "up", "click"}
		}
		return nil
	},
	"fixture verify": func([]string, int) []string { return fixtureNames() },
}

// flagCompleters are the completers of flags whose placeholders do not list the values.
var flagCompleters = map[string]func() []string{
	"--fixture": fixtureNames,
	"--layout":  control.Layouts,
}

// addCompletions adds completion of arguments and flags to every command below root.
func addCompletions(root *cobra.Command) {
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		if c, ok := argCompleters[path]; ok {
			cmd.ValidArgs = nil
			cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
				return startingWith(c(args, len(args)), toComplete), cobra.ShellCompDirectiveNoFileComp
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			values, directive := flagValues(f)
			if values == nil && directive == cobra.ShellCompDirectiveDefault {
				return
			}
			// RegisterFlagCompletionFunc fails only for a flag that does not exist, or that the
			// command completes itself.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
				if values == nil {
					return nil, directive
				}
				return startingWith(values(), toComplete), directive
			})
		})
		for _, sub := range cmd.Commands() {
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
	}
	walk(root, "")
}

// flagValues returns the possible values of a flag from its placeholder in the help. Lower-case
// words with bars between them are values. A DIR is a directory; a FILE or a PATH is left to the
// shell; other placeholders have no completion.
func flagValues(f *pflag.Flag) (func() []string, cobra.ShellCompDirective) {
	if c, ok := flagCompleters["--"+f.Name]; ok {
		return c, cobra.ShellCompDirectiveNoFileComp
	}
	switch placeholder, _ := pflag.UnquoteUsage(f); {
	case strings.Contains(placeholder, "|"):
		values := slices.DeleteFunc(strings.Split(placeholder, "|"), func(v string) bool { return v == strings.ToUpper(v) })
		return fixed(values...), cobra.ShellCompDirectiveNoFileComp
	case placeholder == "DIR":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case placeholder == "FILE", placeholder == "PATH", f.Value.Type() == "bool":
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func startingWith(all []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		return !strings.HasPrefix(strings.ToLower(s), strings.ToLower(prefix))
	})
}

func fixed(values ...string) func() []string { return func() []string { return values } }

func first(c func() []string) completer { return words(c) }

// words completes the i-th argument with the i-th of cs.
func words(cs ...func() []string) completer {
	return func(_ []string, i int) []string {
		if i < len(cs) {
			return cs[i]()
		}
		return nil
	}
}

func allNames() []string {
	states, _ := registry.Registry{}.List()
	return names(append(states, registry.RunningTests()...), func(registry.State) bool { return true })
}

func readyNames() []string {
	return append(upNames(), names(registry.RunningTests(), isReady)...)
}

func upNames() []string {
	states, _ := registry.Registry{}.List()
	return names(states, isReady)
}

func isReady(s registry.State) bool { return s.State == registry.StateReady }

func names(states []registry.State, want func(registry.State) bool) []string {
	var out []string
	for _, s := range states {
		if want(s) {
			out = append(out, s.Name)
		}
	}
	return out
}

// fixtureNames returns the built-in fixtures and the entries of this directory.
func fixtureNames() []string {
	var names []string
	if all, err := fixtures.Catalogue(); err == nil {
		for _, f := range all {
			names = append(names, f.Name)
		}
	}
	es, _ := os.ReadDir(".")
	for _, e := range es {
		if n := e.Name(); !e.IsDir() && (strings.HasSuffix(n, ".yaml") || strings.HasSuffix(n, ".yml")) {
			names = append(names, "./"+n)
		}
	}
	return names
}
