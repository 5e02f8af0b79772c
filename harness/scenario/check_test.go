package scenario_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/verdict"
)

func check(t *testing.T, run func(testing.TB)) (output string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = scenario.Check(t.Context(), nil, scenario.Suite{Name: "own", Run: func(tb testing.TB, _ *harness.Lane) { run(tb) }}, &out)
	return out.String(), err
}

func TestASuiteOutsideOfGoTestEndsAsItDoesInATest(t *testing.T) {
	t.Parallel()
	out, err := check(t, func(tb testing.TB) { tb.Log("said") })
	require.NoError(t, err)
	require.Equal(t, "said\n", out)

	_, err = check(t, func(tb testing.TB) { tb.Errorf("wrong %d", 1); tb.Log("more") })
	require.EqualError(t, err, "own: wrong 1")
	require.Equal(t, verdict.Product, verdict.Of(err))

	_, err = check(t, func(tb testing.TB) { tb.Skip("no agent") })
	require.ErrorIs(t, err, scenario.ErrSkipped)
	require.EqualError(t, err, "skipped: no agent")

	_, err = check(t, func(testing.TB) { panic("oh") })
	require.EqualError(t, err, "own: the suite panicked: oh")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

func TestEveryCleanupOfASuiteRunsWhateverTheOthersDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cleanup func(testing.TB)
		says    string
	}{
		"a failure": {func(tb testing.TB) { tb.Fatal("not clean") }, "own: not clean"},
		"a panic":   {func(testing.TB) { panic(errors.New("oh")) }, "own: the suite panicked: oh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var order []int
			_, err := check(t, func(tb testing.TB) {
				tb.Cleanup(func() { order = append(order, 1) })
				tb.Cleanup(func() { c.cleanup(tb) })
				tb.Cleanup(func() { order = append(order, 3) })
			})
			require.EqualError(t, err, c.says)
			require.Equal(t, []int{3, 1}, order)
		})
	}
}
