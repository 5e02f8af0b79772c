package replay

import "fmt"

// keyRows has rows of a US keyboard, by the AT set 1 make code of their first key.
var keyRows = map[int]string{0x02: "1234567890-=", 0x10: "qwertyuiop[]", 0x1e: "asdfghjkl;'`", 0x2b: `\zxcvbnm,./`}

var otherKeys = map[int]string{
	0x01: "Escape", 0x0e: "Backspace", 0x0f: "Tab", 0x1c: "Enter", 0x1d: "Ctrl", 0x2a: "Shift", 0x36: "right Shift", 0x38: "Alt",
	0x39: "Space", 0x3a: "CapsLock", 0x45: "NumLock", 0x46: "ScrollLock", 0x57: "F11", 0x58: "F12",
	0xe01d: "right Ctrl", 0xe037: "PrintScreen", 0xe038: "AltGr", 0xe046: "Pause", 0xe047: "Home", 0xe048: "Up", 0xe049: "PageUp",
	0xe04b: "Left", 0xe04d: "Right", 0xe04f: "End", 0xe050: "Down", 0xe051: "PageDown", 0xe052: "Insert", 0xe053: "Delete",
	0xe05b: "Meta", 0xe05c: "right Meta", 0xe05d: "Menu",
}

// KeyName returns the name of the key with an AT set 1 make code, on a US keyboard.
func KeyName(code int) string {
	for first, row := range keyRows {
		if i := code - first; i >= 0 && i < len(row) {
			return row[i : i+1]
		}
	}
	if name, ok := otherKeys[code]; ok {
		return name
	}
	if code >= 0x3b && code <= 0x44 {
		return fmt.Sprintf("F%d", code-0x3b+1)
	}
	return fmt.Sprintf("%#x", code)
}
