package qemu_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

func TestEachErrorKnowsWhoseFaultItIs(t *testing.T) {
	t.Parallel()
	for kind, want := range map[qemu.Kind]verdict.Kind{
		qemu.KindShutdown:      verdict.Product,
		qemu.KindPanicked:      verdict.Product,
		qemu.KindResetLoop:     verdict.Product,
		qemu.KindCrash:         verdict.Product,
		qemu.KindInternalError: verdict.Host,
		qemu.KindDiskFull:      verdict.Host,
		qemu.KindIOError:       verdict.Host,
		qemu.KindSignal:        verdict.Host,
		qemu.KindExit:          verdict.Harness,
		qemu.KindKilled:        verdict.Harness,
		qemu.KindClosed:        verdict.Harness,
	} {
		require.Equal(t, want, verdict.Of(verdict.Classify("qemu", &qemu.ExitError{Kind: kind})), "%s", kind)
	}
	require.Equal(t, verdict.Host, verdict.Of(verdict.Classify("", &qemu.HostError{What: "no QEMU"})))
	require.Equal(t, verdict.Harness, verdict.Of(verdict.Classify("", &qemu.ConfigError{What: "no image"})))
	require.Equal(t, verdict.Product, verdict.Of(verdict.Classify("", &qemu.BootError{Err: errors.New("late")})))
}
