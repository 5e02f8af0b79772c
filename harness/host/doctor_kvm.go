package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spicelane/spicelane/harness/qemu"
)

// kvmFacts is what the host says about KVM without running a guest.
type kvmFacts struct {
	// open is the result of opening /dev/kvm; nil if that worked.
	open error
	// group is the group that may open it.
	group string
	// vendor is the module for this processor: kvm_intel, kvm_amd, or "" for another processor.
	vendor string
	// virtualised tells whether the processor has virtualisation; nested whether this host is a
	// virtual machine itself; container whether this is a container.
	virtualised, nested, container bool
	// parameters are the module's parameters, if it is loaded.
	parameters map[string]string
	// tried tells whether a guest was run on KVM. That needs everything else that lanes need.
	tried bool
	// unwanted tells whether SPICELANE_ACCEL asks for TCG.
	unwanted bool
	// words say why a guest does not run on KVM; empty if one does.
	words string
}

// factsOfKVM collects the facts of a host whose files are below root.
func factsOfKVM(root string) kvmFacts {
	var f kvmFacts
	device := filepath.Join(root, "dev/kvm")
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if f.open = err; err == nil {
		file.Close()
	}
	if st, err := os.Stat(device); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			f.group = strconv.Itoa(int(sys.Gid))
			if g, err := user.LookupGroupId(f.group); err == nil {
				f.group = g.Name
			}
		}
	}
	cpu, _ := os.ReadFile(filepath.Join(root, "proc/cpuinfo"))
	flags := " "
	for _, line := range strings.Split(string(cpu), "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "vendor_id":
			f.vendor = map[string]string{"GenuineIntel": "kvm_intel", "AuthenticAMD": "kvm_amd", "HygonGenuine": "kvm_amd"}[strings.TrimSpace(value)]
		case "flags":
			flags = value + " "
		}
	}
	f.virtualised = strings.Contains(flags, " vmx ") || strings.Contains(flags, " svm ")
	f.nested = strings.Contains(flags, " hypervisor ")
	f.container = exists(filepath.Join(root, ".dockerenv")) || exists(filepath.Join(root, "run/.containerenv")) ||
		exists(filepath.Join(root, "run/systemd/container"))
	f.parameters = make(map[string]string)
	names, _ := filepath.Glob(filepath.Join(root, "sys/module", f.vendor, "parameters/*"))
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			f.parameters[filepath.Base(name)] = strings.TrimSpace(string(b))
		}
	}
	return f
}

// off tells whether a parameter of the module is there and switched off.
func (f kvmFacts) off(name string) bool {
	v, ok := f.parameters[name]
	return ok && (v == "N" || v == "0")
}

// nestedOff says what to do on the computer that runs this virtual machine.
const nestedOff = "switch nested virtualisation on for this machine, on the computer or cloud that runs it"

// addKVM adds three checks: whether KVM is there, whether this user may use it, and whether a guest
// runs on it. Each is made only if the previous one is good. If canTry, which means that lanes run
// here, addKVM calls try to run a guest.
func (r *Report) addKVM(canTry bool, try func() (qemu.Choice, error)) {
	f := factsOfKVM("/")
	var choice qemu.Choice
	var err error
	if canTry {
		choice, err = try()
		f.tried = true
		r.Accel = string(choice.Accel)
		if err == nil && choice.Accel != qemu.KVM {
			f.unwanted = os.Getenv(qemu.EnvAccel) == string(qemu.TCG)
			f.words = strings.TrimPrefix(choice.Reason, "TCG is used, which is slow: ")
		}
	}
	for _, c := range r.kvmChecks(f) {
		r.put(c, c.State == Good)
	}
	if err != nil { // KVM is required, or the trial could not be made
		r.add("accelerator", true, "", err)
	}
}

// kvmChecks turns the facts about KVM into checks. Only the last check may be bad.
func (r *Report) kvmChecks(f kvmFacts) []Check {
	present := Check{Name: "kvm present", State: Good, Detail: "/dev/kvm is there"}
	if errors.Is(f.open, fs.ErrNotExist) || errors.Is(f.open, syscall.ENXIO) || errors.Is(f.open, syscall.ENODEV) {
		present.State = Degraded
		present.Detail = "this host has no KVM (/dev/kvm): lanes run under TCG, which is slower"
		switch {
		case f.container && f.virtualised:
			present.Cause = "this is a container, and the device was not passed into it"
			present.Advice = "start the container with --device /dev/kvm"
		case f.virtualised && f.vendor != "":
			present.Cause = "the kernel's module is not loaded"
			present.Fix = r.distro.Sudo("modprobe " + f.vendor)
		case f.nested:
			present.Cause = "this is a virtual machine without nested virtualisation"
			present.Advice = nestedOff
		default:
			present.Cause = "virtualisation is switched off in the computer's firmware, or the processor has none"
			present.Advice = "switch it on in the firmware's setup (VT-x, SVM)"
		}
		return []Check{present}
	}
	permitted := Check{Name: "kvm permitted", State: Good, Detail: "this user may open /dev/kvm"}
	if f.open != nil {
		permitted.State = Degraded
		permitted.Detail = fmt.Sprintf("/dev/kvm cannot be opened: %v; lanes run under TCG, which is slower", rootCause(f.open))
		switch {
		case f.container:
			permitted.Cause = "the container's user is not in the group that owns the device on the host"
			permitted.Advice = "start the container with --device /dev/kvm and --group-add, with the number of the host's group kvm"
		case errors.Is(f.open, fs.ErrPermission) && (f.group == "" || f.group == "root"):
			permitted.Cause = "only root may open it"
			permitted.Fix = r.distro.Sudo(`setfacl -m "u:$(id -un):rw" /dev/kvm`)
		case errors.Is(f.open, fs.ErrPermission):
			permitted.Cause = "this user is not in the group " + f.group
			permitted.Fix = r.distro.Sudo(fmt.Sprintf(`usermod -aG %s "$(id -un)"`, f.group))
			permitted.Advice = "then log in again"
		}
		return []Check{present, permitted}
	}
	works := Check{Name: "kvm works", State: Good, Detail: "a guest has run on it"}
	switch {
	case !f.tried:
		works.State = Degraded
		works.Detail = "not tried, because lanes lack something else"
	case f.words != "":
		works.State = Degraded
		works.Detail = f.words
		switch {
		case f.unwanted:
			works.Advice = "unset " + qemu.EnvAccel
		case f.off("ept") || f.off("npt"):
			works.Cause = "the module's parameter ept or npt is off, so that firmware cannot run in real mode"
			works.Fix = r.reload(f, "ept", "npt")
		case f.off("unrestricted_guest"):
			works.Cause = "the module's parameter unrestricted_guest is off, so that firmware runs in an emulator that lacks instructions"
			works.Fix = r.reload(f, "unrestricted_guest")
		case f.nested:
			works.Cause = "this is a virtual machine, and the hypervisor around it does not carry out nested virtualisation completely"
			works.Advice = nestedOff + ", or use a host with KVM; the lanes run under TCG"
		default:
			works.Cause = "another hypervisor holds the processor's virtualisation, or the kernel has a fault"
			works.Advice = "end other hypervisors (VirtualBox, VMware), and see what the kernel says: dmesg | grep -i kvm"
		}
	}
	return []Check{present, permitted, works}
}

// reload returns the command that reloads KVM's module with those parameters switched on that are
// off.
func (r *Report) reload(f kvmFacts, parameters ...string) string {
	on := ""
	for _, p := range parameters {
		if f.off(p) {
			on += " " + p + "=1"
		}
	}
	return r.distro.Sudo("modprobe -r "+f.vendor) + " && " + r.distro.Sudo("modprobe "+f.vendor+on)
}

// rootCause returns the operating system's error without the path.
func rootCause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
