package truth_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness/internal/wrong"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
)

// badClient makes all clients draw something other than the server asked for.
func badClient(client wrong.Client) truth.Config {
	return truth.Config{Spoil: func(_ string, cfg *spice.Config) { cfg.Tap = client }}
}

func badProxy(proxy wrong.Proxy) truth.Config { return truth.Config{Proxy: truth.BadProxy(proxy)} }

// stale makes one client show the picture of the previous step.
func stale(which string) truth.Config {
	var last []byte
	return truth.Config{Look: func(name string, c *canvas.Image) {
		if name != which {
			return
		}
		now := bytes.Clone(c.Pix)
		if len(last) == len(c.Pix) {
			copy(c.Pix, last)
		}
		last = now
	}}
}

func TestDeliberateFaultsAreBlamedOnTheRightHop(t *testing.T) {
	helper(t)
	for _, c := range []struct {
		name, steps, setting string
		cfg                  truth.Config
		hop                  string
		says                 string // in the difference, or in the message
		first                int    // the step that must be the first to fail; 0: any
	}{
		{name: "a client that ignores clips", steps: "1001-1008", hop: truth.HopClient, says: "pixels", cfg: badClient(wrong.IgnoresClips())},
		{name: "a client that takes the neighbour from its cache", steps: "4500-4530", hop: truth.HopClient, says: "pixels",
			cfg: badClient(wrong.TakesTheNeighbour())},
		{name: "a client with a wrong raster operation", steps: "copy", hop: truth.HopClient, says: "pixels", cfg: badClient(wrong.WrongRop())},
		{name: "a client with one wrong operator", steps: "5501-5535", hop: truth.HopClient, says: "pixels", cfg: badClient(wrong.WrongOperator())},
		{name: "a client whose hot spots are off by one", steps: "8000-8003", hop: truth.HopClient, says: "hot spot", first: 8000,
			cfg: badClient(wrong.HotSpotsOff())},
		{name: "a stale screenshot", steps: "1001-1004", hop: truth.HopClient, says: "pixels", cfg: stale("direct")},
		{name: "a stale screenshot behind the proxy", steps: "1001-1004", hop: truth.HopClient, says: "only behind the proxy", cfg: stale("proxied")},
		{name: "a proxy that cuts the last byte of cursors", steps: "8000-8003", hop: truth.HopProxy, says: "cursor.set", first: 8000,
			cfg: badProxy(wrong.CutsCursors())},
		{name: "a proxy that drops a message", steps: "1001-1010", hop: truth.HopProxy, says: "lost", cfg: badProxy(wrong.Drops(5))},
		{name: "a proxy that doubles a message", steps: "1001-1010", hop: truth.HopProxy, says: "added", cfg: badProxy(wrong.Doubles(5))},
		{name: "a proxy that swaps two messages", steps: "7001-7003", hop: truth.HopProxy, says: "reordered", cfg: badProxy(wrong.Swaps(3))},
		{name: "a proxy that flips a byte in one of 500 messages", steps: "image", setting: "quic", hop: truth.HopProxy, says: "changed",
			cfg: badProxy(wrong.Flips(500))},
		{name: "a proxy that spoils large images only", steps: "image", hop: truth.HopProxy, says: "changed", cfg: badProxy(wrong.SpoilsLarge(150_000))},
	} {
		t.Run(c.name, func(t *testing.T) {
			setting := c.setting
			if setting == "" {
				setting = "off"
			}
			cfg := c.cfg
			cfg.Groups = only(t, c.steps)
			cfg.MostFailures = 2
			r := walk(t, cfg, setting)
			if len(r.Failures) == 0 {
				t.Fatalf("nothing is seen in %d steps", r.Ran)
			}
			for _, f := range r.Failures {
				if f.Hop != c.hop {
					t.Errorf("the %s is blamed: %s", f.Hop, f.String())
				}
			}
			f := r.Failures[0]
			if !strings.Contains(f.What+f.Message, c.says) {
				t.Errorf("it says %q, want something with %q", f.String(), c.says)
			}
			if c.first != 0 && f.Step != c.first {
				t.Errorf("step %d is the first to fail, want %d", f.Step, c.first)
			}
			if f.Hop == truth.HopProxy && f.Message == "" {
				t.Errorf("no message is named: %s", f.String())
			}
		})
	}
}

func TestAFailedStepLeavesItsPictures(t *testing.T) {
	helper(t)
	cfg := stale("direct")
	cfg.Groups = only(t, "1001-1003")
	cfg.MostFailures = 1
	r := walk(t, cfg, "off")
	if len(r.Failures) != 1 {
		t.Fatalf("%d failures, want one", len(r.Failures))
	}
	for _, name := range []string{"server.png", "direct.png", "proxied.png", "difference.png"} {
		if _, err := os.Stat(filepath.Join(r.Failures[0].Dir, name)); err != nil {
			t.Error(err)
		}
	}
	if r.Stopped == "" || r.OK() || r.Err() == nil {
		t.Errorf("the report is OK: stopped %q, error %v", r.Stopped, r.Err())
	}
}
