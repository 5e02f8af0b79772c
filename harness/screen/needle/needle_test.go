package needle_test

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/internal/need"
)

// A needle with every feature of the format, as several programs write it.
const everything = `{
   "area" : [
      { "xpos" : 8, "ypos" : 4, "width" : 30, "height" : 12, "type" : "match", "match" : 97, "margin" : 20,
        "click_point" : {"xpos" : 3, "ypos" : 5}, "processing_flags" : "", "max_offset" : 7 },
      { "xpos" : "10", "ypos" : 6, "width" : 4, "height" : 4, "type" : "exclude" },
      { "width" : 8, "height" : 8, "match" : "96.5" },
      { "xpos" : 0, "ypos" : 20, "width" : 40, "height" : 9, "type" : "ocr", "refstr" : "Wëlcome <1>" }
   ],
   "properties" : [ "workaround", {"name" : "fixed-in", "value" : "3.1"}, {"name": "bare", "since": 7} ],
   "tags" : ["ENV-DISTRI-tux", "login"],
   "comment" : {"by" : ["someone"], "when" : 1.50}
}
`

func margin(m int) *int { return &m }

func TestANeedleIsParsedWithEverythingThatTheFormatHas(t *testing.T) {
	n, err := needle.Parse([]byte(everything))
	require.NoError(t, err)
	require.Equal(t, []string{"ENV-DISTRI-tux", "login"}, n.Tags)
	require.Len(t, n.Areas, 4)
	a := n.Areas[0]
	require.Equal(t, image.Rect(8, 4, 38, 16), a.Rect())
	require.Equal(t, needle.TypeMatch, a.Type)
	require.Equal(t, 97.0, a.Need())
	require.Equal(t, 20, a.SearchMargin())
	require.Equal(t, &needle.Click{X: 3, Y: 5}, a.Click)
	require.Equal(t, image.Rect(10, 6, 14, 10), n.Areas[1].Rect())
	require.Equal(t, needle.TypeExclude, n.Areas[1].Type)
	require.Equal(t, image.Rect(0, 0, 8, 8), n.Areas[2].Rect())
	require.Equal(t, needle.TypeMatch, n.Areas[2].Type)
	require.Equal(t, 96.5, n.Areas[2].Need())
	require.Equal(t, needle.DefaultMargin, n.Areas[2].SearchMargin())
	require.Equal(t, needle.TypeOCR, n.Areas[3].Type)
	require.True(t, n.HasProperty("workaround"))
	require.Equal(t, "3.1", n.Properties[1].Value)
	require.True(t, n.HasTags("login ENV-DISTRI-tux"))
	require.False(t, n.HasTags("login other"))
	require.False(t, n.HasTags(""))
}

func TestANeedleThatIsReadAndWrittenHasNotChangedByAByte(t *testing.T) {
	n, err := needle.Parse([]byte(everything))
	require.NoError(t, err)
	b, err := n.Encode()
	require.NoError(t, err)
	require.Equal(t, everything, string(b))
}

func TestAChangeOfANeedleLosesNothingElse(t *testing.T) {
	n, err := needle.Parse([]byte(everything))
	require.NoError(t, err)
	n.Areas[0].X = 9
	n.Areas[0].Margin = nil
	n.Areas[0].Click = &needle.Click{Center: true}
	n.Areas = append(n.Areas[:1:1], n.Areas[2], n.Areas[3], needle.Area{X: 1, Y: 2, Width: 3, Height: 4, Type: needle.TypeExclude, Margin: margin(0)})
	n.Tags = append(n.Tags, "new")
	n.Properties = append(n.Properties, needle.Property{Name: "a"}, needle.Property{Name: "b", Value: "c"})
	b, err := n.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{
		"area": [
			{"xpos": 9, "ypos": 4, "width": 30, "height": 12, "type": "match", "match": 97, "click_point": "center", "processing_flags": "", "max_offset": 7},
			{"width": 8, "height": 8, "match": "96.5"},
			{"xpos": 0, "ypos": 20, "width": 40, "height": 9, "type": "ocr", "refstr": "Wëlcome <1>"},
			{"xpos": 1, "ypos": 2, "width": 3, "height": 4, "type": "exclude", "margin": 0}
		],
		"properties": ["workaround", {"name": "fixed-in", "value": "3.1"}, {"name": "bare", "since": 7}, "a", {"name": "b", "value": "c"}],
		"tags": ["ENV-DISTRI-tux", "login", "new"],
		"comment": {"by": ["someone"], "when": 1.50}
	}`, string(b))
	again, err := needle.Parse(b)
	require.NoError(t, err)
	twice, err := again.Encode()
	require.NoError(t, err)
	require.Equal(t, string(b), string(twice))
}

// The margin and the click are pointers, and a program may change their values.
func TestAMarginAndAClickThatAreChangedInPlaceAreWritten(t *testing.T) {
	n, err := needle.Parse([]byte(everything))
	require.NoError(t, err)
	*n.Areas[0].Margin, n.Areas[0].Click.X = 3, 7
	b, err := n.Encode()
	require.NoError(t, err)
	again, err := needle.Parse(b)
	require.NoError(t, err)
	require.Equal(t, 3, again.Areas[0].SearchMargin())
	require.Equal(t, &needle.Click{X: 7, Y: 5}, again.Areas[0].Click)
}

func TestASimilarityThatIsNoNumberIsRefused(t *testing.T) {
	area := needle.Area{Width: 3, Height: 4, Type: needle.TypeMatch, Match: math.NaN()}
	_, err := needle.New("x", []needle.Area{area}, nil, picture(10, 10))
	require.ErrorContains(t, err, "match is NaN: want a percentage from 0 to 100")
}

func TestANewNeedleIsWrittenAsOthersReadIt(t *testing.T) {
	n, err := needle.New("x", []needle.Area{{X: 1, Y: 2, Width: 3, Height: 4, Type: needle.TypeMatch, Match: 95}}, []string{"a"}, picture(10, 10))
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "new")
	require.NoError(t, n.Save(dir))
	b, err := os.ReadFile(filepath.Join(dir, "x.json"))
	require.NoError(t, err)
	require.Equal(t, `{
  "area": [
    {
      "height": 4,
      "match": 95,
      "type": "match",
      "width": 3,
      "xpos": 1,
      "ypos": 2
    }
  ],
  "properties": [],
  "tags": [
    "a"
  ]
}
`, string(b))
	d, err := needle.Open(dir)
	require.NoError(t, err)
	r, err := d.Match(t.Context(), needle.Query{Tag: "a"}, picture(10, 10))
	require.NoError(t, err)
	require.True(t, r.Matched())
	_, err = needle.New("a/b", n.Areas, nil, picture(10, 10))
	require.ErrorContains(t, err, "want a name that can be a file's")
}

func TestWhatIsNoNeedleIsRefusedWithTheReason(t *testing.T) {
	area := func(s string) string { return `{"area": [{"width": 4, "height": 4}, ` + s + `]}` }
	for text, want := range map[string]string{
		"":                              "unexpected end",
		"{\n\"area\": [\n,":             "line 3",
		"[]":                            "want an object",
		`{"area": 7}`:                   "area: want a list, got number",
		`{"tags": "login", "area": []}`: "tags: want a list of strings, got string",
		`{"tags": ["x"]}`:               "no area of type match or ocr",
		`{"area": [{"type": "exclude", "width": 1, "height": 1}]}`:               "no area of type match or ocr",
		area(`{"type": "blur", "width": 1, "height": 1}`):                        `area 2: type is "blur": want match, exclude or ocr`,
		area(`{"type": 7, "width": 1, "height": 1}`):                             `type is 7`,
		area(`{"xpos": -1, "width": 1, "height": 1}`):                            "area 2: 1×1 pixels at (-1,0)",
		area(`{"width": 0, "height": 1}`):                                        "area 2: 0×1 pixels",
		area(`{"width": 1.5, "height": 1}`):                                      "width is 1.5: want a whole number",
		area(`{"width": 1e300, "height": 1}`):                                    "width is 1e300: want a number",
		area(`{"width": "wide", "height": 1}`):                                   `width is "wide": want a number`,
		area(`{"width": 1, "height": 1, "match": 101}`):                          "match is 101: want a percentage",
		area(`{"width": 1, "height": 1, "match": -1}`):                           "match is -1",
		area(`{"width": 1, "height": 1, "margin": -5}`):                          "margin is -5",
		area(`{"width": 1, "height": 1, "margin": 99999}`):                       "margin is 99999",
		area(`{"width": 1, "height": 1, "click_point": "left"}`):                 `"left": want "center"`,
		area(`{"width": 1, "height": 1, "click_point": {"xpos": 1, "ypos": 0}}`): "click_point (1,0) is outside the area",
		area(`{"width": 1, "height": 1, "width": 2}`):                            `"width" is there twice`,
		area(`7`): "want an object, not 7",
		`{"area": [{"width": 1, "height": 1, "click_point": "center"}, {"width": 1, "height": 1, "click_point": "center"}]}`: "2 areas have a click_point",
		`{"area": [{"width": 1, "height": 1}], "properties": [{"value": 1}]}`:                                                "has no name",
	} {
		_, err := needle.Parse([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}

// picture returns a picture in which neighbouring pixels differ.
func picture(w, h int) *pixmap.Picture {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x * 7), uint8(y * 5), uint8(x*y + x), 255})
		}
	}
	return pixmap.Of(img)
}

// changed returns p with one pixel of another colour.
func changed(p *pixmap.Picture, x, y int, c pixmap.RGB) *pixmap.Picture {
	q := p.Crop(p.Bounds())
	copy(q.Pix[y*q.Stride+4*x:], []byte{c.R, c.G, c.B})
	return q
}

// writePair writes a needle's two files.
func writePair(t *testing.T, dir, name, text string, img image.Image) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600))
	if img == nil {
		return
	}
	f, err := os.Create(filepath.Join(dir, name+".png"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, png.Encode(f, img))
}

func match(t *testing.T, n *needle.Needle, q needle.Query, p *pixmap.Picture) *needle.Result {
	t.Helper()
	r, err := needle.Match(t.Context(), []*needle.Needle{n}, q, p)
	require.NoError(t, err)
	return r
}

func newNeedle(t *testing.T, p *pixmap.Picture, areas ...needle.Area) *needle.Needle {
	t.Helper()
	n, err := needle.New("n", areas, []string{"tag"}, p)
	require.NoError(t, err)
	return n
}

func TestOnePixelOneColourOrOneStepFarTooFarIsNoMatch(t *testing.T) {
	p := picture(40, 30)
	area := needle.Area{X: 10, Y: 8, Width: 12, Height: 9, Type: needle.TypeMatch, Margin: margin(3)}
	n := newNeedle(t, p, area)
	r := match(t, n, needle.Query{Tag: "tag"}, p)
	require.True(t, r.Matched())
	require.Equal(t, `"tag" is on the screen: needle n, area 1 at (10,8) is equal`, r.String())

	off := p.At(21, 16)
	off.B++
	r = match(t, n, needle.Query{Tag: "tag"}, changed(p, 21, 16, off))
	require.False(t, r.Matched())
	require.Equal(t, fmt.Sprintf(`"tag" is not on the screen: needle n, area 1 at (10,8) has only 99.99 %% of the 100 %% that it needs: 1 of 108 pixels differ, the first at (21,16), which is %v and should be %v`,
		off, p.At(21, 16)), r.String())
	require.True(t, match(t, n, needle.Query{}, changed(p, 22, 16, off)).Matched(), "a pixel beside the area counts")

	for far, want := range map[int]bool{3: true, 4: false} {
		moved := picture(40, 30)
		for y := range 30 {
			for x := range 40 {
				c := p.At((x+far)%40, y)
				copy(moved.Pix[y*moved.Stride+4*x:], []byte{c.R, c.G, c.B})
			}
		}
		r = match(t, n, needle.Query{}, moved)
		require.Equal(t, want, r.Matched(), far)
		if want {
			require.Equal(t, image.Rect(7, 8, 19, 17), r.Match.Areas[0].At)
			require.Contains(t, r.String(), "at (7,8) instead of (10,8) is equal")
		}
	}
}

// Only equal pixels have a similarity of more than 99.99 %.
func TestAnAreaThatNeedsAlmostAllMatchesIfItIsEqual(t *testing.T) {
	p := picture(40, 30)
	area := needle.Area{X: 5, Y: 5, Width: 10, Height: 10, Type: needle.TypeMatch, Match: 99.995}
	n := newNeedle(t, p, area)
	require.True(t, match(t, n, needle.Query{}, p).Matched())
	masked := needle.Query{Masks: []image.Rectangle{image.Rect(6, 6, 8, 8)}}
	require.True(t, match(t, n, masked, p).Matched())
	c := p.At(9, 9)
	c.R ^= 1
	require.False(t, match(t, n, needle.Query{}, changed(p, 9, 9, c)).Matched())
	require.False(t, match(t, n, masked, changed(p, 9, 9, c)).Matched())
}

func TestOfAlternativesTheBestIsNamedAndOfLosersTheNearest(t *testing.T) {
	p := picture(40, 30)
	area := needle.Area{X: 10, Y: 8, Width: 12, Height: 9, Type: needle.TypeMatch, Match: 90, Margin: margin(0)}
	lighter := func(p *pixmap.Picture, x, y int) *pixmap.Picture {
		c := p.At(x, y)
		c.G += 60
		return changed(p, x, y, c)
	}
	worse := lighter(lighter(p, 12, 9), 13, 9)
	bad, err := needle.New("bad", []needle.Area{area}, nil, worse)
	require.NoError(t, err)
	good, err := needle.New("good", []needle.Area{area}, nil, lighter(p, 12, 9))
	require.NoError(t, err)
	exact := area
	exact.Match = 0
	best, err := needle.New("zbest", []needle.Area{exact}, nil, p)
	require.NoError(t, err)
	r, err := needle.Match(t.Context(), []*needle.Needle{bad, good, best}, needle.Query{Tag: "t"}, p)
	require.NoError(t, err)
	require.Equal(t, "zbest", r.Match.Needle.Name)
	r, err = needle.Match(t.Context(), []*needle.Needle{bad, good}, needle.Query{Tag: "t"}, p)
	require.NoError(t, err)
	require.Equal(t, "good", r.Match.Needle.Name)
	require.Less(t, r.Match.Areas[0].Similarity, 99.0)
	// Among equal needles, a workaround wins, so that people notice it; then the name decides.
	copied, err := needle.New("zcopy", []needle.Area{exact}, nil, p)
	require.NoError(t, err)
	r, err = needle.Match(t.Context(), []*needle.Needle{copied, best}, needle.Query{}, p)
	require.NoError(t, err)
	require.Equal(t, "zbest", r.Match.Needle.Name)
	copied.Properties = []needle.Property{{Name: "workaround"}}
	r, err = needle.Match(t.Context(), []*needle.Needle{best, copied}, needle.Query{}, p)
	require.NoError(t, err)
	require.Equal(t, "zcopy", r.Match.Needle.Name)

	bad.Areas[0].Match, good.Areas[0].Match = 0, 0
	r, err = needle.Match(t.Context(), []*needle.Needle{bad, good}, needle.Query{Tag: "t"}, p)
	require.NoError(t, err)
	require.False(t, r.Matched())
	require.Equal(t, "good", r.Nearest.Needle.Name)
	require.Contains(t, r.String(), "the nearest of 2 needles is needle good, area 1")
	require.Equal(t, 1, r.Nearest.Areas[0].Differ)
}

func TestEveryAreaOfANeedleMustMatch(t *testing.T) {
	p := picture(40, 30)
	n := newNeedle(t, p,
		needle.Area{X: 0, Y: 0, Width: 8, Height: 8, Type: needle.TypeMatch, Margin: margin(0)},
		needle.Area{X: 30, Y: 20, Width: 8, Height: 8, Type: needle.TypeMatch, Margin: margin(0)})
	require.True(t, match(t, n, needle.Query{}, p).Matched())
	r := match(t, n, needle.Query{}, changed(p, 31, 21, pixmap.RGB{}))
	require.False(t, r.Matched())
	require.True(t, r.Nearest.Areas[0].OK)
	require.False(t, r.Nearest.Areas[1].OK)
	require.Equal(t, image.Pt(31, 21), r.Nearest.Areas[1].First)
}

func TestExcludedAndMaskedPixelsAreNotComparedAndOthersAre(t *testing.T) {
	p := picture(40, 30)
	n := newNeedle(t, p,
		needle.Area{X: 4, Y: 4, Width: 20, Height: 10, Type: needle.TypeMatch, Margin: margin(0)},
		needle.Area{X: 6, Y: 6, Width: 3, Height: 2, Type: needle.TypeExclude})
	require.True(t, match(t, n, needle.Query{}, changed(p, 8, 7, pixmap.RGB{})).Matched())
	require.False(t, match(t, n, needle.Query{}, changed(p, 9, 7, pixmap.RGB{})).Matched())
	mask := needle.Query{Masks: []image.Rectangle{image.Rect(9, 5, 12, 9)}}
	require.True(t, match(t, n, mask, changed(p, 9, 7, pixmap.RGB{})).Matched())
	require.False(t, match(t, n, mask, changed(p, 12, 7, pixmap.RGB{})).Matched())
	// Hidden pixels prove nothing.
	half := needle.Query{Masks: []image.Rectangle{image.Rect(0, 0, 40, 10)}}
	r := match(t, n, half, p)
	require.False(t, r.Matched())
	require.Contains(t, r.String(), "masks cover more than half of it")
	_, err := needle.New("n", []needle.Area{{X: 4, Y: 4, Width: 2, Height: 2, Type: needle.TypeMatch}, {X: 3, Y: 3, Width: 9, Height: 9, Type: needle.TypeExclude}}, nil, p)
	require.EqualError(t, err, "needle n: area 1 is excluded completely: it would match every screen")
}

func TestAScreenOfAnotherSizeMatchesOnlyIfScalingIsAskedFor(t *testing.T) {
	p := picture(40, 30)
	n := newNeedle(t, p, needle.Area{X: 10, Y: 8, Width: 12, Height: 9, Type: needle.TypeMatch, Margin: margin(0), Click: &needle.Click{X: 1, Y: 2}})
	twice := p.Scaled(80, 60)
	r := match(t, n, needle.Query{Tag: "tag"}, twice)
	require.False(t, r.Matched())
	require.Contains(t, r.String(), "its picture has 40×30 pixels, the screen has 80×60")
	r = match(t, n, needle.Query{Scale: true, Masks: []image.Rectangle{image.Rect(20, 16, 22, 18)}}, changed(twice, 20, 16, pixmap.RGB{R: 1}))
	require.True(t, r.Matched())
	require.Equal(t, image.Rect(20, 16, 44, 34), r.Match.Areas[0].At)
	require.Equal(t, image.Pt(22, 20), r.Match.ClickPoint())
	require.False(t, match(t, n, needle.Query{Scale: true}, changed(changed(twice, 21, 17, pixmap.RGB{R: 1}), 20, 16, pixmap.RGB{R: 1})).Matched())
}

func TestTheClickPointIsTheNeedlesOrTheMiddleOfTheLastArea(t *testing.T) {
	p := picture(40, 30)
	first := needle.Area{X: 0, Y: 0, Width: 8, Height: 6, Type: needle.TypeMatch, Margin: margin(0)}
	last := needle.Area{X: 20, Y: 10, Width: 8, Height: 6, Type: needle.TypeMatch, Margin: margin(0)}
	click := func() image.Point {
		return match(t, newNeedle(t, p, first, last), needle.Query{}, p).Match.ClickPoint()
	}
	require.Equal(t, image.Pt(24, 13), click())
	first.Click = &needle.Click{Center: true}
	require.Equal(t, image.Pt(4, 3), click())
	first.Click = nil
	last.Click = &needle.Click{X: 0, Y: 5}
	require.Equal(t, image.Pt(20, 15), click())
}

func TestADirectoryIsReadWithItsSubdirectoriesAndABadFileHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	p := picture(40, 30)
	ok := `{"area": [{"xpos": 1, "ypos": 1, "width": 9, "height": 9}], "tags": ["a", "b"]}`
	writePair(t, dir, "one", ok, p.Image())
	writePair(t, filepath.Join(dir, "sub"), "two", strings.Replace(ok, `"b"`, `"c"`, 1), p.Image())
	writePair(t, dir, "broken", `{`, nil)
	writePair(t, dir, "lonely", strings.Replace(ok, `"a", "b"`, `"lonely-tag"`, 1), nil)
	writePair(t, dir, "outside", strings.NewReplacer(`"width": 9`, `"width": 40`, `"a", "b"`, `"out"`).Replace(ok), p.Image())
	writePair(t, dir, "text", strings.NewReplacer(`"width"`, `"type": "ocr", "width"`, `"a", "b"`, `"ocr"`).Replace(ok), p.Image())
	writePair(t, filepath.Join(dir, ".git"), "hidden", ok, p.Image())
	d, err := needle.Open(dir)
	require.NoError(t, err)
	require.Len(t, d.Problems, 1)
	require.ErrorContains(t, d.Problems[0].Err, filepath.Join(dir, "broken.json")+": line 1: unexpected end")
	r, err := d.Match(t.Context(), needle.Query{Tag: "a"}, p)
	require.NoError(t, err)
	require.Equal(t, 2, r.Candidates)
	require.Equal(t, "one", r.Match.Needle.Name)
	r, err = d.Match(t.Context(), needle.Query{Tag: "c a"}, p)
	require.NoError(t, err)
	require.Equal(t, "two", r.Match.Needle.Name)
	r, err = d.Match(t.Context(), needle.Query{Tag: "two"}, p)
	require.NoError(t, err)
	require.Equal(t, "two", r.Match.Needle.Name)
	tesseract(t, "echo Welcome")
	r, err = d.Match(t.Context(), needle.Query{Tag: "ocr"}, p)
	require.NoError(t, err)
	require.True(t, r.RestsOnOCR())
	for tag, want := range map[string]string{
		"broken":     "broken.json: line 1",
		"lonely-tag": "lonely.png: no such file",
		"out":        "needle outside: area 1, 40×9 pixels at (1,1), is not within the picture, which has 40×30",
		"lonly-tag":  `has the tag or the name "lonly-tag" (did you mean "lonely-tag"?); 1 files there are no needles`,
		"":           `has the tag or the name ""`,
	} {
		_, err := d.Match(t.Context(), needle.Query{Tag: tag}, p)
		require.ErrorContains(t, err, want, tag)
	}
	_, err = needle.Open(filepath.Join(dir, "nothing"))
	require.ErrorContains(t, err, "needles: ")
}

func TestPalettePicturesAndThoseOf16BitsAreReferencesToo(t *testing.T) {
	palette := color.Palette{color.NRGBA{0, 0, 0, 255}, color.NRGBA{17, 200, 3, 255}, color.NRGBA{255, 255, 255, 255}}
	r := image.Rect(0, 0, 12, 10)
	plain, indexed, deep := image.NewNRGBA(r), image.NewPaletted(r, palette), image.NewNRGBA64(r)
	for i := range 120 {
		c := palette[i*i%3]
		for _, img := range []interface{ Set(x, y int, c color.Color) }{plain, indexed, deep} {
			img.Set(i%12, i/12, c)
		}
	}
	dir := t.TempDir()
	text := `{"area": [{"width": 12, "height": 10}], "tags": ["%s"]}`
	writePair(t, dir, "indexed", fmt.Sprintf(text, "indexed"), indexed)
	writePair(t, dir, "deep", fmt.Sprintf(text, "deep"), deep)
	d, err := needle.Open(dir)
	require.NoError(t, err)
	for _, tag := range []string{"indexed", "deep"} {
		r, err := d.Match(t.Context(), needle.Query{Tag: tag}, pixmap.Of(plain))
		require.NoError(t, err)
		require.True(t, r.Matched(), tag)
		r, err = d.Match(t.Context(), needle.Query{Tag: tag}, changed(pixmap.Of(plain), 11, 9, pixmap.RGB{R: 9}))
		require.NoError(t, err)
		require.False(t, r.Matched(), tag)
	}
}

func TestAMismatchLeavesReferenceScreenAndDifferenceOfEachArea(t *testing.T) {
	p := picture(40, 30)
	dir := t.TempDir()
	n := newNeedle(t, p,
		needle.Area{X: 0, Y: 0, Width: 8, Height: 6, Type: needle.TypeMatch, Margin: margin(0)},
		needle.Area{X: 20, Y: 10, Width: 8, Height: 6, Type: needle.TypeMatch, Margin: margin(0)},
		needle.Area{X: 27, Y: 15, Width: 1, Height: 1, Type: needle.TypeExclude})
	files, err := match(t, n, needle.Query{}, p).WriteEvidence(dir)
	require.NoError(t, err)
	require.Empty(t, files)
	screen := changed(p, 22, 11, pixmap.RGB{R: 1, G: 2, B: 3})
	files, err = match(t, n, needle.Query{}, screen).WriteEvidence(dir)
	require.NoError(t, err)
	var pics []*pixmap.Picture
	for i, name := range []string{"needle-n-screen.png", "needle-n-reference.png", "needle-n-area2.png"} {
		require.Equal(t, filepath.Join(dir, name), files[i])
		pic, err := pixmap.ReadFile(files[i])
		require.NoError(t, err)
		pics = append(pics, pic)
	}
	require.Len(t, files, 3)
	require.Equal(t, screen.Crop(screen.Bounds()), pics[0].Crop(screen.Bounds()))
	require.Equal(t, p.Crop(p.Bounds()), pics[1].Crop(p.Bounds()))
	diff := pics[2]
	require.Equal(t, image.Rect(0, 0, 8*3+2*4, 6), diff.Bounds())
	require.Equal(t, p.At(22, 11), diff.At(2, 1))
	require.Equal(t, pixmap.RGB{R: 1, G: 2, B: 3}, diff.At(12+2, 1))
	require.Equal(t, pixmap.RGB{R: 0xff}, diff.At(24+2, 1))
	require.Equal(t, pixmap.RGB{B: 0xc0}, diff.At(24+7, 5))
	c := p.At(23, 11)
	require.Equal(t, pixmap.RGB{R: c.R / 3, G: c.G / 3, B: c.B / 3}, diff.At(24+3, 1))
}

func TestADirectoryOf5000NeedlesIsReadAndOnlyPicturesThatAreAskedForAreOpened(t *testing.T) {
	need.Long(t)
	dir := t.TempDir()
	p := picture(40, 30)
	for i := range 5000 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%d.json", i)),
			[]byte(fmt.Sprintf(`{"area": [{"width": 9, "height": 9}], "tags": ["t%d"]}`, i)), 0o600))
	}
	// Only one of them has a picture.
	writePair(t, dir, "n77", `{"area": [{"width": 9, "height": 9}], "tags": ["t77"]}`, p.Image())
	d, err := needle.Open(dir)
	require.NoError(t, err)
	require.Len(t, d.Needles, 5000)
	r, err := d.Match(t.Context(), needle.Query{Tag: "t77"}, p)
	require.NoError(t, err)
	require.True(t, r.Matched())
	_, err = d.Match(t.Context(), needle.Query{Tag: "t78"}, p)
	require.ErrorContains(t, err, "n78.png")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(`{"area": [{"width": 1, "height": 1, "margin": "", "match": null, "type": null, "click_point": null}], "tags": null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := needle.Parse(b)
		if err != nil {
			return
		}
		same, err := n.Encode()
		require.NoError(t, err)
		require.Equal(t, b, same)
		n.Tags = append(n.Tags, "one more")
		more, err := n.Encode()
		require.NoError(t, err)
		again, err := needle.Parse(more)
		require.NoError(t, err)
		require.Equal(t, len(n.Areas), len(again.Areas))
		for i := range n.Areas {
			x, err := json.Marshal(n.Areas[i])
			require.NoError(t, err)
			y, err := json.Marshal(again.Areas[i])
			require.NoError(t, err)
			require.Equal(t, string(x), string(y))
		}
	})
}

func TestTheNeedleThatCameNearestIsReplacedByTheScreen(t *testing.T) {
	dir := t.TempDir()
	p := picture(40, 30)
	const text = `{ "area": [ {"xpos":10,"ypos":8,"width":12,"height":9,"type":"match","note":"kept"} ], "tags": ["t"] }`
	other := p.Crop(p.Bounds())
	for i := range other.Pix {
		if i%4 != 3 {
			other.Pix[i] ^= 0x80
		}
	}
	for _, name := range []string{"near", "far"} {
		n, err := needle.Parse([]byte(text))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600))
		made, err := needle.New(name, n.Areas, n.Tags, map[string]*pixmap.Picture{"near": changed(p, 12, 9, pixmap.RGB{}), "far": other}[name])
		require.NoError(t, err)
		require.NoError(t, made.Save(t.TempDir()))
		b, err := os.ReadFile(made.PNG())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), b, 0o600))
	}
	far, err := os.ReadFile(filepath.Join(dir, "far.png"))
	require.NoError(t, err)
	d, err := needle.Open(dir)
	require.NoError(t, err)
	screen := changed(p, 13, 9, pixmap.RGB{R: 1})
	r, err := d.Match(t.Context(), needle.Query{Tag: "t"}, screen)
	require.NoError(t, err)
	require.False(t, r.Matched())
	png, err := r.Replace(t.Context())
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "near.png"), png)
	d, err = needle.Open(dir)
	require.NoError(t, err)
	again, err := r.Again(t.Context(), d)
	require.NoError(t, err)
	require.True(t, again.Matched())
	b, err := os.ReadFile(filepath.Join(dir, "near.json"))
	require.NoError(t, err)
	require.Equal(t, text, string(b), "not a byte of it has changed")
	b, err = os.ReadFile(filepath.Join(dir, "far.png"))
	require.NoError(t, err)
	require.Equal(t, far, b)
	_, err = again.Replace(t.Context())
	require.ErrorContains(t, err, "matches: there is nothing to replace")
	r, err = d.Match(t.Context(), needle.Query{Tag: "t"}, picture(41, 30))
	require.NoError(t, err)
	_, err = r.Replace(t.Context())
	require.ErrorContains(t, err, "has 40×30 pixels, the screen has 41×30")
}

// A test that accepts new pictures must not pass with one that still does not match.
func TestANeedleThatWouldNotMatchWithTheScreenAsItsPictureEitherIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	p := picture(40, 30)
	tesseract(t, "echo Welcome")
	for name, kind := range map[string]string{"hidden": needle.TypeMatch, "read": needle.TypeOCR} {
		n, err := needle.New(name, []needle.Area{{X: 10, Y: 8, Width: 12, Height: 9, Type: kind, Text: "Bye"}}, nil, p)
		require.NoError(t, err)
		require.NoError(t, n.Save(dir))
	}
	d, err := needle.Open(dir)
	require.NoError(t, err)
	masks := map[string][]image.Rectangle{"hidden": {image.Rect(0, 0, 40, 30)}}
	for name, why := range map[string]string{"hidden": "masks cover more than half of it", "read": `reads "Welcome" and should read "Bye"`} {
		before, err := os.ReadFile(filepath.Join(dir, name+".png"))
		require.NoError(t, err)
		r, err := d.Match(t.Context(), needle.Query{Tag: name, Masks: masks[name]}, changed(p, 13, 9, pixmap.RGB{R: 1}))
		require.NoError(t, err)
		require.False(t, r.Matched())
		_, err = r.Replace(t.Context())
		require.ErrorContains(t, err, "needle "+name+": the screen as its picture would not match either: ")
		require.ErrorContains(t, err, why)
		after, err := os.ReadFile(filepath.Join(dir, name+".png"))
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
}
