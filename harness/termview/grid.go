package termview

import (
	"bytes"
	"strconv"
	"unicode"

	"golang.org/x/text/width"
)

// A colour is 0 for the terminal's default, or a colour made by rgb.
type colour uint32

const isRGB = 1 << 24

func rgb(r, g, b uint8) colour {
	return isRGB | colour(r)<<16 | colour(g)<<8 | colour(b)
}

// A cell is one place on the screen.
type cell struct {
	r      rune // 0: the cell shows part of a picture, and diff skips it
	fg, bg colour
	bold   bool
}

// A grid is the content of a screen of characters.
type grid struct {
	w, h  int
	cells []cell
}

func newGrid(w, h int) *grid {
	g := &grid{w: w, h: h, cells: make([]cell, w*h)}
	for i := range g.cells {
		g.cells[i].r = ' '
	}
	return g
}

func (g *grid) set(x, y int, c cell) {
	if x >= 0 && y >= 0 && x < g.w && y < g.h {
		g.cells[y*g.w+x] = c
	}
}

// A style is how text looks.
type style struct {
	fg, bg colour
	bold   bool
}

// text writes s into the cells from (x,y) to the right. It uses at most max cells and returns how
// many. It ends a longer text with an ellipsis.
func (g *grid) text(x, y, max int, st style, s string) int {
	runes := printable(s)
	if len(runes) > max {
		if max <= 0 {
			return 0
		}
		runes = append(runes[:max-1], '…')
	}
	for i, r := range runes {
		g.set(x+i, y, cell{r: r, fg: st.fg, bg: st.bg, bold: st.bold})
	}
	return len(runes)
}

// fill fills n cells from (x,y) to the right with a background.
func (g *grid) fill(x, y, n int, st style) {
	for i := range max(n, 0) {
		g.set(x+i, y, cell{r: ' ', fg: st.fg, bg: st.bg})
	}
}

// printable returns s as runes that take one cell each. It replaces wide characters and controls,
// and drops those without width, so that a guest's line cannot move the cells beside it.
func printable(s string) []rune {
	var out []rune
	for _, r := range s {
		switch {
		case r == '\t':
			out = append(out, ' ')
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case !unicode.IsPrint(r):
			out = append(out, '·')
		case r >= 0x1100 && (width.LookupRune(r).Kind() == width.EastAsianWide || width.LookupRune(r).Kind() == width.EastAsianFullwidth),
			r >= 0x1f000:
			out = append(out, '□')
		default:
			out = append(out, r)
		}
	}
	return out
}

// A Depth says how many colours a terminal has, in bits.
type Depth int

// The depths.
const (
	NoColour  Depth = 0
	Colour256 Depth = 8
	TrueColor Depth = 24
)

// diff writes the changes for a terminal that shows old and is to show g. If old is nil or has
// another size, it writes everything.
func (g *grid) diff(out *bytes.Buffer, old *grid, depth Depth) {
	fresh := old == nil || old.w != g.w || old.h != g.h
	var pen style
	known := false // whether pen is the terminal's current style
	at := -1       // the index of the cell with the cursor; -1 if unknown
	for i, c := range g.cells {
		if c.r == 0 || !fresh && old.cells[i] == c {
			continue
		}
		if at != i {
			moveTo(out, i%g.w, i/g.w)
		}
		if st := (style{c.fg, c.bg, c.bold}); !known || st != pen {
			st.write(out, depth)
			pen, known = st, true
		}
		out.WriteRune(c.r)
		at = i + 1
		if at%g.w == 0 {
			at = -1 // after the last column, the cursor's place differs between terminals
		}
	}
	if known {
		out.WriteString("\x1b[m")
	}
}

// moveTo moves the cursor to a cell.
func moveTo(out *bytes.Buffer, x, y int) {
	out.WriteString("\x1b[")
	out.WriteString(strconv.Itoa(y + 1))
	out.WriteByte(';')
	out.WriteString(strconv.Itoa(x + 1))
	out.WriteByte('H')
}

// write writes the sequence that selects the style.
func (st style) write(out *bytes.Buffer, depth Depth) {
	out.WriteString("\x1b[0")
	if st.bold {
		out.WriteString(";1")
	}
	if depth != NoColour {
		st.fg.write(out, "38", depth)
		st.bg.write(out, "48", depth)
	}
	out.WriteByte('m')
}

func (c colour) write(out *bytes.Buffer, ground string, depth Depth) {
	if c == 0 {
		return
	}
	r, g, b := uint8(c>>16), uint8(c>>8), uint8(c)
	out.WriteByte(';')
	out.WriteString(ground)
	if depth == TrueColor {
		for _, s := range []string{";2;", strconv.Itoa(int(r)), ";", strconv.Itoa(int(g)), ";", strconv.Itoa(int(b))} {
			out.WriteString(s)
		}
		return
	}
	out.WriteString(";5;")
	out.WriteString(strconv.Itoa(index256(r, g, b)))
}

// index256 returns the nearest of a terminal's 256 colours: those of a cube of 6×6×6, and 24 more
// greys.
func index256(r, g, b uint8) int {
	cube := func(v uint8) (i, level int) {
		levels := [6]int{0, 95, 135, 175, 215, 255}
		for k, l := range levels {
			if abs(l-int(v)) < abs(levels[i]-int(v)) {
				i = k
			}
		}
		return i, levels[i]
	}
	ri, rl := cube(r)
	gi, gl := cube(g)
	bi, bl := cube(b)
	grey := min(max((int(r)+int(g)+int(b))/3-3, 0)/10, 23)
	level := 8 + 10*grey
	off := func(x, y, z int) int {
		dx, dy, dz := x-int(r), y-int(g), z-int(b)
		return dx*dx + dy*dy + dz*dz
	}
	if off(level, level, level) < off(rl, gl, bl) {
		return 232 + grey
	}
	return 16 + 36*ri + 6*gi + bi
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
