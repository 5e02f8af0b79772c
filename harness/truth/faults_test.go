package truth_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

// Message types and offsets of the display and cursor channels (spice.proto).
const (
	drawFill      = 302
	drawCopy      = 304
	drawComposite = 318
	cursorSet     = 103

	clipType  = 20 // in a drawing: behind surface and box
	clipRects = 25 // behind the type and the number
	fromCache = 103
)

// draws is whether a display message draws; surfaces are made and destroyed with those between.
func draws(messageType uint16) bool {
	return messageType >= drawFill && messageType <= drawFill+11 || messageType == drawComposite
}

// spoil changes what a client is sent before it decodes it, and after it was noted: a client that is wrong.
type spoil struct {
	channel wire.ChannelType
	change  func(messageType uint16, body []byte)
}

func (s *spoil) tap(id wire.ChannelID) wire.Tap {
	if id.Type != s.channel {
		return nil
	}
	return s
}

func (*spoil) Linked(wire.LinkInfo) {}

func (s *spoil) Message(d wire.Direction, h wire.Header, body []byte) {
	if d == wire.FromServer {
		s.change(h.Type, body)
	}
}

// badClient has all clients carry out something else than they are told.
func badClient(channel wire.ChannelType, change func(uint16, []byte)) truth.Config {
	var mu sync.Mutex
	return truth.Config{Spoil: func(_ string, cfg *spice.Config) {
		cfg.Tap = (&spoil{channel, func(t uint16, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			change(t, body)
		}}).tap
	}}
}

// behindClip is the offset of what follows a drawing's box and clip.
func behindClip(body []byte) int {
	if body[clipType] == 0 {
		return clipType + 1
	}
	return clipRects + 16*int(binary.LittleEndian.Uint32(body[clipType+1:]))
}

// isDrawing is whether a display message draws more than the sentinel's pixel.
func isDrawing(ch wire.ChannelID, p truth.Passed) bool {
	if ch.Type != wire.ChannelDisplay || !draws(p.Type) {
		return false
	}
	top, bottom := binary.LittleEndian.Uint32(p.Body[4:]), binary.LittleEndian.Uint32(p.Body[12:])
	return bottom-top > 1
}

// badProxy does something to the n-th drawing.
func badProxy(n int, do func(p truth.Passed) []truth.Passed) truth.Config {
	count := 0
	return truth.Config{Proxy: truth.BadProxy(func(ch wire.ChannelID, p truth.Passed) []truth.Passed {
		if isDrawing(ch, p) {
			if count++; count == n {
				return do(p)
			}
		}
		return []truth.Passed{p}
	})}
}

func flip(body []byte, at int) []byte {
	body = bytes.Clone(body)
	body[at] ^= 0x40
	return body
}

// cacheNeighbour has a client take another image of the same size from its cache.
func cacheNeighbour() func(uint16, []byte) {
	type image struct {
		id   uint64
		size [8]byte
	}
	var kept []image
	return func(t uint16, body []byte) {
		if t != drawCopy {
			return
		}
		at := int(binary.LittleEndian.Uint32(body[behindClip(body):]))
		im := image{binary.LittleEndian.Uint64(body[at:]), [8]byte(body[at+10:])}
		if body[at+9]&1 != 0 && body[at+8] != fromCache && !slices.Contains(kept, im) {
			kept = append(kept, im)
		}
		if body[at+8] != fromCache {
			return
		}
		for _, other := range kept {
			if other.id != im.id && other.size == im.size {
				binary.LittleEndian.PutUint64(body[at:], other.id)
				return
			}
		}
	}
}

// stale has one client show the picture of the step before.
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
		cfg                  func() truth.Config
		hop                  string
		says                 string // in what differs, or in the message
		first                int    // the step that must be the first to fail; 0: any
	}{
		{name: "a client that ignores clips", steps: "1001-1008", hop: truth.HopClient, says: "pixels", cfg: func() truth.Config {
			return badClient(wire.ChannelDisplay, func(m uint16, body []byte) {
				if !draws(m) || body[clipType] == 0 {
					return
				}
				for at := clipRects; at < behindClip(body); at += 16 {
					copy(body[at:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x0f, 0, 0, 0xff, 0x0f, 0, 0})
				}
			})
		}},
		{name: "a client that takes the neighbour from its cache", steps: "4500-4530", hop: truth.HopClient, says: "pixels", cfg: func() truth.Config {
			return badClient(wire.ChannelDisplay, cacheNeighbour())
		}},
		{name: "a client with a wrong raster operation", steps: "copy", hop: truth.HopClient, says: "pixels", cfg: func() truth.Config {
			return badClient(wire.ChannelDisplay, func(m uint16, body []byte) {
				if m != drawCopy {
					return
				}
				if rop := behindClip(body) + 4 + 16; body[rop] == 64 {
					body[rop] = 16 // or, instead of exclusive or
				}
			})
		}},
		{name: "a client with one wrong operator", steps: "5501-5535", hop: truth.HopClient, says: "pixels", cfg: func() truth.Config {
			return badClient(wire.ChannelDisplay, func(m uint16, body []byte) {
				if at := behindClip; m == drawComposite && body[at(body)] == 3 {
					body[at(body)] = 12 // add, instead of over
				}
			})
		}},
		{name: "a client whose hot spots are off by one", steps: "8000-8003", hop: truth.HopClient, says: "hot spot", first: 8000, cfg: func() truth.Config {
			return badClient(wire.ChannelCursor, func(m uint16, body []byte) {
				if m == cursorSet {
					body[20]++
				}
			})
		}},
		{name: "a stale screenshot", steps: "1001-1004", hop: truth.HopClient, says: "pixels", cfg: func() truth.Config { return stale("direct") }},
		{name: "a stale screenshot behind the proxy", steps: "1001-1004", hop: truth.HopClient, says: "only behind the proxy", cfg: func() truth.Config { return stale("proxied") }},
		{name: "a proxy that cuts the last byte of cursors", steps: "8000-8003", hop: truth.HopProxy, says: "cursor.set", first: 8000, cfg: func() truth.Config {
			return truth.Config{Proxy: truth.BadProxy(func(ch wire.ChannelID, p truth.Passed) []truth.Passed {
				if ch.Type == wire.ChannelCursor && p.Type == cursorSet {
					p.Body = p.Body[:len(p.Body)-1]
				}
				return []truth.Passed{p}
			})}
		}},
		{name: "a proxy that drops a message", steps: "1001-1010", hop: truth.HopProxy, says: "lost", cfg: func() truth.Config {
			return badProxy(5, func(truth.Passed) []truth.Passed { return nil })
		}},
		{name: "a proxy that doubles a message", steps: "1001-1010", hop: truth.HopProxy, says: "added", cfg: func() truth.Config {
			return badProxy(5, func(p truth.Passed) []truth.Passed { return []truth.Passed{p, p} })
		}},
		{name: "a proxy that swaps two messages", steps: "7001-7003", hop: truth.HopProxy, says: "reordered", cfg: func() truth.Config {
			var held *truth.Passed
			count := 0
			return truth.Config{Proxy: truth.BadProxy(func(ch wire.ChannelID, p truth.Passed) []truth.Passed {
				if !isDrawing(ch, p) {
					return []truth.Passed{p}
				}
				if count++; count == 3 {
					held = &p
					return nil
				}
				if held != nil {
					both := []truth.Passed{p, *held}
					held = nil
					return both
				}
				return []truth.Passed{p}
			})}
		}},
		{name: "a proxy that flips a byte in one of 500 messages", steps: "image", setting: "quic", hop: truth.HopProxy, says: "changed", cfg: func() truth.Config {
			count := 0
			return truth.Config{Proxy: truth.BadProxy(func(ch wire.ChannelID, p truth.Passed) []truth.Passed {
				if ch.Type == wire.ChannelDisplay && p.Type >= drawFill {
					if count++; count%500 == 499 {
						p.Body = flip(p.Body, len(p.Body)-1)
					}
				}
				return []truth.Passed{p}
			})}
		}},
		{name: "a proxy that spoils large images only", steps: "image", hop: truth.HopProxy, says: "changed", cfg: func() truth.Config {
			return truth.Config{Proxy: truth.BadProxy(func(ch wire.ChannelID, p truth.Passed) []truth.Passed {
				if ch.Type == wire.ChannelDisplay && len(p.Body) > 150_000 {
					p.Body = flip(p.Body, len(p.Body)/2)
				}
				return []truth.Passed{p}
			})}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			setting := c.setting
			if setting == "" {
				setting = "off"
			}
			cfg := c.cfg()
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
