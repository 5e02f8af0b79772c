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
		require.Contains(t, string(b), ".SH EXIT STATUS\n0 all assertions passed")
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

func TestNothingInAPageIsARequestOfTroff(t *testing.T) {
	require.Equal(t, "a\\-b \\ec\n\\&.so /etc/passwd\n\\&'x \\[u00D7]", roff("a-b \\c\n.so /etc/passwd\n'x ×"))
}
