package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"
)

// defaultMaxCells is how many cells a plan may have if it does not set max-cells.
const defaultMaxCells = 10_000

// size returns how many combinations the lists have. It stops counting above 2^31.
func (m *Matrix) size() int {
	if len(m.Axes) == 0 {
		return 0
	}
	n := 1
	for _, a := range m.Axes {
		if n > math.MaxInt32 {
			return n
		}
		n *= max(len(a.Values), 1)
	}
	return n
}

// expand returns the combinations in the order of the plan. First come those of the lists, where
// the last list varies fastest; then those that include adds. A job without a matrix has one empty
// combination.
func (m *Matrix) expand() []Combination {
	if len(m.Axes) == 0 && len(m.Include) == 0 {
		return []Combination{{Values: map[string]any{}}}
	}
	var original []Combination
	if n := m.size(); n > 0 {
		at := make([]int, len(m.Axes))
		for range n {
			c := Combination{Values: make(map[string]any, len(m.Axes)+1), Keys: make([]string, 0, len(m.Axes)+1)}
			for i, a := range m.Axes {
				c.Keys = append(c.Keys, a.Key)
				c.Values[a.Key] = a.Values[at[i]]
			}
			if !slices.ContainsFunc(m.Exclude, func(e Combination) bool { return e.matches(c) }) {
				original = append(original, c)
			}
			for i := len(at) - 1; i >= 0; i-- {
				if at[i]++; at[i] < len(m.Axes[i].Values) {
					break
				}
				at[i] = 0
			}
		}
	}
	var added []Combination
	for _, inc := range m.Include {
		fits := false
		for i := range original {
			if m.contradicts(inc, original[i]) {
				continue
			}
			fits = true
			for _, k := range inc.Keys {
				if !slices.Contains(original[i].Keys, k) {
					original[i].Keys = append(original[i].Keys, k)
				}
				original[i].Values[k] = inc.Values[k]
			}
		}
		if !fits {
			added = append(added, Combination{Keys: slices.Clone(inc.Keys), Values: maps.Clone(inc.Values)})
		}
	}
	return append(original, added...)
}

// matches reports whether c has all the values of e.
func (e Combination) matches(c Combination) bool {
	for k, v := range e.Values {
		if c.Values[k] != v {
			return false
		}
	}
	return true
}

// contradicts reports whether inc would change a value that c has from the lists.
func (m *Matrix) contradicts(inc, c Combination) bool {
	return slices.ContainsFunc(m.Axes, func(a Axis) bool {
		v, ok := inc.Values[a.Key]
		return ok && v != c.Values[a.Key]
	})
}

// keys returns the type of every key that a combination may have: the type of its values if they
// all have the same one, otherwise any.
func (m *Matrix) keys() types.Map {
	all := types.Map{}
	note := func(key string, v any) {
		t := types.TypeOf(v)
		if known, ok := all[key]; ok && !known.Equal(t) {
			t = types.Any
		}
		all[key] = t
	}
	for _, a := range m.Axes {
		for _, v := range a.Values {
			note(a.Key, v)
		}
	}
	for _, inc := range m.Include {
		for k, v := range inc.Values {
			note(k, v)
		}
	}
	return all
}

// vars returns the variables of a combination. A key that it lacks has the zero value of its type,
// as in GitHub Actions.
func (c Combination) vars(keys types.Map) map[string]any {
	v := make(map[string]any, len(keys))
	for k, t := range keys {
		switch t {
		case types.Bool:
			v[k] = false
		case types.Int:
			v[k] = 0
		case types.Float64:
			v[k] = 0.0
		default:
			v[k] = ""
		}
	}
	maps.Copy(v, c.Values)
	return v
}

// String returns "display=qxl, tls=true".
func (c Combination) String() string {
	var b strings.Builder
	for i, k := range c.Keys {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s=%s", k, asText(c.Values[k]))
	}
	return b.String()
}
