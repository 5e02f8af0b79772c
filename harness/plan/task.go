package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Task is one attempt of a cell, with all templates expanded. An executor passes it to a worker
// process on its standard input, because it has secrets.
type Task struct {
	Cell    string        `json:"cell"`
	Attempt int           `json:"attempt"`
	Timeout time.Duration `json:"timeout"`
	// Dir is the plan's directory, in which commands run. Out is the attempt's directory, for its
	// evidence and artifacts.
	Dir string `json:"dir"`
	Out string `json:"out"`
	// Vars are the variables of conditions: matrix, env, needs, plan.
	Vars Vars `json:"vars"`
	// Failed means that a job failed that this one needs, directly or through others.
	Failed    bool              `json:"failed,omitempty"`
	Secrets   map[string]string `json:"secrets,omitempty"`
	Restore   []TaskRestore     `json:"restore,omitempty"`
	Artifacts []Artifact        `json:"artifacts,omitempty"`
	Steps     []TaskStep        `json:"steps"`
	// Heartbeat, if not 0, is the interval at which the runner sends the worker a line. The worker
	// ends everything if it gets none for four intervals.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
	// Files are the files and directories that the job needs, for executors on other hosts.
	Files []string `json:"-"`
	// Program is the identity of the built-in proxy and client.
	Program string `json:"program,omitempty"`
	// Reuse makes the worker send the identity of what its lanes will test, and wait until its runner
	// has decided whether to run.
	Reuse bool `json:"reuse,omitempty"`
}

// A TaskRestore says where to copy an artifact: from the directory From to the path To, which is
// relative to the work directory.
type TaskRestore struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// A TaskStep is a Step of a Task.
type TaskStep struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	If              string            `json:"if,omitempty"`
	Timeout         time.Duration     `json:"timeout,omitempty"`
	ContinueOnError bool              `json:"continue_on_error,omitempty"`
	Env             map[string]string `json:"env,omitempty"`
	Dir             string            `json:"dir,omitempty"`
	On              string            `json:"on,omitempty"`

	Lane   *TaskLane `json:"lane,omitempty"`
	Suite  []string  `json:"suite,omitempty"`
	Beats  []Beat    `json:"beats,omitempty"`
	GoTest []string  `json:"go_test,omitempty"`
	Run    string    `json:"run,omitempty"`
	Shell  []string  `json:"shell,omitempty"`
}

// A TaskLane is a lane to start.
type TaskLane struct {
	Config harness.Config `json:"config"`
	Ticket string         `json:"ticket,omitempty"`
}

// defaultTimeout is how long an attempt may take if its job has no timeout.
const defaultTimeout = time.Hour

// Task returns the first attempt of a cell, with everything that is known before the run: without
// Out, Restore and the variable needs.
func (l *Loaded) Task(c *Cell) (*Task, error) {
	jp := l.jobs[c.Job.ID]
	at := "jobs." + c.Job.ID
	vars := Vars{"matrix": c.vars, "plan": map[string]any{"name": l.Name}}
	jobEnv, public, err := l.expandEnv(jp.env, l.resolved.env, l.publicOutside(), vars)
	if err != nil {
		return nil, &atError{c.Job.Pos, at + ".env", err}
	}
	t := &Task{
		Cell: c.ID, Attempt: 1, Timeout: c.Job.Timeout, Dir: l.Dir, Secrets: l.resolved.secrets, Artifacts: c.Job.Artifacts, Files: c.Job.Files,
		Vars:  Vars{"matrix": c.vars, "plan": vars["plan"], "env": anyMap(public)},
		Steps: make([]TaskStep, 0, len(jp.steps)),
	}
	if t.Timeout == 0 {
		t.Timeout = defaultTimeout
	}
	for i, sp := range jp.steps {
		ts, err := l.taskStep(sp, jobEnv, public, vars, fmt.Sprintf("%s.steps[%d]", at, i))
		if err != nil {
			return nil, err
		}
		t.Steps = append(t.Steps, ts)
	}
	return t, nil
}

func (l *Loaded) taskStep(sp *stepPlan, jobEnv, jobPublic map[string]string, vars Vars, at string) (TaskStep, error) {
	s := sp.step
	env, public := jobEnv, jobPublic
	var err error
	if len(sp.env) > 0 {
		if env, public, err = l.expandEnv(sp.env, jobEnv, jobPublic, vars); err != nil {
			return TaskStep{}, &atError{s.Pos, at + ".env", err}
		}
	}
	all := maps.Clone(vars)
	all["env"] = anyMap(public)
	var failed error
	text := func(s string) string {
		t := sp.texts[s]
		if t == nil {
			return s
		}
		v, err := t.value(all)
		failed = errors.Join(failed, err)
		return asText(v)
	}
	ts := TaskStep{
		ID: sp.id, Name: text(s.Name), If: s.If, Timeout: s.Timeout, ContinueOnError: s.ContinueOnError,
		Env: env, Dir: text(s.Dir), On: sp.on, Run: text(s.Run),
	}
	for _, w := range s.Suite {
		ts.Suite = append(ts.Suite, text(w))
		if hasTemplate(w) && failed == nil {
			failed = checkSuite(text(w))
		}
	}
	for _, w := range s.GoTest {
		ts.GoTest = append(ts.GoTest, text(w))
	}
	if s.Run != "" {
		if ts.Shell = []string{"sh", "-e"}; s.Shell != "" {
			ts.Shell = strings.Fields(s.Shell)
		}
	}
	for i, b := range s.Beats {
		kind := b.Kind()
		b.Press = slices.Clone(b.Press)
		eachText(reflect.ValueOf(&b).Elem(), text)
		if b.Kind() == "" && failed == nil { // it would do nothing, and pass
			failed = fmt.Errorf("beats[%d].%s is empty", i, kind)
		}
		b.Pos = Pos{}
		ts.Beats = append(ts.Beats, b)
	}
	if failed != nil {
		return ts, &atError{s.Pos, at, failed}
	}
	if s.Lane != nil {
		lane, err := l.lane(sp, all, at)
		if err != nil {
			return ts, err
		}
		ts.Lane = &TaskLane{Config: lane.Config, Ticket: lane.Ticket}
	}
	if ts.Name == "" {
		ts.Name = describeStep(&ts)
	}
	return ts, nil
}

// describeStep returns a name for a step that has none.
func describeStep(s *TaskStep) string {
	switch {
	case s.Lane != nil:
		return "lane"
	case s.Suite != nil:
		return "suite " + strings.Join(s.Suite, ", ")
	case s.Beats != nil:
		return "beats"
	case s.GoTest != nil:
		return "go test " + strings.Join(s.GoTest, " ")
	}
	line, _, _ := strings.Cut(strings.TrimSpace(s.Run), "\n")
	return "run " + shorten(line, 60)
}

// lane returns the configuration of a lane step in a cell.
func (l *Loaded) lane(sp *stepPlan, vars Vars, at string) (*Lane, error) {
	if sp.lane != nil {
		return sp.lane, nil
	}
	withSecrets := maps.Clone(vars)
	withSecrets["secrets"] = anyMap(l.resolved.secrets)
	n, err := sp.substitute(sp.step.Lane, withSecrets)
	if err != nil {
		return nil, &atError{sp.step.Pos, at + ".lane", err}
	}
	d := &decoder{problems: &problems{file: l.File}}
	lane := &Lane{}
	lane.decode(d, n, at+".lane")
	for _, p := range d.list {
		return nil, &atError{Pos{&yaml.Node{Line: p.Line, Column: p.Column}}, p.Where, errors.New(p.Text)}
	}
	lane.Config.Name = laneName(sp.step)
	if err := lane.check(); err != nil {
		return nil, &atError{Pos{n}, at + ".lane", err}
	}
	return lane, nil
}

// substitute returns a copy of n with each template replaced by its value. A template that is a
// single expression keeps the expression's type.
func (sp *stepPlan) substitute(n *yaml.Node, vars Vars) (*yaml.Node, error) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode {
		t := sp.texts[n.Value]
		if t == nil {
			return n, nil
		}
		v, err := t.value(vars)
		if err != nil {
			return nil, err
		}
		c := *n
		c.Value = asText(v)
		switch v.(type) {
		case bool:
			c.Tag = "!!bool"
		case int, int64:
			c.Tag = "!!int"
		case float64:
			c.Tag = "!!float"
		default:
			c.Tag = "!!str"
		}
		return &c, nil
	}
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, e := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			c.Content[i] = e
			continue
		}
		var err error
		if c.Content[i], err = sp.substitute(e, vars); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// publicOutside returns the variables of env-from that contain no secret.
func (l *Loaded) publicOutside() map[string]string {
	if len(l.resolved.env) == 0 {
		return nil
	}
	public := map[string]string{}
	for k, v := range l.resolved.env {
		if !l.isSecret(v) {
			public[k] = v
		}
	}
	return public
}

// expandEnv adds the variables of entries to those of outer. It returns all of them, and those that
// contain no secret.
func (l *Loaded) expandEnv(entries []envEntry, outer, outerPublic map[string]string, vars Vars) (env, public map[string]string, err error) {
	env, public = make(map[string]string, len(outer)+len(entries)), make(map[string]string, len(outerPublic)+len(entries))
	maps.Copy(env, outer)
	maps.Copy(public, outerPublic)
	for _, e := range entries {
		value := e.value
		if e.expand != nil {
			all := maps.Clone(vars)
			all["env"], all["secrets"] = anyMap(public), anyMap(l.resolved.secrets)
			v, err := e.expand.value(all)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", e.name, err)
			}
			value = asText(v)
		}
		env[e.name] = value
		if delete(public, e.name); !e.secret {
			public[e.name] = value
		}
	}
	return env, public, nil
}

func anyMap(m map[string]string) map[string]any {
	all := make(map[string]any, len(m))
	for k, v := range m {
		all[k] = v
	}
	return all
}

// UnmarshalJSON decodes whole numbers as int and others as float64, as conditions need them.
func (v *Vars) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return err
	}
	numbers(m)
	*v = m
	return nil
}

func numbers(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case json.Number:
			if i, err := v.Int64(); err == nil {
				m[k] = int(i)
			} else if f, err := v.Float64(); err == nil {
				m[k] = f
			}
		case map[string]any:
			numbers(v)
		}
	}
}

// An End says how a job or a step has ended, for conditions.
type End struct {
	// Result is Outcome, except that it is Success for a failure with continue-on-error.
	Result, Outcome result.Outcome
	Verdict         verdict.Kind
	Hop             verdict.Hop
	Reason          string
}

// Vars returns the end as variables of a condition.
func (e End) Vars() map[string]any {
	return map[string]any{"result": string(e.Result), "outcome": string(e.Outcome), "verdict": string(e.Verdict), "hop": string(e.Hop), "reason": e.Reason}
}

// JobRuns evaluates the condition of a cell's job. needs are the ends of the jobs that it needs, by
// id.
func (l *Loaded) JobRuns(c *Cell, needs map[string]End, s Status) (bool, error) {
	t, err := l.Task(c)
	if err != nil {
		return false, err
	}
	return l.jobs[c.Job.ID].If.True(t.WithNeeds(needs), s)
}

// WithNeeds returns t.Vars with the ends of the jobs that the cell needs, by id, as the variable
// needs.
func (t *Task) WithNeeds(needs map[string]End) Vars {
	all := make(map[string]any, len(needs))
	for id, e := range needs {
		all[id] = e.Vars()
	}
	vars := maps.Clone(t.Vars)
	vars["needs"] = all
	return vars
}

// Restores returns the target paths of a cell's restores, relative to the work directory.
func (l *Loaded) Restores(c *Cell, t *Task) ([]string, error) {
	var paths []string
	for i, r := range c.Job.Restore {
		v, err := l.jobs[c.Job.ID].restores[i].value(t.Vars)
		if err != nil {
			return nil, err
		}
		p := asText(v)
		if p == "" {
			p = r.Name
		}
		if p != "" && !filepath.IsLocal(p) {
			return nil, fmt.Errorf("restore: %q is not below $SPICELANE_WORK", p)
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// StepRuns evaluates source, the condition of a step. vars are the variables of the task, and steps
// are the ends of earlier steps by id.
func StepRuns(source string, vars Vars, steps map[string]any, s Status) (bool, error) {
	all := maps.Clone(vars)
	all["steps"] = steps
	options := maps.Clone(map[string]any(all))
	for _, name := range statusFunctions {
		options[name] = func() bool { return false }
	}
	source = conditionSource(source)
	program, err := expr.Compile(source, expr.Env(options), expr.AsBool())
	if err != nil {
		return false, err
	}
	return (&Condition{program: program, status: asksStatus(source)}).True(all, s)
}

// A DigestCondition is a compiled expression over a guest's digest.
type DigestCondition struct{ program *vm.Program }

// digestVars returns the variables of a digest's expression.
func digestVars(d *digest.Digest) (map[string]any, error) {
	events := []map[string]any{}
	b, err := json.Marshal(d.Events)
	if err != nil {
		return nil, err
	}
	var list []map[string]map[string]any
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	for _, e := range list {
		for kind, fields := range e {
			fields["kind"] = kind
			events = append(events, fields)
		}
	}
	return map[string]any{"frame": int(d.FrameCounter), "hash": int(d.FramebufferHash), "events": events}, nil
}

// CompileDigest compiles an expression over the variables frame, hash and events. Each event has
// the field kind, and the fields that it has in the control socket's event digest_updated.
func CompileDigest(source string) (*DigestCondition, error) {
	vars := map[string]any{"frame": 0, "hash": 0, "events": []map[string]any{}}
	program, err := expr.Compile(source, expr.Env(vars), expr.AsBool())
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fmt.Errorf("%q: %s", shorten(source, 80), text)
	}
	return &DigestCondition{program}, nil
}

// True evaluates the condition for d.
func (c *DigestCondition) True(d *digest.Digest) (bool, error) {
	vars, err := digestVars(d)
	if err != nil {
		return false, err
	}
	v, err := expr.Run(c.program, vars)
	if err != nil {
		return false, err
	}
	b, _ := v.(bool)
	return b, nil
}
