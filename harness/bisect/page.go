package bisect

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// The files that a finished search writes: the Result as JSON, and the page.
const (
	ResultFile = "result.json"
	PageFile   = "bisect.html"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"short":   func(s string) string { return s[:min(len(s), 10)] },
	"percent": func(p float64) float64 { return 100 * p },
}).Parse(pageText))

// A pageSide is one side of the page: the good or the bad test.
type pageSide struct {
	Title   string
	Test    *Test
	Picture template.URL // empty if the test's evidence has none
	Output  string
}

// Limits of what the page takes from a test's evidence, in bytes.
const (
	maxPicture = 8 << 20
	maxOutput  = 16 << 10
)

// writePage writes the result as JSON for programs and as a page for people.
func (s *Session) writePage(r *Result) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, ResultFile), append(b, '\n'), 0o644)
	}
	if err != nil {
		return verdict.Classify("bisect", err)
	}
	data := struct {
		*Result
		Sides []pageSide
	}{Result: r}
	for _, side := range []pageSide{{Title: "Good", Test: r.GoodTest}, {Title: "Bad", Test: r.BadTest}} {
		if side.Test == nil {
			continue
		}
		dir := filepath.Join(s.dir, side.Test.Evidence)
		side.Picture, side.Output = pictureOf(dir), outputOf(dir)
		data.Sides = append(data.Sides, side)
	}
	var out bytes.Buffer
	if err = page.Execute(&out, data); err == nil {
		err = atomicfile.Write(filepath.Join(s.dir, PageFile), out.Bytes(), 0o644)
	}
	return verdict.Classify("bisect", err)
}

// pictureOf returns the newest PNG below dir as a data URL; empty if there is none.
func pictureOf(dir string) template.URL {
	var newest string
	var when int64
	// NB: a test may leave anything as evidence, so files that cannot be read are skipped.
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.EqualFold(filepath.Ext(path), ".png") {
			return nil
		}
		if st, err := e.Info(); err == nil && st.Size() <= maxPicture && st.ModTime().UnixNano() >= when {
			newest, when = path, st.ModTime().UnixNano()
		}
		return nil
	})
	b, err := os.ReadFile(newest)
	if err != nil {
		return ""
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b)) //nolint:gosec // base64
}

// outputOf returns the end of a test's output.
func outputOf(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "output.log"))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(b[max(0, len(b)-maxOutput):]), "\uFFFD")
}
