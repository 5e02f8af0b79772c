package verdict_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

func TestTheHopIsTheOutermostThatIsKnown(t *testing.T) {
	t.Parallel()
	said := &verdict.ConsoleError{Name: "kernel panic", Line: "panic: x"}
	for _, c := range []struct {
		name string
		err  error
		want verdict.Hop
	}{
		{"nobody knows", &verdict.Error{Verdict: verdict.Product, Err: errors.New("dark")}, ""},
		{"the error says it", fmt.Errorf("wrapped: %w", &verdict.Error{Hop: verdict.HopProxy, Err: said}), verdict.HopProxy},
		{"one further in says it", &verdict.Error{Err: fmt.Errorf("wrapped: %w", &verdict.Error{Hop: verdict.HopClient, Err: said})}, verdict.HopClient},
		{"what stands behind it knows", &verdict.Error{Verdict: verdict.Product, Err: said}, verdict.HopGuest},
		{"no verdict at all", said, verdict.HopGuest},
		{"nil", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, verdict.HopOf(c.err))
		})
	}
	require.Equal(t, "product fault (guest): the guest failed: kernel panic: \"panic: x\" on its serial console",
		fmt.Sprintf("%+v", &verdict.Error{Verdict: verdict.Product, Err: said}))
}
