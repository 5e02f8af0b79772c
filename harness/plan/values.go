package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/types"
	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness/plan/mask"
)

// sourceTimeout limits how long a command that prints values may run.
const sourceTimeout = time.Minute

// resolved are the values that come from outside the plan.
type resolved struct {
	env     map[string]string // of the plan's env-from
	secrets map[string]string
	outer   map[*yaml.Node]string // the texts of Values, by their nodes in the plan
	// hidden are Values with the source of a secret. A dry run does not know the secret itself.
	hidden map[*yaml.Node]bool
	// moreEnv and moreSecrets mean that there are others, in sources that a dry run does not read.
	moreEnv, moreSecrets bool
}

// envTypes returns the types of the variables from outside, for expressions.
func (r *resolved) envTypes() types.Map { return textTypes(r.env, r.moreEnv) }

// secretTypes returns the types of the secrets, for expressions.
func (r *resolved) secretTypes() types.Map { return textTypes(r.secrets, r.moreSecrets) }

func textTypes(values map[string]string, more bool) types.Map {
	all := make(types.Map, len(values))
	for name := range values {
		all[name] = types.String
	}
	if more {
		all[types.Extra] = types.String
	}
	return all
}

// A reader reads values from outside the plan.
type reader struct {
	ctx context.Context
	*problems
	dir    string
	getenv func(string) (string, bool)
	// dry means that commands must not run.
	dry bool
}

// value returns the value of v, which comes from outside the plan.
func (r *reader) value(v Value, where string) (string, bool) {
	or := func(why error) (string, bool) {
		if v.Default != nil {
			return string(*v.Default), true
		}
		r.add(v.Pos.node, where, "%v", why)
		return "", false
	}
	switch {
	case v.Env != "":
		s, ok := r.getenv(v.Env)
		if !ok {
			return or(fmt.Errorf("the environment has no %s, which the plan requires: set it, or give a default", v.Env))
		}
		return s, true
	case v.File != "":
		b, err := os.ReadFile(r.path(v.File))
		if errors.Is(err, fs.ErrNotExist) {
			return or(err)
		} else if err != nil {
			r.add(v.Pos.node, where, "%v", err)
			return "", false
		}
		return strings.TrimRight(string(b), "\r\n"), true
	case v.Command != "":
		if r.dry {
			return "<the output of: " + v.Command + ">", true
		}
		out, err := r.output(v.Command)
		if err != nil {
			r.add(v.Pos.node, where, "%v", err)
			return "", false
		}
		return strings.TrimRight(out, "\r\n"), true
	}
	return "", false
}

func (r *reader) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.dir, p)
}

// output runs a command in the plan's directory and returns its standard output. Errors do not
// contain that output, because it may be a secret.
func (r *reader) output(command string) (string, error) {
	ctx, cancel := context.WithTimeout(r.ctx, sourceTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = r.dir
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if said != "" {
			said = ": " + shorten(said, 200)
		}
		return "", fmt.Errorf("the command %q: %w%s", shorten(command, 80), err, said)
	}
	return stdout.String(), nil
}

// variables reads the NAME=VALUE lines of a source.
func (r *reader) variables(s Source, where string) map[string]string {
	text := ""
	what := s.File
	if s.Command != "" {
		what = "the output of " + shorten(s.Command, 40)
		out, err := r.output(s.Command)
		if err != nil {
			r.add(s.Pos.node, where, "%v", err)
			return nil
		}
		text = out
	} else {
		b, err := os.ReadFile(r.path(s.File))
		if err != nil {
			r.add(s.Pos.node, where, "%v", err)
			return nil
		}
		text = string(b)
	}
	vars := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok || !variablePattern.MatchString(name) {
			// NB: the line may be a secret.
			r.add(s.Pos.node, where, "%s, line %d: it is not NAME=VALUE", what, i+1)
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		vars[name] = value
	}
	return vars
}

// resolve reads all values that come from outside the plan.
func (p *Plan) resolve(r *reader) *resolved {
	out := &resolved{env: map[string]string{}, secrets: map[string]string{}, outer: map[*yaml.Node]string{}, hidden: map[*yaml.Node]bool{}}
	type source struct{ env, file, command string }
	sourceOf := func(v Value) source {
		if v.File != "" {
			v.File = filepath.Clean(r.path(v.File))
		}
		return source{v.Env, v.File, v.Command}
	}
	secret := map[source]bool{}
	for _, v := range p.Secrets {
		if !v.inline {
			secret[sourceOf(v)] = true
		}
	}
	for i, s := range p.EnvFrom {
		if r.dry && s.Command != "" {
			out.moreEnv = true
			continue
		}
		maps.Copy(out.env, r.variables(s, "env-from"+index(i)))
	}
	eachEnv := func(env map[string]Value, where string) {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			v := env[name]
			if v.inline {
				continue
			}
			if s, ok := r.value(v, join(where, name)); ok {
				out.outer[v.Pos.node], out.hidden[v.Pos.node] = s, secret[sourceOf(v)]
			}
		}
	}
	eachEnv(p.Env, "env")
	for _, j := range p.Jobs {
		at := "jobs." + j.ID
		eachEnv(j.Env, at+".env")
		for i, s := range j.Steps {
			eachEnv(s.Env, fmt.Sprintf("%s.steps[%d].env", at, i))
		}
	}
	// A dry run shows no secrets, so it reads none.
	for i, s := range p.SecretsFrom {
		if r.dry {
			out.moreSecrets = true
			continue
		}
		for name, value := range r.variables(s, "secrets-from"+index(i)) {
			out.secrets[name] = value
			if err := mask.Check(value); err != nil {
				r.add(s.Pos.node, "secrets-from"+index(i), "%s: %v", name, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Secrets)) {
		v, at := p.Secrets[name], join("secrets", name)
		if v.inline {
			r.add(v.Pos.node, at, "a secret that stands in the plan is none: say where it comes from, with env:, file: or command:")
			continue
		}
		if r.dry {
			out.secrets[name] = ""
			continue
		}
		if s, ok := r.value(v, at); ok {
			out.secrets[name] = s
			if err := mask.Check(s); err != nil {
				r.add(v.Pos.node, at, "%v", err)
			}
		}
	}
	return out
}
