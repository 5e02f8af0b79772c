package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

func TestEachCommandHasAManualPageThatRenders(t *testing.T) {
	need.Long(t)
	dir := t.TempDir()
	root := newRoot()
	root.SetArgs([]string{"man", dir})
	require.NoError(t, root.Execute())
	pages := 0
	require.NoError(t, eachCommand(root, func(c *cobra.Command) error {
		pages++
		path := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(b), ".SH NAME\n")
		require.Contains(t, string(b), ".SH EXIT STATUS\n")
		require.NotContains(t, string(b), "Exit status:", "%s: they are in two places", path)
		return nil
	}))
	es, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, es, pages, "no page without its command")
	require.Greater(t, pages, 30)
	require.Contains(t, manPage(newDoctor()), `\fB\-\-json\fR`)
	require.NoFileExists(t, filepath.Join(dir, "spicelane-man.1"))

	groff := need.Program(t, "groff")
	for _, e := range es {
		out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", filepath.Join(dir, e.Name())).CombinedOutput()
		require.NoError(t, err, e.Name())
		require.Empty(t, string(out), e.Name())
	}
}

// A command's own exit statuses stand in its page; a command that has none says what the nearest one
// above it says.
func TestAPageHasTheExitStatusesOfItsCommand(t *testing.T) {
	root := newRoot()
	for path, want := range map[string]string{
		"spicelane":                 "0 all assertions passed, 1 an assertion about the product failed, 2 usage,\nsocket, RPC or parse error, 3 the host lacks something.",
		"spicelane down":            "0 all assertions passed, 1 an assertion about the product failed, 2 usage,\nsocket, RPC or parse error, 3 the host lacks something.",
		"spicelane doctor":          "0 if a lane can run here, 3 if not.",
		"spicelane archive compare": "0 no regression; 1 a regression; 2 wrong usage, or no such run; 3 the archive\ncannot be read.",
		"spicelane archive list":    "0 done; for compare, no regression; 1 compare found a regression; 2 wrong usage,\nor no such run; 3 the archive cannot be read or written, or verify found damage.",
	} {
		c, _, err := root.Find(strings.Fields(path)[1:])
		require.NoError(t, err)
		require.Equal(t, path, c.CommandPath())
		_, got, ok := strings.Cut(manPage(c), ".SH EXIT STATUS\n")
		require.True(t, ok)
		got, _, _ = strings.Cut(got, "\n.SH")
		require.Equal(t, want, strings.TrimSpace(got), path)
	}
}

func TestNothingInAPageIsARequestOfTroff(t *testing.T) {
	require.Equal(t, "a\\-b \\ec\n\\&.so /etc/passwd\n\\&'x \\[u00D7]", roff("a-b \\c\n.so /etc/passwd\n'x ×"))
}
