package control

import (
	"fmt"
	"slices"
	"strings"
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
			if strokes, ok := layouts["us"].strokes(r[0]); ok {
				if strokes[0].shift && !slices.Contains(codes, KeyShift) {
					codes = append(codes, KeyShift)
				}
				codes = append(codes, strokes[0].code)
				continue
			}
		}
		var code uint16
		if _, err := fmt.Sscanf(strings.ToLower(part), "0x%x", &code); err == nil {
			if code, err = makeCode(code, false); err == nil {
				codes = append(codes, code)
				continue
			}
		}
		return nil, fmt.Errorf("control: no key %q: want a character, a name like Enter, F1, Left or Ctrl, or a make code like 0xe04b", part)
	}
	return codes, nil
}

// stroke is one key going down and up, with the modifiers held around it.
type stroke struct {
	code         uint16
	shift, altgr bool
}

// layout says how to type a character. A character may need two strokes: a dead
// key and a base.
type layout struct {
	keys map[rune]stroke
	dead map[rune]stroke // by the accent they put on the next character
}

// keyRow is a run of physically adjacent keys and what they give. A blank is no
// character.
type keyRow struct {
	first               uint16
	plain, shift, altgr string
}

func newLayout(dead map[rune]stroke, rows ...keyRow) *layout {
	l := &layout{dead: dead, keys: map[rune]stroke{
		'\n': {code: KeyEnter}, '\r': {code: KeyEnter}, '\t': {code: KeyTab},
		'\b': {code: KeyBackspace}, 0x1b: {code: KeyEscape}, ' ': {code: KeySpace},
	}}
	for _, row := range rows {
		for i, chars := range []string{row.plain, row.shift, row.altgr} {
			for j, r := range []rune(chars) {
				if _, have := l.keys[r]; !have {
					l.keys[r] = stroke{code: row.first + uint16(j), shift: i == 1, altgr: i == 2}
				}
			}
		}
	}
	return l
}

// composed are characters that a dead key and a base give.
var composed = map[rune][2]rune{
	'â': {'^', 'a'}, 'ê': {'^', 'e'}, 'î': {'^', 'i'}, 'ô': {'^', 'o'}, 'û': {'^', 'u'},
	'Â': {'^', 'A'}, 'Ê': {'^', 'E'}, 'Î': {'^', 'I'}, 'Ô': {'^', 'O'}, 'Û': {'^', 'U'},
	'á': {'´', 'a'}, 'é': {'´', 'e'}, 'í': {'´', 'i'}, 'ó': {'´', 'o'}, 'ú': {'´', 'u'},
	'Á': {'´', 'A'}, 'É': {'´', 'E'}, 'Í': {'´', 'I'}, 'Ó': {'´', 'O'}, 'Ú': {'´', 'U'},
	'à': {'`', 'a'}, 'è': {'`', 'e'}, 'ì': {'`', 'i'}, 'ò': {'`', 'o'}, 'ù': {'`', 'u'},
	'À': {'`', 'A'}, 'È': {'`', 'E'}, 'Ì': {'`', 'I'}, 'Ò': {'`', 'O'}, 'Ù': {'`', 'U'},
	'ä': {'¨', 'a'}, 'ë': {'¨', 'e'}, 'ï': {'¨', 'i'}, 'ö': {'¨', 'o'}, 'ü': {'¨', 'u'},
	'Ä': {'¨', 'A'}, 'Ë': {'¨', 'E'}, 'Ï': {'¨', 'I'}, 'Ö': {'¨', 'O'}, 'Ü': {'¨', 'U'},
	'^': {'^', ' '}, '´': {'´', ' '}, '`': {'`', ' '}, '¨': {'¨', ' '},
}

// layouts are the keyboard layouts that type knows, after X11's of the same
// names (us, gb, de, fr).
var layouts = map[string]*layout{
	"us": newLayout(nil,
		keyRow{0x02, "1234567890-=", "!@#$%^&*()_+", ""},
		keyRow{0x10, "qwertyuiop[]", "QWERTYUIOP{}", ""},
		keyRow{0x1e, "asdfghjkl;'`", `ASDFGHJKL:"~`, ""},
		keyRow{0x2b, `\zxcvbnm,./`, "|ZXCVBNM<>?", ""}),
	"uk": newLayout(nil,
		keyRow{0x02, "1234567890-=", `!"£$%^&*()_+`, "   €"},
		keyRow{0x10, "qwertyuiop[]", "QWERTYUIOP{}", "  é   úíó"},
		keyRow{0x1e, "asdfghjkl;'`", "ASDFGHJKL:@¬", "á          ¦"},
		keyRow{0x2b, "#zxcvbnm,./", "~ZXCVBNM<>?", ""},
		keyRow{0x56, `\`, "|", ""}),
	"de": newLayout(map[rune]stroke{'^': {code: 0x29}, '´': {code: 0x0d}, '`': {code: 0x0d, shift: true}},
		keyRow{0x02, "1234567890ß", `!"§$%&/()=?`, ` ²³   {[]}\`},
		keyRow{0x10, "qwertzuiopü+", "QWERTZUIOPÜ*", "@ €        ~"},
		keyRow{0x1e, "asdfghjklöä", "ASDFGHJKLÖÄ°", ""},
		keyRow{0x2b, "#yxcvbnm,.-", "'YXCVBNM;:_", "       µ"},
		keyRow{0x56, "<", ">", "|"}),
	"fr": newLayout(map[rune]stroke{'^': {code: 0x1a}, '¨': {code: 0x1a, shift: true}},
		keyRow{0x02, `&é"'(-è_çà)=`, "1234567890°+", " ~#{[|`\\^@]}"},
		keyRow{0x10, "azertyuiop $", "AZERTYUIOP £", "  €        ¤"},
		keyRow{0x1e, "qsdfghjklmù²", "QSDFGHJKLM%", ""},
		keyRow{0x2b, "*wxcvbn,;:!", "µWXCVBN?./§", ""},
		keyRow{0x56, "<", ">", ""}),
}

// Layouts names the keyboard layouts that type knows.
func Layouts() []string { return []string{"us", "uk", "de", "fr"} }

// strokes says how to type a character.
func (l *layout) strokes(r rune) ([]stroke, bool) {
	if s, ok := l.keys[r]; ok {
		return []stroke{s}, true
	}
	pair, ok := composed[r]
	if !ok {
		return nil, false
	}
	dead, ok := l.dead[pair[0]]
	if !ok {
		return nil, false
	}
	base, ok := l.keys[pair[1]]
	return []stroke{dead, base}, ok
}

// keystrokes says how to type each character of a text. A line break of two
// characters is one Enter. unmappable are the characters that the layout does
// not have, each once.
func (l *layout) keystrokes(text string) (chars [][]stroke, unmappable []rune) {
	for _, r := range normalize(text) {
		strokes, ok := l.strokes(r)
		if !ok && !slices.Contains(unmappable, r) {
			unmappable = append(unmappable, r)
		}
		chars = append(chars, strokes)
	}
	return chars, unmappable
}

// normalize makes a line break of two characters one.
func normalize(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// nameRunes lists characters for a message: U+2022 '•', U+0007.
func nameRunes(rs []rune) string {
	var names []string
	for i, r := range rs {
		if i == 8 {
			names = append(names, fmt.Sprintf("and %d more", len(rs)-i))
			break
		}
		names = append(names, fmt.Sprintf("%#U", r))
	}
	return strings.Join(names, ", ")
}
