package scenario

import (
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// Covers returns a suite that demands that the client's session has received something: message
// types, draw types, image codecs, each at least a given number of times. Run it last, after the
// suites that make the guest draw. It skips a client that does not count its messages.
func Covers(demands ...coverage.Demand) Suite {
	return Suite{Name: "covers", Run: func(tb testing.TB, lane *harness.Lane) {
		r := begin(tb, lane)
		defer r.end()
		r.must(r.carried(nil, demands))
	}}
}

// Compressed demands the effects of a lane's compression, as Covers does. If a requested
// compression does not happen, the lane proves less than it claims: spice-server does not compress
// on a unix socket.
func Compressed(tb testing.TB, lane *harness.Lane) {
	Covers(compressed(lane.State().Compression)...).Run(tb, lane)
}

// codecs are the image types that each compression must produce for what firmware and Beacon draw.
var codecs = map[qemu.Compression]string{
	qemu.CompressionOff:     "bitmap",
	qemu.CompressionAutoGLZ: "glz_rgb",
	qemu.CompressionAutoLZ:  "lz_rgb",
	qemu.CompressionQUIC:    "quic",
	qemu.CompressionGLZ:     "glz_rgb",
	qemu.CompressionLZ:      "lz_rgb",
}

// compressed returns what a lane with a compression must have received.
func compressed(c string) []coverage.Demand {
	codec := codecs[qemu.Compression(c)]
	if codec == "" {
		return nil
	}
	return []coverage.Demand{
		{Kind: "image", Name: codec, Count: 3},
		{Kind: "operation", Name: "draw_copy", Count: 10},
		{Kind: "message", Name: "server display.surface_create"},
	}
}

// covered returns what the client's session has received so far; nil if the client does not count.
func (r *run) covered() spice.Coverage {
	r.Helper()
	if !r.offers("what the client has received", control.MethodStats) {
		return nil
	}
	var st spice.Stats
	r.must(r.client.Stats(r.ctx, &st))
	return spice.CoverageOf(st)
}

// carried returns an error for what the session has received less often since before than demanded.
// It returns nil for a client that does not count.
func (r *run) carried(before spice.Coverage, demands []coverage.Demand) error {
	r.Helper()
	now := r.covered()
	if now == nil {
		return nil
	}
	err := coverage.Check(coverage.Since(before, now), demands...)
	if err == nil {
		return nil
	}
	return &verdict.Error{Verdict: verdict.Product, Err: err}
}
