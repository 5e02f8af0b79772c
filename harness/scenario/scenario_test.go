package scenario_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/internal/race"
	"github.com/spicelane/spicelane/spice/control"
)

// The lanes of these tests:
//
//	Beacon ── QEMU ──(plain or TLS)── proxy ── TLS ── client ── control socket ── suite
//	            └──────────────(plain or TLS)──────────┘

// The canary: every change runs it.
func TestALaneIsUpToTheBasics(t *testing.T) {
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Witness: true})
	scenario.Run(t, lane, scenario.Suites("boot", "surfaces", "screenshot", "digest", "events", "type", "pointer", "clipboard")...)
}

func TestALaneGoesThroughAllSuites(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Witness: true})
	scenario.Run(t, lane)
}

func TestTheGuestWalksThroughAllModes(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	scenario.Walk(t, harness.Up(t, harness.Config{Display: "std"}))
}

func TestTheGuestSurvivesHardships(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{})
	scenario.Run(t, lane,
		scenario.Suite{Name: "flood", Run: scenario.Flood},
		scenario.Suite{Name: "foreign clipboard", Run: scenario.ForeignClipboard},
		scenario.Suite{Name: "reset", Run: scenario.Reset})
}

func TestClosedLoopTypingLosesNothing(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	n := 2000
	if race.Enabled { // each waits for a picture
		n = 200
	}
	scenario.Typing(n)(t, harness.Up(t, harness.Config{}))
}

// Without the proxy, the client uses QEMU's ticket.
func TestARecordedSessionDoesNotTellItsTicket(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	scenario.Run(t, harness.Up(t, harness.Config{Proxy: harness.None}), scenario.Suites("record")...)
}

// greeted returns a lane whose agent has been greeted, and the events of its guest from then on.
func greeted(t *testing.T) (*harness.Lane, *scenario.Stream) {
	t.Helper()
	lane := harness.Up(t, harness.Config{})
	scenario.Run(t, lane, scenario.Suites("surfaces")...)
	s, err := scenario.OpenStream(lane.Context(), lane)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return lane, s
}

// The agent's reports after the first key would push it out of the digest.
func TestASuiteBeginsWhenTheAgentHasBeenGreeted(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	_, s := greeted(t)
	events := s.Events()
	last, ok := events[len(events)-1].(digest.Agent)
	require.True(t, ok, "%v", events)
	require.Equal(t, digest.CapabilitiesReceived, last.State)
}

// A frame of the digest shows events of a key or of the agent, but not both. On a busy host, a
// frame may go unseen; if the guest took no care of it, most would.
func TestAKeyAndTheClipboardOfOneMomentAreBothShown(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane, s := greeted(t)
	client := lanetest.Control(t, lane)
	const rounds = 30
	missed := 0
	for i := range rounds {
		key := uint16(2 + i%2) // 1 and 2, which switch the mode
		before := s.Last().ChannelHashes.Keypress
		var both errgroup.Group
		both.Go(func() error { return client.SendKey(lane.Context(), key, control.Down) })
		both.Go(func() error { return client.ClipboardSet(lane.Context(), fmt.Sprint("text ", i)) })
		require.NoError(t, both.Wait())
		seen := map[string]bool{}
		for !seen["clipboard"] || s.Last().ChannelHashes.Keypress == before {
			_, err := s.Await(lane.Context(), "a key, a switch of the mode and the clipboard", func(e digest.Event) bool {
				switch e := e.(type) {
				case digest.Scancode:
					seen["key"] = e.Code == key
				case digest.ModeSwitch:
					seen["mode"] = true
				case digest.Clipboard:
					seen["clipboard"] = true
				}
				return true
			})
			require.NoError(t, err, "round %d: seen %v", i, seen)
		}
		if len(seen) < 3 {
			missed++
		}
		require.NoError(t, client.SendKey(lane.Context(), key, control.Up))
		_, err := s.Await(lane.Context(), "the key going up", func(e digest.Event) bool {
			c, ok := e.(digest.Scancode)
			return ok && c.State == digest.KeyUp
		})
		require.NoError(t, err)
		require.LessOrEqual(t, 3*missed, rounds, "rounds of %d in which not all was shown, after %d", missed, i+1)
	}
	t.Logf("%d of %d rounds were not shown whole", missed, rounds)
}

// Without a tablet, the server sends the pointer's positions to the agent, between the chunks of
// what the client sends it.
func TestThePointerMovesWhileALongClipboardArrives(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane, s := greeted(t)
	client := lanetest.Control(t, lane)
	text := strings.Repeat("Beacon. ", 125_000)
	ctx, giveUp := context.WithTimeout(lane.Context(), lane.Scaled(30*time.Second))
	defer giveUp()
	arrived, end := context.WithCancel(ctx)
	defer end()
	var both errgroup.Group
	both.Go(func() error { return client.ClipboardSet(ctx, text) })
	moves := 0
	both.Go(func() error {
		for ; arrived.Err() == nil; moves++ {
			if err := client.MouseMove(lane.Context(), control.MouseMoveParams{X: 100 + moves%100, Y: 120}); err != nil {
				return err
			}
		}
		return client.MouseMove(lane.Context(), control.MouseMoveParams{X: 77, Y: 88})
	})
	var got digest.Clipboard
	pointed := 0
	_, err := s.Await(ctx, "the clipboard", func(e digest.Event) bool {
		switch e := e.(type) {
		case digest.Fault:
			t.Errorf("after %d moves: %+v", pointed, e)
		case digest.Pointer:
			pointed++
		case digest.Clipboard:
			got = e
		}
		return got.What == digest.DataReceived
	})
	end()
	require.NoError(t, err)
	require.NoError(t, both.Wait())
	require.Equal(t, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)), got.CRC, "%+v", got)
	_, err = s.Await(ctx, "the last move", func(e digest.Event) bool {
		p, ok := e.(digest.Pointer)
		return ok && p.Source == digest.FromAgent && p.X == 77 && p.Y == 88
	})
	require.NoError(t, err)
	t.Logf("%d moves, of which %d were seen while the text arrived", moves, pointed)
}

func TestTheWholeStoryIsReportedTwiceAlike(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	scenario.Full(t, harness.Up(t, harness.Config{}))
}

func TestWrongAnswersEndInACountdown(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	scenario.Countdown(t, harness.Up(t, harness.Config{}))
}

// A machine with only a keyboard and a mouse: the pointer moves by distances, and there is neither
// agent nor sound.
func TestABareMachineIsDrivenToo(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Fixture: bare(t)})
	st, err := lanetest.Control(t, lane).Status(lane.Context())
	require.NoError(t, err)
	require.Equal(t, "server", st.MouseMode)
	scenario.Run(t, lane, scenario.Suites("boot", "pointer", "clipboard", "monitors", "tone")...)
	scenario.Run(t, lane, scenario.Suite{Name: "bare", Run: scenario.Bare})
}

// The device takes monitors configs instead of the agent; see deviceTakesMonitors.
func TestAVirtioDisplayTakesMonitorsConfigsAndTheAgentHearsOfNone(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	scenario.Run(t, harness.Up(t, harness.Config{Display: qemu.Virtio}), scenario.Suites("monitors")...)
}

// With a tablet and without an agent, the server moves the tablet.
func TestThePointerMovesOnATablet(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Agent: "off"})
	st, err := lanetest.Control(t, lane).Status(lane.Context())
	require.NoError(t, err)
	require.Equal(t, "client", st.MouseMode)
	scenario.Run(t, lane, scenario.Suites("pointer")...)
}

// bare returns an entry for Beacon on a machine without tablet, agent and sound.
func bare(t *testing.T) string {
	t.Helper()
	fx, err := fixtures.Find("beacon")
	require.NoError(t, err)
	image, err := fx.Materialize(t.Context(), host.CacheDir())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "bare.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `name: bare
image: %s
memory_mib: %d
banner: %s
digest: true
`, image, fx.MemoryMiB, fx.Banner), 0o600))
	return file
}
