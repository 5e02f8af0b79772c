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
)

// killedRun is the directory of a run in docs/plans.md.
const killedRun = "artifacts/runs/20261127-101500-3f9a2c"

// Each command of docs/plans.md runs as a script, beside the plans of examples. Those that boot lanes
// run where lanes can.
func TestTheCommandsOfThePageAboutPlansWork(t *testing.T) {
	page, err := os.ReadFile("../../docs/plans.md")
	require.NoError(t, err)
	// The run of the page was killed before its result was written.
	script := fmt.Sprintf("spicelane run examples/plans/conditions.yaml --dir %s\nrm %s/run.json\n", killedRun, killedRun)
	commands, booted := 0, 0
	for _, block := range strings.Split(string(page), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, line := range strings.Split(strings.TrimSpace(block), "\n") {
			args, err := shellquote.Split(line)
			require.NoError(t, err)
			require.Equal(t, "spicelane", args[0], line)
			commands++
			if strings.Contains(line, "run examples/plans/boot.yaml") && !strings.Contains(line, "--dry-run") {
				// Where lanes are required, [lanes] is true or an error.
				booted++
				script += "[lanes] lanes\n[lanes] " + line + "\n"
				script += "[lanes] stdout '2 cells in .*: 2 passed'\n[lanes] stdout 'PASS digest'\n"
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
	require.Equal(t, 1, booted, "a plan of the page boots lanes")
	file := filepath.Join(t.TempDir(), "plans.txt")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	p := scriptParams()
	p.Files = []string{file}
	testscript.Run(t, p)
}
