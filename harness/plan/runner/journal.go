package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// The files of a run's directory, besides run.json.
const (
	// JournalFile has a line of JSON for each beginning and end of an attempt, and for each end of a
	// cell. The runner writes it at once, so that a run that was killed can be resumed.
	JournalFile = "journal.ndjson"
	// PlanFile is a copy of the plan's text, so that edits of the plan do not affect a run.
	PlanFile = "plan.yaml"
	lockFile = "lock"
	// cellsDir has a directory for each cell, and in it one for each attempt.
	cellsDir = "cells"
	// LogFile has what an attempt's steps printed.
	LogFile = "log.txt"
)

// A header is the first entry of a journal.
type header struct {
	ID     string            `json:"id"`
	Plan   result.Plan       `json:"plan"`
	Dir    string            `json:"plan_dir"`
	Began  time.Time         `json:"began"`
	Only   []string          `json:"only,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Jobs   int               `json:"jobs"`
}

// An entry is one line of the journal. Besides AtMS, exactly one field is set.
type entry struct {
	// AtMS is the time since the run began in ms, without the time between a kill and the resume.
	AtMS    int64          `json:"at_ms"`
	Run     *header        `json:"run,omitempty"`
	Begin   *attemptID     `json:"begin,omitempty"`
	Attempt *attemptResult `json:"attempt,omitempty"`
	Cell    *result.Cell   `json:"cell,omitempty"`
	Resumed bool           `json:"resumed,omitempty"`
}

type attemptID struct {
	Cell string `json:"cell"`
	N    int    `json:"n"`
}

type attemptResult struct {
	Cell   string         `json:"cell"`
	Result result.Attempt `json:"result"`
}

// A journal is the open journal of a run.
type journal struct {
	f     *os.File
	lock  *os.File
	began time.Time // when this process began
	base  int64     // AtMS of the last entry of earlier processes
}

// errBusy says that another process holds the run's lock.
var errBusy = errors.New("the run is still running, or its last processes are just ending")

// lockRun takes the lock of a run's directory. It waits for it for as long as patience says.
// Workers inherit the lock, so that nobody resumes a run while a worker of its killed runner still
// writes.
func lockRun(ctx context.Context, dir string, patience time.Duration) (*os.File, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; {
		f, err := host.TryLock(filepath.Join(dir, lockFile))
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, host.ErrLocked):
			return nil, verdict.Classify("run", err)
		case time.Now().After(end):
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: dir, Err: errBusy}
		}
		select {
		case <-ctx.Done():
			return nil, verdict.Classify("run", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// newJournal makes the directory of a new run, and its journal with the header.
func newJournal(ctx context.Context, dir string, h header, text []byte) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, verdict.Classify("run", err)
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		if files, rerr := os.ReadDir(dir); rerr != nil || len(files) > 0 {
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: "run", Err: fmt.Errorf("%s is not empty", dir), Hint: "each run has a directory of its own; --resume goes on with one"}
		}
	} else if err != nil {
		return nil, verdict.Classify("run", err)
	}
	lock, err := lockRun(ctx, dir, 0)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, PlanFile), text, 0o644); err != nil {
		_ = lock.Close()
		return nil, verdict.Classify("run", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, JournalFile), os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		_ = lock.Close()
		return nil, verdict.Classify("run", err)
	}
	j := &journal{f: f, lock: lock, began: time.Now()}
	return j, j.add(entry{Run: &h})
}

// add appends an entry, which then survives the end of this process. Ends of cells, and all entries
// before them, also survive a power cut. Syncing each entry could cost more than a cell's own work.
func (j *journal) add(e entry) error {
	e.AtMS = j.sinceMS()
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = j.f.Write(append(b, '\n'))
	if err == nil && e.Begin == nil && e.Attempt == nil {
		err = j.f.Sync()
	}
	return verdict.Classify("write the journal", err)
}

func (j *journal) sinceMS() int64 { return j.base + time.Since(j.began).Milliseconds() }

func (j *journal) close() error { return errors.Join(j.f.Close(), j.lock.Close()) }

// A past is the content of a journal.
type past struct {
	header
	lastMS   int64
	resumed  int
	attempts map[string][]result.Attempt
	begun    map[string]int64 // AtMS of the first attempt, by cell
	cells    map[string]result.Cell
	// length is the length of the complete entries in bytes. A kill or a power cut may leave half a
	// line after them.
	length int64
}

// readJournal reads the journal of a run.
func readJournal(dir string) (*past, error) {
	path := filepath.Join(dir, JournalFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "run", Err: err, Hint: dir + " is no directory of a run"}
	} else if err != nil {
		return nil, verdict.Classify("run", err)
	}
	p := &past{attempts: map[string][]result.Attempt{}, begun: map[string]int64{}, cells: map[string]result.Cell{}}
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			break
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			if len(rest) == 0 || bytes.IndexByte(line, 0) >= 0 {
				break // a power cut may leave a block of zeros
			}
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: fmt.Sprintf("%s:%d", path, n), Err: err}
		}
		p.length += int64(len(line)) + 1
		p.lastMS = e.AtMS
		switch {
		case e.Run != nil:
			p.header = *e.Run
		case e.Begin != nil && e.Begin.N == 1:
			p.begun[e.Begin.Cell] = e.AtMS
		case e.Attempt != nil:
			p.attempts[e.Attempt.Cell] = append(p.attempts[e.Attempt.Cell], e.Attempt.Result)
		case e.Cell != nil:
			p.cells[e.Cell.ID] = *e.Cell
		case e.Resumed:
			p.resumed++
		}
		b = rest
	}
	if p.ID == "" {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: path, Err: errors.New("it has no beginning: the run was killed before anything ran"), Hint: "run the plan again"}
	}
	return p, nil
}

// resumeJournal opens the journal of a run that was killed.
func resumeJournal(ctx context.Context, dir string) (*journal, *past, error) {
	if _, err := os.Stat(filepath.Join(dir, JournalFile)); err != nil {
		_, err := readJournal(dir)
		return nil, nil, err
	}
	lock, err := lockRun(ctx, dir, resumePatience)
	if err != nil {
		return nil, nil, err
	}
	p, err := readJournal(dir)
	if err != nil {
		_ = lock.Close()
		return nil, nil, err
	}
	path := filepath.Join(dir, JournalFile)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		err = f.Truncate(p.length)
	}
	if err != nil {
		_ = lock.Close()
		return nil, nil, verdict.Classify("run", err)
	}
	j := &journal{f: f, lock: lock, began: time.Now(), base: p.lastMS}
	return j, p, j.add(entry{Resumed: true})
}

// resumePatience is how long a resumed run waits for the last workers of its killed runner. They
// need a few seconds to end their lanes.
const resumePatience = 40 * time.Second
