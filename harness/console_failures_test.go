package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
)

func TestConsoleFailuresAreToldFromHarmlessLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		// Real lines of Linux, systemd, GRUB, dracut and OVMF.
		"[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)": "kernel panic",
		"panic: page fault at 0xffff8000":                                               "kernel panic",
		"[   12.345678] BUG: unable to handle page fault for address: ffffffffc0000000": "kernel oops",
		"[   12.345680] Oops: 0002 [#1] PREEMPT SMP PTI":                                "kernel oops",
		"[   99.000001] Out of memory: Killed process 1234 (chrome) total-vm:4194304kB": "out of memory",
		"You are in emergency mode. After logging in, type \"journalctl -xb\" to view":  "emergency shell",
		"(initramfs) ":  "emergency shell",
		"grub rescue> ": "boot loader rescue",
		"BdsDxe: No bootable option or device was found.":                                          "nothing to boot",
		"ASSERT [DxeCore] /build/edk2/MdeModulePkg/Core/Dxe/Hand/Handle.c(123): ((BOOLEAN)(0==1))": "firmware assertion",
		"ASSERT_EFI_ERROR (Status = Device Error)":                                                 "firmware assertion",
		"!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!":              "firmware exception",
		"[FAILED] Failed to start Network Time Synchronization.":                                   "soft: failed service",
		"[  244.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]":                "soft: lockup",
		"Hello from Beacon": "",
		"[    0.000000] Command line: panic=10 oops=panic":                 "",
		"BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)": "",
		"systemd[1]: Started Emergency Shell target (disabled).":           "",
		"the assertion held": "",
	} {
		require.Equal(t, want, harness.ConsoleFailure(line), "%q", line)
	}
}
