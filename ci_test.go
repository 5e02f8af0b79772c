package spicelane_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/internal/distro"
	"github.com/spicelane/spicelane/internal/need"
)

func TestMain(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// A ciStep is a step of a workflow's job or of a composite action.
type ciStep struct {
	ID   string            `yaml:"id"`
	Name string            `yaml:"name"`
	If   string            `yaml:"if"`
	Uses string            `yaml:"uses"`
	Run  string            `yaml:"run"`
	Env  map[string]string `yaml:"env"`
	With map[string]any    `yaml:"with"`
}

// A ciFile is a workflow or an action, as far as the tests read it.
type ciFile struct {
	Permissions any `yaml:"permissions"`
	Jobs        map[string]struct {
		Uses  string         `yaml:"uses"`
		With  map[string]any `yaml:"with"`
		Steps []ciStep       `yaml:"steps"`
	} `yaml:"jobs"`
	Inputs map[string]any `yaml:"inputs"`
	Runs   struct {
		Steps []ciStep `yaml:"steps"`
	} `yaml:"runs"`
}

var (
	pinned    = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	makeRun   = regexp.MustCompile(`^make((?: [a-z0-9-]+)+)$`)
	scriptRun = regexp.MustCompile(`^"?(?:\$GITHUB_ACTION_PATH/\.\./\.\./\.\./|\.spicelane/)?((?:scripts/[a-z0-9-]+\.sh)|\.ci/run)"?(?: [\w./"$-]+)*$`)
)

// wrongSteps returns what is wrong with the steps of a job: an action that is not pinned by its
// commit, a run that is neither a make target nor a script, and an upload that no search for secrets
// comes before.
func wrongSteps(steps []ciStep, makefile string) []string {
	var wrong []string
	searched := ""
	for _, s := range steps {
		switch {
		case strings.HasPrefix(s.Uses, "./"):
		case s.Uses != "" && !pinned.MatchString(s.Uses):
			wrong = append(wrong, s.Uses+" is not pinned by a commit")
		}
		run := strings.TrimSpace(s.Run)
		if m := makeRun.FindStringSubmatch(run); m != nil {
			for _, target := range strings.Fields(m[1]) {
				if !regexp.MustCompile(`(?m)^` + target + `:`).MatchString(makefile) {
					wrong = append(wrong, "there is no make target "+target)
				}
			}
		} else if m := scriptRun.FindStringSubmatch(run); m != nil {
			if st, err := os.Stat(m[1]); err != nil || st.Mode()&0o111 == 0 {
				wrong = append(wrong, m[1]+" cannot be run")
			}
		} else if run != "" {
			wrong = append(wrong, fmt.Sprintf("%q is neither a make target nor a script", run))
		}
		if strings.Contains(run, "scripts/secrets.sh") {
			searched = s.ID
		}
		if strings.Contains(s.Uses, "upload-artifact@") && (searched == "" || !strings.Contains(s.If, "steps."+searched+".outcome == 'success'")) {
			wrong = append(wrong, "an upload does not depend on the search for secrets")
		}
	}
	return wrong
}

// readCI reads a workflow or an action.
func readCI(t *testing.T, path string) ciFile {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f ciFile
	if err := yaml.Unmarshal(b, &f); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}

const actionFile = ".github/actions/lanes/action.yml"

func TestWorkflowsRunTargetsAndScriptsAndPinnedActions(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	for _, path := range append(files, actionFile) {
		f := readCI(t, path)
		if path != actionFile && f.Permissions == nil {
			t.Errorf("%s gives its jobs every permission", path)
		}
		jobs := [][]ciStep{f.Runs.Steps}
		for _, job := range f.Jobs {
			jobs = append(jobs, job.Steps)
		}
		for _, steps := range jobs {
			for _, wrong := range wrongSteps(steps, string(makefile)) {
				t.Errorf("%s: %s", path, wrong)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "pull_request_target") {
			t.Errorf("%s runs a fork's code with this repository's rights", path)
		}
	}
	sha := strings.Repeat("a", 40)
	steps := []ciStep{
		{Uses: "actions/checkout@v4"}, {Uses: "actions/upload-artifact@" + sha}, {Run: "curl x | sh"}, {Run: "make nothing check"},
		{Run: "scripts/none.sh"}, {Run: "scripts/ci-kvm.sh; id"}, {Run: "scripts/ci-kvm.sh ${{ inputs.x }}"},
		{Run: "scripts/secrets.sh artifacts", ID: "s"}, {Uses: "actions/upload-artifact@" + sha, If: "always()"},
		{Uses: "actions/upload-artifact@" + sha, If: "always() && steps.s.outcome == 'success'"},
		{Run: "make check"}, {Run: ".ci/run"}, {Uses: "./.spicelane/x"},
	}
	want := []string{
		"actions/checkout@v4 is not pinned by a commit", "an upload does not depend on the search for secrets",
		`"curl x | sh" is neither a make target nor a script`, "there is no make target nothing", "scripts/none.sh cannot be run",
		`"scripts/ci-kvm.sh; id" is neither a make target nor a script`,
		`"scripts/ci-kvm.sh ${{ inputs.x }}" is neither a make target nor a script`,
		"an upload does not depend on the search for secrets",
	}
	if got := wrongSteps(steps, "check: ## words\n"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// make cross builds and vets for each platform that docs/hosts.md has, and CI runs it.
func TestEachPlatformOfTheDocsIsCrossBuilt(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	line := regexp.MustCompile(`(?m)^\tscripts/cross\.sh (.*)$`).FindStringSubmatch(read("Makefile"))
	said := regexp.MustCompile(`(?s)` + "`make cross`" + `[^.]*? for ([^.]*)\.`).FindStringSubmatch(read("docs/hosts.md"))
	if line == nil || said == nil {
		t.Fatalf("the Makefile has %q, docs/hosts.md %q", line, said)
	}
	platforms := strings.Fields(line[1])
	if documented := regexp.MustCompile(`\w+/\w+`).FindAllString(said[1], -1); !slices.Equal(platforms, documented) {
		t.Errorf("make cross is for %q, docs/hosts.md says %q", platforms, documented)
	}
	if !slices.ContainsFunc(readCI(t, ".github/workflows/ci.yml").Jobs["cross"].Steps, func(s ciStep) bool { return s.Run == "make cross" }) {
		t.Error("ci.yml has no job cross that runs make cross")
	}

	// A go that notes what it is asked for, and fails once.
	script, err := filepath.Abs("scripts/cross.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	fake := "#!/bin/sh\necho \"$GOOS/$GOARCH $CGO_ENABLED ${PWD##*/} $*\" >>" + dir + "/calls\n[ \"$GOOS $1\" != \"$BAD\" ]\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	cross := func(bad string) (calls []string, err error) {
		if err := os.WriteFile(filepath.Join(dir, "calls"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(script, platforms...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "BAD="+bad)
		err = cmd.Run()
		return strings.Split(strings.TrimSpace(read(filepath.Join(dir, "calls"))), "\n"), err
	}
	top, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range platforms {
		want = append(want, p+" 0 "+filepath.Base(top)+" build -o /dev/null ./cmd/spicelane",
			p+" 0 "+filepath.Base(top)+" vet ./...", p+" 0 examples vet ./...")
	}
	if calls, err := cross(""); err != nil || !slices.Equal(calls, want) {
		t.Errorf("%v; the script runs %q, want %q", err, calls, want)
	}
	for _, bad := range []string{"darwin vet", "darwin build", "linux vet"} {
		if _, err := cross(bad); err == nil {
			t.Errorf("the script passes when %s fails", bad)
		}
	}
}

// The nights' measurements are kept, and their trend is shown.
func TestTheNightlyMeasurementsBecomeATrend(t *testing.T) {
	need.Long(t)
	const archive = ".bench-archive"
	var kept, ran bool
	for _, s := range readCI(t, ".github/workflows/nightly.yml").Jobs["bench"].Steps {
		kept = kept || strings.HasPrefix(s.Uses, "actions/cache@") && s.With["path"] == archive && s.With["restore-keys"] == "bench-archive-"
		ran = ran || kept && s.Run == "scripts/ci-bench.sh "+archive
	}
	if !ran {
		t.Error("nightly.yml has no job bench that measures after it has restored the archive")
	}
	// The script runs the real program, in a checkout of two commits, with a plan that measures at once.
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(builtProgram(t), filepath.Join(dir, "bin", "spicelane")); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("scripts/ci-bench.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"scripts", ".ci"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "scripts/ci-bench.sh"), script, 0o700); err != nil {
		t.Fatal(err)
	}
	summary := filepath.Join(dir, "summary.md")
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GITHUB_STEP_SUMMARY="+summary, "XDG_STATE_HOME="+filepath.Join(dir, "state"),
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("git", "init", "-q")
	var trend string
	for _, value := range []string{"123.5", "456.25"} {
		plan := "name: bench\njobs:\n  lane:\n    steps:\n      - run: echo cold/banner " + value + " ms lower >\"$SPICELANE_MEASUREMENTS\"\n"
		if err := os.WriteFile(filepath.Join(dir, ".ci/bench.yaml"), []byte(plan), 0o600); err != nil {
			t.Fatal(err)
		}
		run("git", "add", ".ci")
		run("git", "commit", "-q", "-m", value)
		// The other night is on another machine, which has only the archive.
		for _, path := range []string{"artifacts", "summary.md"} {
			if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
		run("scripts/ci-bench.sh", archive)
		b, err := os.ReadFile(summary)
		if err != nil {
			t.Fatal(err)
		}
		trend = string(b)
	}
	for _, want := range []string{"2 builds in 2 runs", "1 measurements", "| lane: cold/banner | ▁█ |"} {
		if !strings.Contains(trend, want) {
			t.Errorf("the trend after two nights has no %s:\n%s", want, trend)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "artifacts/bench-trend/trend.html")); err != nil || st.Size() == 0 {
		t.Errorf("there is no page of the trend: %v", err)
	}
}

// The image has the packages that doctor asks for on its distribution, and the Go of this module.
func TestTheContainerImageHasWhatALaneNeeds(t *testing.T) {
	b, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(b), -1)
	if len(from) != 2 || from[1][1] != "debian:trixie-slim" {
		t.Fatalf("the images are %q", from)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	release := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))
	if !strings.HasPrefix(from[0][1], "golang:"+release[1]+"-") {
		t.Errorf("the program is built in %s, and go.mod says go %s", from[0][1], release[1])
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=debian\nVERSION_ID=13\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := distro.At(root, true).Packages(distro.QEMU, distro.SPICE, distro.ImageTool, distro.OVMF)
	installed := regexp.MustCompile(`apt-get install -y --no-install-recommends ([a-z0-9 -]+?) *\\\n`).FindStringSubmatch(string(b))
	if installed == nil || len(want) == 0 || !slices.Equal(strings.Fields(installed[1]), want) {
		t.Errorf("installed are %q, lanes need %q", installed, want)
	}
}

// make smoke installs what a lane needs, and not the compilers, browsers and servers of the tests.
func TestTheFirstLaneNeedsFewPackages(t *testing.T) {
	missing := func(args ...string) string {
		cmd := exec.Command("/bin/sh", append([]string{"scripts/setup.sh"}, args...)...)
		cmd.Env = []string{"PATH=" + t.TempDir()} // nothing is installed, and there is no apt
		out, _ := cmd.CombinedOutput()
		line := regexp.MustCompile(`(?m)^setup: missing: (.*?);? ` + "(?:this script|$)").FindStringSubmatch(string(out))
		if status := cmd.ProcessState.ExitCode(); status != 3 || line == nil {
			t.Fatalf("%q: status %d, %s", args, status, out)
		}
		return line[1]
	}
	lanes, all := missing("--lanes"), missing()
	if !regexp.MustCompile(`^make git qemu-utils xz-utils (ovmf )?qemu-system-x86 spice$`).MatchString(lanes) {
		t.Errorf("lanes need %s", lanes)
	}
	for _, p := range append(strings.Fields(lanes), "chromium", "clang", "shellcheck", "gcc") {
		if !slices.Contains(strings.Fields(all), p) {
			t.Errorf("the tests do not need %s: %s", p, all)
		}
	}
	for _, script := range []string{"scripts/smoke.sh", "scripts/ci-lanes.sh"} {
		if b, err := os.ReadFile(script); err != nil || !regexp.MustCompile(`(?m)setup\.sh"? --lanes$`).Match(b) {
			t.Errorf("%s installs more than lanes need, %v", script, err)
		}
	}
}

// inputs returns the inputs of the reusable workflow.
func inputs(t *testing.T) map[string]any {
	t.Helper()
	b, err := os.ReadFile(".github/workflows/lanes.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		On map[string]struct {
			Inputs map[string]any `yaml:"inputs"`
		} `yaml:"on"`
	}
	if err := yaml.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f.On["workflow_call"].Inputs
}

func TestTheExamplesForOtherRepositoriesUseWhatIsThere(t *testing.T) {
	known := inputs(t)
	for _, path := range []string{"kerbside.yml", "ryll.yml", "guest-image.yml"} {
		path = filepath.Join("examples/ci", path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n > 13 {
			t.Errorf("%s has %d lines", path, n)
		}
		for name, job := range readCI(t, path).Jobs {
			if job.Uses != "spicelane/spicelane/.github/workflows/lanes.yml@main" {
				t.Errorf("%s: job %s uses %s", path, name, job.Uses)
			}
			for input := range job.With {
				if known[input] == nil {
					t.Errorf("%s: the workflow has no input %s", path, input)
				}
			}
		}
	}
	action := readCI(t, actionFile)
	for _, s := range readCI(t, ".github/workflows/lanes.yml").Jobs["lanes"].Steps {
		if s.Uses != "./.spicelane/.github/actions/lanes" {
			continue
		}
		for input := range s.With {
			if action.Inputs[input] == nil {
				t.Errorf("the action has no input %s", input)
			}
		}
	}
	for _, path := range []string{"examples/ci/gitlab-ci.yml", "examples/ci/Jenkinsfile"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scripts := regexp.MustCompile(`\.spicelane/(scripts/[\w-]+\.sh)`).FindAllStringSubmatch(string(b), -1)
		if len(scripts) != 2 {
			t.Errorf("%s calls %d scripts, want ci-lanes.sh and secrets.sh", path, len(scripts))
		}
		for _, m := range scripts {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// secrets runs the search for secrets, changed by edit, and returns its exit status and its words.
func secrets(t *testing.T, edit func(string) string, dirs ...string) (status int, words string) {
	t.Helper()
	b, err := os.ReadFile("scripts/secrets.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "secrets.sh")
	if err := os.WriteFile(script, []byte(edit(string(b))), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{script}, dirs...)...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestSecretsAreFoundBeforeTheyAreUploaded(t *testing.T) {
	need.Long(t)
	same := func(s string) string { return s }
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// What lanes leave that looks a little like a secret.
	put("qemu.argv", "printf ticket | qemu -object secret,id=ticket,file=/dev/fd/4 -spice password-secret=ticket")
	put("client.log", "the ticket: it was refused; token spent; Bearer token missing")
	put("proxy-cert.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n")
	if status, words := secrets(t, same, dir); status != 0 || words != "" {
		t.Fatalf("nothing is secret here, but %d %s", status, words)
	}
	for kind, text := range map[string]string{
		"private key":          "x\n-----BEGIN " + "PRIVATE KEY-----\n",
		"virt-viewer password": "[virt-viewer]\npassword=" + "hunter2\n",
		"ticket":               `{"ticket": "` + `abcdefgh1234"}`,
		"bearer token":         "Authorization: Bearer " + "abcdefghijklmnopqrst",
		"GitHub token":         "\x00\x01gho_" + strings.Repeat("A1", 18),
		"access key":           "AKIA" + "IOSFODNN7EXAMPLE",
	} {
		path := put("deep/er/"+strings.ReplaceAll(kind, " ", "-"), text)
		status, words := secrets(t, same, dir)
		if status != 1 || !strings.Contains(words, path+": "+kind+"\n") {
			t.Errorf("%s: %d %q", kind, status, words)
		}
		if strings.Contains(words, text) {
			t.Errorf("%s: the secret itself is printed", kind)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	// The positive control: a search that finds less than what it planted is not trusted.
	for _, broken := range [][2]string{
		{"PRIVATE KEY-----\nvirt", "PUBLIC KEY-----\nvirt"}, {"(AKIA|ASIA)", "(BKIA)"}, {"grep -rlaE", "grep -rlIE"}, {"grep -rlaE", "true -rlaE"},
	} {
		edit := func(s string) string {
			changed := strings.ReplaceAll(s, broken[0], broken[1])
			if changed == s {
				t.Fatalf("the script has no %q", broken[0])
			}
			return changed
		}
		if status, words := secrets(t, edit, dir); status != 2 || !strings.Contains(words, "broken") {
			t.Errorf("with %q: %d %s", broken[1], status, words)
		}
	}
	if status, _ := secrets(t, same); status != 2 {
		t.Errorf("without a directory: %d", status)
	}
}

// The steps of the action run as they stand, in another repository's directory.
func TestTheStepsOfTheActionRunAsTheyStand(t *testing.T) {
	if os.Getenv(qemu.EnvLanes) != "require" {
		t.Skipf("the steps install packages and boot a lane: %s=require runs them", qemu.EnvLanes)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	summary := filepath.Join(other, "summary.md")
	ran := 0
	for _, s := range readCI(t, actionFile).Runs.Steps {
		if s.Run == "" {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-e", "-c", s.Run)
		cmd.Dir = other
		cmd.Env = append(os.Environ(), "GITHUB_ACTION_PATH="+filepath.Join(here, filepath.Dir(actionFile)), "GITHUB_STEP_SUMMARY="+summary)
		for name, value := range s.Env {
			if strings.HasPrefix(value, "${{") {
				value = "" // the default of each input
			}
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, out)
		}
	}
	if ran != 3 {
		t.Errorf("%d steps ran, want 3", ran)
	}
	for _, name := range []string{"doctor.txt", "screen.png", "lane/lane.html", "lane/serial.log", "lane/timeline.ndjson"} {
		if st, err := os.Stat(filepath.Join(other, "spicelane-evidence", name)); err != nil || st.Size() == 0 {
			t.Errorf("the evidence has no %s", name)
		}
	}
	b, err := os.ReadFile(summary)
	if err != nil || !strings.Contains(string(b), "PASS") {
		t.Errorf("the job's summary is %q, %v", b, err)
	}
}

// Another repository's own command is run in its directory, and what it leaves is evidence.
func TestACommandOfAnotherRepositoryLeavesEvidence(t *testing.T) {
	if os.Getenv(qemu.EnvLanes) != "require" {
		t.Skipf("the script installs packages: %s=require runs it", qemu.EnvLanes)
	}
	script, err := filepath.Abs("scripts/ci-lanes.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), `SPICELANE_CI_COMMAND=pwd >"${SPICELANE_CI_DIR:?}/words"; spicelane doctor >/dev/null && exit 7`)
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != 7 {
		t.Errorf("the exit status is %d, not the command's 7\n%s", status, out)
	}
	b, err := os.ReadFile(filepath.Join(cmd.Dir, "spicelane-evidence/words"))
	if want := cmd.Dir + "\n"; err != nil || string(b) != want {
		t.Errorf("the command left %q, %v, want %q", b, err, want)
	}
	if st, err := os.Stat(filepath.Join(cmd.Dir, "spicelane-evidence/doctor.txt")); err != nil || st.Size() == 0 {
		t.Errorf("the evidence has no doctor.txt: %v", err)
	}
}

var built struct {
	once      sync.Once
	dir, path string
	err       error
}

// builtProgram returns the program as a release has it. It is built once.
func builtProgram(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "spicelane-built-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "spicelane")
		build := exec.Command("go", "build", "-trimpath", "-o", built.path, "./cmd/spicelane")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if words, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, words)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// The documents of a release say what the program itself says that it is made of.
func TestWhatAProgramIsMadeOfIsListed(t *testing.T) {
	need.Long(t)
	program := builtProgram(t)
	out := filepath.Join(t.TempDir(), "x")
	run := func(program string) ([]byte, error) {
		return exec.Command("scripts/sbom.sh", program, "v1.2.3", out).CombinedOutput()
	}
	if words, err := run(program); err != nil {
		t.Fatalf("%v\n%s", err, words)
	}
	modules, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(modules), -1) {
		want = append(want, m[1]+"@"+m[2])
	}
	type pkg struct{ Name, VersionInfo, Version, SPDXID string }
	var spdx struct {
		SPDXVersion       string
		SPDXID            string
		DataLicense       string
		DocumentNamespace string
		Packages          []pkg
		Relationships     []struct{ SPDXElementID, RelationshipType, RelatedSPDXElement string }
	}
	var cdx struct {
		BOMFormat, SpecVersion string
		Components             []pkg
	}
	for suffix, v := range map[string]any{".spdx.json": &spdx, ".cdx.json": &cdx} {
		b, err := os.ReadFile(out + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatalf("%s: %v", suffix, err)
		}
	}
	if spdx.SPDXVersion != "SPDX-2.3" || spdx.SPDXID != "SPDXRef-DOCUMENT" || spdx.DataLicense != "CC0-1.0" || spdx.DocumentNamespace == "" ||
		cdx.BOMFormat != "CycloneDX" || cdx.SpecVersion != "1.5" {
		t.Errorf("the headings are %+v and %s %s", spdx, cdx.BOMFormat, cdx.SpecVersion)
	}
	var inSPDX, inCDX []string
	ids := []string{spdx.SPDXID}
	for _, p := range spdx.Packages {
		ids = append(ids, p.SPDXID)
		if p.Name != "spicelane" {
			inSPDX = append(inSPDX, p.Name+"@"+p.VersionInfo)
		}
	}
	for _, p := range cdx.Components {
		inCDX = append(inCDX, p.Name+"@"+p.Version)
	}
	if len(want) == 0 || !slices.Equal(inSPDX, want) || !slices.Equal(inCDX, want) {
		t.Errorf("listed are %q and %q, want %q", inSPDX, inCDX, want)
	}
	if len(spdx.Relationships) != len(want)+1 {
		t.Errorf("%d relationships for %d modules", len(spdx.Relationships), len(want))
	}
	for _, r := range spdx.Relationships {
		if !slices.Contains(ids, r.SPDXElementID) || !slices.Contains(ids, r.RelatedSPDXElement) {
			t.Errorf("a relationship of what is not listed: %+v", r)
		}
	}
	if words, err := run("/bin/sh"); err == nil {
		t.Errorf("a program that is not Go's is listed: %s", words)
	}
}

// A release is made of the commit that has its tag, and its programs say so.
func TestAReleaseIsMadeOfTheCommitWithItsTag(t *testing.T) {
	need.Long(t)
	dir := t.TempDir()
	for _, name := range []string{"cmd", "fixtures", "harness", "internal", "qmp", "scripts", "sources", "spice"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	run := func(status int, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
			t.Fatalf("%s %q: %v, want the status %d\n%s", name, args, err, status, out)
		}
		return strings.TrimSpace(string(out))
	}
	run(0, "git", "init", "-q")
	run(0, "git", "add", ".")
	run(0, "git", "commit", "-q", "-m", "all")
	commit := run(0, "git", "rev-parse", "HEAD")
	require.Regexp(t, `^scripts/release.sh: the program says "spicelane v0.0.0-\d+-[0-9a-f]{12}, commit `+commit+`, go[^"]*"; `+
		`it says v1.2.3 if that is the tag of this commit and nothing is changed$`, run(1, "scripts/release.sh", "v1.2.3"))
	run(0, "git", "tag", "v1.2.3")
	program := filepath.Join(t.TempDir(), "spicelane")
	run(0, "go", "build", "-buildvcs=true", "-trimpath", "-o", program, "./cmd/spicelane")
	require.Regexp(t, `^spicelane v1\.2\.3, commit `+commit+`, go\S+ linux/\w+$`, run(0, program, "--version"))
}

// Each go test of make test runs what calls need.Long: lanes are required, or all tests are wanted.
func TestMakeTestRunsTheTestsThatTakeLong(t *testing.T) {
	b, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	_, recipe, found := strings.Cut(string(b), "\ntest: ")
	require.True(t, found)
	recipe, _, _ = strings.Cut(recipe, "\n\n")
	runs := 0
	for _, line := range strings.Split(recipe, "\n") {
		if !strings.Contains(line, "scripts/test.sh") {
			continue
		}
		runs++
		require.Regexp(t, qemu.EnvLanes+"=require|"+need.EnvTests+"=all", line)
	}
	require.Equal(t, 3, runs)
}
