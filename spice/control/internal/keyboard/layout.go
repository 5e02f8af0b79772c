package keyboard

import (
	"fmt"
	"slices"
	"strings"
)

// Stroke is one key going down and up, with the modifiers held around it.
type Stroke struct {
	Code         uint16
	Shift, AltGr bool
}

// Layout says how to type a character. A character may need two strokes: a dead
// key and a base.
type Layout struct {
	keys map[rune]Stroke
	dead map[rune]Stroke // by the accent they put on the next character
}

// keyRow is a run of physically adjacent keys and their characters. A blank is no character.
type keyRow struct {
	first               uint16
	plain, shift, altgr string
}

func newLayout(dead map[rune]Stroke, rows ...keyRow) *Layout {
	l := &Layout{dead: dead, keys: map[rune]Stroke{
		'\n': {Code: Enter}, '\r': {Code: Enter}, '\t': {Code: Tab},
		'\b': {Code: Backspace}, 0x1b: {Code: Escape}, ' ': {Code: Space},
	}}
	for _, row := range rows {
		for i, chars := range []string{row.plain, row.shift, row.altgr} {
			for j, r := range []rune(chars) {
				if _, have := l.keys[r]; !have {
					l.keys[r] = Stroke{Code: row.first + uint16(j), Shift: i == 1, AltGr: i == 2}
				}
			}
		}
	}
	return l
}

// composed are characters made of a dead key and a base.
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

// layouts are the supported keyboard layouts, after X11's layouts (us, gb, de, fr).
var layouts = map[string]*Layout{
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
	"de": newLayout(map[rune]Stroke{'^': {Code: 0x29}, '´': {Code: 0x0d}, '`': {Code: 0x0d, Shift: true}},
		keyRow{0x02, "1234567890ß", `!"§$%&/()=?`, ` ²³   {[]}\`},
		keyRow{0x10, "qwertzuiopü+", "QWERTZUIOPÜ*", "@ €        ~"},
		keyRow{0x1e, "asdfghjklöä", "ASDFGHJKLÖÄ°", ""},
		keyRow{0x2b, "#yxcvbnm,.-", "'YXCVBNM;:_", "       µ"},
		keyRow{0x56, "<", ">", "|"}),
	"fr": newLayout(map[rune]Stroke{'^': {Code: 0x1a}, '¨': {Code: 0x1a, Shift: true}},
		keyRow{0x02, `&é"'(-è_çà)=`, "1234567890°+", " ~#{[|`\\^@]}"},
		keyRow{0x10, "azertyuiop $", "AZERTYUIOP £", "  €        ¤"},
		keyRow{0x1e, "qsdfghjklmù²", "QSDFGHJKLM%", ""},
		keyRow{0x2b, "*wxcvbn,;:!", "µWXCVBN?./§", ""},
		keyRow{0x56, "<", ">", ""}),
}

// names are the layouts' names in the order for messages.
var names = []string{"us", "uk", "de", "fr"}

// Names returns the names of the layouts.
func Names() []string { return slices.Clone(names) }

// Named returns the layout of that name; false if there is none.
func Named(name string) (*Layout, bool) {
	l, ok := layouts[name]
	return l, ok
}

// Strokes returns how to type a character; false if the layout lacks it.
func (l *Layout) Strokes(r rune) ([]Stroke, bool) {
	if s, ok := l.keys[r]; ok {
		return []Stroke{s}, true
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
	return []Stroke{dead, base}, ok
}

// Keystrokes returns how to type each character of a text. A line break of two characters is one
// Enter. unmappable are the characters that the layout lacks, each once.
func (l *Layout) Keystrokes(text string) (chars [][]Stroke, unmappable []rune) {
	for _, r := range Normalize(text) {
		strokes, ok := l.Strokes(r)
		if !ok && !slices.Contains(unmappable, r) {
			unmappable = append(unmappable, r)
		}
		chars = append(chars, strokes)
	}
	return chars, unmappable
}

// accents are combining characters and the letters that they make.
var accents = map[rune][2]string{
	0x300: {"AEIOUaeiou", "ÀÈÌÒÙàèìòù"},
	0x301: {"AEIOUYaeiouy", "ÁÉÍÓÚÝáéíóúý"},
	0x302: {"AEIOUaeiou", "ÂÊÎÔÛâêîôû"},
	0x303: {"ANOano", "ÃÑÕãñõ"},
	0x308: {"AEIOUaeiouy", "ÄËÏÖÜäëïöüÿ"},
	0x30a: {"Aa", "Åå"},
	0x327: {"Cc", "Çç"},
}

// Compose combines letters with the accents that follow them, if Latin-1 has the result. The same
// text is decomposed on macOS and composed elsewhere (Unicode's NFD and NFC).
func Compose(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { _, is := accents[r]; return is }) {
		return text
	}
	var out []rune
	for _, r := range text {
		if pair, ok := accents[r]; ok && len(out) > 0 {
			if i := slices.Index([]rune(pair[0]), out[len(out)-1]); i >= 0 {
				out[len(out)-1] = []rune(pair[1])[i]
				continue
			}
		}
		out = append(out, r)
	}
	return string(out)
}

// Normalize converts line breaks of two characters to one, and composes letters and accents.
func Normalize(text string) string { return Compose(strings.ReplaceAll(text, "\r\n", "\n")) }

// NameRunes lists characters for a message: U+2022 '•', U+0007.
func NameRunes(rs []rune) string {
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
