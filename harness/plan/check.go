package plan

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"
	"github.com/kballard/go-shellquote"
	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Cell is one job with one combination of its matrix.
type Cell struct {
	// ID is unique in the plan: "boot (display=qxl, tls=true)".
	ID string
	// Path is a name for the cell's directory, unique in the plan.
	Path   string
	Job    *Job
	Matrix map[string]string
	// vars are the values of the matrix with their types.
	vars map[string]any
}

// A jobPlan is a job with everything that is compiled before it runs.
type jobPlan struct {
	job      *Job
	keys     types.Map // of its matrix
	env      []envEntry
	If       *Condition
	steps    []*stepPlan
	restores []*template // paths, by Job.Restore
}

type stepPlan struct {
	step *Step
	id   string
	If   *Condition
	env  []envEntry
	// texts are the compiled templates of the step's texts.
	texts map[string]*template
	// lane is the lane's configuration if it is the same in every cell; otherwise nil.
	lane *Lane
	on   string
}

// An envEntry is one environment variable.
type envEntry struct {
	name   string
	value  string
	expand *template // instead of value
	secret bool
}

// stepKinds are the keys of a step's action. A step has exactly one of them.
var stepKinds = []string{"lane", "suite", "beats", "go-test", "run"}

func (s *Step) kinds() map[string]bool {
	return map[string]bool{"lane": s.Lane != nil, "suite": s.Suite != nil, "beats": s.Beats != nil, "go-test": s.GoTest != nil, "run": s.Run != ""}
}

// Kind returns the step's action: "lane", "suite", "beats", "go-test" or "run"; empty if it has
// none.
func (s *Step) Kind() string {
	for _, k := range stepKinds {
		if s.kinds()[k] {
			return k
		}
	}
	return ""
}

func (b *Beat) kinds() map[string]bool {
	return map[string]bool{
		"press": b.Press != nil, "type": b.Type != "", "click": b.Click != "", "await-serial": b.AwaitSerial != "",
		"await-digest": b.AwaitDigest != "", "await-screen": b.AwaitScreen != "", "await-text": b.AwaitText != "",
		"await-still": b.AwaitStill != 0, "screenshot": b.Screenshot != "",
	}
}

// Kind returns the beat's action, by its key in the plan, such as "press"; empty if it has none.
func (b *Beat) Kind() string {
	for k, set := range b.kinds() {
		if set {
			return k
		}
	}
	return ""
}

// checkNames checks references within the plan, and values that must be one of a few words. It
// needs nothing from outside the plan.
func (l *Loaded) checkNames(p *problems) {
	d := &decoder{problems: p}
	for _, name := range slices.Sorted(maps.Keys(l.Executors)) {
		e := l.Executors[name]
		at := "executors." + name
		if name == local || !isID(name) {
			p.add(e.Pos.node, at, "an executor cannot be called %q", name)
		}
		l.checkExecutor(p, e, at)
	}
	checkVariables(p, l.Env, "env")
	checkVariables(p, l.Secrets, "secrets")
	checkSources := func(list []Source, at string) {
		for i, s := range list {
			count(d, s.Pos.node, at+index(i), map[string]bool{"file": s.File != "", "command": s.Command != ""}, "file", "command")
		}
	}
	checkSources(l.EnvFrom, "env-from")
	checkSources(l.SecretsFrom, "secrets-from")
	if l.MaxCells < 0 {
		p.add(l.Pos.node, "max-cells", "%d cells are less than none", l.MaxCells)
	}
	ids := l.jobIDs()
	for _, j := range l.Jobs {
		l.checkJob(d, j, ids)
	}
	if len(p.list) == 0 {
		if cycle := l.cycle(); cycle != nil {
			j := l.job(cycle[0])
			p.add(j.Pos.node, "jobs."+j.ID, "the jobs need each other in a circle: %s", strings.Join(cycle, " needs "))
		}
	}
}

// local is the name of the executor that needs no entry in the plan.
const local = "local"

func (l *Loaded) jobIDs() []string {
	var ids []string
	for _, j := range l.Jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func (l *Loaded) job(id string) *Job {
	for _, j := range l.Jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

func checkVariables(p *problems, env map[string]Value, at string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !variablePattern.MatchString(name) {
			p.add(env[name].Pos.node, at, "%q is no name of a variable", name)
		}
	}
}

func oneOf(p *problems, pos Pos, at, value string, words ...string) {
	if value != "" && !slices.Contains(words, value) {
		p.add(pos.node, at, "%q is not one of %s", value, list(words))
	}
}

func (l *Loaded) checkExecutor(p *problems, e Executor, at string) {
	oneOf(p, e.Pos, at+".type", e.Type, "ssh", "command")
	oneOf(p, e.Pos, at+".mode", e.Mode, "pool", "dedicated")
	oneOf(p, e.Pos, at+".doctor", e.Doctor, "require", "off")
	switch e.Type {
	case "":
		p.add(e.Pos.node, at, "it needs a type: ssh or command")
	case "command":
		words, err := shellquote.Split(e.Command)
		switch {
		case e.Command == "":
			p.add(e.Pos.node, at, "an executor of the type command needs a command")
		case err != nil:
			p.add(e.Pos.node, at+".command", "%v", err)
		case !strings.Contains(e.Command, "{spicelane}"):
			p.add(e.Pos.node, at+".command", "it has no {spicelane}, which is the program that runs the cell")
		case len(words) == 0:
			p.add(e.Pos.node, at+".command", "it is empty")
		}
		if len(e.Hosts) > 0 || e.Identity != "" || e.KnownHosts != "" || e.User != "" || e.Mode != "" {
			p.add(e.Pos.node, at, "hosts, user, identity, known-hosts and mode belong to the type ssh")
		}
	case "ssh":
		if len(e.Hosts) == 0 {
			p.add(e.Pos.node, at, "an executor of the type ssh needs hosts")
		}
		if e.Command != "" {
			p.add(e.Pos.node, at, "command belongs to the type command")
		}
		seen := map[string]bool{}
		for i, h := range e.Hosts {
			if h.Address == "" || h.Cells < 0 {
				p.add(h.Pos.node, at+".hosts"+index(i), "a host has an address, and runs at least one cell at once")
			}
			address := strings.TrimSuffix(h.Address, ":22")
			if e.Mode == "dedicated" && seen[address] { // the run would wait for itself
				p.add(h.Pos.node, at+".hosts"+index(i), "%s is there for the second time; a host that runs several cells at once has cells: 2", h.Address)
			}
			seen[address] = true
		}
	}
}

func (l *Loaded) checkJob(d *decoder, j *Job, ids []string) {
	p := d.problems
	at := "jobs." + j.ID
	for i, need := range j.Needs {
		if !slices.Contains(ids, need) {
			p.add(j.Pos.node, at+".needs"+index(i), "there is no job %q%s", need, near(need, ids))
		}
	}
	if j.Executor != "" && j.Executor != local {
		if _, ok := l.Executors[j.Executor]; !ok {
			p.add(j.Pos.node, at+".executor", "there is no executor %q%s", j.Executor, near(j.Executor, append(slices.Sorted(maps.Keys(l.Executors)), local)))
		}
	}
	r := j.Retry
	oneOf(p, r.Pos, at+".retry.backoff", r.Backoff, "constant", "linear", "exponential")
	for i, on := range r.On {
		oneOf(p, r.Pos, at+".retry.on"+index(i), on, string(verdict.Host), string(verdict.Harness), string(verdict.Product))
	}
	if r.Attempts < 0 || r.Attempts > 100 {
		p.add(r.Pos.node, at+".retry.attempts", "%d is not between 1 and 100", r.Attempts)
	}
	if r.Jitter != nil && (*r.Jitter < 0 || *r.Jitter > 1) {
		p.add(r.Pos.node, at+".retry.jitter", "%v is not between 0 and 1", *r.Jitter)
	}
	if j.Strategy.MaxParallel < 0 {
		p.add(j.Pos.node, at+".strategy.max-parallel", "%d is less than none", j.Strategy.MaxParallel)
	}
	m := j.Strategy.Matrix
	for i, e := range m.Exclude {
		for _, k := range e.Keys {
			if !slices.ContainsFunc(m.Axes, func(a Axis) bool { return a.Key == k }) {
				p.add(e.pos.node, at+".strategy.matrix.exclude"+index(i), "the matrix has no list %q", k)
			}
		}
	}
	checkVariables(p, j.Env, at+".env")
	if len(j.Steps) == 0 {
		p.add(j.Pos.node, at, "the job has no steps")
	}
	names := map[string]bool{}
	for i, a := range j.Artifacts {
		at := at + ".artifacts" + index(i)
		oneOf(p, a.Pos, at+".if-missing", a.Missing, "fail", "ignore")
		if !isID(a.Name) || names[a.Name] {
			p.add(a.Pos.node, at+".name", "an artifact needs a name of its own with letters, digits, - and _; this is %q", a.Name)
		}
		names[a.Name] = true
		if len(a.Path) == 0 {
			p.add(a.Pos.node, at, "it needs a path")
		}
		for _, pattern := range a.Path {
			if _, err := filepath.Match(pattern, "x"); err != nil || !filepath.IsLocal(pattern) {
				p.add(a.Pos.node, at+".path", "%q is no pattern of files below $SPICELANE_WORK", pattern)
			}
		}
	}
	for i, r := range j.Restore {
		at := at + ".restore" + index(i)
		from := l.job(r.From)
		switch {
		case from == nil:
			p.add(r.Pos.node, at+".from", "there is no job %q%s", r.From, near(r.From, ids))
		case !l.before(r.From, j.ID):
			p.add(r.Pos.node, at+".from", "the job %s does not need %s, so that may not have ended; add it to needs", j.ID, r.From)
		case r.Name != "" && !slices.ContainsFunc(from.Artifacts, func(a Artifact) bool { return a.Name == r.Name }):
			p.add(r.Pos.node, at+".name", "the job %s has no artifact %q", r.From, r.Name)
		}
		if r.Path != "" && !hasTemplate(r.Path) && !filepath.IsLocal(r.Path) {
			p.add(r.Pos.node, at+".path", "%q is not below $SPICELANE_WORK", r.Path)
		}
	}
	l.checkSteps(d, j, at)
}

// checkSteps checks the form of a job's steps.
func (l *Loaded) checkSteps(d *decoder, j *Job, at string) {
	p := d.problems
	var lanes []string
	ids := map[string]bool{}
	for i, s := range j.Steps {
		at := at + ".steps" + index(i)
		if s == nil {
			p.add(j.Pos.node, at, "the step is empty")
			continue
		}
		count(d, s.Pos.node, at, s.kinds(), stepKinds...)
		if s.ID != "" {
			if !isID(s.ID) || ids[s.ID] {
				p.add(s.Pos.node, at+".id", "a step needs an id of its own with letters, digits, - and _; this is %q", s.ID)
			}
			ids[s.ID] = true
		}
		checkVariables(p, s.Env, at+".env")
		if s.Lane != nil {
			if s.On != "" {
				p.add(s.Pos.node, at+".on", "a lane step is not on another lane")
			}
			name := laneName(s)
			if slices.Contains(lanes, name) {
				p.add(s.Pos.node, at, "the job has two lanes %q; give the step an id", name)
			}
			lanes = append(lanes, name)
		}
		if s.On != "" && s.Lane == nil && !slices.Contains(lanes, s.On) {
			p.add(s.Pos.node, at+".on", "no step before brings up a lane %q%s", s.On, near(s.On, lanes))
		}
		if (s.Suite != nil || s.Beats != nil) && len(lanes) == 0 {
			p.add(s.Pos.node, at, "no step before brings a lane up")
		}
		if s.Shell != "" && s.Run == "" {
			p.add(s.Pos.node, at+".shell", "only run has a shell")
		}
		for k, b := range s.Beats {
			count(d, b.Pos.node, fmt.Sprintf("%s.beats[%d]", at, k), b.kinds(), slices.Sorted(maps.Keys(b.kinds()))...)
			if b.AwaitDigest != "" {
				if _, err := CompileDigest(b.AwaitDigest); err != nil {
					p.add(b.Pos.node, fmt.Sprintf("%s.beats[%d].await-digest", at, k), "%v", err)
				}
			}
			if b.Screenshot != "" && (!filepath.IsLocal(b.Screenshot) || filepath.Ext(b.Screenshot) != ".png") {
				p.add(b.Pos.node, fmt.Sprintf("%s.beats[%d].screenshot", at, k), "%q is no .png file below the lane's directory", b.Screenshot)
			}
		}
	}
}

// defaultLane is the name of a lane whose step has no id.
const defaultLane = "lane"

func laneName(s *Step) string {
	if s.ID != "" {
		return s.ID
	}
	return defaultLane
}

// before reports whether the plan makes sure that a job ends before another one begins.
func (l *Loaded) before(first, second string) bool {
	return slices.Contains(l.ancestors(second), first)
}

// ancestors returns the ids of all jobs that a job needs, directly or through others.
func (l *Loaded) ancestors(id string) []string {
	var all []string
	var visit func(string)
	visit = func(id string) {
		j := l.job(id)
		if j == nil {
			return
		}
		for _, n := range j.Needs {
			if !slices.Contains(all, n) {
				all = append(all, n)
				visit(n)
			}
		}
	}
	visit(id)
	return all
}

// cycle returns the ids of jobs that need each other in a circle; the last id is the first one
// again. It returns nil if there is no circle.
func (l *Loaded) cycle() []string {
	state := map[string]int{} // 1: being visited, 2: done
	var path []string
	var visit func(id string) []string
	visit = func(id string) []string {
		switch state[id] {
		case 1:
			return append(slices.Clone(path[slices.Index(path, id):]), id)
		case 2:
			return nil
		}
		state[id] = 1
		path = append(path, id)
		for _, n := range l.job(id).Needs {
			if c := visit(n); c != nil {
				return c
			}
		}
		path = path[:len(path)-1]
		state[id] = 2
		return nil
	}
	for _, j := range l.Jobs {
		if c := visit(j.ID); c != nil {
			return c
		}
	}
	return nil
}

// endType is the type of a job or step that has ended, in conditions.
var endType = types.Map{"result": types.String, "outcome": types.String, "verdict": types.String, "hop": types.String, "reason": types.String}

// check compiles all expressions, makes the cells of all jobs, and checks the task of each cell.
func (l *Loaded) check(p *problems) {
	l.jobs = make(map[string]*jobPlan, len(l.Jobs))
	limit := l.MaxCells
	if limit == 0 {
		limit = defaultMaxCells
	}
	total := 0
	for _, j := range l.Jobs {
		m := &j.Strategy.Matrix
		tooMany := func(n int) {
			p.add(m.pos.node, "jobs."+j.ID+".strategy.matrix", "with its %d combinations the plan has %d cells, and at most %d are allowed (max-cells)", n, total+n, limit)
		}
		// NB: count before making anything: a matrix of ten lists of ten values has 10^10 cells.
		most := limit - total
		if len(m.Exclude) > 0 {
			most = max(most, 10*defaultMaxCells) // what exclude removes is no cell
		}
		if n := m.size(); n > most {
			tooMany(n)
			return
		}
		combos := m.expand()
		if total+len(combos) > limit {
			tooMany(len(combos))
			return
		}
		total += len(combos)
		if len(combos) == 0 {
			p.add(m.pos.node, "jobs."+j.ID+".strategy.matrix", "everything is excluded, so the job has no cells")
			return
		}
		keys := m.keys()
		l.jobs[j.ID] = &jobPlan{job: j, keys: keys}
		seen := map[string]bool{}
		for _, c := range combos {
			cell := &Cell{ID: j.ID, Job: j, vars: c.vars(keys), Matrix: make(map[string]string, len(c.Keys))}
			for k, v := range c.Values {
				cell.Matrix[k] = asText(v)
			}
			if len(c.Keys) > 0 {
				cell.ID += " (" + c.String() + ")"
			}
			if seen[cell.ID] {
				p.add(m.pos.node, "jobs."+j.ID+".strategy.matrix", "it has the combination %s twice", c)
				return
			}
			seen[cell.ID] = true
			l.Cells = append(l.Cells, cell)
		}
	}
	paths := map[string]bool{}
	for i, c := range l.Cells {
		name := fileName(c.ID)
		c.Path = name
		for n := i; paths[c.Path]; n++ { // the name with a number may also be another cell's own
			c.Path = fmt.Sprintf("%s.%d", name, n)
		}
		paths[c.Path] = true
	}
	for _, j := range l.Jobs {
		l.compileJob(p, l.jobs[j.ID])
	}
	if len(p.list) > 0 {
		return
	}
	for _, c := range l.Cells {
		if _, err := l.Task(c); err != nil {
			var at *atError
			if errors.As(err, &at) {
				p.add(at.pos.node, at.where, "in the cell %s: %v", c.ID, at.err)
			} else {
				p.add(c.Job.Pos.node, "jobs."+c.Job.ID, "in the cell %s: %v", c.ID, err)
			}
			if len(p.list) > maxProblems {
				return
			}
		}
	}
}

// An atError is an error of a value in the plan.
type atError struct {
	pos   Pos
	where string
	err   error
}

func (e *atError) Error() string { return e.where + ": " + e.err.Error() }
func (e *atError) Unwrap() error { return e.err }

// compileEnv compiles environment variables in the order of their names. It also returns the types
// of the variables for later expressions, without the variables that have a secret.
func (l *Loaded) compileEnv(p *problems, env map[string]Value, outer types.Map, vars types.Map, at string) ([]envEntry, types.Map) {
	known := maps.Clone(outer)
	var entries []envEntry
	for _, name := range slices.Sorted(maps.Keys(env)) {
		v := env[name]
		e := envEntry{name: name, value: v.Text}
		if !v.inline {
			e.value = l.resolved.outer[v.Pos.node]
			e.secret = l.resolved.hidden[v.Pos.node] || l.isSecret(e.value)
		} else if hasTemplate(v.Text) {
			all := maps.Clone(vars)
			all["env"], all["secrets"] = outer, l.resolved.secretTypes()
			t, err := compileTemplate(v.Text, all)
			if err != nil {
				p.add(v.Pos.node, join(at, name), "%v", err)
				continue
			}
			e.expand, e.secret = t, strings.Contains(v.Text, "secrets")
		}
		if known[name] = types.String; e.secret {
			delete(known, name)
		}
		entries = append(entries, e)
	}
	return entries, known
}

func (l *Loaded) isSecret(value string) bool {
	for _, s := range l.resolved.secrets {
		if s != "" && strings.Contains(value, s) {
			return true
		}
	}
	return false
}

func (l *Loaded) compileJob(p *problems, jp *jobPlan) {
	j := jp.job
	at := "jobs." + j.ID
	vars := types.Map{"matrix": jp.keys, "plan": types.Map{"name": types.String}}
	planEntries, planEnv := l.compileEnv(p, l.Env, l.resolved.envTypes(), vars, "env")
	jobEntries, jobEnv := l.compileEnv(p, j.Env, planEnv, vars, at+".env")
	jp.env = append(planEntries, jobEntries...)

	needs := types.Map{}
	for _, n := range j.Needs {
		needs[n] = endType
	}
	condVars := maps.Clone(vars)
	condVars["env"], condVars["needs"] = jobEnv, needs
	var err error
	if jp.If, err = compileCondition(j.If, condVars); err != nil {
		p.add(j.Pos.node, at+".if", "%v", err)
	}
	textVars := maps.Clone(vars)
	textVars["env"] = jobEnv
	for i, r := range j.Restore {
		t, err := compileTemplate(r.Path, textVars)
		if err != nil {
			p.add(r.Pos.node, fmt.Sprintf("%s.restore[%d].path", at, i), "%v", err)
		}
		jp.restores = append(jp.restores, t)
	}
	steps := types.Map{}
	on := ""
	for i, s := range j.Steps {
		at := at + ".steps" + index(i)
		sp := &stepPlan{step: s, id: s.ID, texts: map[string]*template{}}
		if sp.id == "" {
			sp.id = fmt.Sprint(i + 1)
		}
		stepCond := maps.Clone(condVars)
		stepCond["steps"] = maps.Clone(steps)
		if sp.If, err = compileCondition(s.If, stepCond); err != nil {
			p.add(s.Pos.node, at+".if", "%v", err)
		}
		var env types.Map
		sp.env, env = l.compileEnv(p, s.Env, jobEnv, vars, at+".env")
		stepText := maps.Clone(vars)
		stepText["env"] = env
		sp.compileTexts(p, at, stepText)
		if s.Lane != nil {
			sp.checkLane(l, p, at, stepText)
			on = laneName(s)
		} else if sp.on = s.On; sp.on == "" {
			sp.on = on
		}
		if s.ID != "" {
			steps[s.ID] = endType
		}
		jp.steps = append(jp.steps, sp)
	}
}

// compileTexts compiles the templates in all texts of a step, except its lane.
func (sp *stepPlan) compileTexts(p *problems, at string, vars types.Map) {
	s := sp.step
	note := func(key, text string) {
		if !hasTemplate(text) {
			return
		}
		t, err := compileTemplate(text, vars)
		if err != nil {
			hint := ""
			if strings.Contains(text, "secrets.") {
				hint = "; a secret can be used in env:, and a command reads it from its environment"
			}
			p.add(s.Pos.node, join(at, key), "%v%s", err, hint)
			return
		}
		sp.texts[text] = t
	}
	note("name", s.Name)
	note("run", s.Run)
	note("working-directory", s.Dir)
	for _, w := range s.GoTest {
		note("go-test", w)
	}
	for _, w := range s.Suite {
		note("suite", w)
		if !hasTemplate(w) {
			if err := checkSuite(w); err != nil {
				p.add(s.Pos.node, at+".suite", "%v", err)
			}
		}
	}
	for i := range s.Beats {
		eachText(reflect.ValueOf(&s.Beats[i]).Elem(), func(text string) string {
			note("beats"+index(i), text)
			return text
		})
	}
}

// checkSuite returns an error if there is no suite with this name.
func checkSuite(name string) error {
	var names []string
	for _, s := range scenario.Suites() {
		names = append(names, s.Name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("there is no suite %q%s; the suites are %s", name, near(name, names), list(names))
	}
	return nil
}

// eachText replaces each text in the struct v with f's result for it.
func eachText(v reflect.Value, f func(string) string) {
	for i := range v.NumField() {
		switch e := v.Field(i); {
		case e.Type() == reflect.TypeFor[Pos]():
		case e.Kind() == reflect.String:
			e.SetString(f(e.String()))
		case e.Type() == reflect.TypeFor[Words]():
			for k := range e.Len() {
				e.Index(k).SetString(f(e.Index(k).String()))
			}
		}
	}
}

// checkLane checks a lane's configuration as far as that is possible without a cell. It decodes a
// configuration without templates once for all cells.
func (sp *stepPlan) checkLane(l *Loaded, p *problems, at string, vars types.Map) {
	// NB: decode first. It limits the number of values, and a few aliases may stand for billions.
	before := len(p.list)
	var lane Lane
	lane.decode(&decoder{problems: p, templates: true}, sp.step.Lane, at+".lane")
	if len(p.list) > before {
		return
	}
	found := 0
	for i := 1; i < len(sp.step.Lane.Content); i += 2 {
		key := sp.step.Lane.Content[i-1].Value
		known := vars
		if key == ticketKey {
			known = maps.Clone(vars)
			known["secrets"] = l.resolved.secretTypes()
		}
		eachScalar(sp.step.Lane.Content[i], 0, func(n *yaml.Node) {
			if !hasTemplate(n.Value) {
				return
			}
			found++
			t, err := compileTemplate(n.Value, known)
			if err != nil {
				hint := ""
				if key != ticketKey && strings.Contains(n.Value, "secrets.") {
					hint = "; of a lane only " + ticketKey + " can have a secret"
				}
				p.add(n, join(at+".lane", key), "%v%s", err, hint)
				return
			}
			sp.texts[n.Value] = t
		})
	}
	if len(p.list) > before || found > 0 {
		return
	}
	lane.Config.Name = laneName(sp.step)
	if err := lane.check(); err != nil {
		p.add(sp.step.Lane, at+".lane", "%v", err)
		return
	}
	sp.lane = &lane
}

// decode fills the configuration from its YAML.
func (lane *Lane) decode(d *decoder, n *yaml.Node, at string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "lane:" alone is the default lane
	}
	d.fields(n, reflect.ValueOf(lane).Elem(), laneFields(), "a lane has no", at)
}

// ticketKey is the key of a lane that can have a secret.
const ticketKey = "server_ticket"

// laneFields returns the keys of a lane: all fields of harness.Config that have a form in JSON,
// except name, dir and link_in, which the plan itself sets; and the ticket.
var laneFields = func() func() []field {
	var fields []field
	for _, f := range fieldsOf(reflect.TypeFor[harness.Config]()) {
		if f.name != "name" && f.name != "dir" && f.name != "link_in" {
			f.index = append([]int{0}, f.index...)
			fields = append(fields, f)
		}
	}
	for _, f := range fieldsOf(reflect.TypeFor[Lane]()) {
		if f.name == ticketKey {
			fields = append(fields, f)
		}
	}
	return func() []field { return fields }
}()

// check returns an error if harness.Config.Check rejects the configuration. The error has the YAML
// key.
func (lane *Lane) check() error {
	err := lane.Config.Check()
	var f *harness.FieldError
	if errors.As(err, &f) {
		for _, known := range laneFields() {
			if t := reflect.TypeFor[Lane]().FieldByIndex(known.index); t.Name == f.Field {
				return fmt.Errorf("%s: %w", known.name, f.Err)
			}
		}
	}
	return err
}

// eachScalar calls f with each scalar value in n.
func eachScalar(n *yaml.Node, depth int, f func(*yaml.Node)) {
	if depth > maxDepth {
		return
	}
	switch n.Kind {
	case yaml.AliasNode:
		eachScalar(n.Alias, depth+1, f)
	case yaml.ScalarNode:
		f(n)
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			eachScalar(n.Content[i], depth+1, f)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			eachScalar(c, depth+1, f)
		}
	}
}
