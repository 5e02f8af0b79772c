package plan_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// load loads a plan's text as plan.yaml.
func load(t *testing.T, text string, env ...string) (*plan.Loaded, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("plan.yaml", []byte(text), 0o600))
	return plan.Load(context.Background(), "plan.yaml", plan.Options{LookupEnv: func(name string) (string, bool) {
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}})
}

const matrixPlan = `name: matrix
env: {COLOUR: green}
jobs:
  boot:
    strategy:
      matrix:
        display: [qxl, virtio]
        tls: [true, false]
        include:
          - {display: qxl, memory: 512}
          - {display: std, tls: false, memory: 128}
        exclude:
          - {display: virtio, tls: true}
    steps:
      - lane:
          display: ${{ matrix.display }}
          backend_tls: ${{ matrix.tls }}
          memory_mib: "${{ matrix.memory == 0 ? 256 : matrix.memory }}"
          proxy: none
        id: guest
      - suite: boot
      - run: echo ${{ matrix.display }} in ${{ env.COLOUR }} ${{ env.SIZE }}
        env: {SIZE: "${{ matrix.tls ? 'big' : 'small' }} ${{ env.COLOUR }}"}
`

func TestAMatrixIsExpandedAsOnGitHub(t *testing.T) {
	l, err := load(t, matrixPlan)
	require.NoError(t, err)
	var ids, paths []string
	for _, c := range l.Cells {
		ids = append(ids, c.ID)
		paths = append(paths, c.Path)
	}
	require.Equal(t, []string{
		"boot (display=qxl, tls=true, memory=512)", "boot (display=qxl, tls=false, memory=512)",
		"boot (display=virtio, tls=false)", "boot (display=std, tls=false, memory=128)",
	}, ids)
	require.Equal(t, "boot-display=qxl-tls=true-memory=512", paths[0])
	task, err := l.Task(l.Cells[0])
	require.NoError(t, err)
	cfg := task.Steps[0].Lane.Config
	require.Equal(t, qemu.QXL, cfg.Display)
	require.True(t, cfg.BackendTLS)
	require.Equal(t, 512, cfg.MemoryMiB)
	require.Equal(t, "guest", cfg.Name)
	require.Equal(t, "none", cfg.Proxy.String())
	require.Equal(t, "guest", task.Steps[1].On)
	require.Equal(t, "echo qxl in green big green", task.Steps[2].Run)
	task, err = l.Task(l.Cells[2])
	require.NoError(t, err)
	require.Equal(t, 256, task.Steps[0].Lane.Config.MemoryMiB)
	require.False(t, task.Steps[0].Lane.Config.BackendTLS)
}

func TestAMistakeIsReportedWithItsLineAndWhatIsNear(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"an empty file":          {"", "plan.yaml: the file is empty"},
		"no jobs":                {"name: x\n", "plan.yaml:1:1: the plan has no jobs"},
		"no YAML":                {"jobs:\n\t- x\n", "plan.yaml:2:1: found character that cannot start any token"},
		"two documents":          {"jobs: {a: {steps: [{run: x}]}}\n---\nb: 1\n", "plan.yaml:2:1: a second document begins here; a plan is one document"},
		"an unknown key":         {"jobs:\n  a:\n    step: []\n", `plan.yaml:3:5: jobs.a: unknown key "step" (did you mean "steps"?)`},
		"a key twice":            {"jobs:\n  a:\n    steps: [{run: x}]\n    steps: [{run: y}]\n", `plan.yaml:4:5: jobs.a: the key "steps" is here for the second time; the first is in line 3`},
		"a merge key":            {"jobs:\n  a: &a\n    steps: [{run: x}]\n  b:\n    <<: *a\n", "plan.yaml:5:5: jobs.b: merge keys (<<) are not supported; repeat the values, or use an alias for a whole value"},
		"a number for a text":    {"name: 7\njobs: {a: {steps: [{run: x}]}}\n", "plan.yaml:1:7: name: this is the number 7, and text is wanted: put it into quotes"},
		"a text for a truth":     {"jobs:\n  a:\n    continue-on-error: maybe\n    steps: [{run: x}]\n", `plan.yaml:3:24: jobs.a.continue-on-error: this is the text "maybe", and true or false is wanted`},
		"a bad duration":         {"jobs:\n  a:\n    timeout: 10\n    steps: [{run: x}]\n", "plan.yaml:3:14: jobs.a.timeout: this is the number 10, and a duration such as 90s, 10m or 1h30m is wanted"},
		"a list for a mapping":   {"jobs: [a]\n", "plan.yaml:1:7: jobs: this is a list, and keys with values are wanted"},
		"an unknown need":        {"jobs:\n  build: {steps: [{run: x}]}\n  a: {needs: biuld, steps: [{run: x}]}\n", `plan.yaml:3:3: jobs.a.needs[0]: there is no job "biuld" (did you mean "build"?)`},
		"a circle":               {"jobs:\n  a: {needs: b, steps: [{run: x}]}\n  b: {needs: c, steps: [{run: x}]}\n  c: {needs: b, steps: [{run: x}]}\n", "plan.yaml:3:3: jobs.b: the jobs need each other in a circle: b needs c needs b"},
		"an unknown executor":    {"jobs:\n  a: {executor: lab, steps: [{run: x}]}\n", `plan.yaml:2:3: jobs.a.executor: there is no executor "lab" (known are local)`},
		"two kinds":              {"jobs:\n  a:\n    steps:\n      - run: x\n        suite: boot\n", "plan.yaml:4:9: jobs.a.steps[0]: it has suite or run, and only one of them is possible"},
		"no kind":                {"jobs:\n  a:\n    steps:\n      - name: x\n", "plan.yaml:4:9: jobs.a.steps[0]: it needs one of lane, suite, beats, go-test or run"},
		"no lane":                {"jobs:\n  a:\n    steps:\n      - suite: boot\n", "plan.yaml:4:9: jobs.a.steps[0]: no step before brings a lane up"},
		"an unknown suite":       {"jobs:\n  a:\n    steps:\n      - lane:\n      - suite: boots\n", `plan.yaml:5:9: jobs.a.steps[1].suite: there is no suite "boots" (did you mean "boot"?); the suites are boot, `},
		"an unknown lane key":    {"jobs:\n  a:\n    steps:\n      - lane: {displya: qxl}\n", `plan.yaml:4:16: jobs.a.steps[0].lane: a lane has no "displya" (did you mean "display"?)`},
		"a bad lane":             {"jobs:\n  a:\n    steps:\n      - lane: {display: cga}\n", `plan.yaml:4:15: jobs.a.steps[0].lane: display: "cga" is not one of qxl, virtio, std`},
		"a bad lane of one cell": {"jobs:\n  a:\n    strategy: {matrix: {d: [qxl, cga]}}\n    steps:\n      - lane: {display: \"${{ matrix.d }}\"}\n", `plan.yaml:5:15: jobs.a.steps[0].lane: in the cell a (d=cga): display: "cga" is not one of qxl, virtio, std`},
		"a wrong type of a cell": {"jobs:\n  a:\n    strategy: {matrix: {m: [big]}}\n    steps:\n      - lane: {memory_mib: \"${{ matrix.m }}\"}\n", `plan.yaml:5:28: jobs.a.steps[0].lane.memory_mib: in the cell a (m=big): this is the text "big", and a whole number is wanted`},
		"an unknown variable":    {"jobs:\n  a:\n    steps:\n      - run: echo ${{ matrix.x }}\n", `plan.yaml:4:9: jobs.a.steps[0].run: "matrix.x": `},
		"a condition of a text":  {"jobs:\n  a:\n    if: \"'yes'\"\n    steps: [{run: x}]\n", `plan.yaml:2:3: jobs.a.if: "'yes'": expected bool, but got string`},
		"types that do not fit":  {"jobs:\n  a:\n    strategy: {matrix: {n: [1, 2]}}\n    if: matrix.n == 'one'\n    steps: [{run: x}]\n", `plan.yaml:2:3: jobs.a.if: "matrix.n == 'one'": invalid operation: == (mismatched types int and string)`},
		"a later step":           {"jobs:\n  a:\n    steps:\n      - {run: x, if: steps.b.outcome == 'success'}\n      - {run: y, id: b}\n", `plan.yaml:4:9: jobs.a.steps[0].if: "steps.b.outcome == 'success'": `},
		"a job that is no need":  {"jobs:\n  b: {steps: [{run: x}]}\n  a: {if: needs.b.result == 'success', steps: [{run: x}]}\n", `plan.yaml:3:3: jobs.a.if: "needs.b.result == 'success'": `},
		"an unknown function":    {"jobs:\n  a: {if: sucess(), steps: [{run: x}]}\n", `plan.yaml:2:3: jobs.a.if: "sucess()": unknown name sucess (1:1) (did you mean "success"?)`},
		"a secret in a command":  {"secrets: {T: {env: T}}\njobs:\n  a: {steps: [{run: \"echo ${{ secrets.T }}\"}]}\n", `a secret can be used in env:, and a command reads it from its environment`},
		"a secret in the plan":   {"secrets: {T: hunter2}\njobs:\n  a: {steps: [{run: x}]}\n", "plan.yaml:1:14: secrets.T: a secret that stands in the plan is none: say where it comes from, with env:, file: or command:"},
		"a short secret":         {"secrets: {T: {env: SHORT}}\njobs:\n  a: {steps: [{run: x}]}\n", "plan.yaml:1:14: secrets.T: the secret is a single character, which cannot be masked: it is in every output"},
		"no such variable":       {"env: {X: {env: NOWHERE}}\njobs:\n  a: {steps: [{run: x}]}\n", "plan.yaml:1:10: env.X: the environment has no NOWHERE, which the plan requires: set it, or give a default"},
		"a failing command":      {"env: {X: {command: 'echo why >&2; exit 3'}}\njobs:\n  a: {steps: [{run: x}]}\n", `plan.yaml:1:10: env.X: the command "echo why >&2; exit 3": exit status 3: why`},
		"an exploding matrix":    {"jobs:\n  a:\n    strategy:\n      matrix:\n" + strings.Repeat("", 0) + axes(9, 10) + "    steps: [{run: x}]\n", "plan.yaml:5:9: jobs.a.strategy.matrix: with its 1000000000 combinations the plan has 1000000000 cells, and at most 10000 are allowed (max-cells)"},
		"everything excluded":    {"jobs:\n  a:\n    strategy: {matrix: {n: [1], exclude: [{n: 1}]}}\n    steps: [{run: x}]\n", "plan.yaml:3:24: jobs.a.strategy.matrix: everything is excluded, so the job has no cells"},
		"an unknown exclude":     {"jobs:\n  a:\n    strategy: {matrix: {n: [1], exclude: [{m: 1}]}}\n    steps: [{run: x}]\n", `plan.yaml:3:43: jobs.a.strategy.matrix.exclude[0]: the matrix has no list "m"`},
		"the same twice":         {"jobs:\n  a:\n    strategy: {matrix: {n: [1, 1]}}\n    steps: [{run: x}]\n", "plan.yaml:3:24: jobs.a.strategy.matrix: it has the combination n=1 twice"},
		"an artifact outside":    {"jobs:\n  a:\n    artifacts: [{name: x, path: ../x}]\n    steps: [{run: x}]\n", `plan.yaml:3:17: jobs.a.artifacts[0].path: "../x" is no pattern of files below $SPICELANE_WORK`},
		"a restore without need": {"jobs:\n  b: {artifacts: [{name: x, path: x}], steps: [{run: x}]}\n  a:\n    restore: [{from: b}]\n    steps: [{run: x}]\n", "plan.yaml:4:15: jobs.a.restore[0].from: the job a does not need b, so that may not have ended; add it to needs"},
		"a digest":               {"jobs:\n  a:\n    steps:\n      - lane:\n      - beats: [{await-digest: farme > 1}]\n", `plan.yaml:5:17: jobs.a.steps[1].beats[0].await-digest: "farme > 1": unknown name farme (1:1)`},
		"a host of two cells":    {"executors: {lab: {type: ssh, mode: dedicated, hosts: [a, \"a:22\"]}}\njobs: {a: {steps: [{run: x}]}}\n", "executors.lab.hosts[1]: a:22 is there for the second time; a host that runs several cells at once has cells: 2"},
		"a command executor":     {"executors: {box: {type: command, command: docker run x}}\njobs: {a: {steps: [{run: x}]}}\n", "plan.yaml:1:18: executors.box.command: it has no {spicelane}, which is the program that runs the cell"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.text, "SHORT=x", "T=topsecret")
			require.Error(t, err)
			require.Contains(t, err.Error(), c.says)
			require.Equal(t, verdict.Harness, verdict.Of(verdict.Classify("", err)))
			require.NotContains(t, err.Error(), "topsecret")
		})
	}
}

// axes returns n lists of m values.
func axes(n, m int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "        k%d: [0", i)
		for v := range m - 1 {
			fmt.Fprintf(&b, ", %d", v+1)
		}
		b.WriteString("]\n")
	}
	return b.String()
}

func TestAPlanThatGrowsByItsAnchorsIsRefusedAtOnce(t *testing.T) {
	list := func(item string) string { return "[" + strings.Repeat(item+", ", 999) + item + "]" }
	for name, c := range map[string]struct{ text, says string }{
		"a bomb": {"jobs:\n  a:\n    needs: *x\n", "unknown anchor 'x' referenced"},
		"itself": {"jobs:\n  a: &a\n    steps: [{run: x}]\n    restore: &r [*r]\n", "this is a list, and keys with values are wanted"},
		"a thousand million keys": {"jobs:\n  a:\n    steps:\n      - beats: [{press: &p " + list("x") + "}]\n      - beats: &c " + list("{press: *p}") +
			"\n" + strings.Repeat("      - beats: *c\n", 1000), "the plan has more than 400000 values, with its anchors resolved"},
		"a lane of aliases": {"jobs:\n  a:\n    steps:\n      - lane: {devices: [&d x], failures: [&f {name: n, pattern: x}]}\n      - lane: {failures: &g " + list("*f") + "}\n        id: b\n" +
			"      - lane: {failures: " + list("*g") + "}\n        id: c\n", "and keys with values are wanted"},
		"too deep": {"jobs: {a: {steps: [{lane: {failures: " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "}}]}}\n", "and keys with values are wanted"},
		"a bomb in a matrix": {"jobs:\n  a:\n    strategy:\n      matrix:\n        include: &i0 [{k: 1}, {k: 2}]\n        exclude: [" +
			strings.Repeat("*i0, ", 10) + "]\n    steps: [{run: x}]\n", "keys with values are wanted"},
		"too large": {"# " + strings.Repeat("x", 5<<20), "plan.yaml: the plan is larger than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := load(t, c.text)
			require.ErrorContains(t, err, c.says)
			require.Less(t, time.Since(began), 5*time.Second)
		})
	}
}

func TestAnchorsThatAreHarmlessWork(t *testing.T) {
	l, err := load(t, "jobs:\n  a:\n    env: &e {X: \"1\"}\n    steps: &s [{run: echo}]\n  b:\n    env: *e\n    steps: *s\n")
	require.NoError(t, err)
	task, err := l.Task(l.Cells[1])
	require.NoError(t, err)
	require.Equal(t, "1", task.Steps[0].Env["X"])
}

func TestVariablesComeFromTheEnvironmentFilesAndCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("ci.env", []byte("# comment\nexport A=\"from file\"\nB=two=2\n\n"), 0o600))
	require.NoError(t, os.WriteFile("key.txt", []byte("topsecret\n"), 0o600))
	text := `env-from: [{file: ci.env}, {command: "echo C=3"}]
env:
  D: {env: OUTER}
  E: {env: MISSING, default: 5}
  F: {file: key.txt}
  G: {command: "printf 'seven\\n'"}
secrets: {KEY: {file: key.txt}}
jobs:
  a:
    env: {TOKEN: "Bearer ${{ secrets.KEY }}", H: "${{ env.A }}!"}
    steps:
      - run: x
        env: {A: mine}
`
	require.NoError(t, os.WriteFile("plan.yaml", []byte(text), 0o600))
	l, err := plan.Load(context.Background(), "plan.yaml", plan.Options{LookupEnv: func(n string) (string, bool) { return "out", n == "OUTER" }})
	require.NoError(t, err)
	task, err := l.Task(l.Cells[0])
	require.NoError(t, err)
	require.Equal(t, map[string]string{"A": "mine", "B": "two=2", "C": "3", "D": "out", "E": "5", "F": "topsecret", "G": "seven",
		"TOKEN": "Bearer topsecret", "H": "from file!"}, task.Steps[0].Env)
	// A variable that holds a secret cannot be used in an expression, no matter how it got the
	// secret.
	for _, name := range []string{"TOKEN", "F"} {
		require.NoError(t, os.WriteFile("bad.yaml", []byte(strings.ReplaceAll(text, "- run: x", "- run: echo ${{ env."+name+" }}")), 0o600))
		_, err = plan.Load(context.Background(), "bad.yaml", plan.Options{LookupEnv: func(n string) (string, bool) { return "out", n == "OUTER" }})
		require.ErrorContains(t, err, "env."+name)
	}
	// A dry run runs no command and reads no secret.
	require.NoError(t, os.WriteFile("dry.yaml", []byte("env: {X: {command: touch ran}}\nsecrets: {S: {command: touch ran}}\njobs: {a: {steps: [{run: x}]}}\n"), 0o600))
	_, err = plan.Load(context.Background(), "dry.yaml", plan.Options{Dry: true})
	require.NoError(t, err)
	require.NoFileExists(t, "ran")
	_, err = plan.Load(context.Background(), "dry.yaml", plan.Options{})
	require.ErrorContains(t, err, "the secret is empty")
	require.FileExists(t, "ran")
}

// Without reading a source, not everything that it would contain is known.
func TestADryRunReadsNoSourceOfSecretsAndRunsNoCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = `env-from: [{command: "touch ran; echo COLOUR=green"}]
secrets-from: [{command: "touch ran; echo TOKEN=topsecret"}, {file: nosuchfile}]
jobs:
  a:
    env: {BOTH: "${{ env.COLOUR }}"}
    if: env.COLOUR == 'green'
    steps:
      - lane: {server: "localhost:1", server_ticket: "${{ secrets.TICKET }}"}
      - run: echo ${{ env.COLOUR }}
        env: {TOKEN: "${{ secrets.TOKEN }}"}
`
	require.NoError(t, os.WriteFile("plan.yaml", []byte(text), 0o600))
	l, err := plan.Load(context.Background(), "plan.yaml", plan.Options{Dry: true})
	require.NoError(t, err)
	require.NoFileExists(t, "ran")
	var b strings.Builder
	require.NoError(t, l.Describe(&b, l.Cells[0]))
	require.Contains(t, b.String(), "TOKEN=***\n")
	// If no source is left unread, a missing name is a mistake, in a dry run, too.
	for _, source := range []string{"env-from", "secrets-from"} {
		lines := strings.Split(text, "\n")
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, source) })
		require.NoError(t, os.WriteFile("plan.yaml", []byte(strings.Join(lines, "\n")), 0o600))
		_, err = plan.Load(context.Background(), "plan.yaml", plan.Options{Dry: true})
		require.ErrorContains(t, err, "unknown field")
	}
}

func TestALaneHasASecretInItsTicketOnly(t *testing.T) {
	text := "secrets: {T: {env: T}}\njobs:\n  a:\n    steps:\n      - lane: {server: \"localhost:1\", server_ticket: \"${{ secrets.T }}\"%s}\n"
	l, err := load(t, fmt.Sprintf(text, ""), "T=topsecret")
	require.NoError(t, err)
	task, err := l.Task(l.Cells[0])
	require.NoError(t, err)
	require.Equal(t, "topsecret", task.Steps[0].Lane.Ticket)
	_, err = load(t, fmt.Sprintf(text, ", append: \"${{ secrets.T }}\""), "T=topsecret")
	require.ErrorContains(t, err, `plan.yaml:5:82: jobs.a.steps[0].lane.append: "secrets.T": unknown name secrets (1:1)`+
		" (known are env, matrix, plan); of a lane only server_ticket can have a secret")
}

func TestConditionsAreThoseOfGitHub(t *testing.T) {
	ok, failed, skipped, cancelled := plan.Status{Success: true}, plan.Status{Failure: true}, plan.Status{}, plan.Status{Cancelled: true}
	for _, c := range []struct {
		source string
		status plan.Status
		want   bool
	}{
		{"", ok, true}, {"", failed, false}, {"", skipped, false}, {"", cancelled, false},
		{"success()", failed, false}, {"failure()", ok, false}, {"failure()", failed, true}, {"failure()", skipped, false}, {"failure()", cancelled, false},
		{"always()", failed, true}, {"always()", cancelled, true}, {"always()", skipped, true},
		{"cancelled()", ok, false}, {"cancelled()", cancelled, true},
		{"!cancelled()", failed, true}, {"!cancelled()", cancelled, false},
		{"matrix.x == 'a'", ok, true}, {"matrix.x == 'a'", failed, false}, {"matrix.x == 'b'", ok, false},
		{"failure() && matrix.x == 'a'", failed, true}, {"${{ always() }}", failed, true},
		{"steps.s.verdict == 'host' && failure()", failed, true}, {"matrix.n + 1 == 3", ok, true},
		// A text that contains the name of a function does not call it.
		{"matrix.x != 'always()'", failed, false},
	} {
		vars := plan.Vars{"matrix": map[string]any{"x": "a", "n": 2}, "env": map[string]any{}, "needs": map[string]any{}}
		steps := map[string]any{"s": plan.End{Verdict: verdict.Host}.Vars()}
		got, err := plan.StepRuns(c.source, vars, steps, c.status)
		require.NoError(t, err, c.source)
		require.Equal(t, c.want, got, "%s with %+v", c.source, c.status)
	}
}

// Two times of the same run are compared: linear work takes ten times as long for ten times as many
// cells, not a hundred times.
func TestPlanningTenTimesAsManyCellsTakesAboutTenTimesAsLong(t *testing.T) {
	need.Long(t)
	text := func(n int) string {
		return fmt.Sprintf("jobs:\n  a:\n    strategy:\n      matrix:\n        display: [qxl, virtio, std, qxl2, q3, q4, q5, q6, q7, q8]\n        n: [%s]\n", numbers(n/10)) +
			"    if: matrix.display != 'x'\n    env: {W: \"${{ matrix.display }}\"}\n    steps:\n      - lane: {memory_mib: \"${{ 256 + matrix.n }}\", append: \"d=${{ matrix.display }}\", backend_tls: true}\n      - suite: [boot]\n      - run: echo ${{ matrix.n }}\n"
	}
	measure := func(n int) time.Duration {
		best := time.Hour
		for range 3 {
			began := time.Now()
			l, err := load(t, text(n))
			best = min(best, time.Since(began))
			require.NoError(t, err)
			require.Len(t, l.Cells, n)
		}
		return best
	}
	small, large := measure(1000), measure(10000)
	t.Logf("1000 cells: %v; 10000 cells: %v", small, large)
	require.Less(t, large, 40*small)
}

func numbers(n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprint(i))
	}
	return strings.Join(s, ", ")
}

// The program may run in any directory.
func TestTheFilesOfALaneAreFoundFromThePlansDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"plan.yaml":               "jobs: {a: {files: [data], steps: [{lane: {fixture: own/own.yaml, initrd: initrd}}]}}\n",
		"own/own.yaml":            "name: own\ndescription: own\nkernel: vmlinux\nbanner: up\nfonts: [./own.psf, vga]\n",
		"other/plan.yaml":         "jobs: {a: {steps: [{lane: {needles: pictures}}]}}\n",
		"testdata/needles/x.json": "{}",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join("plans", name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join("plans", name), []byte(text), 0o600))
	}
	files := func(file string) (list []string) {
		l, err := plan.Load(context.Background(), file, plan.Options{})
		require.NoError(t, err)
		for _, f := range l.Files() {
			rel, err := filepath.Rel(l.Dir, f)
			require.NoError(t, err)
			list = append(list, rel)
		}
		return list
	}
	require.Equal(t, []string{"plan.yaml", "data", "initrd", "own/vmlinux", "testdata/needles", "own/own.yaml", "own/own.psf"}, files("plans/plan.yaml"))
	require.Equal(t, []string{"plan.yaml", "pictures"}, files("plans/other/plan.yaml"))
}

func TestARelativePathOfAPlanIsThatOfItsDirectory(t *testing.T) {
	l, err := load(t, "jobs: {a: {steps: [{run: x}]}}\n")
	require.NoError(t, err)
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	require.Equal(t, here, l.Dir)
	require.Equal(t, "plan", l.Name)
}

// A combination that include only extends is not another cell.
func TestOnlyCellsCountAgainstTheGreatestNumberOfCells(t *testing.T) {
	for _, matrix := range []string{
		"{a: [1, 2, 3], include: [{a: 1, b: 1}, {a: 2, b: 2}]}",
		"{include: [{a: 1}, {a: 2}, {a: 3}]}",
		"{a: [1, 2, 3, 4], exclude: [{a: 4}]}",
	} {
		text := "max-cells: %d\njobs: {j: {strategy: {matrix: " + matrix + "}, steps: [{run: x}]}}\n"
		l, err := load(t, fmt.Sprintf(text, 3))
		require.NoError(t, err, matrix)
		require.Len(t, l.Cells, 3)
		_, err = load(t, fmt.Sprintf(text, 2))
		require.ErrorContains(t, err, "the plan has 3 cells, and at most 2 are allowed", matrix)
	}
}

func TestAMatrixHasOnlyNumbersThatATaskCanHave(t *testing.T) {
	for _, number := range []string{".inf", "-.inf", ".nan"} {
		_, err := load(t, "jobs: {j: {strategy: {matrix: {n: ["+number+"]}}, steps: [{run: x}]}}\n")
		require.ErrorContains(t, err, "jobs.j.strategy.matrix.n[0]", number)
	}
}

func TestEachCellHasADirectoryOfItsOwn(t *testing.T) {
	l, err := load(t, "jobs: {j: {strategy: {matrix: {v: [a b, a-b.2, a/b]}}, steps: [{run: x}]}}\n")
	require.NoError(t, err)
	paths := map[string]bool{}
	for _, c := range l.Cells {
		paths[c.Path] = true
	}
	require.Len(t, paths, 3, "%v", paths)
}

func TestAMistakeInAnExpressionDoesNotShowASecret(t *testing.T) {
	_, err := load(t, `
secrets: {PORT: {env: PORT}}
jobs: {j: {env: {NEXT: "${{ int(secrets.PORT) + 1 }}"}, steps: [{run: x}]}}
`, "PORT=topsecret")
	require.ErrorContains(t, err, "NEXT")
	require.NotContains(t, err.Error(), "topsecret")
}

func TestAMistakeInASourceOfSecretsIsReportedWhereItIs(t *testing.T) {
	_, err := load(t, "secrets-from: [{file: a, command: b}]\nsecrets: {a-b: {env: X}}\njobs: {j: {steps: [{run: x}]}}\n")
	require.ErrorContains(t, err, "secrets-from[0]: it has")
	require.ErrorContains(t, err, `secrets: "a-b" is no name`)
}

// A dry run reads no secret, so it cannot tell from the value that a variable has one.
func TestADryRunShowsNoVariableThatHasTheSourceOfASecret(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("key.txt", []byte("topsecret\n"), 0o600))
	require.NoError(t, os.WriteFile("plan.yaml", []byte(`
env: {A: {env: TOKEN}, B: {file: ./key.txt}, C: {env: OTHER}}
secrets: {S: {env: TOKEN}, T: {file: key.txt}}
jobs: {a: {steps: [{run: x, env: {D: {env: TOKEN}}}]}}
`), 0o600))
	lookup := func(name string) (string, bool) {
		return map[string]string{"TOKEN": "topsecret", "OTHER": "public"}[name], true
	}
	for _, dry := range []bool{false, true} {
		l, err := plan.Load(t.Context(), "plan.yaml", plan.Options{Dry: dry, LookupEnv: lookup})
		require.NoError(t, err)
		var b strings.Builder
		require.NoError(t, l.Describe(&b, l.Cells[0]))
		require.NotContains(t, b.String(), "topsecret", "dry: %v", dry)
		require.Contains(t, b.String(), "C=public\n")
		for _, name := range []string{"A", "B", "D"} {
			require.Contains(t, b.String(), name+"=***\n")
		}
	}
}

func TestABeatThatIsEmptyInACellIsAMistake(t *testing.T) {
	_, err := load(t, `jobs:
  a:
    strategy:
      matrix:
        include: [{n: 1, text: "login:"}, {n: 2}]
    steps:
      - lane:
      - beats:
          - await-text: ${{ matrix.text }}
`)
	require.ErrorContains(t, err, "in the cell a (n=2): beats[0].await-text is empty")
}

func TestWhatACellDoesChangesWithTheFilesThatLinksLeadTo(t *testing.T) {
	l, err := load(t, "jobs: {a: {files: [data], steps: [{run: cat data/x data/more/y}]}}\n")
	require.NoError(t, err)
	for _, dir := range []string{"real", "far"} {
		require.NoError(t, os.Mkdir(dir, 0o700))
	}
	require.NoError(t, os.Symlink("real", "data"))
	require.NoError(t, os.Symlink("../far", "real/more"))
	seen := map[string]bool{}
	for _, file := range []string{"real/x", "far/y", "far/y"} {
		require.NoError(t, os.WriteFile(file, []byte(fmt.Sprint(len(seen))), 0o600))
		task, err := l.Task(l.Cells[0])
		require.NoError(t, err)
		does, err := l.Does(task)
		require.NoError(t, err)
		require.False(t, seen[does], "%s was changed, and an earlier result would be reused", file)
		seen[does] = true
	}
	require.NoError(t, os.Symlink("../real", "far/round"))
	task, err := l.Task(l.Cells[0])
	require.NoError(t, err)
	_, err = l.Does(task)
	require.ErrorContains(t, err, "leads to itself")
}
