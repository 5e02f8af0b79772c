package proxy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// everyMetric returns the metrics that a proxy has which has seen a bit of everything,
// each with its labels.
func everyMetric(t *testing.T) map[string][]string {
	t.Helper()
	c := newConsole(t, "tcp", nil)
	l := up(t, c, func(cfg *proxy.Config) {
		cfg.Consoles, cfg.Linger = counting{&lab{consoles: []*console{c}}}, time.Millisecond
	})
	token, _, _ := l.open()
	picture, err := l.link(token, session, display)
	require.NoError(t, err)
	server := l.console.next(t)
	msg := message(3, (&wire.SetAck{Generation: 1, Window: 5}).Append(nil))
	write(t, server, msg)
	expect(t, picture, msg)
	_, err = l.link("never issued", 0, mainChannel)
	require.Error(t, err)
	l.open()
	other, _, _ := l.open()
	_, err = l.linkAs(link.Config{ConnectionID: session, Channel: wire.ChannelID{Type: wire.ChannelUSBRedir}, CommonCaps: link.CommonCaps, Secret: other})
	require.Error(t, err)
	require.True(t, l.EndSession(l.Sessions()[1].ID))
	l.event(proxy.EventChannelClosed)
	_, body := l.ask("GET", "/metrics")
	return metricsOf(body)
}

var (
	sample = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`([a-zA-Z_]+)="`)
)

// metricsOf reads the labels of each metric in Prometheus's text format.
func metricsOf(body string) map[string][]string {
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

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	ranged   = regexp.MustCompile(`\[[^\]]*\]`)
	grouped  = regexp.MustCompile(`\b(?:by|without) *\(([^)]*)\)`)
	selector = regexp.MustCompile(`\b([a-zA-Z_][a-zA-Z0-9_]*)\b(?: *\{([^}]*)\})?( *\()?`)
	matcher  = regexp.MustCompile(`([a-zA-Z_]+) *(?:=~|!~|!=|=)`)
)

// wrongIn says what a query has that no metric has: names, and labels by which it selects
// or groups. Prometheus adds the label instance, and histogram_quantile takes le away.
func wrongIn(query string, metrics map[string][]string) (wrong []string) {
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

func TestEveryQueryOfTheDashboardNamesAMetricThatExists(t *testing.T) {
	metrics := everyMetric(t)
	text, err := os.ReadFile("../../docs/grafana-proxy.json")
	require.NoError(t, err)
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
	require.NoError(t, json.Unmarshal(text, &dashboard))
	queries := map[string][]string{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries[p.Title] = append(queries[p.Title], target.Expr)
		}
		if p.Type != "row" {
			assert.NotEmpty(t, queries[p.Title], "panel %q has no query", p.Title)
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" {
			queries["$"+v.Name] = append(queries["$"+v.Name], v.Query.(map[string]any)["query"].(string))
		}
	}
	// Every query is found, however the file nests them.
	require.Equal(t, strings.Count(string(text), `"expr":`)+1, len(slices.Concat(slices.Collect(maps.Values(queries))...)))
	all := ""
	for title, list := range queries {
		for _, query := range list {
			all += query + "\n"
			assert.Empty(t, wrongIn(query, metrics), "%q: %s", title, query)
		}
	}
	// And nothing that the proxy measures is missing from the dashboard or the manual.
	manual, err := os.ReadFile("../../docs/proxy.md")
	require.NoError(t, err)
	for name := range metrics {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if short, ours := strings.CutPrefix(base, "spicelane_proxy_"); ours {
			assert.True(t, strings.Contains(all, base), "docs/grafana-proxy.json does not show %s", base)
			assert.True(t, strings.Contains(string(manual), "`"+short+"`"), "docs/proxy.md does not name %s", short)
		}
	}
}

func TestAQueryThatNamesWhatIsNotThereIsFound(t *testing.T) {
	metrics := metricsOf(`# HELP a_total Of a.
a_total{x="1",y="} b 2"} 3
b_seconds_bucket{le="+Inf"} 7
c 1.5e+07
`)
	require.Equal(t, map[string][]string{"a_total": {"x", "y"}, "b_seconds_bucket": {"le"}, "c": nil}, metrics)
	for query, want := range map[string]string{
		`sum by (x) (rate(a_total{y="z"}[5m]))`:                                "[]",
		`a_total{instance=~"$instance",x!~"b_total|d{}"}`:                      "[]",
		`histogram_quantile(0.99, sum by (le) (rate(b_seconds_bucket[$__i])))`: "[]",
		`c / ignoring(x) a_total`:                                              "[metric x]", // not understood, and therefore wrong
		`rate(a_totals[5m])`:                                                   "[metric a_totals]",
		`b_seconds`:                                                            "[metric b_seconds]",
		`sum by (z) (a_total)`:                                                 "[a_total has no label z]",
		`a_total{z="1"}`:                                                       "[a_total has no label z]",
		`sum(c) + a_total{x="1", w=~"2"}`:                                      "[a_total has no label w]",
		`sum(rate())`:                                                          "[no metric]",
		`label_values(a_total, x)`:                                             "[]",
		`label_values(a_total, w)`:                                             "[a_total has no label w]",
		`label_values(d, x)`:                                                   "[metric d]",
	} {
		assert.Equal(t, want, fmt.Sprint(wrongIn(query, metrics)), query)
	}
}
