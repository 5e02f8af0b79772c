package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
)

// readGoTest reads the streams of go test -json in a directory (NAME.json) and makes one run of
// them. Each stream is a job, and each of its tests is a cell. A test with subtests is a cell only
// if it failed by itself.
func readGoTest(dir string) (*result.Run, error) {
	// NB: dir is no pattern, whatever characters it has.
	names, err := fs.Glob(os.DirFS(dir), "*.json")
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	slices.Sort(names)
	run := &result.Run{Schema: result.Schema, Plan: result.Plan{Name: "go test"}, Outcome: result.Success}
	all := sha256.New()
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !isStream(b) {
			continue
		}
		all.Write(b)
		stream, err := report.Read(bytes.NewReader(b), report.ReadOptions{})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := addStream(run, dir, strings.TrimSuffix(filepath.Base(name), ".json"), stream); err != nil {
			return nil, err
		}
		if stream.Began.IsZero() {
			st, err := os.Stat(name)
			if err != nil {
				return nil, err
			}
			stream.Began, stream.Ended = st.ModTime(), st.ModTime()
		}
		if run.Began.IsZero() || stream.Began.Before(run.Began) {
			run.Began = stream.Began.UTC()
		}
		if stream.Ended.After(run.Ended) {
			run.Ended = stream.Ended.UTC()
		}
		run.TookMS += stream.Ended.Sub(stream.Began).Milliseconds()
	}
	if len(run.Cells) == 0 {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: dir,
			Err:  fmt.Errorf("it has neither %s nor a stream of go test -json: %w", result.File, fs.ErrNotExist),
			Hint: "name the directory of a run, or the artifacts directory of make test"}
	}
	sum := all.Sum(nil)
	run.Plan.SHA256 = hex.EncodeToString(sum)
	run.ID = "gotest-" + run.Began.Format("20060102-150405") + "-" + hex.EncodeToString(sum[:4])
	for _, c := range run.Cells {
		if c.Outcome == result.Failure {
			run.Outcome = result.Failure
			run.Verdict = result.Worst(run.Verdict, c.Verdict)
		}
	}
	return run, run.Check()
}

// isStream reports whether a file is a stream of go test -json: its first object has an action.
func isStream(b []byte) bool {
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Action string }
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			return e.Action != ""
		}
		if bytes.HasPrefix(lines.Bytes(), []byte("{")) {
			return false
		}
	}
	return false
}

// addStream adds the cells of one stream: one for the whole, and one per test.
func addStream(run *result.Run, dir, job string, stream *report.Run) error {
	whole := cellOf(job, job)
	whole.Outcome, whole.TookMS = result.Success, stream.Ended.Sub(stream.Began).Milliseconds()
	if v := stream.Verdict(); v != "" {
		whole.Outcome, whole.Verdict, whole.Reason = result.Failure, v, stream.Headline()
	}
	at := attemptOf(&whole, stream.Began)
	for _, end := range []string{".json", ".xml", ".md", ".html"} {
		if st, err := os.Stat(filepath.Join(dir, job+end)); err == nil {
			at.Evidence = append(at.Evidence, result.Evidence{Path: job + end, Kind: result.KindLog, Bytes: st.Size()})
		}
	}
	whole.Attempts = append(whole.Attempts, at)
	run.Cells = append(run.Cells, whole)

	index := make(map[string]int)
	cell := func(id string) int { // a stream of several runs repeats packages
		i, ok := index[id]
		if !ok {
			i = len(run.Cells)
			index[id] = i
			run.Cells = append(run.Cells, cellOf(job, id))
		}
		return i
	}
	for _, p := range stream.Packages {
		parents := make(map[string]bool)
		for _, t := range p.Tests {
			for name := path.Dir(t.Name); name != "."; name = path.Dir(name) {
				parents[name] = true
			}
		}
		if p.Failure != nil {
			c := &run.Cells[cell(job+"/"+p.Path)]
			at := attemptOf(c, stream.Began)
			at.TookMS, at.Outcome = p.Elapsed.Milliseconds(), result.Failure
			at.Verdict, at.Reason = p.Failure.Verdict, p.Failure.Reason
			addAttempt(c, at)
		}
		for _, t := range p.Tests {
			if parents[t.Name] && (t.Failure == nil || t.Failure.Kind == report.Subtests) {
				continue
			}
			if err := addTest(&run.Cells[cell(job+"/"+p.Path+"."+t.Name)], dir, t, stream.Began); err != nil {
				return err
			}
		}
	}
	return nil
}

func cellOf(job, id string) result.Cell {
	return result.Cell{ID: id, Job: job, Executor: "go test"}
}

// attemptOf returns a cell's next attempt, with the cell's outcome.
func attemptOf(c *result.Cell, began time.Time) result.Attempt {
	return result.Attempt{N: len(c.Attempts) + 1, Began: began.UTC(), TookMS: c.TookMS, Outcome: c.Outcome, Verdict: c.Verdict, Reason: c.Reason,
		Hop: c.Hop}
}

// addTest adds one execution of a test to its cell. With -count a test runs several times.
func addTest(c *result.Cell, dir string, t *report.Test, began time.Time) error {
	at := attemptOf(c, began)
	at.TookMS = t.Elapsed.Milliseconds()
	at.Verdict, at.Reason, at.Hop = "", t.Reason, ""
	switch t.Outcome {
	case report.Passed:
		at.Outcome = result.Success
	case report.Skipped:
		at.Outcome = result.Skipped
	default:
		at.Outcome, at.Verdict, at.Reason = result.Failure, t.Failure.Verdict, t.Failure.Reason
		for _, l := range t.Lanes {
			if !l.OK && l.Verdict == at.Verdict {
				at.Hop = l.Hop
			}
		}
	}
	if at.Outcome != result.Skipped {
		at.Measurements = []result.Measurement{{Name: "took", Unit: "ms", Values: []float64{t.Elapsed.Seconds() * 1000}, Better: "lower"}}
	}
	ready := result.Measurement{Name: "lane/ready", Unit: "ms", Better: "lower"}
	for _, l := range t.Lanes {
		if l.ReadyMS > 0 {
			ready.Values = append(ready.Values, float64(l.ReadyMS))
		}
	}
	if ready.Values != nil {
		at.Measurements = append(at.Measurements, ready)
	}
	var err error
	if at.Evidence, err = evidenceOf(dir, t.Artifacts); err != nil {
		return err
	}
	addAttempt(c, at)
	return nil
}

// addAttempt adds an attempt to a cell, which ends as its worst one: a failure, that of the product
// before others, or else a success.
func addAttempt(c *result.Cell, at result.Attempt) {
	c.Attempts = append(c.Attempts, at)
	if len(c.Attempts) == 1 || result.Worse(at.Outcome, at.Verdict, c.Outcome, c.Verdict) {
		c.Outcome, c.Verdict, c.Reason, c.Hop = at.Outcome, at.Verdict, at.Reason, at.Hop
	}
	c.TookMS += at.TookMS
	c.Measurements = mergeMeasurements(c.Measurements, at.Measurements)
}

func mergeMeasurements(all, more []result.Measurement) []result.Measurement {
	for _, m := range more {
		i := slices.IndexFunc(all, func(o result.Measurement) bool { return o.Name == m.Name })
		if i < 0 {
			all = append(all, m)
			all[len(all)-1].Values = slices.Clone(m.Values)
			continue
		}
		all[i].Values = append(all[i].Values, m.Values...)
	}
	return all
}

// evidenceOf lists the files of a test's artifact directory. The stream has the directory's path on
// the machine that ran the test. If that path does not exist, evidenceOf uses the longest end of it
// that exists below dir.
func evidenceOf(dir, artifacts string) ([]result.Evidence, error) {
	if artifacts == "" {
		return nil, nil
	}
	rel := within(dir, artifacts)
	if rel == "" {
		return nil, nil // go test without -artifacts removes it
	}
	var all []result.Evidence
	err := filepath.WalkDir(filepath.Join(dir, rel), func(file string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); !fs.ValidPath(name) || strings.Contains(name, "\\") {
			return nil
		}
		all = append(all, result.Evidence{Path: name, Kind: result.KindLane, Name: filepath.Base(artifacts), Bytes: st.Size()})
		return nil
	})
	return all, err
}

// within returns the path of an artifact directory relative to dir; empty if it is not below dir.
func within(dir, artifacts string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		if rel, err := filepath.Rel(abs, artifacts); err == nil && filepath.IsLocal(rel) && rel != "." {
			if _, err := os.Stat(artifacts); err == nil {
				return rel
			}
		}
	}
	parts := strings.Split(strings.Trim(filepath.ToSlash(artifacts), "/"), "/")
	for i := range parts {
		rel := filepath.Join(parts[i:]...)
		if st, err := os.Stat(filepath.Join(dir, rel)); err == nil && st.IsDir() {
			return rel
		}
	}
	return ""
}
