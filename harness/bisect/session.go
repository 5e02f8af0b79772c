package bisect

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/internal/inert"
)

// The environment variables of build and test commands, in addition to this process's environment.
const (
	EnvCommit   = "SPICELANE_BISECT_COMMIT"   // the commit under test
	EnvTree     = "SPICELANE_BISECT_TREE"     // its work tree, which is the working directory
	EnvEvidence = "SPICELANE_BISECT_EVIDENCE" // the directory for evidence of this test
)

// A Config says what to search for. New stores it, so that the search can be continued.
type Config struct {
	// Repository is the path of a git repository.
	Repository string `json:"repository"`
	// Good and Bad are revisions. Good must be an ancestor of Bad.
	Good string `json:"good"`
	Bad  string `json:"bad"`
	// FirstParent treats a merge as one change, instead of looking at the commits that it merged.
	FirstParent bool `json:"first_parent,omitempty"`
	// Build is a shell command that builds the product in the work tree; empty for none.
	Build string `json:"build,omitempty"`
	// Keep keeps files that builds left in the work tree, so that the next build may be faster.
	Keep bool `json:"keep,omitempty"`
	// Test is the test command and its arguments. Its exit status has the meaning that Command.Run
	// describes.
	Test []string `json:"test"`
	// Confidence is the probability at which the search ends, above 0.5 and below 1; zero means
	// DefaultConfidence.
	Confidence float64 `json:"confidence"`
	// MaxTests is the number of tests after which the search ends without an answer; zero means
	// DefaultMaxTests.
	MaxTests int `json:"max_tests"`
	// Timeout limits each build and each test; zero means DefaultTimeout.
	Timeout time.Duration `json:"timeout"`
	// Known are earlier results, such as archived ones, by commit.
	Known []Known `json:"known,omitempty"`
}

// Known counts earlier results of a commit. Commit is a full hash.
type Known struct {
	Commit string `json:"commit"`
	Passed int    `json:"passed"`
	Failed int    `json:"failed"`
}

// The defaults of a Config.
const (
	DefaultConfidence = 0.999
	DefaultMaxTests   = 500
	DefaultTimeout    = 30 * time.Minute
	// maxSkips is how many tests of a commit may give no result before it counts as untestable.
	maxSkips = 3
	// notBuilt is no commit's index.
	notBuilt = Base - 1
)

// A Test is one test of one commit.
type Test struct {
	N      int    `json:"n"`
	Commit string `json:"commit"`
	// Outcome is Good, Bad or Skip.
	Outcome string       `json:"outcome"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	TookMS  int64        `json:"took_ms"`
	// Evidence is the test's directory, relative to the session's.
	Evidence string `json:"evidence"`
}

// The outcomes of a test.
const (
	Good = "good"
	Bad  = "bad"
	Skip = "skip"
)

// The files of a session's directory.
const (
	configFile = "bisect.json"
	testsFile  = "tests.ndjson"
	lockFile   = "lock"
	treeDir    = "tree"
	testsDir   = "tests"
)

// A Session is a search in a git repository. Call Close when done.
type Session struct {
	dir     string
	cfg     Config
	repo    repository
	commits []string
	index   map[string]int
	model   *Model
	tests   []Test
	skips   map[int]int
	here    int // the commit that is checked out in the work tree
	built   bool
	buildOK bool
	lock    *os.File
	log     io.Writer
}

// New begins a search and stores it in dir, which must not have a search yet. It writes a line for
// each test to log.
func New(ctx context.Context, dir string, cfg Config, log io.Writer) (*Session, error) {
	if len(cfg.Test) == 0 {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bisect", Err: errors.New("there is no command to run")}
	}
	var err error
	if cfg.Confidence, err = confidence(cfg.Confidence); err != nil {
		return nil, err
	}
	cfg.MaxTests, cfg.Timeout = cmp.Or(cfg.MaxTests, DefaultMaxTests), cmp.Or(cfg.Timeout, DefaultTimeout)
	abs, err := filepath.Abs(cfg.Repository)
	if err != nil {
		return nil, err
	}
	cfg.Repository = abs
	repo := repository{abs}
	// NB: names are resolved once, because a branch may move before the search is continued.
	for _, rev := range []*string{&cfg.Good, &cfg.Bad} {
		full, err := repo.resolve(ctx, *rev)
		if err != nil {
			return nil, fmt.Errorf("%s has no commit %s: %w", abs, *rev, err)
		}
		*rev = full
	}
	if _, err := os.Stat(filepath.Join(dir, configFile)); err == nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bisect", Err: fmt.Errorf("%s has a search already", dir),
			Hint: "continue it with --resume, or choose another directory"}
	}
	// NB: before the search is stored, because dir could be used for no other one then.
	if _, _, err := repo.history(ctx, cfg.Good, cfg.Bad, cfg.FirstParent); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, verdict.Classify("bisect", err)
	}
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, configFile), append(b, '\n'), 0o644)
	}
	if err != nil {
		return nil, verdict.Classify("bisect", err)
	}
	return Resume(ctx, dir, log)
}

// confidence returns the probability at which a search ends: c, or DefaultConfidence if c is zero.
// It returns an error unless that is above 0.5 and below 1.
func confidence(c float64) (float64, error) {
	c = cmp.Or(c, DefaultConfidence)
	if c <= 0.5 || c >= 1 {
		return 0, &verdict.Error{Verdict: verdict.Harness, Op: "bisect", Err: fmt.Errorf("a confidence of %v is not between 0.5 and 1", c)}
	}
	return c, nil
}

// Resume continues the search in dir. It returns an error if another process has the search.
func Resume(ctx context.Context, dir string, log io.Writer) (*Session, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(abs, configFile))
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bisect", Err: fmt.Errorf("there is no search in %s: %w", dir, err)}
	}
	s := &Session{dir: abs, log: log, here: Base, skips: map[int]int{}, index: map[string]int{}}
	if err := json.Unmarshal(b, &s.cfg); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: filepath.Join(abs, configFile), Err: err}
	}
	s.lock, err = host.TryLock(filepath.Join(abs, lockFile))
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bisect", Err: fmt.Errorf("the search in %s is under way: %w", dir, err)}
	}
	if err := s.load(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// load reads the history and the tests so far.
func (s *Session) load(ctx context.Context) error {
	s.repo = repository{s.cfg.Repository}
	commits, graph, err := s.repo.history(ctx, s.cfg.Good, s.cfg.Bad, s.cfg.FirstParent)
	if err != nil {
		return err
	}
	s.commits, s.model = commits, NewModel(graph)
	for i, c := range commits {
		s.index[c] = i
	}
	s.index[s.cfg.Good] = Base
	for _, k := range s.cfg.Known {
		if i, ok := s.index[k.Commit]; ok {
			for range k.Passed {
				s.model.Observe(i, false)
			}
			for range k.Failed {
				s.model.Observe(i, true)
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(s.dir, testsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return verdict.Classify("bisect", err)
	}
	whole := b[:bytes.LastIndexByte(b, '\n')+1] // an incomplete line is dropped: its test runs again
	for line := range bytes.Lines(whole) {
		var t Test
		if err := json.Unmarshal(line, &t); err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: filepath.Join(s.dir, testsFile), Err: err}
		}
		s.count(t)
	}
	if len(whole) < len(b) {
		return os.Truncate(filepath.Join(s.dir, testsFile), int64(len(whole)))
	}
	return nil
}

// Close ends the session and removes its work tree. Resume can continue it.
func (s *Session) Close() {
	s.repo.removeTree(context.Background(), filepath.Join(s.dir, treeDir))
	// NB: closing is not enough: a child that another goroutine just starts has a copy of the file.
	_ = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN)
	s.lock.Close()
}

// count adds a test to the session and its outcome to the model.
func (s *Session) count(t Test) {
	s.tests = append(s.tests, t)
	i, ok := s.index[t.Commit]
	switch {
	case !ok:
	case t.Outcome == Skip:
		s.skips[i]++
	default:
		s.model.Observe(i, t.Outcome == Bad)
	}
}

// name returns a commit's full hash.
func (s *Session) name(i int) string {
	if i == Base {
		return s.cfg.Good
	}
	return s.commits[i]
}

func (s *Session) testable(i int) bool {
	passed, failed := s.model.Counts(i)
	return s.skips[i] < maxSkips || passed+failed > 0 && s.skips[i] < 2*maxSkips+passed+failed
}

// A Result is the result of a search.
type Result struct {
	Repository string `json:"repository"`
	Good       string `json:"good"`
	Bad        string `json:"bad"`
	// First is the first bad commit; empty if the search found none. Subject is its subject line with
	// author and date.
	First   string `json:"first,omitempty"`
	Subject string `json:"subject,omitempty"`
	// Probability is that of the most probable commit, which is First unless that is empty.
	// Confidence is that of the Config.
	Probability float64 `json:"probability"`
	Confidence  float64 `json:"confidence"`
	// Candidates are the commits that may be the first bad one, if First is empty.
	Candidates []string `json:"candidates,omitempty"`
	// None is the probability that no commit changed anything. Why says why there is no answer.
	None  float64 `json:"none"`
	Why   string  `json:"why"`
	Tests []Test  `json:"tests"`
	// Commits has the counts of the tested commits and of First, in the order of history.
	Commits []Counted `json:"commits"`
	// GoodTest is the newest test that passed on a commit without the fault. BadTest is the newest one
	// that failed on a commit with it. nil if there is none.
	GoodTest *Test `json:"good_test,omitempty"`
	BadTest  *Test `json:"bad_test,omitempty"`
}

// Counted has the counts of a commit's tests. P is the probability that it is the first bad commit.
type Counted struct {
	Commit  string  `json:"commit"`
	Subject string  `json:"subject"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Skipped int     `json:"skipped"`
	P       float64 `json:"p"`
}

// Run tests commits until the answer is clear, or cannot be found. If ctx ends, it returns an
// error, and the search can be continued.
func (s *Session) Run(ctx context.Context) (*Result, error) {
	for {
		p := s.model.Posterior()
		if c, q := p.Best(); q >= s.cfg.Confidence {
			return s.result(ctx, p, c, "")
		}
		if p.None >= s.cfg.Confidence {
			return s.result(ctx, p, Base, "no commit changes how often the test fails")
		}
		next, ok := s.model.Next(p, s.testable, s.here)
		if !ok {
			return s.result(ctx, p, Base, "the commits that could tell more cannot be tested")
		}
		if len(s.tests) >= s.cfg.MaxTests {
			return s.result(ctx, p, Base, fmt.Sprintf("%d tests were not enough", len(s.tests)))
		}
		t, err := s.test(ctx, next)
		if err != nil {
			return nil, err
		}
		if err := s.write(t); err != nil {
			return nil, err
		}
		s.count(t)
		s.say(t)
	}
}

// say writes a line about a test and the most probable commit after it to the log.
func (s *Session) say(t Test) {
	p := s.model.Posterior()
	c, q := p.Best()
	why := ""
	if t.Reason != "" {
		why = ": " + t.Reason
	}
	fmt.Fprintf(s.log, "%3d  %.10s  %-4s  %d candidates, %.10s with %.1f %%%s\n", t.N, t.Commit, t.Outcome, len(p.Within(s.cfg.Confidence)), s.commits[c], 100*q, why)
}

// write appends a test to the session's file and syncs it.
func (s *Session) write(t Test) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, testsFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return verdict.Classify("bisect", err)
	}
	_, err = f.Write(append(b, '\n'))
	return verdict.Classify("bisect", errors.Join(err, f.Sync(), f.Close()))
}

// test checks out a commit and builds it unless that was done last, and tests it.
func (s *Session) test(ctx context.Context, i int) (Test, error) {
	commit := s.name(i)
	t := Test{N: len(s.tests) + 1, Commit: commit}
	t.Evidence = filepath.Join(testsDir, fmt.Sprintf("%04d-%.10s", t.N, commit))
	dir := filepath.Join(s.dir, t.Evidence)
	tree := filepath.Join(s.dir, treeDir)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return t, verdict.Classify("bisect", err)
	}
	log, err := os.Create(filepath.Join(dir, "output.log"))
	if err != nil {
		return t, verdict.Classify("bisect", err)
	}
	defer log.Close()
	began := time.Now()
	cmd := Command{Dir: tree, Stdout: log, Stderr: log, Timeout: s.cfg.Timeout,
		Env: append(plainEnv(), EnvCommit+"="+commit, EnvTree+"="+tree, EnvEvidence+"="+dir)}
	if !s.built || s.here != i {
		if err := s.build(ctx, cmd, i); err != nil {
			return t, err
		}
	}
	answer := Answer{verdict.Harness, "it does not build"}
	if s.buildOK {
		cmd.Argv = s.cfg.Test
		if answer, err = cmd.Run(ctx); err != nil {
			return t, err
		}
	}
	t.TookMS = time.Since(began).Milliseconds()
	t.Verdict, t.Reason = answer.Verdict, inert.Text(oneLine(answer.Reason)) // it may be a guest's output
	switch {
	case answer.Good():
		t.Outcome = Good
	case answer.Bad():
		t.Outcome = Bad
	default:
		t.Outcome = Skip
	}
	return t, nil
}

// build checks out a commit in the work tree and builds it.
func (s *Session) build(ctx context.Context, cmd Command, i int) error {
	var err error
	if !s.built {
		err = s.repo.addTree(ctx, cmd.Dir, s.name(i))
	} else {
		err = checkout(ctx, cmd.Dir, s.name(i), !s.cfg.Keep)
	}
	if err != nil {
		return err
	}
	s.here, s.built, s.buildOK = i, true, true
	if s.cfg.Build == "" {
		return nil
	}
	cmd.Argv = []string{"sh", "-c", s.cfg.Build}
	ended, err := cmd.run(ctx, cmd.Argv, cmd.Stdout)
	s.buildOK = err == nil && ended == (status{})
	if err != nil {
		s.here = notBuilt // it says nothing about the commit
	}
	return err
}

// result returns the result of the search and writes its files. first is Base if there is no
// answer, and why says why.
func (s *Session) result(ctx context.Context, p *Posterior, first int, why string) (*Result, error) {
	r := &Result{Repository: s.cfg.Repository, Good: s.cfg.Good, Bad: s.cfg.Bad, Confidence: s.cfg.Confidence, None: p.None, Why: why, Tests: s.tests}
	likely, q := p.Best()
	r.Probability = q
	if first != Base {
		r.First = s.commits[first]
	} else if p.None < s.cfg.Confidence {
		for _, c := range p.Within(s.cfg.Confidence) {
			r.Candidates = append(r.Candidates, s.commits[c])
		}
	}
	for i := Base; i < len(s.commits); i++ {
		passed, failed := s.model.Counts(i)
		if passed+failed+s.skips[i] == 0 && i != first {
			continue
		}
		subject, err := s.repo.describe(ctx, s.name(i))
		if err != nil {
			return nil, err
		}
		c := Counted{Commit: s.name(i), Subject: subject, Passed: passed, Failed: failed, Skipped: s.skips[i]}
		if i != Base {
			c.P = p.P[i]
		}
		if i == first && i != Base {
			r.Subject = subject
		}
		r.Commits = append(r.Commits, c)
	}
	for _, t := range slices.Backward(s.tests) {
		has := s.model.graph.Has(s.index[t.Commit], likely)
		switch {
		case t.Outcome == Good && !has && r.GoodTest == nil:
			r.GoodTest = &t
		case t.Outcome == Bad && has && r.BadTest == nil:
			r.BadTest = &t
		}
	}
	return r, s.writePage(r)
}

// Certainty returns the probability as text. It never says 1, because the model's assumptions may
// be wrong.
func (r *Result) Certainty() string {
	if r.Probability > 0.9999 {
		return "above 0.9999"
	}
	return fmt.Sprintf("%.4f", r.Probability)
}

// Summary returns the result in a few lines of text.
func (r *Result) Summary() string {
	var b strings.Builder
	if r.First != "" {
		fmt.Fprintf(&b, "first bad commit: %s\n  %s\n  probability %s after %d tests\n", r.First, r.Subject, r.Certainty(), len(r.Tests))
	} else {
		fmt.Fprintf(&b, "no answer: %s\n", r.Why)
		if len(r.Candidates) > 0 {
			fmt.Fprintf(&b, "  the first bad commit is one of:\n")
		}
		for _, c := range r.Candidates {
			fmt.Fprintf(&b, "    %s\n", c)
		}
	}
	if r.GoodTest != nil {
		fmt.Fprintf(&b, "  good: %.10s, %s\n", r.GoodTest.Commit, r.GoodTest.Evidence)
	}
	if r.BadTest != nil {
		fmt.Fprintf(&b, "  bad:  %.10s, %s: %s\n", r.BadTest.Commit, r.BadTest.Evidence, r.BadTest.Reason)
	}
	return b.String()
}
