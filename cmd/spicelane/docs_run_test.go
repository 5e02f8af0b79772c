package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/internal/need"
)

// A docCommand is one command in a block of a page.
type docCommand struct {
	page string // such as docs/ci.md
	text string
}

// docCommands returns the commands in the blocks of shell of a page. A command ends with its line,
// unless a quote is open, or a backslash or a pipe is at the end.
func docCommands(name, page string) []docCommand {
	var all []docCommand
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(block[1], "#!") { // a script is one command
			all = append(all, docCommand{name, block[1]})
			continue
		}
		text := ""
		for _, line := range strings.Split(block[1], "\n") {
			text += line
			code, comment, _ := strings.Cut(text, "  #")
			open := strings.Count(code, "'")%2 == 1 || comment == "" && (strings.HasSuffix(text, `\`) || strings.HasSuffix(text, "|"))
			if open {
				text += "\n"
				continue
			}
			if strings.TrimSpace(text) != "" {
				all = append(all, docCommand{name, text})
			}
			text = ""
		}
	}
	return all
}

// A reason says why the test below does not run a command.
type reason struct {
	page  string // empty for any page
	start string // of the command
	why   string
}

const (
	aTarget  = "CI runs this target; a test of the repository's root checks that it is there"
	measures = "it measures, which takes minutes; the nightly workflow does"
	theirs   = "it needs a program of somebody else that no distribution packages"
	asHelp   = "it is an example of the program's help; another test checks its words and flags"
)

// notRunHere are the commands that something else runs, or nothing.
var notRunHere = []reason{
	{"", "make ", aTarget},
	{"docs/commands.md", "", asHelp},
	{"CONTRIBUTING.md", "go test ./...", aTarget},
	{"docs/ci.md", "SPICELANE_CI_PROXY=", "the script installs packages; TestTheStepsOfTheActionRunAsTheyStand runs it"},
	{"docs/fixtures.md", "spicelane up --fixture ./my-guest.yaml", "the page has no image for it; the module examples boots such an entry"},
	{"docs/foreign-parts.md", "spicelane up --client 'ryll ", theirs},
	{"docs/foreign-parts.md", "#!/bin/bash", theirs},
	{"docs/foreign-parts.md", "spicelane up --proxy './kerbside.sh ", theirs},
	{"docs/foreign-parts.md", "spicelane smoke lane-1", theirs},
	{"docs/foreign-parts.md", "spicelane up --proxy 'socat ", "the script lane-foreign.txt runs it"},
	{"docs/foreign-parts.md", "spicelane up --proxy 'stunnel4 ", "the script lane-foreign.txt runs it"},
	{"docs/foreign-parts.md", "spicelane up --proxy 'haproxy ", "the script lane-foreign.txt runs it"},
	{"docs/foreign-parts.md", "spicelane up --proxy 'nginx ", "the script lane-foreign.txt runs it"},
	{"docs/performance.md", "go test ", measures},
	{"docs/performance.md", "scripts/bench-client.sh", measures},
	{"docs/reading-a-red-lane.md", "SPICELANE_KEEP=failed go test", "the lane stays up until somebody presses Ctrl-C; a test of package harness does"},
	{"docs/reading-a-red-lane.md", "go test -json", "the script report.txt runs it on streams; make test runs it on this repository"},
	{"docs/releases.md", "scripts/release.sh", "it builds for minutes; the release workflow runs it"},
	{"docs/screens.md", "go test -update-screens", "tests of package harness run such tests"},
	{"docs/screens.md", "spicelane text --png screen.png --font", "the font is in a package that scripts/setup.sh does not install; tests of the Linux guest read that font"},
	{"docs/screens.md", "spicelane text --png bios.png --learn", "TestAFontThatIsLearntFromOneScreenReadsAnother runs it on a picture of its own"},
	{"docs/screens.md", "spicelane text --png next.png", "TestAFontThatIsLearntFromOneScreenReadsAnother runs it on a picture of its own"},
	{"docs/truth.md", "spicelane truth --only text,stroke", "it takes minutes; it is part of make truth, which CI runs"},
	{"docs/truth.md", "spicelane truth --only 5066", "the script lane-truth.txt runs other steps the same way"},
	{"docs/warm-lanes.md", "diff ", "it compares two files of the cache, of which there may be one"},
}

// ownTests run the commands of a page in a world that the page describes.
var ownTests = map[string]func(*testing.T){
	"docs/archive.md": TestTheCommandsOfTheArchivesDocumentRun,
	"docs/bisect.md":  TestTheCommandsOfTheBisectionsDocumentRun,
	"docs/plans.md":   TestTheCommandsOfThePageAboutPlansWork,
}

// reasonFor returns the first reason why a command is not run; nil if it is.
func reasonFor(c docCommand) *reason {
	for i, r := range notRunHere {
		if (r.page == "" || r.page == c.page) && strings.HasPrefix(c.text, r.start) {
			return &notRunHere[i]
		}
	}
	return nil
}

// assumeALane is what comes before the commands of pages that assume a lane that is up.
var assumeALane = map[string]string{
	"docs/screens.md":            "spicelane up --name a --dir artifacts/a\n",
	"docs/reading-a-red-lane.md": "spicelane up --name red\n",
}

// hostNeeds says what the commands of a page need of a host, besides lanes; the test is skipped without it.
var hostNeeds = map[string]func(*testing.T){
	"docs/firmware.md": func(t *testing.T) { needFile(t, "/usr/share/OVMF/OVMF_CODE_4M.fd") },
	"docs/fixtures.md": func(t *testing.T) {
		if _, err := harness.BuildLinux(t.Context()); err != nil {
			need.OrSkip(t, err.Error())
		}
	},
	"docs/foreign-parts.md":      needSocat,
	"docs/getting-started.md":    needSocat,
	"docs/reading-a-red-lane.md": func(t *testing.T) { need.Program(t, "ffmpeg") },
}

func needSocat(t *testing.T) { need.Program(t, "socat") }

func needFile(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		need.OrSkip(t, err.Error()+"; on Debian scripts/setup.sh installs it")
	}
}

// mayBeOne are commands of which a page says that 1 is an answer, too.
var mayBeOne = regexp.MustCompile(`exit status 1 if`)

// script returns what runs the commands of a page as they stand.
func script(page string, commands []docCommand) string {
	var b strings.Builder
	b.WriteString(assumeALane[page])
	for _, c := range commands {
		switch {
		case mayBeOne.MatchString(c.text):
			code, _, _ := strings.Cut(c.text, "  #")
			fmt.Fprintf(&b, "%s || test $? -eq 1\n", strings.TrimSpace(code))
		case strings.Contains(c.text, " -f  "): // it follows a log until the lane ends
			code, _, _ := strings.Cut(c.text, "  #")
			fmt.Fprintf(&b, "%s >followed &\n", strings.TrimSpace(code))
		default:
			b.WriteString(c.text + "\n")
		}
	}
	return b.String() + "spicelane down --all\nwait\n"
}

// Every command in a block of a page is run here as it stands, or by a test of its own, or there is a
// reason why not.
func TestEveryCommandOfTheDocumentsRuns(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	names = append(names, "../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md", "../../fixtures/guest/README.md")
	here := make(map[string][]docCommand)
	used := make(map[*reason]int)
	elsewhere, run := 0, 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		page := strings.TrimPrefix(name, "../../")
		for _, c := range docCommands(page, string(b)) {
			r := reasonFor(c)
			switch {
			case ownTests[page] != nil:
				elsewhere++
			case r != nil:
				used[r]++
			default:
				// It runs in a directory without the repository.
				if !regexp.MustCompile(`^(bin/)?spicelane |^export `).MatchString(c.text) {
					t.Errorf("%s: %q cannot be run by this test: add a reason to notRunHere that says what runs it", page, c.text)
				}
				here[page] = append(here[page], c)
				run++
			}
		}
	}
	reasons := 0
	for i := range notRunHere {
		r := &notRunHere[i]
		if used[r] == 0 {
			t.Errorf("there is a reason why %q in %q is not run, and no such command", r.start, r.page)
		}
		reasons += used[r]
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(r.why, -1) {
			require.Contains(t, tests(t), "\nfunc "+name+"(", "a reason names a test that is not there")
		}
		for _, name := range regexp.MustCompile(`[a-z-]+\.txt`).FindAllString(r.why, -1) {
			require.FileExists(t, filepath.Join("testdata", name))
		}
	}
	t.Logf("the documents have %d commands: %d are run here, %d by tests of their own, %d not, each for a reason",
		run+elsewhere+reasons, run, elsewhere, reasons)
	require.Greater(t, run, 35, "this test no longer finds the commands")

	harness.RequireHost(t)
	for _, page := range slices.Sorted(maps.Keys(here)) {
		t.Run(page, func(t *testing.T) {
			if needs := hostNeeds[page]; needs != nil {
				needs(t)
			}
			runCommands(t, script(page, here[page]))
		})
	}
}

// tests returns the source of this package's tests, and of those of the repository's root.
func tests(t *testing.T) string {
	t.Helper()
	all := ""
	for _, pattern := range []string{"*_test.go", "../../*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			all += string(b)
		}
	}
	return all
}

// runCommands runs a script as a reader would, in a directory that has what the pages speak of.
func runCommands(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	// NB: a symbolic link does not do, because the program starts itself again by the path of its file.
	require.NoError(t, os.WriteFile(filepath.Join(bin, "spicelane"), program, 0o700))
	// The reader's own proxy and client.
	require.NoError(t, os.WriteFile(filepath.Join(bin, "my-proxy"), []byte("#!/bin/sh\n"+
		`exec socat "OPENSSL-LISTEN:${2#*:},bind=127.0.0.1,reuseaddr,fork,cert=$4,verify=0" "TCP:$6"`+"\n"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "my-client"), []byte("#!/bin/sh\n"+
		`exec spicelane client --vv "$2" --socket "$4"`+"\n"), 0o700))
	require.NoError(t, os.Rename(filmedLane(t, 3), filepath.Join(dir, "DIR")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "my-guest.yaml"), []byte("name: my-guest\nimage: my-guest.qcow2\n"), 0o600))
	image, err := os.ReadFile("../../fixtures/images/beacon.qcow2")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "my-guest.qcow2"), image, 0o600))
	tmp := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(tmp, 0o700))

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-x", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_STATE_HOME="+filepath.Join(dir, "state"),
		"TMPDIR="+tmp, host.EnvCacheDir+"="+host.CacheDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		down := exec.Command(filepath.Join(bin, "spicelane"), "down", "--all")
		down.Env = cmd.Env
		words, _ := down.CombinedOutput()
		t.Fatalf("%v\n%s\n%s", err, out, words)
	}
	if strings.Contains(script, "spicelane up ") {
		requireKnownFiles(t, filepath.Join(dir, "state", "spicelane", "lanes"), filepath.Join(dir, "artifacts"))
	}
}

// requireKnownFiles fails the test if a lane has left a file in a directory of these that the page about
// red lanes does not list.
func requireKnownFiles(t *testing.T, below ...string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/reading-a-red-lane.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(b), "\n## What a lane leaves behind\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	listed := func(name string) bool { return strings.Contains(table, "`"+name+"`") }
	require.True(t, listed("serial.log") && !listed("none.log"))
	lanes := 0
	for _, dir := range below {
		verdicts, err := filepath.Glob(filepath.Join(dir, "*", "verdict.json"))
		require.NoError(t, err)
		for _, v := range verdicts {
			lanes++
			es, err := os.ReadDir(filepath.Dir(v))
			require.NoError(t, err)
			for _, e := range es {
				if !listed(e.Name()) {
					t.Errorf("docs/reading-a-red-lane.md does not list %s, which a lane left", e.Name())
				}
			}
		}
	}
	require.Positive(t, lanes, "no lane has left its files in %q", below)
}

func TestTheCommandsOfAPageAreFound(t *testing.T) {
	page := "```sh\nspicelane up   # words, and 'more\n\nspicelane x 'a\n  b' \\\n  c\ngo test |\n  spicelane report\n```\n`not this`\n```\nnor this\n```\n```sh\n#!/bin/sh\nx\ny\n```\n"
	var texts []string
	for _, c := range docCommands("p", page) {
		texts = append(texts, c.text)
	}
	require.Equal(t, []string{"spicelane up   # words, and 'more", "spicelane x 'a\n  b' \\\n  c", "go test |\n  spicelane report", "#!/bin/sh\nx\ny\n"}, texts)
}
