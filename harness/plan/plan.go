package plan

import (
	"math"
	"reflect"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness"
)

// A Pos is the position of a value in the plan's file.
type Pos struct{ node *yaml.Node }

// A Plan is a file of jobs. The doc tags of its types are the descriptions in the JSON schema.
type Plan struct {
	Name        string              `json:"name" doc:"What the run is called. Default: the file's name."`
	Labels      map[string]string   `json:"labels" doc:"Words to find the run by: a branch, a build number."`
	Env         map[string]Value    `json:"env" doc:"Environment variables of every step."`
	EnvFrom     []Source            `json:"env-from" doc:"Files or commands whose NAME=VALUE lines are environment variables of every step."`
	Secrets     map[string]Value    `json:"secrets" doc:"Values that no output and no artifact may contain. Use them in env: as ${{ secrets.NAME }}."`
	SecretsFrom []Source            `json:"secrets-from" doc:"Files or commands whose NAME=VALUE lines are secrets."`
	Executors   map[string]Executor `json:"executors" doc:"What runs jobs, besides local."`
	MaxCells    int                 `json:"max-cells" doc:"How many cells the matrices of all jobs may have together. Default: 10000."`
	Jobs        Jobs                `json:"jobs" doc:"The jobs, by id."`
	Pos         Pos                 `json:"-"`
}

// Jobs are the jobs of a plan in its order.
type Jobs []*Job

// A Job is a list of steps. They run in one worker process for each combination of the job's
// matrix.
type Job struct {
	ID              string           `json:"-"`
	Name            string           `json:"name" doc:"What people read instead of the id."`
	Needs           Words            `json:"needs" doc:"Ids of jobs that end before this one begins."`
	If              string           `json:"if" doc:"The job runs if this is true. Default: success()."`
	Strategy        Strategy         `json:"strategy" doc:"The matrix, and how its cells run."`
	Timeout         time.Duration    `json:"timeout" doc:"How long one attempt may take. Default: 1h."`
	Retry           Retry            `json:"retry" doc:"Whether to try again."`
	Env             map[string]Value `json:"env" doc:"Environment variables of the job's steps."`
	Executor        string           `json:"executor" doc:"What runs the job: local, or an executor of the plan. Default: local."`
	ContinueOnError bool             `json:"continue-on-error" doc:"A failure of this job does not fail the run, nor jobs that need it."`
	Files           Words            `json:"files" doc:"Files and directories that the steps need, for executors on other hosts."`
	Restore         []Restore        `json:"restore" doc:"Artifacts of earlier jobs that the job gets."`
	Artifacts       []Artifact       `json:"artifacts" doc:"Files that the job leaves for later jobs and for people."`
	Steps           []*Step          `json:"steps" doc:"What the job does."`
	Pos             Pos              `json:"-"`
}

// A Strategy is a matrix and how its cells run.
type Strategy struct {
	Matrix      Matrix `json:"matrix" doc:"Lists of values; the job runs once for each combination."`
	FailFast    *bool  `json:"fail-fast" doc:"Whether a cell that fails cancels the others. Default: true."`
	MaxParallel int    `json:"max-parallel" doc:"How many cells of this job run at once. Default: no limit."`
}

// A Matrix has the values of a job's combinations, with the rules of GitHub Actions.
type Matrix struct {
	Axes    []Axis
	Include []Combination
	Exclude []Combination
	pos     Pos
}

// An Axis is one list of a matrix.
type Axis struct {
	Key    string
	Values []any // string, bool, int or float64
}

// A Combination has values for some or all keys of a matrix. Keys are in the order of the plan.
type Combination struct {
	Keys   []string
	Values map[string]any
	pos    Pos
}

// Retry says whether and when another attempt follows a failed one.
type Retry struct {
	Attempts int           `json:"attempts" doc:"How many attempts there are at most. Default: 1."`
	Backoff  string        `json:"backoff" doc:"How the delay grows: constant, linear or exponential. Default: exponential." enum:"constant,linear,exponential"`
	Delay    time.Duration `json:"delay" doc:"The delay before the second attempt. Default: 1s."`
	MaxDelay time.Duration `json:"max-delay" doc:"The longest delay. Default: 1m."`
	Jitter   *float64      `json:"jitter" doc:"How much a delay varies at random, as a part of it, 0 to 1. Default: 0.1."`
	On       Words         `json:"on" doc:"Whose faults are tried again: host, harness, product. Default: host and harness."`
	Pos      Pos           `json:"-"`
}

// A Restore copies an artifact of an earlier job into the cell's work directory.
type Restore struct {
	From string `json:"from" doc:"The id of the job that produced it."`
	Name string `json:"name" doc:"The artifact's name. Default: all of that job."`
	Path string `json:"path" doc:"The directory below $SPICELANE_WORK that gets it. Default: the artifact's name."`
	Pos  Pos    `json:"-"`
}

// An Artifact is a set of files that a job keeps for later jobs and for people.
type Artifact struct {
	Name    string `json:"name" doc:"The artifact's name."`
	Path    Words  `json:"path" doc:"Patterns of files and directories below $SPICELANE_WORK."`
	Missing string `json:"if-missing" doc:"What it means if no file matches: fail or ignore. Default: fail." enum:"fail,ignore"`
	Pos     Pos    `json:"-"`
}

// An Executor runs the cells of jobs.
type Executor struct {
	Type    string `json:"type" doc:"ssh or command." enum:"ssh,command"`
	Command string `json:"command" doc:"For command: the command line that runs '{spicelane} run-cell' somewhere, with its standard input and output."`
	// The fields below are for the type ssh.
	Hosts      []Host `json:"hosts" doc:"For ssh: the hosts that run cells."`
	User       string `json:"user" doc:"For ssh: the user. Default: the present one."`
	Identity   string `json:"identity" doc:"For ssh: the file of the private key."`
	KnownHosts string `json:"known-hosts" doc:"For ssh: the file of the hosts' keys. Default: ~/.ssh/known_hosts."`
	Mode       string `json:"mode" doc:"For ssh: pool runs several cells on one host; dedicated takes a host for one run of a plan alone. Default: pool." enum:"pool,dedicated"`
	Doctor     string `json:"doctor" doc:"For ssh: require refuses a host on which 'spicelane doctor' finds something missing; off does not ask. Default: require." enum:"require,off"`
	Pos        Pos    `json:"-"`
}

// A Host is one host of an executor.
type Host struct {
	Address string `json:"address" doc:"HOST or HOST:PORT."`
	Cells   int    `json:"cells" doc:"How many cells it runs at once. Default: 1."`
	Pos     Pos    `json:"-"`
}

// A Step is one thing that a job does. It has exactly one of Lane, Suite, Beats, GoTest and Run.
type Step struct {
	ID              string           `json:"id" doc:"The name by which conditions refer to the step; for a lane, the lane's name."`
	Name            string           `json:"name" doc:"What people read."`
	If              string           `json:"if" doc:"The step runs if this is true. Default: success()."`
	Timeout         time.Duration    `json:"timeout" doc:"How long the step may take. Default: only the job's timeout."`
	ContinueOnError bool             `json:"continue-on-error" doc:"A failure of this step does not fail the job."`
	Env             map[string]Value `json:"env" doc:"Environment variables of this step."`
	Dir             string           `json:"working-directory" doc:"The directory of a command, relative to the plan. Default: the plan's directory."`

	Lane   *yaml.Node `json:"lane" doc:"Brings a lane up. It stays up until the job ends."`
	Suite  Words      `json:"suite" doc:"Runs suites on a lane, in this order."`
	Beats  []Beat     `json:"beats" doc:"Drives a lane."`
	GoTest Words      `json:"go-test" doc:"Runs go test with these arguments: flags and packages."`
	Run    string     `json:"run" doc:"Runs a script with sh, or with shell."`

	On    string `json:"on" doc:"The id of the lane step that suite, beats or run is about. Default: the last one before."`
	Shell string `json:"shell" doc:"The program that runs the script of run. Default: sh -e."`
	Pos   Pos    `json:"-"`
}

// A Lane is the configuration of a lane step.
type Lane struct {
	harness.Config
	Ticket string `json:"server_ticket" doc:"The ticket of a running server: a secret, ${{ secrets.NAME }}."`
}

// A Beat drives a lane with one action, or waits for one condition. It has exactly one of the keys
// from press to screenshot.
type Beat struct {
	Name        string        `json:"name,omitempty" doc:"What people read, and the name of the picture."`
	Press       Words         `json:"press,omitempty" doc:"Presses keys, one after the other: Enter, F10, Ctrl+Alt+Delete."`
	Type        string        `json:"type,omitempty" doc:"Types a text."`
	Click       string        `json:"click,omitempty" doc:"Clicks on a reference image or a text."`
	AwaitSerial string        `json:"await-serial,omitempty" doc:"Waits for a text on the guest's serial console."`
	AwaitDigest string        `json:"await-digest,omitempty" doc:"Waits until this expression is true for the guest's digest: frame, events, and hash."`
	AwaitScreen string        `json:"await-screen,omitempty" doc:"Waits for a reference image."`
	AwaitText   string        `json:"await-text,omitempty" doc:"Waits for a text on the screen."`
	AwaitStill  time.Duration `json:"await-still,omitempty" doc:"Waits until nothing on the screen has changed for this long."`
	Screenshot  string        `json:"screenshot,omitempty" doc:"Takes a picture into this file of the lane's directory."`
	Timeout     time.Duration `json:"timeout,omitempty" doc:"How long the beat may take under KVM. Default: 10s."`
	Pos         Pos           `json:"-"`
}

// A Value is the value of an environment variable or a secret: a text, or the source of the text.
type Value struct {
	Text    string `json:"-"`
	Env     string `json:"env" doc:"A variable of the environment in which spicelane runs. Without a default it is required."`
	File    string `json:"file" doc:"A file with the value. A newline at its end does not count."`
	Command string `json:"command" doc:"A command for sh that prints the value."`
	Default *Text  `json:"default" doc:"The value if there is no such variable or file."`
	Pos     Pos    `json:"-"`

	inline bool
}

// A Source is a file, or the output of a command, with lines NAME=VALUE.
type Source struct {
	File    string `json:"file" doc:"A file with lines NAME=VALUE."`
	Command string `json:"command" doc:"A command for sh that prints lines NAME=VALUE, such as sops decrypt."`
	Pos     Pos    `json:"-"`
}

// Words is a list of texts. In YAML, a single text means a list of one.
type Words []string

func (w *Words) decodeYAML(d *decoder, n *yaml.Node, where string) {
	if n.Kind == yaml.ScalarNode {
		if s, ok := d.text(n, where); ok {
			*w = Words{s}
		}
		return
	}
	d.sequence(n, reflect.ValueOf((*[]string)(w)).Elem(), where)
}

// A Text is a text that YAML may also have as a number or a boolean.
type Text string

func (t *Text) decodeYAML(d *decoder, n *yaml.Node, where string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.add(n, where, "this is %s, and text is wanted", describe(n))
		return
	}
	*t = Text(n.Value)
}

func (v *Value) decodeYAML(d *decoder, n *yaml.Node, where string) {
	v.Pos = Pos{n}
	if n.Kind == yaml.ScalarNode {
		var t Text
		t.decodeYAML(d, n, where)
		v.Text, v.inline = string(t), true
		return
	}
	type plain Value
	p := (*plain)(v)
	d.object(n, reflect.ValueOf(p).Elem(), where)
	count(d, n, where, map[string]bool{"env": v.Env != "", "file": v.File != "", "command": v.Command != ""}, "env", "file", "command")
}

func (h *Host) decodeYAML(d *decoder, n *yaml.Node, where string) {
	h.Pos = Pos{n}
	if n.Kind == yaml.ScalarNode {
		h.Address, _ = d.text(n, where)
		return
	}
	type plain Host
	d.object(n, reflect.ValueOf((*plain)(h)).Elem(), where)
}

func (j *Jobs) decodeYAML(d *decoder, n *yaml.Node, where string) {
	d.pairs(n, where, func(key, value *yaml.Node) {
		job := &Job{ID: key.Value}
		at := join(where, key.Value)
		if !isID(key.Value) {
			d.add(key, at, "an id has letters, digits, - and _, and begins with a letter or _")
		}
		if value, ok := d.enter(value, at); ok {
			d.object(value, reflect.ValueOf(job).Elem(), at)
		}
		job.Pos = Pos{key}
		*j = append(*j, job)
	})
}

func (m *Matrix) decodeYAML(d *decoder, n *yaml.Node, where string) {
	m.pos = Pos{n}
	d.pairs(n, where, func(key, value *yaml.Node) {
		at := join(where, key.Value)
		value, ok := d.enter(value, at)
		if !ok {
			return
		}
		switch key.Value {
		case "include":
			m.Include = d.combinations(value, at)
			return
		case "exclude":
			m.Exclude = d.combinations(value, at)
			return
		}
		if !isID(key.Value) {
			d.add(key, at, "a matrix key has letters, digits, - and _, and begins with a letter or _")
		}
		if value.Kind != yaml.SequenceNode {
			d.add(value, at, "this is %s, and a list of values is wanted", describe(value))
			return
		}
		if len(value.Content) == 0 {
			d.add(value, at, "the list is empty, so the job would have no cells")
		}
		axis := Axis{Key: key.Value}
		for i, c := range value.Content {
			if v, ok := d.matrixValue(c, at+index(i)); ok {
				axis.Values = append(axis.Values, v)
			}
		}
		m.Axes = append(m.Axes, axis)
	})
}

func (d *decoder) combinations(n *yaml.Node, where string) []Combination {
	if n.Kind != yaml.SequenceNode {
		d.add(n, where, "this is %s, and a list of combinations is wanted", describe(n))
		return nil
	}
	var list []Combination
	for i, c := range n.Content {
		at := where + index(i)
		c, ok := d.enter(c, at)
		if !ok {
			return list
		}
		combo := Combination{Values: map[string]any{}, pos: Pos{c}}
		d.pairs(c, at, func(key, value *yaml.Node) {
			if v, ok := d.matrixValue(value, join(at, key.Value)); ok {
				combo.Keys = append(combo.Keys, key.Value)
				combo.Values[key.Value] = v
			}
		})
		list = append(list, combo)
	}
	return list
}

// matrixValue returns the value of a scalar with the type that YAML gives it.
func (d *decoder) matrixValue(n *yaml.Node, where string) (any, bool) {
	n, ok := d.enter(n, where)
	if !ok {
		return nil, false
	}
	var v any
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Decode(&v) != nil {
		d.add(n, where, "this is %s, and a matrix has texts, numbers and truth values", describe(n))
		return nil, false
	}
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) { // the JSON of a task has no such number
			d.add(n, where, "this is %s, which no cell can have", describe(n))
			return nil, false
		}
		return v, true
	case string, bool, int:
		return v, true
	}
	return n.Value, true // such as a date
}

// count adds a problem unless exactly one of the keys is set.
func count(d *decoder, n *yaml.Node, where string, set map[string]bool, keys ...string) {
	var have []string
	for _, k := range keys {
		if set[k] {
			have = append(have, k)
		}
	}
	switch {
	case len(have) == 0:
		d.add(n, where, "it needs one of %s", list(keys))
	case len(have) > 1:
		d.add(n, where, "it has %s, and only one of them is possible", list(have))
	}
}
