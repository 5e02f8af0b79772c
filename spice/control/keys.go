package control

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/spice/control/internal/keyboard"
)

// AT set 1 make codes of keys without a character.
const (
	KeyEscape      uint16 = 0x01
	KeyBackspace   uint16 = 0x0e
	KeyTab         uint16 = 0x0f
	KeyEnter       uint16 = 0x1c
	KeyCtrl        uint16 = 0x1d
	KeyShift       uint16 = 0x2a
	KeyRightShift  uint16 = 0x36
	KeyAlt         uint16 = 0x38
	KeySpace       uint16 = 0x39
	KeyCapsLock    uint16 = 0x3a
	KeyF1          uint16 = 0x3b // F2 to F10 follow
	KeyNumLock     uint16 = 0x45
	KeyScrollLock  uint16 = 0x46
	KeyF11         uint16 = 0x57
	KeyF12         uint16 = 0x58
	KeyRightCtrl   uint16 = 0xe01d
	KeyPrintScreen uint16 = 0xe037 // with Alt it is SysRq
	KeyAltGr       uint16 = 0xe038
	KeyPause       uint16 = 0xe046 // with Ctrl it is Break
	KeyHome        uint16 = 0xe047
	KeyUp          uint16 = 0xe048
	KeyPageUp      uint16 = 0xe049
	KeyLeft        uint16 = 0xe04b
	KeyRight       uint16 = 0xe04d
	KeyEnd         uint16 = 0xe04f
	KeyDown        uint16 = 0xe050
	KeyPageDown    uint16 = 0xe051
	KeyInsert      uint16 = 0xe052
	KeyDelete      uint16 = 0xe053
	KeyMeta        uint16 = 0xe05b
	KeyRightMeta   uint16 = 0xe05c
	KeyMenu        uint16 = 0xe05d
)

// keyNames are the names that [ParseKey] accepts, as people write them. Case does not matter.
var keyNames = map[string]uint16{
	"Escape": KeyEscape, "Esc": KeyEscape, "Backspace": KeyBackspace, "Tab": KeyTab,
	"Enter": KeyEnter, "Return": KeyEnter, "Space": KeySpace,
	"CapsLock": KeyCapsLock, "NumLock": KeyNumLock, "ScrollLock": KeyScrollLock,
	"Ctrl": KeyCtrl, "Control": KeyCtrl, "LeftCtrl": KeyCtrl, "RightCtrl": KeyRightCtrl,
	"Shift": KeyShift, "LeftShift": KeyShift, "RightShift": KeyRightShift,
	"Alt": KeyAlt, "LeftAlt": KeyAlt, "AltGr": KeyAltGr, "RightAlt": KeyAltGr,
	"Meta": KeyMeta, "LeftMeta": KeyMeta, "Super": KeyMeta, "Win": KeyMeta,
	"RightMeta": KeyRightMeta, "RightSuper": KeyRightMeta, "RightWin": KeyRightMeta,
	"Menu": KeyMenu, "Apps": KeyMenu,
	"PrintScreen": KeyPrintScreen, "Print": KeyPrintScreen, "PrtSc": KeyPrintScreen, "SysRq": KeyPrintScreen,
	"Pause": KeyPause, "Break": KeyPause,
	"Home": KeyHome, "End": KeyEnd, "PageUp": KeyPageUp, "PgUp": KeyPageUp, "PageDown": KeyPageDown, "PgDn": KeyPageDown,
	"Insert": KeyInsert, "Ins": KeyInsert, "Delete": KeyDelete, "Del": KeyDelete,
	"Up": KeyUp, "Down": KeyDown, "Left": KeyLeft, "Right": KeyRight,
	"F1": 0x3b, "F2": 0x3c, "F3": 0x3d, "F4": 0x3e, "F5": 0x3f, "F6": 0x40, "F7": 0x41, "F8": 0x42,
	"F9": 0x43, "F10": 0x44, "F11": KeyF11, "F12": KeyF12,
	"KPEnter": 0xe01c, "KPDivide": 0xe035, "KPMultiply": 0x37, "KPMinus": 0x4a, "KPPlus": 0x4e, "KPDot": 0x53,
	"KP0": 0x52, "KP1": 0x4f, "KP2": 0x50, "KP3": 0x51, "KP4": 0x4b,
	"KP5": 0x4c, "KP6": 0x4d, "KP7": 0x47, "KP8": 0x48, "KP9": 0x49,
	"ISO": 0x56, // the key between Shift and Z that boards with 105 keys have
}

// namedKeys are keyNames in lower case.
var namedKeys = func() map[string]uint16 {
	m := make(map[string]uint16, len(keyNames))
	for name, code := range keyNames {
		m[strings.ToLower(name)] = code
	}
	return m
}()

// KeyNames returns the names of keys that [ParseKey] accepts, sorted, as people write them:
// "Enter", "F10", "PageUp".
func KeyNames() []string { return slices.Sorted(maps.Keys(keyNames)) }

// ParseKey parses a key or a chord, for example "Enter", "a", "F10", "0xe04b" or "Ctrl+Alt+Delete".
// It returns the make codes in the order in which they go down. A single character is its key in
// the US layout, with Shift if it needs that.
func ParseKey(s string) ([]uint16, error) {
	us, _ := keyboard.Named("us")
	var codes []uint16
	parts := strings.Split(s, "+")
	if s == "+" || strings.HasSuffix(s, "++") { // the plus key itself
		parts = append(strings.Split(strings.TrimSuffix(strings.TrimSuffix(s, "+"), "+"), "+"), "+")
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	}
	for _, part := range parts {
		if code, ok := namedKeys[strings.ToLower(part)]; ok {
			codes = append(codes, code)
			continue
		}
		if r := []rune(keyboard.Compose(part)); len(r) == 1 {
			if strokes, ok := us.Strokes(r[0]); ok {
				if strokes[0].Shift && !slices.Contains(codes, KeyShift) {
					codes = append(codes, KeyShift)
				}
				codes = append(codes, strokes[0].Code)
				continue
			}
		}
		if digits, ok := strings.CutPrefix(strings.ToLower(part), "0x"); ok {
			if n, err := strconv.ParseUint(digits, 16, 16); err == nil {
				if code, err := keyboard.MakeCode(uint16(n), false); err == nil {
					codes = append(codes, code)
					continue
				}
			}
		}
		return nil, fmt.Errorf("control: no key %q: want a character, a name like Enter, F1, Left or Ctrl, or a make code like 0xe04b", part)
	}
	return codes, nil
}

// Layouts returns the names of the keyboard layouts that type supports.
func Layouts() []string { return keyboard.Names() }
