package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Check is one thing that a lane or a test needs from the host.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Required means that no lane runs without it.
	Required bool   `json:"required"`
	Detail   string `json:"detail"`
	// Fix is the command that fixes it; empty if nothing is wrong.
	Fix string `json:"mend,omitempty"`
}

// A Report says what this host can run.
type Report struct {
	// OK means that a lane can run.
	OK bool `json:"ok"`
	// Accel is how a lane would run: "kvm" or "tcg"; empty if none can.
	Accel  string  `json:"accel"`
	Checks []Check `json:"checks"`
}

// Err returns nil if a lane can run, otherwise a Host error that names what is missing.
func (r *Report) Err() error {
	for _, c := range r.Checks {
		if c.Required && !c.OK {
			return &verdict.Error{Verdict: verdict.Host, Op: "doctor", Err: errors.New(c.Detail), Hint: c.Fix}
		}
	}
	return nil
}

func (r *Report) add(name string, required bool, detail string, err error) {
	c := Check{Name: name, OK: err == nil, Required: required, Detail: detail}
	if err != nil {
		c.Detail = err.Error()
		var host *qemu.HostError
		if errors.As(err, &host) {
			c.Detail, c.Fix = host.What, host.Hint
		}
	}
	r.Checks = append(r.Checks, c)
}

// addDescriptors reports whether a process of this user may open enough files.
func (r *Report) addDescriptors(err error) {
	c := Check{Name: "open files", OK: err == nil, Required: true, Detail: "a process may open enough"}
	var lack *verdict.Error
	if errors.As(err, &lack) {
		c.Detail, c.Fix = lack.Err.Error(), lack.Hint
	}
	r.Checks = append(r.Checks, c)
}

// addLink reports where a lane's Link would be impaired; lack is why not in the kernel.
func (r *Report) addLink(lack error) {
	c := Check{Name: "netem", OK: lack == nil, Detail: "bad networks are made by the kernel"}
	if lack != nil {
		c.Detail = "bad networks are made inside the test's process: " + lack.Error()
	}
	r.Checks = append(r.Checks, c)
}

// doctorTools are programs that only some tests or fixture builds use, with their Debian packages.
var doctorTools = []struct{ program, pkg, use string }{
	{"clang", "clang", "building fixtures"},
	{"lld-link", "lld", "building fixtures"},
	{"mcopy", "mtools", "building fixtures"},
	{"mkfs.fat", "dosfstools", "building fixtures"},
	{"spicy-screenshot", "spice-client-gtk", "comparing with spice-gtk's picture"},
}

// diskNeedMiB is what a lane may write: overlay, logs, pictures.
const diskNeedMiB = 256

// Doctor checks this host. It starts a guest only to find out whether KVM works, and remembers the
// answer.
func Doctor(ctx context.Context) *Report {
	r := &Report{}
	binary, err := qemu.FindQEMU(os.Getenv)
	version := ""
	if err == nil {
		version, err = qemu.Version(ctx, binary)
	}
	r.add("qemu", true, fmt.Sprintf("%s: %s", binary, version), err)
	if err == nil {
		r.add("spice", true, "QEMU has a SPICE server", qemu.HasSPICE(ctx, binary))
	}
	tool, toolErr := qemu.FindImageTool(os.Getenv)
	r.add("qemu-img", true, tool, toolErr)
	fw, fwErr := qemu.FindOVMF(os.Getenv)
	r.add("firmware", true, fw.Code, fwErr)

	fx, fxErr := fixtures.Find("beacon")
	image := ""
	if fxErr == nil {
		image, fxErr = fx.Materialize(ctx, filepath.Join(CacheDir(), "fixtures"))
	}
	r.add("fixture", true, "beacon: "+image, fxErr)
	if r.Err() == nil {
		choice, err := ChooseAccel(ctx, qemu.Config{Binary: binary, Image: image, MemoryMiB: fx.MemoryMiB}, fx.Banner, "")
		if err == nil {
			r.Accel = string(choice.Accel)
		}
		if err == nil && choice.Accel != qemu.KVM {
			// TCG is slow, but it works.
			r.Checks = append(r.Checks, Check{Name: "kvm", Detail: choice.Reason})
		} else {
			r.add("kvm", false, choice.Reason, err)
		}
	}
	total, available, memErr := meminfo()
	if memErr == nil && available < 256+headroomMiB {
		memErr = fmt.Errorf("%d of %d MiB are available, a lane needs %d", available, total, 256+headroomMiB)
	}
	r.add("memory", true, fmt.Sprintf("%d of %d MiB available", available, total), memErr)
	r.addDescriptors(EnoughDescriptors())
	r.add("cores", true, fmt.Sprintf("%d", runtime.NumCPU()), nil)
	free, diskErr := freeMiB(runDirBase())
	if diskErr == nil && free < diskNeedMiB {
		diskErr = &qemu.HostError{What: fmt.Sprintf("%d MiB free at %s, a lane may need %d", free, runDirBase(), diskNeedMiB), Hint: "free some space, or set TMPDIR"}
	}
	r.add("disk", true, fmt.Sprintf("%d MiB free at %s", free, runDirBase()), diskErr)
	r.addLink(impair.Probe())
	for _, t := range doctorTools {
		path, err := exec.LookPath(t.program)
		if err != nil {
			err = &qemu.HostError{What: fmt.Sprintf("%s was not found (for %s)", t.program, t.use), Hint: "sudo apt-get install -y " + t.pkg}
		}
		r.add(t.program, false, path, err)
	}
	r.OK = r.Err() == nil
	return r
}
