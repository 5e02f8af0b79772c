package lanetest_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

var (
	boots = regexp.MustCompile(`\bharness\.(Up|Start)\(`)
	says  = regexp.MustCompile(`\blanetest\.(Main|Count)\(`)
)

// silent returns the packages whose tests bring lanes up but do not report what those lanes
// carried.
func silent(t *testing.T, tree fs.FS) []string {
	t.Helper()
	booting, saying := map[string]bool{}, map[string]bool{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "testdata" {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		booting[path.Dir(name)] = booting[path.Dir(name)] || boots.Match(text)
		saying[path.Dir(name)] = saying[path.Dir(name)] || says.Match(text)
		return err
	})
	require.NoError(t, err)
	var packages []string
	for dir, lanes := range booting {
		if lanes && !saying[dir] {
			packages = append(packages, dir)
		}
	}
	slices.Sort(packages)
	return packages
}

func TestEachPackageThatBringsLanesUpSaysWhatTheyCarried(t *testing.T) {
	require.Empty(t, silent(t, os.DirFS("../..")), "these packages bring lanes up; their TestMain must call lanetest.Main or Count")
}

func TestAPackageThatDoesNotSayWhatItsLanesCarriedIsFound(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	require.Equal(t, []string{"b"}, silent(t, fstest.MapFS{
		"a/a_test.go":          file("lane := harness.Up(t, cfg)"),
		"a/main_test.go":       file("func TestMain(m *testing.M) { lanetest.Main(m) }"),
		"b/b_test.go":          file("lane, err := harness.Start(ctx, cfg)"),
		"c/c_test.go":          file("nothing"),
		"d/d.go":               file("harness.Start(ctx, cfg)"),
		"e/testdata/e_test.go": file("harness.Up(t, cfg)"),
	}))
}
