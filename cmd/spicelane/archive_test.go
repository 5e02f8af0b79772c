package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// runDocument runs the blocks of commands of a page, one after another in one directory, as a reader
// would.
func runDocument(t *testing.T, page, dir string, env ...string) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	bin := filepath.Dir(copyProgram(t))
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-e", "-c", block[1])
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_STATE_HOME="+filepath.Join(dir, "state"))
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s\n%s", page, block[1], out)
	}
}

// stream is what go test -json prints of one test that passed.
func stream(day string) string {
	return `{"Time":"` + day + `T10:00:00Z","Action":"run","Package":"p","Test":"TestBoot"}
{"Action":"pass","Package":"p","Test":"TestBoot","Elapsed":0.5}
{"Time":"` + day + `T10:00:02Z","Action":"pass","Package":"p","Elapsed":1.6}
`
}

func TestTheCommandsOfTheArchivesDocumentRun(t *testing.T) {
	need.Long(t)
	t.Parallel()
	dir := t.TempDir()
	for name, day := range map[string]string{"before": "2026-11-01", "artifacts": "2026-11-02"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "lanes.json"), []byte(stream(day)), 0o600))
	}
	// The page assumes a directory under git, and a run of the release.
	for _, args := range [][]string{{"git", "init", "-q"}, {"git", "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "first"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	store := "SPICELANE_ARCHIVE=" + filepath.Join(dir, "store")
	t.Run("prepare", func(t *testing.T) {
		page := filepath.Join(t.TempDir(), "page.md")
		require.NoError(t, os.WriteFile(page, []byte("```sh\nspicelane archive add before --label branch=release\n```\n"), 0o600))
		runDocument(t, page, dir, store)
	})
	runDocument(t, "../../docs/archive.md", dir, store)
	for _, name := range []string{"compare.html", "trend.html", "compare.json", "compare.md", "got/run.json", "streams/lanes.json", "november.tar", "other"} {
		_, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
	}
}
