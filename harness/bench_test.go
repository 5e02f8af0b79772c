package harness_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
)

// How long a lane of Beacon takes, one at a time, by what has to be there. The
// times of a warm lane say most as a part of those of a cold one in the same run:
//
//	go test -run '^$' -bench Lane -benchtime 5x ./harness

func BenchmarkLaneCold(b *testing.B) { benchLane(b, harness.WarmOff) }

func BenchmarkLaneWarm(b *testing.B) {
	harness.RequireHost(b)
	lane, err := harness.Start(b.Context(), harness.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	require.NoError(b, lane.Close())
	benchLane(b, harness.WarmRequire)
}

func benchLane(b *testing.B, warm string) {
	harness.RequireHost(b)
	sums := map[string]time.Duration{}
	var rss, ready float64
	for b.Loop() {
		lane, err := harness.Start(b.Context(), harness.Config{Dir: b.TempDir(), Warm: warm})
		require.NoError(b, err)
		var at time.Duration
		for _, s := range lane.State().Steps {
			at += time.Duration(s.MS) * time.Millisecond
			sums[s.Name] += at
		}
		ready += float64(lane.ReadyAfter().Milliseconds())
		rss += residentMiB(b, lane.State().PIDs.QEMU)
		require.NoError(b, lane.Close())
	}
	n := float64(b.N)
	for _, name := range []string{"banner", "picture", "digest"} {
		b.ReportMetric(float64(sums[name].Milliseconds())/n, name+"-ms")
	}
	b.ReportMetric(ready/n, "ready-ms")
	b.ReportMetric(rss/n, "QEMU-MiB")
	b.ReportMetric(60*n/b.Elapsed().Seconds(), "lanes/min")
}

// BenchmarkLaneBareQEMU is what a cold lane cannot be faster than: the same
// machine, nobody connected, until its banner.
func BenchmarkLaneBareQEMU(b *testing.B) {
	harness.RequireHost(b)
	fx, err := fixtures.Find("beacon")
	require.NoError(b, err)
	image, err := fx.Materialize(b.TempDir())
	require.NoError(b, err)
	ctx := context.Background()
	for b.Loop() {
		dir, err := os.MkdirTemp("", "bare") // short: sockets go there
		require.NoError(b, err)
		cfg, err := qemu.Prepare(ctx, qemu.Config{
			Dir: dir, Image: image, Audio: fx.Audio, Agent: fx.Agent, Devices: fx.Devices, MemoryMiB: fx.MemoryMiB,
			Spice: qemu.Spice{Unix: filepath.Join(dir, "spice.sock")},
		})
		require.NoError(b, err)
		m, err := qemu.Start(ctx, cfg)
		require.NoError(b, err)
		_, err = m.AwaitBoot(ctx, serial.Contains(fx.Banner))
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, m.Close())
		require.NoError(b, os.RemoveAll(dir))
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "banner-ms")
}

// residentMiB is how much memory a process holds.
func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	require.NoError(b, err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(b, err)
	return float64(kib) / 1024
}
