package scenario_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/scenario"
)

func TestEventsThatDoNotAddUpAreNoticed(t *testing.T) {
	t.Parallel()
	require.NoError(t, scenario.DrawsAddUp(7, 3, 10))
	for _, received := range []uint64{6, 8} {
		require.ErrorContains(t, scenario.DrawsAddUp(received, 3, 10), "3 dropped, and the client has drawn 10 times")
	}

	for name, tt := range map[string]struct {
		frames  []uint32
		dropped uint64
		want    string
	}{
		"all":                         {[]uint32{6, 7, 8, 9}, 0, ""},
		"one was under way":           {[]uint32{5, 6, 7, 8, 9}, 0, ""},
		"one was covered by the next": {[]uint32{6, 9}, 0, ""},
		"the oldest were dropped":     {[]uint32{8, 9}, 2, ""},
		"the newest did not come":     {[]uint32{6, 7, 8}, 0, "reported frame 8 last, and the guest is at frame 9"},
		"none came":                   {nil, 0, "reported frame 5 last"},
		"one came twice":              {[]uint32{6, 6, 9}, 0, "frame 6 after frame 6"},
		"one came late":               {[]uint32{7, 6, 9}, 0, "frame 6 after frame 7"},
		"one is of the future":        {[]uint32{6, 10}, 0, "frame 10 after frame 6, and the guest is at frame 9"},
		"too many were dropped":       {[]uint32{8, 9}, 4, "2 digest_updated events were received and 4 dropped, of 4 frames"},
	} {
		err := scenario.FramesAddUp(5, tt.frames, tt.dropped, 9)
		if tt.want == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, tt.want, name)
		}
	}
}
