package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/distro"
)

// A CheckState says how good one thing on the host is.
type CheckState string

// States of a Check.
const (
	// Good means that nothing is wrong.
	Good CheckState = "good"
	// Degraded means that lanes run, but slower, or that some tests are skipped.
	Degraded CheckState = "degraded"
	// Missing means that no lane runs here.
	Missing CheckState = "missing"
)

// A Check is one thing that a lane or a test needs from the host.
type Check struct {
	Name  string     `json:"name"`
	State CheckState `json:"state"`
	// OK is whether State is Good.
	OK bool `json:"ok"`
	// Required means that no lane runs without it.
	Required bool   `json:"required"`
	Detail   string `json:"detail"`
	// Cause is the usual cause; may be empty.
	Cause string `json:"cause,omitempty"`
	// Fix is the command that fixes it, for a shell; empty if nothing is wrong, or if no command
	// can fix it.
	Fix string `json:"mend,omitempty"`
	// Advice is what to do if there is no command, or in addition to it; may be empty.
	Advice string `json:"advice,omitempty"`

	packages []string // that Fix installs, so that all can be installed at once
}

// A Report says what this host can run.
type Report struct {
	// OK means that a lane can run.
	OK bool `json:"ok"`
	// Accel is how a lane would run: "kvm" or "tcg"; empty if none can.
	Accel string `json:"accel"`
	// Lanes is how many lanes fit at once; 0 if none can run.
	Lanes int `json:"lanes"`
	// System is the name of the distribution.
	System string  `json:"system"`
	Checks []Check `json:"checks"`

	distro distro.System
}

// Err returns nil if a lane can run, otherwise a Host error that names what is missing.
func (r *Report) Err() error {
	for _, c := range r.Checks {
		if c.State == Missing {
			hint := c.Advice
			if c.Fix != "" {
				hint = c.Fix
			}
			return &verdict.Error{Verdict: verdict.Host, Op: "doctor", Err: errors.New(c.Detail), Hint: hint}
		}
	}
	return nil
}

// Fixes returns the commands that fix everything that is not good. If packages are missing, the
// first command installs all of them.
func (r *Report) Fixes() []string {
	var packages, rest []string
	for _, c := range r.Checks {
		switch {
		case c.State == Good:
		case len(c.packages) > 0:
			packages = append(packages, c.packages...)
		case c.Fix != "":
			rest = append(rest, c.Fix)
		}
	}
	all := rest
	if command := r.distro.InstallPackages(unique(packages)); command != "" {
		all = append([]string{command}, rest...)
	}
	return unique(all)
}

// unique returns the strings of in without duplicates, in order.
func unique(in []string) []string {
	seen := make(map[string]bool)
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// add adds a check. If err is nil, it is good, and detail describes it. Otherwise err describes it,
// and needs are what to install.
func (r *Report) add(name string, required bool, detail string, err error, needs ...distro.Need) {
	c := Check{Name: name, Required: required, Detail: detail}
	if err != nil {
		c.Detail = err.Error()
		var host *qemu.HostError
		var lack *verdict.Error
		switch {
		case errors.As(err, &host):
			c.Detail, c.Advice = host.What, host.Hint
		case errors.As(err, &lack):
			c.Detail, c.Advice = lack.Err.Error(), lack.Hint
		}
		c.packages = r.distro.Packages(needs...)
		if c.Fix = r.distro.Install(needs...); c.Fix != "" {
			c.Advice = ""
		}
	}
	r.put(c, err == nil)
}

// put adds a check. ok tells whether it is good.
func (r *Report) put(c Check, ok bool) {
	switch {
	case ok:
		c.State, c.OK, c.Fix, c.Advice, c.Cause = Good, true, "", "", ""
	case c.Required:
		c.State = Missing
	default:
		c.State = Degraded
	}
	r.Checks = append(r.Checks, c)
}

// diskNeedMiB is how many MiB a lane may write: overlay, logs, pictures.
const diskNeedMiB = 256

// laneMemoryMiB is the memory in MiB of Beacon's machine, plus what a lane needs in addition.
const laneMemoryMiB = 256 + headroomMiB

// Doctor checks this host. It starts a guest only to find out whether KVM works, and remembers the
// answer.
func Doctor(ctx context.Context) *Report {
	r := &Report{distro: distro.Here()}
	r.System = r.distro.Name
	if !r.addPlatform(runtime.GOOS, runtime.GOARCH) {
		return r // nothing else matters
	}
	binary, err := qemu.FindQEMU(os.Getenv)
	version := ""
	if err == nil {
		version, err = qemu.Version(ctx, binary)
	}
	r.add("qemu", true, fmt.Sprintf("%s: %s", binary, version), err, distro.QEMU)
	if err == nil {
		r.add("qemu version", false, qemu.OldestVersion+" or newer", qemu.CheckVersion(version))
		r.add("spice", true, "QEMU has a SPICE server", qemu.HasSPICE(ctx, binary), distro.SPICE)
	}
	tool, toolErr := qemu.FindImageTool(os.Getenv)
	r.add("qemu-img", true, tool, toolErr, distro.ImageTool)
	fw, fwErr := qemu.FindOVMF(os.Getenv)
	if os.Getenv(qemu.EnvOVMFCode) != "" {
		r.add("firmware", true, fw.Code, fwErr) // a package does not fix a variable
	} else {
		r.add("firmware", true, fw.Code, fwErr, distro.OVMF)
	}

	fx, fxErr := fixtures.Find("beacon")
	image := ""
	if fxErr == nil {
		var remove func()
		image, remove, fxErr = imageOf(ctx, fx)
		defer remove()
	}
	where := image
	if !strings.HasPrefix(image, CacheDir()+string(filepath.Separator)) {
		where = "each lane unpacks its own copy"
	}
	r.add("fixture", true, "beacon: "+where, fxErr)
	r.addKVM(r.Err() == nil, func() (qemu.Choice, error) {
		return ChooseAccel(ctx, qemu.Config{Binary: binary, Image: image, MemoryMiB: fx.MemoryMiB}, fx.Banner, "")
	})
	r.addMemory()
	r.add("open files", true, "a process may open enough", EnoughDescriptors())
	r.add("cores", true, fmt.Sprintf("%d", runtime.NumCPU()), nil)
	r.addDirectories()
	r.addSocketPath()
	r.addLink(impair.Probe())
	r.addLibvirt("/")
	r.addClock("/", time.Now())
	for _, t := range doctorTools {
		path, err := findTool("/", t.program)
		if err != nil {
			err = &qemu.HostError{What: fmt.Sprintf("%s was not found (for %s)", t.program, t.use), Hint: r.distro.Hint(t.need)}
		}
		r.add(t.program, false, path, err, t.need)
	}
	r.addLanes()
	r.OK = r.Err() == nil
	if !r.OK {
		r.Accel, r.Lanes = "", 0
	}
	return r
}

// imageOf returns the file of a fixture's image, and a function that removes it. As for a lane, it
// is a private copy if the cache cannot store it.
func imageOf(ctx context.Context, fx *fixtures.Fixture) (image string, remove func(), err error) {
	remove = func() {}
	image, err = fx.Materialize(ctx, filepath.Join(CacheDir(), "fixtures"))
	var damaged *fixtures.ImageError
	if err == nil || errors.As(err, &damaged) {
		return image, remove, err
	}
	dir, dirErr := os.MkdirTemp("", "spicelane-doctor-")
	if dirErr != nil {
		return "", remove, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	own, ownErr := fx.Materialize(ctx, dir)
	if ownErr != nil {
		return "", remove, err
	}
	return own, remove, nil
}

// addPlatform checks the system and the processor, and tells whether lanes run there.
func (r *Report) addPlatform(goos, goarch string) bool {
	err := qemu.CheckPlatform(goos, goarch)
	r.add("platform", true, goos+"/"+goarch, err)
	return err == nil
}

// doctorTools are programs that only some tests or fixture builds use.
var doctorTools = []struct {
	program string
	need    distro.Need
	use     string
}{
	{"clang", distro.Clang, "building fixtures"},
	{"lld-link", distro.LLD, "building fixtures"},
	{"mcopy", distro.Mtools, "building fixtures"},
	{"mkfs.fat", distro.Dosfstools, "building fixtures"},
	{"spicy-screenshot", distro.SpiceGTK, "comparing with spice-gtk's picture"},
}

// findTool returns the path of a program. It also looks in /usr/sbin, which may be in root's PATH
// only.
func findTool(root, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if path, err := exec.LookPath(filepath.Join(root, "usr/sbin", name)); err == nil {
		return path, nil
	}
	return "", err
}

func (r *Report) addMemory() {
	total, available, err := meminfo()
	if err == nil && available < laneMemoryMiB {
		err = &verdict.Error{Verdict: verdict.Host, Err: fmt.Errorf("%d of %d MiB are available, a lane needs %d", available, total, laneMemoryMiB),
			Hint: "end other programs"}
	}
	r.add("memory", true, fmt.Sprintf("%d of %d MiB available", available, total), err)
}

// addDirectories checks that the lane's directories have space and can be written.
func (r *Report) addDirectories() {
	base := runDirBase()
	free, err := freeMiB(base)
	if err == nil && free < diskNeedMiB {
		err = &qemu.HostError{What: fmt.Sprintf("%d MiB free at %s, a lane may need %d", free, base, diskNeedMiB), Hint: "free some space, or set TMPDIR"}
	}
	r.add("disk", true, fmt.Sprintf("%d MiB free at %s", free, base), err)
	_, err = ownDir(base, "run directory")
	r.add("run directory", true, base, err)
	for _, d := range []struct{ name, dir, set, without string }{
		{"cache", CacheDir(), EnvCacheDir, "each lane boots cold, and each process tries KVM again"},
		{"state", StateDir(), "XDG_STATE_HOME", "up and status do not work; tests do"},
	} {
		c := Check{Name: d.name + " directory", Detail: d.dir}
		err := writableBelow(d.dir)
		if err != nil {
			c.Detail = fmt.Sprintf("%v; %s", err, d.without)
			c.Advice = "set " + d.set + " to a directory that can be written"
		}
		r.put(c, err == nil)
	}
}

// writableBelow returns why a directory cannot be written, or cannot be made. It makes nothing.
func writableBelow(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		if errors.Is(err, os.ErrNotExist) && at != "/" {
			continue
		}
		switch {
		case err != nil:
			return err
		case !st.IsDir():
			return fmt.Errorf("%s is not a directory", at)
		}
		if err := accessible(at); err != nil {
			return fmt.Errorf("%s cannot be written: %w", at, err)
		}
		return nil
	}
}

// longestSocket is the longest name of a socket in a run directory.
const longestSocket = "/spl-0123456789/control.sock"

// maxSocketPath is the longest path of a Unix socket, sun_path without its zero byte.
const maxSocketPath = 107

// addSocketPath checks that the paths of a lane's sockets are not too long.
func (r *Report) addSocketPath() { r.addSocketPathOf(tempDir(), runDirBase()) }

func (r *Report) addSocketPathOf(tmp, base string) {
	n := len(base) + len(longestSocket)
	c := Check{Name: "socket paths", Required: true, Detail: fmt.Sprintf("%d of %d bytes, in %s", n, maxSocketPath, base)}
	if !strings.HasPrefix(base, tmp) {
		c.Detail += fmt.Sprintf(" because TMPDIR has %d bytes", len(tmp))
	}
	if n > maxSocketPath {
		c.Detail = fmt.Sprintf("a lane's sockets would have paths of %d bytes, the kernel allows %d", n, maxSocketPath)
		c.Advice = "set TMPDIR to a shorter directory"
	}
	r.put(c, n <= maxSocketPath)
}

// addLink reports where a lane's Link would be impaired. lack says why the kernel cannot do it.
func (r *Report) addLink(lack error) {
	c := Check{Name: "netem", Detail: "bad networks are made by the kernel, between network namespaces"}
	if lack != nil {
		c.Detail = "bad networks are made inside the test's process: " + lack.Error()
		switch {
		case errors.Is(lack, os.ErrPermission):
			c.Cause = "this user may not make network namespaces: a container without CAP_SYS_ADMIN, or user namespaces switched off"
			c.Advice = "run the tests as root, or in a container with --cap-add SYS_ADMIN --cap-add NET_ADMIN"
		case errors.Is(lack, os.ErrNotExist) || errors.Is(lack, errors.ErrUnsupported):
			c.Cause = "the kernel has no sch_netem or no veth"
			if c.packages = r.distro.Packages(distro.Netem); len(c.packages) > 0 {
				c.Fix = r.distro.Install(distro.Netem)
			} else {
				c.Fix = r.distro.Sudo("modprobe -a sch_netem veth")
			}
		default:
			c.Advice = "nothing has to be done: tests that need the kernel's own are skipped"
		}
	}
	r.put(c, lack == nil)
}

// libvirtSockets are the paths where a running libvirt daemon listens.
var libvirtSockets = []string{"run/libvirt/virtqemud-sock", "run/libvirt/libvirt-sock", "var/run/libvirt/libvirt-sock"}

// addLibvirt reports whether consoles can be listed from a libvirt daemon. Lanes need none.
func (r *Report) addLibvirt(root string) {
	c := Check{Name: "libvirt"}
	for _, socket := range libvirtSockets {
		if st, err := os.Stat(filepath.Join(root, socket)); err == nil && st.Mode()&os.ModeSocket != 0 {
			c.Detail = "a daemon listens at " + filepath.Join(root, socket)
			r.put(c, true)
			return
		}
	}
	for _, dir := range []string{"usr/sbin", "usr/bin"} {
		for _, name := range []string{"virtqemud", "libvirtd"} {
			if path := filepath.Join(root, dir, name); exists(path) {
				c.Detail = path + " is installed; no daemon runs, and the tests start their own"
				r.put(c, true)
				return
			}
		}
	}
	c.Detail = "no libvirt daemon is installed: the tests of that source are skipped"
	c.packages, c.Fix = r.distro.Packages(distro.Libvirt), r.distro.Install(distro.Libvirt)
	r.put(c, false)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// clockFloor is before the first commit of this program. If a host's clock is earlier, it is wrong,
// and the proxy's certificates seem to be not yet valid.
var clockFloor = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// slowClocks are clock sources that the kernel uses only if the processor's own clock is
// unreliable. Each reading costs microseconds, and latencies are measured with them.
var slowClocks = map[string]string{
	"hpet":            "the processor's time stamp counter is not stable",
	"acpi_pm":         "the processor's time stamp counter is not stable, or the hypervisor hides it",
	"jiffies":         "the kernel found no other clock",
	"refined-jiffies": "the kernel found no other clock",
}

// addClock checks the wall clock and the kernel's clock source.
func (r *Report) addClock(root string, now time.Time) {
	source := "unknown"
	if b, err := os.ReadFile(filepath.Join(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")); err == nil {
		source = strings.TrimSpace(string(b))
	}
	c := Check{Name: "clock", Detail: "clock source " + source}
	slow, bad := slowClocks[source]
	switch {
	case now.Before(clockFloor):
		c.Required = true
		c.Detail = fmt.Sprintf("this host's clock says %s: certificates would not be valid yet", now.UTC().Format(time.DateOnly))
		c.Advice = "set the clock, for example with: " + r.distro.Sudo("timedatectl set-ntp true")
		r.put(c, false)
	case bad:
		c.Detail = fmt.Sprintf("clock source %s: each reading is slow, so latencies are measured less exactly", source)
		c.Cause, c.Advice = slow, "see what the kernel says: dmesg | grep -i -e tsc -e clocksource"
		r.put(c, false)
	default:
		r.put(c, true)
	}
}

// addLanes says how many lanes fit at once, and what limits them.
func (r *Report) addLanes() {
	_, available, err := meminfo()
	if err != nil {
		available = 1 << 20
	}
	free, err := freeMiB(runDirBase())
	if err != nil {
		free = 1 << 20
	}
	c := r.lanesThatFit(available, free, descriptorsLeft())
	r.put(c, r.Lanes > 0)
}

// lanesThatFit sets Lanes from what is available: memory and disk in MiB, and open files.
func (r *Report) lanesThatFit(memory, disk, descriptors int) Check {
	limit := "memory"
	r.Lanes = memory / laneMemoryMiB
	if n := disk / diskNeedMiB; n < r.Lanes {
		r.Lanes, limit = n, "disk"
	}
	if n := descriptors / laneDescriptors; n < r.Lanes {
		r.Lanes, limit = n, "open files of a process"
	}
	boots := bootSlots(r.Accel)
	c := Check{Name: "lanes at once", Required: true,
		Detail: fmt.Sprintf("%d fit (%s is the limit); %s at a time", r.Lanes, limit, count(boots, "boots", "boot"))}
	if r.Lanes == 0 {
		c.Detail, c.Advice = "none fits: "+limit+" is short", "see the lines above"
	}
	return c
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
