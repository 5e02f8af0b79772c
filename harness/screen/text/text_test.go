package text_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"image"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/internal/need"
)

// font returns one of the package's fonts.
func font(t testing.TB, name string) *text.Font {
	t.Helper()
	i := slices.IndexFunc(text.Fonts(), func(f *text.Font) bool { return f.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return text.Fonts()[i]
}

// blank returns a picture of one colour.
func blank(w, h int, c pixmap.RGB) *pixmap.Picture {
	p := &pixmap.Picture{Pix: bytes.Repeat([]byte{c.R, c.G, c.B, 255}, w*h), Stride: 4 * w, Width: w, Height: h}
	return p
}

func set(p *pixmap.Picture, x, y int, c pixmap.RGB) {
	copy(p.Pix[y*p.Stride+4*x:], []byte{c.R, c.G, c.B, 255})
}

// draw draws a character, pixel by pixel.
func draw(p *pixmap.Picture, f *text.Font, at image.Point, r rune, bold bool, fg, bg pixmap.RGB) {
	for y := range f.Height {
		for x := range f.Width {
			c := bg
			if f.Drawn(r, bold, x, y) {
				c = fg
			}
			set(p, at.X+x, at.Y+y, c)
		}
	}
}

// write draws lines of text.
func write(p *pixmap.Picture, f *text.Font, origin image.Point, fg, bg pixmap.RGB, lines ...string) {
	for row, line := range lines {
		for col, r := range []rune(line) {
			draw(p, f, origin.Add(image.Pt(col*f.Width, row*f.Height)), r, false, fg, bg)
		}
	}
}

// shows tells whether a cell's pixels equal those of the character that was read there.
func shows(p *pixmap.Picture, g *text.Grid, col, row int) bool {
	c, r := g.At(col, row), g.Rect(col, row)
	for y := range g.Font.Height {
		for x := range g.Font.Width {
			want := c.BG
			if g.Font.Drawn(c.Rune, c.Bold, x, y) {
				want = c.FG
			}
			if p.At(r.Min.X+x, r.Min.Y+y) != want {
				return false
			}
		}
	}
	return true
}

var (
	black, grey, white = pixmap.RGB{}, pixmap.RGB{R: 0x98, G: 0x98, B: 0x98}, pixmap.RGB{R: 255, G: 255, B: 255}
	sixteen            = vgaColours()
)

// vgaColours returns the sixteen colours of VGA's text modes.
func vgaColours() []pixmap.RGB {
	var all []pixmap.RGB
	for i := range 16 {
		level := func(bit int) uint8 { return uint8(i>>bit&1*0xaa + i>>3*0x55) }
		c := pixmap.RGB{R: level(2), G: level(1), B: level(0)}
		if i == 6 {
			c.G = 0x55 // brown
		}
		all = append(all, c)
	}
	return all
}

// The firmware's shell has printed a file with all characters of its font.
const ovmfShell = `|A|!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\
|B|]^_` + "`" + `abcdefghijklmnopqrstuvwxyz{|}~
|C|¡¢£¤¥¦§¨©ª«¬` + "\u00ad" + `®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜ
|D|ÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ
|E|─│┌┐└┘├┤┬┴┼═║╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬     ░   ▲►▼◄←↑→↓`

func ovmf(t testing.TB) *pixmap.Picture {
	t.Helper()
	p, err := pixmap.ReadFile("testdata/ovmf-shell.png")
	require.NoError(t, err)
	return p
}

func TestTheFirmwaresShellIsReadCharacterForCharacter(t *testing.T) {
	p := ovmf(t)
	g, err := text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "ovmf", g.Font.Name)
	require.Equal(t, "160×41 cells of ovmf 8×19 from (0,10)", g.String())
	require.Zero(t, g.UnknownCells())
	at := g.Find(regexp.MustCompile(`^\s*\|A\|`), image.Rectangle{})
	require.Len(t, at, 1)
	indent := strings.Repeat(" ", 30)
	for i, want := range strings.Split(ovmfShell, "\n") {
		require.Equal(t, indent+want, g.Line(at[0].Row+i))
	}
	require.Equal(t, text.Cell{Rune: 'A', Also: []rune{}, FG: grey, BG: black}, g.At(31, at[0].Row))
	// The prompt is yellow, and the cursor underlines the cell behind it.
	prompt := g.Find(regexp.MustCompile("Shell>"), image.Rectangle{})
	require.Equal(t, []text.Hit{{Text: "Shell>", Col: 30, Row: 11, Rect: image.Rect(240, 219, 288, 238)}}, prompt)
	require.Equal(t, pixmap.RGB{R: 255, G: 255, B: 64}.R, g.At(30, 11).FG.R)
	col, row, ok := g.Cursor()
	require.True(t, ok)
	require.Equal(t, []int{37, 11}, []int{col, row})
	require.Equal(t, ' ', g.At(col, row).Rune)
	require.True(t, strings.HasSuffix(g.Text(), "Shell>"))
}

func TestTheFirmwaresSetupIsReadWithItsColours(t *testing.T) {
	blue, dark := pixmap.RGB{B: 0x98}, pixmap.RGB{}
	for file, want := range map[string]string{
		"testdata/ovmf-setup.png": `
 Standard PC (Q35 + ICH9, 2009)
 pc-q35-7.2                                          2.00 GHz
 0.0.0                                               256 MB RAM



   Select Language            <Standard English>         This is the option
                                                         one adjusts to change
 ► Device Manager                                        the language for the
 ► Boot Manager                                          current system
 ► Boot Maintenance Manager

   Continue
   Reset







  ↑↓=Move Highlight       <Enter>=Select Entry`,
		"testdata/ovmf-device-manager.png": `┌──────────────────────────────────────────────────────────────────────────────┐
│                               Device Manager                                 │
└──────────────────────────────────────────────────────────────────────────────┘

   Devices List                                          Press <Enter> to
 ► Secure Boot Configuration                             select Secure Boot
 ► Driver Health Manager                                 options.
 ► RAM Disk Configuration
 ► Tls Auth Configuration
 ► OVMF Platform Configuration
 ► iSCSI Configuration


   Press ESC to exit.






┌──────────────────────────────────────────────────────────────────────────────┐
│                                                                              │
│ ↑↓=Move Highlight       <Enter>=Select Entry      Esc=Exit                   │
└──────────────────────────────────────────────────────────────────────────────┘`,
	} {
		p, err := pixmap.ReadFile(file)
		require.NoError(t, err)
		g, err := text.Reader{}.Read(p)
		require.NoError(t, err)
		require.Equal(t, want, g.Text())
		require.Zero(t, g.UnknownCells())
		if file == "testdata/ovmf-setup.png" {
			// The selected line is in inverse video.
			at := g.Find(regexp.MustCompile("<Standard English>"), image.Rectangle{})[0]
			for col := range len(at.Text) {
				c := g.At(at.Col+col, at.Row)
				if c.Rune == ' ' {
					require.Equal(t, dark, c.BG)
					continue
				}
				require.Equal(t, []pixmap.RGB{grey, dark}, []pixmap.RGB{c.FG, c.BG})
			}
			c := g.At(1, 1)
			require.Equal(t, text.Cell{Rune: 'S', Also: []rune{}, FG: blue, BG: grey}, c)
		}
	}
}

// Beacon's console has a bold and a plain weight, a lighthouse beside it, gradients and a code.
func TestBeaconsConsoleIsReadAmongPictures(t *testing.T) {
	p, err := pixmap.ReadFile("testdata/beacon.png")
	require.NoError(t, err)
	g, err := text.Reader{}.Read(p)
	require.NoError(t, err)
	for _, line := range []string{
		"Hello from Beacon",
		"Any key goes on. 1 to 6 set the mode, 0 walks through all of them.",
		"F5 and F6 sound a tone. F7 offers the clipboard, F8 takes it back.",
		"F10 holds: keys are then only reported.",
		"F9 draws natively, step by step, if the display is a QXL device.",
	} {
		hits := g.Find(regexp.MustCompile(regexp.QuoteMeta(line)+" *(\uFFFD|$)"), image.Rectangle{})
		require.Len(t, hits, 1, "%s in\n%s", line, g.Text())
		require.Equal(t, 32, hits[0].Rect.Min.X)
		require.True(t, g.At(hits[0].Col, hits[0].Row).Bold, line)
	}
	// The status line at the bottom of the console has a separate grid.
	g, err = text.Reader{}.Read(p.Crop(image.Rect(0, 520, 1024, 566)))
	require.NoError(t, err)
	bottom := regexp.MustCompile("\uFFFD").ReplaceAllString(g.Text(), " ")
	require.Equal(t, "t=813 type=agent state=capabilities capabilities=000010e6", strings.TrimSpace(strings.Split(bottom, "\n")[0]))
}

func TestTheFontsSayWhereTheyAreFromAndUnderWhichTerms(t *testing.T) {
	require.Len(t, text.Fonts(), 2)
	for _, f := range text.Fonts() {
		require.NotEmpty(t, f.Source, f.Name)
		require.NotEmpty(t, f.Licence, f.Name)
		for r := rune('!'); r <= '~'; r++ {
			require.True(t, f.Has(r), "%s %q", f.Name, r)
		}
	}
}

// The data is the picture in the guest's source.
func TestBeaconsFontIsThatOfItsSource(t *testing.T) {
	b, err := os.ReadFile("../../../fixtures/guest/src/font.c")
	require.NoError(t, err)
	art := regexp.MustCompile(`(?m)^    "([#. ]+)",$`).FindAllStringSubmatch(string(b), -1)
	require.Len(t, art, 12*12)
	f := font(t, "beacon")
	require.Equal(t, []int{8, 18}, []int{f.Width, f.Height}, "the console has two empty rows between lines")
	for g := range 95 {
		for y := range 18 {
			for x := range 8 {
				want := y >= 2 && y < 14 && x >= 1 && x < 7 && art[g/8*12+y-2][1][g%8*7+x-1] == '#'
				before := y >= 2 && y < 14 && x >= 2 && x < 8 && art[g/8*12+y-2][1][g%8*7+x-2] == '#'
				require.Equal(t, want, f.Drawn(rune(' '+g), false, x, y), "%q (%d,%d)", ' '+g, x, y)
				require.Equal(t, want || before, f.Drawn(rune(' '+g), true, x, y), "bold %q (%d,%d)", ' '+g, x, y)
			}
		}
	}
	require.False(t, f.Has(127), "the box stands for what is no ASCII")
}

func TestTextInSixteenColoursAndInverseVideoIsReadWithItsColours(t *testing.T) {
	for _, f := range text.Fonts() {
		r := rand.New(rand.NewPCG(1, 2))
		runes := f.Runes()
		p := blank(60*f.Width+5, 30*f.Height+7, black)
		type cell struct {
			r      rune
			bold   bool
			fg, bg pixmap.RGB
		}
		cells := make([]cell, 60*30)
		for i := range cells {
			bg := r.IntN(16)
			fg := (bg + 1 + r.IntN(15)) % 16
			c := cell{runes[r.IntN(len(runes))], f.Name == "beacon" && r.IntN(4) == 0, sixteen[fg], sixteen[bg]}
			cells[i] = c
			draw(p, f, image.Pt(5+i%60*f.Width, 7+i/60*f.Height), c.r, c.bold, c.fg, c.bg)
		}
		g, err := text.Reader{Fonts: []*text.Font{f}}.Read(p)
		require.NoError(t, err)
		require.Equal(t, image.Pt(5, 7), g.Origin)
		unknown := 0
		for i, want := range cells {
			got := g.At(i%60, i/60)
			if got.Rune == text.Unknown {
				unknown++ // it looks like another in the opposite colours, or in another weight
				continue
			}
			if want.r == ' ' || want.r == '\u00a0' {
				require.Equal(t, text.Cell{Rune: ' ', FG: want.bg, BG: want.bg}, got)
				continue
			}
			require.Contains(t, append([]rune{got.Rune}, got.Also...), want.r)
			require.Equal(t, []any{want.fg, want.bg, want.bold}, []any{got.FG, got.BG, got.Bold}, "%q", want.r)
			require.True(t, shows(p, g, i%60, i/60))
		}
		t.Logf("%v: %d cells in 16 colours, %d unknown", f, len(cells), unknown)
		require.Less(t, unknown, 40)
	}
}

func TestTextOnAGradientIsUnknownAndNotWrong(t *testing.T) {
	f := font(t, "ovmf")
	p := blank(80*f.Width, 20*f.Height, black)
	for y := range p.Height {
		for x := range p.Width {
			set(p, x, y, pixmap.RGB{R: uint8(x), G: uint8(y), B: uint8(x + y)})
		}
	}
	for i := range 80 * 20 {
		for y := range f.Height {
			for x := range f.Width {
				if f.Drawn(rune('!'+i%90), false, x, y) {
					set(p, i%80*f.Width+x, i/80*f.Height+y, white)
				}
			}
		}
	}
	_, err := text.Reader{}.Read(p)
	require.ErrorIs(t, err, text.ErrNoText)
	g, err := text.Reader{}.Read(p)
	require.Nil(t, g)
	require.EqualError(t, err, "no text in a known font (beacon 8×18, ovmf 8×19)")
	// There is readable text on the same screen.
	write(p, f, image.Pt(0, 0), white, black, "Boot Manager")
	g, err = text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "Boot Manager", strings.TrimRight(g.Line(0), string(text.Unknown)))
	require.Equal(t, 80*20-len("Boot Manager"), g.UnknownCells())
}

// On a background that changes from pixel to pixel, no cell is one character in two colours: in inverse
// video, where the letter is a gradient, and in each of 16 colours. A plain line among them is read.
func TestInverseVideoAndSixteenColoursOnAGradientAreUnknownAndNotWrong(t *testing.T) {
	for _, f := range text.Fonts() {
		p := blank(64*f.Width, 32*f.Height, black)
		gradient := func(x, y int) pixmap.RGB { return pixmap.RGB{R: uint8(3 * x), G: uint8(5 * y), B: uint8(x + 2*y)} }
		for i := range 64 * 32 {
			r, colour, inverse := rune('!'+i%94), sixteen[i/64/2], i/64%2 == 1
			for y := range f.Height {
				for x := range f.Width {
					at := image.Pt(i%64*f.Width+x, i/64*f.Height+y)
					c := gradient(at.X, at.Y)
					if f.Drawn(r, false, x, y) != inverse {
						c = colour
					}
					set(p, at.X, at.Y, c)
				}
			}
		}
		_, err := text.Reader{Fonts: []*text.Font{f}}.Read(p)
		require.ErrorIs(t, err, text.ErrNoText)
		for col := range 64 {
			draw(p, f, image.Pt(col*f.Width, 7*f.Height), ' ', false, white, black)
		}
		write(p, f, image.Pt(0, 7*f.Height), white, black, "Boot Manager")
		g, err := text.Reader{Fonts: []*text.Font{f}}.Read(p)
		require.NoError(t, err)
		require.Equal(t, "Boot Manager", g.Line(7))
		require.Equal(t, 64*31, g.UnknownCells(), f.Name)
	}
}

// One pixel off, one colour off, one glyph missing: of each cell of real and of drawn screens.
func TestNearMissesGiveNoWrongCharacter(t *testing.T) {
	need.Long(t)
	full := blank(100*8, 31*19, black)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 100 * 31 {
		runes := font(t, "ovmf").Runes()
		draw(full, font(t, "ovmf"), image.Pt(i%100*8, i/100*19), runes[r.IntN(len(runes))], false, grey, black)
	}
	beacon := blank(80*8, 25*18, black)
	for i := range 80 * 25 {
		draw(beacon, font(t, "beacon"), image.Pt(i%80*8, i/80*18), rune('!'+r.IntN(94)), i%3 == 0, sixteen[1+r.IntN(15)], black)
	}
	var pixels, colours, unknown, same, wrong int
	for _, screen := range []*pixmap.Picture{ovmf(t), full, beacon} {
		g, err := text.Reader{}.Read(screen)
		require.NoError(t, err)
		origin := g.Origin
		for turn := range 60 {
			p := screen.Crop(screen.Bounds())
			for row := range g.Rows {
				for col := range g.Cols {
					c, rect := g.At(col, row), g.Rect(col, row)
					if c.Rune == text.Unknown || c.Rune == ' ' {
						continue
					}
					x, y := rect.Min.X+r.IntN(8), rect.Min.Y+r.IntN(g.Font.Height)
					old := p.At(x, y)
					switch {
					case turn%3 == 0:
						set(p, x, y, pixmap.RGB{R: old.R ^ 1, G: old.G, B: old.B})
						colours++
					case old == c.BG:
						set(p, x, y, c.FG)
						pixels++
					default:
						set(p, x, y, c.BG)
						pixels++
					}
				}
			}
			near, err := text.Reader{Fonts: []*text.Font{g.Font}, Origin: &origin}.Read(p)
			if err != nil {
				near = nil // so few are left that it is no text
			}
			for row := range g.Rows {
				for col := range g.Cols {
					c := g.At(col, row)
					if c.Rune == text.Unknown || c.Rune == ' ' {
						continue
					}
					switch {
					case near == nil || near.At(col, row).Rune == text.Unknown:
						unknown++
					case shows(p, near, col, row):
						same++ // the changed picture is another character's, to the pixel
					default:
						wrong++
					}
				}
			}
		}
	}
	t.Logf("%d cells with a pixel off and %d with a colour off: %d unknown, %d that are exactly another character, %d wrong", pixels, colours, unknown, same, wrong)
	require.Zero(t, wrong)
	require.Greater(t, unknown, 100_000)
	require.Less(t, same, (pixels+colours)/100)
}

func TestAGlyphThatTheFontDoesNotHaveIsUnknown(t *testing.T) {
	f := font(t, "ovmf")
	var lines []string
	for _, line := range strings.SplitAfter(string(f.Hex()), "\n") {
		if !strings.HasPrefix(line, "0065:") {
			lines = append(lines, line)
		}
	}
	without, err := text.ParseHex("without-e", []byte(strings.Join(lines, "")))
	require.NoError(t, err)
	p := blank(640, 480, black)
	write(p, f, image.Pt(0, 0), white, black, "Device Manager")
	g, err := text.Reader{Fonts: []*text.Font{without}}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "D�vic� Manag�r", g.Text())
	require.Equal(t, 3, g.UnknownCells())
}

func TestACellThatIsAnotherCharacterInOppositeColoursTakesItsNeighboursBackground(t *testing.T) {
	blocks := "2580:" + strings.Repeat("ff", 9) + strings.Repeat("00", 10) + "\n2584:" + strings.Repeat("00", 9) + strings.Repeat("ff", 10) + "\n"
	f, err := text.ParseHex("blocks", append(font(t, "ovmf").Hex(), blocks...))
	require.NoError(t, err)
	p := blank(80*8, 3*19, white)
	write(p, f, image.Pt(0, 0), white, black, "Bar ▀▄ ")
	write(p, f, image.Pt(0, 19), black, white, "Bar ▀▄ ")
	write(p, f, image.Pt(0, 38), sixteen[1], sixteen[2], strings.Repeat("▄", 80))
	g, err := text.Reader{Fonts: []*text.Font{f}}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "Bar ▀▄", g.Line(0))
	require.Equal(t, "Bar ▀▄", g.Line(1))
	require.Equal(t, []pixmap.RGB{white, black}, []pixmap.RGB{g.At(4, 0).FG, g.At(4, 0).BG})
	// The picture does not decide between the two.
	require.Equal(t, strings.Repeat(string(text.Unknown), 80), g.Line(2))
	require.ElementsMatch(t, []rune{'▀', '▄'}, g.At(7, 2).Also)
}

func TestACellThatIsOneCharacterInBoldAndAnotherInPlainIsUnknown(t *testing.T) {
	f, err := text.ParseHex("x", append(font(t, "beacon").Hex(), []byte("00a6:"+strings.Repeat("18", 18)+"\n00a8:"+strings.Repeat("10", 18)+"\n")...))
	require.NoError(t, err)
	p := blank(400, 100, black)
	write(p, f, image.Pt(0, 0), white, black, "Hello \u00a6 \u00a8")
	g, err := text.Reader{Fonts: []*text.Font{f}}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "Hello \uFFFD \u00a8", g.Line(0))
}

func TestTheGridIsFoundWhereverItBegins(t *testing.T) {
	for _, f := range text.Fonts() {
		for _, at := range []image.Point{{0, 0}, {3, 11}, {7, f.Height - 1}, {1, 1}} {
			p := blank(400, 300, grey)
			write(p, f, at.Add(image.Pt(2*f.Width, 3*f.Height)), white, grey, "F2 Setup", "F12 Boot")
			g, err := text.Reader{}.Read(p)
			require.NoError(t, err, "%v %v", f, at)
			require.Equal(t, f.Name, g.Font.Name)
			require.Equal(t, at, g.Origin)
			require.Equal(t, "\n\n\n  F2 Setup\n  F12 Boot", g.Text())
			// Two dots and a dash are no text.
			p = blank(400, 300, grey)
			write(p, f, at, white, grey, ". -.")
			_, err = text.Reader{}.Read(p)
			require.ErrorIs(t, err, text.ErrNoText)
		}
	}
}

// Linux's console starts with a font that differs from console-setup's of the same name in a few
// characters.
func TestOfFontsThatDifferInAFewCharactersTheOneWithoutUnknownCellsIsTaken(t *testing.T) {
	right := font(t, "ovmf")
	similar, err := text.ParseHex("similar", bytes.Replace(right.Hex(), []byte("\n0076:00"), []byte("\n0076:81"), 1))
	require.NoError(t, err)
	require.NotEqual(t, right.Drawn('v', false, 0, 0), similar.Drawn('v', false, 0, 0))
	const line = "seven vivid verses, every one of them read"
	for _, fonts := range [][]*text.Font{{similar, right}, {right, similar}} {
		p := blank(640, 380, black)
		write(p, right, image.Pt(0, 0), grey, black, line)
		g, err := text.Reader{Fonts: fonts}.Read(p)
		require.NoError(t, err)
		require.Equal(t, line, g.Line(0))
		require.Equal(t, "ovmf", g.Font.Name)
	}
	// A font that lacks a character is still taken if there is no better one.
	p := blank(640, 380, black)
	write(p, right, image.Pt(0, 0), grey, black, line)
	g, err := text.Reader{Fonts: []*text.Font{font(t, "beacon"), similar}}.Read(p)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(line, "v", "\uFFFD"), g.Line(0))
}

func TestAMemoryIsTriedFirstAndForgottenWhenItNoLongerFits(t *testing.T) {
	a, b := font(t, "ovmf"), font(t, "beacon")
	fonts := []*text.Font{b, a}
	var m text.Memory
	r := text.Reader{Fonts: fonts, Memory: &m}
	for range 2 {
		for _, f := range []*text.Font{a, a, b} {
			p := blank(640, 400, black)
			write(p, f, image.Pt(5, 3), white, black, "some text", "with two lines")
			g, err := r.Read(p)
			require.NoError(t, err)
			require.Equal(t, f.Name, g.Font.Name)
			require.Contains(t, g.Text(), "with two lines")
		}
	}
	// A font that is no longer looked for is not found, although it is remembered.
	p := blank(640, 400, black)
	write(p, b, image.Pt(5, 3), white, black, "some text")
	_, err := text.Reader{Fonts: []*text.Font{a}, Memory: &m}.Read(p)
	require.ErrorIs(t, err, text.ErrNoText)
}

// With a guest's many fonts.
func BenchmarkReadAgainWithAMemory(b *testing.B) {
	fonts := slices.Concat(slices.Repeat([]*text.Font{font(b, "beacon")}, 12), text.Fonts())
	r := text.Reader{Fonts: fonts, Memory: new(text.Memory)}
	p := ovmf(b)
	for range b.N {
		if _, err := r.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

// The search looks only where something is drawn. A pixel in the last corner makes that everywhere.
func TestTextIsFoundAtTheEdgesOfWhatIsDrawn(t *testing.T) {
	f := font(t, "ovmf")
	for _, origin := range []image.Point{{3, 5}, {321, 203}, {640 - 8*9, 400 - 19}, {640 - 8*9 - 3, 2}, {5, 400 - 19 - 2}} {
		for _, corner := range []bool{false, true} {
			p := blank(640, 400, black)
			write(p, f, origin, white, black, "any place")
			if corner {
				set(p, 639, 399, grey)
			}
			g, err := text.Reader{Fonts: []*text.Font{f}}.Read(p)
			require.NoError(t, err, origin)
			hits := g.Find(regexp.MustCompile("any plac"), image.Rectangle{})
			require.Len(t, hits, 1, "%v\n%s", origin, g.Text())
			require.Equal(t, origin, hits[0].Rect.Min)
		}
	}
	for _, p := range []*pixmap.Picture{{}, blank(1, 1, grey), blank(640, 400, grey)} {
		_, err := text.Reader{}.Read(p)
		require.ErrorIs(t, err, text.ErrNoText)
	}
}

func TestAPatternIsFoundInARegionWithTheEdgesThatItHas(t *testing.T) {
	f := font(t, "ovmf")
	p := blank(400, 300, black)
	write(p, f, image.Pt(0, 0), white, black, "ab login: cd", "login: x", "  login:")
	g, err := text.Reader{}.Read(p)
	require.NoError(t, err)
	re := regexp.MustCompile(`^login:`)
	require.Equal(t, []text.Hit{{Text: "login:", Col: 0, Row: 1, Rect: image.Rect(0, 19, 48, 38)}}, g.Find(re, image.Rectangle{}))
	require.Equal(t, []text.Hit{{Text: "login:", Col: 3, Row: 0, Rect: image.Rect(24, 0, 72, 19)}}, g.Find(re, image.Rect(24, 0, 400, 25)))
	require.Equal(t, []text.Hit{{Text: "login:", Col: 3, Row: 0, Rect: image.Rect(24, 0, 72, 19)}}, g.Find(regexp.MustCompile(`login:$`), image.Rect(0, 0, 80, 19)))
	// A prompt ends with a space, and with nothing else.
	for pattern, n := range map[string]int{`login: $`: 1, `login: `: 3, `login:  `: 1, `login:$`: 1, `cd $`: 1, `cd x`: 0} {
		require.Len(t, g.Find(regexp.MustCompile(pattern), image.Rectangle{}), n, pattern)
	}
	require.Empty(t, g.Find(re, image.Rect(25, 0, 400, 300)))
	require.Empty(t, g.Find(re, image.Rect(390, 290, 400, 300)))
}

func TestACursorUnderACharacterLeavesItReadableAndTwoAreNone(t *testing.T) {
	f := font(t, "ovmf")
	p := blank(400, 300, black)
	write(p, f, image.Pt(0, 0), white, black, "Shell> halt")
	under := func(col, from, to int) {
		for y := from; y < to; y++ {
			for x := range 8 {
				set(p, col*8+x, y, white)
			}
		}
	}
	under(8, 16, 19)
	g, err := text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "Shell> halt", g.Text())
	col, row, ok := g.Cursor()
	require.Equal(t, []any{8, 0, true}, []any{col, row, ok})
	under(10, 16, 19)
	g, err = text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "Shell> h�l�", g.Text())
	_, _, ok = g.Cursor()
	require.False(t, ok)
	// A cursor hides the difference between a space and an underscore.
	p = blank(400, 300, black)
	write(p, f, image.Pt(0, 0), white, black, "Shell> ")
	under(7, 13, 16)
	g, err = text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Equal(t, text.Cell{Rune: text.Unknown, Also: []rune{' ', '_', '¸'}, FG: white, BG: black, Cursor: true}, g.At(7, 0))
	require.Equal(t, 1, g.UnknownCells())
	require.Zero(t, g.Misfits())
	// At the end of a line it is taken for the place behind the text; within one it stays unknown.
	prompt := regexp.MustCompile("Shell> $")
	require.Len(t, g.Find(prompt, image.Rectangle{}), 1)
	write(p, f, image.Pt(8*8, 0), white, black, "x")
	g, err = text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Empty(t, g.Find(prompt, image.Rectangle{}))
	require.Empty(t, g.Find(regexp.MustCompile("Shell>  x"), image.Rectangle{}))
	// A cell that equals no glyph is not the end of a line, and a misfit.
	p = blank(400, 300, black)
	write(p, f, image.Pt(0, 0), white, black, "Shell> ")
	set(p, 7*8+3, 3, white)
	g, err = text.Reader{}.Read(p)
	require.NoError(t, err)
	require.Empty(t, g.Find(prompt, image.Rectangle{}))
	require.Equal(t, 1, g.Misfits())
}

// psf makes a font file of each version.
func psf(version int, f *text.Font) []byte {
	var b bytes.Buffer
	runes := f.Runes()
	n := 256
	if version == 2 {
		n = len(runes)
	}
	w := (f.Width + 7) / 8
	if version == 1 {
		b.Write([]byte{0x36, 0x04, 2, byte(f.Height)})
	} else {
		for _, v := range []int{0x864ab572, 0, 32, 1, n, w * f.Height, f.Height, f.Width} {
			binary.Write(&b, binary.LittleEndian, uint32(v))
		}
	}
	for i := range n {
		glyph := make([]byte, w*f.Height)
		for y := range f.Height {
			for x := range f.Width {
				if i < len(runes) && f.Drawn(runes[i], false, x, y) {
					glyph[y*w+x/8] |= 0x80 >> (x % 8)
				}
			}
		}
		b.Write(glyph)
	}
	for i := range n {
		if i < len(runes) && version == 1 {
			binary.Write(&b, binary.LittleEndian, []uint16{uint16(runes[i]), 0xfffe, 'x', 0x301})
		} else if i < len(runes) {
			b.WriteString(string(runes[i]))
			b.WriteString("\xfex\u0301")
		}
		if version == 1 {
			b.Write([]byte{0xff, 0xff})
		} else {
			b.WriteByte(0xff)
		}
	}
	return b.Bytes()
}

func TestPSFFontsOfBothVersionsAreReadAlsoCompressed(t *testing.T) {
	f := font(t, "ovmf")
	dir := t.TempDir()
	for version := 1; version <= 2; version++ {
		data := psf(version, f)
		got, err := text.ParsePSF("ovmf", data)
		require.NoError(t, err)
		want, err := text.ParseHex("ovmf", f.Hex())
		require.NoError(t, err)
		body := func(f *text.Font) string {
			_, glyphs, _ := strings.Cut(string(f.Hex()), "0021:")
			return glyphs
		}
		require.Equal(t, body(want), body(got))
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err = w.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		path := filepath.Join(dir, "some.psf.gz")
		require.NoError(t, os.WriteFile(path, z.Bytes(), 0o600))
		got, err = text.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, []string{"some", path}, []string{got.Name, got.Source})
		require.Equal(t, body(want), body(got))
		for n := range data {
			_, err := text.ParsePSF("short", data[:n])
			require.Error(t, err, "version %d, %d bytes", version, n)
		}
	}
	data := psf(1, f)
	data[2] = 0
	_, err := text.ParsePSF("x", data)
	require.ErrorContains(t, err, "no Unicode table")
	_, err = text.ReadFile(filepath.Join(dir, "no.psf"))
	require.ErrorContains(t, err, "font: ")
}

func TestAFontInTextIsRefusedWithTheLine(t *testing.T) {
	head := "# size: 8x2\n"
	for in, want := range map[string]string{
		"":                            "no glyphs",
		"0041:0011":                   "line 1: a glyph before the line",
		"# size: 8":                   `line 1: size is "8"`,
		"# size: 800x2":               "line 1: glyphs of 800×2 pixels",
		head + "0041:00":              "line 2: want a character's number, a colon and 4 hexadecimal digits",
		head + "41;0011":              "line 2: want",
		head + "d800:0011":            "line 2: want",
		head + "41:0011\n0041:0011":   "line 3: character 0041 is there twice",
		head + "# bold: thick":        `line 2: bold is "thick"`,
		head + "41:0011\n# size: 8x3": "line 3: a second size",
	} {
		_, err := text.ParseHex("x", []byte(in))
		require.ErrorContains(t, err, want, in)
	}
}

// VGA's text modes have cells of nine pixels of a font of eight.
func TestInCellsOfNinePixelsLinesAreContinuousAndLettersApart(t *testing.T) {
	f := font(t, "ovmf")
	nine := f.NineWide()
	p := blank(720, 400, black)
	write(p, nine, image.Pt(0, 0), white, black, "╔══╗ Main", "║ab║ Help")
	require.Equal(t, white, p.At(8, 7), "the line is broken")
	require.Equal(t, black, p.At(5*9+8, 7))
	g, err := text.Reader{Fonts: []*text.Font{f, nine}}.Read(p)
	require.NoError(t, err)
	require.Equal(t, "ovmf-9 9×19", g.Font.String())
	require.Equal(t, "╔══╗ Main\n║ab║ Help", g.Text())
}

func TestAFontIsLearntFromAScreenWhoseTextIsKnown(t *testing.T) {
	f := font(t, "ovmf")
	learnt, err := text.Learn("learnt", ovmf(t), 8, 19, image.Pt(240, 105), strings.Split(ovmfShell, "\n"))
	require.NoError(t, err)
	require.Equal(t, f.Runes(), learnt.Runes())
	for _, r := range f.Runes() {
		for i := range 8 * 19 {
			require.Equal(t, f.Drawn(r, false, i%8, i/8), learnt.Drawn(r, false, i%8, i/8), "%q", r)
		}
	}
	for lines, want := range map[string]string{
		"Shell> help": "",
		"Shell> heep": `'e' in line 1, column 10: it looks different elsewhere`,
		"Shell> hfxp": `'f' in line 1, column 9: it looks like 'e'`,
		"Shell>xhelp": `'x' in line 1, column 7: the cell is empty`,
		"Shell> help" + strings.Repeat(" ", 60) + "x": `is not within the picture`,
		"   ": "the text has no characters",
	} {
		p := blank(400, 300, black)
		shown := "Shell> help"
		write(p, f, image.Pt(0, 0), white, black, shown)
		_, err := text.Learn("x", p, 8, 19, image.Point{}, []string{lines})
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want, lines)
	}
}

func FuzzParsePSF(f *testing.F) {
	one := make([]byte, 4+256*2)
	copy(one, []byte{0x36, 0x04, 2, 2})
	for range 256 {
		one = append(one, 'a', 0, 0xff, 0xff)
	}
	two, _ := hex.DecodeString("72b54a86" + "00000000" + "20000000" + "01000000" + "01000000" + "02000000" + "02000000" + "08000000" + "1824" + "41ff")
	f.Add(one)
	f.Add(two)
	if _, err := text.ParsePSF("seed", one); err != nil {
		f.Fatal(err)
	}
	if _, err := text.ParsePSF("seed", two); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		font, err := text.ParsePSF("x", b)
		if err != nil {
			return
		}
		for _, r := range font.Runes() {
			font.Drawn(r, false, font.Width-1, font.Height-1)
		}
		_, _ = text.Reader{Fonts: []*text.Font{font}}.Read(blank(40, 40, black))
	})
}

func BenchmarkReadAGridOf100By31(b *testing.B) {
	p := blank(800, 600, black)
	r := rand.New(rand.NewPCG(1, 1))
	f := font(b, "ovmf")
	for i := range 100 * 31 {
		if r.IntN(2) == 0 {
			draw(p, f, image.Pt(i%100*8, 5+i/100*19), rune('!'+r.IntN(94)), false, grey, black)
		}
	}
	for b.Loop() {
		g, err := text.Reader{Fonts: []*text.Font{f}, Origin: &image.Point{X: 0, Y: 5}}.Read(p)
		if err != nil || g.UnknownCells() != 0 {
			b.Fatal(err)
		}
	}
}

// A console that has printed nothing yet is looked at again and again.
func BenchmarkFindNothingOnAnEmptyScreenWithACursor(b *testing.B) {
	p := blank(1280, 800, black)
	for i := range 8 {
		set(p, i, 14, grey)
		set(p, i, 15, grey)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := (text.Reader{}).Read(p); err == nil {
			b.Fatal("it found text")
		}
	}
}

func BenchmarkFindTheGridWhereNobodyKnowsIt(b *testing.B) {
	p := blank(1280, 800, black)
	write(p, font(b, "ovmf"), image.Pt(3, 7), white, black, "F2 Setup", "F12 Boot")
	for b.Loop() {
		if _, err := (text.Reader{}).Read(p); err != nil {
			b.Fatal(err)
		}
	}
}
