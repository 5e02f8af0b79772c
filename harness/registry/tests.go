package registry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// A lane of a test is not in the registry, which is for lanes that outlive the command that made
// them. Its state is in its run directory instead, so that people can look at the lane while the
// test runs.

// runningFile is the name of the state file.
const runningFile = "lane.json"

// NoteTest records the state of a lane of a test in this process. It returns no error, because a
// test should not fail only because people cannot look at its lane.
func NoteTest(s State) {
	s.SetSupervisor(os.Getpid())
	if b, err := json.MarshalIndent(s, "", "  "); err == nil && s.RunDir != "" {
		// The directory is removed before the last change.
		_ = atomicfile.Write(filepath.Join(s.RunDir, runningFile), b, 0o600)
	}
}

// RunningTests returns this user's lanes of running tests, by name. Their PIDs.Supervisor is the
// test process.
func RunningTests() []State {
	var out []State
	for _, dir := range host.RunDirs() {
		b, err := os.ReadFile(filepath.Join(dir, runningFile))
		if err != nil {
			continue
		}
		var s State
		if json.Unmarshal(b, &s) == nil && s.supervised() && s.RunDir == dir {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
