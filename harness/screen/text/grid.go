package text

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"regexp"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// Unknown is the character of a cell that equals no glyph.
const Unknown = '\uFFFD'

// A Cell is one cell of a grid.
type Cell struct {
	// Rune is the character. It is a space if all pixels have one colour, or [Unknown].
	Rune rune
	// Also has further characters that look the same in this font. For an unknown cell, it has the
	// possible characters, as far as they are known.
	Also []rune
	// FG and BG are the colours of the character and of its background. They are equal for a space,
	// and meaningless for an unknown cell.
	FG, BG pixmap.RGB
	// Bold means that the cell has the font's bold weight.
	Bold bool
	// Cursor means that a cursor underlines the cell.
	Cursor bool
}

// A Grid is the text of a picture: Cols×Rows cells in one font.
type Grid struct {
	Font *Font
	// Origin is the upper left pixel of the first cell.
	Origin     image.Point
	Cols, Rows int

	cells []Cell
}

// At returns a cell. The first one is (0,0).
func (g *Grid) At(col, row int) Cell { return g.cells[row*g.Cols+col] }

// Rect returns the rectangle of a cell's pixels.
func (g *Grid) Rect(col, row int) image.Rectangle {
	at := g.Origin.Add(image.Pt(col*g.Font.Width, row*g.Font.Height))
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(g.Font.Width, g.Font.Height))}
}

// Line returns a row's characters, one rune per cell, without the spaces at the end.
func (g *Grid) Line(row int) string {
	runes := make([]rune, g.Cols)
	for col := range runes {
		runes[col] = g.At(col, row).Rune
	}
	return strings.TrimRight(string(runes), " ")
}

// Lines returns the lines of all rows (see [Grid.Line]).
func (g *Grid) Lines() []string {
	lines := make([]string, g.Rows)
	for row := range lines {
		lines[row] = g.Line(row)
	}
	return lines
}

// Text returns the lines separated by newlines, without the empty ones at the end.
func (g *Grid) Text() string { return strings.TrimRight(strings.Join(g.Lines(), "\n"), "\n") }

// UnknownCells returns the number of cells that equal no glyph.
func (g *Grid) UnknownCells() (n int) {
	for _, c := range g.cells {
		if c.Rune == Unknown {
			n++
		}
	}
	return n
}

// Misfits returns the number of cells that equal no glyph, without the one under a cursor. A grid
// in the wrong font or at the wrong place has many of them.
func (g *Grid) Misfits() (n int) {
	for _, c := range g.cells {
		if c.Rune == Unknown && !c.Cursor {
			n++
		}
	}
	return n
}

// Cursor returns the cell that a cursor underlines.
func (g *Grid) Cursor() (col, row int, ok bool) {
	i := slices.IndexFunc(g.cells, func(c Cell) bool { return c.Cursor })
	if i < 0 {
		return 0, 0, false
	}
	return i % g.Cols, i / g.Cols, true
}

// A Hit is a match of a pattern on a grid.
type Hit struct {
	Text     string
	Col, Row int
	// Rect is the rectangle of the text's pixels.
	Rect image.Rectangle
}

// ClickPoint returns the place on the screen to click: the middle of the text.
func (h Hit) ClickPoint() image.Point { return h.Rect.Min.Add(h.Rect.Max).Div(2) }

// Find returns the matches of a pattern, line by line. It searches only the cells that are
// completely within region; empty means all cells. ^ and $ match at the region's edges. A line ends
// after its last character; if nothing matches so, Find also tries it with the spaces after that.
// If the last cell has a cursor and may be a space, it counts as a space, because the next
// character comes there.
func (g *Grid) Find(re *regexp.Regexp, region image.Rectangle) []Hit {
	var hits []Hit
	for row := range g.Rows {
		from, to := 0, g.Cols
		if !region.Empty() {
			from, to = g.Cols, 0
			for col := range g.Cols {
				if g.Rect(col, row).In(region) {
					from, to = min(from, col), col+1
				}
			}
		}
		if from >= to {
			continue
		}
		runes := make([]rune, to-from)
		for i := range runes {
			runes[i] = g.At(from+i, row).Rune
		}
		last := len(runes) - 1
		for last > 0 && runes[last] == ' ' {
			last--
		}
		if c := g.At(from+last, row); c.Cursor && c.Rune == Unknown && slices.Contains(c.Also, ' ') {
			runes[last] = ' '
		}
		all := string(runes)
		line := strings.TrimRight(all, " ")
		found := re.FindAllStringIndex(line, -1)
		for _, longer := range []string{line + " ", all} {
			if len(found) == 0 && len(longer) <= len(all) {
				line, found = longer, re.FindAllStringIndex(longer, -1)
			}
		}
		for _, m := range found {
			col := from + len([]rune(line[:m[0]]))
			r := g.Rect(col, row)
			r.Max.X = r.Min.X + len([]rune(line[m[0]:m[1]]))*g.Font.Width
			hits = append(hits, Hit{Text: line[m[0]:m[1]], Col: col, Row: row, Rect: r})
		}
	}
	return hits
}

// read reads the cells of a picture. Their grid begins at origin, which is less than a cell from
// the picture's corner.
func read(p *pixmap.Picture, f *Font, origin image.Point) *Grid {
	g := &Grid{Font: f, Origin: origin, Cols: max(0, (p.Width-origin.X)/f.Width), Rows: max(0, (p.Height-origin.Y)/f.Height)}
	g.cells = make([]Cell, g.Cols*g.Rows)
	c := newCellReader(p, f)
	var odd, unclear []int
	i := 0
	for row := range g.Rows {
		for col := range g.Cols {
			cell := &g.cells[i]
			switch c.read(origin.X+col*f.Width, origin.Y+row*f.Height, cell) {
			case odd1:
				odd = append(odd, i)
			case odd2:
				unclear = append(unclear, i)
			}
			i++
		}
	}
	g.settle(c, unclear)
	g.seekCursor(c, odd)
	return g
}

// An outcome is the result of reading a cell.
type outcome int

const (
	known outcome = iota
	odd1          // it fits no glyph
	odd2          // it fits one glyph, and another one with the two colours exchanged
)

// A cellReader compares cells with a font's glyphs.
type cellReader struct {
	p       *pixmap.Picture
	f       *Font
	bits    []byte // the last cell's pixels that do not have its first colour
	inverse []byte
	mask    []byte // the bits of a row that are columns
	a, b    uint32 // the last cell's first colour, and its other one
}

func newCellReader(p *pixmap.Picture, f *Font) *cellReader {
	n := f.stride() * f.Height
	c := &cellReader{p: p, f: f, bits: make([]byte, n), inverse: make([]byte, n), mask: make([]byte, f.stride())}
	for x := range f.Width {
		c.mask[x/8] |= 0x80 >> (x % 8)
	}
	return c
}

// load reads the pattern of a cell into c. It returns the number of colours: 1, 2, or 3 for more.
func (c *cellReader) load(x, y int) (colours int) {
	row := c.p.Pix[y*c.p.Stride+4*x:]
	a := binary.LittleEndian.Uint32(row)
	pair := uint64(a)<<32 | uint64(a)
	var b uint32
	colours = 1
	w, stride := c.f.Width, c.f.stride()
	for line := range c.f.Height {
		if line > 0 {
			row = c.p.Pix[(y+line)*c.p.Stride+4*x:]
		}
		bits := c.bits[line*stride:][:stride]
		for i := range bits {
			n := min(8, w-8*i)
			pix := row[32*i:][:4*n]
			if n == 8 {
				pix = pix[:32]
				if binary.LittleEndian.Uint64(pix) == pair && binary.LittleEndian.Uint64(pix[8:]) == pair &&
					binary.LittleEndian.Uint64(pix[16:]) == pair && binary.LittleEndian.Uint64(pix[24:]) == pair {
					bits[i] = 0
					continue
				}
			}
			var v byte
			for j := range n {
				u := binary.LittleEndian.Uint32(pix[4*j:])
				if u == a {
					continue
				}
				if colours == 1 {
					b, colours = u, 2
				} else if u != b {
					return 3
				}
				v |= 0x80 >> j
			}
			bits[i] = v
		}
	}
	c.a, c.b = a, b
	return colours
}

func rgb(u uint32) pixmap.RGB { return pixmap.RGB{R: uint8(u), G: uint8(u >> 8), B: uint8(u >> 16)} }

// read reads the cell whose upper left pixel is (x,y).
func (c *cellReader) read(x, y int, cell *Cell) outcome {
	switch c.load(x, y) {
	case 1:
		cell.Rune, cell.FG, cell.BG = ' ', rgb(c.a), rgb(c.a)
		return known
	case 3:
		cell.Rune = Unknown
		return odd1
	}
	cell.Rune = Unknown
	normal, is := c.f.lookup[string(c.bits)]
	for i, v := range c.bits {
		c.inverse[i] = ^v & c.mask[i%len(c.mask)]
	}
	inverted, isInverted := c.f.lookup[string(c.inverse)]
	switch {
	case is && isInverted:
		return odd2
	case is:
		return cell.take(normal, c.b, c.a)
	case isInverted:
		return cell.take(inverted, c.a, c.b)
	}
	return odd1
}

// take sets a cell to the meaning of its pattern.
func (cell *Cell) take(e entry, fg, bg uint32) outcome {
	if e.unclear {
		cell.Rune = Unknown
		return odd1
	}
	*cell = Cell{Rune: e.runes[0], Also: e.runes[1:], FG: rgb(fg), BG: rgb(bg), Bold: e.bold}
	return known
}

// settle decides on cells such as ▀, which looks like ▄ with the two colours exchanged. It uses the
// background of the nearest known cell to the left, or else to the right. If that is neither of the
// two colours, the cell stays unknown.
func (g *Grid) settle(c *cellReader, unclear []int) {
	for _, i := range unclear {
		col, row := i%g.Cols, i/g.Cols
		r := g.Rect(col, row)
		c.load(r.Min.X, r.Min.Y)
		var blank Cell
		c.read(r.Min.X, r.Min.Y, &blank) // fills c.inverse
		normal, inverted := c.f.lookup[string(c.bits)], c.f.lookup[string(c.inverse)]
		cell := &g.cells[i]
		bg, ok := g.background(col, row)
		switch {
		case ok && bg == rgb(c.a):
			cell.take(normal, c.b, c.a)
		case ok && bg == rgb(c.b):
			cell.take(inverted, c.a, c.b)
		}
		if cell.Rune == Unknown {
			cell.Also = slices.Concat(normal.runes, inverted.runes)
		}
	}
}

// background returns the background of the nearest known cell in the row to the left, or else to
// the right.
func (g *Grid) background(col, row int) (pixmap.RGB, bool) {
	for i := col - 1; i >= 0; i-- {
		if c := g.At(i, row); c.Rune != Unknown {
			return c.BG, true
		}
	}
	for i := col + 1; i < g.Cols; i++ {
		if c := g.At(i, row); c.Rune != Unknown {
			return c.BG, true
		}
	}
	return pixmap.RGB{}, false
}

// seekCursor looks for a cursor among the cells that equal no glyph: a cell with some rows of one
// colour in its lower half. If there are several such cells, none counts as a cursor.
func (g *Grid) seekCursor(c *cellReader, odd []int) {
	found := -1
	var cell Cell
	for _, i := range odd {
		r := g.Rect(i%g.Cols, i/g.Cols)
		if c.load(r.Min.X, r.Min.Y) != 2 {
			continue
		}
		under, ok := c.underlined()
		if !ok {
			continue
		}
		if found >= 0 {
			return
		}
		found, cell = i, under
	}
	if found >= 0 {
		g.cells[found] = cell
	}
}

// underlined returns the cell under a cursor; false if there is no cursor, that is, no rows of one
// colour in its lower half. The cell is known if its other rows fit only one glyph.
func (c *cellReader) underlined() (Cell, bool) {
	stride, h := c.f.stride(), c.f.Height
	full := func(y int) bool { return bytes.Equal(c.bits[y*stride:][:stride], c.mask) }
	// The first colour is the background: a cursor does not reach the first row.
	from := h / 2
	for from < h && !full(from) {
		from++
	}
	to := from
	for to < h && full(to) {
		to++
	}
	if from == to || to-from > h/2 {
		return Cell{}, false
	}
	cell := Cell{Rune: Unknown, FG: rgb(c.b), BG: rgb(c.a), Cursor: true}
	for _, r := range c.f.Runes() {
		if glyph := c.f.glyphs[r]; bytes.Equal(glyph[:from*stride], c.bits[:from*stride]) && bytes.Equal(glyph[to*stride:], c.bits[to*stride:]) {
			cell.Also = append(cell.Also, r)
		}
	}
	if len(cell.Also) == 0 {
		return Cell{}, false
	}
	if first := c.f.glyphs[cell.Also[0]]; !slices.ContainsFunc(cell.Also, func(r rune) bool { return !bytes.Equal(c.f.glyphs[r], first) }) {
		cell.Rune, cell.Also = cell.Also[0], cell.Also[1:]
	}
	return cell, true
}

// String returns the grid's size, font and place.
func (g *Grid) String() string {
	return fmt.Sprintf("%d×%d cells of %s from (%d,%d)", g.Cols, g.Rows, g.Font, g.Origin.X, g.Origin.Y)
}
