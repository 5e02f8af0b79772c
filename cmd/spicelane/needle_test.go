package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

const managerScreen = "../../harness/screen/text/testdata/ovmf-device-manager.png"

func TestAReferenceImageThatIsMadeOfAScreenIsOnItAndNotOnAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "needles")
	status, out, stderr := spicelane(t, "needle", "new", "--png", setupScreen, "setup", "--dir", dir, "--tag", "menu", "--tag", "ovmf",
		"--area", "200x19+8+21,match=97,margin=5,click=3+4", "--area", "144x19+240+135", "--area", "16x19+240+135,exclude")
	require.Zero(t, status, stderr)
	require.Equal(t, filepath.Join(dir, "setup.json")+": 3 areas of a screen of 640×480\n", out)
	b, err := os.ReadFile(filepath.Join(dir, "setup.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"area": [
		{"xpos": 8, "ypos": 21, "width": 200, "height": 19, "type": "match", "match": 97, "margin": 5, "click_point": {"xpos": 3, "ypos": 4}},
		{"xpos": 240, "ypos": 135, "width": 144, "height": 19, "type": "match", "margin": 0},
		{"xpos": 240, "ypos": 135, "width": 16, "height": 19, "type": "exclude"}
	], "properties": [], "tags": ["menu", "ovmf"]}`, string(b))

	status, out, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "menu", "--dir", dir)
	require.Zero(t, status, stderr)
	require.Equal(t, "\"menu\" is on the screen: needle setup, area 1 at (8,21) is equal; area 2 at (240,135) is equal\n", out)

	evidence := t.TempDir()
	status, out, stderr = spicelane(t, "needle", "match", "--png", managerScreen, "menu", "--dir", dir, "--json", "--evidence", evidence)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, `spicelane: needle: "menu" is not on the screen: needle setup, area 1 at`)
	var r needleMatch
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.False(t, r.Matched)
	require.Equal(t, "setup", r.Needle)
	require.Len(t, r.Areas, 2)
	require.Positive(t, r.Areas[1].Differ)
	require.Len(t, r.Evidence, 4)
	for _, file := range r.Evidence {
		require.FileExists(t, file)
	}

	status, out, _ = spicelane(t, "needle", "list", dir)
	require.Zero(t, status)
	require.Equal(t, "NAME   AREAS  TAGS\nsetup  3      menu ovmf\n", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.json"), []byte("{"), 0o600))
	status, out, stderr = spicelane(t, "needle", "list", dir, "--json")
	require.Equal(t, 2, status)
	require.Contains(t, out, `"name": "setup"`)
	require.Contains(t, stderr, "bad.json: line 1")
	require.Contains(t, stderr, "spicelane: 1 files in "+dir+" are not reference images")
}

func TestReferenceImagesThatNobodyNeedsAreListed(t *testing.T) {
	dir, results := t.TempDir(), t.TempDir()
	for name, tag := range map[string]string{"used": "login", "alternative": "login", "forgotten": "logout"} {
		status, _, stderr := spicelane(t, "needle", "new", "--png", setupScreen, name, "--dir", dir, "--tag", tag, "--area", "64x48+0+0")
		require.Zero(t, status, stderr)
	}
	for lane, lines := range map[string]string{
		"a":     `{"t_us":1,"kind":"needle","tag":"login","matched":false}` + "\n" + `{"t_us":2,"kind":"needle","tag":"login","file":"x.png"}` + "\n",
		"b/c/d": `{"t_us":1,"kind":"needle","tag":"login","matched":false}` + "\n" + `{"t_us":2,"kind":"needle","tag":"login","matched":true,"needle":"used","again":true}` + "\n" + `{"t_us":2,"kind":"needle","tag":"elsewhere","matched":true,"needle":"forgotten"}` + "\n" + `{"torn`,
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(results, lane), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(results, lane, "timeline.ndjson"), []byte(lines), 0o600))
	}
	list := func(args ...string) string {
		t.Helper()
		status, out, stderr := spicelane(t, append([]string{"needle", "list", dir, "--results", results}, args...)...)
		require.Zero(t, status, stderr)
		return out
	}
	const head = "NAME         AREAS  LOOKED FOR  MATCHED  TAGS\n"
	const alternative, forgotten, used = "alternative  1      2           0        login\n", "forgotten    1      0           0        logout\n", "used         1      2           1        login\n"
	require.Equal(t, head+alternative+forgotten+used, list())
	require.Equal(t, head+alternative+forgotten, list("--never-matched"))
	require.Equal(t, "NAME       AREAS  LOOKED FOR  MATCHED  TAGS\nforgotten  1      0           0        logout\n", list("--unused"))
	var rows []needleRow
	require.NoError(t, json.Unmarshal([]byte(list("--json", "--unused", "--never-matched")), &rows))
	require.Len(t, rows, 1)
	require.Equal(t, &needleUse{}, rows[0].Use)
	for want, args := range map[string][]string{
		"--unused and --never-matched need --results DIR": {"--unused"},
		"no lane has left a timeline.ndjson in":           {"--results", dir},
		"missing: no such file or directory":              {"--results", filepath.Join(dir, "missing")},
	} {
		status, _, stderr := spicelane(t, append([]string{"needle", "list", dir}, args...)...)
		require.Equal(t, 2, status, want)
		require.Contains(t, stderr, want)
	}
}

func TestAReferenceImageIsAlsoMadeOfAClientsScreen(t *testing.T) {
	dir := t.TempDir()
	c := controltest.New(64, 48)
	path, _ := controltest.Open(t, server.Config{Console: c})
	status, _, stderr := spicelane(t, "needle", "new", "--socket", path, "all", "--dir", dir, "--area", "64x48+0+0")
	require.Zero(t, status, stderr)
	status, _, stderr = spicelane(t, "needle", "match", "--socket", path, "all", "--dir", dir)
	require.Zero(t, status, stderr)
	for want, args := range map[string][]string{
		"all.json is there already; --force replaces it":     {"new", "--socket", path, "all", "--area", "64x48+0+0"},
		"area 1, 65×48 pixels at (0,0), is not within":       {"new", "--socket", path, "x", "--area", "65x48+0+0"},
		"no area of type match or ocr":                       {"new", "--socket", path, "x", "--area", "6x4+0+0,exclude"},
		"--area big: want WIDTHxHEIGHT+X+Y":                  {"new", "--socket", path, "x", "--area", "big"},
		`unknown word "blur"`:                                {"new", "--socket", path, "x", "--area", "6x4+0+0,blur"},
		`match is "much": want a percentage`:                 {"new", "--socket", path, "x", "--area", "6x4+0+0,match=much"},
		`margin is "wide": want pixels`:                      {"new", "--socket", path, "x", "--area", "6x4+0+0,margin=wide"},
		`click is "3+4.5": want X+Y`:                         {"new", "--socket", path, "x", "--area", "6x4+0+0,click=3+4.5"},
		`click is "here": want X+Y`:                          {"new", "--socket", path, "x", "--area", "6x4+0+0,click=here"},
		"want a lane's name and the NAME":                    {"new", "x", "--area", "6x4+0+0"},
		"with --socket or --png want only a TAG":             {"match", "--socket", path, "a", "b"},
		`has the tag or the name "al" (did you mean "all"?)`: {"match", "--socket", path, "al"},
	} {
		status, _, stderr := spicelane(t, append(append([]string{"needle"}, args...), "--dir", dir)...)
		require.Equal(t, 2, status, want)
		require.Contains(t, stderr, want)
	}
	status, _, stderr = spicelane(t, "needle")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "new, match or list")
}

// A page of the firmware's font, in which only a cursor may be elsewhere.
func consolePage(t *testing.T, line string, col int) *pixmap.Picture {
	t.Helper()
	f, err := text.Load("ovmf")
	require.NoError(t, err)
	img := image.NewNRGBA(image.Rect(0, 0, 160, 57))
	for i := range img.Pix {
		img.Pix[i] = uint8(i & 3 / 3 * 0xff)
	}
	for at, r := range line {
		for i := range 8 * 19 {
			if f.Drawn(r, false, i%8, i/8) {
				img.Set(8*at+i%8, 19+i/8, color.White)
			}
		}
	}
	for i := range 8 * 2 {
		if col >= 0 {
			img.Set(8*col+i%8, 19+16+i/8, color.White)
		}
	}
	return pixmap.Of(img)
}

// Part of the screen is masked: by hand, or because it is a cursor or a pointer.
func TestMasksHideWhatMovesAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	c := controltest.NewFull(160, 57)
	path, _ := controltest.Open(t, server.Config{Console: c})
	show := func(p *pixmap.Picture) {
		c.Draw(0, 0, p.Bounds(), func(pix []byte, _ int) { copy(pix, p.Pix) }) // black and white
	}
	show(consolePage(t, "Shell> halt", -1))
	status, _, stderr := spicelane(t, "needle", "new", "--socket", path, "shell", "--dir", dir, "--area", "160x57+0+0")
	require.Zero(t, status, stderr)
	match := func(args ...string) int {
		t.Helper()
		status, _, stderr := spicelane(t, append([]string{"needle", "match", "--socket", path, "shell", "--dir", dir}, args...)...)
		if status == 1 {
			require.Contains(t, stderr, "needle shell, area 1 at (0,0)")
		}
		return status
	}
	require.Equal(t, 0, match())
	show(consolePage(t, "Shell> halt", 11)) // its cursor is at 88,35
	require.Equal(t, 1, match())
	require.Equal(t, 0, match("--mask", "8x2+88+35"))
	require.Equal(t, 1, match("--mask", "8x1+88+35"), "half of it")
	require.Equal(t, 0, match("--mask", "8x1+88+35", "--mask", "8x1+88+36"))
	require.Equal(t, 0, match("--ignore", "cursor"))
	require.Equal(t, 1, match("--ignore", "pointer"), "it was never moved")
	show(consolePage(t, "Shell> hart", 11))
	require.Equal(t, 1, match("--ignore", "cursor"), "a letter is another one")
	require.Equal(t, 1, match("--ignore", "cursor", "--wait", "10ms"))
	require.Equal(t, 1, match("--ignore", "cursor", "--wait", "1ns"), "it looks once")

	// A pointer that the guest draws is where it was moved.
	show(consolePage(t, "Shell> halt", 11))
	c.SetMouseMode("client")
	status, _, stderr = spicelane(t, "mouse", "--socket", path, "move", "90", "30")
	require.Zero(t, status, stderr)
	require.Equal(t, 0, match("--ignore", "pointer"))
	require.Equal(t, 0, match("--ignore", "pointer,cursor", "--wait", "1h"))
	status, _, stderr = spicelane(t, "mouse", "--socket", path, "move", "10", "30")
	require.Zero(t, status, stderr)
	require.Equal(t, 1, match("--ignore", "pointer"))

	// The same of a file, where it can be known.
	file := filepath.Join(t.TempDir(), "cursor.png")
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, consolePage(t, "Shell> halt", 11).Image()))
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	onFile := func(args ...string) (int, string) {
		status, _, stderr := spicelane(t, append([]string{"needle", "match", "--png", file, "shell", "--dir", dir}, args...)...)
		return status, stderr
	}
	status, _ = onFile()
	require.Equal(t, 1, status)
	status, stderr = onFile("--ignore", "cursor")
	require.Zero(t, status, stderr)
	for want, args := range map[string][]string{
		"--mask 8x2: want WIDTHxHEIGHT+X+Y":         {"--mask", "8x2"},
		"--mask : want WIDTHxHEIGHT+X+Y":            {"--mask", ""},
		"--ignore mouse: want cursor or pointer":    {"--ignore", "mouse"},
		"--ignore pointer needs a lane or a socket": {"--ignore", "pointer"},
		"--wait needs a lane or a socket":           {"--wait", "1s"},
		`no font "nothing"`:                         {"--ignore", "cursor", "--font", "nothing"},
	} {
		status, stderr := onFile(args...)
		require.Equal(t, 2, status, want)
		require.Contains(t, stderr, want)
	}
	status, _, stderr = spicelane(t, "needle", "match", "--socket", path, "shell", "--dir", dir, "--wait", "-1s")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "--wait -1s: want a time that is not negative")
}

// A blinking is a console on which a block blinks: it changes after each look.
type blinking struct {
	*controltest.Full
	frames [2]*pixmap.Picture
	looks  int
}

func (c *blinking) show() {
	p := c.frames[c.looks%2]
	c.Draw(0, 0, p.Bounds(), func(pix []byte, _ int) { copy(pix, p.Pix) }) // black and white
}

func (c *blinking) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*server.Picture, error) {
	p, err := c.Full.Snapshot(channel, surface, r)
	c.looks++
	c.show()
	return p, err
}

// A block is no cursor of a console's font. Only time tells that it blinks.
func TestACursorThatBlinksIsMaskedWhileNeedleMatchWaits(t *testing.T) {
	still := consolePage(t, "Shell> halt", -1)
	with := func(at image.Point, w, h int) *pixmap.Picture {
		p := still.Crop(still.Bounds())
		for y := at.Y; y < at.Y+h; y++ {
			for x := at.X; x < at.X+w; x++ {
				copy(p.Row(y, x, x+1), []byte{0xff, 0xff, 0xff})
			}
		}
		return p
	}
	// The reference is neither of the two states.
	dir, reference := t.TempDir(), with(image.Pt(103, 5), 1, 1)
	n, err := needle.New("shell", []needle.Area{{Width: 160, Height: 57, Type: needle.TypeMatch, Margin: new(int)}}, nil, reference)
	require.NoError(t, err)
	require.NoError(t, n.Save(dir))
	for _, tc := range []struct {
		block image.Point
		args  []string
		want  int
	}{
		{image.Pt(100, 2), []string{"--ignore", "cursor", "--wait", "1m"}, 0},
		{image.Pt(100, 2), []string{"--ignore", "cursor"}, 1},
		{image.Pt(100, 2), []string{"--wait", "100ms"}, 1},
		{image.Pt(120, 2), []string{"--ignore", "cursor", "--wait", "100ms"}, 1}, // it blinks elsewhere
	} {
		c := &blinking{Full: controltest.NewFull(160, 57), frames: [2]*pixmap.Picture{still, with(tc.block, 8, 10)}}
		c.show()
		path, _ := controltest.Open(t, server.Config{Console: c})
		status, _, stderr := spicelane(t, append([]string{"needle", "match", "--socket", path, "shell", "--dir", dir}, tc.args...)...)
		require.Equal(t, tc.want, status, "%v: %s", tc, stderr)
	}
}
