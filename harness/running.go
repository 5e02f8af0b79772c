package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// A lane of a test is not in the registry, which is for lanes that outlive the
// command that made them. It is noted in its own run directory instead, so that
// a person can look at it while the test runs.

// runningFile is the note's name.
const runningFile = "lane.json"

// noteRunning adds to cfg that each change of the lane's state is noted in its
// run directory.
func noteRunning(cfg Config) Config {
	next := cfg.OnState
	cfg.OnState = func(s State) {
		note := s
		note.SetSupervisor(os.Getpid())
		if b, err := json.MarshalIndent(note, "", "  "); err == nil && s.RunDir != "" {
			// A lane that cannot be looked at is no reason for a test to fail; and
			// the directory is gone before the last change is told.
			_ = writeFileAtomic(filepath.Join(s.RunDir, runningFile), b, 0o600)
		}
		if next != nil {
			next(s)
		}
	}
	return cfg
}

// RunningTests are the lanes of tests of this user that run now, by name. Their
// PIDs.Supervisor is the test process.
func RunningTests() []State {
	notes, _ := filepath.Glob(filepath.Join(runDirBase(), runDirPrefix+"*", runningFile))
	var out []State
	for _, path := range notes {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var s State
		if json.Unmarshal(b, &s) == nil && s.supervised() && strings.HasPrefix(path, s.RunDir) {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
