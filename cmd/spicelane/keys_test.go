package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
)

func TestAKeyThatALockChangesIsSaid(t *testing.T) {
	on, off := control.Locks{Caps: true, Num: true}, control.Locks{}
	for _, tc := range []struct {
		locks control.Locks
		key   string
		want  string
	}{
		{off, "KP7", "Num Lock is off in the guest: KP7 moves"}, {off, "Ctrl+kp0", "Num Lock is off in the guest: kp0"},
		{off, "KPDot", "Num Lock is off"}, {off, "KPEnter", ""}, {off, "KPPlus", ""}, {off, "a", ""}, {off, "k", ""},
		{on, "KP7", ""}, {on, "a", "Caps Lock is on in the guest: a arrives"}, {on, "Shift+Z", "Caps Lock is on"},
		{on, "1", ""}, {on, "+", ""}, {on, "Ctrl++", ""}, {on, "Enter", ""}, {on, "", ""},
	} {
		hints := lockHints(tc.locks, []string{tc.key})
		if tc.want == "" {
			require.Empty(t, hints, tc.key)
			continue
		}
		require.Len(t, hints, 1, tc.key)
		require.Contains(t, hints[0], tc.want)
	}
}
