package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/distro"
)

// on returns an empty report for a host with a distribution and a user that is not root.
func on(t *testing.T, release string) *Report {
	t.Helper()
	return &Report{distro: distro.At(host(t, map[string]string{"etc/os-release": release, "var/lib/apt/lists/main_Packages": ""}), false)}
}

// host makes a directory with the files of a host.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "host") // short, because a socket may be below it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

func TestTheDoctorFindsWhyKVMIsNoUse(t *testing.T) {
	none := &fs.PathError{Op: "open", Path: "/dev/kvm", Err: syscall.ENOENT}
	denied := &fs.PathError{Op: "open", Path: "/dev/kvm", Err: syscall.EACCES}
	on1 := map[string]string{"ept": "Y", "unrestricted_guest": "Y"}
	for name, c := range map[string]struct {
		facts                      kvmFacts
		check                      string
		state                      CheckState
		detail, cause, fix, advice string
	}{
		"works":        {kvmFacts{tried: true}, "kvm works", Good, "a guest has run on it", "", "", ""},
		"not tried":    {kvmFacts{}, "kvm works", Degraded, "not tried", "", "", ""},
		"container":    {kvmFacts{open: none, virtualised: true, container: true, vendor: "kvm_amd"}, "kvm present", Degraded, "TCG", "container", "", "--device /dev/kvm"},
		"no module":    {kvmFacts{open: none, virtualised: true, vendor: "kvm_amd"}, "kvm present", Degraded, "TCG", "module is not loaded", "sudo modprobe kvm_amd", ""},
		"no device":    {kvmFacts{open: &fs.PathError{Err: syscall.ENXIO}, virtualised: true, vendor: "kvm_intel"}, "kvm present", Degraded, "TCG", "module is not loaded", "sudo modprobe kvm_intel", ""},
		"not nested":   {kvmFacts{open: none, nested: true, vendor: "kvm_intel"}, "kvm present", Degraded, "TCG", "without nested", "", "switch nested virtualisation on"},
		"switched off": {kvmFacts{open: none, vendor: "kvm_intel"}, "kvm present", Degraded, "TCG", "firmware", "", "VT-x"},
		"group":        {kvmFacts{open: denied, group: "kvm"}, "kvm permitted", Degraded, "permission denied", "group kvm", `sudo usermod -aG kvm "$(id -un)"`, "log in again"},
		"root's":       {kvmFacts{open: denied, group: "root"}, "kvm permitted", Degraded, "permission denied", "only root", `sudo setfacl -m "u:$(id -un):rw" /dev/kvm`, ""},
		"container's":  {kvmFacts{open: denied, group: "992", container: true}, "kvm permitted", Degraded, "permission denied", "container's user", "", "--group-add"},
		"ept":          {kvmFacts{tried: true, words: "KVM internal error", vendor: "kvm_intel", parameters: map[string]string{"ept": "N", "unrestricted_guest": "N"}}, "kvm works", Degraded, "KVM internal error", "ept", "sudo modprobe -r kvm_intel && sudo modprobe kvm_intel ept=1", ""},
		"npt":          {kvmFacts{tried: true, words: "x", vendor: "kvm_amd", parameters: map[string]string{"npt": "0"}}, "kvm works", Degraded, "x", "npt", "sudo modprobe -r kvm_amd && sudo modprobe kvm_amd npt=1", ""},
		"unrestricted": {kvmFacts{tried: true, words: "x", vendor: "kvm_intel", parameters: map[string]string{"ept": "Y", "unrestricted_guest": "N"}}, "kvm works", Degraded, "x", "unrestricted_guest", "sudo modprobe -r kvm_intel && sudo modprobe kvm_intel unrestricted_guest=1", ""},
		"half nested":  {kvmFacts{tried: true, words: "x", nested: true, parameters: on1}, "kvm works", Degraded, "x", "hypervisor around it", "", "TCG"},
		"held":         {kvmFacts{tried: true, words: "x", parameters: on1}, "kvm works", Degraded, "x", "another hypervisor", "", "dmesg"},
		"asked":        {kvmFacts{tried: true, unwanted: true, words: "TCG is used: SPICELANE_ACCEL=tcg"}, "kvm works", Degraded, "TCG", "", "", "unset SPICELANE_ACCEL"},
	} {
		t.Run(name, func(t *testing.T) {
			checks := on(t, "ID=debian\nVERSION_ID=12").kvmChecks(c.facts)
			for _, before := range checks[:len(checks)-1] {
				require.Equal(t, Good, before.State)
			}
			last := checks[len(checks)-1]
			require.Equal(t, c.check, last.Name)
			require.Equal(t, c.state, last.State)
			require.Contains(t, last.Detail, c.detail)
			require.Contains(t, last.Cause, c.cause)
			require.Equal(t, c.cause == "", last.Cause == "", last.Cause)
			require.Equal(t, c.fix, last.Fix)
			require.Contains(t, last.Advice, c.advice)
			require.Equal(t, c.advice == "", last.Advice == "", last.Advice)
		})
	}
}

func TestAnotherPlatformThanLinuxOnX8664IsMissing(t *testing.T) {
	for _, at := range []string{"darwin/arm64", "darwin/amd64", "linux/arm64", "windows/amd64"} {
		r := on(t, "")
		goos, goarch, _ := strings.Cut(at, "/")
		require.False(t, r.addPlatform(goos, goarch))
		require.Equal(t, []Check{{Name: "platform", State: Missing, Required: true,
			Detail: "lanes run on Linux x86-64, and this is " + at, Advice: "use another host, or a virtual machine"}}, r.Checks)
		require.Equal(t, verdict.Host, verdict.Of(r.Err()))
	}
	r := on(t, "")
	require.True(t, r.addPlatform("linux", "amd64"))
	require.Equal(t, Check{Name: "platform", State: Good, OK: true, Required: true, Detail: "linux/amd64"}, r.Checks[0])
}

func TestTheFactsOfKVMAreReadFromTheHost(t *testing.T) {
	f := factsOfKVM(host(t, map[string]string{
		"proc/cpuinfo":                           "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx hypervisor\n",
		"sys/module/kvm_intel/parameters/ept":    "N\n",
		"sys/module/kvm_intel/parameters/nested": "Y\n",
		".dockerenv":                             "",
	}))
	require.ErrorIs(t, f.open, fs.ErrNotExist)
	require.Equal(t, "kvm_intel", f.vendor)
	require.True(t, f.virtualised && f.nested && f.container)
	require.True(t, f.off("ept"))
	require.False(t, f.off("nested") || f.off("unrestricted_guest"))
	f = factsOfKVM(host(t, map[string]string{"proc/cpuinfo": "vendor_id : AuthenticAMD\nflags : svm_lock fpu\n", "dev/kvm": ""}))
	require.NoError(t, f.open)
	require.Equal(t, "kvm_amd", f.vendor)
	require.False(t, f.virtualised || f.nested || f.container)
}

func TestWhatIsMissingComesWithTheCommandOfTheDistribution(t *testing.T) {
	lack := &qemu.HostError{What: "QEMU has no SPICE server", Hint: "a hint"}
	for release, want := range map[string]string{
		"ID=debian\nVERSION_ID=13": "sudo apt-get install -y qemu-system-x86 qemu-system-modules-spice",
		"ID=arch":                  "sudo pacman -S --needed --noconfirm qemu-ui-spice-core qemu-chardev-spice qemu-audio-spice qemu-hw-display-qxl",
		"ID=nixos":                 "",
	} {
		r := on(t, release)
		r.add("spice", true, "fine", lack, distro.SPICE)
		require.Equal(t, Missing, r.Checks[0].State)
		require.False(t, r.Checks[0].OK)
		require.Equal(t, "QEMU has no SPICE server", r.Checks[0].Detail)
		require.Equal(t, want, r.Checks[0].Fix)
		require.Equal(t, want == "", r.Checks[0].Advice == "a hint")
		var v *verdict.Error
		require.ErrorAs(t, r.Err(), &v)
		require.Equal(t, verdict.Host, v.Verdict)
		require.Contains(t, r.Err().Error(), "QEMU has no SPICE server")
	}
	r := on(t, "ID=debian")
	r.add("spice", true, "fine", nil, distro.SPICE)
	require.Equal(t, Check{Name: "spice", State: Good, OK: true, Required: true, Detail: "fine"}, r.Checks[0])
	require.NoError(t, r.Err())
	require.Empty(t, r.Fixes())
	r.add("clang", false, "", errors.New("not there"), distro.Clang)
	require.Equal(t, Degraded, r.Checks[1].State)
	require.NoError(t, r.Err(), "a lane runs without it")
}

// Debian has mkfs.fat where only root looks.
func TestAToolForRootIsFoundByOtherUsers(t *testing.T) {
	dir := host(t, map[string]string{"usr/sbin/mkfs.fat": "", "bin/mcopy": ""})
	require.NoError(t, os.Chmod(filepath.Join(dir, "usr/sbin/mkfs.fat"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(dir, "bin/mcopy"), 0o700))
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	for _, tool := range []string{"bin/mcopy", "usr/sbin/mkfs.fat"} {
		path, err := findTool(dir, filepath.Base(tool))
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, tool), path)
	}
	_, err := findTool(dir, "lld-link")
	require.ErrorIs(t, err, exec.ErrNotFound)
}

func TestThePackagesAreInstalledByOneCommandBeforeTheRest(t *testing.T) {
	r := on(t, "ID=debian\nVERSION_ID=13")
	no := errors.New("no")
	r.put(Check{Name: "kvm", Fix: "sudo modprobe kvm_intel"}, false)
	r.add("qemu", true, "", no, distro.QEMU)
	r.add("spice", true, "", no, distro.SPICE)
	r.add("clang", false, "", no, distro.Clang)
	r.add("lld", false, "", nil, distro.LLD)
	r.put(Check{Name: "again", Fix: "sudo modprobe kvm_intel"}, false)
	r.put(Check{Name: "advice only", Advice: "think"}, false)
	require.Equal(t, []string{
		"sudo apt-get install -y qemu-system-x86 qemu-system-modules-spice clang",
		"sudo modprobe kvm_intel",
	}, r.Fixes())
}

func TestALongTMPDIRIsNamedAndATooLongOneIsMissing(t *testing.T) {
	r := on(t, "")
	long := "/" + strings.Repeat("d", 89)
	r.addSocketPathOf("/tmp", "/tmp/spicelane-0")
	r.addSocketPathOf(long, "/tmp/spicelane-0")
	r.addSocketPathOf("/tmp", long)
	require.Equal(t, Good, r.Checks[0].State)
	require.NotContains(t, r.Checks[0].Detail, "because")
	require.Equal(t, Good, r.Checks[1].State)
	require.Contains(t, r.Checks[1].Detail, "because TMPDIR has 90 bytes")
	require.Equal(t, Missing, r.Checks[2].State)
	require.Contains(t, r.Checks[2].Detail, "118 bytes, the kernel allows 107")
}

func TestADirectoryThatCannotBeWrittenIsSeen(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writableBelow(dir))
	require.NoError(t, writableBelow(filepath.Join(dir, "not/yet/there")))
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, writableBelow(file), "is not a directory")
	if os.Geteuid() != 0 { // root may write everywhere
		require.NoError(t, os.Chmod(dir, 0o500))
		require.ErrorContains(t, writableBelow(filepath.Join(dir, "below")), "cannot be written")
	}
	require.NoFileExists(t, filepath.Join(dir, "not"))
}

func TestWhyThereIsNoNetemIsSaid(t *testing.T) {
	for _, c := range []struct {
		release    string
		lack       error
		fix, words string
	}{
		{"ID=debian", fmt.Errorf("netem: %w", syscall.ENOENT), "sudo modprobe -a sch_netem veth", "sch_netem"},
		{"ID=fedora", fmt.Errorf("netem: %w", syscall.EOPNOTSUPP), "sudo dnf install -y kernel-modules-extra", "sch_netem"},
		{"ID=debian", fmt.Errorf("netns: %w", syscall.EPERM), "", "namespaces"},
		{"ID=debian", errors.New("odd"), "", ""},
		{"ID=debian", nil, "", ""},
	} {
		r := on(t, c.release)
		r.addLink(c.lack)
		require.Equal(t, c.lack == nil, r.Checks[0].OK)
		require.False(t, r.Checks[0].Required)
		require.Equal(t, c.fix, r.Checks[0].Fix)
		require.Contains(t, r.Checks[0].Cause, c.words)
	}
}

func TestALibvirtDaemonIsFound(t *testing.T) {
	r := on(t, "ID=debian")
	r.addLibvirt(host(t, nil))
	require.Equal(t, Degraded, r.Checks[0].State)
	require.Equal(t, "sudo apt-get install -y libvirt-daemon-system", r.Checks[0].Fix)

	r.addLibvirt(host(t, map[string]string{"usr/sbin/virtqemud": ""}))
	require.Equal(t, Good, r.Checks[1].State)
	require.Contains(t, r.Checks[1].Detail, "no daemon runs")

	dir := host(t, map[string]string{"run/libvirt/virtqemud-sock": "a file is no socket"})
	r.addLibvirt(dir)
	require.Equal(t, Degraded, r.Checks[2].State)
	l, err := net.Listen("unix", filepath.Join(dir, "run/libvirt/libvirt-sock"))
	require.NoError(t, err)
	defer l.Close()
	r.addLibvirt(dir)
	require.Equal(t, Good, r.Checks[3].State)
	require.Contains(t, r.Checks[3].Detail, "listens at")
}

func TestASlowClockAndAWrongOneAreSeen(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	source := func(s string) string {
		return host(t, map[string]string{"sys/devices/system/clocksource/clocksource0/current_clocksource": s + "\n"})
	}
	r := on(t, "ID=debian")
	for _, s := range []string{"tsc", "kvm-clock", "arch_sys_counter"} {
		r.addClock(source(s), now)
	}
	r.addClock(host(t, nil), now)
	for _, c := range r.Checks {
		require.Equal(t, Good, c.State, c.Detail)
	}
	r.addClock(source("acpi_pm"), now)
	require.Equal(t, Degraded, r.Checks[4].State)
	require.Contains(t, r.Checks[4].Detail, "acpi_pm")
	require.NoError(t, r.Err())
	r.addClock(source("tsc"), time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC))
	require.Equal(t, Missing, r.Checks[5].State)
	require.ErrorContains(t, r.Err(), "1970-01-01")
}

func TestHowManyLanesFitDependsOnWhatIsScarcest(t *testing.T) {
	const plenty = 1 << 20
	for _, c := range []struct {
		memory, disk, files, lanes int
		limit                      string
	}{
		{3 * laneMemoryMiB, plenty, plenty, 3, "memory"},
		{4*laneMemoryMiB - 1, plenty, plenty, 3, "memory"},
		{plenty, 2 * diskNeedMiB, plenty, 2, "disk"},
		{plenty, plenty, 5 * laneDescriptors, 5, "open files"},
		{laneMemoryMiB - 1, plenty, plenty, 0, "memory is short"},
		{plenty, plenty, -1, 0, "open files of a process is short"},
	} {
		r := on(t, "")
		check := r.lanesThatFit(c.memory, c.disk, c.files)
		require.Equal(t, c.lanes, r.Lanes)
		require.Contains(t, check.Detail, c.limit)
	}
}
