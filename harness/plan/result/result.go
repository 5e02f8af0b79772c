// Package result has the type of run.json, the result of a run of a plan for programs to read.
//
//	r, err := result.Read("runs/20261127-101500-3f9a")
//	for _, c := range r.Cells {
//		fmt.Println(c.ID, c.Outcome, c.Verdict, c.Reason)
//	}
//
// A run has a directory with one run.json. The other files in it are evidence, which run.json names
// by paths relative to the directory, and the runner's own files, such as the journal. Package
// plan/runner writes run.json. The archive and everything that compares runs reads it. Besides the
// standard library, this package imports only package verdict, so that a reader links neither QEMU
// nor a SPICE client.
package result

import (
	"bytes"
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

	"github.com/spicelane/spicelane/harness/verdict"
)

// File is the name of a run's result in its directory.
const File = "run.json"

// Schema is the version of run.json. It changes only when the meaning of a field changes, not when
// a field is added.
const Schema = 1

// An Outcome says how a cell, an attempt or a step ended. The words are those of GitHub Actions.
type Outcome string

const (
	Success   Outcome = "success"
	Failure   Outcome = "failure"
	Cancelled Outcome = "cancelled"
	Skipped   Outcome = "skipped"
)

// A Run is the content of run.json.
type Run struct {
	Schema int `json:"schema"`
	// ID names the run. It is unique.
	ID   string `json:"id"`
	Plan Plan   `json:"plan"`
	// Began and Ended are wall clock times of the host that ran the plan. A wall clock may jump, so
	// use TookMS for the duration. TookMS does not count the time between a kill and the resume.
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"`
	TookMS int64     `json:"took_ms"`
	// Resumed is how often the run was continued after it had been killed.
	Resumed int `json:"resumed,omitempty"`
	// Outcome is Success, Failure or Cancelled.
	Outcome Outcome `json:"outcome"`
	// Verdict is the worst verdict of the failed cells; empty if none failed. Product is worse than
	// harness, and harness is worse than host. Cells with Allowed do not count.
	Verdict verdict.Kind `json:"verdict,omitempty"`
	// Labels are names and values by which users find the run: a branch, a build number.
	Labels map[string]string `json:"labels,omitempty"`
	// Cells are sorted by job, in the order of the plan, and then by the order of the matrix.
	Cells []Cell `json:"cells"`
}

// A Plan says which plan has run.
type Plan struct {
	Name string `json:"name"`
	// File is the path that the plan was read from; empty for a run of go test.
	File string `json:"file"`
	// SHA256 is the hash of the plan's text, in hex.
	SHA256 string `json:"sha256"`
}

// A Cell is one job with one combination of its matrix.
type Cell struct {
	// ID is unique within the run, and the same in each run of the same plan:
	// "boot (display=qxl, tls=true)".
	ID  string `json:"id"`
	Job string `json:"job"`
	// Matrix has the values of the cell's combination, as text.
	Matrix map[string]string `json:"matrix,omitempty"`
	// Outcome is the last attempt's. Without an attempt it is Skipped, Cancelled, or Failure if the
	// cell could not be started. A cell of go test has Failure if one of its attempts failed.
	Outcome Outcome `json:"outcome"`
	// Allowed means that the job has continue-on-error: its failure does not fail the run.
	Allowed bool `json:"allowed,omitempty"`
	// Verdict, Hop and Reason say whose fault a failure is, where it occurred and why. For a cell that
	// did not run, Reason says why it did not.
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	// Executor is the name of the executor that ran the cell, such as "local". Worker is the host that
	// the executor chose.
	Executor string `json:"executor,omitempty"`
	Worker   string `json:"worker,omitempty"`
	// ReusedFrom is the ID of the run that the result was taken from; empty if the cell ran here.
	ReusedFrom string `json:"reused_from,omitempty"`
	// TookMS is the time from the beginning of the first attempt to the end of the last one. For a
	// cell of go test it is the sum of the attempts.
	TookMS int64 `json:"took_ms"`
	// Identity identifies the product under test: two cells with the same Identity have tested the
	// same thing. It is the last attempt's. The constants Key… are its keys.
	Identity map[string]string `json:"identity,omitempty"`
	// Does is the hash of how the cell tested that (see plan.Loaded.Does); empty if it is not known,
	// as for go test.
	Does string `json:"does,omitempty"`
	// Surroundings has what may influence the result without being tested: the host's class, the
	// accelerator. It is the last attempt's.
	Surroundings map[string]string `json:"surroundings,omitempty"`
	// Measurements are the last attempt's; for a cell of go test, those of all attempts.
	Measurements []Measurement `json:"measurements,omitempty"`
	// Attempts has all attempts in order.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// The keys of Identity and Surroundings. A key of a lane begins with the lane's name: "lane/qemu".
// A lane without a name is called "lane".
const (
	KeyImage    = "image"    // what the guest boots: "beacon sha256:…", "linux kernel sha256:… initrd sha256:…"
	KeyFirmware = "firmware" // sha256 of the firmware's code
	KeyQEMU     = "qemu"     // QEMU's version
	KeyProxy    = "proxy"    // "builtin VERSION", "none", or a command and the hash of its program
	KeyClient   = "client"   // as KeyProxy
	KeyServer   = "server"   // what serves the console, if it is not QEMU
	KeyConfig   = "config"   // sha256 of the lane's configuration without names and paths
	KeyAccel    = "accel"    // kvm or tcg; in Surroundings
	KeyWarm     = "warm"     // whether the lane was restored from a saved state; in Surroundings
	KeyHost     = "host"     // the host's class: CPU model and kernel; in Surroundings
)

// An Attempt is one execution of a cell.
type Attempt struct {
	// N counts from 1.
	N       int          `json:"n"`
	Began   time.Time    `json:"began"`
	TookMS  int64        `json:"took_ms"`
	Outcome Outcome      `json:"outcome"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	// Worker is the host that this attempt ran on.
	Worker       string            `json:"worker,omitempty"`
	Identity     map[string]string `json:"identity,omitempty"`
	Does         string            `json:"does,omitempty"`
	Surroundings map[string]string `json:"surroundings,omitempty"`
	Measurements []Measurement     `json:"measurements,omitempty"`
	Steps        []Step            `json:"steps,omitempty"`
	// Evidence lists the files of this attempt, sorted by path.
	Evidence []Evidence `json:"evidence,omitempty"`
}

// A Step is one step of an attempt.
type Step struct {
	// ID is the step's id, or its number if it has none.
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Outcome Outcome      `json:"outcome"`
	Allowed bool         `json:"allowed,omitempty"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	TookMS  int64        `json:"took_ms"`
}

// A Measurement is a series of values of one kind.
type Measurement struct {
	// Name is what was measured: "lane/ready".
	Name string `json:"name"`
	// Unit is "ms", "bytes", "1/s" or another unit; empty for a plain number.
	Unit   string    `json:"unit,omitempty"`
	Values []float64 `json:"values"`
	// Better says which values are better: "lower" or "higher"; empty if neither.
	Better string `json:"better,omitempty"`
}

// The kinds of evidence.
const (
	KindLog      = "log"      // what the steps printed
	KindLane     = "lane"     // a file of a lane's directory
	KindArtifact = "artifact" // what a job produces for others
)

// Evidence is one file of the run's directory.
type Evidence struct {
	// Path is relative to the run's directory, with slashes.
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Name is the name of the lane or of the artifact.
	Name string `json:"name,omitempty"`
	// Bytes is the file's size.
	Bytes int64 `json:"bytes"`
	// Executable reports whether the owner may execute the file.
	Executable bool `json:"executable,omitempty"`
}

// Passed reports whether the cell's outcome is Success, and returns the number of the attempt that
// passed: the last one.
func (c *Cell) Passed() (attempt int, ok bool) {
	if c.Outcome != Success {
		return 0, false
	}
	return max(len(c.Attempts), 1), true
}

// Flaky reports whether the cell passed although an attempt failed.
func (c *Cell) Flaky() bool {
	return c.Outcome == Success && slices.ContainsFunc(c.Attempts, func(a Attempt) bool { return a.Outcome == Failure })
}

// Worse reports whether an end, with its outcome and its verdict, is worse than another one. Failure
// is worse than Cancelled, that than Success, and that than Skipped. Of two failures, the one with
// the worse verdict is worse; see Worst.
func Worse(o Outcome, v verdict.Kind, than Outcome, thanVerdict verdict.Kind) bool {
	if o != than {
		rank := []Outcome{Skipped, Success, Cancelled, Failure}
		return slices.Index(rank, o) > slices.Index(rank, than)
	}
	return v != thanVerdict && Worst(thanVerdict, v) == v
}

// Worst returns the worst of some verdicts: product before harness before host; "" if all are
// empty.
func Worst(kinds ...verdict.Kind) verdict.Kind {
	for _, k := range []verdict.Kind{verdict.Product, verdict.Harness, verdict.Host} {
		if slices.Contains(kinds, k) {
			return k
		}
	}
	return ""
}

// Read reads the run.json in a run's directory dir and checks it.
func Read(dir string) (*Run, error) {
	file := filepath.Join(dir, File)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "run", Err: err,
			Hint: "this is no directory of a finished run; one that was killed is finished by: spicelane run --resume " + dir}
	}
	if err != nil {
		return nil, verdict.Classify("run", err)
	}
	r, err := Parse(b)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: file, Err: err}
	}
	return r, nil
}

// Parse parses the content of run.json and checks it.
func Parse(b []byte) (*Run, error) {
	var r Run
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&r); err != nil {
		return nil, err
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("its schema is %d, and this program reads schema %d", r.Schema, Schema)
	}
	return &r, r.Check()
}

// Check returns an error if r breaks a rule that its readers rely on: IDs are unique, outcomes are
// known, and evidence is in the run's directory.
func (r *Run) Check() error {
	if r.ID == "" {
		return errors.New("the run has no id")
	}
	seen := make(map[string]bool, len(r.Cells))
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.ID == "" || c.Job == "" {
			return fmt.Errorf("cell %d has no id or no job", i)
		}
		if seen[c.ID] {
			return fmt.Errorf("two cells are called %q", c.ID)
		}
		seen[c.ID] = true
		if !c.Outcome.known() {
			return fmt.Errorf("cell %s: there is no outcome %q", c.ID, c.Outcome)
		}
		for _, a := range c.Attempts {
			if !a.Outcome.known() {
				return fmt.Errorf("cell %s, attempt %d: there is no outcome %q", c.ID, a.N, a.Outcome)
			}
			for _, e := range a.Evidence {
				if !fs.ValidPath(e.Path) || e.Path != path.Clean(e.Path) || strings.Contains(e.Path, "\\") {
					return fmt.Errorf("cell %s, attempt %d: the path %q leaves the run's directory", c.ID, a.N, e.Path)
				}
			}
		}
	}
	return nil
}

func (o Outcome) known() bool {
	return slices.Contains([]Outcome{Success, Failure, Cancelled, Skipped}, o)
}

// Encode checks r and returns it as the content of run.json.
func (r *Run) Encode() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(r)
	return b.Bytes(), err
}
