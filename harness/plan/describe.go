package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/plan/mask"
)

// Describe writes a cell and its exact commands to w, for --dry-run. It masks secrets.
func (l *Loaded) Describe(w io.Writer, c *Cell) error {
	t, err := l.Task(c)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", c.ID)
	if c.Job.If != "" {
		fmt.Fprintf(&b, "  if: %s\n", oneLine(c.Job.If))
	}
	if len(c.Job.Needs) > 0 {
		fmt.Fprintf(&b, "  needs: %s\n", strings.Join(c.Job.Needs, ", "))
	}
	if c.Job.Executor != "" {
		fmt.Fprintf(&b, "  executor: %s\n", c.Job.Executor)
	}
	for i, s := range t.Steps {
		fmt.Fprintf(&b, "  %d. %s\n", i+1, s.Name)
		if s.If != "" {
			fmt.Fprintf(&b, "     if: %s\n", oneLine(s.If))
		}
		// A dry run does not know the secrets. So it masks the whole value of a variable that has one.
		for _, name := range slices.Sorted(maps.Keys(s.Env)) {
			value := s.Env[name]
			if _, public := t.Vars["env"].(map[string]any)[name]; !public && l.holdsSecret(c.Job, i, name) {
				fmt.Fprintf(&b, "     %s=%s\n", name, mask.Mask)
				continue
			}
			fmt.Fprintf(&b, "     %s=%s\n", name, shellquote.Join(value))
		}
		if s.Dir != "" {
			fmt.Fprintf(&b, "     cd %s\n", shellquote.Join(s.Dir))
		}
		if err := s.describe(&b); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, l.masker.String(b.String()))
	return err
}

// holdsSecret reports whether a variable of a step contains a secret.
func (l *Loaded) holdsSecret(j *Job, step int, name string) bool {
	jp := l.jobs[j.ID]
	secret := false
	for _, e := range append(slices.Clone(jp.env), jp.steps[step].env...) {
		if e.name == name {
			secret = e.secret // the last one wins, as when the step runs
		}
	}
	return secret
}

func (s *TaskStep) describe(b *strings.Builder) error {
	switch {
	case s.Lane != nil:
		config, err := json.Marshal(s.Lane.Config)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "     lane %s\n", config)
	case s.Suite != nil:
		fmt.Fprintf(b, "     suite %s on %s\n", strings.Join(s.Suite, " "), s.On)
	case s.Beats != nil:
		for i := range s.Beats {
			beat, err := json.Marshal(s.Beats[i])
			if err != nil {
				return err
			}
			fmt.Fprintf(b, "     beat %s on %s\n", beat, s.On)
		}
	case s.GoTest != nil:
		fmt.Fprintf(b, "     go test -json %s\n", shellquote.Join(s.GoTest...))
	default:
		fmt.Fprintf(b, "     %s <<'END'\n", shellquote.Join(s.Shell...))
		for _, line := range strings.Split(strings.TrimRight(s.Run, "\n"), "\n") {
			fmt.Fprintf(b, "     %s\n", line)
		}
		b.WriteString("     END\n")
	}
	return nil
}

// Files returns the paths of the files and directories that the plan refers to, the plan itself
// first.
func (l *Loaded) Files() []string {
	files := []string{filepath.Join(l.Dir, filepath.Base(l.File))}
	add := func(p string) {
		if p == "" {
			return
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(l.Dir, p)
		}
		if !slices.Contains(files, p) {
			files = append(files, p)
		}
	}
	for _, s := range slices.Concat(l.EnvFrom, l.SecretsFrom) {
		add(s.File)
	}
	for _, env := range []map[string]Value{l.Env, l.Secrets} {
		for _, v := range env {
			add(v.File)
		}
	}
	for _, c := range l.Cells {
		for _, f := range c.Job.Files {
			add(f)
		}
		t, err := l.Task(c)
		if err != nil {
			continue // it was checked
		}
		for _, s := range t.Steps {
			if s.Lane == nil {
				continue
			}
			for _, f := range LaneFiles(l.Dir, s.Lane) {
				add(f)
			}
		}
	}
	return files
}

// LaneFiles returns the paths of the files that a lane needs: its image or its fixture's files, its
// kernel and its reference images. dir is the plan's directory.
func LaneFiles(dir string, l *TaskLane) []string {
	boots, looks := laneFiles(dir, l)
	return append(boots, looks...)
}

// laneFiles returns the files that a lane's guest boots, and the files that describe its screen:
// reference images, the fixture's entry and its fonts.
func laneFiles(dir string, l *TaskLane) (boots, looks []string) {
	cfg := l.Config
	boots, looks = []string{cfg.Image, cfg.Kernel, cfg.Initrd}, []string{cfg.Needles}
	if cfg.Needles == "" {
		if _, err := os.Stat(filepath.Join(dir, harness.DefaultNeedles)); err == nil {
			looks = append(looks, harness.DefaultNeedles)
		}
	}
	if fixtures.IsPath(cfg.Fixture) {
		entry := cfg.Fixture
		if !filepath.IsAbs(entry) {
			entry = filepath.Join(dir, entry)
		}
		looks = append(looks, entry)
		if f, err := fixtures.Load(entry); err == nil {
			boots = append(boots, f.ImagePath(), f.KernelPath(), f.InitrdPath())
			// Fonts without an absolute path are built into this program.
			looks = append(looks, slices.DeleteFunc(f.FontNames(), func(name string) bool { return !filepath.IsAbs(name) })...)
		}
	}
	none := func(f string) bool { return f == "" }
	return slices.DeleteFunc(boots, none), slices.DeleteFunc(looks, none)
}
