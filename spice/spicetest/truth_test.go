package spicetest_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

// checksums reads a file of lines with the number of a server's message and the checksum of what the
// client shows after it.
func checksums(t *testing.T, path string) map[int]uint32 {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	sums := map[int]uint32{}
	for line := range strings.Lines(string(text)) {
		var n int
		var sum uint32
		_, err := fmt.Sscanf(line, "%d %x", &n, &sum)
		require.NoError(t, err, path)
		sums[n] = sum
	}
	return sums
}

// checked returns the steps of a script with a comparison after each message that sums has a checksum for.
func checked(steps []spicetest.Step, sums map[int]uint32, look func() (uint32, error)) (all []spicetest.Step, comparisons int) {
	n := 0
	for _, s := range steps {
		all = append(all, s)
		if !strings.HasPrefix(s.Name, "play ") {
			continue
		}
		n++
		want, ok := sums[n]
		if !ok {
			continue
		}
		comparisons++
		all = append(all, spicetest.Sync(), spicetest.Do(fmt.Sprint("compare after message ", n), func(*spicetest.Channel) error {
			if got, err := look(); err != nil || got != want {
				return fmt.Errorf("the checksum is %08x, want %08x (%v)", got, want, err)
			}
			return nil
		}))
	}
	return all, comparisons
}

// play plays a conversation of a real spice-server and compares what the client shows after each step.
func play(t *testing.T, name string, change func(pictures map[int]uint32)) (spice.Stats, error) {
	t.Helper()
	dir := filepath.Join("testdata", "truth", name)
	recorded, err := spicetest.Load(dir)
	require.NoError(t, err)
	pictures, cursors := checksums(t, filepath.Join(dir, "pictures")), checksums(t, filepath.Join(dir, "cursors"))
	if change != nil {
		change(pictures)
	}
	var client *spice.Client
	dialed := make(chan struct{})
	script := recorded.Config()
	done := 0
	compare := func(ch wire.ChannelType, sums map[int]uint32, look func() (uint32, error)) {
		id := wire.ChannelID{Type: ch}
		s := script.Scripts[id]
		var n int
		s.Steps, n = checked(s.Steps, sums, func() (uint32, error) { <-dialed; return look() })
		require.Equal(t, len(sums), n, "every checksum is compared")
		script.Scripts[id] = s
		done += n
	}
	compare(wire.ChannelDisplay, pictures, func() (uint32, error) {
		c, err := client.Cells(0, 0, image.Rectangle{}, new(canvas.Image))
		if err != nil {
			return 0, err
		}
		sum := crc32.NewIEEE()
		for i := 0; i+4 <= len(c.Pix); i += 4 {
			sum.Write(c.Pix[i : i+3])
		}
		return sum.Sum32(), nil
	})
	compare(wire.ChannelCursor, cursors, func() (uint32, error) {
		k, ok := client.Cursor(0)
		if !ok || k.Shape == nil {
			return 0, fmt.Errorf("there is no pointer")
		}
		return crc32.ChecksumIEEE(append(bytes.Clone(k.Shape.Pix), k.Shape.Xor...)), nil
	})
	require.NotZero(t, done)
	srv, err := spicetest.NewServer(script)
	require.NoError(t, err)
	defer srv.Close()
	cfg := clientConfig()
	cfg.Port, cfg.DialFunc = 1, srv.Dial
	cfg.PixmapCachePixels, cfg.GLZWindowPixels = 1<<20, 1<<20 // as recorded
	client, err = spice.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer client.Close()
	close(dialed)
	err = srv.AwaitScripts(t.Context(), len(recorded.Recordings))
	return client.Stats(), err
}

var truths = []string{"off", "quic", "lz", "glz", "lz4", "jpeg", "stream"}

// The conversations are samples of the catalogue of harness/truth, where each picture was the one in
// spice-server's memory. make record makes them again.
func TestEveryStepOfARealServerIsShownAsItWasRecorded(t *testing.T) {
	var all []spice.Stats
	for _, name := range truths {
		t.Run(name, func(t *testing.T) {
			stats, err := play(t, name, nil)
			require.NoError(t, err)
			require.Empty(t, stats.Unsupported)
			all = append(all, stats)
		})
	}
	seen := map[string]uint64{}
	for _, row := range spice.CoverageOf(all...) {
		seen[row.Kind+" "+row.Name] = row.Count
	}
	for _, want := range []string{
		"operation copy_bits", "operation draw_alpha_blend", "operation draw_blackness", "operation draw_blend", "operation draw_composite",
		"operation draw_copy", "operation draw_fill", "operation draw_invers", "operation draw_opaque", "operation draw_rop3",
		"operation draw_stroke", "operation draw_text", "operation draw_transparent", "operation draw_whiteness", "operation stream_data",
		"image bitmap", "image quic", "image lz_rgb", "image lz_plt", "image glz_rgb", "image zlib_glz_rgb", "image lz4", "image jpeg",
		"image jpeg_alpha", "image from_cache", "image surface",
		"feature cursor alpha", "feature cursor mono", "feature cursor color4", "feature cursor color8", "feature cursor color16",
		"feature cursor color24", "feature cursor color32",
	} {
		if seen[want] == 0 {
			t.Errorf("no conversation has %s", want)
		}
	}
}

func TestAPictureThatDiffersFromTheRecordedOneIsFound(t *testing.T) {
	_, err := play(t, "lz4", func(pictures map[int]uint32) {
		for n := range pictures {
			pictures[n] ^= 1
			return
		}
	})
	require.ErrorContains(t, err, "the checksum is")
}
