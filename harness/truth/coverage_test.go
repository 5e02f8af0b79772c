package truth_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/spice"
)

func TestCoverageOfRunsAddsUp(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for i, text := range []string{
		`[{"kind":"image","name":"quic","count":2},{"kind":"image","name":"lz_rgb","count":0}]`,
		`[{"kind":"image","name":"quic","count":3},{"kind":"message","name":"client inputs.key_down","count":0}]`,
	} {
		file := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	c, err := truth.ReadCoverage(files...)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := truth.WriteCoverage(&b, c); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(b.String()), " ")
	want := "seen kind name never image lz_rgb 5 image quic impossible message client inputs.key_down the truth server has no keyboard and no mouse"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := truth.ReadCoverage(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestDemandsThatAreNotMetAreNamed(t *testing.T) {
	c := spice.Coverage{{Kind: "image", Name: "quic", Count: 5}, {Kind: "operation", Name: "draw_rop3"}}
	if err := truth.Check(c, truth.Demand{Kind: "image", Name: "quic"}, truth.Demand{Kind: "image", Name: "quic", Count: 5}); err != nil {
		t.Error(err)
	}
	err := truth.Check(c, truth.Demand{Kind: "image", Name: "quic", Count: 6}, truth.Demand{Kind: "operation", Name: "draw_rop3"}, truth.Demand{Kind: "image", Name: "lz4"})
	if want := "coverage: missing image quic (5 of 6), operation draw_rop3 (0 of 1), image lz4 (0 of 1)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWhatIsNeverSeenWithoutAReasonIsFound(t *testing.T) {
	c := spice.Coverage{
		{Kind: "image", Name: "quic"},
		{Kind: "message", Name: "server display.inval_all_pixmaps"},
		{Kind: "message", Name: "client inputs.key_down"},
		{Kind: "operation", Name: "draw_fill", Count: 1},
	}
	got := truth.WithoutReason(c)
	if len(got) != 1 || got[0].Name != "quic" {
		t.Errorf("got %v, want quic alone", got)
	}
}
