// Package text reads the text in pictures of consoles with fixed cells: firmware, VGA text modes,
// Linux's framebuffer console. It does not guess: a cell has a character only if all its pixels
// equal the font's, in two colours. Any other cell is unknown.
//
//	g, err := text.Reader{}.Read(pixmap.Of(screenshot))
//	if err != nil {
//		return err // no known font is on the screen
//	}
//	fmt.Println(g.Text())
//
// The package does not read proportional or smoothed fonts.
package text

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The largest cell, in pixels: that of the kernel's and console-setup's fonts.
const (
	maxWidth  = 64
	maxHeight = 128
)

// A Font is a set of glyphs of one size. It is immutable.
type Font struct {
	Name string
	// Width and Height are the size of a cell in pixels.
	Width, Height int
	// Source says where the glyphs come from, and Licence is their licence. Each is empty if unknown.
	Source, Licence string

	glyphs  map[rune][]byte // the bits of each row from the left, in whole bytes
	telling map[rune]bool   // glyphs with enough different rows that they do not occur by chance
	smear   bool            // there is a bold weight: each row smeared by one pixel to the right
	lookup  map[string]entry
}

// An entry is the meaning of a pattern of pixels.
type entry struct {
	runes []rune // the characters that look so, the lowest first
	bold  bool
	// unclear means that the pattern is one character in one weight, and another in the other weight.
	unclear bool
}

// stride returns the number of bytes of a glyph's row.
func (f *Font) stride() int { return (f.Width + 7) / 8 }

// Runes returns the characters of the font, sorted.
func (f *Font) Runes() []rune { return slices.Sorted(maps.Keys(f.glyphs)) }

// String returns the font's name and cell size: "beacon 8×16".
func (f *Font) String() string { return fmt.Sprintf("%s %d×%d", f.Name, f.Width, f.Height) }

// newFont returns a font with glyphs that the caller has checked. It adds the space if it is
// missing.
func newFont(name string, width, height int, glyphs map[rune][]byte, smear bool) *Font {
	f := &Font{Name: name, Width: width, Height: height, glyphs: glyphs, smear: smear, lookup: make(map[string]entry)}
	if _, there := glyphs[' ']; !there {
		glyphs[' '] = make([]byte, f.stride()*height)
	}
	f.telling = make(map[rune]bool, len(glyphs))
	for _, r := range f.Runes() {
		f.add(string(glyphs[r]), r, false)
		rows := make(map[string]bool)
		for y := range height {
			rows[string(glyphs[r][y*f.stride():][:f.stride()])] = true
		}
		f.telling[r] = len(rows) >= tellingRows
	}
	if smear {
		for _, r := range f.Runes() {
			f.add(string(f.bold(glyphs[r])), r, true)
		}
	}
	return f
}

func (f *Font) add(bits string, r rune, bold bool) {
	e, there := f.lookup[bits]
	switch {
	case !there:
		e = entry{runes: []rune{r}, bold: bold}
	case e.bold == bold:
		e.runes = append(slices.Clone(e.runes), r)
	case !slices.Contains(e.runes, r):
		e.unclear = true
	}
	f.lookup[bits] = e
}

// bold returns a glyph smeared by one pixel to the right.
func (f *Font) bold(glyph []byte) []byte {
	b := bytes.Clone(glyph)
	for y := range f.Height {
		row := b[y*f.stride():][:f.stride()]
		carry := byte(0)
		for i, bits := range row {
			row[i] |= bits>>1 | carry
			carry = bits << 7
		}
		if spare := 8*f.stride() - f.Width; spare > 0 {
			row[len(row)-1] &= 0xff << spare
		}
	}
	return b
}

// Has reports whether the font has a character.
func (f *Font) Has(r rune) bool { return f.glyphs[r] != nil }

// Drawn reports whether the pixel (x,y) of a character's cell has the character's colour. It
// returns false for characters that the font does not have.
func (f *Font) Drawn(r rune, bold bool, x, y int) bool {
	glyph := f.glyphs[r]
	if glyph == nil {
		return false
	}
	if bold {
		glyph = f.bold(glyph)
	}
	return glyph[y*f.stride()+x/8]&(0x80>>(x%8)) != 0
}

// NineWide returns a font of 8 pixels as VGA text modes show it in cells of 9 pixels. Box drawing
// and blocks continue into the ninth column, which is empty for other characters.
func (f *Font) NineWide() *Font {
	glyphs := make(map[rune][]byte, len(f.glyphs))
	for r, glyph := range f.glyphs {
		wide := make([]byte, 2*f.Height)
		for y := range f.Height {
			bits := glyph[y*f.stride()]
			wide[2*y] = bits
			if r >= 0x2500 && r <= 0x259f && (r < 0x2591 || r > 0x2593) && bits&1 != 0 {
				wide[2*y+1] = 0x80
			}
		}
		glyphs[r] = wide
	}
	n := newFont(f.Name+"-9", 9, f.Height, glyphs, f.smear)
	n.Source, n.Licence = f.Source, f.Licence
	return n
}

func checkSize(width, height int) error {
	if width < 1 || width > maxWidth || height < 1 || height > maxHeight {
		return fmt.Errorf("glyphs of %d×%d pixels: want 1×1 to %d×%d", width, height, maxWidth, maxHeight)
	}
	return nil
}

// ReadFile reads a font file. It detects the format from the content: PSF of either version, or the
// text format of [ParseHex]. Both may be compressed with gzip.
func ReadFile(path string) (*Font, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("font: %w", err)
	}
	name := filepath.Base(path)
	for _, ext := range []string{".gz", ".psf", ".psfu", ".hex"} {
		name = strings.TrimSuffix(name, ext)
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		if b, err = unzip(b); err != nil {
			return nil, fmt.Errorf("font %s: %w", path, err)
		}
	}
	parse := ParsePSF
	if bytes.HasPrefix(b, []byte("#")) {
		parse = ParseHex
	}
	f, err := parse(name, b)
	if err != nil {
		return nil, fmt.Errorf("font %s: %w", path, err)
	}
	if f.Source == "" {
		f.Source = path
	}
	return f, nil
}

// consoleFonts is the directory of the fonts of Debian's console-setup and kbd.
const consoleFonts = "/usr/share/consolefonts"

// Load returns a font by its name or by the path of its file. The names are those of [Fonts] and of
// this host's console fonts.
func Load(name string) (*Font, error) {
	for _, f := range Fonts() {
		if f.Name == name {
			return f, nil
		}
	}
	if strings.ContainsRune(name, filepath.Separator) {
		return ReadFile(name)
	}
	for _, ext := range []string{".psf.gz", ".psfu.gz", ".psf", ".psfu"} {
		path := filepath.Join(consoleFonts, name+ext)
		if _, err := os.Stat(path); err == nil {
			return ReadFile(path)
		}
	}
	if _, err := os.Stat(name); err == nil {
		return ReadFile(name)
	}
	return nil, fmt.Errorf("no font %q: it is neither one of this program's (beacon, ovmf), nor in %s, nor a file", name, consoleFonts)
}

// LoadAll loads fonts by name or path (see [Load]). After each font that is 8 pixels wide comes its
// [Font.NineWide].
func LoadAll(names ...string) ([]*Font, error) {
	var fonts []*Font
	for _, name := range names {
		f, err := Load(name)
		if err != nil {
			return nil, err
		}
		fonts = append(fonts, f)
		if f.Width == 8 {
			fonts = append(fonts, f.NineWide())
		}
	}
	return fonts, nil
}

// maxFile limits the decompressed size of a font's file, and the sizes in its header, in bytes:
// 65536 glyphs of 32×64 pixels.
const maxFile = 16 << 20

func unzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	b, err = io.ReadAll(io.LimitReader(z, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	return b, err
}

// ParsePSF reads a PC Screen Font of version 1 or 2. The font must have a Unicode table, which says
// what characters the glyphs are.
func ParsePSF(name string, b []byte) (*Font, error) {
	var width, height, count, size, head int
	var table, utf8Table bool
	switch {
	case len(b) >= 4 && b[0] == 0x36 && b[1] == 0x04:
		width, height, size, head, count = 8, int(b[3]), int(b[3]), 4, 256
		if b[2]&1 != 0 {
			count = 512
		}
		table = b[2]&6 != 0
	case len(b) >= 32 && binary.LittleEndian.Uint32(b) == 0x864ab572:
		var u [8]uint32
		for i := range u {
			u[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		for _, v := range u[2:] {
			if v > maxFile {
				return nil, fmt.Errorf("the header has a size of %d", v)
			}
		}
		head, count, size, height, width = int(u[2]), int(u[4]), int(u[5]), int(u[6]), int(u[7])
		table, utf8Table = u[3]&1 != 0, true
	default:
		return nil, errors.New("not a PSF font: it has the mark of neither version")
	}
	if err := checkSize(width, height); err != nil {
		return nil, err
	}
	if size != (width+7)/8*height {
		return nil, fmt.Errorf("glyphs of %d×%d pixels with %d bytes", width, height, size)
	}
	if !table {
		return nil, errors.New("the font does not say which characters its glyphs are (it has no Unicode table)")
	}
	if head < 4 || count > maxFile || head+count*size > len(b) {
		return nil, io.ErrUnexpectedEOF
	}
	f := &Font{Width: width, Height: height}
	glyphs := make(map[rune][]byte)
	rest := b[head+count*size:]
	for i := range count {
		glyph := f.trim(b[head+i*size:][:size])
		var runes []rune
		var err error
		if utf8Table {
			runes, rest, err = tableUTF8(rest)
		} else {
			runes, rest, err = tableUCS2(rest)
		}
		if err != nil {
			return nil, fmt.Errorf("the Unicode table, glyph %d: %w", i, err)
		}
		for _, r := range runes {
			if _, there := glyphs[r]; !there {
				glyphs[r] = glyph
			}
		}
	}
	return newFont(name, width, height, glyphs, false), nil
}

// trim returns a glyph with the bits after the last column cleared.
func (f *Font) trim(glyph []byte) []byte {
	g := bytes.Clone(glyph)
	if spare := 8*f.stride() - f.Width; spare > 0 {
		for i := f.stride() - 1; i < len(g); i += f.stride() {
			g[i] &= 0xff << spare
		}
	}
	return g
}

// tableUTF8 reads the characters of a glyph. It skips sequences of characters, which follow 0xfe.
func tableUTF8(b []byte) (runes []rune, rest []byte, err error) {
	end := bytes.IndexByte(b, 0xff)
	if end < 0 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	one, _, _ := bytes.Cut(b[:end], []byte{0xfe})
	if !utf8.Valid(one) {
		return nil, nil, fmt.Errorf("% x is not UTF-8", one)
	}
	return []rune(string(one)), b[end+1:], nil
}

func tableUCS2(b []byte) (runes []rune, rest []byte, err error) {
	sequence := false
	for ; len(b) >= 2; b = b[2:] {
		switch u := binary.LittleEndian.Uint16(b); {
		case u == 0xffff:
			return runes, b[2:], nil
		case u == 0xfffe:
			sequence = true
		case !sequence:
			runes = append(runes, rune(u))
		}
	}
	return nil, nil, io.ErrUnexpectedEOF
}

// ParseHex reads a font in a text format. Each line has a character's number and its rows, both in
// hexadecimal, as in the files of GNU Unifont. Header lines such as "# size: 8x16" come first.
// Other header keys are source, licence, "leading: N" for N empty rows below each glyph, and
// "bold: smear" for a font that also has a bold weight.
func ParseHex(name string, b []byte) (*Font, error) {
	f := &Font{Name: name}
	smear, leading := false, 0
	glyphs := make(map[rune][]byte)
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		bad := func(format string, args ...any) (*Font, error) {
			return nil, fmt.Errorf("line %d: %w", n, fmt.Errorf(format, args...))
		}
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			key, value, _ := strings.Cut(comment, ":")
			value = strings.TrimSpace(value)
			switch strings.TrimSpace(key) {
			case "size":
				if len(glyphs) > 0 {
					return bad("a second size, after glyphs of %d×%d", f.Width, f.Height)
				}
				if k, err := fmt.Sscanf(value+"\x00", "%dx%d\x00", &f.Width, &f.Height); err != nil || k != 2 {
					return bad("size is %q: want WIDTHxHEIGHT", value)
				}
				if err := checkSize(f.Width, f.Height); err != nil {
					return bad("%w", err)
				}
			case "source":
				f.Source = value
			case "licence":
				f.Licence = value
			case "leading":
				n, err := strconv.Atoi(value)
				if err != nil || n < 0 || checkSize(f.Width, f.Height+n) != nil {
					return bad("leading is %q: want the number of empty rows between lines", value)
				}
				leading = n
			case "bold":
				if smear = value == "smear"; !smear {
					return bad("bold is %q: want smear", value)
				}
			}
			continue
		}
		if line == "" {
			continue
		}
		if f.Width == 0 {
			return bad("a glyph before the line \"# size: WIDTHxHEIGHT\"")
		}
		code, rows, ok := strings.Cut(line, ":")
		r, err := strconv.ParseUint(code, 16, 21)
		glyph, err2 := hex.DecodeString(rows)
		if !ok || err != nil || err2 != nil || !utf8.ValidRune(rune(r)) || len(glyph) != f.stride()*f.Height {
			return bad("want a character's number, a colon and %d hexadecimal digits", 2*f.stride()*f.Height)
		}
		if _, twice := glyphs[rune(r)]; twice {
			return bad("character %04x is there twice", r)
		}
		glyphs[rune(r)] = f.trim(glyph)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(glyphs) == 0 {
		return nil, errors.New("the font has no glyphs")
	}
	delete(glyphs, ' ') // newFont adds an empty one
	for r, glyph := range glyphs {
		glyphs[r] = append(glyph, make([]byte, leading*f.stride())...)
	}
	n := newFont(name, f.Width, f.Height+leading, glyphs, smear)
	n.Source, n.Licence = f.Source, f.Licence
	return n, nil
}

// Hex returns the font in the format of [ParseHex].
func (f *Font) Hex() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# size: %dx%d\n", f.Width, f.Height)
	for _, l := range [][2]string{{"source", f.Source}, {"licence", f.Licence}} {
		if l[1] != "" {
			fmt.Fprintf(&b, "# %s: %s\n", l[0], l[1])
		}
	}
	if f.smear {
		b.WriteString("# bold: smear\n")
	}
	for _, r := range f.Runes() {
		if r == ' ' {
			continue // every font has the same one
		}
		fmt.Fprintf(&b, "%04x:%x\n", r, f.glyphs[r])
	}
	return b.Bytes()
}
