package truth_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/spice"
)

// TestEveryRecordingOfTheCorpusIsExact makes the corpus and plays each of its recordings, comparing
// three pictures after each command. In make test, the corpus is made from a sample and played with
// one compression. With SPICELANE_CORPUS=full, it is the one of make corpus, and played with all
// compressions.
func TestEveryRecordingOfTheCorpusIsExact(t *testing.T) {
	groups, settings := catalogue.Sample(catalogue.Groups(), 300), []truth.Setting{{Compression: "auto_lz"}}
	if os.Getenv("SPICELANE_CORPUS") == "full" {
		groups, settings = catalogue.Groups(), nil
	}
	dir := t.TempDir()
	made := walk(t, truth.Config{Groups: groups, Record: dir, Pixels: catalogue.Coarse, NoProxy: true}, "off")
	if !made.OK() {
		t.Fatal(made.Err())
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "recording\tcommands\tplayed\texact\tFAIL\t")
	var recordings, commands, played, exact, failed int
	var seen spice.Coverage
	for _, g := range groups {
		path := filepath.Join(dir, g.Name+".replay")
		if g.Unrecorded {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s is recorded, and is said to be of no use as a recording", g.Name)
			}
			continue
		}
		r, err := truth.Replay(t.Context(), truth.Config{Helper: helper(t), Dir: t.TempDir(), Settings: settings}, path)
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
			continue
		}
		for _, f := range r.Failures {
			t.Errorf("%s: %v", g.Name, &f)
		}
		row := r.Rows[0]
		if n := r.Steps * len(r.Settings); r.Steps == 0 || row.By[catalogue.Exact] != n {
			t.Errorf("%s: %d of %d commands are exact", g.Name, row.By[catalogue.Exact], n)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", g.Name, r.Steps, r.Ran, row.By[catalogue.Exact], row.Failed)
		recordings++
		commands, played, exact, failed = commands+r.Steps, played+r.Ran, exact+row.By[catalogue.Exact], failed+row.Failed
		seen = coverage.Sum(seen, r.Coverage)
	}
	fmt.Fprintf(w, "%d recordings\t%d\t%d\t%d\t%d\t\n", recordings, commands, played, exact, failed)
	w.Flush()
	t.Logf("played:\n%s", &table)
	var demands []coverage.Demand
	for _, op := range []string{"copy_bits", "draw_alpha_blend", "draw_blackness", "draw_blend", "draw_composite", "draw_copy", "draw_fill",
		"draw_invers", "draw_opaque", "draw_rop3", "draw_stroke", "draw_text", "draw_transparent", "draw_whiteness"} {
		demands = append(demands, coverage.Demand{Kind: "operation", Name: op})
	}
	if err := coverage.Check(seen, demands...); err != nil {
		t.Error(err)
	}
}

func TestARecordingIsNotPlayedWithJPEG(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.replay")
	r, err := truth.Replay(t.Context(), truth.Config{Dir: t.TempDir(), Settings: []truth.Setting{{Compression: "quic", JPEG: true}}}, path)
	if err == nil || !strings.Contains(err.Error(), "JPEG") {
		t.Errorf("got %+v, %v, want an error that says why", r, err)
	}
}
