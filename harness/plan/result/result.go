// Package result has the type of run.json: what a run of a plan leaves for programs.
//
//	r, err := result.Read("runs/20261127-101500-3f9a")
//	for _, c := range r.Cells {
//		fmt.Println(c.ID, c.Outcome, c.Verdict, c.Reason)
//	}
//
// A run leaves a directory. It has one run.json; all other files are evidence, and run.json names
// them by paths relative to the directory. Package plan writes run.json; the archive and everything
// that compares runs reads it. This package imports the standard library and the words of package
// verdict only, so that a reader links neither QEMU nor a SPICE client.
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

// Schema is the version of run.json. It changes when a field changes its meaning; new fields do not
// change it.
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
	// ID names the run. No two runs have the same ID.
	ID   string `json:"id"`
	Plan Plan   `json:"plan"`
	// Began and Ended are wall clock times of the host that ran the plan. A clock may jump: use TookMS
	// for durations.
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"`
	TookMS int64     `json:"took_ms"`
	// Resumed is how often the run was continued after it had been killed.
	Resumed int `json:"resumed,omitempty"`
	// Outcome is Success, Failure or Cancelled.
	Outcome Outcome `json:"outcome"`
	// Verdict is that of the whole run; empty if no cell failed. A product failure outweighs a
	// harness failure, and that outweighs a host failure.
	Verdict verdict.Kind `json:"verdict,omitempty"`
	// Labels are what the user wants to find the run by: a branch, a build number.
	Labels map[string]string `json:"labels,omitempty"`
	// Cells are sorted by job, in the order of the plan, and then by the order of the matrix.
	Cells []Cell `json:"cells"`
}

// A Plan says which plan has run.
type Plan struct {
	Name string `json:"name"`
	// File is the path that the plan was read from; empty for a run of go test.
	File string `json:"file"`
	// SHA256 is that of the plan's text, in hex.
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
	// Outcome is that of the last attempt; Skipped or Cancelled if there was none.
	Outcome Outcome `json:"outcome"`
	// Allowed means that the job has continue-on-error: its failure does not fail the run.
	Allowed bool `json:"allowed,omitempty"`
	// Verdict, Hop and Reason say whose fault a failure is, where it failed and why. For a cell that
	// did not run, Reason says why.
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	// Executor is what ran the cell ("local", "ssh") and Worker is the host that it chose.
	Executor string `json:"executor,omitempty"`
	Worker   string `json:"worker,omitempty"`
	// ReusedFrom is the ID of the run whose result this is; empty if the cell has run.
	ReusedFrom string `json:"reused_from,omitempty"`
	// TookMS is the time from the beginning of the first attempt to the end of the last one.
	TookMS int64 `json:"took_ms"`
	// Identity determines the product under test: two cells with the same Identity have tested the
	// same thing. It is that of the last attempt. See the constants Key… for its keys.
	Identity map[string]string `json:"identity,omitempty"`
	// Does is the hash of what the cell did to test that, see plan.Loaded.Does; empty if that is not
	// known, as of a run of go test.
	Does string `json:"does,omitempty"`
	// Surroundings is what may influence the result without being tested: the host's class, the
	// accelerator. It is that of the last attempt.
	Surroundings map[string]string `json:"surroundings,omitempty"`
	// Measurements are those of the last attempt.
	Measurements []Measurement `json:"measurements,omitempty"`
	// Attempts has every attempt, the first one first.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// The keys of Identity and Surroundings. A key of a lane has the lane's name before it: "lane/qemu",
// where "lane" is the name of a lane without a name.
const (
	KeyImage     = "image"    // what the guest boots: "beacon sha256:…", "linux kernel sha256:… initrd sha256:…"
	KeyFirmware  = "firmware" // sha256 of the firmware's code
	KeyQEMU      = "qemu"     // QEMU's version
	KeyProxy     = "proxy"    // "builtin VERSION", "none", or a command and the hash of its program
	KeyClient    = "client"   // as KeyProxy
	KeyServer    = "server"   // what serves the console, if it is not QEMU
	KeyConfig    = "config"   // sha256 of the lane's configuration without names and paths
	KeyProgram   = "program"  // a program that a step has declared to be under test
	KeyAccel     = "accel"    // kvm or tcg; in Surroundings
	KeyWarm      = "warm"     // whether the lane was restored from a saved state; in Surroundings
	KeyHost      = "host"     // the host's class: CPU model and kernel; in Surroundings
	KeySpicelane = "spicelane"
)

// An Attempt is one try to run a cell.
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
	// Evidence are the files that this attempt left, sorted by path.
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
	// Unit is "ms", "bytes", "1/s" or another unit; empty for a number.
	Unit   string    `json:"unit,omitempty"`
	Values []float64 `json:"values"`
	// Better is "lower", "higher" or empty if neither is.
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
	// Executable tells whether its owner may run the file.
	Executable bool `json:"executable,omitempty"`
}

// Passed tells whether the cell's outcome is Success, and on which attempt it was reached.
func (c *Cell) Passed() (attempt int, ok bool) {
	if c.Outcome != Success {
		return 0, false
	}
	return max(len(c.Attempts), 1), true
}

// Flaky tells whether a failed attempt came before the one that passed.
func (c *Cell) Flaky() bool {
	n, ok := c.Passed()
	return ok && n > 1
}

// Worst returns the verdict that outweighs the others: product before harness before host; "" if all
// are empty.
func Worst(kinds ...verdict.Kind) verdict.Kind {
	for _, k := range []verdict.Kind{verdict.Product, verdict.Harness, verdict.Host} {
		if slices.Contains(kinds, k) {
			return k
		}
	}
	return ""
}

// Read reads the run.json of the run's directory dir and checks it.
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
// known words, and evidence lies within the run's directory.
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

// Encode returns r as the content of run.json.
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
