package truth_test

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/spice"
)

// walk runs steps with a configuration and fails the test if the walk itself fails.
func walk(t *testing.T, cfg truth.Config, settings ...string) *truth.Report {
	t.Helper()
	cfg.Helper = helper(t)
	cfg.Dir = t.TempDir()
	for _, s := range settings {
		set, err := truth.ParseSetting(s)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Settings = append(cfg.Settings, set)
	}
	r, err := truth.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// only returns the steps of the catalogue that match a pattern.
func only(t *testing.T, pattern string) []catalogue.Group {
	t.Helper()
	groups, err := catalogue.Only(catalogue.Groups(), pattern)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

// sample is the sample of make test; spicelane truth walks the rest. Video takes time and few
// cycles, so it is walked beside the others. Offscreen surfaces are large and depend little on the
// compression. The caches matter for compressed images and for others.
var sample = []struct {
	setting       string
	only, without []string // groups
}{
	{setting: "off", only: []string{"stream"}},
	{setting: "off", without: []string{"stream", "surface"}},
	{setting: "quic", without: []string{"stream", "cache"}},
	{setting: "glz+zlib", without: []string{"stream", "surface"}},
	{setting: "lz4", without: []string{"stream", "cache", "surface"}},
	{setting: "auto_glz+jpeg", only: []string{"jpeg"}},
}

func TestASampleOfEveryOperationIsExact(t *testing.T) {
	helper(t) // or skip: the check below is about what the walks have seen
	var (
		mu   sync.Mutex
		ran  = map[string]int{} // by operation
		seen spice.Coverage
	)
	t.Run("walk", func(t *testing.T) {
		for _, part := range sample {
			t.Run(strings.Join(append([]string{part.setting}, part.only...), " "), func(t *testing.T) {
				t.Parallel()
				groups := slices.DeleteFunc(catalogue.Sample(catalogue.Groups(), 100), func(g catalogue.Group) bool {
					return len(part.only) > 0 && !slices.Contains(part.only, g.Name) || slices.Contains(part.without, g.Name)
				})
				r := walk(t, truth.Config{Groups: groups}, part.setting)
				t.Logf("%d steps in %v", r.Ran, r.Took)
				for _, f := range r.Failures {
					t.Error(f.String())
				}
				if r.Stopped != "" {
					t.Errorf("stopped %s", r.Stopped)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, row := range r.Rows {
					n := row.Failed
					for _, by := range row.By {
						n += by
					}
					if n != row.Ran || row.Ran != row.Steps {
						t.Errorf("%s: %d steps, of %d that ran %d are accounted for", row.Operation, row.Steps, row.Ran, n)
					}
					ran[row.Operation] += row.Ran
				}
				seen = coverage.Sum(seen, r.Coverage)
			})
		}
	})
	for _, g := range catalogue.Groups() {
		for _, s := range g.Steps {
			if ran[s.Operation] == 0 {
				t.Errorf("no step of %s is in the sample", s.Operation)
				ran[s.Operation]++ // say it once
			}
		}
	}
	var demands []coverage.Demand
	for _, op := range []string{"copy_bits", "draw_alpha_blend", "draw_blackness", "draw_blend", "draw_composite", "draw_copy", "draw_fill",
		"draw_invers", "draw_opaque", "draw_rop3", "draw_stroke", "draw_text", "draw_transparent", "draw_whiteness", "stream_data"} {
		demands = append(demands, coverage.Demand{Kind: "operation", Name: op})
	}
	for _, codec := range []string{"bitmap", "quic", "lz_rgb", "lz_plt", "glz_rgb", "zlib_glz_rgb", "lz4", "jpeg", "jpeg_alpha", "from_cache", "surface"} {
		demands = append(demands, coverage.Demand{Kind: "image", Name: codec})
	}
	if err := coverage.Check(seen, demands...); err != nil {
		t.Error(err)
	}
	found := coverage.Found{Runs: 1, Rows: seen}
	for _, row := range found.Contradicted() {
		t.Errorf("%s %s is said to be impossible here, and was seen", row.Kind, row.Name)
	}
	for _, row := range found.WithoutReason() {
		t.Errorf("%s %s was never seen, and nothing says why: it needs a step, or a reason", row.Kind, row.Name)
	}
}

func TestAStreamThatLosesNoFramesAsStatedFails(t *testing.T) {
	read := func(_ string, cfg *spice.Config) { cfg.DialFunc = new(net.Dialer).DialContext } // it cannot be paused
	r := walk(t, truth.Config{Groups: only(t, "frames lost"), Spoil: read}, "off")
	if len(r.Failures) != 1 || !strings.Contains(r.Failures[0].What, "was to leave out frames") {
		t.Errorf("got %+v, want the server blamed for leaving out no frames", r.Failures)
	}
}

func TestTheServerDiesWhereItIsKnownTo(t *testing.T) {
	r := walk(t, truth.Config{Groups: only(t, "deadly"), NoProxy: true}, "off")
	for _, f := range r.Failures {
		t.Error(f.String())
	}
	if died := r.Rows[0].By[catalogue.Dies]; died != r.Steps || died < 60 {
		t.Errorf("it died %d times in %d steps, want each time", died, r.Steps)
	}
}

func TestAStepThatDoesNotDieAsStatedFails(t *testing.T) {
	groups := only(t, "1001")
	groups[0].Steps[0].Expect = catalogue.Expect{Kind: catalogue.Dies, Reason: "a test says so"}
	r := walk(t, truth.Config{Groups: groups, NoProxy: true}, "off")
	if len(r.Failures) != 1 || r.Failures[0].Hop != truth.HopServer || !strings.Contains(r.Failures[0].What, "lives") {
		t.Errorf("got %+v, want the server blamed for living", r.Failures)
	}
}

func TestAStepThatIsNotDroppedAsStatedFails(t *testing.T) {
	groups := only(t, "1001")
	groups[0].Steps[0].Expect = catalogue.Expect{Kind: catalogue.Dropped, Reason: "a test says so"}
	r := walk(t, truth.Config{Groups: groups, NoProxy: true}, "off")
	if len(r.Failures) != 1 || r.Failures[0].Hop != truth.HopServer || !strings.Contains(r.Failures[0].What, "drew") {
		t.Errorf("got %+v, want the server blamed for drawing", r.Failures)
	}
}

func TestAServerThatDiesUnexpectedlyIsBlamedAndTheNextStepFollows(t *testing.T) {
	groups := only(t, "9000,1001-1003")
	slices.Reverse(groups) // deadly first
	for g := range groups {
		for i := range groups[g].Steps {
			groups[g].Steps[i].Expect = catalogue.Expect{Kind: catalogue.Exact}
		}
	}
	r := walk(t, truth.Config{Groups: groups}, "off")
	if len(r.Failures) != 1 || r.Failures[0].Hop != truth.HopServer || r.Failures[0].Step != 9000 {
		t.Fatalf("got %+v, want one failure of the server in step 9000", r.Failures)
	}
	if fills := r.Rows[1]; fills.By[catalogue.Exact] != 3 {
		t.Errorf("of the steps after it %+v", *fills)
	}
}

func TestRandomStepsAreExact(t *testing.T) {
	g := catalogue.RandomGroup(7)
	g.Steps = g.Steps[:60]
	r := walk(t, truth.Config{Groups: []catalogue.Group{g}}, "auto_glz")
	for _, f := range r.Failures {
		t.Error(f.String())
	}
}
