package result_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

func sample() *result.Run {
	began := time.Date(2026, 11, 27, 10, 15, 0, 0, time.UTC)
	return &result.Run{
		Schema: result.Schema, ID: "20261127-101500-3f9a", Plan: result.Plan{Name: "boot", File: "boot.yaml", SHA256: "00"},
		Began: began, Ended: began.Add(time.Minute), TookMS: 60000, Outcome: result.Failure, Verdict: verdict.Product,
		Cells: []result.Cell{{
			ID: "boot (display=qxl)", Job: "boot", Matrix: map[string]string{"display": "qxl"}, Outcome: result.Failure,
			Verdict: verdict.Product, Hop: verdict.HopProxy, Reason: "the proxy ended <1>", Executor: "local", TookMS: 59000,
			Identity: map[string]string{"lane/" + result.KeyQEMU: "7.2.22"}, Surroundings: map[string]string{"lane/" + result.KeyAccel: "tcg"},
			Measurements: []result.Measurement{{Name: "lane/ready", Unit: "ms", Values: []float64{5123.5}, Better: "lower"}},
			Attempts: []result.Attempt{{N: 1, Began: began, TookMS: 59000, Outcome: result.Failure, Verdict: verdict.Product,
				Steps:    []result.Step{{ID: "1", Name: "lane", Outcome: result.Failure, Verdict: verdict.Product, TookMS: 58000}},
				Evidence: []result.Evidence{{Path: "cells/boot-1/1/log.txt", Kind: result.KindLog, Bytes: 12}}}},
		}},
	}
}

func TestARunIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := sample()
	b, err := want.Encode()
	require.NoError(t, err)
	require.Contains(t, string(b), "the proxy ended <1>", "a person reads it, too")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, result.File), b, 0o600))
	got, err := result.Read(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestARunThatItsReadersCannotRelyOnIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*result.Run)
		says  string
	}{
		"no id":           {func(r *result.Run) { r.ID = "" }, "the run has no id"},
		"the same twice":  {func(r *result.Run) { r.Cells = append(r.Cells, r.Cells[0]) }, `two cells are called "boot (display=qxl)"`},
		"no job":          {func(r *result.Run) { r.Cells[0].Job = "" }, "cell 0 has no id or no job"},
		"another outcome": {func(r *result.Run) { r.Cells[0].Outcome = "passed" }, `cell boot (display=qxl): there is no outcome "passed"`},
		"an attempt's outcome": {func(r *result.Run) { r.Cells[0].Attempts[0].Outcome = "" },
			`cell boot (display=qxl), attempt 1: there is no outcome ""`},
		"outside": {func(r *result.Run) { r.Cells[0].Attempts[0].Evidence[0].Path = "../x" },
			`cell boot (display=qxl), attempt 1: the path "../x" leaves the run's directory`},
		"absolute": {func(r *result.Run) { r.Cells[0].Attempts[0].Evidence[0].Path = "/etc/passwd" },
			`cell boot (display=qxl), attempt 1: the path "/etc/passwd" leaves the run's directory`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sample()
			c.spoil(r)
			require.EqualError(t, r.Check(), c.says)
			_, err := r.Encode()
			require.EqualError(t, err, c.says)
		})
	}
	_, err := result.Parse([]byte(`{"schema":2,"id":"x"}`))
	require.EqualError(t, err, "its schema is 2, and this program reads schema 1")
}

func TestADirectoryWithoutAResultSaysHowToGetOne(t *testing.T) {
	t.Parallel()
	_, err := result.Read(t.TempDir())
	require.ErrorContains(t, err, "spicelane run --resume")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

func TestAProductFailureOutweighsTheOthers(t *testing.T) {
	t.Parallel()
	require.Equal(t, verdict.Product, result.Worst("", verdict.Host, verdict.Product, verdict.Harness))
	require.Equal(t, verdict.Harness, result.Worst(verdict.Host, verdict.Harness))
	require.Equal(t, verdict.Host, result.Worst("", verdict.Host))
	require.Empty(t, result.Worst("", ""))
}

func TestOneEndIsWorseThanAnother(t *testing.T) {
	t.Parallel()
	type end struct {
		outcome result.Outcome
		kind    verdict.Kind
	}
	ends := []end{{result.Skipped, ""}, {result.Success, ""}, {result.Cancelled, ""},
		{result.Failure, verdict.Host}, {result.Failure, verdict.Harness}, {result.Failure, verdict.Product}}
	for i, a := range ends {
		for k, b := range ends {
			require.Equal(t, i > k, result.Worse(a.outcome, a.kind, b.outcome, b.kind), "%v, %v", a, b)
		}
	}
}

func TestACellThatPassedOnItsSecondAttemptIsFlaky(t *testing.T) {
	t.Parallel()
	c := result.Cell{Outcome: result.Success, Attempts: []result.Attempt{{N: 1, Outcome: result.Failure}, {N: 2, Outcome: result.Success}}}
	n, ok := c.Passed()
	require.True(t, ok)
	require.Equal(t, 2, n)
	require.True(t, c.Flaky())
	c.Attempts[0].Outcome = result.Success
	require.False(t, c.Flaky(), "go test -count 2 that passed twice")
	c.Attempts = c.Attempts[1:]
	require.False(t, c.Flaky())
	c.Outcome = result.Failure
	_, ok = c.Passed()
	require.False(t, ok)
}
