package control_test

import (
	"strings"
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
	for _, in := range []string{"", "Entre", "Ctrl+", "é", "0x4be0", "0x9e", "0xzz", "0x1cz", "0x1c 0x1d", "a+"} {
		_, err := control.ParseKey(in)
		require.Error(t, err, in)
	}
}

// board is a 105-key board: every key's make code in the order of its rows. Make codes
// as in the IBM PS/2 technical reference, set 1; the Print Screen and Pause keys as
// QEMU numbers them.
var board = []uint16{
	0x01, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x41, 0x42, 0x43, 0x44, 0x57, 0x58, 0xe037, 0x46, 0xe046,
	0x29, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
	0xe052, 0xe047, 0xe049, 0x45, 0xe035, 0x37, 0x4a,
	0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c,
	0xe053, 0xe04f, 0xe051, 0x47, 0x48, 0x49, 0x4e,
	0x3a, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x2b, 0x4b, 0x4c, 0x4d,
	0x2a, 0x56, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0xe048, 0x4f, 0x50, 0x51, 0xe01c,
	0x1d, 0xe05b, 0x38, 0x39, 0xe038, 0xe05c, 0xe05d, 0xe01d, 0xe04b, 0xe050, 0xe04d, 0x52, 0x53,
}

func TestEveryKeyOfA105KeyBoardHasAName(t *testing.T) {
	require.Len(t, board, 105)
	names := map[uint16]string{}
	for _, name := range control.KeyNames() {
		codes, err := control.ParseKey(name)
		require.NoError(t, err, name)
		require.Len(t, codes, 1, name)
		names[codes[0]] = name
		lower, err := control.ParseKey(strings.ToLower(name))
		require.NoError(t, err)
		require.Equal(t, codes, lower)
	}
	for r := ' '; r < 0x7f; r++ { // keys with a character are named by it
		codes, err := control.ParseKey(string(r))
		require.NoError(t, err, "%c", r)
		names[codes[len(codes)-1]] = string(r)
	}
	for _, code := range board {
		require.NotEmpty(t, names[code], "%#04x", code)
	}
	require.Len(t, names, 105, "and no name is of a key that such a board lacks")
	for name, want := range map[string]uint16{"SysRq": 0xe037, "printscreen": 0xe037, "Pause": 0xe046, "Break": 0xe046, "RightMeta": 0xe05c} {
		codes, err := control.ParseKey(name)
		require.NoError(t, err)
		require.Equal(t, []uint16{want}, codes)
	}
	_, err := control.ParseKey("e\u0301")
	require.ErrorContains(t, err, "no key")
}
