package plan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness/plan/mask"
	"github.com/spicelane/spicelane/harness/verdict"
)

// An Error has all problems of a plan. Its text has the first 20.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	var lines []string
	for i, p := range e.Problems {
		if i == maxProblems {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Problems)-i))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// Verdict returns Harness, because the author of the plan can fix it.
func (e *Error) Verdict() verdict.Kind { return verdict.Harness }

// Options control how Load reads a plan. The zero Options read everything that a run needs.
type Options struct {
	// LookupEnv reads the environment in which spicelane runs. Default: os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Dry makes Load run no command and read no secret. It is for inspecting a plan.
	Dry bool
	// Text is used instead of the file's text if it is not nil. A resumed run needs it.
	Text []byte
}

// A Loaded is a checked plan, which can run.
type Loaded struct {
	*Plan
	// File is the plan's path. Dir is the absolute path of its directory; the paths in the plan are
	// relative to it.
	File, Dir string
	// Text is the plan's text, and SHA256 its hash in hex.
	Text   []byte
	SHA256 string
	// Cells are all cells, in the order of the plan.
	Cells []*Cell

	jobs     map[string]*jobPlan
	resolved *resolved
	masker   *mask.Masker
}

// Masker returns the masker of the plan's secrets.
func (l *Loaded) Masker() *mask.Masker { return l.masker }

// Load reads a plan and checks all of it: its text, its conditions, and each cell of each matrix
// with the configuration of its lanes. If the plan has problems, the error is an *Error.
func Load(ctx context.Context, file string, opt Options) (*Loaded, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, verdict.Classify("plan", err)
	}
	text := opt.Text
	if text == nil {
		if text, err = readPlan(file); err != nil {
			return nil, err
		}
	}
	if opt.LookupEnv == nil {
		opt.LookupEnv = os.LookupEnv
	}
	d := &decoder{problems: &problems{file: file}}
	p := parse(d, text)
	if err := d.err(); err != nil {
		return nil, err
	}
	if p.Name == "" {
		p.Name = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".yaml"), ".yml")
	}
	sum := sha256.Sum256(text)
	l := &Loaded{Plan: p, File: file, Dir: filepath.Dir(abs), Text: text, SHA256: hex.EncodeToString(sum[:])}
	l.checkNames(d.problems)
	if err := d.err(); err != nil {
		return nil, err
	}
	l.resolved = p.resolve(&reader{ctx: ctx, problems: d.problems, dir: l.Dir, getenv: opt.LookupEnv, dry: opt.Dry})
	if err := d.err(); err != nil {
		return nil, err
	}
	l.masker = mask.New(l.resolved.secrets)
	l.check(d.problems)
	for i := range d.list { // an expression's error has the values that it could not use
		d.list[i].Text = l.masker.String(d.list[i].Text)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return l, nil
}

func readPlan(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "plan", Err: err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "plan", Err: err}
	}
	return text, nil
}

// parse reads a plan's text. It adds problems to d.
func parse(d *decoder, text []byte) *Plan {
	var p Plan
	if len(text) > maxBytes {
		d.add(nil, "", "the plan is larger than %d MiB", maxBytes>>20)
		return &p
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		d.add(nil, "", "the file is empty")
		return &p
	} else if err != nil {
		d.syntax(err)
		return &p
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		d.add(&second, "", "a second document begins here; a plan is one document")
		return &p
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return &p
	}
	d.decode(doc.Content[0], reflect.ValueOf(&p).Elem(), "")
	if len(d.list) == 0 && len(p.Jobs) == 0 {
		d.add(doc.Content[0], "", "the plan has no jobs")
	}
	return &p
}

// syntax adds an error of the YAML parser as a problem. The parser puts the line into the error's
// text.
func (p *problems) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	n := &yaml.Node{Column: 1}
	if _, serr := fmt.Sscanf(text, "line %d:", &n.Line); serr == nil {
		_, text, _ = strings.Cut(text, ": ")
		p.add(n, "", "%s", text)
		return
	}
	p.add(nil, "", "%s", text)
}
