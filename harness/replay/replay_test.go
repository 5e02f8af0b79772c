package replay_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/internal/need"
)

// lay writes the files of a lane.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// made is a page and its contents.
type made struct {
	html string
	From int64    `json:"from"`
	To   int64    `json:"to"`
	T    []int64  `json:"t"`
	D    []int64  `json:"d"`
	X    []string `json:"x"`
	K    []int    `json:"k"`
	Left []string `json:"left"`
	Film []struct {
		T int64    `json:"t"`
		P [][6]int `json:"p"`
	} `json:"film"`
	Tracks []struct{ ID string }         `json:"tracks"`
	Marks  []struct{ Kind, Text string } `json:"marks"`
	Pics   []pic                         `json:"pics"`

	Curves  []struct{ V []float64 }
	Pointer [][5]int64
	Shapes  []struct{ Hot [2]int }
}

// pic is a picture beside the film.
type pic struct {
	Name, Via string
	T         int64
}

func makePage(t *testing.T, dir string, o replay.Options) *made {
	t.Helper()
	b, err := replay.Make(dir, o)
	require.NoError(t, err)
	r, err := replay.Text(bytes.NewReader(b))
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	m := &made{html: string(b)}
	require.NoError(t, json.Unmarshal(text, m))
	return m
}

// track returns the texts on a track.
func (m *made) track(id string) []string {
	var out []string
	for i, x := range m.X {
		if m.Tracks[m.K[i]].ID == id {
			out = append(out, x)
		}
	}
	return out
}

const begin = `{"t_us":0,"kind":"begin","name":"a","fixture":"beacon","wall":"2026-11-27T04:40:17Z","command":"spicelane up"}` + "\n"

func TestADirectoryWithoutALaneIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.EqualError(t, replay.Write(dir, replay.Options{}), "replay: "+dir+" has no timeline.ndjson: it is not the directory of a lane")
	require.NoFileExists(t, filepath.Join(dir, replay.File))
	r, err := replay.Text(strings.NewReader("no page\n"))
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Empty(t, b)
	_, err = replay.Text(strings.NewReader(`<script type="application/octet-stream" id="data">!</script>`))
	require.ErrorContains(t, err, "replay: ")
}

func TestAllLogsAreOnTheClockOfTheTimeline(t *testing.T) {
	t.Parallel()
	m := makePage(t, lay(t, map[string]string{
		"timeline.ndjson": begin + `{"t_us":500000,"kind":"machine","pid":7,"qmp_us":400000}` + "\n" +
			`{"t_us":900000,"kind":"step","name":"qemu","ms":500,"detail":"pid 7"}` + "\n" + `{"t_us":1000000,"kind":"serial","n":0,"text":"Hello"}` + "\n",
		"qmp.ndjson":   `{"t_us":100000,"dir":"in","msg":{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian"}}}}` + "\n" + `{"t_us":200000,"dir":"out","msg":{"execute":"cont"}}` + "\n",
		"qemu.log":     "2026-11-27T04:40:17.700000Z qemu: one\ntwo\n",
		"client.log":   "time=2026-11-27T04:40:18.104Z level=INFO msg=\"control client connected\"\ntime=2026-11-27T04:40:19Z level=ERROR msg=bad\n",
		"verdict.json": `{"ok":true,"name":"a","test":"TestA","accel":"tcg","up_ms":2000}`,
	}), replay.Options{TestOutput: "    a_test.go:5: said\n"})
	var got []string
	at := int64(0)
	for i, x := range m.X {
		at += m.T[i]
		got = append(got, fmt.Sprint(at/1000, " ", m.Tracks[m.K[i]].ID, " ", x))
	}
	require.Equal(t, []string{
		"0 lane the lane a begins",
		"400 lane qemu: pid 7", "500 lane QEMU runs as process 7",
		`500 qmp ← {"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian"}}}`, `600 qmp → cont`,
		"700 qemu qemu: one", "700 qemu two", "1000 serial Hello", "1000 test     a_test.go:5: said", `1104 client msg="control client connected"`, "2000 client level=ERROR msg=bad",
	}, got)
	require.Contains(t, m.html, "7.2.22 Debian")
	require.Contains(t, m.html, "The test passed; its lane lived for 2.000 s.")
}

func TestTheVerdictIsASentence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ verdict, more, title, sentence string }{
		"product": {`{"verdict":"product","hop":"guest","reason":"boot: it never came; look at last-qemu.png","name":"a"}`, "", "product fault: a",
			"<h1>Product fault (guest): boot: it never came</h1>"},
		"host":   {`{"verdict":"host","reason":"no KVM","name":"a"}`, "", "host fault: a", "<h1>Host fault: no KVM</h1>"},
		"failed": {`{"reason":"an assertion of the test failed","name":"a","test":"TestA/x"}`, "", "failed: TestA/x", "<h1>The test failed: an assertion of the test failed</h1>"},
		"failed after a wait": {`{"reason":"an assertion of the test failed","name":"a","test":"TestA"}`,
			`{"t_us":9,"kind":"wait","ms":0,"error":"e; f","awaited":"a <key>","saw":""}`, "failed: TestA", "<h1>The test failed after it awaited a &lt;key&gt;</h1>"},
		"killed": {"", `{"t_us":1500000,"kind":"serial","text":"x"}`, "no verdict: a", "<h1>The lane has no verdict: what ran it was killed. The timeline ends after 1.500 s.</h1>"},
		"switched itself off": {`{"ok":true,"ended_by":"guest","reason":"the guest shut down","up_ms":2500,"name":"a","test":"TestA"}`,
			`{"t_us":4000000,"kind":"lane","state":"ending"}`, "passed: TestA", "<h1>The test passed; the guest switched itself off after 2.500 s.</h1>"},
		"switched itself off in vain": {`{"ended_by":"guest","verdict":"product","hop":"guest","reason":"the guest shut down","name":"a","test":"TestA"}`,
			"", "product fault: TestA", "<h1>Product fault (guest): the guest shut down</h1>"},
		"not one of ours": {`{"verdict":"martian","name":"a"}`, "", "failed: a", "<h1>The test failed: nothing is known of why</h1>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"timeline.ndjson": begin + c.more}
			if c.verdict != "" {
				files["verdict.json"] = c.verdict
			}
			m := makePage(t, lay(t, files), replay.Options{})
			require.Contains(t, m.html, "<title>"+c.title+"</title>")
			require.Contains(t, m.html, c.sentence)
		})
	}
}

func TestWhatIsCutOffOrDamagedIsLeftOutAndSaid(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"timeline.ndjson": begin + `{"t_us":-5000000,"kind":"serial","text":"before the beginning"}` + "\n" +
			`{"t_us":2000000,"kind":"picture","via":"qmp","file":"../../etc/passwd"}` + "\n" + `{"t_us":2000000,"kind":"picture","via":"qmp","file":"none.png"}` + "\n" +
			`{"t_us":2000000,"kind":"picture","via":"qmp","file":"last-qemu.png"}` + "\n" +
			`{"t_us":1000000,"kind":"step","name":7}` + "\n" + `{"t_us":1000000,"kind":"of another version","x":1}` + "\n" + `{"t_us":9,"kind":"ser`,
		"qmp.ndjson": "garbage\n", "verdict.json": "{", "screen.film": "no film\n", "last-qemu.png": "no picture",
	})
	m := makePage(t, dir, replay.Options{})
	require.Equal(t, int64(-5000000), m.From, "a clock that was set back")
	require.Equal(t, []string{"before the beginning"}, m.track("serial"))
	require.Contains(t, m.track("lane"), `step {"name":7}`)
	require.Equal(t, []string{`of another version {"x":1}`}, m.track("other"))
	require.Empty(t, m.Pics)
	for _, says := range []string{
		"verdict.json cannot be read: unexpected EOF", "1 line(s) of timeline.ndjson cannot be read: what wrote them was killed",
		"1 line(s) of qmp.ndjson cannot be read", "film: record 0: it does not begin with a header",
		`the picture "../../etc/passwd" is not in the lane's directory`, "the picture none.png is not there", "the picture last-qemu.png cannot be read",
	} {
		require.True(t, strings.Contains(strings.Join(m.Left, "\n"), says), "%q is not among %q", says, m.Left)
	}
	require.Contains(t, m.html, "What is not here ("+fmt.Sprint(len(m.Left))+")")

	// A link leads out of the directory: its target is not shown.
	secret := filepath.Join(t.TempDir(), "secret.log")
	require.NoError(t, os.WriteFile(secret, []byte("of somebody else\n"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "proxy.log")))
	require.Empty(t, makePage(t, dir, replay.Options{}).track("proxy"))
}

func TestTextIsMadePlain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	var b strings.Builder
	b.WriteString(begin)
	lines := []struct{ says, want string }{
		{"\x1b[31mred\x1b[0m \x1b]0;title\x07and \x1b(Bplain\x1b", "red and plain␛"},
		{"nul \x00 bell \x07 del \x7f tab\tnewline\n", "nul ␀ bell ␇ del ␡ tab    newline "},
		{"\u202eright to left\u2028", "‹U+202E›right to left‹U+2028›"},
		{"Grüße, 世界", "Grüße, 世界"},
		{long, long[:4096] + "… (1044480 more bytes)"},
		{"\x1b[", ""},
	}
	for i, l := range lines {
		text, err := json.Marshal(l.says)
		require.NoError(t, err)
		fmt.Fprintf(&b, `{"t_us":%d,"kind":"serial","text":%s}`+"\n", i, text)
	}
	m := makePage(t, lay(t, map[string]string{"timeline.ndjson": b.String(), "qemu.log": "bad \xff\xfe\n"}), replay.Options{})
	got := m.track("serial")
	require.Len(t, got, len(lines))
	for i, l := range lines {
		require.Equal(t, l.want, got[i])
	}
	require.Equal(t, []string{"bad ‹ff›‹fe›"}, m.track("qemu"))
}

// noisyFilm returns a film of random pixels with n frames. Every tenth is a key frame.
func noisyFilm(t *testing.T, n int) (string, []byte) {
	t.Helper()
	var out bytes.Buffer
	var last []byte
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		img := image.NewNRGBA(image.Rect(0, 0, 64, 64))
		for p := 0; p < len(img.Pix); p += 4 {
			v := rnd.Uint32()
			img.Pix[p], img.Pix[p+1], img.Pix[p+2], img.Pix[p+3] = byte(v), byte(v>>8), byte(v>>16), 255
		}
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, img))
		fmt.Fprintf(&out, `{"t_us":%d,"size":[64,64],"rect":[0,0,64,64],"key":%v,"png":%d}`+"\n", i*100000, i%10 == 0, b.Len())
		out.Write(b.Bytes())
		out.WriteByte('\n')
		last = b.Bytes()
	}
	return out.String(), last
}

func TestAPageStaysWithinItsLimitAndTheFailureIsLeftOutLast(t *testing.T) {
	t.Parallel()
	frames, _ := noisyFilm(t, 100)
	dir := lay(t, map[string]string{
		"timeline.ndjson": begin + `{"t_us":5000000,"kind":"wait","ms":1000,"error":"nothing came","awaited":"it","saw":"not"}` + "\n",
		film.File:         frames, "verdict.json": `{"name":"a","reason":"an assertion of the test failed"}`,
	})
	whole := makePage(t, dir, replay.Options{})
	require.Len(t, whole.Film, 100)
	const limit = 600 << 10
	m := makePage(t, dir, replay.Options{MaxBytes: limit})
	require.LessOrEqual(t, len(m.html), limit)
	require.Greater(t, len(m.html), limit/2)
	lost := 100 - len(m.Film)
	require.Contains(t, m.Left, fmt.Sprintf("%d of 100 frames of the film are left out, those around the failure last: the page would become too large", lost))
	at := map[int64]bool{}
	for _, f := range m.Film {
		at[f.T] = true
	}
	for ts := int64(4500000); ts <= 5500000; ts += 100000 {
		require.True(t, at[ts], "the frame at %v, near the failure, is left out", time.Duration(ts)*time.Microsecond)
	}
	require.False(t, at[100000], "a frame far from it is not")

	// For a lane that passed, only the last picture is in the page.
	m = makePage(t, dir, replay.Options{LastPicture: true})
	require.Len(t, m.Film, 10)
}

func TestPicturesAreInThePageAsTheyAre(t *testing.T) {
	t.Parallel()
	img := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	img.Set(1, 1, color.NRGBA{1, 2, 3, 255})
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	entry := begin + `{"t_us":2000000,"kind":"picture","via":"qmp","file":"last-qemu.png"}` + "\n" +
		`{"t_us":1000000,"kind":"beat","at":"end","name":"x","ms":5,"picture":"beat-01-x.png"}` + "\n" +
		`{"t_us":900000,"kind":"picture","via":"direct","file":"direct-client.png"}` + "\n" +
		`{"t_us":1500000,"kind":"picture","via":"direct","file":"direct-client.png"}` + "\n" +
		`{"t_us":1400000,"kind":"picture","via":"compared","file":"differs-client.png"}` + "\n"
	files := map[string]string{"timeline.ndjson": entry}
	for _, name := range []string{"last-qemu.png", "beat-01-x.png", "direct-client.png", "differs-client.png"} {
		files[name] = b.String()
	}
	pics := []pic{{"differs-client.png", "compared", 1400000}, {"direct-client.png", "direct", 1500000}, {"last-qemu.png", "qemu", 2000000}}

	// A client that was not filmed is shown by the pictures that were taken of it.
	dir := lay(t, files)
	m := makePage(t, dir, replay.Options{})
	require.Equal(t, pics, m.Pics, "a file that was written again has its last picture")
	require.Len(t, m.Film, 1)
	require.Equal(t, int64(1000000), m.Film[0].T)
	require.Contains(t, m.html, base64.StdEncoding.EncodeToString(b.Bytes()))
	require.Contains(t, m.Left, "there is no film: only the built-in client makes one; the screen shows the pictures that were taken")
	m = makePage(t, dir, replay.Options{LastPicture: true})
	require.Empty(t, m.Pics)
	require.Len(t, m.Film, 1)
	require.NoError(t, replay.Write(dir, replay.Options{}))
	r, err := replay.Read(dir)
	require.NoError(t, err)
	require.Nil(t, r.Film, "single pictures are no film")

	// The film has what the client showed.
	files[film.File], _ = noisyFilm(t, 2)
	m = makePage(t, lay(t, files), replay.Options{})
	require.Equal(t, pics, m.Pics)
	require.Len(t, m.Film, 2)
	require.Empty(t, m.Left)

	// A film without pictures, from a client that was killed early, does not hide taken pictures.
	files[film.File] = ""
	m = makePage(t, lay(t, files), replay.Options{})
	require.Len(t, m.Film, 1)
	says := "the film cannot be shown; the screen shows the pictures that were taken"
	require.Contains(t, m.Left, says)
}

// million writes a timeline of a million entries.
func million(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(begin)
	for i := range 1_000_000 {
		fmt.Fprintf(&b, `{"kind":"serial","n":%d,"t_us":%d,"text":"[%8d] line %d of a guest that talks"}`+"\n", i, i*50, i*50, i*7919%1000003)
	}
	return b.String()
}

func TestAMillionEventsFitIntoAPage(t *testing.T) {
	need.Long(t)
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel()
	dir := lay(t, map[string]string{"timeline.ndjson": million(t)})
	began := time.Now()
	m := makePage(t, dir, replay.Options{})
	t.Logf("%d bytes with %d events after %v", len(m.html), len(m.X), time.Since(began))
	require.LessOrEqual(t, len(m.html), replay.DefaultMaxBytes)
	if len(m.X) < 1_000_001 {
		require.Contains(t, m.Left, "lines in the middle of the logs and the timeline are left out: the page would become too large")
	}
	require.Greater(t, len(m.X), 300_000)
	require.Contains(t, m.X[len(m.X)-1], "of a guest", "the end is there")
	require.Contains(t, m.X[1], "[       0]", "and the beginning")
}
