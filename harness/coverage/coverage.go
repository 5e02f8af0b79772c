// Package coverage adds up which messages, drawings and image codecs the runs carried. It also says
// what they never carried, and why. A run of `spicelane truth` writes its coverage to a file. A
// lane writes it to its timeline.
//
//	found, err := coverage.Find("artifacts")
//	err = coverage.Check(found.Rows, coverage.Demand{Kind: "image", Name: "quic", Count: 20})
package coverage

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice"
)

// File is the name of the file in which a run of spicelane truth writes what its clients received.
const File = "coverage.json"

// Kind is the kind of the timeline entries with coverage. A lane's client writes one for each
// session: the rows of what the session received.
const Kind = "coverage"

// Write writes the coverage of a run to File in dir.
func Write(dir string, c spice.Coverage) error {
	b, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, File), append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	return nil
}

// Entry returns a session's timeline entry: what it received, without times.
func Entry(s spice.Stats) map[string]any {
	seen := slices.DeleteFunc(spice.CoverageOf(s), func(r spice.CoverageRow) bool { return r.Count == 0 })
	for i := range seen {
		seen[i].Time = 0
	}
	return map[string]any{"rows": seen}
}

// Sum returns the sum of coverages.
func Sum(list ...spice.Coverage) spice.Coverage {
	sum := map[[2]string]spice.CoverageRow{}
	for _, rows := range list {
		for _, row := range rows {
			k := [2]string{row.Kind, row.Name}
			old := sum[k]
			row.Count += old.Count
			row.Time += old.Time
			sum[k] = row
		}
	}
	all := spice.Coverage(slices.Collect(maps.Values(sum)))
	slices.SortFunc(all, func(a, b spice.CoverageRow) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Since returns the counts of after minus those of before.
func Since(before, after spice.Coverage) spice.Coverage {
	had := map[[2]string]spice.CoverageRow{}
	for _, row := range before {
		had[[2]string{row.Kind, row.Name}] = row
	}
	news := slices.Clone(after)
	for i, row := range news {
		old := had[[2]string{row.Kind, row.Name}]
		news[i].Count -= min(old.Count, row.Count)
		news[i].Time -= min(old.Time, row.Time)
	}
	return news
}

// A Found is the result of Find.
type Found struct {
	// Rows has a row for everything that is modelled, including what no run carried.
	Rows spice.Coverage
	// Runs counts the runs of spicelane truth, and Lanes the lanes.
	Runs, Lanes int
}

// Find reads coverage from paths: files of runs, timelines of lanes, and directories with either in
// or below them.
func Find(paths ...string) (Found, error) {
	var f Found
	list := []spice.Coverage{spice.CoverageOf()}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			switch {
			case d.Name() == timeline.File:
				rows, err := OfLane(filepath.Dir(path))
				if err != nil || rows == nil {
					return err
				}
				f.Lanes++
				list = append(list, rows)
			case filepath.Ext(path) == ".json" && (d.Name() == File || slices.Contains(paths, path)):
				rows, err := readFile(path)
				if err != nil {
					return err
				}
				f.Runs++
				list = append(list, rows)
			}
			return nil
		})
		if err != nil {
			return f, fmt.Errorf("coverage: %w", err)
		}
	}
	f.Rows = Sum(list...)
	return f, nil
}

func readFile(path string) (rows spice.Coverage, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, nil
}

// OfLane returns the coverage of a lane, given its directory: the sum over its client's sessions.
// It returns nil if the timeline has none.
func OfLane(dir string) (spice.Coverage, error) {
	path := filepath.Join(dir, timeline.File)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("coverage: %w", err)
	}
	defer file.Close()
	var list []spice.Coverage
	in := bufio.NewReaderSize(file, 64<<10)
	for {
		// NB: most lines are frames, so only lines that may be of this kind are decoded.
		line, err := in.ReadBytes('\n')
		if bytes.Contains(line, []byte(`"`+Kind+`"`)) {
			var entry struct {
				Kind string
				Rows spice.Coverage
			}
			if json.Unmarshal(line, &entry) == nil && entry.Kind == Kind {
				list = append(list, entry.Rows)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("coverage: %s: %w", path, err)
		}
	}
	if list == nil {
		return nil, nil
	}
	return Sum(list...), nil
}

// A Demand asks that a run carried a row with this Kind and Name at least Count times; 0 means
// once.
type Demand struct {
	Kind, Name string
	Count      uint64
}

// MissingError lists the demands that a run did not meet.
type MissingError struct{ Missing []string }

func (e *MissingError) Error() string {
	return "coverage: missing " + strings.Join(e.Missing, ", ")
}

// Check returns a *MissingError if a coverage does not meet all demands.
func Check(c spice.Coverage, demands ...Demand) error {
	var missing []string
	for _, d := range demands {
		want, got := max(d.Count, 1), uint64(0)
		for _, row := range c {
			if row.Kind == d.Kind && row.Name == d.Name {
				got = row.Count
			}
		}
		if got < want {
			missing = append(missing, fmt.Sprintf("%s %s (%d of %d)", d.Kind, d.Name, got, want))
		}
	}
	if missing == nil {
		return nil
	}
	return &MissingError{missing}
}
