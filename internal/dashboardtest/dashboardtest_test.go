package dashboardtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAQueryThatNamesWhatIsNotThereIsFound(t *testing.T) {
	metrics := Metrics(`# HELP a_total Of a.
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
		assert.Equal(t, want, fmt.Sprint(Wrong(query, metrics)), query)
	}
}

func TestADashboardThatDoesNotShowWhatIsMeasuredIsFound(t *testing.T) {
	metrics := Metrics("own_a{x=\"1\"} 3\nown_b_bucket{le=\"1\"} 1\nown_b_sum 1\nother 1\n")
	require.Equal(t, []string{"a", "b"}, Names(metrics, "own_"))
	const whole = `{"panels": [{"type": "row"}, {"type": "stat", "title": "A", "targets": [{"expr": "own_a"}, {"expr": "rate(own_b_bucket[1m])"}]}],
		"templating": {"list": [{"type": "query", "name": "x", "query": {"query": "label_values(own_a, x)"}}]}}`
	replace := func(old, by string) string { return strings.Replace(whole, old, by, 1) }
	for text, want := range map[string][]string{
		whole:                                    nil,
		replace(`"own_a"`, `"own_c"`):            {"A: metric own_c, in own_c"},
		replace(`(own_a, x)`, `(own_a, y)`):      {"$x: own_a has no label y, in label_values(own_a, y)"},
		replace(`own_b_bucket`, `own_a`):         {"no query names own_b"},
		replace(`"row"`, `"stat", "title": "B"`): {"B: no query"},
		replace(`"row"`, `"row", "panels": [{"targets": [{"expr": "x"}]}]`): {"there are queries that this test does not find"},
	} {
		assert.Equal(t, want, faults(t, []byte(text), metrics, "own_"), text)
	}
}
