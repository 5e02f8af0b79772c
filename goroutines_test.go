package spicelane_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// elsewhere are functions that run what they are given on another goroutine than their
// caller's.
var elsewhere = []string{"Go", "AfterFunc", "HandleFunc", "HandlerFunc", "Eventually", "Never", "Observe"}

// stopsElsewhere returns where the code of a test calls what must be called on the
// test's own goroutine: FailNow, by any of its names, only ends the goroutine that calls
// it, so that the test goes on and may pass or wait for ever.
func stopsElsewhere(fset *token.FileSet, file *ast.File) []string {
	var found []string
	look := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			on, ok := f.X.(*ast.Ident)
			if !ok {
				return true
			}
			stops := on.Name == "require" ||
				(on.Name == "t" || on.Name == "tb") && (strings.HasPrefix(f.Sel.Name, "Fatal") || f.Sel.Name == "FailNow" || strings.HasPrefix(f.Sel.Name, "Skip"))
			if stops {
				found = append(found, fmt.Sprintf("%s: %s.%s", fset.Position(call.Pos()), on.Name, f.Sel.Name))
			}
			return true
		})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			look(n.Call)
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(elsewhere, f.Sel.Name) {
				return true
			}
			for _, arg := range n.Args {
				if body, ok := arg.(*ast.FuncLit); ok {
					look(body)
				}
			}
		}
		return true
	})
	return found
}

func TestNoTestIsStoppedOffItsOwnGoroutine(t *testing.T) {
	fset := token.NewFileSet()
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(filepath.Dir(path), "test") || filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		files++
		for _, where := range stopsElsewhere(fset, file) {
			t.Errorf("%s on another goroutine than the test's: use assert, or send the error to the test", where)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("%d test files were read: this test looks in the wrong place", files)
	}
}

func TestATestThatIsStoppedOffItsGoroutineIsSeen(t *testing.T) {
	const source = `package x
func TestX(t *testing.T) {
	require.NoError(t, nil)
	go func() { require.NoError(t, nil) }()
	wg.Go(func() { if true { t.Fatal("no") } })
	require.Eventually(t, func() bool { require.True(t, true); return true }, 0, 0)
	go func() { assert.NoError(t, nil); t.Error("fine") }()
}`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x_test.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"x_test.go:4:14: require.NoError", "x_test.go:5:27: t.Fatal", "x_test.go:6:38: require.True"}
	if got := stopsElsewhere(fset, file); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
