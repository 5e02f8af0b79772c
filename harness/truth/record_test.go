package truth_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

// samples are the conversations that the tests of package spicetest play: a compression, and steps
// that together show each draw type, codec and type of cursor.
var samples = []struct{ name, setting, steps string }{
	{"off", "off", "1000-1003,1300,1400-1402,1500-1502,1800-1802,2000-2002,2200-2202,2300-2302,2500-2504,3000-3003," +
		"4000-4002,5000-5003,5200-5203,5500-5503,6000-6004,6044-6051,8000,8013,8026,8039,8052,8065,8078,8102-8114"},
	{"quic", "quic", "1500-1502,4152-4160"},
	{"lz", "lz", "4016,4017,4055,4058,4092,4093,4152-4160,4278-4282"},
	{"glz", "glz+zlib", "4152-4160,4500-4526"},
	{"lz4", "lz4", "4152-4160,4278-4282"},
	{"jpeg", "auto_glz+jpeg", "7600-7602,7690-7692"},
	{"stream", "off", "8300,8301"},
}

const samplesDir = "../../spice/spicetest/testdata/truth"

// counting counts the messages of a server.
type counting struct{ n atomic.Int64 }

func (c *counting) Linked(wire.LinkInfo) {}

func (c *counting) Message(d wire.Direction, _ wire.Header, _ []byte) {
	if d == wire.FromServer {
		c.n.Add(1)
	}
}

// TestRecordSamples records the samples again: make record. After each step, the walk has compared
// its picture with the server's memory. The test notes the picture's checksum and how many messages
// it took.
func TestRecordSamples(t *testing.T) {
	if os.Getenv("SPICELANE_RECORD") == "" {
		t.Skip("SPICELANE_RECORD is not set: the samples stay as they are")
	}
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			dir := filepath.Join(samplesDir, s.name)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			rec, err := recording.NewRecorder(recording.Config{Dir: dir,
				Comments: []string{"libspice-server and the catalogue of harness/truth, " + s.setting + ", steps " + s.steps}})
			if err != nil {
				t.Fatal(err)
			}
			counts := map[wire.ChannelID]*counting{{Type: wire.ChannelDisplay}: {}, {Type: wire.ChannelCursor}: {}}
			var client *spice.Client
			var pictures, cursors []string
			note := func(list *[]string, ch wire.ChannelType, sum uint32) {
				at := fmt.Sprint(counts[wire.ChannelID{Type: ch}].n.Load(), " ")
				if n := len(*list); n == 0 || !strings.HasPrefix((*list)[n-1], at) {
					*list = append(*list, fmt.Sprintf("%s%08x\n", at, sum))
				}
			}
			pixels := catalogue.Coarse
			if s.name == "jpeg" {
				pixels = nil // JPEG is for soft images
			}
			r := walk(t, truth.Config{
				Groups: only(t, s.steps), NoProxy: true, Pixels: pixels,
				Spoil: func(name string, cfg *spice.Config) {
					if name != "direct" {
						return
					}
					rec.Hide(cfg.Password)
					cfg.Tap = func(id wire.ChannelID) wire.Tap {
						if counts[id] == nil {
							return rec.Tap(id)
						}
						return wire.JoinTaps(rec.Tap(id), counts[id])
					}
				},
				Dialed: func(name string, c *spice.Client) {
					if name == "direct" && client != nil {
						t.Error("the client has connected twice: one recording holds one session")
					}
					if name == "direct" {
						client = c
					}
				},
				Look: func(name string, c *canvas.Image) {
					if name != "direct" {
						return
					}
					note(&pictures, wire.ChannelDisplay, checksum(c))
					if k, ok := client.Cursor(0); ok && k.Shape != nil {
						note(&cursors, wire.ChannelCursor, crc32.ChecksumIEEE(append(bytes.Clone(k.Shape.Pix), k.Shape.Xor...)))
					}
				},
			}, s.setting)
			for _, f := range r.Failures {
				t.Error(f.String())
			}
			if err := rec.Close(); err != nil {
				t.Fatal(err)
			}
			for name, lines := range map[string][]string{"pictures": pictures, "cursors": cursors} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			zipAll(t, dir)
		})
	}
}

// checksum is the CRC-32 of a picture's colours.
func checksum(c *canvas.Image) uint32 {
	sum := crc32.NewIEEE()
	row := make([]byte, 0, 3*c.Width)
	for y := range c.Height {
		row = row[:0]
		for x := range c.Width {
			row = append(row, c.Pix[y*c.Stride+4*x:][:3]...)
		}
		sum.Write(row)
	}
	return sum.Sum32()
}

// zipAll replaces the recordings of channels by zipped ones.
func zipAll(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var zipped bytes.Buffer
		z, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		z.Write(text)
		z.Close()
		if err := os.WriteFile(name+".gz", zipped.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
