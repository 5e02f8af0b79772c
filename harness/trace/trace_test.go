package trace_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/trace"
)

// layLane writes what a lane leaves behind, over a few seconds of a day.
func layLane(t *testing.T, dir, began, timeline string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	text := fmt.Sprintf(`{"t_us":0,"kind":"begin","name":"a","wall":"2026-11-27T04:40:%sZ"}`+"\n", began) + timeline
	require.NoError(t, os.WriteFile(filepath.Join(dir, "timeline.ndjson"), []byte(text), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "verdict.json"),
		[]byte(`{"name":"a","accel":"tcg: no KVM","warm":true,"verdict":"product","reason":"await: it never came"}`), 0o644))
}

const happened = `{"t_us":100000,"kind":"step","name":"host","ms":90,"detail":"tcg"}
{"t_us":400000,"kind":"step","name":"qemu","ms":300}
{"t_us":500000,"kind":"lane","state":"ready","ready_ms":500}
{"t_us":600000,"kind":"serial","text":"Hello"}
{"t_us":1000000,"kind":"beat","name":"look","at":"begin"}
{"t_us":1400000,"kind":"awaited","ms":300,"awaited":"a picture"}
{"t_us":1500000,"kind":"key","code":30,"down":true}
{"t_us":2000000,"kind":"beat","name":"look","at":"end","ms":1000}
{"t_us":2900000,"kind":"wait","ms":800,"error":"it never came","awaited":"three keys","saw":"two"}
{"t_us":2950000,"kind":"fault","fault":"kill"}
{"t_us":3000000,"kind":"lane","state":"ending"}
{"t_us":3500000,"kind":"proxy","event":"session_closed"}
`

func readRun(t *testing.T, stream string) *report.Run {
	t.Helper()
	run, err := report.Read(strings.NewReader(stream), report.ReadOptions{})
	require.NoError(t, err)
	return run
}

// stream returns a run of two tests at once, one with two subtests, and a lane.
func stream(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	layLane(t, filepath.Join(dir, "1"), "01", happened)
	at := func(s string) string { return "2026-11-27T04:40:" + s + "Z" }
	var b strings.Builder
	say := func(second, action, test, more string) {
		fmt.Fprintf(&b, `{"Time":%q,"Action":%q,"Package":"p","Test":%q%s}`+"\n", at(second), action, test, more)
	}
	fmt.Fprintf(&b, `{"Time":%q,"Action":"start","Package":"p"}`+"\n", at("00.5"))
	say("00.6", "run", "TestA", "")
	say("00.7", "artifacts", "TestA", fmt.Sprintf(`,"Path":%q`, dir))
	say("00.8", "run", "TestB", "")
	say("00.9", "run", "TestB/x", "")
	say("02.0", "pass", "TestB/x", `,"Elapsed":1.1`)
	say("02.1", "run", "TestB/y", "")
	say("04.0", "skip", "TestB/y", `,"Elapsed":1.9`)
	say("05.0", "fail", "TestA", `,"Elapsed":0.4`)
	say("06.0", "pass", "TestB", `,"Elapsed":5.2`)
	fmt.Fprintf(&b, `{"Time":%q,"Action":"fail","Package":"p","Elapsed":6}`+"\n", at("06.5"))
	return b.String()
}

// outline returns a span and those in it, one per line.
func outline(s *trace.Span, zero time.Time, indent string) string {
	text := fmt.Sprintf("%s%s %s %.3f–%.3f", indent, s.Kind, s.Name, s.Start.Sub(zero).Seconds(), s.End.Sub(zero).Seconds())
	if s.Error != "" {
		text += " failed: " + s.Error
	}
	text += "\n"
	for _, in := range s.Spans {
		text += outline(in, zero, indent+"  ")
	}
	return text
}

func TestARunIsTestsLanesPhasesStepsBeatsAndWaits(t *testing.T) {
	t.Parallel()
	root := trace.OfRun(readRun(t, stream(t)))
	zero := time.Date(2026, 11, 27, 4, 40, 0, 0, time.UTC)
	require.Equal(t, `run go test 0.500–6.500 failed: product fault
  test TestA 0.600–5.000 failed: await: it never came
    lane a 1.000–4.500 failed: Product fault: await: it never came
      phase start 1.000–1.500
        step host 1.010–1.100
        step qemu 1.100–1.400
      phase use 1.500–4.000
        beat look 2.000–3.000
          wait await a picture 2.100–2.400
        wait await three keys 3.100–3.900 failed: it never came
      phase end 4.000–4.500
  test TestB 0.800–6.000
    test TestB/x 0.900–2.000
    test TestB/y 2.100–4.000
`, outline(root, zero, ""))
	require.Equal(t, 14, root.Count())
	lane := root.Spans[0].Spans[0]
	require.Subset(t, lane.Attrs, []trace.Attr{{Key: "accelerator", Value: "tcg"}, {Key: "outcome", Value: "product"}, {Key: "start", Value: "warm"}})
	var moments []string
	for _, m := range lane.Moments {
		moments = append(moments, fmt.Sprintf("%.3f %s %s %v", m.At.Sub(zero).Seconds(), m.Track.Name, m.Text, m.Mark))
	}
	require.Equal(t, []string{"1.000 Lane the lane a begins false", "1.500 Lane ready after 500 ms false", "1.600 Serial Hello false", "2.500 Keys key a down false",
		`3.950 Faults fault {"fault":"kill"} true`, "4.000 Lane ending false", "4.500 Proxy session_closed false"}, moments)
}

func TestALaneThatWasKilledHasASpanAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	layLane(t, dir, "01", `{"t_us":100000,"kind":"step","name":"host","ms":90}`+"\n"+`{"t_us":200000,"kind":"beat","name":"look","at":"begin"}`+"\n"+
		`{"t_us":300000,"kind":"step","name":7}`+"\n"+`{"t_us":400000,"kind":"ser`)
	require.NoError(t, os.Remove(filepath.Join(dir, "verdict.json")))
	root, err := trace.OfLanes([]string{dir})
	require.NoError(t, err)
	require.Equal(t, `run lanes 0.000–0.300
  lane a 0.000–0.300
    phase start 0.000–0.300 failed: the lane never was ready
      step host 0.010–0.100
      beat look 0.200–0.300 failed: it did not end: what ran the lane was killed
`, outline(root, root.Start, ""))
	_, err = trace.OfLanes([]string{t.TempDir()})
	require.ErrorContains(t, err, "trace: replay: ")
}

func TestARunWithoutTimesOrWhoseLanesAreGoneHasASpan(t *testing.T) {
	t.Parallel()
	root := trace.OfRun(readRun(t, `{"Action":"run","Package":"p","Test":"TestA"}`+"\n"+`{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.5}`+"\n"+
		`{"Action":"pass","Package":"p"}`+"\n"))
	require.Equal(t, "run go test 0.000–0.500\n  test TestA 0.000–0.500\n", outline(root, time.Unix(0, 0), ""))
}

// An event is an event of a trace that was read.
type event struct {
	Name string
	Cat  string
	Ph   string
	TS   *int64
	Dur  *int64
	PID  int
	TID  int
	S    string
	Args map[string]any
}

// requireTrace reads a trace as a viewer does, and requires what a viewer needs: known phases,
// times, names of rows, and on each row slices that are beside or within each other.
func requireTrace(t *testing.T, b []byte) []event {
	t.Helper()
	var file struct {
		TraceEvents []event
	}
	require.NoError(t, json.Unmarshal(b, &file))
	type row struct{ pid, tid int }
	names, processes := map[row]string{}, map[int]string{}
	slicesOf, instants := map[row][]event{}, map[row]bool{}
	for _, e := range file.TraceEvents {
		at := row{e.PID, e.TID}
		require.Positive(t, e.PID)
		require.NotEmpty(t, e.Name)
		switch e.Ph {
		case "M":
			name, _ := e.Args["name"].(string)
			switch e.Name {
			case "process_name":
				require.Empty(t, processes[e.PID], "a process has one name")
				processes[e.PID] = name
			case "thread_name":
				require.Empty(t, names[at], "a row has one name")
				names[at] = name
			}
		case "X":
			require.NotNil(t, e.TS)
			require.NotNil(t, e.Dur)
			require.GreaterOrEqual(t, *e.Dur, int64(0))
			slicesOf[at] = append(slicesOf[at], e)
		case "i":
			require.NotNil(t, e.TS)
			require.Contains(t, []string{"t", "p"}, e.S)
			instants[at] = true
		default:
			require.Fail(t, "a phase of no use", e.Ph)
		}
	}
	for at, all := range slicesOf {
		require.NotEmpty(t, names[at], "row %v has a name", at)
		require.NotEmpty(t, processes[at.pid])
		require.False(t, instants[at], "a row has slices or instants")
		if bad := misplaced(all); bad != "" {
			require.Fail(t, "slices overlap", "row %v: %s", at, bad)
		}
	}
	for at := range instants {
		require.NotEmpty(t, names[at], "row %v has a name", at)
	}
	return file.TraceEvents
}

// misplaced returns two slices of a row of which neither is beside or within the other, or nothing
// if there are none.
func misplaced(all []event) string {
	for i, a := range all {
		for _, b := range all[i+1:] {
			a0, a1, b0, b1 := *a.TS, *a.TS+*a.Dur, *b.TS, *b.TS+*b.Dur
			beside := a1 <= b0 || b1 <= a0
			within := a0 <= b0 && b1 <= a1 || b0 <= a0 && a1 <= b1
			if !beside && !within {
				return fmt.Sprintf("%s (%d–%d) and %s (%d–%d)", a.Name, a0, a1, b.Name, b0, b1)
			}
		}
	}
	return ""
}

func TestOverlappingSlicesAreSeen(t *testing.T) {
	t.Parallel()
	slice := func(ts, dur int64) event { return event{Name: "x", TS: &ts, Dur: &dur} }
	require.Empty(t, misplaced([]event{slice(0, 5), slice(5, 5), slice(6, 1), slice(6, 0), slice(0, 10)}))
	require.NotEmpty(t, misplaced([]event{slice(0, 5), slice(4, 5)}))
}

func chrome(t *testing.T, root *trace.Span) []event {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, trace.WriteChrome(&b, root))
	return requireTrace(t, b.Bytes())
}

func TestATraceForPerfettoHasARowForEachTrackAndThePhasesOfEachLane(t *testing.T) {
	t.Parallel()
	var rows, slices []string
	row := map[[2]int]string{}
	for _, e := range chrome(t, trace.OfRun(readRun(t, stream(t)))) {
		switch {
		case e.Name == "process_name":
			rows = append(rows, fmt.Sprint(e.Args["name"]))
		case e.Name == "thread_name":
			row[[2]int{e.PID, e.TID}] = fmt.Sprint(e.Args["name"])
			rows = append(rows, "  "+fmt.Sprint(e.Args["name"]))
		case e.Ph == "X":
			slices = append(slices, fmt.Sprintf("%s: %s %d+%d", row[[2]int{e.PID, e.TID}], e.Name, *e.TS/1000, *e.Dur/1000))
		}
	}
	require.Equal(t, []string{"tests", "  tests", "  tests 2", "lane a (TestA)", "  phases", "  Lane", "  Serial", "  Keys", "  Faults", "  Proxy"}, rows)
	require.Equal(t, []string{
		"tests: go test 0+6000", "tests: TestA 100+4400", "tests 2: TestB 300+5200", "tests 2: TestB/x 400+1100", "tests 2: TestB/y 1600+1900",
		"phases: a 500+3500", "phases: start 500+500", "phases: host 510+90", "phases: qemu 600+300", "phases: use 1000+2500", "phases: look 1500+1000",
		"phases: await a picture 1600+300", "phases: await three keys 2600+800", "phases: end 3500+500",
	}, slices)
}

// Whatever overlaps, no row has slices that overlap.
func TestNoRowOfATraceHasSlicesThatOverlap(t *testing.T) {
	t.Parallel()
	zero := time.Unix(1000, 0)
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := 0
		var grow func(kind trace.Kind, depth int) *trace.Span
		grow = func(kind trace.Kind, depth int) *trace.Span {
			n++
			from := rnd.IntN(40)
			s := &trace.Span{Kind: kind, Name: fmt.Sprint(n), Start: zero.Add(time.Duration(from) * time.Microsecond),
				End: zero.Add(time.Duration(from+rnd.IntN(30)-3) * time.Microsecond)}
			for range rnd.IntN(5) * min(depth, 1) {
				next := trace.Test
				if kind == trace.Lane || kind == trace.Wait || rnd.IntN(3) == 0 {
					next = []trace.Kind{trace.Lane, trace.Wait}[min(1, len(kind)%2)]
				}
				s.Spans = append(s.Spans, grow(next, depth-1))
			}
			return s
		}
		root := grow(trace.Run, 4)
		root.Start = zero
		events := chrome(t, root)
		require.True(t, slices.ContainsFunc(events, func(e event) bool { return e.Ph == "X" }))
	}
}

func TestHostileTextInATraceIsText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	layLane(t, dir, "01", `{"t_us":5,"kind":"serial","text":"</script>\u0000\u001b[31m \"quoted\" \\ \ud800"}`+"\n"+
		`{"t_us":9,"kind":"step","ms":0.001,"name":"\u0000<b>"}`+"\n")
	root, err := trace.OfLanes([]string{dir})
	require.NoError(t, err)
	var names []string
	for _, e := range chrome(t, root) {
		names = append(names, e.Name)
	}
	require.Contains(t, names, `</script>␀ "quoted" \ `+"\ufffd")
	require.Contains(t, names, "␀<b>")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestATraceThatCannotBeWrittenSaysSo(t *testing.T) {
	t.Parallel()
	root := &trace.Span{Kind: trace.Run, Name: "r"}
	for i := range 1000 {
		root.Spans = append(root.Spans, &trace.Span{Kind: trace.Test, Name: fmt.Sprint("a long name ", i)})
	}
	require.ErrorIs(t, trace.WriteChrome(full{}, root), os.ErrClosed)
}
