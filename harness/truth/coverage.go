package truth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spicelane/spicelane/spice"
)

// CoverageFile is where a run leaves what its clients were sent.
const CoverageFile = "coverage.json"

// writeCoverage leaves the coverage of a run in its directory.
func writeCoverage(dir string, c spice.Coverage) error {
	b, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, CoverageFile), append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("truth: coverage: %w", err)
	}
	return nil
}

// ReadCoverage adds up what runs left in files.
func ReadCoverage(files ...string) (spice.Coverage, error) {
	sum := map[[2]string]spice.CoverageRow{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("truth: coverage: %w", err)
		}
		var rows spice.Coverage
		if err := json.Unmarshal(b, &rows); err != nil {
			return nil, fmt.Errorf("truth: coverage: %s: %w", file, err)
		}
		for _, row := range rows {
			k := [2]string{row.Kind, row.Name}
			old := sum[k]
			row.Count += old.Count
			row.Time += old.Time
			sum[k] = row
		}
	}
	all := spice.Coverage(slices.Collect(maps.Values(sum)))
	slices.SortFunc(all, func(a, b spice.CoverageRow) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// impossible says why something is never seen with the truth server. Names are globs (see path.Match).
// What the server can be made to send needs a step, not a line here.
var impossible = []struct{ kind, name, why string }{
	{"message", "client inputs.*", "the truth server has no keyboard and no mouse"},
	{"message", "server inputs.*", "the truth server has no keyboard and no mouse"},
	{"message", "client main.mouse_mode_request", "the truth server has no tablet: there is one mode"},
	{"message", "server main.mouse_mode", "the truth server has no tablet: there is one mode"},
	{"message", "* main.agent_*", "the truth server has no agent"},
	{"message", "* main.migrate*", "the truth server does not migrate"},
	{"message", "* *.migrate*", "the truth server does not migrate"},
	{"message", "* migrate*", "the truth server does not migrate"},
	{"message", "server display.inval_all_pixmaps", "only a server that a session has migrated to sends it"},
	{"message", "server wait_for_channels", "the truth server has one display: no other shares its image cache"},
	{"message", "server main.multi_media_time", "it goes with sound: there is none"},
	{"message", "* *.quality_indicator", "spice-server neither sends it nor reads it"},
	{"message", "client main.client_info", "spice-server does not read it"},
	{"message", "* disconnecting", "spice-server and the client hang up without it"},
	{"message", "server list", "spice-server sends no messages inside of others"},
	{"message", "server display.mode", "drivers of the first QXL device only"},
	{"message", "server display.reset", "drivers of the first QXL device only"},
	{"message", "* display.gl_*", "a GL scanout is handed over on unix sockets only"},
	{"message", "client display.preferred_video_codec_type", "the client decodes one codec, and so prefers none"},
	{"capability", "display.pref_video_codec_type", "the client decodes one codec, and so prefers none"},
	{"capability", "display.a8_surface", "only clients announce it"},
	{"capability", "display.codec_*", "only clients announce it"},
	{"capability", "display.composite", "only clients announce it"},
	{"capability", "display.lz4_compression", "only clients announce it"},
	{"capability", "display.multi_codec", "only clients announce it"},
	{"capability", "display.sized_stream", "only clients announce it"},
	{"capability", "display.gl_scanout", "a GL scanout is handed over on unix sockets only"},
	{"capability", "inputs.*", "the truth server has no keyboard and no mouse"},
	{"capability", "main.*migrate", "the truth server does not migrate"},
	{"feature", "rop noop", "spice-server sends nothing for it"},
	{"feature", "bitmap 1bit_le", "spice-server aborts on such images"},
	{"feature", "bitmap 4bit_le", "spice-server aborts on such images"},
}

// impossibleHere returns why a row is never seen; empty if it could be.
func impossibleHere(row spice.CoverageRow) string {
	for _, i := range impossible {
		if ok, _ := path.Match(i.name, row.Name); ok && i.kind == row.Kind {
			return i.why
		}
	}
	return ""
}

// WithoutReason returns what was never seen though nothing says why.
func WithoutReason(c spice.Coverage) spice.Coverage {
	return slices.DeleteFunc(c.Unseen(), func(r spice.CoverageRow) bool {
		return impossibleHere(r) != ""
	})
}

// WriteCoverage writes what was seen, what never was, and what cannot be seen here, with the reasons.
func WriteCoverage(w io.Writer, c spice.Coverage) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "seen\tkind\tname\t")
	for _, row := range c {
		switch why := impossibleHere(row); {
		case row.Count > 0:
			fmt.Fprintf(tw, "%d\t%s\t%s\t\n", row.Count, row.Kind, row.Name)
		case why != "":
			fmt.Fprintf(tw, "impossible\t%s\t%s\t%s\n", row.Kind, row.Name, why)
		default:
			fmt.Fprintf(tw, "never\t%s\t%s\t\n", row.Kind, row.Name)
		}
	}
	return tw.Flush()
}

// A Demand is something that a run must have carried: a kind and name of a spice.CoverageRow, at least
// Count times; 0 is once.
type Demand struct {
	Kind, Name string
	Count      uint64
}

// MissingCoverage is what a run was to carry and did not.
type MissingCoverage struct{ Missing []string }

func (e *MissingCoverage) Error() string {
	return "coverage: missing " + strings.Join(e.Missing, ", ")
}

// Check returns a *MissingCoverage if a coverage lacks something that is demanded.
func Check(c spice.Coverage, demands ...Demand) error {
	var missing []string
	for _, d := range demands {
		want, got := max(d.Count, 1), uint64(0)
		for _, row := range c {
			if row.Kind == d.Kind && row.Name == d.Name {
				got = row.Count
			}
		}
		if got < want {
			missing = append(missing, fmt.Sprintf("%s %s (%d of %d)", d.Kind, d.Name, got, want))
		}
	}
	if missing == nil {
		return nil
	}
	return &MissingCoverage{missing}
}
