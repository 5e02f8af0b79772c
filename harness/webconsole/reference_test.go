package webconsole_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"image"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/webconsole"
	"github.com/spicelane/spicelane/internal/need"
)

const setupScreen = "../screen/text/testdata/ovmf-setup.png"

// click clicks in the middle of an element of the page.
func click(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	type point struct{ X, Y float64 }
	at := pagetest.Eval[point](t, tab, selector, `(() => {
		const e = document.querySelector("`+selector+`");
		e.scrollIntoView({ block: "nearest" });
		const r = e.getBoundingClientRect();
		return { X: r.left + r.width / 2, Y: r.top + r.height / 2 };
	})()`)
	require.NoError(t, chromedp.Do(tab, chromedp.MouseClickXY(at.X, at.Y)))
}

// fits requires that nothing of the tool is cut off at its side, and that the number of an area
// hides nothing in it.
func fits(t *testing.T, tab context.Context) {
	t.Helper()
	require.Empty(t, pagetest.Eval[[]string](t, tab, "what does not fit", `(() => {
		const form = document.getElementById("keptform"), edge = form.getBoundingClientRect().right, wrong = [];
		for (const e of form.querySelectorAll("*")) {
			const range = document.createRange();
			range.selectNodeContents(e);
			if (range.getBoundingClientRect().right > edge || e.getBoundingClientRect().right > edge) wrong.push(e.outerHTML);
		}
		for (const area of document.querySelectorAll("#areas .area")) {
			const a = area.getBoundingClientRect(), n = area.firstChild.getBoundingClientRect();
			if (a.left < n.right && n.left < a.right && a.top < n.bottom && n.top < a.bottom) wrong.push("the number of area " + area.textContent);
			if (n.top < 0 || n.height === 0) wrong.push("the number of area " + area.textContent + " is not seen");
		}
		return wrong;
	})()`))
}

// A person draws areas on a picture in the page, with the mouse, and saves them.
func TestAReferenceImageIsDrawnInABrowser(t *testing.T) {
	need.Browser(t)
	dir := filepath.Join(t.TempDir(), "needles")
	srv := serve(t, webconsole.Config{Needles: dir})
	tab := pagetest.Open(t, t.Context())
	complained := pagetest.Watch(tab)
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(srv.Link())))
	pagetest.Await(t, tab, "the button", `!document.getElementById("keep").hidden`)

	// The page shows a screen of the firmware. This needs no lane.
	want, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	file, err := os.ReadFile(setupScreen)
	require.NoError(t, err)
	pagetest.Eval[bool](t, tab, "a picture", `(() => {
		const img = new Image();
		img.onload = () => { canvas.width = img.width; canvas.height = img.height; ctx.drawImage(img, 0, 0); document.documentElement.dataset.painted = 1; };
		img.src = "data:image/png;base64,`+base64.StdEncoding.EncodeToString(file)+`";
		return true;
	})()`)
	pagetest.Await(t, tab, "the picture", `document.documentElement.dataset.painted === "1"`)
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "before.png"))
	click(t, tab, "#keep")
	pagetest.Await(t, tab, "the tool", `!document.getElementById("keeper").hidden`)

	type point struct{ X, Y float64 }
	corner := pagetest.Eval[point](t, tab, "the picture's place", `(() => {
		const r = document.getElementById("sheet").getBoundingClientRect();
		return { X: r.left, Y: r.top };
	})()`)
	drag := func(x0, y0, x1, y1 int) {
		t.Helper()
		for _, step := range []struct {
			kind input.DispatchMouseEventType
			x, y int
		}{{chromedp.MousePressed, x0, y0}, {chromedp.MouseMoved, x1, y0}, {chromedp.MouseMoved, x1, y1}, {chromedp.MouseReleased, x1, y1}} {
			require.NoError(t, chromedp.Do(tab, chromedp.MouseEvent(step.kind, corner.X+float64(step.x)+.5, corner.Y+float64(step.y)+.5, chromedp.ButtonLeft)))
		}
	}
	// The second area is drawn from its lower right corner.
	drag(8, 21, 207, 39)
	drag(383, 153, 240, 135)
	pagetest.Eval[bool](t, tab, "the type", `document.getElementById("kepttype").value = "exclude"; true`)
	drag(240, 135, 255, 153)
	set := func(js string) {
		t.Helper()
		pagetest.Eval[bool](t, tab, js, js+`; true`)
	}
	set(`(() => { const i = document.querySelectorAll("#keptareas li:nth-child(1) input[type=number]"); i[4].value = 97; i[5].value = 5; for (const e of i) e.dispatchEvent(new Event("input")); })()`)
	click(t, tab, "#keptareas li:nth-child(2) input[type=checkbox]")
	for field, text := range map[string]string{"#keptname": "setup", "#kepttags": "menu ovmf"} {
		click(t, tab, field)
		require.NoError(t, chromedp.Do(tab, chromedp.KeyEvent(text)))
	}
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "reference.png"))
	fits(t, tab)
	click(t, tab, "#keptsave")
	saved := filepath.Join(dir, "setup.json")
	pagetest.Await(t, tab, "that it is saved", `document.getElementById("keptsaid").textContent === "Saved: `+saved+`"`)

	require.LessOrEqual(t, pagetest.Eval[float64](t, tab, "what was said", `document.getElementById("keptsaid").getBoundingClientRect().bottom - innerHeight`), 0.0,
		"below the window's edge, nobody sees it")

	b, err := os.ReadFile(saved)
	require.NoError(t, err)
	require.JSONEq(t, `{"area": [
		{"xpos": 8, "ypos": 21, "width": 200, "height": 19, "type": "match", "match": 97, "margin": 5},
		{"xpos": 240, "ypos": 135, "width": 144, "height": 19, "type": "match", "match": 100, "margin": 0, "click_point": "center"},
		{"xpos": 240, "ypos": 135, "width": 16, "height": 19, "type": "exclude"}
	], "properties": [], "tags": ["menu", "ovmf"]}`, string(b))
	got, err := pixmap.ReadFile(filepath.Join(dir, "setup.png"))
	require.NoError(t, err)
	require.Equal(t, want.Bounds(), got.Bounds())
	for y := range want.Height {
		require.Equal(t, want.Row(y, 0, want.Width), got.Row(y, 0, got.Width), "row %d", y)
	}
	d, err := needle.Open(dir)
	require.NoError(t, err)
	r, err := d.Match(t.Context(), needle.Query{Tag: "menu ovmf"}, want)
	require.NoError(t, err)
	require.True(t, r.Matched())

	// A reference image is not replaced unnoticed, and the page shows errors.
	require.Empty(t, complained.Complaints())
	click(t, tab, "#keptsave")
	pagetest.Await(t, tab, "that there is one", `document.getElementById("keptsaid").textContent.includes("is there already")`)
	click(t, tab, "#keptareas li:nth-child(1) button")
	set(`document.getElementById("kepttype").value = "ocr"`)
	drag(24, 173, 135, 191)
	set(`(() => { const i = document.querySelector("#keptareas li:nth-child(3) input[type=text]"); i.value = "Device Manager"; i.dispatchEvent(new Event("input")); })()`)
	set(`document.getElementById("keptform").scrollTo(0, 0)`)
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "text.png"))
	fits(t, tab)
	click(t, tab, "#keptreplace")
	click(t, tab, "#keptsave")
	pagetest.Await(t, tab, "that it is replaced", `document.getElementById("keptsaid").textContent.startsWith("Saved: ")`)
	n, err := needle.ReadFile(saved)
	require.NoError(t, err)
	require.Len(t, n.Areas, 3)
	require.Equal(t, needle.TypeOCR, n.Areas[2].Type)
	require.Equal(t, "Device Manager", n.Areas[2].Text)
	require.Equal(t, image.Rect(24, 173, 136, 192), n.Areas[2].Rect())
	click(t, tab, "#keptcancel")
	pagetest.Await(t, tab, "the page", `document.getElementById("keeper").hidden && document.getElementById("said").textContent.startsWith("saved ")`)
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "after.png"))
}

func TestReferenceImagesAreKeptOnlyForThoseWhoMayAndOnlyIfTheyAreSome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "needles")
	srv := serve(t, webconsole.Config{Needles: dir})
	c := person(t)
	file, err := os.ReadFile(setupScreen)
	require.NoError(t, err)
	post := func(kind string, body map[string]any) (int, string) {
		t.Helper()
		b, err := json.Marshal(body)
		require.NoError(t, err)
		resp, err := c.Post("http://"+srv.Addr()+"/reference", kind, strings.NewReader(string(b)))
		require.NoError(t, err)
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(said)
	}
	area := map[string]any{"xpos": 0, "ypos": 0, "width": 8, "height": 8, "type": "match"}
	body := func(name string, area map[string]any, png []byte) map[string]any {
		return map[string]any{"name": name, "png": png, "needle": map[string]any{"area": []any{area}, "tags": []string{"a"}}}
	}
	status, _ := post("application/json", body("a", area, file))
	require.Equal(t, http.StatusUnauthorized, status)
	require.Equal(t, http.StatusNoContent, login(t, c, srv, tokenOf(t, srv.Link())).StatusCode)
	wide := map[string]any{"xpos": 0, "ypos": 0, "width": 641, "height": 8, "type": "match"}
	for _, tc := range []struct {
		body map[string]any
		want string
	}{
		{body("../a", area, file), "want a name that can be a file's"},
		{body(".a", area, file), "want a name that can be a file's"},
		{body("", area, file), "want a name that can be a file's"},
		{body("a", wide, file), "is not within the picture"},
		{body("a", map[string]any{"type": "exclude", "width": 1, "height": 1}, file), "no area of type match or ocr"},
		{body("a", area, []byte("GIF89a, and more of it")), "the picture: png: invalid format"},
	} {
		status, said := post("application/json", tc.body)
		require.Equal(t, http.StatusBadRequest, status, said)
		require.Contains(t, said, tc.want)
	}
	status, _ = post("text/plain", body("a", area, file))
	require.Equal(t, http.StatusUnsupportedMediaType, status, "what a form of another site can send")
	require.NoDirExists(t, dir)
	status, said := post("application/json", body("a", area, file))
	require.Equal(t, http.StatusOK, status, said)
	require.FileExists(t, filepath.Join(dir, "a.png"))
	status, said = post("application/json", body("a", area, file))
	require.Equal(t, http.StatusConflict, status, said)

	// A console without a directory does not create one.
	srv = serve(t, webconsole.Config{})
	require.Equal(t, http.StatusNoContent, login(t, c, srv, tokenOf(t, srv.Link())).StatusCode)
	status, _ = post("application/json", body("b", area, file))
	require.Equal(t, http.StatusNotFound, status)
	resp, _ := get(t, c, "http://"+srv.Addr()+"/reference", nil)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
}
