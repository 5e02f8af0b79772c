package termview_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"image"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/spicelane/spicelane/harness/termview"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An emulator understands the part of a terminal's language that this package uses.
type emulator struct {
	t      require.TestingT
	w, h   int
	x, y   int
	fg, bg uint32
	bold   bool
	cells  []termview.Cell
	wrote  int // characters
}

func newEmulator(t require.TestingT, w, h int) *emulator {
	e := &emulator{t: t, w: w, h: h, cells: make([]termview.Cell, w*h)}
	for i := range e.cells {
		e.cells[i] = termview.MakeCell(' ', 0, 0, false)
	}
	return e
}

var csi = regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`)

func (e *emulator) write(b []byte) {
	s := string(b)
	for s != "" {
		if m := csi.FindStringSubmatch(s); m != nil {
			s = s[len(m[0]):]
			var p []int
			for _, f := range strings.Split(m[1], ";") {
				n, _ := strconv.Atoi(f)
				p = append(p, n)
			}
			switch m[2] {
			case "H":
				e.y, e.x = p[0]-1, p[1]-1
			case "m":
				e.sgr(p)
			default:
				require.Failf(e.t, "unknown sequence", "%q", m[0])
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		require.NotEqual(e.t, '\x1b', r, "%q", s)
		require.Less(e.t, e.x, e.w, "written beyond the last column")
		e.cells[e.y*e.w+e.x] = termview.MakeCell(r, e.fg, e.bg, e.bold)
		e.x++
		e.wrote++
		s = s[n:]
	}
}

func (e *emulator) sgr(p []int) {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case 0:
			e.fg, e.bg, e.bold = 0, 0, false
		case 1:
			e.bold = true
		case 38, 48:
			require.Equal(e.t, 2, p[i+1])
			c := termview.RGB(uint8(p[i+2]), uint8(p[i+3]), uint8(p[i+4]))
			if p[i] == 38 {
				e.fg = c
			} else {
				e.bg = c
			}
			i += 4
		default:
			require.Failf(e.t, "unknown style", "%v", p)
		}
	}
}

func anyGrid(t *rapid.T, w, h int, label string) *termview.Grid {
	g := termview.NewGrid(w, h)
	colours := []uint32{0, termview.RGB(1, 2, 3), termview.RGB(255, 0, 9)}
	for y := range h {
		for x := range w {
			r := rapid.SampledFrom([]rune{' ', 'a', '▀', '─'}).Draw(t, label)
			fg, bg := rapid.SampledFrom(colours).Draw(t, label), rapid.SampledFrom(colours).Draw(t, label)
			g.Set(x, y, termview.MakeCell(r, fg, bg, rapid.Bool().Draw(t, label)))
		}
	}
	return g
}

func TestWhatIsWrittenTurnsTheOldScreenIntoTheNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 7).Draw(t, "w"), rapid.IntRange(1, 4).Draw(t, "h")
		one, two := anyGrid(t, w, h, "one"), anyGrid(t, w, h, "two")
		e := newEmulator(t, w, h)
		e.write(one.Diff(nil, termview.TrueColor))
		for i, c := range e.cells {
			require.Equal(t, one.At(i%w, i/w), c)
		}
		changes := 0
		for i := range e.cells {
			if one.At(i%w, i/w) != two.At(i%w, i/w) {
				changes++
			}
		}
		e.wrote = 0
		e.write(two.Diff(one, termview.TrueColor))
		for i, c := range e.cells {
			require.Equal(t, two.At(i%w, i/w), c)
		}
		require.Equal(t, changes, e.wrote, "characters written")
		require.Empty(t, two.Diff(two, termview.TrueColor), "nothing changes, nothing is written")
	})
}

func TestCellsOfRealPixelsAreLeftAlone(t *testing.T) {
	g := termview.NewGrid(3, 1)
	g.Set(1, 0, termview.Cell{})
	e := newEmulator(t, 3, 1)
	e.write(g.Diff(nil, termview.TrueColor))
	require.Equal(t, 2, e.wrote)
}

func TestFewerColoursAreTheNearestOnes(t *testing.T) {
	for _, tt := range []struct {
		r, g, b uint8
		want    int
	}{{0, 0, 0, 16}, {255, 255, 255, 231}, {255, 0, 0, 196}, {95, 135, 175, 67}, {128, 128, 128, 244}, {8, 8, 8, 232}, {238, 238, 238, 255}} {
		require.Equal(t, tt.want, termview.Index256(tt.r, tt.g, tt.b), "%d,%d,%d", tt.r, tt.g, tt.b)
	}
	g := termview.NewGrid(1, 1)
	g.Set(0, 0, termview.MakeCell('x', termview.RGB(255, 0, 0), 0, true))
	require.Equal(t, "\x1b[1;1H\x1b[0;1;38;5;196mx\x1b[m", string(g.Diff(nil, termview.Colour256)))
	require.Equal(t, "\x1b[1;1H\x1b[0;1mx\x1b[m", string(g.Diff(nil, termview.NoColour)))
}

func TestTheEnvironmentTellsTheColours(t *testing.T) {
	for env, want := range map[string]termview.Depth{
		"TERM=xterm-256color":                     termview.Colour256,
		"TERM=xterm-256color COLORTERM=truecolor": termview.TrueColor,
		"TERM=xterm-kitty":                        termview.TrueColor,
		"TERM=screen TMUX=/tmp/x":                 termview.TrueColor,
		"TERM=xterm COLORTERM=24bit NO_COLOR=1":   termview.NoColour,
		"TERM=dumb":                               termview.NoColour,
		"TERM=vt100":                              termview.NoColour,
	} {
		got := termview.DepthOf(func(name string) string {
			for _, kv := range strings.Fields(env) {
				if k, v, _ := strings.Cut(kv, "="); k == name {
					return v
				}
			}
			return ""
		})
		require.Equal(t, want, got, env)
	}
}

func TestWhatTerminalsSayOfThemselves(t *testing.T) {
	for _, tt := range []struct {
		name, said   string
		cell         image.Point
		kitty, sixel bool
	}{
		{"kitty", "\x1b[6;20;10t\x1b_Gi=31;OK\x1b\\\x1b[?62;52;c", image.Pt(10, 20), true, false},
		{"foot", "\x1b[6;18;9t\x1b[?62;4;22c", image.Pt(9, 18), false, true},
		{"tmux", "\x1b[?1;2c", image.Point{}, false, false},
		{"tmux with sixel", "\x1b[?1;2;4c", image.Point{}, false, true},
		{"xterm with a refusal", "\x1b_Gi=31;ENOTSUPPORTED:x\x1b\\\x1b[?64;1;2c", image.Point{}, false, false},
		{"the class is no feature", "\x1b[?4;1c", image.Point{}, false, false},
		{"a cell of nothing", "\x1b[6;0;0t\x1b[?6c", image.Point{}, false, false},
		{"half an answer", "\x1b[?62;4", image.Point{}, false, false},
		{"nothing", "", image.Point{}, false, false},
	} {
		cell, kitty, sixel := termview.ParseAnswers([]byte(tt.said))
		require.Equal(t, tt.cell, cell, tt.name)
		require.Equal(t, tt.kitty, kitty, tt.name)
		require.Equal(t, tt.sixel, sixel, tt.name)
	}
	require.True(t, termview.Answered([]byte("\x1b[6;20;10t\x1b[?6c")))
	require.False(t, termview.Answered([]byte("\x1b[6;20;10tc")))
}

// tmux 3.5 of Debian 13 says that it supports sixel, and leaves an empty place if the terminal
// around it does not.
func TestThePictureIsOneThatIsSureToBeSeen(t *testing.T) {
	for _, tt := range []struct {
		asked              termview.Picture
		kitty, sixel, tmux bool
		depth              termview.Depth
		want               termview.Picture
	}{
		{termview.Auto, true, true, false, termview.TrueColor, termview.Kitty},
		{termview.Auto, false, true, false, termview.TrueColor, termview.Sixel},
		{termview.Auto, false, true, true, termview.TrueColor, termview.Blocks},
		{termview.Sixel, false, true, true, termview.TrueColor, termview.Sixel},
		{"", false, false, false, termview.Colour256, termview.Blocks},
		{"", false, false, false, termview.NoColour, termview.Text},
	} {
		require.Equal(t, tt.want, termview.How(tt.asked, tt.kitty, tt.sixel, tt.tmux, tt.depth), "%+v", tt)
	}
}

func FuzzTerminalAnswers(f *testing.F) {
	for _, s := range []string{"\x1b[6;20;10t\x1b_Gi=31;OK\x1b\\\x1b[?62;52;c", "\x1b[?1;2c", "\x1b[6;;t\x1b[?;c", "\x1b["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cell, _, _ := termview.ParseAnswers(b)
		require.False(t, cell.X < 0 || cell.Y < 0)
		termview.Answered(b)
	})
}

func TestEverythingHasItsPlaceAndNothingOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 300).Draw(t, "w"), rapid.IntRange(1, 100).Draw(t, "h")
		screen := image.Pt(rapid.IntRange(0, 4000).Draw(t, "sw"), rapid.IntRange(0, 3000).Draw(t, "sh"))
		cell := image.Pt(rapid.IntRange(1, 20).Draw(t, "cw"), rapid.IntRange(1, 40).Draw(t, "ch"))
		l := termview.Arrange(w, h, screen, cell, rapid.Bool().Draw(t, "picture"))
		picture, side, serial := l.Parts()
		all := image.Rect(0, 0, w, h)
		for _, r := range []image.Rectangle{picture, side, serial} {
			require.True(t, r.In(all), "%v in %v", r, all)
		}
		require.False(t, picture.Overlaps(side))
		require.False(t, picture.Overlaps(serial))
		require.False(t, side.Overlaps(serial))
	})
}

func TestAPictureKeepsItsShape(t *testing.T) {
	require.Equal(t, image.Pt(80, 60), termview.Fit(image.Pt(1024, 768), image.Pt(200, 60)))
	require.Equal(t, image.Pt(40, 30), termview.Fit(image.Pt(1024, 768), image.Pt(40, 600)))
	require.Equal(t, image.Pt(1, 10), termview.Fit(image.Pt(1, 1000), image.Pt(10, 10)))
	require.Equal(t, image.Point{}, termview.Fit(image.Pt(0, 768), image.Pt(40, 600)))
}

func TestAGuestsLineCannotMoveWhatStandsBesideIt(t *testing.T) {
	require.Equal(t, "a b·[31mc□□de", string(termview.Printable("a\tb\x1b[31mc世🙂d\u0301e\u200d")))
}

func TestWordsAreCutAtTheirPlace(t *testing.T) {
	s := viewer.State{
		Name: "lane", Lane: "failed", Reason: "the supervisor was killed while the lane was ready and everything with it " + strings.Repeat("x", 200),
		Screen: image.Pt(1024, 768), Console: control.Status{Unsupported: []control.Unsupported{{What: "jpeg_alpha", Count: 3}}},
	}
	var entries []viewer.Entry
	for i := range 50 {
		entries = append(entries,
			viewer.Entry{N: 2 * i, Kind: viewer.Event, Name: "keypress", Text: strings.Repeat("y", 100)},
			viewer.Entry{N: 2*i + 1, Kind: viewer.Serial, Text: fmt.Sprintf("line %d %s", i, strings.Repeat("z", 300))})
	}
	for _, size := range []image.Point{{80, 24}, {200, 60}, {20, 5}, {1, 1}, {3, 2}} {
		g := termview.Words(size.X, size.Y, s, entries)
		e := newEmulator(t, size.X, size.Y)
		e.write(g.Diff(nil, termview.TrueColor))
		if size.X == 80 {
			text := ""
			for _, c := range e.cells {
				r, _, _, _ := c.Parts()
				text += string(r)
			}
			require.Contains(t, text, "failed")
			require.Contains(t, text, "line 49")
			require.Contains(t, text, "keypress")
			require.Contains(t, text, "NOT DECODED     jpeg_alpha ×3")
		}
	}
}

func TestScalingIsTheMean(t *testing.T) {
	src := &server.Picture{Width: 4, Height: 2, Stride: 16, Pix: make([]byte, 32)}
	for i := range 8 {
		copy(src.Pix[4*i:], []byte{byte(10 * i), byte(i), byte(100 + i), 77})
	}
	// Columns 0-1 and 2-3 of both rows: B 0,10,40,50 and 20,30,60,70.
	require.Equal(t, []byte{102, 2, 25, 104, 4, 45}, termview.Scale(src, 2, 1).Pix())
	same := termview.Scale(src, 4, 2).Pix()
	require.Equal(t, []byte{100, 0, 0, 101, 1, 10}, same[:6])
	require.Len(t, termview.Scale(src, 9, 5).Pix(), 3*9*5)
}

func TestHalfBlocksHoldTwoPixels(t *testing.T) {
	src := &server.Picture{Width: 2, Height: 3, Stride: 8, Pix: []byte{
		0, 0, 1, 0, 0, 0, 9, 0,
		0, 0, 2, 0, 0, 0, 9, 0,
		0, 0, 3, 0, 0, 0, 4, 0,
	}}
	g := termview.NewGrid(4, 3)
	termview.DrawBlocks(g, 1, 0, termview.Scale(src, 2, 3))
	require.Equal(t, termview.MakeCell('▀', termview.RGB(1, 0, 0), termview.RGB(2, 0, 0), false), g.At(1, 0))
	require.Equal(t, termview.MakeCell(' ', 0, termview.RGB(9, 0, 0), false), g.At(2, 0), "two equal pixels")
	require.Equal(t, termview.MakeCell('▀', termview.RGB(4, 0, 0), 0, false), g.At(2, 1), "an odd row at the end")
	require.Equal(t, termview.MakeCell(' ', 0, 0, false), g.At(3, 0))
}

func noise(n, colours int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var out []byte
	for range n {
		c := r.IntN(colours)
		out = append(out, byte(c), byte(c>>8*37+c*7), byte(255-c))
	}
	return out
}

func TestKittyStripsHoldThePixels(t *testing.T) {
	const w, h = 301, 17
	want := noise(w*h, 5000)
	var data strings.Builder
	s := string(termview.KittyStrip(want, w, h))
	for i := 0; s != ""; i++ {
		body, rest, ok := strings.Cut(strings.TrimPrefix(s, "\x1b_G"), "\x1b\\")
		require.True(t, ok)
		head, payload, ok := strings.Cut(body, ";")
		require.True(t, ok)
		require.LessOrEqual(t, len(payload), 4096)
		if i == 0 {
			require.Equal(t, "a=T,i=7,p=1,f=24,o=z,s=301,v=17,c=3,r=1,q=2,C=1,m=1", head)
		} else if rest != "" {
			require.Equal(t, "m=1", head)
		} else {
			require.Equal(t, "m=0", head)
		}
		data.WriteString(payload)
		s = rest
	}
	packed, err := base64.StdEncoding.DecodeString(data.String())
	require.NoError(t, err)
	z, err := zlib.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

var sixelColour = regexp.MustCompile(`^#(\d+);2;(\d+);(\d+);(\d+)`)
var sixelSelect = regexp.MustCompile(`^#(\d+)`)
var sixelRun = regexp.MustCompile(`^!(\d+)(.)`)

// unsixel decodes a sixel picture; colours are in per cent.
func unsixel(t *testing.T, b []byte) (w, h int, pix [][3]int) {
	t.Helper()
	body := strings.TrimSuffix(strings.TrimPrefix(string(b), "\x1bP0;1;0q"), "\x1b\\")
	_, err := fmt.Sscanf(body, `"1;1;%d;%d`, &w, &h)
	require.NoError(t, err)
	body = body[len(fmt.Sprintf(`"1;1;%d;%d`, w, h)):]
	pix = make([][3]int, w*h)
	for i := range pix {
		pix[i] = [3]int{-1}
	}
	palette := map[string][3]int{}
	var pen [3]int
	x, top := 0, 0
	put := func(c byte, n int) {
		for range n {
			for k := range 6 {
				if (c-'?')>>k&1 == 1 {
					require.Less(t, top+k, h)
					pix[(top+k)*w+x] = pen
				}
			}
			x++
		}
	}
	for body != "" {
		if m := sixelColour.FindStringSubmatch(body); m != nil {
			var c [3]int
			for i := range c {
				c[i], _ = strconv.Atoi(m[2+i])
			}
			palette[m[1]] = c
			body = body[len(m[0]):]
		} else if m := sixelSelect.FindStringSubmatch(body); m != nil {
			pen = palette[m[1]]
			body = body[len(m[0]):]
		} else if m := sixelRun.FindStringSubmatch(body); m != nil {
			n, _ := strconv.Atoi(m[1])
			put(m[2][0], n)
			body = body[len(m[0]):]
		} else {
			switch body[0] {
			case '$':
				x = 0
			case '-':
				x, top = 0, top+6
			default:
				put(body[0], 1)
			}
			body = body[1:]
		}
	}
	return w, h, pix
}

func TestSixelStripsHoldThePixels(t *testing.T) {
	for _, tt := range []struct {
		name           string
		w, h, colours  int
		worstDeviation int // in per cent of a colour's range
	}{
		{"few colours are exact", 50, 20, 40, 1},
		{"256 colours are exact", 64, 16, 256, 1},
		{"many colours are near", 64, 16, 5000, 10},
		{"one pixel", 1, 1, 1, 1},
	} {
		want := noise(tt.w*tt.h, tt.colours)
		w, h, got := unsixel(t, termview.SixelStrip(want, tt.w, tt.h))
		require.Equal(t, [2]int{tt.w, tt.h}, [2]int{w, h}, tt.name)
		for i, c := range got {
			for k := range 3 {
				require.InDelta(t, float64(want[3*i+k])*100/255, float64(c[k]), float64(tt.worstDeviation), "%s: pixel %d", tt.name, i)
			}
		}
	}
}
