package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
)

func TestWhatTheLanesOfARunCarriedIsAddedUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var stream strings.Builder
	for name, carried := range map[string]string{
		"TestOne": `{"operation draw_copy":5,"image quic":2}`,
		"TestTwo": `{"operation draw_copy":7,"operation draw_fill":1}`,
	} {
		lane := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(lane, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(lane, verdict.File), []byte(`{"ok":true,"name":"l","accel":"tcg","carried":`+carried+`}`), 0o600))
		for _, line := range []string{
			`{"Action":"run","Package":"p","Test":"NAME"}`,
			`{"Action":"artifacts","Package":"p","Test":"NAME","Path":"DIR"}`,
			`{"Action":"pass","Package":"p","Test":"NAME","Elapsed":1}`,
		} {
			stream.WriteString(strings.NewReplacer("NAME", name, "DIR", lane).Replace(line) + "\n")
		}
	}
	stream.WriteString(`{"Action":"pass","Package":"p","Elapsed":2}` + "\n")
	run, err := report.Read(strings.NewReader(stream.String()), report.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, "drawings: draw_copy 12, draw_fill 1; images: quic 2", run.Carried())
	var summary strings.Builder
	require.NoError(t, run.WriteSummary(&summary, report.SummaryOptions{}))
	require.Contains(t, summary.String(), "The lanes carried drawings: draw")

	none, err := report.Read(strings.NewReader(`{"Action":"pass","Package":"p"}`+"\n"), report.ReadOptions{})
	require.NoError(t, err)
	require.Empty(t, none.Carried())
}
