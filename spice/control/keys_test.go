package control_test

import (
	"testing"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/stretchr/testify/require"
)

func TestParseKeyReadsKeysAsAPersonWritesThem(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want []uint16
	}{
		{"Enter", []uint16{0x1c}}, {"a", []uint16{0x1e}}, {"A", []uint16{0x2a, 0x1e}}, {"F10", []uint16{0x44}}, {"f12", []uint16{0x58}},
		{"Ctrl+Alt+Delete", []uint16{0x1d, 0x38, 0xe053}}, {"Left", []uint16{0xe04b}}, {"0xe04b", []uint16{0xe04b}},
		{"+", []uint16{0x2a, 0x0d}}, {"Ctrl++", []uint16{0x1d, 0x2a, 0x0d}}, {"Shift+a", []uint16{0x2a, 0x1e}}, {"Space", []uint16{0x39}},
	} {
		got, err := control.ParseKey(tc.in)
		require.NoError(t, err, tc.in)
		require.Equal(t, tc.want, got, tc.in)
	}
	for _, in := range []string{"", "Entre", "Ctrl+", "é", "0x4be0", "0x9e", "0xzz", "a+"} {
		_, err := control.ParseKey(in)
		require.Error(t, err, in)
	}
}
