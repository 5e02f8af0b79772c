package harness_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/internal/wrong"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// withVideo returns a lane whose QEMU makes video of fast changes. The stream is damaged on its way
// to the proxy, and no part reports it.
func withVideo(proxy wrong.Proxy) harness.Config {
	cfg := harness.WithDefect(harness.Config{Streaming: "all"}, harness.Defect{Proxy: proxy}, 10*time.Second)
	cfg.Witness = false
	return cfg
}

// One frame in four is lost. Once the video has ended, the picture is exact again.
func TestAVideoMayLoseFrames(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	var lost atomic.Int32
	loses := wrong.LosesFrames(4)
	scenario.Native(t, harness.Up(t, withVideo(func(id wire.ChannelID, m witness.Message) []witness.Message {
		passed := loses(id, m)
		if passed == nil {
			lost.Add(1)
		}
		return passed
	})))
	require.Greater(t, lost.Load(), int32(2))
}

// The fifth frame is none. It is counted, the session goes on, and the next paint repairs it.
func TestAFrameThatCannotBeDecodedIsCountedAndEndsNoSession(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	harness.RequireHost(t)
	const what = "stream_data: frame that cannot be decoded"
	var after spice.Stats
	said := lanetest.Failing(t, func(tb testing.TB) {
		lane := harness.Up(tb, withVideo(wrong.SpoilsFrame(5)))
		defer func() {
			st, err := lanetest.Control(t, lane).Status(lane.Context())
			if err != nil || !st.SPICEConnected {
				t.Errorf("the session: %v, connected %v", err, st.SPICEConnected)
			}
			if err := lane.AwaitScreensMatch(lane.Context()); err != nil {
				t.Errorf("the picture afterwards: %v", err)
			}
			if err := lanetest.Control(t, lane).Stats(lane.Context(), &after); err != nil {
				t.Error(err)
			}
		}()
		scenario.Native(tb, lane)
	})
	require.Len(t, said, 1, "the suite is to say that not all was understood: %q", said)
	require.Contains(t, said[0], what)
	require.EqualValues(t, 1, after.Unsupported[what], "%v", after.Unsupported)
	require.Greater(t, after.Ops["stream_data"].Count, uint64(6), "the frames after it")
}
