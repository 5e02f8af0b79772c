package harness_test

import (
	"image"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/internal/wrong"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control/server"
)

// A staleConsole shows the previous picture, as a client does that keeps one picture too long.
type staleConsole struct {
	server.Console
	mu   sync.Mutex
	last map[image.Rectangle]*server.Picture
}

func stale(c server.Console) server.Console {
	return &staleConsole{Console: c, last: map[image.Rectangle]*server.Picture{}}
}

// Unwrap lets the other verbs through.
func (c *staleConsole) Unwrap() server.Console { return c.Console }

func (c *staleConsole) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*server.Picture, error) {
	now, err := c.Console.Snapshot(channel, surface, r)
	if err != nil || !r.Empty() { // a digest is read in a part of the picture
		return now, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.last[r]
	kept := *now
	kept.Pix = slices.Clone(now.Pix) // the caller turns its pixels in place
	c.last[r] = &kept
	if before == nil {
		return now, nil
	}
	return before, nil
}

// A forgetfulConsole does not report every seventh draw.
type forgetfulConsole struct{ server.Console }

func forgetful(c server.Console) server.Console { return forgetfulConsole{c} }

// Unwrap lets the other verbs through.
func (c forgetfulConsole) Unwrap() server.Console { return c.Console }

func (c forgetfulConsole) Observe(fn func(server.Notice)) (stop func()) {
	n := 0
	return c.Console.Observe(func(notice server.Notice) {
		if _, ok := notice.(server.Drawn); ok {
			if n++; n%7 == 0 {
				return
			}
		}
		fn(notice)
	})
}

// guest ── QEMU ── witness, and what is wrong with the proxy ── proxy ── TLS ── client, and what is wrong with it ── suite
//
// The suites are those of every lane, and know of no fault. They end with the first thing that they
// see.
func TestDeliberateFaultsAreCaughtByALaneAndBlamedOnTheRightHop(t *testing.T) {
	lanetest.AtLength(t)
	harness.RequireHost(t)
	for _, c := range []struct {
		name   string
		defect harness.Defect
		suite  string
		hop    verdict.Hop
		says   string
	}{
		{"a client that ignores clips", harness.Defect{Tap: wrong.IgnoresClips()}, "native", verdict.HopClient, "shows something else"},
		{"a client that takes the neighbour from its cache", harness.Defect{Tap: wrong.TakesTheNeighbour()}, "native", verdict.HopClient, "shows something else"},
		{"a client with a wrong raster operation", harness.Defect{Tap: wrong.WrongRop()}, "native", verdict.HopClient, "shows something else"},
		{"a client with one wrong operator", harness.Defect{Tap: wrong.WrongOperator()}, "native", verdict.HopClient, "shows something else"},
		{"a client whose hot spots are off by one", harness.Defect{Tap: wrong.HotSpotsOff()}, "native", verdict.HopClient, "hot spot"},
		{"a client that takes stale screenshots", harness.Defect{Console: stale}, "screenshot", verdict.HopClient, "older"},
		{"a client that forgets events", harness.Defect{Console: forgetful}, "events", verdict.HopClient, "0 dropped, and the client has drawn"},
		{"a server that was not told of a change", harness.Defect{Tap: wrong.WrongRop(), Newcomer: wrong.Inverts()}, "native", verdict.HopQEMU, "not sent what QEMU shows"},
		{"a proxy that cuts the last byte of cursors", harness.Defect{Proxy: wrong.CutsCursors()}, "native", verdict.HopProxy, "cursor.set"},
		{"a proxy that drops a message", harness.Defect{Proxy: wrong.Drops(7)}, "digest", verdict.HopProxy, "lost"},
		{"a proxy that doubles a message", harness.Defect{Proxy: wrong.Doubles(7)}, "digest", verdict.HopProxy, "added"},
		{"a proxy that swaps two messages", harness.Defect{Proxy: wrong.Swaps(7)}, "digest", verdict.HopProxy, "reordered"},
		{"a proxy that flips a byte in one of 500 messages", harness.Defect{Proxy: wrong.Flips(500)}, "modes", verdict.HopProxy, "changed"},
		{"a proxy that spoils large images only", harness.Defect{Proxy: wrong.SpoilsLarge(150_000)}, "modes", verdict.HopProxy, "changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lanetest.AtOnce(t)
			r := caught(t, c.defect, c.suite)
			for range 5 { // a host that lets nothing run is rightly blamed, and the test shows nothing
				if r.Verdict == verdict.Host {
					r = caught(t, c.defect, c.suite)
				}
			}
			require.False(t, r.OK)
			require.Equal(t, verdict.Product, r.Verdict, "%s", r.Reason)
			require.Equal(t, c.hop, r.Hop, "%s", r.Reason)
			require.Contains(t, r.Reason, c.says)
		})
	}
}

// caught runs a suite on a lane with a defect, and returns the verdict.
func caught(t *testing.T, defect harness.Defect, suite string) verdict.Report {
	dir, err := os.MkdirTemp(t.ArtifactDir(), "lane-")
	require.NoError(t, err)
	began := time.Now()
	said := lanetest.Failing(t, func(tb testing.TB) {
		lane := harness.Up(tb, harness.WithDefect(harness.Config{Dir: dir}, defect, 500*time.Millisecond))
		scenario.Suites(suite)[0].Run(tb, lane)
	})
	require.NotEmpty(t, said, "nothing was noticed")
	r := readVerdict(t, dir)
	t.Logf("caught after %v: %s", time.Since(began).Round(time.Second), r.Reason)
	return r
}
