package matrix_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/internal/race"
)

// A leg is a path to the guest's screen.
type leg struct {
	name  string
	proxy harness.Program
	tls   bool // on QEMU's port
}

var (
	legs = []leg{
		{"proxied-plain", harness.Builtin, false},
		{"direct-plain", harness.None, false},
		{"proxied-tls", harness.Builtin, true},
		{"direct-tls", harness.None, true},
	}
	compressions = []qemu.Compression{"off", "auto_glz", "quic", "glz", "lz"}
	displays     = []qemu.Display{"qxl", "virtio", "std"}
)

// The picture is exact for every compression on every display device in all modes from 640×480 to
// 1920×1080, and everything that came was decoded. The legs rotate, so that each meets each display
// and nearly each compression.
//
// With the race detector, which is not about pixels, each compression runs once.
//
// With SPICELANE_MATRIX=full, every leg meets every compression and display, with all suites.
func TestTheMatrix(t *testing.T) {
	lanetest.AtLength(t)
	t.Parallel()
	full := os.Getenv("SPICELANE_MATRIX") == "full"
	n := 0
	for d, display := range displays {
		for c, compression := range compressions {
			if race.Enabled && !full && c%len(displays) != d {
				continue
			}
			for i, l := range legs {
				if !full && i != n%len(legs) {
					continue
				}
				t.Run(string(display)+"/"+string(compression)+"/"+l.name, func(t *testing.T) {
					lanetest.AtOnce(t)
					lane := harness.Up(t, harness.Config{Display: display, Compression: compression, Proxy: l.proxy, BackendTLS: l.tls,
						Witness: l.proxy == harness.Builtin && !l.tls})
					if full {
						scenario.Run(t, lane)
					} else {
						suites := scenario.Suites("surfaces", "modes")
						if display != "qxl" && compression == "off" { // where it says that it is not there
							suites = append(suites, scenario.Suites("native")...)
						}
						scenario.Run(t, lane, suites...)
						scenario.Compressed(t, lane)
					}
					st, err := lanetest.Control(t, lane).Status(lane.Context())
					require.NoError(t, err)
					require.Empty(t, st.Unsupported)
				})
			}
			n++
		}
	}
}
