package keylatency

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/bench"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/quantile"
)

// A Report has the results of a measurement.
type Report struct {
	Machine bench.Machine `json:"machine"`
	// Fixture is the name of the built-in guest, or its image's file name.
	Fixture string `json:"fixture"`
	Accel   string `json:"accel"`
	// Warm means that the machine was restored from a saved state.
	Warm        bool   `json:"warm"`
	Display     string `json:"display"`
	Compression string `json:"compression,omitempty"`
	// Proxy is "builtin", or the program that was measured instead.
	Proxy string    `json:"proxy"`
	At    time.Time `json:"at"`
	// Keys is the number of keys that were pressed on each path.
	Keys    int  `json:"keys"`
	Direct  Path `json:"direct"`
	Proxied Path `json:"proxied"`
}

// A Path has the results of one path to the guest: direct, or through the proxy.
type Path struct {
	Picture Sums `json:"picture"`
	Digest  Sums `json:"digest"`
	// Lost and Unclear count the keys that are in neither of them (see drive.Latencies).
	Lost    int `json:"lost"`
	Unclear int `json:"unclear"`
	// Times are the single measurements. They are not in the JSON, but in the CSV files of Write.
	Times drive.Latencies `json:"-"`
}

// PathOf summarises the results of one path.
func PathOf(l drive.Latencies) Path {
	return Path{Picture: sumsOf(l.Picture), Digest: sumsOf(l.Digest), Lost: l.Lost, Unclear: l.Unclear, Times: l}
}

// Sums are the figures of one series of times, in milliseconds. Quantiles are by the nearest rank.
// All are 0 if there are no times.
type Sums struct {
	N   int     `json:"n"`
	Min float64 `json:"min_ms"`
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func sumsOf(times []time.Duration) Sums {
	q := func(q float64) float64 { return milliseconds(quantile.Of(times, q)) }
	return Sums{N: len(times), Min: q(0), P50: q(0.5), P95: q(0.95), P99: q(0.99), Max: q(1)}
}

// milliseconds returns d in milliseconds, rounded to microseconds.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)/time.Microsecond) / 1000
}

// A Series is one of the four series of a report.
type Series struct {
	// Path is "direct" or "proxied", and To is "picture" or "digest".
	Path, To string
	Sums
	// Times are in the order of the key presses.
	Times []time.Duration
}

// Name returns the name of the series' file, without ".csv".
func (s Series) Name() string { return "key-to-" + s.To + "-" + s.Path }

// Series returns the four series. Those to compare are next to each other.
func (r *Report) Series() []Series {
	return []Series{
		{"direct", "picture", r.Direct.Picture, r.Direct.Times.Picture},
		{"proxied", "picture", r.Proxied.Picture, r.Proxied.Times.Picture},
		{"direct", "digest", r.Direct.Digest, r.Direct.Times.Digest},
		{"proxied", "digest", r.Proxied.Digest, r.Proxied.Times.Digest},
	}
}

// WriteCSV writes times as seconds, one per line, without a heading.
func WriteCSV(w io.Writer, times []time.Duration) error {
	var b bytes.Buffer
	for _, t := range times {
		fmt.Fprintf(&b, "%.6f\n", t.Seconds())
	}
	_, err := w.Write(b.Bytes())
	return err
}

// The names of the files that Write makes, besides a CSV file for each series.
const (
	PlotFile = "latency.svg"
	SumsFile = "latency.json"
)

// Write writes a CSV file for each series, a plot of the distributions, and the report as JSON into
// a directory. It creates the directory if necessary.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return unwritten(err)
	}
	write := func(name string, content func(io.Writer) error) error {
		var b bytes.Buffer
		if err := content(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return unwritten(err)
		}
		return nil
	}
	for _, s := range r.Series() {
		if err := write(s.Name()+".csv", func(w io.Writer) error { return WriteCSV(w, s.Times) }); err != nil {
			return err
		}
	}
	if err := write(PlotFile, r.WritePlot); err != nil {
		return err
	}
	return write(SumsFile, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	})
}

func unwritten(err error) error {
	return &verdict.Error{Verdict: verdict.Host, Op: "key latency", Err: err, Hint: "choose another directory"}
}
