package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/internal/distro"
	"github.com/spicelane/spicelane/internal/need"
)

// A bareHost has nothing in its PATH but package managers and the other programs that fixes call.
// They note how they were called; a package manager then "installs" clang.
type bareHost struct{ dir string }

func newBareHost(t *testing.T, packageManager string) bareHost {
	t.Helper()
	h := bareHost{t.TempDir()}
	script := func(body string, names ...string) {
		for _, name := range names {
			require.NoError(t, os.WriteFile(filepath.Join(h.dir, name), []byte("#!/bin/sh\n"+body), 0o700))
		}
	}
	note := `echo "${0##*/} $*" >>"${0%/*}/calls"` + "\n"
	script(note+packageManager, "apt-get", "dnf", "pacman", "zypper")
	script(note, "modprobe", "usermod", "setfacl")
	script("exec \"$@\"\n", "sudo")
	script("echo somebody\n", "id")
	require.NoError(t, os.Symlink("/bin/sh", filepath.Join(h.dir, "sh")))
	return h
}

// doctor runs the command on the host. It returns its output and its exit status.
func (h bareHost) doctor(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(testProgram(t), append([]string{"doctor"}, args...)...)
	cmd.Args[0] = "spicelane"
	cmd.Env = []string{"PATH=" + h.dir, "HOME=" + h.dir, "TMPDIR=" + os.TempDir(), host.EnvCacheDir + "=" + filepath.Join(h.dir, "cache"),
		qemu.EnvOVMFCode + "=" + filepath.Join(h.dir, "none.fd")}
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	_ = cmd.Run()
	return out.String(), words.String(), cmd.ProcessState.ExitCode()
}

// calls returns how the programs were called.
func (h bareHost) calls(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "calls"))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestTheDoctorRunsItsCommandsAndChecksAgain(t *testing.T) {
	if !distro.Here().Known() {
		need.OrSkip(t, "the packages of this distribution are not known")
	}
	h := newBareHost(t, `/bin/ln -s /bin/sh "${0%/*}/clang"`+"\n")
	before, _, status := h.doctor(t)
	require.Equal(t, 3, status)
	require.Regexp(t, `(?m)^degraded +clang +clang was not found`, before)
	printed, _, status := h.doctor(t, "--fix")
	require.Equal(t, 3, status)
	fixes := strings.Split(strings.TrimSpace(printed), "\n")
	require.True(t, strings.HasPrefix(fixes[0], distro.Here().Install(distro.QEMU, distro.ImageTool)+" "), fixes[0])
	require.NoFileExists(t, filepath.Join(h.dir, "calls"), "commands were run that were only to be printed")

	after, stderr, status := h.doctor(t, "--fix=run")
	require.Equal(t, 3, status, "QEMU is still missing")
	require.Regexp(t, `(?m)^good +clang +`+filepath.Join(h.dir, "clang")+`$`, after)
	require.Regexp(t, `(?m)^missing +qemu `, after)
	shell := strings.NewReplacer(`"`, "", "$(id -un)", "somebody")
	var want []string
	for _, fix := range fixes {
		require.Contains(t, stderr, "+ "+fix+"\n")
		for _, command := range strings.Split(fix, " && ") {
			want = append(want, shell.Replace(strings.TrimPrefix(command, "sudo ")))
		}
	}
	require.Equal(t, want, h.calls(t))
	require.NotContains(t, stderr, "by hand")
}

func TestACommandOfTheDoctorThatFailsIsSaidAndTheOthersAreRun(t *testing.T) {
	if !distro.Here().Known() {
		need.OrSkip(t, "the packages of this distribution are not known")
	}
	h := newBareHost(t, "echo no network >&2\nexit 100\n")
	after, stderr, status := h.doctor(t, "--fix=run")
	require.Equal(t, 3, status)
	require.Regexp(t, `(?m)^degraded +clang `, after)
	require.Contains(t, stderr, "\nno network\n")
	require.Regexp(t, `(?m)^spicelane: doctor --fix: .*: exit status 100; fix that by hand$`, stderr)

	var out bytes.Buffer
	require.NoError(t, runFixes(t.Context(), &out, []string{"echo one", "exit 7", "echo two"}))
	require.Equal(t, "+ echo one\none\n+ exit 7\nspicelane: doctor --fix: exit 7: exit status 7; fix that by hand\n+ echo two\ntwo\n", out.String())
}
