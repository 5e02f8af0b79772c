package runner_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// The topology: three network namespaces. The runner is in the first one; a real sshd runs in each of
// the others.
//
//	runner 10.77.1.1 ── 10.77.1.2 a
//	       10.77.2.1 ── 10.77.2.2 b
//
// The test runs itself again inside the first one. This variable tells that run where the keys are.
const envSSHDir = "RUNNER_TEST_SSH"

func ip(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", strings.Join(args, " "), out)
}

// in returns a command that runs in a named network namespace. Unlike "ip netns exec", it mounts
// nothing, because mounting fails if the root directory is not a mount point.
func in(namespace, program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + namespace, program}, args...)...)
}

func ipIn(t *testing.T, namespace string, args ...string) {
	t.Helper()
	out, err := in(namespace, "ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %s in %s: %s", strings.Join(args, " "), namespace, out)
}

// newKey writes a private key and returns its public key.
func newKey(t *testing.T, file string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return key
}

func TestCellsRunOnOtherHostsThroughARealSSHD(t *testing.T) {
	need.Long(t)
	if os.Getenv(envSSHDir) != "" {
		for _, inside := range []struct {
			name string
			test func(*testing.T)
		}{
			{"cells run on both hosts and bring their artifacts back", cellsRunOnBothHosts},
			{"a host with another key or without what a lane needs is refused", hostIsRefused},
			{"a cell whose files are missing leaves nothing on the host", filesAreMissing},
			{"a dedicated host serves one run at a time", dedicatedHostServesOneRun},
			{"a cell that waits for a host ends at the first interrupt", waitingCellIsCancelled},
			{"a host that vanishes is the host's fault and the cell runs on the other", hostVanishes}, // the last one: it cuts the link
		} {
			t.Run(inside.name, inside.test)
		}
		return
	}
	sshd := need.Program(t, "sshd")
	need.Program(t, "ip")
	need.Program(t, "nsenter")
	if os.Getuid() != 0 {
		need.OrSkip(t, "only root can make network namespaces")
	}
	name := fmt.Sprintf("splr%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		need.OrSkip(t, "no network namespaces: "+string(out))
	}
	t.Cleanup(func() { ip(t, "netns", "del", name) })
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) // sshd requires it
	dir := t.TempDir()
	user := newKey(t, filepath.Join(dir, "user"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(user), 0o600))
	var known strings.Builder
	for i, host := range []string{"a", "b"} {
		ns, near, far := name+host, fmt.Sprintf("10.77.%d.1", i+1), fmt.Sprintf("10.77.%d.2", i+1)
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
		ipIn(t, name, "link", "add", "v"+host, "type", "veth", "peer", "name", "eth", "netns", ns)
		ipIn(t, name, "addr", "add", near+"/24", "dev", "v"+host)
		ipIn(t, name, "link", "set", "v"+host, "up")
		ipIn(t, ns, "addr", "add", far+"/24", "dev", "eth")
		ipIn(t, ns, "link", "set", "eth", "up")
		home := filepath.Join(dir, "home-"+host)
		require.NoError(t, os.Mkdir(home, 0o700))
		key := newKey(t, filepath.Join(dir, "host-"+host))
		fmt.Fprintln(&known, knownhosts.Line([]string{far}, key))
		config := filepath.Join(dir, "sshd-"+host)
		require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `ListenAddress %s:22
HostKey %s
AuthorizedKeysFile %s
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
PidFile none
SetEnv HOME=%s
Subsystem sftp internal-sftp -d %s
`, far, filepath.Join(dir, "host-"+host), filepath.Join(dir, "authorized"), home, home), 0o600))
		log, err := os.Create(filepath.Join(dir, "log-"+host))
		require.NoError(t, err)
		cmd := in(ns, sshd, "-D", "-e", "-f", config)
		cmd.Stderr = log
		p, err := proc.Start(cmd)
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = p.Stop(5 * time.Second)
			_ = log.Close()
		})
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "known"), []byte(known.String()), 0o600))
	inside := in(name, os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$", "-test.timeout", "4m")
	inside.Env = append(os.Environ(), envSSHDir+"="+dir)
	out, err := inside.CombinedOutput()
	for _, host := range []string{"a", "b"} {
		if text, rerr := os.ReadFile(filepath.Join(dir, "log-"+host)); rerr == nil && err != nil {
			t.Logf("sshd %s:\n%s", host, text)
		}
	}
	require.NoError(t, err, "%s", out)
	require.Equal(t, 6, strings.Count(string(out), "--- PASS: "+t.Name()+"/"), "%s", out)
}

// hosts returns the executor of a plan with two hosts, whose sshds answer.
func hosts(t *testing.T, more string) string {
	t.Helper()
	dir := os.Getenv(envSSHDir)
	for _, address := range []string{"10.77.1.2:22", "10.77.2.2:22"} {
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", address)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		}, 20*time.Second, 20*time.Millisecond)
	}
	return fmt.Sprintf("executors:\n  lab: {type: ssh, user: root, identity: %s/user, known-hosts: %s/known, hosts: [10.77.1.2, {address: \"10.77.2.2:22\", cells: 1}], %s}\n", dir, dir, more)
}

func cellsRunOnBothHosts(t *testing.T) {
	executor := hosts(t, "doctor: off")
	t.Setenv("CANARY", "hunter2hunter2")
	before := leftOnHosts(t)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("data.txt", []byte("data\n"), 0o600))
	require.NoError(t, os.WriteFile("plan.yaml", []byte(executor+`
secrets: {T: {env: CANARY}}
jobs:
  a:
    executor: lab
    files: data.txt
    env: {TOKEN: "${{ secrets.T }}"}
    strategy: {matrix: {n: [1, 2, 3, 4]}}
    artifacts: [{name: out, path: "*.txt"}]
    steps:
      - run: |
          set -- $SSH_CONNECTION; echo host $3
          cat data.txt
          tr '\0' ' ' < /proc/$PPID/cmdline; echo
          echo "${{ matrix.n }} $TOKEN" > $SPICELANE_WORK/n.txt
  b:
    needs: a
    executor: lab
    restore: [{from: a, name: out, path: in}]
    steps: [{run: "cat $SPICELANE_WORK/in/*/n.txt"}]
`), 0o600))
	l, err := plan.Load(t.Context(), "plan.yaml", plan.Options{})
	require.NoError(t, err)
	rec := &recorder{}
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Observer: rec})
	require.NoError(t, err)
	require.Equal(t, result.Success, r.Outcome, "%+v", r.Cells)
	said := strings.Join(rec.lines, "\n")
	for _, want := range []string{"host 10.77.1.2", "host 10.77.2.2", "a (n=1): data", "b: 1 ***", "b: 4 ***", runner.WorkerCommand + " --slots 1"} {
		require.Contains(t, said, want)
	}
	require.NotContains(t, said, "hunter2")
	require.Equal(t, "ssh", l.Executors["lab"].Type)
	require.Contains(t, r.Cells[0].Worker, "10.77.")
	text, err := os.ReadFile("run/cells/a-n=2/1/artifacts/out/n.txt")
	require.NoError(t, err)
	require.Equal(t, "2 ***\n", string(text))
	require.Equal(t, before, leftOnHosts(t))
}

// leftOnHosts returns the directories of cells. The hosts share this one's file system.
func leftOnHosts(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob("/tmp/spicelane-cell-*")
	require.NoError(t, err)
	return left
}

func filesAreMissing(t *testing.T) {
	l := loadPlan(t, hosts(t, "doctor: off")+"jobs: {a: {executor: lab, files: [plan.yaml, nosuchfile], steps: [{run: echo x}]}}\n")
	before := leftOnHosts(t)
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.NoError(t, err)
	require.Equal(t, result.Failure, r.Outcome)
	require.Contains(t, r.Cells[0].Reason, "nosuchfile")
	require.Equal(t, before, leftOnHosts(t))
}

func hostIsRefused(t *testing.T) {
	executor := hosts(t, "doctor: off")
	job := "jobs: {a: {executor: lab, steps: [{run: echo x}]}}\n"
	run := func(executor string) result.Cell {
		l := loadPlan(t, executor+job)
		r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run"})
		require.NoError(t, err)
		return r.Cells[0]
	}
	other := filepath.Join(t.TempDir(), "known")
	key := newKey(t, other+".key")
	lines := knownhosts.Line([]string{"10.77.1.2"}, key) + "\n" + knownhosts.Line([]string{"10.77.2.2"}, key) + "\n"
	require.NoError(t, os.WriteFile(other, []byte(lines), 0o600))
	c := run(strings.Replace(executor, os.Getenv(envSSHDir)+"/known", other, 1))
	require.Equal(t, verdict.Host, c.Verdict)
	require.Contains(t, c.Reason, "the host has another key")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	c = run(strings.Replace(executor, os.Getenv(envSSHDir)+"/known", other, 1))
	require.Contains(t, c.Reason, "the host's key is not in known-hosts")
	c = run(strings.Replace(executor, "doctor: off", "doctor: require", 1))
	require.Equal(t, verdict.Host, c.Verdict)
	require.Contains(t, c.Reason, "QEMU is missing")
}

func dedicatedHostServesOneRun(t *testing.T) {
	executor := hosts(t, "doctor: off, mode: dedicated")
	log := filepath.Join(t.TempDir(), "log")
	var all sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		l := loadPlan(t, executor+fmt.Sprintf(`
jobs:
  a: {executor: lab, strategy: {matrix: {n: [1, 2, 3, 4, 5, 6]}}, steps: [{run: "set -- $SSH_CONNECTION; echo %s $3 >> %s"}]}
`, name, log))
		dir := filepath.Join(l.Dir, "run")
		all.Go(func() {
			r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: dir})
			if err != nil || r.Outcome != result.Success {
				t.Errorf("%s: %v %+v", name, err, r)
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 12)
	changes := map[string][]string{} // runs by host, in order
	for _, line := range lines {
		name, host, _ := strings.Cut(line, " ")
		if runs := changes[host]; len(runs) == 0 || runs[len(runs)-1] != name {
			changes[host] = append(runs, name)
		}
	}
	for host, runs := range changes {
		require.LessOrEqual(t, len(runs), 2, "%s: %s", host, text)
	}
}

func waitingCellIsCancelled(t *testing.T) {
	for mode, waits := range map[string]string{"pool": runner.WorkerCommand, "dedicated": runner.HoldCommand} {
		executor := hosts(t, "doctor: off, mode: "+mode)
		l := loadPlan(t, executor+"jobs: {a: {executor: lab, steps: [{run: echo x}]}}\n")
		var locks []*os.File // of another run, which uses both hosts exclusively
		for _, host := range []string{"a", "b"} {
			f, err := os.OpenFile(filepath.Join(os.Getenv(envSSHDir), "home-"+host, ".cache/spicelane/cells/host.lock"), os.O_CREATE|os.O_RDWR, 0o600)
			require.NoError(t, err)
			require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
			locks = append(locks, f)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		stop := make(chan struct{})
		defer interrupt()
		var r *result.Run
		ended := make(chan error, 1)
		go func() {
			var err error
			r, err = runner.Run(ctx, runner.Config{Plan: l, Dir: filepath.Join(l.Dir, mode), Stop: stop})
			ended <- err
		}()
		waiting := func() bool {
			found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			return slices.ContainsFunc(found, func(file string) bool {
				b, _ := os.ReadFile(file)
				return bytes.Contains(b, []byte(os.Getenv(envSSHDir))) && bytes.Contains(b, []byte("\x00"+waits+"\x00"))
			})
		}
		require.Eventually(t, waiting, 30*time.Second, 20*time.Millisecond, mode)
		interrupt()
		select {
		case err := <-ended:
			require.NoError(t, err, mode)
			require.Equal(t, result.Cancelled, r.Cells[0].Outcome, "%s: %+v", mode, r.Cells[0])
			require.Equal(t, "the run was interrupted", r.Cells[0].Reason)
		case <-time.After(30 * time.Second):
			close(stop)
			<-ended
			t.Errorf("%s: the first interrupt did not reach the cell", mode)
		}
		for _, f := range locks {
			require.NoError(t, f.Close())
		}
		require.Empty(t, leftOnHosts(t), mode)
		require.Eventually(t, func() bool { return !waiting() }, 30*time.Second, 20*time.Millisecond, "%s: a process still waits", mode)
	}
}

func hostVanishes(t *testing.T) {
	executor := hosts(t, "doctor: off")
	pid := filepath.Join(t.TempDir(), "pid")
	l := loadPlan(t, executor+fmt.Sprintf(`
jobs:
  a:
    executor: lab
    retry: {attempts: 2, delay: 1ms}
    steps:
      - run: echo evidence > $SPICELANE_WORK/serial.log; test -e %[1]s || echo $$ $SPICELANE_PLAN_DIR > %[1]s; echo ready; test $SPICELANE_ATTEMPT = 2 || exec sleep 600
`, pid))
	rec := &recorder{}
	first := true
	rec.line = func(c *plan.Cell, line string) {
		if line != "ready" || !first {
			return
		}
		first = false
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
			if _, err := os.Stat(filepath.Join("run", "cells", "a", "1", "work", "serial.log")); err == nil {
				break
			}
			<-time.After(20 * time.Millisecond)
		}
		if out, err := exec.Command("ip", "link", "set", "va", "down").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Observer: rec})
	require.NoError(t, err)
	c := r.Cells[0]
	require.Equal(t, result.Success, c.Outcome, "%+v", c)
	require.Len(t, c.Attempts, 2)
	require.Equal(t, verdict.Host, c.Attempts[0].Verdict)
	require.Contains(t, c.Attempts[0].Reason, "the host has vanished")
	require.Equal(t, "10.77.2.2:22", c.Attempts[1].Worker)
	var kept []string
	for _, e := range c.Attempts[0].Evidence {
		kept = append(kept, e.Path)
	}
	require.Equal(t, []string{"cells/a/1/log.txt", filepath.Join("cells", "a", "1", "work", "serial.log")}, kept, "what it had sent until then")
	// The host itself is up. Its worker notices that nobody listens, and ends what it has started.
	text, err := os.ReadFile(pid)
	require.NoError(t, err)
	process, planDir, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join("/proc", process))
		return err != nil
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, os.RemoveAll(filepath.Dir(planDir)), "what the runner could not remove")
}
