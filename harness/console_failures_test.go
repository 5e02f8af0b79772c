package harness_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

func TestConsoleFailuresAreToldFromHarmlessLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		// Real lines of Linux, systemd, GRUB, dracut, SeaBIOS, OVMF and BSD kernels.
		"[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)": "kernel panic",
		"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009":                       "kernel panic",
		"<0>[    1.234567][    T1] Kernel panic - not syncing: No working init found.":                  "kernel panic",
		"panic(cpu 0 caller 0xffffff8006d1234): Kernel trap at 0xffffff8":                               "kernel panic",
		"KDB: enter: panic":                           "kernel panic",
		"Stopped at      db_enter+0x14: popq    %rbp": "kernel panic",
		"cpu0: Begin traceback...":                    "kernel panic",
		"[   12.345678] BUG: unable to handle page fault for address: ffffffffc0000000":            "kernel oops",
		"[   12.345680] Oops: 0002 [#1] PREEMPT SMP PTI":                                           "kernel oops",
		"[   12.345680] kernel BUG at mm/slub.c:4321!":                                             "kernel oops",
		"[   99.000001] Out of memory: Killed process 1234 (chrome) total-vm:4194304kB":            "out of memory",
		"[    1.200000] VFS: Cannot open root device \"vda1\" or unknown-block(0,0): error -6":     "root not found",
		"ALERT!  UUID=6f4e2c1a does not exist.  Dropping to a shell!":                              "root not found",
		"You are in emergency mode. After logging in, type \"journalctl -xb\" to view":             "emergency shell",
		"Give root password for maintenance":                                                       "emergency shell",
		"(initramfs) ":                                                                             "emergency shell",
		"dracut:/# ":                                                                               "emergency shell",
		"grub rescue> ":                                                                            "boot loader rescue",
		"Entering rescue mode...":                                                                  "boot loader rescue",
		"BdsDxe: No bootable option or device was found.":                                          "nothing to boot",
		"No bootable device.":                                                                      "nothing to boot",
		"ASSERT [DxeCore] /build/edk2/MdeModulePkg/Core/Dxe/Hand/Handle.c(123): ((BOOLEAN)(0==1))": "firmware assertion",
		"ASSERT_EFI_ERROR (Status = Device Error)":                                                 "firmware assertion",
		"!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!":              "firmware exception",
		"\x1b[2J\x1b[1;1H\x1bP+q544E\x1b\\grub rescue> ":                                           "boot loader rescue",
		"loading 10%\rKernel panic - not syncing: x\rrestarting":                                   "kernel panic",

		// Boot goes on after these, or any program may have written them.
		"panic: page fault at 0xffff8000":                                                      "soft: panic",
		"loading 10%\rloading 50%\rpanic: no root":                                             "soft: panic",
		"[   99.0] Memory cgroup out of memory: Killed process 77 (stress) total-vm:4194304kB": "soft: memory limit",
		"[   99.0] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,task=stress":  "soft: memory limit",
		"Boot failed: not a bootable disk":                                                     "soft: boot device failed",
		"Boot Failed. EFI DVD/CDROM":                                                           "soft: boot device failed",
		"BdsDxe: failed to load Boot0001 \"UEFI QEMU DVD-ROM\" from PciRoot(0x0): Not Found":   "soft: boot device failed",
		"error: unknown filesystem.":                                                           "soft: boot loader error",
		"error: no such device: 6f4e2c1a-0000.":                                                "soft: boot loader error",
		"[FAILED] Failed to start Network Time Synchronization.":                               "soft: failed service",
		"[  244.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]":            "soft: lockup",

		"Hello from Beacon": "",
		"[    0.000000] Command line: panic=10 oops=panic":                 "",
		"BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)": "",
		"systemd[1]: Started Emergency Shell target (disabled).":           "",
		"the assertion held": "",
		// coreos/coreos-assembler#2207, microsoft/lisa#4071 and #1101: programs, logs and tests talk
		// about failures, too.
		"2026/11/27 04:00:00 panic: recovered in handler":                 "",
		"app[77]: Kernel panic - not syncing is what this test looks for": "",
		"ASSERT: all 12 checks hold":                                      "",
		"TEST_ASSERT (x == 1) ok":                                         "",
		"logger: the last boot said BUG: unable to handle page fault":     "",
		"docs: see \"No bootable device.\" in the FAQ":                    "",
		"kubelet: oom-kill: container stress was killed":                  "",
		"$ echo You are in emergency mode":                                "",
	} {
		got, err := harness.ConsoleFailures(nil, harness.Config{}, line)
		require.NoError(t, err)
		if want == "" {
			require.Empty(t, got, "%q", line)
		} else {
			require.Equal(t, []string{want}, got, "%q", line)
		}
	}
}

func TestFailuresCanBeSwitchedOffAndReplacedByFixtureAndByLane(t *testing.T) {
	t.Parallel()
	failure := func(name, pattern string, soft bool) fixtures.Failure {
		return fixtures.Failure{Name: name, Pattern: regexp.MustCompile(pattern), Soft: soft}
	}
	rescue, fatal := "grub rescue> ", "FATAL: x"
	for _, tc := range []struct {
		name string
		fx   *fixtures.Fixture
		cfg  harness.Config
		says string
		want []string
	}{
		{"default", nil, harness.Config{}, rescue, []string{"boot loader rescue"}},
		{"off in the lane", nil, harness.Config{IgnoreFailures: []string{"boot loader rescue"}}, rescue, nil},
		{"all off in the lane", nil, harness.Config{IgnoreFailures: []string{"all"}}, rescue, nil},
		{"off in the fixture", &fixtures.Fixture{IgnoreFailures: []string{"boot loader rescue"}}, harness.Config{}, rescue, nil},
		{"all off in the fixture, but its own", &fixtures.Fixture{IgnoreFailures: []string{"all"}, Failures: []fixtures.Failure{failure("fatal", "^FATAL", false)}},
			harness.Config{}, fatal, []string{"fatal"}},
		{"the fixture's own off in the lane", &fixtures.Fixture{Failures: []fixtures.Failure{failure("fatal", "^FATAL", false)}},
			harness.Config{IgnoreFailures: []string{"fatal"}}, fatal, nil},
		{"replaced by the fixture", &fixtures.Fixture{Failures: []fixtures.Failure{failure("boot loader rescue", "^grub", true)}},
			harness.Config{}, rescue, []string{"soft: boot loader rescue"}},
		{"replaced by the lane", &fixtures.Fixture{Failures: []fixtures.Failure{failure("boot loader rescue", "^grub", true)}},
			harness.Config{Failures: []fixtures.Failure{failure("boot loader rescue", "^never", false)}}, rescue, nil},
		{"added by the lane", nil, harness.Config{Failures: []fixtures.Failure{failure("fatal", "^FATAL", false)}}, fatal, []string{"fatal"}},
	} {
		got, err := harness.ConsoleFailures(tc.fx, tc.cfg, tc.says)
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, got, tc.name)
	}
	_, err := harness.ConsoleFailures(nil, harness.Config{IgnoreFailures: []string{"kernel panik"}}, "x")
	require.ErrorContains(t, err, `IgnoreFailures: no failure is called "kernel panik"; there are all, boot device failed, `)
	require.Equal(t, verdict.Harness, verdict.Of(err))
	_, err = harness.ConsoleFailures(nil, harness.Config{Failures: []fixtures.Failure{{Name: "x"}}}, "x")
	require.ErrorContains(t, err, "needs a name and a pattern")

	// A lane of spicelane up gets them as JSON.
	b, err := json.Marshal(harness.Config{Failures: []fixtures.Failure{failure("fatal", "^FATAL", true)}})
	require.NoError(t, err)
	require.JSONEq(t, `{"failures":[{"name":"fatal","pattern":"^FATAL","soft":true}]}`, string(b))
	var cfg harness.Config
	require.NoError(t, json.Unmarshal(b, &cfg))
	require.True(t, cfg.Failures[0].Pattern.MatchString("FATAL"))
}

func TestAWaitThatFailsTellsOfSoftFailures(t *testing.T) {
	t.Parallel()
	require.Equal(t, `meanwhile the guest said "panic: no root" (panic)`, harness.SoftFailures("Linux\nloading\rpanic: no root\n"))
	require.Equal(t, `meanwhile the guest said "panic: 2" (panic), "panic: 3" (panic), "panic: 4" (panic)`,
		harness.SoftFailures("panic: 1\npanic: 2\npanic: 3\npanic: 4\n"))
	require.Empty(t, harness.SoftFailures("Linux\n"))
}

// saying returns the fixture of a guest that writes a text to COM1 and then halts:
//
//	mov si, text; next: lodsb; test al, al; jz halt; wait until COM1 takes a byte; out; jmp next; halt: hlt; jmp halt
func saying(t *testing.T, text, more string) string {
	t.Helper()
	sector := append([]byte{
		0x31, 0xc0, 0x8e, 0xd8, 0xfc, 0xbe, 0x40, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4, 0xba, 0xfd, 0x03,
		0xec, 0xa8, 0x20, 0x74, 0xfb, 0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9, 0xf4, 0xeb, 0xfd,
	}, make([]byte, 1<<20-34)...)
	require.Less(t, len(text), 510-0x40)
	copy(sector[0x40:], text)
	sector[510], sector[511] = 0x55, 0xaa
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "say.img"), sector, 0o644))
	entry := filepath.Join(dir, "say.yaml")
	require.NoError(t, os.WriteFile(entry, []byte("name: say\nimage: say.img\nfirmware: bios\nmemory_mib: 32\nbanner: \"login:\"\n"+more), 0o644))
	return entry
}

// https://github.com/coreos/coreos-assembler/issues/1366, https://github.com/microsoft/lisa/pull/2015,
// https://github.com/systemd/systemd/issues/37538: the guest is QEMU's, and what it says is found as
// it says it.
func TestAGuestsLastWordsEndItsLane(t *testing.T) {
	lanetest.AtOnce(t)
	harness.RequireHost(t)
	// A host that is busy may pause the guest within a word.
	const fatal = "failures:\n  - name: fatal\n    pattern: \"^FATAL: no (root|disk)\"\n"
	for _, tc := range []struct{ name, says, more, want string }{
		{"a prompt without a newline", "Welcome to GRUB!\r\n\r\nerror: no such device: 6f4e2c1a.\r\ngrub rescue> ", "", `boot loader rescue: "grub rescue> "`},
		{"a line that was redrawn", "loading 10%\rloading 50%\rFATAL: no root", fatal, `fatal: "FATAL: no root"`},
		{"a line behind a control string", "\x1bP+q544E\x1b\\FATAL: no disk\r\n", fatal, `fatal: "FATAL: no disk"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := harness.Start(t.Context(), harness.Config{Dir: dir, Fixture: saying(t, tc.says, tc.more), Warm: harness.WarmOff,
				Proxy: harness.None, Client: harness.None})
			require.ErrorContains(t, err, "the guest failed: "+tc.want)
			require.Equal(t, verdict.Product, verdict.Of(err))
		})
	}
}

// https://github.com/coreos/coreos-assembler/issues/2207, https://github.com/microsoft/lisa/issues/4071: a
// program of the guest may say "panic:" and the guest be well.
func TestAGuestThatTalksOfPanicAndGoesOnIsWell(t *testing.T) {
	lanetest.AtOnce(t)
	harness.RequireHost(t)
	start := func(cfg harness.Config) string {
		cfg.Dir, cfg.Warm, cfg.Proxy, cfg.Client = t.TempDir(), harness.WarmOff, harness.None, harness.None
		lane, err := harness.Start(t.Context(), cfg)
		require.NoError(t, err)
		require.NoError(t, lane.Close())
		b, err := os.ReadFile(filepath.Join(cfg.Dir, timeline.File))
		require.NoError(t, err)
		return string(b)
	}
	b := start(harness.Config{Fixture: saying(t, "Boot failed: not a bootable disk\r\npanic: this is a Go program of the guest\r\nlogin: ", "")})
	assert.Contains(t, b, `"kind":"console_failure","name":"panic","soft":true,`, "it is noted")
	assert.Contains(t, b, `"kind":"console_failure","name":"boot device failed","soft":true,`)

	// A guest whose rescue shell is what the test is about.
	b = start(harness.Config{Fixture: saying(t, "grub rescue> ", ""), Banner: "grub rescue>", IgnoreFailures: []string{"boot loader rescue"}})
	assert.NotContains(t, b, "console_failure")
}
