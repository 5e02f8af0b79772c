package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReasonOnStderrIsOneHarmlessLine(t *testing.T) {
	require.Equal(t, "panic: ^[]0;x^G; then", oneLine("panic: \x1b]0;x\a\nthen"))
}
