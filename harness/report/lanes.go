package report

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Lane is a lane of a test.
type Lane struct {
	// Report is the content of its verdict.json.
	verdict.Report
	// Gone means that verdict.json was not found (go test without -artifacts). Then name,
	// accelerator and reason are from the test's output, and the rest is unknown.
	Gone bool
}

// Limits for the search for verdicts in a test's artifact directory. It has a directory for each
// lane, and much other data.
const (
	maxDepth   = 3
	maxEntries = 2000
	maxVerdict = 1 << 20 // bytes
)

// readLanes reads the verdicts of the test's lanes. It ignores those that cannot be read, and other
// files of that name.
func (t *Test) readLanes() {
	t.findVerdicts()
	if len(t.Lanes) == 0 {
		t.Lanes = dumpedLanes(t.out.String())
	}
}

func (t *Test) findVerdicts() {
	if t.Artifacts == "" {
		return
	}
	seen := 0
	// NB: the error can only come from the callback, which returns none.
	_ = filepath.WalkDir(t.Artifacts, func(path string, d fs.DirEntry, err error) error {
		if seen++; seen > maxEntries {
			return fs.SkipAll
		}
		if err != nil {
			return nil
		}
		if !d.IsDir() {
			return nil
		}
		if rel, err := filepath.Rel(t.Artifacts, path); err == nil && depth(rel) > maxDepth {
			return fs.SkipDir
		}
		// NB: before the directory's other entries, because there may be more of them than are looked at.
		if l, ok := readVerdict(filepath.Join(path, verdict.File)); ok {
			l.Dir = path // the run may have been on another machine
			t.Lanes = append(t.Lanes, Lane{Report: l})
		}
		return nil
	})
	// In the order of their files, in which a lane comes after those below its directory.
	parts := func(l Lane) []string {
		return strings.Split(filepath.Join(l.Dir, verdict.File), string(filepath.Separator))
	}
	slices.SortStableFunc(t.Lanes, func(a, b Lane) int { return slices.Compare(parts(a), parts(b)) })
}

func depth(rel string) int {
	n := 0
	for rel != "." && rel != "" && rel != string(filepath.Separator) {
		rel = filepath.Dir(rel)
		n++
	}
	return n
}

func readVerdict(path string) (verdict.Report, bool) {
	var l verdict.Report
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() || st.Size() > maxVerdict {
		return l, false
	}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &l) != nil {
		return l, false
	}
	switch l.Verdict {
	case "", verdict.Product, verdict.Harness, verdict.Host:
	default:
		return l, false
	}
	return l, l.OK || l.Verdict != "" || l.Accel != "" || l.Name != ""
}

// page returns the path of the page of the test's lane. If there are several lanes, it takes the
// last one that failed, or else the last one. It returns "" if no lane has a page.
func (t *Test) page() string {
	lanes := t.Lanes
	if t.Failure != nil {
		_, lanes = t.evidence()
	}
	page := ""
	for _, l := range slices.Backward(lanes) {
		path := pageOfLane(l)
		if path == "" {
			continue
		}
		if page == "" || !l.OK {
			page = path
		}
		if !l.OK {
			break
		}
	}
	return page
}

// pageOfLane returns the path of a lane's page, or "" if it has none.
func pageOfLane(l Lane) string {
	path := filepath.Join(l.Dir, replay.File)
	if st, err := os.Stat(path); l.Gone || err != nil || !st.Mode().IsRegular() {
		return ""
	}
	return path
}

// evidence returns the artifact directory and the lanes of t. If t has neither, it returns those of
// the test whose subtest t is, because t used that test's lane.
func (t *Test) evidence() (dir string, lanes []Lane) {
	for ; t != nil; t = t.Parent {
		if t.Artifacts != "" || len(t.Lanes) > 0 {
			return t.Artifacts, t.Lanes
		}
	}
	return "", nil
}
