package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kballard/go-shellquote"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// killedRun is the directory of a run in docs/plans.md.
const killedRun = "artifacts/runs/20261127-101500-3f9a2c"

// Each command of docs/plans.md runs as a script, beside the plans of examples. Those that boot lanes
// run where lanes can.
func TestTheCommandsOfThePageAboutPlansWork(t *testing.T) {
	need.Long(t)
	page, err := os.ReadFile("../../docs/plans.md")
	require.NoError(t, err)
	// The run of the page was killed before its result was written.
	script := fmt.Sprintf("spicelane run examples/plans/conditions.yaml --dir %s\nrm %s/run.json\n", killedRun, killedRun)
	// What the runs of plans with lanes print at their end.
	lanePlans := map[string][]string{
		"examples/plans/boot.yaml":   {"2 cells in .*: 2 passed", "PASS digest"},
		"examples/plans/matrix.yaml": {"24 cells in .*: 1 passed, 23 skipped", "PASS digest", "a key arrives", `PASS screenshot`},
	}
	commands, ran := 0, map[string]bool{}
	for _, block := range strings.Split(string(page), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, line := range strings.Split(strings.TrimSpace(block), "\n") {
			args, err := shellquote.Split(line)
			require.NoError(t, err)
			require.Equal(t, "spicelane", args[0], line)
			commands++
			if args[1] == "run" && !strings.HasPrefix(args[2], "-") && !strings.Contains(line, "--dry-run") {
				ran[args[2]] = true
			}
			if ends := lanePlans[args[2]]; ends != nil && args[1] == "run" && !strings.Contains(line, "--dry-run") {
				// Where lanes are required, [lanes] is true or an error.
				script += "[lanes] lanes\n[lanes] " + line + "\n"
				for _, end := range ends {
					script += "[lanes] stdout '" + end + "'\n"
				}
				continue
			}
			line = strings.Replace(line, ":9107", ":0", 1) // another test may have the port
			line = strings.Replace(line, "/srv/", "", 1)
			script += line + "\n"
			if strings.Contains(line, "--metrics") {
				script += "stderr 'the metrics are at http://127.0.0.1:[0-9]+/metrics'\n"
			}
		}
	}
	require.Greater(t, commands, 10)
	examples, err := filepath.Glob("../../examples/plans/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, example := range examples {
		require.True(t, ran["examples/plans/"+filepath.Base(example)], "the page runs no %s", example)
	}
	file := filepath.Join(t.TempDir(), "plans.txt")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	p := scriptParams()
	p.Files = []string{file}
	testscript.Run(t, p)
}
