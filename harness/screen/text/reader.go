package text

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"image"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

//go:embed fonts/*.hex
var fontFiles embed.FS

// Fonts returns the fonts that are built into this package.
var Fonts = sync.OnceValue(func() []*Font {
	entries, err := fontFiles.ReadDir("fonts")
	if err != nil {
		panic(err)
	}
	var fonts []*Font
	for _, e := range entries {
		b, err := fontFiles.ReadFile(path.Join("fonts", e.Name()))
		if err != nil {
			panic(err)
		}
		f, err := ParseHex(strings.TrimSuffix(e.Name(), ".hex"), b)
		if err != nil {
			panic(fmt.Errorf("fonts/%s: %w", e.Name(), err))
		}
		fonts = append(fonts, f)
	}
	return fonts
})

// A Reader reads the text of pictures.
type Reader struct {
	// Fonts are the fonts to look for; nil means [Fonts].
	Fonts []*Font
	// Origin is the upper left pixel of any cell if the caller knows it. Read then does not search
	// for the grid. nil means unknown.
	Origin *image.Point
	// Memory, if not nil, has the place where Read looks first. Read updates it.
	Memory *Memory
}

// A Memory remembers the font and place of the last grid. With many fonts, that saves most of the
// search. Several goroutines may use it.
type Memory struct{ last atomic.Pointer[place] }

type place struct {
	font   *Font
	origin image.Point
}

// ErrNoText says that a picture has no text in a known font.
var ErrNoText = errors.New("no text in a known font")

// Read finds the font and place of the grid, and reads the text. The error matches [ErrNoText] if
// there is none.
func (r Reader) Read(p *pixmap.Picture) (g *Grid, err error) {
	fonts := r.Fonts
	if fonts == nil {
		fonts = Fonts()
	}
	box := drawn(p)
	if box.Dy() < tellingRows-1 { // a cursor at most
		return nil, noText(fonts)
	}
	var best *Grid
	bestScore, bestUnknown := 0, 0
	try := func(f *Font, at image.Point) (whole bool) {
		g := read(p, f, at)
		s, unknown := g.score(), g.Misfits()
		if s > bestScore || s == bestScore && unknown < bestUnknown {
			best, bestScore, bestUnknown = g, s, unknown
		}
		return s >= enough && unknown == 0
	}
	if r.Memory != nil && r.Origin == nil {
		if last := r.Memory.last.Load(); last != nil && slices.Contains(fonts, last.font) && try(last.font, last.origin) {
			return best, nil
		}
		defer func() {
			if err == nil {
				r.Memory.last.Store(&place{g.Font, g.Origin})
			}
		}()
	}
	// NB: a grid with unknown cells may be in another font that differs in a few characters.
	for _, f := range fonts {
		for _, at := range r.likely(p, f) {
			if try(f, at) {
				return best, nil
			}
		}
	}
	if bestScore >= enough && bestUnknown <= bestScore {
		return best, nil
	}
	if r.Origin == nil {
		for _, f := range fonts {
			for y := range min(f.Height, p.Height) {
				for x := range min(f.Width, p.Width) {
					if mayBegin(p, f, x, y, box) {
						try(f, image.Pt(x, y))
					}
				}
			}
		}
	}
	if bestScore < enough {
		return nil, noText(fonts)
	}
	return best, nil
}

func noText(fonts []*Font) error {
	var names []string
	for _, f := range fonts {
		names = append(names, f.String())
	}
	return fmt.Errorf("%w (%s)", ErrNoText, strings.Join(names, ", "))
}

// tellingRows is the least number of different rows in a telling glyph.
const tellingRows = 4

// enough is the number of telling characters that prove a grid. Dots and lines may fit anywhere by
// chance.
const enough = 3

// likely returns the usual origins of grids: the corner, and the places where firmware centres a
// grid. With r.Origin, it returns only that one.
func (r Reader) likely(p *pixmap.Picture, f *Font) []image.Point {
	if r.Origin != nil {
		return []image.Point{{X: mod(r.Origin.X, f.Width), Y: mod(r.Origin.Y, f.Height)}}
	}
	places := []image.Point{{}}
	for _, cells := range []image.Point{{X: p.Width / f.Width, Y: p.Height / f.Height}, {X: 80, Y: 25}, {X: 100, Y: 31}, {X: 80, Y: 50}} {
		x, y := p.Width-cells.X*f.Width, p.Height-cells.Y*f.Height
		if x < 0 || y < 0 {
			continue
		}
		if at := image.Pt(x/2%f.Width, y/2%f.Height); !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	return places
}

func mod(a, n int) int { return (a%n + n) % n }

// score returns the number of cells with telling glyphs, which a grid at the wrong place would not
// have.
func (g *Grid) score() (n int) {
	for _, c := range g.cells {
		if c.Rune == Unknown || c.Rune == ' ' {
			continue
		}
		if g.Font.telling[c.Rune] {
			n++
		}
	}
	return n
}

// drawn returns the smallest rectangle outside which all pixels have the colour of the last one.
func drawn(p *pixmap.Picture) image.Rectangle {
	if p.Width == 0 || p.Height == 0 {
		return image.Rectangle{}
	}
	row := func(y int) []byte { return p.Pix[y*p.Stride:][:4*p.Width] }
	last := row(p.Height - 1)[4*(p.Width-1):]
	empty := bytes.Repeat(last[:4], p.Width)
	box := image.Rectangle{Min: image.Pt(p.Width, 0)}
	for y := range p.Height {
		r := row(y)
		if bytes.Equal(r, empty) {
			continue
		}
		if box.Max.Y == 0 {
			box.Min.Y = y
		}
		box.Max.Y = y + 1
		for x := 0; x < box.Min.X; x++ {
			if !bytes.Equal(r[4*x:][:4], empty[:4]) {
				box.Min.X = x
			}
		}
		for x := p.Width; x > box.Max.X; x-- {
			if !bytes.Equal(r[4*x-4:][:4], empty[:4]) {
				box.Max.X = x
			}
		}
	}
	if box.Max.Y == 0 {
		return image.Rectangle{}
	}
	return box
}

// mayBegin reports whether a grid can begin at (x,y): enough cells there have a telling glyph. It
// looks only at cells in box, and at no more than 4000 that are not empty.
func mayBegin(p *pixmap.Picture, f *Font, x, y int, box image.Rectangle) bool {
	c := newCellReader(p, f)
	var cell Cell
	hits, looks := 0, 0
	y += max(0, box.Min.Y-y) / f.Height * f.Height
	x += max(0, box.Min.X-x) / f.Width * f.Width
	for row := y; row+f.Height <= p.Height && row < box.Max.Y; row += f.Height {
		for col := x; col+f.Width <= p.Width && col < box.Max.X; col += f.Width {
			cell = Cell{}
			switch {
			case c.read(col, row, &cell) == known && cell.Rune == ' ':
				continue
			case cell.Rune != Unknown && f.telling[cell.Rune]:
				if hits++; hits >= enough {
					return true
				}
			}
			if looks++; looks > 4000 {
				return false
			}
		}
	}
	return false
}

// Learn makes a font from a picture whose text is known. lines are the lines of the grid from its
// first row. Learn ignores spaces and cells that lines do not cover. It takes the most frequent
// colour of the cells as the background.
func Learn(name string, p *pixmap.Picture, width, height int, origin image.Point, lines []string) (*Font, error) {
	if err := checkSize(width, height); err != nil {
		return nil, fmt.Errorf("learn font %s: %w", name, err)
	}
	f := &Font{Name: name, Width: width, Height: height}
	c := newCellReader(p, f)
	each := func(do func(r rune, x, y int) error) error {
		for row, line := range lines {
			for col, r := range []rune(line) {
				x, y := origin.X+col*width, origin.Y+row*height
				if x < 0 || y < 0 || x+width > p.Width || y+height > p.Height {
					return fmt.Errorf("learn font %s: %q in line %d is not within the picture", name, r, row+1)
				}
				if err := do(r, x, y); err != nil {
					return fmt.Errorf("learn font %s: %q in line %d, column %d: %w", name, r, row+1, col+1, err)
				}
			}
		}
		return nil
	}
	count := make(map[pixmap.RGB]int)
	var background pixmap.RGB
	err := each(func(_ rune, x, y int) error {
		for i := range width * height {
			colour := p.At(x+i%width, y+i/width)
			if count[colour]++; count[colour] > count[background] {
				background = colour
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	glyphs := make(map[rune][]byte)
	owner := make(map[string]rune)
	err = each(func(r rune, x, y int) error {
		if r == ' ' || r == Unknown {
			return nil
		}
		switch c.load(x, y) {
		case 1:
			return errors.New("the cell is empty")
		case 3:
			return errors.New("the cell has more than two colours")
		}
		glyph := slices.Clone(c.bits)
		switch background {
		case rgb(c.a):
		case rgb(c.b):
			for i := range glyph {
				glyph[i] = ^glyph[i] & c.mask[i%len(c.mask)]
			}
		default:
			return fmt.Errorf("none of the cell's colours is the background, %v", background)
		}
		if was, there := glyphs[r]; there && !slices.Equal(was, glyph) {
			return errors.New("it looks different elsewhere")
		}
		if other, there := owner[string(glyph)]; there && other != r {
			return fmt.Errorf("it looks like %q: is the text right, and is the font complete?", other)
		}
		glyphs[r], owner[string(glyph)] = glyph, r
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(glyphs) == 0 {
		return nil, fmt.Errorf("learn font %s: the text has no characters", name)
	}
	return newFont(name, width, height, glyphs, false), nil
}
