package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/spice/control/internal/keyboard"
)

// AT set 1 make codes of keys without a character.
const (
	KeyEscape    uint16 = 0x01
	KeyBackspace uint16 = 0x0e
	KeyTab       uint16 = 0x0f
	KeyEnter     uint16 = 0x1c
	KeyCtrl      uint16 = 0x1d
	KeyShift     uint16 = 0x2a
	KeyAlt       uint16 = 0x38
	KeySpace     uint16 = 0x39
	KeyCapsLock  uint16 = 0x3a
	KeyF1        uint16 = 0x3b // F2 to F10 follow
	KeyF11       uint16 = 0x57
	KeyF12       uint16 = 0x58
	KeyRightCtrl uint16 = 0xe01d
	KeyAltGr     uint16 = 0xe038
	KeyHome      uint16 = 0xe047
	KeyUp        uint16 = 0xe048
	KeyPageUp    uint16 = 0xe049
	KeyLeft      uint16 = 0xe04b
	KeyRight     uint16 = 0xe04d
	KeyEnd       uint16 = 0xe04f
	KeyDown      uint16 = 0xe050
	KeyPageDown  uint16 = 0xe051
	KeyInsert    uint16 = 0xe052
	KeyDelete    uint16 = 0xe053
	KeyMeta      uint16 = 0xe05b
	KeyMenu      uint16 = 0xe05d
)

// keyNames are the names that [ParseKey] takes, in lower case.
var keyNames = map[string]uint16{
	"escape": KeyEscape, "esc": KeyEscape, "backspace": KeyBackspace, "tab": KeyTab,
	"enter": KeyEnter, "return": KeyEnter, "space": KeySpace, "capslock": KeyCapsLock,
	"ctrl": KeyCtrl, "control": KeyCtrl, "rightctrl": KeyRightCtrl, "shift": KeyShift, "rightshift": 0x36,
	"alt": KeyAlt, "altgr": KeyAltGr, "rightalt": KeyAltGr, "meta": KeyMeta, "super": KeyMeta, "menu": KeyMenu,
	"home": KeyHome, "end": KeyEnd, "pageup": KeyPageUp, "pagedown": KeyPageDown,
	"insert": KeyInsert, "delete": KeyDelete, "del": KeyDelete,
	"up": KeyUp, "down": KeyDown, "left": KeyLeft, "right": KeyRight,
	"f1": 0x3b, "f2": 0x3c, "f3": 0x3d, "f4": 0x3e, "f5": 0x3f, "f6": 0x40, "f7": 0x41, "f8": 0x42,
	"f9": 0x43, "f10": 0x44, "f11": KeyF11, "f12": KeyF12,
	"numlock": 0x45, "scrolllock": 0x46, "kpenter": 0xe01c, "kpdivide": 0xe035, "kpmultiply": 0x37,
	"kpminus": 0x4a, "kpplus": 0x4e, "kp0": 0x52, "kp1": 0x4f, "kp2": 0x50, "kp3": 0x51, "kp4": 0x4b,
	"kp5": 0x4c, "kp6": 0x4d, "kp7": 0x47, "kp8": 0x48, "kp9": 0x49, "kpdot": 0x53,
}

// KeyNames are the names of keys that [ParseKey] takes, sorted, as a person
// writes them: "Enter", "F10", "PageUp".
func KeyNames() []string {
	var names []string
	for name := range keyNames {
		names = append(names, spelled(name))
	}
	slices.Sort(names)
	return names
}

// spelled is the usual spelling of a name in lower case.
func spelled(name string) string {
	for _, s := range []string{"CapsLock", "NumLock", "ScrollLock", "RightCtrl", "RightShift", "RightAlt", "AltGr", "PageUp", "PageDown"} {
		if strings.EqualFold(s, name) {
			return s
		}
	}
	if rest, ok := strings.CutPrefix(name, "kp"); ok {
		return "KP" + strings.ToUpper(rest[:1]) + rest[1:]
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// ParseKey reads a key or a chord as a person writes it, for example "Enter",
// "a", "F10", "0xe04b" or "Ctrl+Alt+Delete", and returns the make codes in the
// order in which they go down. A single character is the key it stands on in
// the US layout; one that needs Shift brings Shift with it.
func ParseKey(s string) ([]uint16, error) {
	us, _ := keyboard.Named("us")
	var codes []uint16
	parts := strings.Split(s, "+")
	if s == "+" || strings.HasSuffix(s, "++") { // the plus key itself
		parts = append(strings.Split(strings.TrimSuffix(strings.TrimSuffix(s, "+"), "+"), "+"), "+")
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	}
	for _, part := range parts {
		if code, ok := keyNames[strings.ToLower(part)]; ok {
			codes = append(codes, code)
			continue
		}
		if r := []rune(part); len(r) == 1 {
			if strokes, ok := us.Strokes(r[0]); ok {
				if strokes[0].Shift && !slices.Contains(codes, KeyShift) {
					codes = append(codes, KeyShift)
				}
				codes = append(codes, strokes[0].Code)
				continue
			}
		}
		var code uint16
		if _, err := fmt.Sscanf(strings.ToLower(part), "0x%x", &code); err == nil {
			if code, err = keyboard.MakeCode(code, false); err == nil {
				codes = append(codes, code)
				continue
			}
		}
		return nil, fmt.Errorf("control: no key %q: want a character, a name like Enter, F1, Left or Ctrl, or a make code like 0xe04b", part)
	}
	return codes, nil
}

// Layouts names the keyboard layouts that type knows.
func Layouts() []string { return keyboard.Names() }
