package qemu_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/internal/distro"
)

// env is an environment for functions that take a getenv.
type env map[string]string

func (e env) get(name string) string { return e[name] }

// program writes a shell script and returns its path.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "qemu-system-x86_64")
	require.NoError(t, writeProgram(path, "#!/bin/sh\n"+script+"\n"))
	return path
}

func requireHostError(t *testing.T, err error, says ...string) *qemu.HostError {
	t.Helper()
	var host *qemu.HostError
	require.ErrorAs(t, err, &host)
	for _, s := range says {
		assert.Contains(t, err.Error(), s)
	}
	assert.NotContains(t, err.Error(), "\n")
	return host
}

func TestQEMUIsFoundByTheEnvironmentThenByPath(t *testing.T) {
	mine := program(t, "exit 0")
	got, err := qemu.FindQEMU(env{qemu.EnvQEMU: mine}.get)
	require.NoError(t, err)
	assert.Equal(t, mine, got)

	t.Setenv("PATH", filepath.Dir(mine))
	got, err = qemu.FindQEMU(env{}.get)
	require.NoError(t, err)
	assert.Equal(t, mine, got)

	t.Setenv("PATH", "/nonexistent-for-qemu")
	_, err = qemu.FindQEMU(env{}.get)
	requireHostError(t, err, "QEMU was not found", distro.Here().Hint(distro.QEMU, distro.ImageTool, distro.OVMF))
	_, err = qemu.FindQEMU(env{qemu.EnvQEMU: "/nonexistent/qemu"}.get)
	requireHostError(t, err, "SPICELANE_QEMU says /nonexistent/qemu")
	_, err = qemu.FindImageTool(env{}.get)
	requireHostError(t, err, "no qemu-img in PATH", distro.Here().Hint(distro.QEMU, distro.ImageTool, distro.OVMF))
}

// Each recording lists the firmware files that a distribution installs, and the pair to take.
func TestFirmwareIsFoundOnEachDistribution(t *testing.T) {
	t.Parallel()
	recordings, err := filepath.Glob("../../internal/distro/testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, recordings)
	for _, recording := range recordings {
		t.Run(strings.TrimSuffix(filepath.Base(recording), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(recording)
			require.NoError(t, err)
			_, rest, _ := strings.Cut(string(b), "# firmware files: path, kind\n")
			listing, rest, _ := strings.Cut(rest, "# firmware that lanes take\n")
			want, _, _ := strings.Cut(rest, "#")
			root := t.TempDir()
			for _, line := range strings.Split(strings.TrimSpace(listing), "\n") {
				path, kind, _ := strings.Cut(line, " ")
				if path == "" {
					continue
				}
				guid := map[string]string{"code": codeGUID, "vars": varsGUID}[kind]
				require.NotEmpty(t, guid, line)
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, path), flash(guid), 0o644))
			}
			fw, err := qemu.FindOVMFUnder(env{}.get, root)
			if strings.TrimSpace(want) == "" {
				requireHostError(t, err, "OVMF")
				return
			}
			require.NoError(t, err)
			require.Equal(t, strings.Fields(want), []string{strings.TrimPrefix(fw.Code, root), strings.TrimPrefix(fw.Vars, root)})
		})
	}
}

func TestFirmwareIsFoundInTheUsualPlacesTheFourMegabyteBuildFirst(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put := func(names ...string) {
		for _, name := range names {
			content := flash(codeGUID)
			if strings.Contains(strings.ToLower(name), "vars") {
				content = flash(varsGUID)
			}
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, name), content, 0o644))
		}
	}
	_, err := qemu.FindOVMFUnder(env{}.get, root)
	requireHostError(t, err, "OVMF", distro.Here().Hint(distro.OVMF))

	put("usr/share/OVMF/OVMF_CODE_4M.fd") // without its variables
	_, err = qemu.FindOVMFUnder(env{}.get, root)
	requireHostError(t, err)

	put("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd")
	fw, err := qemu.FindOVMFUnder(env{}.get, root)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "usr/share/OVMF/OVMF_CODE.fd"), fw.Code)

	put("usr/share/OVMF/OVMF_VARS_4M.fd")
	fw, err = qemu.FindOVMFUnder(env{}.get, root)
	require.NoError(t, err)
	assert.Equal(t, raw(filepath.Join(root, "usr/share/OVMF/OVMF_CODE_4M.fd"), filepath.Join(root, "usr/share/OVMF/OVMF_VARS_4M.fd")), fw)

	put("my/code", "my/vars")
	mine := raw(filepath.Join(root, "my/code"), filepath.Join(root, "my/vars"))
	fw, err = qemu.FindOVMFUnder(env{qemu.EnvOVMFCode: mine.Code, qemu.EnvOVMFVars: mine.Vars}.get, root)
	require.NoError(t, err)
	assert.Equal(t, mine, fw)

	_, err = qemu.FindOVMFUnder(env{qemu.EnvOVMFCode: mine.Code}.get, root)
	var usage *qemu.ConfigError
	require.ErrorAs(t, err, &usage, "the host is not to blame")
	require.ErrorContains(t, err, "only one of SPICELANE_OVMF_CODE and SPICELANE_OVMF_VARS is set; set both or neither")
	_, err = qemu.FindOVMFUnder(env{qemu.EnvOVMFCode: mine.Code, qemu.EnvOVMFVars: filepath.Join(root, "my")}.get, root)
	requireHostError(t, err, "cannot be read", "regular file")
}

func TestQEMUWithoutSPICEIsToldBeforeAnythingIsStarted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script, want string
	}{
		{"has it", "echo 'spice options:'; echo '  image-compression=<str>'; echo '  password-secret=<str>'", ""},
		{"has it and fails", "echo '  image-compression=<str>'; echo '  password-secret=<str>'; exit 1", ""},
		{"has none", "echo 'qemu-system-x86_64: -spice help: There is no option group '\\''spice'\\'' >&2; exit 1", "has no SPICE server; install"},
		{"module missing", "echo 'module ui-spice-core not found' >&2; exit 1", distro.Here().Hint(distro.SPICE)},
		{"too old", "echo '  image-compression=<str>'; echo '  password=<str>'", "too old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := qemu.HasSPICE(t.Context(), program(t, tt.script))
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			requireHostError(t, err, tt.want)
		})
	}
	t.Run("not a program", func(t *testing.T) {
		requireHostError(t, qemu.HasSPICE(t.Context(), "/nonexistent/qemu"), "cannot be run")
	})
}

func TestVersionIsWhatQEMUSays(t *testing.T) {
	t.Parallel()
	v, err := qemu.Version(t.Context(), program(t, "echo 'QEMU emulator version 9.2.0 (x)'; echo Copyright"))
	require.NoError(t, err)
	assert.Equal(t, "QEMU emulator version 9.2.0 (x)", v)
	_, err = qemu.Version(t.Context(), program(t, "echo hello"))
	requireHostError(t, err, `is not QEMU: asked for its version it said "hello"`)
}

func TestTheGateDecidesByPolicyAndHost(t *testing.T) {
	t.Parallel()
	host := &qemu.HostError{What: "QEMU was not found", Hint: "install it"}
	bug := errors.New("something else")
	tests := []struct {
		policy string
		lacks  error
		want   qemu.Action
		reason string
	}{
		{"", nil, qemu.Run, ""},
		{"auto", nil, qemu.Run, ""},
		{"auto", host, qemu.Skip, "QEMU was not found; install it"},
		{"auto", bug, qemu.Fail, "something else"},
		{"require", nil, qemu.Run, ""},
		{"require", host, qemu.Fail, "QEMU was not found; install it"},
		{"off", nil, qemu.Skip, "SPICELANE_LANES=off"},
		{"off", host, qemu.Skip, "SPICELANE_LANES=off"},
	}
	for _, tt := range tests {
		p, err := qemu.ParsePolicy(tt.policy)
		require.NoError(t, err)
		got := p.Decide(tt.lacks)
		assert.Equal(t, tt.want, got.Action, "%q with %v", tt.policy, tt.lacks)
		assert.Equal(t, tt.reason, got.Reason, "%q with %v", tt.policy, tt.lacks)
	}

	nothing := env{qemu.EnvQEMU: "/nonexistent/qemu"}
	assert.Equal(t, qemu.Skip, qemu.Gate(t.Context(), nothing.get).Action)
	nothing[qemu.EnvLanes] = "require"
	assert.Equal(t, qemu.Fail, qemu.Gate(t.Context(), nothing.get).Action)
	nothing[qemu.EnvLanes] = "sometimes"
	d := qemu.Gate(t.Context(), nothing.get)
	assert.Equal(t, qemu.Fail, d.Action)
	assert.Equal(t, `SPICELANE_LANES is "sometimes"; use off, auto or require`, d.Reason)
}

// If QEMU does not start, its output is reported in one sentence, as the fault of the host or of
// the configuration. The lines are QEMU's own.
func TestAQEMUThatDoesNotStartIsDiagnosed(t *testing.T) {
	t.Parallel()
	const stamp = "2026-11-20T23:58:00.000000Z qemu-system-x86_64: "
	tests := []struct {
		name, says string
		host       bool
		want       string
	}{
		{"port busy", "(process:1): Spice-WARNING **: reds.cpp:2456:reds_init_socket: binding socket to 127.0.0.1:5930 failed", true, "SPICE's port is taken already (127.0.0.1:5930)"},
		{"no SPICE", stamp + "-spice unix=on: There is no option group 'spice'", true, "has no SPICE server"},
		{"no qxl", stamp + "-device qxl-vga,id=video0: 'qxl-vga' is not a valid device model name", true, `has no display device "qxl"`},
		{"no KVM", "Could not access KVM kernel module: Permission denied", true, "KVM cannot be used"},
		{"image in use", stamp + `-drive file=x: Failed to get "write" lock`, false, "in use by another process"},
		{"disk full", stamp + "cannot write: No space left on device", true, "the disk is full: cannot write"},
		{"no memory", stamp + "cannot set up guest memory 'pc.ram': Cannot allocate memory", true, "no 256 MiB of memory"},
		{"kernel missing", stamp + "could not open kernel file '/boot/x': No such file or directory", false, "QEMU cannot use a file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := qemu.Start(t.Context(), qemu.Config{
				Dir: shortDir(t), Accel: qemu.TCG, Spice: qemu.Spice{Port: 5930},
				Binary: program(t, "cat >&2 <<'END'\nqemu: warning: harmless\n"+tt.says+"\nEND\nexit 1"),
			})
			if tt.host {
				requireHostError(t, err, tt.want)
				return
			}
			var conf *qemu.ConfigError
			require.ErrorAs(t, err, &conf)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
	t.Run("anything else", func(t *testing.T) {
		t.Parallel()
		dir := shortDir(t)
		_, err := qemu.Start(t.Context(), qemu.Config{Dir: dir, Accel: qemu.TCG, Binary: program(t, "echo some new error >&2; exit 7")})
		var end *qemu.ExitError
		require.ErrorAs(t, err, &end)
		assert.Equal(t, qemu.KindExit, end.Kind)
		assert.Equal(t, `the machine ended: QEMU exited with code 7; QEMU said: "some new error"`, err.Error())
		assert.Contains(t, end.Report(), "-machine q35")
		assert.FileExists(t, filepath.Join(dir, qemu.ArgvFile))
	})
	t.Run("cannot be run", func(t *testing.T) {
		t.Parallel()
		_, err := qemu.Start(t.Context(), qemu.Config{Dir: shortDir(t), Accel: qemu.TCG, Binary: "/nonexistent/qemu"})
		requireHostError(t, err, "QEMU cannot be run", distro.Here().Hint(distro.QEMU, distro.ImageTool, distro.OVMF))
	})
}

// Only the lines of the present machine count, not those of one that ran in the same directory
// before.
func TestTheDirectoryOfAnEarlierMachineCanBeUsedAgain(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, qemu.QEMULog), []byte("No space left on device\n"), 0o644))
	_, err := qemu.Start(t.Context(), qemu.Config{Dir: dir, Accel: qemu.TCG, Binary: program(t, "echo new >&2; exit 1")})
	var end *qemu.ExitError
	require.ErrorAs(t, err, &end)
	assert.Equal(t, []string{"new"}, end.Stderr)
	b, err := os.ReadFile(filepath.Join(dir, qemu.QEMULog))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(b), "No space"), "the earlier log is kept")
}

func TestADirectoryThatCannotBeMadeIsTold(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := qemu.Start(t.Context(), qemu.Config{Dir: file, Accel: qemu.TCG, Binary: "/bin/true"})
	var conf *qemu.ConfigError
	require.ErrorAs(t, err, &conf)
}

// QEMU runs in the machine's directory.
func TestRelativePathsAreTakenFromWhereTheyWereGiven(t *testing.T) {
	cfg := echoConfig(t)
	t.Chdir(shortDir(t))
	for _, name := range []string{"kernel", "initrd"} {
		require.NoError(t, os.WriteFile(name, []byte("too short for a kernel"), 0o600))
	}
	cfg.Image, cfg.Kernel, cfg.Initrd = "", "kernel", "initrd"
	_, err := qemu.Start(boundary(t), cfg)
	require.Error(t, err, "it is no kernel")
	require.NotContains(t, err.Error(), "No such file", "it is there")

	disk := cfg.Dir + "/echo.img"
	require.NoError(t, qemu.Overlay(boundary(t), disk, "disk.qcow2"))
	cfg.Kernel, cfg.Initrd, cfg.Disk, cfg.SocketDir, cfg.Spice.Unix = "", "", "disk.qcow2", ".", "spice.sock"
	m, err := qemu.Start(boundary(t), cfg)
	require.NoError(t, err)
	defer m.Close()
	_, err = m.AwaitBoot(boundary(t), ready)
	require.NoError(t, err)
	_, err = m.WriteSerial(boundary(t), []byte("hello\r\n"))
	require.NoError(t, err)
}
