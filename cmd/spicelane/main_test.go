package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/internal/need"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"spicelane": main,
	})
}

// Scripts of the command line. Those named lane-* boot guests.
func TestScripts(t *testing.T) {
	p := scriptParams()
	p.Dir = "testdata"
	testscript.Run(t, p)
}

// scriptParams returns what all scripts have in common.
func scriptParams() testscript.Params {
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			// A registry of its own for each script; the caches are the user's, or
			// every script would find out anew whether KVM works.
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv(host.EnvCacheDir, host.CacheDir())
			for _, name := range []string{qemu.EnvQEMU, qemu.EnvOVMFCode, qemu.EnvOVMFVars, qemu.EnvAccel, host.EnvTimeoutScale, "TMPDIR"} {
				if v := os.Getenv(name); v != "" {
					env.Setenv(name, v)
				}
			}
			plans, err := filepath.Abs("../../examples/plans")
			if err != nil {
				return err
			}
			if err := os.Mkdir(filepath.Join(env.WorkDir, "examples"), 0o700); err != nil {
				return err
			}
			return os.Symlink(plans, filepath.Join(env.WorkDir, "examples", "plans"))
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lanes":    cmdLanes,
			"status":   cmdStatus,
			"getjson":  cmdGetJSON,
			"sigkill":  cmdKill,
			"dead":     cmdDead,
			"lastline": cmdLastLine,
			"needs":    cmdNeeds,
			"await":    cmdAwait,
			"damage":   cmdDamage,
		},
	}
}

// condition knows [lanes], whether scripts that boot guests run here, [truth],
// whether those that start the truth server do, and [file:PATH], whether there is such a file.
func condition(cond string) (bool, error) {
	if path, ok := strings.CutPrefix(cond, "file:"); ok {
		_, err := os.Stat(path)
		return err == nil, nil
	}
	if cond == "long" {
		return need.RunsLong(), nil
	}
	if cond != "lanes" && cond != "truth" {
		return false, fmt.Errorf("there is no condition %q", cond)
	}
	d := qemu.Gate(context.Background(), os.Getenv)
	if d.Action == qemu.Fail {
		return false, errors.New(d.Reason)
	}
	if cond == "lanes" || d.Action != qemu.Run {
		return d.Action == qemu.Run, nil
	}
	_, err := harness.TruthHelper(context.Background())
	if err != nil && os.Getenv(qemu.EnvLanes) == "require" {
		return false, err
	}
	return err == nil, nil
}

// lanes ends the script's lanes when the script ends. A script that gets here
// where no lanes may run lacks its condition.
func cmdLanes(ts *testscript.TestScript, neg bool, args []string) {
	run, err := condition("lanes")
	ts.Check(err)
	if !run {
		ts.Fatalf("this host runs no lanes, and the script does not say: [!lanes] skip")
	}
	ts.Defer(func() {
		if err := ts.Exec("spicelane", "down", "--all"); err != nil {
			ts.Logf("down --all: %v", err)
		}
	})
}

// status N CMD... runs CMD and demands the exit status N.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit interface{ ExitCode() int }
		if e, ok := err.(interface{ ExitCode() int }); ok {
			exit = e
		}
		if exit == nil {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// getjson FILE PATH VAR sets VAR to a field of a JSON file, PATH with dots.
func cmdGetJSON(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, k := range strings.Split(args[1], ".") {
		m, ok := v.(map[string]any)
		if !ok || m[k] == nil {
			ts.Fatalf("%s has no %s", args[0], args[1])
		}
		v = m[k]
	}
	if f, ok := v.(float64); ok {
		v = strconv.FormatFloat(f, 'f', -1, 64)
	}
	ts.Setenv(args[2], fmt.Sprint(v))
}

// sigkill PID sends SIGKILL.
func cmdKill(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
}

// dead PID... demands that the processes end within two seconds.
func cmdDead(ts *testscript.TestScript, neg bool, args []string) {
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		ts.Check(err)
		if !host.AwaitExit(context.Background(), pid, 2*time.Second) {
			ts.Fatalf("process %d is still alive", pid)
		}
	}
}

// damage DIR flips one bit in the middle of each file of DIR.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*"))
	ts.Check(err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		ts.Check(err)
		b[len(b)/2] ^= 1
		ts.Check(os.WriteFile(file, b, 0o600))
	}
}

// needs PROGRAM... fails the script on a host that lacks a program which it
// drives besides, if lanes are required; elsewhere [!exec:PROGRAM] skips it.
func cmdNeeds(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		if _, err := exec.LookPath(name); err != nil {
			if p, err := qemu.ParsePolicy(os.Getenv(qemu.EnvLanes)); err != nil || p == qemu.LanesRequire {
				ts.Fatalf("%s is not installed: run scripts/setup.sh", name)
			}
			continue
		}
		if name == "tmux" {
			// A script that fails does not get to its own kill-server.
			server := ts.MkAbs("tmux")
			ts.Defer(func() { _ = exec.Command("tmux", "-S", server, "kill-server").Run() })
		}
	}
}

// await REGEXP CMD... runs CMD until its output matches, for at most two minutes: a busy
// host draws late.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ts.Exec(args[1], args[2:]...) == nil && re.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("%q did not come", args[0])
		}
	}
}

// lastline TEXT demands that the last line on stderr of the last command begins
// with "spicelane: " and holds TEXT.
func cmdLastLine(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimRight(ts.ReadFile("stderr"), "\n"), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "spicelane: ") || !strings.Contains(last, args[0]) {
		ts.Fatalf("the last line on stderr is %q, want \"spicelane: \" and %q", last, args[0])
	}
}
