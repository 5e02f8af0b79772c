package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// A Status has the results of the functions of a condition, such as success().
type Status struct {
	// Success means that all needed jobs succeeded, and that no earlier step failed or was cancelled.
	// A skipped job does not count as success; a skipped step does.
	Success bool
	// Failure means that a needed job or an earlier step failed.
	Failure bool
	// Cancelled means that the run was interrupted or the cell was cancelled.
	Cancelled bool
}

// statusFunctions are the functions that ask for the status. A condition without one of them also
// requires success().
var statusFunctions = []string{"success", "failure", "always", "cancelled"}

var boolFunction = types.TypeOf(func() bool { return false })

// A Condition is a compiled expression of if:.
type Condition struct {
	program *vm.Program
	status  bool // it calls a status function
}

// Vars are the variables of an expression: matrix, env, needs, steps and plan.
type Vars map[string]any

// compileCondition compiles source, which may be enclosed in ${{ }}. An empty source means
// success().
func compileCondition(source string, vars types.Map) (*Condition, error) {
	source = conditionSource(source)
	all := maps.Clone(vars)
	for _, name := range statusFunctions {
		all[name] = boolFunction
	}
	program, err := expr.Compile(source, expr.Env(all), expr.AsBool())
	if err != nil {
		return nil, explainExpression(source, err, all)
	}
	return &Condition{program: program, status: asksStatus(source)}, nil
}

// conditionSource returns the expression of an if: without an enclosing ${{ }}.
func conditionSource(source string) string {
	source = strings.TrimSpace(source)
	if inner, ok := strings.CutPrefix(source, "${{"); ok {
		if inner, ok := strings.CutSuffix(inner, "}}"); ok && !strings.Contains(inner, "}}") {
			source = strings.TrimSpace(inner)
		}
	}
	if source == "" {
		return "success()"
	}
	return source
}

// True evaluates the condition. A condition without a status function is true only if s.Success is
// set and s.Cancelled is not.
func (c *Condition) True(vars Vars, s Status) (bool, error) {
	all := maps.Clone(map[string]any(vars))
	all["success"] = func() bool { return s.Success && !s.Cancelled }
	all["failure"] = func() bool { return s.Failure && !s.Cancelled }
	all["always"] = func() bool { return true }
	all["cancelled"] = func() bool { return s.Cancelled }
	if !c.status && (!s.Success || s.Cancelled) {
		return false, nil
	}
	v, err := expr.Run(c.program, all)
	if err != nil {
		return false, fmt.Errorf("the condition could not be evaluated: %w", err)
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the condition is %v, and neither true nor false", v)
	}
	return b, nil
}

// asksStatus reports whether an expression calls a status function. The expression must compile.
func asksStatus(source string) bool {
	tree, err := parser.Parse(source)
	if err != nil {
		return false
	}
	found := statusCalls(false)
	ast.Walk(&tree.Node, &found)
	return bool(found)
}

type statusCalls bool

func (s *statusCalls) Visit(n *ast.Node) {
	call, ok := (*n).(*ast.CallNode)
	if !ok {
		return
	}
	if name, ok := call.Callee.(*ast.IdentifierNode); ok {
		for _, f := range statusFunctions {
			*s = *s || statusCalls(name.Value == f)
		}
	}
}

// explainExpression shortens an expression's error to one line, and adds a hint for an unknown
// name.
func explainExpression(source string, err error, vars types.Map) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if _, name, ok := strings.Cut(text, "unknown name "); ok {
		name, _, _ = strings.Cut(name, " ")
		text += near(name, slices.Sorted(maps.Keys(vars)))
		if strings.Contains(source, "-") {
			text += `; an id with a hyphen is written needs["build-it"]`
		}
	}
	return fmt.Errorf("%q: %s", shorten(source, 80), text)
}

// A template is a text with ${{ expressions }}.
type template struct {
	parts []templatePart
}

type templatePart struct {
	text    string
	program *vm.Program // instead of text
}

func hasTemplate(s string) bool { return strings.Contains(s, "${{") }

// compileTemplate compiles a text.
func compileTemplate(s string, vars types.Map) (*template, error) {
	t := &template{}
	for {
		before, rest, ok := strings.Cut(s, "${{")
		if before != "" {
			t.parts = append(t.parts, templatePart{text: before})
		}
		if !ok {
			return t, nil
		}
		source, after, err := untilBraces(rest)
		if err != nil {
			return nil, err
		}
		program, err := expr.Compile(source, expr.Env(vars))
		if err != nil {
			return nil, explainExpression(source, err, vars)
		}
		t.parts = append(t.parts, templatePart{program: program})
		s = after
	}
}

// untilBraces cuts s at the first }} outside quotes.
func untilBraces(s string) (source, after string, err error) {
	quote := byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '}' && strings.HasPrefix(s[i:], "}}"):
			return strings.TrimSpace(s[:i]), s[i+2:], nil
		}
	}
	return "", "", errors.New("${{ has no }}")
}

// value evaluates the template. If it is a single expression, value returns the expression's value
// with its type; otherwise a text.
func (t *template) value(vars Vars) (any, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.program == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := expr.Run(p.program, map[string]any(vars))
		if err != nil {
			return nil, err
		}
		if len(t.parts) == 1 {
			return v, nil
		}
		b.WriteString(asText(v))
	}
	return b.String(), nil
}
