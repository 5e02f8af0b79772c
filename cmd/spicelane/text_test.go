package main

import (
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

const setupScreen = "../../harness/screen/text/testdata/ovmf-setup.png"

// spicelane runs a command line.
func spicelane(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err strings.Builder
	status = run(t.Context(), args, strings.NewReader(""), &out, &err)
	return status, out.String(), err.String()
}

func TestTextPrintsWhatIsWrittenOnAPicture(t *testing.T) {
	status, out, stderr := spicelane(t, "text", "--png", setupScreen)
	require.Zero(t, status, stderr)
	require.Contains(t, out, "\n ► Boot Maintenance Manager\n\n   Continue\n   Reset\n")

	status, out, _ = spicelane(t, "text", "--png", setupScreen, "--find", `Boot \w+`)
	require.Zero(t, status)
	require.Equal(t, "3,10: Boot Manager\n3,11: Boot Maintenance\n", out)
	status, out, _ = spicelane(t, "text", "--png", setupScreen, "--find", `Boot \w+`, "--region", "640x19+0+211")
	require.Zero(t, status)
	require.Equal(t, "3,11: Boot Maintenance\n", out)
	status, out, stderr = spicelane(t, "text", "--png", setupScreen, "--find", "Shutdown")
	require.Equal(t, 1, status)
	require.Empty(t, out)
	require.Equal(t, "spicelane: text: nothing on the screen is \"Shutdown\"\n", stderr)

	status, out, _ = spicelane(t, "text", "--png", setupScreen, "--json", "--find", "Reset")
	require.Zero(t, status)
	var grid struct {
		Font                      string
		X, Y, Cols, Rows, Unknown int
		Lines                     []string
		Hits                      []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &grid))
	require.Equal(t, []any{"ovmf", 80, 25, 0}, []any{grid.Font, grid.Cols, grid.Rows, grid.Unknown})
	require.Equal(t, " pc-q35-7.2                                          2.00 GHz", grid.Lines[2])
	require.Equal(t, []map[string]any{{"text": "Reset", "col": 3.0, "row": 14.0, "x": 24.0, "y": 268.0, "width": 40.0, "height": 19.0}}, grid.Hits)
}

func TestTextOfAPictureWithoutTextIsAFailureOfTheProduct(t *testing.T) {
	c := controltest.New(64, 48)
	path, _ := controltest.Open(t, server.Config{Console: c})
	status, out, stderr := spicelane(t, "text", "--socket", path)
	require.Equal(t, 1, status)
	require.Empty(t, out)
	require.Contains(t, stderr, "text: no text in a known font (beacon 8×18, ovmf 8×19); name its font with --font")
	for want, args := range map[string][]string{
		"no such file":          {"text", "--png", "nothing.png"},
		"exclude each other":    {"text", "a", "--png", setupScreen},
		`no font "nothing"`:     {"text", "--png", setupScreen, "--font", "nothing"},
		"--find: error parsing": {"text", "--png", setupScreen, "--find", "("},
		"--region x: want":      {"text", "--png", setupScreen, "--region", "x"},
		"--origin 1,2.5: want":  {"text", "--png", setupScreen, "--origin", "1,2.5"},
		"got \"8x19.5\"":        {"text", "--png", setupScreen, "--learn", "x.hex", "--cell", "8x19.5"},
		"--origin 1: want X,Y":  {"text", "--png", setupScreen, "--origin", "1"},
		"--learn needs --cell":  {"text", "--png", setupScreen, "--learn", "x.hex"},
		"--learn needs --known": {"text", "--png", setupScreen, "--learn", "x.hex", "--cell", "8x19"},
		"which lane?":           {"text"},
	} {
		status, _, stderr := spicelane(t, args...)
		require.Equal(t, 2, status, want)
		require.Contains(t, stderr, want)
	}
}

// A guest whose font nobody has: its letters are boxes with a pattern of their own.
func TestAFontThatIsLearntFromOneScreenReadsAnother(t *testing.T) {
	dir := t.TempDir()
	draw := func(name, s string) string {
		img := image.NewNRGBA(image.Rect(0, 0, 200, 60))
		for i := range img.Pix {
			img.Pix[i] = 0xff
		}
		for col, r := range s {
			for i := range 6 * 8 {
				if x, y := i%6, i/6; r != ' ' && (y == 0 || int(r)*(y+3)>>x&1 != 0) {
					img.Set(3+col*6+x, 4+y, color.Black)
				}
			}
		}
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, png.Encode(f, img))
		return path
	}
	first, font := draw("first.png", "the quick fox"), filepath.Join(dir, "odd.hex")
	known := filepath.Join(dir, "known.txt")
	require.NoError(t, os.WriteFile(known, []byte("the quick fox\n"), 0o600))
	status, _, stderr := spicelane(t, "text", "--png", first, "--learn", font, "--cell", "6x8", "--origin", "3,4", "--known", known)
	require.Zero(t, status, stderr)
	status, out, stderr := spicelane(t, "text", "--png", draw("second.png", "the fox quit now"), "--font", font)
	require.Zero(t, status, stderr)
	require.Equal(t, "the fox quit \uFFFDo\uFFFD\n", out, "n and w were not on the first screen")
	require.NoError(t, os.WriteFile(known, []byte("the quack fox\n"), 0o600))
	status, _, stderr = spicelane(t, "text", "--png", first, "--learn", font, "--cell", "6x8", "--origin", "3,4", "--known", known)
	require.Zero(t, status, stderr)
	require.NoError(t, os.WriteFile(known, []byte("the quock fox\n"), 0o600))
	status, _, stderr = spicelane(t, "text", "--png", first, "--learn", font, "--cell", "6x8", "--origin", "3,4", "--known", known)
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "'o' in line 1, column 12: it looks different elsewhere")
}

func TestAGuessSaysThatItIsOneAndAnAbsentTesseractIsTheHosts(t *testing.T) {
	need.Long(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ocr.json"), []byte(`{"area":[{"xpos":8,"ypos":21,"width":200,"height":19,"type":"match"},{"xpos":24,"ypos":173,"width":112,"height":19,"type":"ocr","refstr":"Device Manager"}],"tags":["t"]}`), 0o600))
	b, err := os.ReadFile(setupScreen)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ocr.png"), b, 0o600))
	t.Run("a guess", func(t *testing.T) {
		need.Program(t, "tesseract")
		status, out, stderr := spicelane(t, "text", "--png", setupScreen, "--ocr", "--region", "184x19+16+173")
		require.Zero(t, status, stderr)
		require.Contains(t, out, "Device Manager")
		require.Contains(t, stderr, "tesseract guessed this; it proves nothing")
		status, out, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "t", "--dir", dir)
		require.Zero(t, status, stderr)
		require.Equal(t, `"t" is on the screen: needle ocr, area 1 at (8,21) is equal; area 2 at (24,173) reads "Device Manager"; this rests on OCR, which guesses`+"\n", out)
		status, out, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "t", "--dir", dir, "--json")
		require.Zero(t, status, stderr)
		var r needleMatch
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		require.True(t, r.OCR)
		require.Equal(t, "Device Manager", r.Areas[1].Read)
		// One letter is another one.
		made := t.TempDir()
		for name, text := range map[string]string{"yes": "ocr", "no": "ocr=Device, Manager"} {
			status, _, stderr = spicelane(t, "needle", "new", "--png", setupScreen, name, "--dir", made, "--area", "112x19+24+173,click,"+text)
			require.Zero(t, status, stderr)
		}
		status, out, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "yes", "--dir", made)
		require.Zero(t, status, stderr)
		require.Contains(t, out, "this rests on OCR")
		status, out, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "no", "--dir", made)
		require.Equal(t, 1, status)
		require.Empty(t, out)
		require.Contains(t, stderr, `reads "Device Manager" and should read "Device, Manager"`)
	})
	status, _, stderr := spicelane(t, "text", "--png", setupScreen, "--ocr", "--find", "Device")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "--ocr is a guess for a person to read")
	t.Setenv("PATH", dir)
	status, _, stderr = spicelane(t, "text", "--png", setupScreen, "--ocr")
	require.Equal(t, 3, status)
	require.Contains(t, stderr, "tesseract is not installed (Debian: apt-get install tesseract-ocr)")
	status, _, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "t", "--dir", dir)
	require.Equal(t, 3, status)
	require.Contains(t, stderr, "needle ocr: area 2 is of type ocr: tesseract is not installed (Debian: apt-get install tesseract-ocr)")
	// With an alternative that does not match, it is skipped, and this host is to blame all the same.
	status, _, stderr = spicelane(t, "needle", "new", "--png", managerScreen, "other", "--dir", dir, "--tag", "t", "--area", "640x480+0+0")
	require.Zero(t, status, stderr)
	status, _, stderr = spicelane(t, "needle", "match", "--png", setupScreen, "t", "--dir", dir)
	require.Equal(t, 3, status)
	require.Contains(t, stderr, "the nearest of 2 needles is needle other")
	require.Contains(t, stderr, "; skipped: needle ocr: area 2 is of type ocr: tesseract is not installed")
}
