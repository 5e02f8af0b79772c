package keylatency_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/bench"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/keylatency"
	"github.com/spicelane/spicelane/harness/verdict"
)

// The measurement itself needs a machine: cmd/spicelane/testdata/lane-latency.txt. latency_test.go
// in package harness tests how a key is told from other things.

func TestMain(m *testing.M) { lanetest.Main(m) }

func ms(all ...float64) (d []time.Duration) {
	for _, f := range all {
		d = append(d, time.Duration(f*float64(time.Millisecond)))
	}
	return d
}

// sample has five keys on one path, one of them slow, and three on the other.
func sample() *keylatency.Report {
	return &keylatency.Report{
		Machine: bench.Machine{CPU: "Slow", CPUs: 4, MemoryMiB: 1024, Kernel: "6.1", QEMU: "7.2.22 (Debian)", Go: "go1.26.0", Load: 0.5},
		Fixture: "a<b & c", Accel: "tcg", Warm: true, Display: "qxl", Proxy: "builtin", Keys: 5,
		At: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
		Direct: keylatency.PathOf(drive.Latencies{
			Picture: ms(12, 10.5, 30, 11, 13.0004), Digest: ms(14, 12.5, 33, 13, 15),
		}),
		Proxied: keylatency.PathOf(drive.Latencies{
			Picture: ms(12, 11, 13), Digest: ms(14, 13, 15), Lost: 1, Unclear: 1,
		}),
	}
}

func TestTheFilesOfAReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	require.NoError(t, sample().Write(dir))
	want := map[string]string{
		// In the order of the keys.
		"key-to-picture-direct.csv":  "0.012000\n0.010500\n0.030000\n0.011000\n0.013000\n",
		"key-to-picture-proxied.csv": "0.012000\n0.011000\n0.013000\n",
		"key-to-digest-direct.csv":   "0.014000\n0.012500\n0.033000\n0.013000\n0.015000\n",
		"key-to-digest-proxied.csv":  "0.014000\n0.013000\n0.015000\n",
		"latency.json": `{
  "machine": {
    "cpu": "Slow",
    "cpus": 4,
    "memory_mib": 1024,
    "kernel": "6.1",
    "qemu": "7.2.22 (Debian)",
    "go": "go1.26.0",
    "load": 0.5
  },
  "fixture": "a\u003cb \u0026 c",
  "accel": "tcg",
  "warm": true,
  "display": "qxl",
  "proxy": "builtin",
  "at": "2026-02-03T04:05:06Z",
  "keys": 5,
  "direct": {
    "picture": {
      "n": 5,
      "min_ms": 10.5,
      "p50_ms": 12,
      "p95_ms": 30,
      "p99_ms": 30,
      "max_ms": 30
    },
    "digest": {
      "n": 5,
      "min_ms": 12.5,
      "p50_ms": 14,
      "p95_ms": 33,
      "p99_ms": 33,
      "max_ms": 33
    },
    "lost": 0,
    "unclear": 0
  },
  "proxied": {
    "picture": {
      "n": 3,
      "min_ms": 11,
      "p50_ms": 12,
      "p95_ms": 13,
      "p99_ms": 13,
      "max_ms": 13
    },
    "digest": {
      "n": 3,
      "min_ms": 13,
      "p50_ms": 14,
      "p95_ms": 15,
      "p99_ms": 15,
      "max_ms": 15
    },
    "lost": 1,
    "unclear": 1
  }
}
`,
	}
	plot, err := os.ReadFile("testdata/latency.svg")
	require.NoError(t, err)
	want["latency.svg"] = string(plot)

	got := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		got[e.Name()] = string(b)
	}
	require.Empty(t, cmp.Diff(want, got))

	// Write again, over the existing files.
	require.NoError(t, sample().Write(dir))
}

func TestADirectoryThatCannotBeWrittenIsTheHostsFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	err := sample().Write(file)
	require.Error(t, err)
	require.Equal(t, verdict.Host, verdict.Of(err))
	require.ErrorContains(t, err, "choose another directory")

	taken := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(taken, keylatency.PlotFile), 0o755))
	require.Equal(t, verdict.Host, verdict.Of(sample().Write(taken)))
}

func plotOf(t *testing.T, r *keylatency.Report) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.WritePlot(&b))
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		require.NoError(t, err, "%s", &b)
	}
}

func TestAPlotOfNothingSaysSo(t *testing.T) {
	plot := plotOf(t, &keylatency.Report{})
	for _, want := range []string{"direct: no key was seen", "proxied: no key was seen"} {
		require.Contains(t, plot, want)
	}
	require.NotContains(t, plot, "NaN")
	require.NotContains(t, plot, "Inf")
}

// The axis does not have to show one slow key among many.
func TestWhatIsMuchSlowerThanP99IsBeyondTheEdge(t *testing.T) {
	times := ms(1000)
	for range 199 {
		times = append(times, ms(10)...)
	}
	plot := plotOf(t, &keylatency.Report{Direct: keylatency.PathOf(drive.Latencies{Picture: times, Digest: ms(10)})})
	require.Contains(t, plot, "slowest 1000.0 ms; n = 200")
	for _, m := range regexp.MustCompile(`H([0-9.]+)`).FindAllStringSubmatch(plot, -1) {
		x, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		require.LessOrEqual(t, x, 810.0)
	}
}

// The ticks end just beyond p99, at round numbers.
func TestTheAxisOfAPlotFitsItsTimes(t *testing.T) {
	ticks := regexp.MustCompile(`text-anchor="middle">([0-9.]+)</text>`)
	for slowest, want := range map[float64][]string{
		0:      {"0", "0.001", "0.002", "0.003", "0.004", "0.005", "0.006", "0.007", "0.008", "0.009", "0.01"},
		0.285:  {"0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"},
		9.5:    {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"},
		9.6:    {"0", "2", "4", "6", "8", "10", "12"},
		33:     {"0", "5", "10", "15", "20", "25", "30", "35"},
		1203.5: {"0", "200", "400", "600", "800", "1000", "1200", "1400"},
	} {
		r := &keylatency.Report{Direct: keylatency.PathOf(drive.Latencies{Picture: ms(0.0001, slowest), Digest: ms(0, 0)})}
		var got []string
		for _, m := range ticks.FindAllStringSubmatch(plotOf(t, r), -1) {
			got = append(got, m[1])
		}
		require.Equal(t, append(append([]string(nil), want...), want...), got, "both panels, slowest %v ms", slowest)
	}
}

func TestAMeasurementThatCannotBeMadeSaysSo(t *testing.T) {
	for name, cfg := range map[string]keylatency.Config{
		"no proxy":         {Lane: harness.Config{Proxy: harness.None}},
		"no client":        {Lane: harness.Config{Client: harness.None}},
		"another's client": {Lane: harness.Config{Client: harness.Command("ryll {vv}")}},
		"minus one":        {Keys: -1},
		"no such key":      {Key: "nokey"},
		"no such display":  {Lane: harness.Config{Display: "vga"}},
	} {
		_, err := keylatency.Measure(t.Context(), cfg)
		require.Error(t, err, name)
		require.Equal(t, verdict.Harness, verdict.Of(err), name)
	}
}
