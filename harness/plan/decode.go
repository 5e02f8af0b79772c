package plan

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// The limits of a plan's text. Plans that people write stay far below them. A "YAML bomb", a few
// lines of anchors that refer to each other, would exceed them.
const (
	maxBytes = 4 << 20
	maxDepth = 40
	maxNodes = 400_000
	// maxProblems is how many problems of one plan are shown.
	maxProblems = 20
)

// A Problem is one mistake in a plan.
type Problem struct {
	File string
	// Line and Column count from 1. Line is 0 if the problem concerns the whole file.
	Line, Column int
	// Where is the path of the value: "jobs.boot.steps[0].lane.display".
	Where string
	Text  string
}

func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if p.Where != "" {
		s += ": " + p.Where
	}
	return s + ": " + p.Text
}

// problems collects the mistakes of one file.
type problems struct {
	file string
	list []Problem
}

func (p *problems) add(n *yaml.Node, where, format string, args ...any) {
	at := Problem{File: p.file, Where: where, Text: fmt.Sprintf(format, args...)}
	if n != nil {
		at.Line, at.Column = n.Line, n.Column
	}
	if !slices.Contains(p.list, at) {
		p.list = append(p.list, at)
	}
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{Problems: p.list}
}

// A decoder fills Go values from YAML nodes. It is strict: it rejects unknown keys, values of
// another type, and keys that occur twice.
type decoder struct {
	*problems
	nodes int
	// templates makes the decoder accept a text with ${{ … }} for a value of any type. Such a value is
	// decoded later, for each cell.
	templates bool
	// over is set when a limit is exceeded. It stops the decoding.
	over bool
}

// custom is implemented by types that decode themselves.
type custom interface {
	decodeYAML(d *decoder, n *yaml.Node, where string)
}

var (
	customType   = reflect.TypeFor[custom]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
	nodeType     = reflect.TypeFor[*yaml.Node]()
)

// decode fills v from n.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, where string) {
	n, ok := d.enter(n, where)
	if !ok {
		return
	}
	if v.Type() == nodeType {
		v.Set(reflect.ValueOf(n))
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(customType) {
		v.Addr().Interface().(custom).decodeYAML(d, n, where)
		return
	}
	if d.templates && n.Kind == yaml.ScalarNode && hasTemplate(n.Value) {
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.decode(n, p.Elem(), where)
		v.Set(p)
	case v.Type() == durationType:
		d.duration(n, v, where)
	case v.CanAddr() && v.Addr().Type().Implements(textType):
		if s, ok := d.text(n, where); ok {
			if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
				d.add(n, where, "%v", err)
			}
		}
	case v.Kind() == reflect.Struct:
		d.object(n, v, where)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, where)
	case v.Kind() == reflect.Slice:
		d.sequence(n, v, where)
	default:
		d.scalar(n, v, where)
	}
}

// enter follows an alias and counts the node. It returns false if a limit is exceeded.
func (d *decoder) enter(n *yaml.Node, where string) (*yaml.Node, bool) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes++; d.nodes > maxNodes && !d.over {
		d.over = true
		d.add(n, "", "the plan has more than %d values, with its anchors resolved", maxNodes)
	}
	if strings.Count(where, ".")+strings.Count(where, "[") > maxDepth && !d.over {
		d.over = true
		d.add(n, "", "the plan is nested more than %d levels deep", maxDepth)
	}
	return n, !d.over
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, where string) {
	d.fields(n, v, fieldsOf(v.Type()), "unknown key", where)
	if pos := v.FieldByName("Pos"); pos.IsValid() && pos.Type() == reflect.TypeFor[Pos]() {
		pos.Set(reflect.ValueOf(Pos{n}))
	}
}

// fields fills the fields of the struct v from the keys of n. For any other key, it adds a problem
// that begins with the text unknown.
func (d *decoder) fields(n *yaml.Node, v reflect.Value, fields []field, unknown, where string) {
	d.pairs(n, where, func(key, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		if i < 0 {
			var names []string
			for _, f := range fields {
				names = append(names, f.name)
			}
			d.add(key, where, "%s %q%s", unknown, key.Value, near(key.Value, names))
			return
		}
		d.decode(value, v.FieldByIndex(fields[i].index), join(where, key.Value))
	})
}

// pairs calls f with each key and value of a mapping.
func (d *decoder) pairs(n *yaml.Node, where string, f func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.add(n, where, "this is %s, and keys with values are wanted", describe(n))
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.add(key, where, "a key is %s, and text is wanted", describe(key))
			continue
		}
		if key.Tag == "!!merge" {
			d.add(key, where, "merge keys (<<) are not supported; repeat the values, or use an alias for a whole value")
			continue
		}
		if line, ok := seen[key.Value]; ok {
			d.add(key, where, "the key %q is here for the second time; the first is in line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, value)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, where string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, where, func(key, value *yaml.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, e, join(where, key.Value))
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), e)
	})
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, where string) {
	if n.Kind != yaml.SequenceNode {
		d.add(n, where, "this is %s, and a list is wanted", describe(n))
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		d.decode(c, s.Index(i), fmt.Sprintf("%s[%d]", where, i))
	}
	v.Set(s)
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, where string) {
	wrong := func(want string) {
		d.add(n, where, "this is %s, and %s is wanted", describe(n), want)
	}
	if n.Kind != yaml.ScalarNode {
		wrong(kindName(v.Type()))
		return
	}
	switch k := v.Kind(); {
	case k == reflect.String:
		if s, ok := d.text(n, where); ok {
			v.SetString(s)
		}
	case k == reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if n.Tag != "!!bool" || err != nil {
			wrong("true or false")
			return
		}
		v.SetBool(b)
	case v.CanInt():
		i, err := strconv.ParseInt(n.Value, 0, 64)
		if n.Tag != "!!int" || err != nil || v.OverflowInt(i) {
			wrong("a whole number")
			return
		}
		v.SetInt(i)
	case v.CanFloat():
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Tag != "!!int" && n.Tag != "!!float" || err != nil || math.IsNaN(f) {
			wrong("a number")
			return
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("plan: %s: no plan has a %s", where, v.Type()))
	}
}

// text returns the text of n.
func (d *decoder) text(n *yaml.Node, where string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.add(n, where, "this is %s, and text is wanted", describe(n))
		return "", false
	}
	if n.Tag != "!!str" {
		d.add(n, where, "this is %s, and text is wanted: put it into quotes", describe(n))
		return "", false
	}
	return n.Value, true
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value, where string) {
	t, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.add(n, where, "this is %s, and a duration such as 90s, 10m or 1h30m is wanted", describe(n))
		return
	}
	if t < 0 {
		d.add(n, where, "a duration of %v is less than none", t)
		return
	}
	v.SetInt(int64(t))
}

// describe returns what a node is, for the message to a user who wrote something of the wrong type.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "the truth value " + n.Value
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!str":
		return fmt.Sprintf("the text %q", shorten(n.Value, 40))
	}
	return fmt.Sprintf("%q of the type %s", shorten(n.Value, 40), strings.TrimPrefix(n.Tag, "!!"))
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	}
	return "a number"
}

// shorten cuts s to about n characters.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func join(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

// A field is a key of an object.
type field struct {
	name  string
	index []int
	typ   reflect.Type
	doc   string // its description
	enum  string // its possible values, separated by commas; empty if any text is possible
}

// fieldsOf returns the keys that a struct has in YAML: the names in its json tags, or, without a
// tag, the fields' names in lower case.
func fieldsOf(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Type == reflect.TypeFor[Pos]() || f.Tag.Get("plan") == "-" {
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		list = append(list, field{name: name, index: f.Index, typ: f.Type, doc: f.Tag.Get("doc"), enum: f.Tag.Get("enum")})
	}
	return list
}

// near returns a hint for an unknown word: the most similar known word as a question, or a short
// list of all known ones, or "".
func near(word string, known []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if n := distance(word, k); n < least {
			best, least = k, n
		}
	}
	if best == "" {
		if len(known) > 0 && len(known) <= 12 {
			return " (known are " + strings.Join(known, ", ") + ")"
		}
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance returns how many bytes must be changed, added, removed or swapped with their neighbour
// to turn a into b.
func distance(a, b string) int {
	row := func() []int { return make([]int, len(b)+1) }
	older, old, now := row(), row(), row()
	for j := range now {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 0
			if a[i-1] != b[j-1] {
				cost = 1
			}
			now[j] = min(old[j-1]+cost, old[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], older[j-2]+1)
			}
		}
		older, old, now = old, now, older
	}
	return old[len(b)]
}
