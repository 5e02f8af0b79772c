package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/internal/need"
)

// filmedLane makes the directory of a lane that was filmed, with a frame a second.
func filmedLane(t *testing.T, frames int) string {
	t.Helper()
	dir := t.TempDir()
	var film bytes.Buffer
	for i := range frames {
		img := image.NewNRGBA(image.Rect(0, 0, 16, 8))
		img.SetNRGBA(i, i%8, color.NRGBA{255, 0, 0, 255})
		for p := 3; p < len(img.Pix); p += 4 {
			img.Pix[p] = 255
		}
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, img))
		fmt.Fprintf(&film, `{"t_us":%d,"size":[16,8],"rect":[0,0,16,8],"key":true,"png":%d}`+"\n%s\n", (i+1)*1_000_000, b.Len(), b.Bytes())
	}
	write(t, filepath.Join(dir, "screen.film"), film.String())
	write(t, filepath.Join(dir, "timeline.ndjson"), `{"t_us":0,"kind":"begin","name":"a"}`+"\n"+`{"t_us":2500000,"kind":"serial","n":0,"text":"Hello"}`+"\n"+
		`{"t_us":9000000,"kind":"lane","state":"ready"}`+"\n")
	write(t, filepath.Join(dir, "serial.log"), "Hello\r\n")
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// runCommand runs one command line as main does.
func runCommand(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

func TestAFilmIsMadeOfALaneThatIsGivenByItsDirectoryOrItsPage(t *testing.T) {
	dir, out := filmedLane(t, 3), t.TempDir()
	require.NoError(t, replay.Write(dir, replay.Options{}))
	for _, c := range []struct{ lane, file, args, says string }{
		{dir, "a.png", "", "a.png: 16×8, 8.000 s, 3 frames; subtitles: "},
		{dir, "b.APNG", "--speed 2", "b.APNG: 16×8, 4.000 s, 3 frames; subtitles: "},
		{filepath.Join(dir, "lane.html"), "c.png", "--from 1.5 --to 2.5s", "c.png: 16×8, 1.000 s, 2 frames; subtitles: "},
		{dir, "d.png", "--skip-idle", "d.png: 16×8, 3.000 s, 3 frames; subtitles: "},
		{dir, "e.png", "--skip-idle=500ms --from 1s --draw-input", "e.png: 16×8, 1.500 s, 3 frames; subtitles: "},
		{dir, "f.png", "--display 0", "f.png: 16×8, 8.000 s, 3 frames; subtitles: "},
	} {
		file := filepath.Join(out, c.file)
		status, stdout, stderr := runCommand(append([]string{"film", c.lane, "-o", file}, strings.Fields(c.args)...)...)
		require.Equal(t, 0, status, stderr)
		vtt := strings.TrimSuffix(file, filepath.Ext(file)) + ".vtt"
		require.Equal(t, filepath.Join(out, c.says)+vtt+"\n", stdout)
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(b), "acTL")
		b, err = os.ReadFile(vtt)
		require.NoError(t, err)
		require.Contains(t, string(b), "2.500 serial: Hello")
	}
	// Only the page was kept.
	require.NoError(t, os.Remove(filepath.Join(dir, "screen.film")))
	status, stdout, _ := runCommand("film", dir, "-o", filepath.Join(out, "g.png"))
	require.Equal(t, 0, status)
	require.Contains(t, stdout, "8.000 s, 3 frames")

	status, stdout, _ = runCommand("film", dir, "-o", filepath.Join(out, "h.cast"))
	require.Equal(t, 0, status)
	require.Equal(t, filepath.Join(out, "h.cast")+"\n", stdout)
	b, err := os.ReadFile(filepath.Join(out, "h.cast"))
	require.NoError(t, err)
	require.Contains(t, string(b), `[0.000000,"o","Hello\r\n"]`)
	require.NoFileExists(t, filepath.Join(out, "h.vtt"))
}

func TestWithoutFFmpegAVideoIsAnAnimatedPNG(t *testing.T) {
	dir, out := filmedLane(t, 2), t.TempDir()
	t.Setenv("PATH", t.TempDir())
	status, stdout, stderr := runCommand("film", dir, "-o", filepath.Join(out, "a.webm"))
	require.Equal(t, 0, status)
	require.Contains(t, stdout, "a.png: 16×8")
	require.Equal(t, "ffmpeg is not installed, so "+filepath.Join(out, "a.png")+" is an animated PNG; for a video: sudo apt-get install -y ffmpeg\n", stderr)
	require.FileExists(t, filepath.Join(out, "a.png"))
	require.FileExists(t, filepath.Join(out, "a.vtt"))
	require.NoFileExists(t, filepath.Join(out, "a.webm"))
}

func TestWithFFmpegAFilmIsAVideo(t *testing.T) {
	need.Long(t)
	need.Program(t, "ffmpeg")
	dir, out := filmedLane(t, 2), t.TempDir()
	for _, file := range []string{"a.webm", "a.mp4"} {
		status, stdout, stderr := runCommand("film", dir, "-o", filepath.Join(out, file))
		require.Equal(t, 0, status, stderr)
		require.Contains(t, stdout, file+": 16×8, 8.000 s, 2 frames")
		b, err := os.ReadFile(filepath.Join(out, file))
		require.NoError(t, err)
		require.Contains(t, string(b[:64]), map[string]string{"a.webm": "webm", "a.mp4": "ftyp"}[file])
	}
}

func TestAFilmThatCannotBeMadeSaysWhy(t *testing.T) {
	dir, out := filmedLane(t, 2), t.TempDir()
	none, passed, cut := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(none, "timeline.ndjson"), `{"t_us":0,"kind":"begin","film":"off"}`+"\n")
	write(t, filepath.Join(passed, "timeline.ndjson"), "")
	write(t, filepath.Join(passed, "verdict.json"), `{"ok":true,"name":"a"}`)
	write(t, filepath.Join(cut, "timeline.ndjson"), "")
	write(t, filepath.Join(cut, "screen.film"), `{"t_us":1,"size":[16,8],"rect":[0,0,16,8],"key":true,"png":70}`+"\n\x89PNG")
	png := filepath.Join(out, "a.png")
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{dir}, 2, "film needs -o FILE.webm, .mp4, .png, .apng or .cast"},
		{[]string{dir, "-o", "a.gif"}, 2, "-o a.gif: the extension must be .webm, .mp4, .png, .apng or .cast"},
		{[]string{dir, "-o", "webm"}, 2, "-o webm: the extension must be"},
		{[]string{dir, "-o", png, "--from", "3", "--to", "2"}, 2, "from 3s to 2s: the end must be after the beginning"},
		{[]string{dir, "-o", png, "--from", "1h"}, 2, "from 1h0m0s: what is known of this lane ends at 9s"},
		{[]string{dir, "-o", png, "--from", "soon"}, 2, "want seconds such as 2.5, or a time such as 1m2.5s, not below 0"},
		{[]string{dir, "-o", png, "--to=-1"}, 2, "not below 0"},
		{[]string{dir, "-o", png, "--speed=-2"}, 2, "a speed of -2: it must be from 0.001 to 1000"},
		{[]string{dir, "-o", png, "--display", "3"}, 2, "display 3: it had no picture; display 0 had"},
		{[]string{dir, "-o", filepath.Join(out, "a.cast"), "--draw-input"}, 2, "--draw-input and --display are for a screen"},
		{[]string{none, "-o", png}, 2, "there is no film: this lane was not filmed; leave out --film off"},
		{[]string{passed, "-o", png}, 2, "there is no film: this lane passed, and by default only lanes that fail keep their films"},
		{[]string{cut, "-o", png}, 2, "there is no film with a picture: the client ended before it showed one"},
		{[]string{passed, "-o", filepath.Join(out, "a.cast")}, 2, "the guest has printed nothing on its serial console: there is no serial.log"},
		{[]string{out, "-o", png}, 2, "it is not the directory of a lane"},
		{[]string{filepath.Join(out, "gone"), "-o", png}, 2, "gone is not a directory"},
		{[]string{"no-such-lane", "-o", png}, 2, "no-such-lane"},
		{[]string{dir, "-o", filepath.Join(out, "none", "a.png")}, 3, "no such file or directory"},
	} {
		status, stdout, stderr := runCommand(append([]string{"film"}, c.args...)...)
		require.Equal(t, c.status, status, "%q: %s", c.args, stderr)
		require.Contains(t, stderr, c.says, "%q", c.args)
		require.True(t, strings.HasPrefix(stderr, "spicelane: "), stderr)
		require.Empty(t, stdout)
	}
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAFilmThatLacksSomethingIsMadeAndSaysWhat(t *testing.T) {
	dir, out := filmedLane(t, 3), t.TempDir()
	path := filepath.Join(dir, "screen.film")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	write(t, path, string(b[:len(b)-9]))
	write(t, filepath.Join(dir, "verdict.json"), `{"verdict":"host","reason":"it was killed","name":"a"}`)
	status, stdout, stderr := runCommand("film", dir, "-o", filepath.Join(out, "a.png"))
	require.Equal(t, 0, status)
	require.Contains(t, stdout, "2 frames")
	require.Equal(t, "the film is cut off: what made it was killed\n", stderr)
	write(t, path, string(b)+`{"left_out":{"frames":7,"before_ns":2000000000}}`+"\n")
	status, _, stderr = runCommand("film", dir, "-o", filepath.Join(out, "a.png"))
	require.Equal(t, 0, status)
	require.Equal(t, "7 frames before 2s are left out of the film: it would have become too large\n", stderr)
}
