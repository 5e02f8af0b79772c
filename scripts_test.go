package spicelane_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/internal/need"
)

// scriptIn copies a script into the directory scripts of a new directory, with other files, which
// are executable. It returns the directory, and a function that runs the script there.
func scriptIn(t *testing.T, name string, files map[string]string) (dir string, run func(env ...string) (string, int)) {
	t.Helper()
	dir = t.TempDir()
	script, err := os.ReadFile(filepath.Join("scripts", name))
	if err != nil {
		t.Fatal(err)
	}
	files[filepath.Join("scripts", name)] = string(script)
	for file, text := range files {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, func(env ...string) (string, int) {
		cmd := exec.Command(filepath.Join(dir, "scripts", name))
		cmd.Env = append(append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH")), env...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
}

// The statuses are those of report.Run: a fault of the product outweighs one of the harness, and
// that outweighs one of the host.
func TestTheStatusOfTheLanesAndTheExamplesIsTheWorst(t *testing.T) {
	_, run := scriptIn(t, "e2e.sh", map[string]string{
		"scripts/test.sh": "#!/bin/sh\n[ \"$1\" = lanes ] && exit $LANES\nexit $EXAMPLES\n",
	})
	for _, c := range []struct{ lanes, examples, want int }{{0, 0, 0}, {3, 0, 3}, {0, 2, 2}, {3, 1, 1}, {1, 3, 1}, {3, 2, 2}, {2, 1, 1}} {
		out, status := run(fmt.Sprintf("LANES=%d", c.lanes), fmt.Sprintf("EXAMPLES=%d", c.examples))
		if status != c.want {
			t.Errorf("lanes end with %d and examples with %d: status %d, want %d\n%s", c.lanes, c.examples, status, c.want, out)
		}
	}
}

func TestTheFullMatrixHasTheTimeThatItTakes(t *testing.T) {
	_, run := scriptIn(t, "e2e.sh", map[string]string{"scripts/test.sh": "#!/bin/sh\necho \"$*\"\n"})
	for matrix, want := range map[string]string{"": "15m", "full": "60m"} {
		if out, status := run("SPICELANE_MATRIX=" + matrix); status != 0 || !strings.Contains(out, "lanes -count 1 -timeout "+want+" ./harness/... ./cmd/...\n") {
			t.Errorf("SPICELANE_MATRIX=%s: status %d, want a limit of %s\n%s", matrix, status, want, out)
		}
	}
}

func TestFuzzingFailsIfTheTestsAreNotKnown(t *testing.T) {
	_, run := scriptIn(t, "fuzz.sh", map[string]string{"bin/go": `#!/bin/sh
case "$1 $2" in
"list ./...") [ "$BAD" != list ] && printf 'a\nb\n' ;;
"test -list") [ "$BAD" != "$4" ] && printf 'FuzzX\nok\n' ;;
*) echo "fuzzed $*" ; [ "$BAD" != fuzz ] ;;
esac
`, "bin/git": "#!/bin/sh\n"})
	if out, status := run(); status != 0 || strings.Count(out, "fuzzed") != 2 {
		t.Fatalf("status %d\n%s", status, out)
	}
	for _, bad := range []string{"list", "a", "b", "fuzz"} {
		if out, status := run("BAD=" + bad); status == 0 {
			t.Errorf("the script passes if %s fails\n%s", bad, out)
		}
	}
	if out, _ := run("BAD=a"); !strings.Contains(out, "== b FuzzX") || !strings.Contains(out, "failed: a") {
		t.Errorf("the other package is not tested, or the one is not named\n%s", out)
	}
}

// Each stream that make writes is in the summary of the job.
func TestTheSummaryHasEachStreamOfTheTests(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"bin/spicelane": "#!/bin/sh\nwhile [ $# -gt 1 ]; do\n[ \"$1\" != --summary ] || echo \"${@}\" | sed 's/.* //' >\"$2\"\nshift\ndone\n",
		"artifacts/soak.json": "{}", "artifacts/bench-lane.json": "{}"}
	var names []string
	for _, line := range strings.Split(string(makefile), "\n") {
		if _, args, ok := strings.Cut(line, "scripts/test.sh "); ok {
			name := strings.Fields(args)[0]
			names = append(names, name)
			files["artifacts/"+name+".json"] = "{}"
		}
	}
	if len(names) < 5 {
		t.Fatalf("the Makefile has only %q", names)
	}
	_, run := scriptIn(t, "summary.sh", files)
	out, status := run("GITHUB_STEP_SUMMARY=/dev/stdout")
	for _, name := range names {
		if !strings.Contains(out, "artifacts/"+name+".json") {
			t.Errorf("%s is not in the summary, status %d\n%s", name, status, out)
		}
	}
	if strings.Contains(out, "soak.json") || strings.Contains(out, "bench-lane.json") {
		t.Errorf("these are no streams of tests\n%s", out)
	}
}

// The program of the benchmarks is what the command go makes here. It fails at the benchmark $BAD.
var benchProxy = map[string]string{
	"spice/proxy/x": "",
	"bin/go": `#!/bin/sh
echo $PPID >pid
cat >"$4" <<'PROGRAM'
#!/bin/sh
echo "BenchmarkPeers/ours/$4 1 1 MB/s"
case $4 in *$BAD*) eval "$DOES" ;; esac
PROGRAM
chmod +x "$4"
`,
	"bin/chrt": `#!/bin/sh
trap 'kill $!; exit' TERM
sleep 3 &
wait
: >"$LEFT" # the loop was not ended
`,
}

func TestTheComparisonOfProxiesFailsIfABenchmarkDoes(t *testing.T) {
	need.Long(t)
	dir, run := scriptIn(t, "bench-proxy.sh", maps.Clone(benchProxy))
	if out, status := run("BAD=none"); status != 0 || !strings.Contains(out, "peer") {
		t.Fatalf("status %d\n%s", status, out)
	}
	for _, bad := range []string{"throughput", "round", "links", "idle", "Churn"} {
		_ = os.Remove(filepath.Join(dir, "failed"))
		if out, status := run("BAD="+bad, "DOES=[ -e ../../failed ] || { echo no route; >../../failed; exit 1; }"); status == 0 || !strings.Contains(out, "no route") {
			t.Errorf("the script passes if the first run of %s fails\n%s", bad, out)
		}
	}
}

func TestTheComparisonOfProxiesLeavesNoLoopBehindAtASignal(t *testing.T) {
	dir, run := scriptIn(t, "bench-proxy.sh", maps.Clone(benchProxy))
	left := filepath.Join(dir, "left") // NB: run returns when no process has the script's standard error
	out, status := run("LEFT="+left, "BAD=round", "DOES=kill -TERM $(cat ../../pid)")
	if _, err := os.Stat(left); status == 0 || err == nil {
		t.Errorf("status %d, %v\n%s", status, err, out)
	}
}

func TestTheComparisonOfClientsFailsIfAClientDoes(t *testing.T) {
	_, run := scriptIn(t, "bench-client.sh", map[string]string{
		"bin/make": "#!/bin/sh\n",
		"bin/spicelane": `#!/bin/sh
case $1 in
up) printf 'host=h\nport=1\npassword=p\n' >vv; echo '  "vv": "vv",' ;;
screenshot) [ "$BAD" != ours ] ;;
esac
`,
		"bin/spicy-screenshot": "#!/bin/sh\n[ \"$BAD\" != spicy ]\n",
	})
	if out, status := run("BAD=none"); status != 0 || strings.Count(out, "pair") != 30 || !strings.Contains(out, "median") {
		t.Fatalf("status %d\n%s", status, out)
	}
	for _, bad := range []string{"ours", "spicy"} {
		if out, status := run("BAD=" + bad); status == 0 {
			t.Errorf("the script passes if the client %s fails\n%s", bad, out)
		}
	}
}

func TestAStreamWithoutASummaryFailsTheJob(t *testing.T) {
	_, run := scriptIn(t, "summary.sh", map[string]string{"artifacts/lanes.json": "{}", "bin/spicelane": "#!/bin/sh\necho no space left >&2\nexit 3\n"})
	if out, status := run(); status == 0 || !strings.Contains(out, "no space left") {
		t.Errorf("status %d\n%s", status, out)
	}
}
