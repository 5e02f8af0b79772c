// Package dashboardtest has checks for tests that compare a Grafana dashboard with the metrics of a
// program.
package dashboardtest

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	sample = regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`([a-zA-Z_]+)="`)
)

// Metrics reads the labels of each metric in Prometheus's text format.
func Metrics(body string) map[string][]string {
	metrics := map[string][]string{}
	for _, m := range sample.FindAllStringSubmatch(body, -1) {
		labels := metrics[m[1]]
		for _, one := range label.FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, one[1])
		}
		slices.Sort(labels)
		metrics[m[1]] = slices.Compact(labels)
	}
	return metrics
}

// base matches what the series of a histogram add to its name.
var base = regexp.MustCompile(`_(bucket|sum|count)$`)

// Names returns the names of the metrics that begin with prefix, without the prefix.
func Names(metrics map[string][]string, prefix string) []string {
	var names []string
	for name := range metrics {
		if short, ok := strings.CutPrefix(base.ReplaceAllString(name, ""), prefix); ok && !slices.Contains(names, short) {
			names = append(names, short)
		}
	}
	slices.Sort(names)
	return names
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	ranged   = regexp.MustCompile(`\[[^\]]*\]`)
	grouped  = regexp.MustCompile(`\b(?:by|without) *\(([^)]*)\)`)
	selector = regexp.MustCompile(`\b([a-zA-Z_][a-zA-Z0-9_]*)\b(?: *\{([^}]*)\})?( *\()?`)
	matcher  = regexp.MustCompile(`([a-zA-Z_]+) *(?:=~|!~|!=|=)`)
)

// Wrong returns what a query names and no metric has: metrics, and labels by which it selects or
// groups. The label instance is allowed, because Prometheus adds it.
func Wrong(query string, metrics map[string][]string) (wrong []string) {
	if metric, ok := strings.CutPrefix(query, "label_values("); ok {
		metric, name, _ := strings.Cut(strings.TrimSuffix(metric, ")"), ",")
		query = "sum by (" + name + ") (" + metric + ")"
	}
	query = quoted.ReplaceAllString(query, `""`)
	query = ranged.ReplaceAllString(query, "")
	var groups []string
	for _, g := range grouped.FindAllStringSubmatch(query, -1) {
		for name := range strings.SplitSeq(g[1], ",") {
			groups = append(groups, strings.TrimSpace(name))
		}
	}
	query = grouped.ReplaceAllString(query, "")
	found := 0
	for _, m := range selector.FindAllStringSubmatch(query, -1) {
		if m[3] != "" {
			continue // a function
		}
		found++
		labels, there := metrics[m[1]]
		if !there {
			wrong = append(wrong, "metric "+m[1])
			continue
		}
		wants := slices.Clone(groups)
		for _, one := range matcher.FindAllStringSubmatch(m[2], -1) {
			wants = append(wants, one[1])
		}
		for _, name := range wants {
			if name != "instance" && !slices.Contains(labels, name) {
				wrong = append(wrong, m[1]+" has no label "+name)
			}
		}
	}
	if found == 0 {
		wrong = append(wrong, "no metric")
	}
	return wrong
}

// Check fails the test if a query of the dashboard in file names a metric or a label that metrics
// lacks, if a panel has no query, or if no query names one of the metrics that begin with prefix.
func Check(t *testing.T, file string, metrics map[string][]string, prefix string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults(t, text, metrics, prefix) {
		t.Errorf("%s: %s", file, fault)
	}
}

// faults returns what Check complains about.
func faults(t *testing.T, text []byte, metrics map[string][]string, prefix string) (faults []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Type  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	all, found := "", 0
	check := func(title, query string) {
		all += query + "\n"
		for _, wrong := range Wrong(query, metrics) {
			faults = append(faults, title+": "+wrong+", in "+query)
		}
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			found++
			check(p.Title, target.Expr)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			faults = append(faults, p.Title+": no query")
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" {
			query, _ := v.Query.(map[string]any)["query"].(string)
			check("$"+v.Name, query)
		}
	}
	if n := strings.Count(string(text), `"expr":`); n != found {
		faults = append(faults, "there are queries that this test does not find")
	}
	for _, name := range Names(metrics, prefix) {
		if !regexp.MustCompile(`\b` + prefix + name + `\b|\b` + prefix + name + `_bucket\b`).MatchString(all) {
			faults = append(faults, "no query names "+prefix+name)
		}
	}
	return faults
}
