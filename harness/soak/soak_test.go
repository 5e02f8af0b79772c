package soak_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/soak"
	"github.com/spicelane/spicelane/harness/verdict"
)

// These tests start no machine. Their lanes fail before that, because their fixture does not exist.
// cmd/spicelane/testdata/lane-soak.txt has real ones.

func TestMain(m *testing.M) {
	headless.Main()
	goleak.VerifyTestMain(m)
}

func config(t *testing.T) soak.Config {
	return soak.Config{N: 20, Dir: filepath.Join(t.TempDir(), "soak"), Lane: harness.Config{Fixture: "nothing"}}
}

func TestASoakThatAlwaysFailsIsStoppedAndItsEvidenceKept(t *testing.T) {
	cfg := config(t)
	var seen []soak.Lane
	cfg.OnLane = func(l soak.Lane) { seen = append(seen, l) }
	r, err := soak.Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, 5, r.Runs)
	require.Equal(t, 5, r.Failed)
	require.Equal(t, "5 lanes in a row failed", r.Stopped)
	require.Equal(t, verdict.Harness, r.Verdict())
	require.Equal(t, map[verdict.Kind]int{verdict.Harness: 5}, r.Verdicts)
	require.Equal(t, seen, r.Failures)
	for i, l := range r.Failures {
		require.Equal(t, i+1, l.N)
		require.Equal(t, soak.Up, l.Stage)
		require.Contains(t, l.Reason, "nothing")
		var v verdict.Report
		b, err := os.ReadFile(filepath.Join(l.Dir, verdict.File))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &v))
		require.False(t, v.OK)
		require.Equal(t, verdict.Harness, v.Verdict)
	}

	var saved soak.Report
	b, err := os.ReadFile(filepath.Join(cfg.Dir, "soak.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &saved))
	require.Equal(t, *r, saved)
}

func TestASoakCanGoOnHoweverManyFail(t *testing.T) {
	cfg := config(t)
	cfg.StopAfter, cfg.Parallel = -1, 4
	r, err := soak.Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, 20, r.Runs)
	require.Empty(t, r.Stopped)
	require.Less(t, r.Low, 1.0)
	require.Equal(t, 1.0, r.High)
}

func TestAnInterruptedSoakReportsWhatItHas(t *testing.T) {
	cfg := config(t)
	cfg.StopAfter = -1
	ctx, cancel := context.WithCancelCause(t.Context())
	cfg.OnLane = func(l soak.Lane) {
		if l.N == 3 {
			cancel(errors.New("enough"))
		}
	}
	r, err := soak.Run(ctx, cfg)
	require.NoError(t, err)
	require.Equal(t, 3, r.Runs)
	require.Equal(t, "it was interrupted", r.Stopped)
	es, err := os.ReadDir(cfg.Dir)
	require.NoError(t, err)
	require.Len(t, es, 3+1, "the three that failed, and soak.json")
}

func TestASoakThatCannotBeRunSaysSo(t *testing.T) {
	for name, change := range map[string]func(*soak.Config){
		"no lanes":     func(c *soak.Config) { c.N = 0 },
		"no directory": func(c *soak.Config) { c.Dir = "" },
		"no client":    func(c *soak.Config) { c.Lane.Client = harness.None },
		"no such word": func(c *soak.Config) { c.Lane.Display = "vga" },
	} {
		cfg := config(t)
		change(&cfg)
		_, err := soak.Run(t.Context(), cfg)
		require.Error(t, err, name)
		require.Equal(t, verdict.Harness, verdict.Of(err), name)
	}
	cfg := config(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	cfg.Dir = filepath.Join(file, "soak")
	_, err := soak.Run(t.Context(), cfg)
	require.Equal(t, verdict.Host, verdict.Of(err))
}
