package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/internal/need"
)

// A poorHost is this host as somebody sees it who has little: no root, no KVM, no network, a home
// directory whose name has spaces and that cannot be written, a TMPDIR of 90 bytes, a locale that is
// not UTF-8, umask 077, a PATH without sbin, and a QEMU that is too old by its own words.
type poorHost struct {
	user int
	dir  string // what the user may write
	home string
	env  []string
}

func newPoorHost(t *testing.T) *poorHost {
	t.Helper()
	for _, program := range []string{"unshare", "setpriv", "ip", "qemu-system-x86_64"} {
		need.Program(t, program)
	}
	h := &poorHost{user: os.Getuid()}
	var err error
	// NB: not t.TempDir, which only this user may enter.
	h.dir, err = os.MkdirTemp("", "poor")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(h.dir)) })
	h.home = filepath.Join(h.dir, "a home")
	tmp := h.dir + "/"
	tmp += strings.Repeat("t", 90-len(tmp))
	require.NoError(t, os.Mkdir(h.home, 0o755))
	require.NoError(t, os.Mkdir(tmp, 0o700))
	require.NoError(t, os.Chmod(h.dir, 0o755))
	old := filepath.Join(h.home, "an old qemu")
	require.NoError(t, os.WriteFile(old, []byte(`#!/bin/sh
[ "$1" = --version ] && { echo "QEMU emulator version 6.2.0"; exit; }
exec qemu-system-x86_64 "$@"
`), 0o755))
	program := filepath.Join(h.dir, "spicelane")
	copyFile(t, testProgram(t), program)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "no-kvm"), nil, 0o000))
	if h.user == 0 {
		const nobody = 65534
		h.user = nobody
		require.NoError(t, os.Chown(tmp, nobody, nobody))
		require.NoError(t, os.Chown(h.dir, nobody, nobody))
		// Lanes keep their locks below this directory, also after they have ended.
		run := "/tmp/spicelane-" + strconv.Itoa(nobody)
		if _, err := os.Stat(run); os.IsNotExist(err) {
			t.Cleanup(func() { _ = os.RemoveAll(run) })
		}
	}
	require.NoError(t, os.Chmod(h.home, 0o555))
	t.Cleanup(func() { _ = os.Chmod(h.home, 0o755) })
	h.env = []string{"HOME=" + h.home, "TMPDIR=" + tmp, "LC_ALL=de_DE.ISO-8859-1", "PATH=/usr/local/bin:/usr/bin:/bin",
		qemu.EnvQEMU + "=" + old, "spicelane=" + program, "dir=" + h.dir}
	for _, name := range []string{qemu.EnvOVMFCode, qemu.EnvOVMFVars, host.EnvTimeoutScale} {
		if v := os.Getenv(name); v != "" {
			h.env = append(h.env, name+"="+v)
		}
	}
	return h
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// run runs a shell script as the poor user. It returns what the script prints, and its exit status.
func (h *poorHost) run(t *testing.T, script string) (out string, status int) {
	t.Helper()
	const lose = `PATH=$PATH:/usr/sbin:/sbin
ip link set lo up || exit 100
[ ! -e /dev/kvm ] || mount --bind "$1/no-kvm" /dev/kvm || exit 100
shift; user=$1; shift; umask 077
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"`
	args := []string{"unshare", "--net", "--mount", "sh", "-c", lose, "sh", h.dir, strconv.Itoa(h.user), "env", "-i"}
	args = append(append(args, h.env...), "sh", "-c", "cd / && "+script)
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	status = cmd.ProcessState.ExitCode()
	if status == 100 || strings.HasPrefix(stderr.String(), "sudo:") || strings.HasPrefix(stderr.String(), "unshare:") {
		need.OrSkip(t, "a host without network and KVM cannot be made here: "+stderr.String())
	}
	return stdout.String() + stderr.String(), status
}

func TestOnAPoorHostTheDoctorSaysWhatItLacksAndALanePasses(t *testing.T) {
	harness.RequireHost(t)
	h := newPoorHost(t)

	out, status := h.run(t, `"$spicelane" doctor --json`)
	var report host.Report
	require.NoError(t, json.NewDecoder(strings.NewReader(out)).Decode(&report), out)
	require.Equal(t, 0, status, out)
	require.True(t, report.OK)
	require.Equal(t, "tcg", report.Accel)
	said := make(map[string]host.Check)
	for _, c := range report.Checks {
		said[c.Name] = c
	}
	kvm := "kvm permitted"
	if _, err := os.Stat("/dev/kvm"); err != nil {
		kvm = "kvm present"
	}
	for name, want := range map[string]struct {
		state  host.CheckState
		detail string
	}{
		kvm:               {host.Degraded, "TCG"},
		"qemu":            {host.Good, h.home},
		"qemu version":    {host.Degraded, "QEMU 6.2 is older than 7.2"},
		"fixture":         {host.Good, "beacon: each lane unpacks its own copy"},
		"cache directory": {host.Degraded, "each lane boots cold"},
		"state directory": {host.Degraded, "up and status do not work"},
		"socket paths":    {host.Good, "because TMPDIR has 90 bytes"},
		"mkfs.fat":        {host.Good, "sbin/mkfs.fat"},
		"lanes at once":   {host.Good, "fit"},
	} {
		require.Equal(t, want.state, said[name].State, "%s: %+v", name, said[name])
		require.Contains(t, said[name].Detail, want.detail, name)
		require.Equal(t, want.state == host.Good, said[name].Fix+said[name].Advice == "", "%s: %+v", name, said[name])
	}

	out, status = h.run(t, `"$spicelane" up --name poor --dir "$dir/lane"`)
	require.Equal(t, 3, status, out)
	require.Contains(t, out, "permission denied; set XDG_STATE_HOME to a directory that can be written")
	out, status = h.run(t, `export XDG_STATE_HOME="$dir/state"
"$spicelane" up --name poor --dir "$dir/lane" >/dev/null && "$spicelane" smoke -o "$dir/screen.png" poor
status=$?
"$spicelane" down poor && exit $status`)
	require.Equal(t, 0, status, out)
	require.FileExists(t, filepath.Join(h.dir, "screen.png"))
	st, err := os.Stat(filepath.Join(h.dir, "lane", "serial.log"))
	require.NoError(t, err)
	require.Zero(t, st.Mode().Perm()&0o077, "umask 077 counts")
}
