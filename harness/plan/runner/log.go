package runner

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/internal/inert"
)

// The formats of a run's log.
const (
	FormatText   = "text"
	FormatJSON   = "json"
	FormatGitHub = "github"
)

// NewLog returns an observer that writes a log to w. format is FormatText, FormatJSON or
// FormatGitHub.
func NewLog(format string, w io.Writer) (Observer, error) {
	switch format {
	case FormatText:
		return &textLog{w: w}, nil
	case FormatJSON:
		return &jsonLog{enc: json.NewEncoder(w)}, nil
	case FormatGitHub:
		return &githubLog{w: w, lines: map[string][]string{}}, nil
	}
	return nil, fmt.Errorf("there is no log format %q: it is text, json or github", format)
}

// inertLine returns s as one line with its control characters escaped, because a guest's output
// must not control the terminal.
func inertLine(s string) string { return strings.ReplaceAll(inert.Text(s), "\n", `\n`) }

// Word returns the word for an outcome in logs: PASS, FAIL, SKIP or CANCELLED.
func Word(o result.Outcome) string {
	switch o {
	case result.Success:
		return "PASS"
	case result.Failure:
		return "FAIL"
	case result.Skipped:
		return "SKIP"
	}
	return "CANCELLED"
}

// Describe returns one line about how a cell ended.
func Describe(c result.Cell) string {
	s := fmt.Sprintf("%-9s %s", Word(c.Outcome), c.ID)
	if c.TookMS > 0 {
		s += fmt.Sprintf(" (%.1f s)", float64(c.TookMS)/1000)
	}
	if c.ReusedFrom != "" {
		s += ", taken over from " + c.ReusedFrom
	} else if c.Flaky() {
		s += fmt.Sprintf(", passed on attempt %d", len(c.Attempts))
	} else if n := len(c.Attempts); n > 1 {
		s += fmt.Sprintf(", after %d attempts", n)
	}
	if c.Verdict != "" {
		s += fmt.Sprintf(": %s fault", c.Verdict)
		if c.Hop != "" {
			s += fmt.Sprintf(" (%s)", c.Hop)
		}
	}
	if c.Reason != "" {
		s += ": " + c.Reason
	}
	if c.Allowed && c.Outcome == result.Failure {
		s += "; the run goes on (continue-on-error)"
	}
	return inertLine(s)
}

// Summarize returns one line about how a run ended.
func Summarize(r *result.Run) string {
	n := map[string]int{}
	flaky := 0
	for i := range r.Cells {
		n[Word(r.Cells[i].Outcome)]++
		if r.Cells[i].Flaky() && r.Cells[i].ReusedFrom == "" {
			flaky++
		}
	}
	s := fmt.Sprintf("%d cells in %.1f s: %d passed", len(r.Cells), float64(r.TookMS)/1000, n["PASS"])
	if flaky > 0 {
		s += fmt.Sprintf(" (%d not on the first attempt)", flaky)
	}
	for _, w := range []struct{ word, says string }{{"FAIL", "failed"}, {"SKIP", "skipped"}, {"CANCELLED", "cancelled"}} {
		if n[w.word] > 0 {
			s += fmt.Sprintf(", %d %s", n[w.word], w.says)
		}
	}
	return s
}

// textLog is a log for people, with one line for each event and each line of output.
type textLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *textLog) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s %s\n", time.Now().Format(time.TimeOnly), inertLine(fmt.Sprintf(format, args...)))
}

func (l *textLog) RunBegins(dir string, cells []*plan.Cell) {
	l.say("%d cells; the run is in %s", len(cells), dir)
}
func (l *textLog) AttemptBegins(c *plan.Cell, n int) {
	if n > 1 {
		l.say("RUN       %s, attempt %d", c.ID, n)
		return
	}
	l.say("RUN       %s", c.ID)
}
func (l *textLog) StepBegins(c *plan.Cell, _, name string) { l.say("%s: == %s", c.ID, name) }
func (l *textLog) Line(c *plan.Cell, _, line string)       { l.say("%s: %s", c.ID, line) }
func (l *textLog) Load(*plan.Cell, worker.Load)            {} // the timeline has it
func (l *textLog) StepEnds(c *plan.Cell, s result.Step) {
	if s.Outcome == result.Skipped {
		return
	}
	l.say("%s: -- %s %s %s", c.ID, Word(s.Outcome), s.Name, s.Reason)
}
func (l *textLog) AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration) {
	if next > 0 {
		l.say("RETRY     %s in %.1f s: attempt %d: %s fault: %s", c.ID, next.Seconds(), a.N, a.Verdict, a.Reason)
	}
}
func (l *textLog) CellEnds(c result.Cell) { l.say("%s", Describe(c)) }
func (l *textLog) RunEnds(r *result.Run)  { l.say("%s", Summarize(r)) }

// jsonLog is a log for programs, with one JSON object per line. Its field event names the event.
type jsonLog struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (l *jsonLog) put(event string, fields map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fields["event"], fields["time"] = event, time.Now().UTC().Format(time.RFC3339Nano)
	_ = l.enc.Encode(fields)
}

func (l *jsonLog) RunBegins(dir string, cells []*plan.Cell) {
	l.put("run_begins", map[string]any{"dir": dir, "cells": len(cells)})
}
func (l *jsonLog) AttemptBegins(c *plan.Cell, n int) {
	l.put("attempt_begins", map[string]any{"cell": c.ID, "job": c.Job.ID, "attempt": n})
}
func (l *jsonLog) StepBegins(c *plan.Cell, id, name string) {
	l.put("step_begins", map[string]any{"cell": c.ID, "step": id, "name": name})
}
func (l *jsonLog) Line(c *plan.Cell, step, line string) {
	l.put("line", map[string]any{"cell": c.ID, "step": step, "line": line})
}
func (l *jsonLog) Load(*plan.Cell, worker.Load) {} // the timeline has it
func (l *jsonLog) StepEnds(c *plan.Cell, s result.Step) {
	l.put("step_ends", map[string]any{"cell": c.ID, "result": s})
}
func (l *jsonLog) AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration) {
	l.put("attempt_ends", map[string]any{"cell": c.ID, "result": a, "next_ms": next.Milliseconds()})
}
func (l *jsonLog) CellEnds(c result.Cell) { l.put("cell_ends", map[string]any{"result": c}) }
func (l *jsonLog) RunEnds(r *result.Run) {
	l.put("run_ends", map[string]any{"id": r.ID, "outcome": r.Outcome, "verdict": r.Verdict, "took_ms": r.TookMS})
}

// githubLog is a log for GitHub Actions. It has a group for each attempt and an annotation for each
// failure. It writes a group when the attempt has ended, because groups cannot be interleaved.
type githubLog struct {
	mu    sync.Mutex
	w     io.Writer
	lines map[string][]string // by cell
}

// escape escapes a text for a workflow command.
func escape(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func escapeProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escape(s))
}

func (l *githubLog) keep(c *plan.Cell, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[c.ID] = append(l.lines[c.ID], inertLine(line))
}

func (l *githubLog) RunBegins(dir string, cells []*plan.Cell) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%d cells; the run is in %s\n", len(cells), dir)
}
func (l *githubLog) AttemptBegins(*plan.Cell, int)           {}
func (l *githubLog) StepBegins(c *plan.Cell, _, name string) { l.keep(c, "== "+name) }
func (l *githubLog) Line(c *plan.Cell, _, line string)       { l.keep(c, line) }
func (l *githubLog) Load(*plan.Cell, worker.Load)            {} // the timeline has it
func (l *githubLog) StepEnds(c *plan.Cell, s result.Step) {
	l.keep(c, strings.TrimSpace(fmt.Sprintf("-- %s %s %s", Word(s.Outcome), s.Name, s.Reason)))
}

func (l *githubLog) AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// GitHub must not take the output of a guest or a command for a workflow command.
	var b [8]byte
	_, _ = rand.Read(b[:])
	token := hex.EncodeToString(b[:])
	fmt.Fprintf(l.w, "::group::%s %s, attempt %d\n::stop-commands::%s\n", Word(a.Outcome), escape(inertLine(c.ID)), a.N, token)
	for _, line := range l.lines[c.ID] {
		fmt.Fprintln(l.w, line)
	}
	delete(l.lines, c.ID)
	fmt.Fprintf(l.w, "::%s::\n::endgroup::\n", token)
	if next > 0 {
		fmt.Fprintf(l.w, "::warning title=%s::%s\n", escapeProperty(c.ID+" is tried again"), escape(fmt.Sprintf("attempt %d: %s fault: %s", a.N, a.Verdict, a.Reason)))
	}
}

func (l *githubLog) CellEnds(c result.Cell) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, Describe(c))
	switch {
	case c.Outcome == result.Failure && !c.Allowed:
		fmt.Fprintf(l.w, "::error title=%s::%s\n", escapeProperty(c.ID+" failed"), escape(Describe(c)))
	case c.Outcome == result.Failure, c.Flaky():
		fmt.Fprintf(l.w, "::warning title=%s::%s\n", escapeProperty(c.ID), escape(Describe(c)))
	}
}

func (l *githubLog) RunEnds(r *result.Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, Summarize(r))
}
