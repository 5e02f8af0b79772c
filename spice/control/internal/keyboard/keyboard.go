// Package keyboard has make codes and keyboard layouts, which both sides of the control socket need
// to convert text to keys.
package keyboard

import "fmt"

// AT set 1 make codes of the keys that layouts share.
const (
	Escape    uint16 = 0x01
	Backspace uint16 = 0x0e
	Tab       uint16 = 0x0f
	Enter     uint16 = 0x1c
	Shift     uint16 = 0x2a
	Space     uint16 = 0x39
	AltGr     uint16 = 0xe038
)

// Modifiers are the keys that change the characters of other keys while they are down: both Shift,
// Ctrl, Alt and Meta keys.
var Modifiers = []uint16{Shift, 0x36, 0x1d, 0xe01d, 0x38, AltGr, 0xe05b, 0xe05c}

// MakeCode checks a logical scancode and returns its make code. The break bit may be set only for a
// release.
func MakeCode(code uint16, release bool) (uint16, error) {
	prefix, low := code>>8, code&0xff
	if prefix != 0 && prefix != 0xe0 {
		return 0, fmt.Errorf(
			"0x%04x is no logical scancode: an extended one has the prefix 0xe0 in the high byte, for example 0xe04b, not the byte order of the wire", code)
	}
	if low&0x80 != 0 && !release {
		return 0, fmt.Errorf(
			`0x%04x is a break code: send the make code 0x%04x, or the state "up"`, code, code&^0x80)
	}
	low &^= 0x80
	// 0x60 and 0x61 are what remains of a prefix byte; they are not keys.
	if low == 0 || low == 0x60 || low == 0x61 {
		return 0, fmt.Errorf("0x%04x is not a key", code)
	}
	return prefix<<8 | low, nil
}
