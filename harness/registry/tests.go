package registry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// A lane of a test is not in the registry, which is for lanes that outlive the
// command that made them. It is noted in its own run directory instead, so that
// a person can look at it while the test runs.

// runningFile is the note's name.
const runningFile = "lane.json"

// NoteTest notes the state of a lane of a test that runs in this process. A lane that
// cannot be looked at is no reason for a test to fail: no error is returned.
func NoteTest(s State) {
	s.SetSupervisor(os.Getpid())
	if b, err := json.MarshalIndent(s, "", "  "); err == nil && s.RunDir != "" {
		// The directory is gone before the last change is told.
		_ = atomicfile.Write(filepath.Join(s.RunDir, runningFile), b, 0o600)
	}
}

// RunningTests returns the lanes of tests of this user that run now, by name. Their
// PIDs.Supervisor is the test process.
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
