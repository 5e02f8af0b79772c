package archive_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/archive/archivetest"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// write writes the files of a map from path to text.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// stream is a run in which TestLane has two subtests, one of which failed, and TestOften ran twice.
const stream = `{"Time":"2026-11-27T10:00:00Z","Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestLane"}
{"Action":"run","Package":"p","Test":"TestLane/good"}
{"Action":"pass","Package":"p","Test":"TestLane/good","Elapsed":0.5}
{"Action":"run","Package":"p","Test":"TestLane/bad"}
{"Action":"artifacts","Package":"p","Test":"TestLane/bad","Path":"/elsewhere/build/artifacts/_artifacts/p/bad"}
{"Action":"output","Package":"p","Test":"TestLane/bad","Output":"    x_test.go:3: product fault (proxy): it sent too little\n"}
{"Action":"fail","Package":"p","Test":"TestLane/bad","Elapsed":2}
{"Action":"fail","Package":"p","Test":"TestLane","Elapsed":2.5}
{"Action":"run","Package":"p","Test":"TestOften"}
{"Action":"pass","Package":"p","Test":"TestOften","Elapsed":0.1}
{"Action":"run","Package":"p","Test":"TestOften"}
{"Action":"output","Package":"p","Test":"TestOften","Output":"    x_test.go:9: host fault: no QEMU\n"}
{"Action":"fail","Package":"p","Test":"TestOften","Elapsed":0.2}
{"Time":"2026-11-27T10:00:03Z","Action":"fail","Package":"p","Elapsed":3}
`

func TestWhatMakeTestLeavesIsARun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"lanes.json":              stream,
		"lanes.xml":               "<testsuites/>",
		"race.json":               `{"Action":"pass","Package":"q","Test":"TestQ","Elapsed":1}` + "\n" + `{"Action":"pass","Package":"q","Elapsed":1}` + "\n",
		"bench-lane.json":         `{"lanes": 3}`,
		"_artifacts/p/bad/s.log":  "Hello from Beacon",
		"_artifacts/p/bad/v.json": `{"ok":false}`,
	})
	src, err := archive.ReadDir(dir, archive.Extra{Identity: map[string]string{"proxy": "mine 2"}, Labels: map[string]string{"branch": "main"}})
	require.NoError(t, err)
	r := src.Run
	require.Regexp(t, `^gotest-20261127-100000-[0-9a-f]{8}$`, r.ID)
	require.Equal(t, result.Failure, r.Outcome)
	require.Equal(t, verdict.Product, r.Verdict)
	got := map[string]string{}
	for _, c := range r.Cells {
		got[c.ID] = strings.TrimRight(string(c.Outcome)+" "+string(c.Verdict)+" "+c.Reason, " ")
		require.Equal(t, map[string]string{"proxy": "mine 2"}, c.Identity)
		for _, at := range c.Attempts {
			require.Equal(t, map[string]string{"proxy": "mine 2"}, at.Identity)
		}
	}
	require.Equal(t, map[string]string{
		"lanes":                 "failure product " + cell(r, "lanes").Reason,
		"lanes/p.TestLane/good": "success",
		"lanes/p.TestLane/bad":  "failure product it sent too little",
		"lanes/p.TestOften":     "failure host no QEMU",
		"race":                  "success",
		"race/q.TestQ":          "success",
	}, got)
	often := cell(r, "lanes/p.TestOften")
	require.Len(t, often.Attempts, 2)
	require.Equal(t, []result.Measurement{{Name: "took", Unit: "ms", Values: []float64{100, 200}, Better: "lower"}}, often.Measurements)
	require.Equal(t, []float64{100}, often.Attempts[0].Measurements[0].Values)

	a := archivetest.Open(t, newDir(t))
	added, err := a.Add(t.Context(), src)
	require.NoError(t, err)
	require.Equal(t, "mine 2", added.Record.Build["proxy"])
	files, err := a.Files(t.Context(), r.ID)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	require.Equal(t, []string{"_artifacts/p/bad/s.log", "_artifacts/p/bad/v.json", "lanes.json", "lanes.xml", "race.json"}, names)
	rc, err := a.OpenFile(t.Context(), files[2])
	require.NoError(t, err)
	b, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.NoError(t, rc.Close())
	require.Equal(t, stream, string(b))
	src, err = archive.ReadDir(dir, archive.Extra{Identity: map[string]string{"proxy": "mine 2"}, Labels: map[string]string{"branch": "main"}})
	require.NoError(t, err)
	added, err = a.Add(t.Context(), src)
	require.NoError(t, err)
	require.True(t, added.Known)
}

func cell(r *result.Run, id string) *result.Cell {
	for i := range r.Cells {
		if r.Cells[i].ID == id {
			return &r.Cells[i]
		}
	}
	return nil
}

func TestTheDirectoryOfStreamsIsNoPattern(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run[1]*")
	write(t, dir, map[string]string{"lanes.json": stream})
	src, err := archive.ReadDir(dir, archive.Extra{})
	require.NoError(t, err)
	require.NotNil(t, cell(src.Run, "lanes/p.TestOften"))
}

func TestADirectoryWithoutResultsIsSaidToHaveNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"package.json": `{"name":"x"}`})
	_, err := archive.ReadDir(dir, archive.Extra{})
	require.ErrorContains(t, err, "it has neither run.json nor a stream of go test -json")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

// With -count, or in a stream of several runs, a test has several attempts, and so has a package.
func TestACellOfGoTestIsAsItsWorstAttempt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	test := func(name, fault string) string {
		begin := `{"Action":"run","Package":"p","Test":"` + name + `"}` + "\n"
		switch fault {
		case "pass", "skip":
			return begin + `{"Action":"` + fault + `","Package":"p","Test":"` + name + `"}` + "\n"
		}
		return begin + `{"Action":"output","Package":"p","Test":"` + name + `","Output":"    x_test.go:9: ` + fault + ` fault: of the ` + fault + `\n"}` + "\n" +
			`{"Action":"fail","Package":"p","Test":"` + name + `"}` + "\n"
	}
	exit := `{"Action":"output","Package":"q","Output":"exit status 7\n"}` + "\n" + `{"Action":"fail","Package":"q"}` + "\n"
	write(t, dir, map[string]string{"a.json": `{"Action":"start","Package":"p"}` + "\n" +
		test("TestWorse", "host") + test("TestWorse", "product") + test("TestWorse", "harness") +
		test("TestSeldom", "skip") + test("TestSeldom", "pass") + `{"Action":"fail","Package":"p"}` + "\n" + exit + exit})
	src, err := archive.ReadDir(dir, archive.Extra{})
	require.NoError(t, err)
	cells := map[string]result.Cell{}
	for _, c := range src.Run.Cells {
		cells[c.ID] = c
	}
	require.Equal(t, verdict.Product, cells["a/p.TestWorse"].Verdict)
	require.Equal(t, "of the product", cells["a/p.TestWorse"].Reason)
	require.Len(t, cells["a/p.TestWorse"].Attempts, 3)
	require.Equal(t, result.Success, cells["a/p.TestSeldom"].Outcome)
	require.Equal(t, result.Failure, cells["a/q"].Outcome)
	require.Len(t, cells["a/q"].Attempts, 2)
}
