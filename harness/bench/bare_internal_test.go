package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A program that prints nothing takes QEMU's place.
func TestAnInterruptedMeasurementDoesNotBlameTheProduct(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "qemu")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\nexec sleep 600\n"), 0o700)) //nolint:gosec // a program
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	mc := qemu.Config{Binary: binary, Accel: qemu.TCG, Spice: qemu.Spice{Ticket: "ticket1234"}}
	_, err := bareBoot(ctx, mc, "Hello")
	require.ErrorContains(t, err, "interrupted")
	require.NotEqual(t, verdict.Product, verdict.Of(err))

	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\necho broken >&2; exit 1\n"), 0o700)) //nolint:gosec // a program
	_, err = bareBoot(t.Context(), mc, "Hello")
	require.ErrorContains(t, err, "broken")
	require.Equal(t, verdict.Product, verdict.Of(err))
}

func TestLanesThatAreReportedAsWarmMayNotBoot(t *testing.T) {
	b := &bench{}
	require.Equal(t, harness.WarmRequire, b.paced(true, 20, 2).Lane.Warm)
	require.Equal(t, harness.WarmOff, b.paced(false, 20, 2).Lane.Warm)
}
