// Package spicelane_test has the tests that are about the whole tree: which package may
// import which, and whether the documents are true.
package spicelane_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/internal/need"
)

const module = "github.com/spicelane/spicelane/"

// A rule forbids the packages of from to need any of never, directly or through
// others. Patterns are paths in the module, "..." at the end meaning everything
// below as well; "std" in only means the standard library.
type rule struct {
	from   []string
	except []string
	never  []string // forbidden
	only   []string // instead of never: what alone is allowed, besides from itself
	direct bool     // look at direct imports only
	why    string
}

var rules = []rule{
	{
		from:  []string{"spice/..."},
		never: []string{"harness/...", "qmp/...", "sources/...", "fixtures/..."},
		why:   "the SPICE stack is of use to people who have no lane; what it needs of the others it declares as an interface",
	},
	{
		from:  []string{"spice/codec/..."},
		never: []string{"spice/wire", "spice/link", "spice"},
		why:   "codecs are leaves, bytes in and pixels out: they are tested with vector files and fuzzed without a connection",
	},
	{
		from:  []string{"spice/wire"},
		never: []string{"net", "spice/link", "spice", "spice/codec/..."},
		why:   "messages know no connections, so that client, proxy, scripted server and recordings share them",
	},
	{
		from:  []string{"spice/proxy"},
		never: []string{"spice", "spice/codec/...", "spice/canvas", "spice/control"},
		why:   "the proxy decodes no pixels: what it relays it must not be able to misread",
	},
	{
		from: []string{"spice/control"},
		only: []string{"std", "spice/control/internal/...", "internal/ctxio"},
		why:  "a driver of the control socket needs the protocol, and neither a server nor a client of any console",
	},
	{
		from: []string{"spice/control/server"},
		only: []string{"std", "spice/control", "spice/control/internal/...", "internal/bgra", "internal/ctxio", "internal/fresh", "internal/quantile"},
		why:  "the server drives a Console, and another protocol than SPICE can stand behind it",
	},
	{
		from:  []string{"spice/control/..."},
		never: []string{"spice/proxy"},
		why:   "the control socket drives a console, however that is reached",
	},
	{
		from:  []string{"sources/..."},
		never: []string{"harness/...", "fixtures/...", "spice"},
		why:   "where consoles are listed has nothing to do with testing them",
	},
	{
		from:  []string{"sources/..."},
		never: []string{"spice/proxy/...", "github.com/prometheus/..."},
		why:   "a program that reads a sources.yaml must not link a proxy and its metrics",
	},
	{
		from: []string{"spice/console"},
		only: []string{"std", "internal/hostport"},
		why:  "a console is a description that sources write and proxies read",
	},
	{
		from:  []string{"qmp/..."},
		never: []string{"harness/...", "spice/...", "sources/...", "fixtures/...", "cmd/..."},
		why:   "the QMP client is of use without all of this",
	},
	{
		from:  []string{"fixtures/..."},
		never: []string{"harness/...", "spice/...", "sources/...", "qmp/...", "cmd/..."},
		why:   "images are described, not run, here",
	},
	{
		from: []string{"fixtures/digest"},
		only: []string{"std"},
		why:  "authors of other guests and drivers can import the digest without anything else",
	},
	{
		from:  []string{"harness/qemu", "harness/serial"},
		never: []string{"spice", "spice/control", "spice/proxy", "sources/...", "fixtures/..."},
		why:   "a machine is a process with QMP and a serial line; what is on its screen is the lane's business",
	},
	{
		from: []string{"harness/..."},
		except: []string{"harness", "harness/scenario/...", "harness/bench", "harness/soak", "harness/keylatency",
			"harness/plan", "harness/plan/runner", "harness/plan/worker",
			"harness/internal/..."},
		never: []string{"harness"},
		why:   "what a lane is made of, and what looks at one, is of use without it; only what brings lanes up needs it",
	},
	{
		from: []string{"internal/..."},
		only: []string{"std"},
		why:  "what several packages share must not tie them to anything else",
	},
	{
		from: []string{"harness/verdict", "harness/timeline"},
		only: []string{"std"},
		why:  "everything has verdicts and may write to the timeline: they must cost nothing",
	},
	{
		from: []string{"harness/plan/result"},
		only: []string{"std", "harness/verdict"},
		why:  "results are read where nothing can run: in an archive, in a comparison",
	},
	{
		from:  []string{"harness/plan/worker"},
		never: []string{"harness/plan/runner"},
		why:   "a worker carries out what it is told, on any host; who tells it, and how, is the runner's business",
	},
	{
		from: []string{"harness/film"},
		only: []string{"std", "github.com/klauspost/compress/...", "golang.org/x/sys/unix"},
		why:  "a film is made of pixels from any source, and is also read where nothing draws",
	},
	{
		from: []string{"harness/replay"},
		only: []string{"std", "harness/film", "harness/timeline", "harness/verdict", "internal/atomicfile", "github.com/klauspost/compress/...",
			"golang.org/x/sys/unix"},
		why: "a page is made of what a lane left behind, also where no lane can run",
	},
	{
		from: []string{"harness/playback"},
		only: []string{"std", "harness/film", "harness/replay", "harness/timeline", "harness/verdict", "harness/serial", "harness/filewatch",
			"harness/screen/...", "internal/atomicfile", "github.com/klauspost/compress/...", "github.com/fsnotify/fsnotify/...",
			"golang.org/x/sys/unix"},
		why: "a video is made of what a lane left behind, also where no lane can run",
	},
	{
		from:   []string{"..."},
		except: []string{"harness/trace/otlp", "cmd/..."},
		never:  []string{"go.opentelemetry.io/...", "google.golang.org/grpc/...", "harness/trace/otlp"},
		why:    "OpenTelemetry brings gRPC and megabytes: only who sends spans has to link it, and no test of a lane does",
	},
	{
		from:  []string{"harness/trace"},
		never: []string{"harness/qemu", "qmp/...", "spice/...", "testing"},
		why:   "a trace is made of what a run left behind, also where no lane can run",
	},
	{
		from:  []string{"harness/report"},
		never: []string{"harness/qemu", "qmp/...", "spice/...", "testing"},
		why:   "a report is made of what a run left behind, also where no lane can run",
	},
	{
		from:  []string{"harness/archive", "harness/archive/compare"},
		never: []string{"harness/qemu", "qmp/...", "spice/...", "harness/archive/s3store", "testing"},
		why:   "an archive is read where no lane can run, and one in a directory without a client of an object storage",
	},
	{
		from:  []string{"harness/bisect"},
		never: []string{"spice/...", "harness/archive/s3store", "testing"},
		why:   "a search runs commands; which lanes they bring up, and where results are kept, is not its business",
	},
	{
		from:  []string{"harness/drive"},
		never: []string{"harness/qemu", "harness/host", "qmp/...", "spice", "spice/codec/..."},
		why:   "a control socket may belong to any client: to drive one takes no machine and no SPICE client",
	},
	{
		from:  []string{"harness/headless"},
		never: []string{"harness/qemu", "harness/host", "harness/registry", "qmp/..."},
		why:   "the two daemons run without a lane, against any console",
	},
	{
		from:  []string{"harness/registry", "harness/host"},
		never: []string{"spice/...", "harness/drive", "harness/headless"},
		why:   "which lanes are up, and what the computer can do, is known without any console",
	},
	{
		from: []string{"harness/screen/..."},
		only: []string{"std", "internal/atomicfile", "harness/verdict"},
		why:  "what can be said of a picture takes no lane and no control socket: it is as true of a file",
	},
	{
		from: []string{"harness/truth/qxl", "harness/truth/catalogue"},
		only: []string{"std"},
		why:  "the catalogue is data: it can also be sent to another server",
	},
	{
		from:   []string{"..."},
		except: []string{"cmd/..."},
		never:  []string{"cmd/..."},
		why:    "commands print and exit; what others could use belongs into a package",
	},
	{
		from:   []string{"..."},
		except: []string{"harness", "harness/scenario"},
		never:  []string{"testing"},
		direct: true,
		why:    "testing in a program registers flags and drags in what no user runs; packages named *test are for tests",
	},
}

// pkg is what "go list -json" says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	CgoFiles   []string
	Error      *struct{ Err string }
}

// load lists the module's packages and everything that they need.
func load(t *testing.T) map[string]pkg {
	t.Helper()
	// Listing the source directories here makes the cached result of this test
	// depend on them; what a child process reads does not count.
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || path == "artifacts" || path == "bin") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports,Deps,CgoFiles,Error", "./...")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	pkgs := make(map[string]pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
	return pkgs
}

// matches reports whether an import path is meant by one of the patterns.
func matches(path string, patterns []string) bool {
	path = strings.TrimPrefix(path, module)
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if below, ok := strings.CutSuffix(pattern, "..."); ok {
			return strings.HasPrefix(path+"/", below)
		}
		return path == pattern
	})
}

// violations returns one line for each package that breaks r.
func (r rule) violations(pkgs map[string]pkg) []string {
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(pkgs)) {
		if !strings.HasPrefix(path, module) || !matches(path, r.from) || matches(path, r.except) {
			continue
		}
		if r.direct && strings.HasSuffix(path, "test") {
			continue
		}
		needs := pkgs[path].Deps
		if r.direct {
			needs = pkgs[path].Imports
		}
		for _, need := range needs {
			bad := matches(need, r.never)
			if r.only != nil {
				bad = !matches(need, r.from) && !matches(need, r.only) && (!slices.Contains(r.only, "std") || !pkgs[need].Standard)
			}
			if bad {
				lines = append(lines, fmt.Sprintf("%s needs %s%s", strings.TrimPrefix(path, module), strings.TrimPrefix(need, module), via(pkgs, path, need)))
			}
		}
	}
	return lines
}

// via names the direct import of path through which it needs need.
func via(pkgs map[string]pkg, path, need string) string {
	for _, imp := range pkgs[path].Imports {
		if imp == need {
			return ""
		}
	}
	for _, imp := range pkgs[path].Imports {
		if slices.Contains(pkgs[imp].Deps, need) {
			return " through " + strings.TrimPrefix(imp, module)
		}
	}
	return ""
}

func TestImportsPointOneWay(t *testing.T) {
	pkgs := load(t)
	for _, r := range rules {
		for _, line := range r.violations(pkgs) {
			t.Errorf("%s, but %s", line, r.why)
		}
	}
}

func TestTheDefaultBuildHasNoCgo(t *testing.T) {
	need.Long(t)
	for path, p := range load(t) {
		if len(p.CgoFiles) > 0 && strings.HasPrefix(path, module) {
			t.Errorf("%s uses cgo in %v: one static binary must run on every Linux", path, p.CgoFiles)
		}
	}
}

// Each rule is held against a tree of two packages that breaks it, once for each pattern
// that it forbids and each that it is about.
func TestEachRuleIsSeenBroken(t *testing.T) {
	// within returns a path that a pattern means.
	within := func(pattern string) string {
		path := strings.TrimSuffix(pattern, "/...")
		if path == "..." {
			path = "leaf"
		}
		if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && path != "testing" && path != "net" {
			path = module + path
		}
		return path
	}
	for _, r := range rules {
		forbidden := r.never
		if r.only != nil {
			forbidden = []string{"gopkg.in/yaml.v3", "cmd/..."}
		}
		for _, from := range r.from {
			for _, never := range forbidden {
				who, needs := within(from), within(never)
				if matches(who, r.except) {
					who += "/below" // the pattern means more than the exception
				}
				pkgs := map[string]pkg{
					who:   {Imports: []string{needs}, Deps: []string{needs}},
					needs: {Standard: !strings.Contains(needs, ".")},
				}
				want := []string{strings.TrimPrefix(who, module) + " needs " + strings.TrimPrefix(needs, module)}
				if got := r.violations(pkgs); !slices.Equal(got, want) {
					t.Errorf("%v may not need %s: got %q, want %q", r.from, never, got, want)
				}
				if through := module + "between"; !r.direct && r.only == nil && from != "..." {
					pkgs[who] = pkg{Imports: []string{through}, Deps: []string{through, needs}}
					pkgs[through] = pkg{Imports: []string{needs}, Deps: []string{needs}}
					want[0] += " through between"
					if got := r.violations(pkgs); !slices.Equal(got, want) {
						t.Errorf("%v may not need %s through another: got %q, want %q", r.from, never, got, want)
					}
				}
			}
		}
		for _, except := range r.except {
			who := within(except)
			needs := within(forbidden[0])
			if got := r.violations(map[string]pkg{who: {Imports: []string{needs}, Deps: []string{needs}}}); len(got) > 0 {
				t.Errorf("%s is an exception, but %q", except, got)
			}
		}
	}
}

// A rule about a package that has got another name holds nothing.
func TestEachRuleIsAboutPackagesThatAreThere(t *testing.T) {
	pkgs := load(t)
	for _, r := range rules {
		for _, pattern := range slices.Concat(r.from, r.except, r.never, r.only) {
			there := func(path string) bool { return matches(path, []string{pattern}) }
			if pattern != "std" && !slices.ContainsFunc(slices.Collect(maps.Keys(pkgs)), there) {
				t.Errorf("no package is %s, which a rule is about: %s", pattern, r.why)
			}
		}
	}
}

func TestTheDocumentsNameFilesAndPackagesThatAreThere(t *testing.T) {
	for path, page := range documents(t) {
		if missing := notThere(prose(page)); len(missing) > 0 {
			t.Errorf("%s names what is not there: %q", path, missing)
		}
	}
	if missing := notThere("`harness/no.go`, `hands.go`, `spice/nothing` and `harness/host/dirs.go`"); !slices.Equal(missing, []string{"harness/no.go", "hands.go", "spice/nothing"}) {
		t.Errorf("this test does not see what is not there: %q", missing)
	}
}

// notThere returns the paths in backquotes that are no file or directory, of the module or of
// harness.
func notThere(text string) []string {
	var missing []string
	for i, word := range strings.Split(text, "`") {
		isPath := strings.HasSuffix(word, ".go") || strings.HasPrefix(word, "harness/") || strings.HasPrefix(word, "spice/") || strings.HasPrefix(word, "internal/")
		if i%2 == 0 || !isPath || strings.ContainsAny(word, " \n") {
			continue
		}
		path := strings.TrimSuffix(word, "/…")
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if _, err := os.Stat(filepath.Join("harness", path)); err != nil {
			missing = append(missing, word)
		}
	}
	return missing
}

func TestABrokenRuleIsSeen(t *testing.T) {
	pkgs := map[string]pkg{
		"net":                   {ImportPath: "net", Standard: true},
		"gopkg.in/yaml.v3":      {ImportPath: "gopkg.in/yaml.v3"},
		module + "qmp":          {},
		module + "spice":        {Imports: []string{module + "spice/odd"}, Deps: []string{module + "spice/odd", module + "qmp"}},
		module + "spice/odd":    {Imports: []string{module + "qmp"}, Deps: []string{module + "qmp"}},
		module + "spicey":       {Imports: []string{module + "qmp"}, Deps: []string{module + "qmp"}},
		module + "leaf":         {Imports: []string{"net", "gopkg.in/yaml.v3"}, Deps: []string{"net", "gopkg.in/yaml.v3"}},
		module + "sources":      {Imports: []string{"testing"}, Deps: []string{"testing"}},
		module + "sourcestest":  {Imports: []string{"testing"}, Deps: []string{"testing"}},
		module + "harness":      {Imports: []string{"testing"}, Deps: []string{"testing"}},
		module + "cmd/user":     {Imports: []string{module + "sources"}, Deps: []string{module + "sources", "testing"}},
		"example.com/elsewhere": {Imports: []string{module + "qmp"}, Deps: []string{module + "qmp"}},
	}
	for _, c := range []struct {
		r    rule
		want []string
	}{
		{rule{from: []string{"spice/..."}, never: []string{"qmp/..."}}, []string{"spice needs qmp through spice/odd", "spice/odd needs qmp"}},
		{rule{from: []string{"spice"}, never: []string{"qmp"}, direct: true}, nil},
		{rule{from: []string{"leaf"}, only: []string{"std"}}, []string{"leaf needs gopkg.in/yaml.v3"}},
		{rule{from: []string{"spice"}, only: []string{"std", "spice/..."}}, []string{"spice needs qmp through spice/odd"}},
		{rule{from: []string{"spice/odd"}, only: []string{"std", "qmp"}}, nil},
		{rule{from: []string{"..."}, except: []string{"harness"}, never: []string{"testing"}, direct: true}, []string{"sources needs testing"}},
	} {
		if got := c.r.violations(pkgs); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %q, want %q", c.r, got, c.want)
		}
	}
}
