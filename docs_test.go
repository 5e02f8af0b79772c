package spicelane_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/internal/need"
)

// documents returns the pages that people read, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := make(map[string]string)
	for _, path := range append(paths, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "fixtures/guest/README.md") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages[path] = string(b)
	}
	return pages
}

// A block is the text between two fences of a page.
type block struct {
	line     int // of its first line
	language string
	text     string
}

// blocks returns the fenced blocks of a page.
func blocks(page string) []block {
	var all []block
	inside := false
	for i, line := range strings.SplitAfter(page, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			all = append(all, block{line: i + 2, language: strings.TrimSpace(language)})
			inside = true
		case fence:
			inside = false
		case inside:
			all[len(all)-1].text += line
		}
	}
	return all
}

// prose returns a page without its fenced blocks.
func prose(page string) string {
	return regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(page, "")
}

// importPaths has the import path of each package that an example uses.
var importPaths = map[string]string{
	"context": "context", "filepath": "path/filepath", "image": "image", "slices": "slices", "testing": "testing", "time": "time",
	"require":  "github.com/stretchr/testify/require",
	"digest":   module + "fixtures/digest",
	"harness":  module + "harness",
	"headless": module + "harness/headless",
	"impair":   module + "harness/impair",
	"pixmap":   module + "harness/screen/pixmap",
	"qemu":     module + "harness/qemu",
	"qxl":      module + "harness/truth/qxl",
	"scenario": module + "harness/scenario",
	"screen":   module + "harness/screen",
	"text":     module + "harness/screen/text",
}

// given declares what an example may use without declaring it.
const given = "ctx context.Context, t *testing.T, lane *harness.Lane, box image.Rectangle, presses func(harness.Digest) int"

// goFile makes an example a file of a package. It keeps the line numbers of the page in
// what the compiler says.
func goFile(path string, b block) (string, error) {
	body := fmt.Sprintf("//line %s:%d\n%s", path, b.line, b.text)
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+body, 0)
	if err != nil {
		// These are statements, not declarations. They may leave what they declare unused.
		fragment := "package p\nfunc _(" + given + ") {\n{\n" + body
		file, err = parser.ParseFile(token.NewFileSet(), "", fragment+"}\n}\n", 0)
		if err != nil {
			return "", err
		}
		statements := file.Decls[0].(*ast.FuncDecl).Body.List[0].(*ast.BlockStmt).List
		used := ""
		for _, s := range statements {
			if assign, ok := s.(*ast.AssignStmt); ok && assign.Tok == token.DEFINE {
				for _, name := range assign.Lhs {
					if name := name.(*ast.Ident).Name; name != "_" {
						used += "_ = " + name + "\n"
					}
				}
			}
		}
		body = strings.TrimPrefix(fragment, "package p\n") + used + "}\n}\n"
	}
	imports := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && importPaths[x.Name] != "" {
				imports[fmt.Sprintf("import %q\n", importPaths[x.Name])] = true
			}
		}
		return true
	})
	return "package p\n" + strings.Join(slices.Sorted(maps.Keys(imports)), "") + body, nil
}

// vetExamples compiles and vets the Go examples of pages, each as a package of a module
// that uses this one. It returns what is wrong, and how many examples there are.
func vetExamples(t *testing.T, pages map[string]string) (complaints string, examples int) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if name == "go.mod" {
			self := strings.TrimSuffix(module, "/")
			text = strings.Replace(text, "module "+self, "module example", 1)
			text += fmt.Sprintf("\nrequire %s v0.0.0\nreplace %s => %s\n", self, self, here)
		}
		write(name, text)
	}
	for _, path := range slices.Sorted(maps.Keys(pages)) {
		for _, b := range blocks(pages[path]) {
			if b.language != "go" {
				continue
			}
			text, err := goFile(path, b)
			if err != nil {
				complaints += fmt.Sprintf("%s:%d: %v\n", path, b.line, err)
				continue
			}
			examples++
			write(fmt.Sprintf("example%d/example.go", examples), text)
		}
	}
	if examples == 0 {
		return complaints, 0
	}
	cmd := exec.Command("go", "vet", "./...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		complaints += string(out)
	}
	return complaints, examples
}

func TestTheGoExamplesInTheDocumentsCompile(t *testing.T) {
	need.Long(t)
	complaints, examples := vetExamples(t, documents(t))
	if complaints != "" {
		t.Error(complaints)
	}
	if examples == 0 {
		t.Error("no document has an example in Go")
	}
	bad := make(map[string]string)
	wants := []string{"a.md:3:", "b.md:4:", "c.md:3:", "d.md:3:"}
	for path, example := range map[string]string{
		"a.md": "lane := harness.Up(t, harness.Config{Colour: 1})", // no such field
		"b.md": "func TestX(t *testing.T) {\n\tt.NoSuchMethod()\n}",
		"c.md": `t.Logf("%d", "a text")`, // compiles, and vet finds it
		"d.md": "lane := harness.Up(t, harness.Config{}",
	} {
		bad[path] = "Words\n```go\n" + example + "\n```\n"
	}
	complaints, _ = vetExamples(t, bad)
	for _, want := range wants {
		if !strings.Contains(complaints, want) {
			t.Errorf("no complaint about %s in %q", want, complaints)
		}
	}
}

// anchors returns the fragments by which the headings of a page can be linked to.
func anchors(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(prose(page), -1) {
		slug := regexp.MustCompile(`[^\pL\pN_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(slug, " ", "-"))
	}
	return all
}

// broken returns the links of a page that lead nowhere.
func broken(t *testing.T, path, page string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(prose(page), -1) {
		if strings.HasPrefix(m[1], "https://") {
			continue
		}
		file, fragment, _ := strings.Cut(m[1], "#")
		target := page
		if file != "" {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
			if err != nil {
				all = append(all, m[1])
				continue
			}
			target = string(b)
		}
		if fragment != "" && !slices.Contains(anchors(target), fragment) {
			all = append(all, m[1])
		}
	}
	return all
}

func TestTheLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	for path, page := range documents(t) {
		for _, link := range broken(t, path, page) {
			t.Errorf("%s links to %s, which is not there", path, link)
		}
	}
	page := "# The `way` of a key\n[a](#the-way-of-a-key) [b](#the-way) [c](docs/proxy.md) [d](docs/none.md) [e](docs/proxy.md#none)"
	if got, want := broken(t, "README.md", page), []string{"#the-way", "docs/none.md", "docs/proxy.md#none"}; !slices.Equal(got, want) {
		t.Errorf("broken links are %q, want %q", got, want)
	}
}

// named returns what a page names that has to exist: make's targets, and variables of the
// environment.
func named(page string) (targets, variables []string) {
	for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)").FindAllStringSubmatch(page, -1) {
		targets = append(targets, m[1])
	}
	return targets, regexp.MustCompile(`\bSPICELANE_[A-Z_]+`).FindAllString(page, -1)
}

// unknown returns the targets and variables that a page names and the tree does not have.
func unknown(page, makefile, source string) []string {
	targets, variables := named(page)
	var all []string
	for _, target := range targets {
		if !regexp.MustCompile(`(?m)^` + target + `:`).MatchString(makefile) {
			all = append(all, "make "+target)
		}
	}
	for _, v := range variables {
		// A placeholder {port} of a command line is $SPICELANE_PORT in its environment.
		placeholder := "{" + strings.ToLower(strings.TrimPrefix(v, "SPICELANE_")) + "}"
		if !strings.Contains(source, v) && !strings.Contains(page, placeholder) {
			all = append(all, v)
		}
	}
	return all
}

func TestTheDocumentsNameTargetsAndVariablesThatAreThere(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".sh") {
			return err
		}
		b, err := os.ReadFile(path)
		source.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, page := range documents(t) {
		for _, name := range unknown(page, string(makefile), source.String()) {
			t.Errorf("%s names %s, which is not there", path, name)
		}
	}
	page := "`make check` and\nmake nothing\n`SPICELANE_LANES` `SPICELANE_NONE` `SPICELANE_VV` `{vv}`"
	if got, want := unknown(page, "check: ## words\n", "SPICELANE_LANES"), []string{"make nothing", "SPICELANE_NONE"}; !slices.Equal(got, want) {
		t.Errorf("unknown names are %q, want %q", got, want)
	}
}

// ownVariables are variables that only this repository's own code sets for itself.
var ownVariables = regexp.MustCompile(`^SPICELANE_(PLAY_PART|TEST_[A-Z_]+|NONE)$`)

// undocumented returns the variables of the environment that source reads or sets and page lacks.
func undocumented(source, page string) []string {
	var all []string
	for _, m := range regexp.MustCompile("[\"`${](SPICELANE_[A-Z_]+)").FindAllStringSubmatch(source, -1) {
		if v := m[1]; !ownVariables.MatchString(v) && !strings.Contains(page, "`"+v+"`") && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

func TestThePageAboutTheEnvironmentHasEveryVariable(t *testing.T) {
	page, err := os.ReadFile("docs/environment.md")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == "docs_test.go" || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".sh") {
			return err
		}
		b, err := os.ReadFile(path)
		read++
		for _, v := range undocumented(string(b), string(page)) {
			t.Errorf("%s has %s, which docs/environment.md lacks", path, v)
		}
		return err
	})
	if err != nil || read < 100 {
		t.Fatalf("%d files, %v", read, err)
	}
	got := undocumented("os.Getenv(\"SPICELANE_A\") $SPICELANE_B ${SPICELANE_C:-} SPICELANE_D `SPICELANE_PLAY_PART`", "`SPICELANE_B`")
	if want := []string{"SPICELANE_A", "SPICELANE_C"}; !slices.Equal(got, want) {
		t.Errorf("undocumented are %q, want %q", got, want)
	}
}

// examples returns the names of the examples of a package's directory, as pkg.go.dev shows them.
func examples(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	var parsed []*ast.File
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	var names []string
	for _, e := range doc.Examples(parsed...) {
		names = append(names, e.Name)
	}
	return names, nil
}

func TestThePackagesThatOthersUseHaveExamples(t *testing.T) {
	for dir, want := range map[string][]string{
		"harness":       {"Config_Check", "Start", "Up", "Up_yourProxy"},
		"spice":         {"Dial"},
		"spice/control": {"Dial", "Driver_Await", "ParseKey"},
		"spice/proxy":   {"Start"},
		"qmp":           {"", "Client_Do"},
		"sources":       {"FieldError", "NewCatalog", "OpenText"},
	} {
		got, err := examples(dir)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has the examples %q, want %q", dir, got, want)
		}
	}
}

// Pictures of the program grow old unless they can be made again. Drawings are text, in SVG.
func TestEachPictureOfTheDocumentsIsMadeByAScript(t *testing.T) {
	scripts := ""
	names, err := filepath.Glob("scripts/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		scripts += string(b)
	}
	pictures := 0
	err = filepath.WalkDir("docs", func(path string, d fs.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".png", ".jpg", ".jpeg", ".gif", ".webp":
			pictures++
			if !strings.Contains(scripts, path) {
				t.Errorf("no script makes %s", path)
			}
		}
		return err
	})
	if err != nil || pictures == 0 {
		t.Errorf("%d pictures, %v", pictures, err)
	}
}
