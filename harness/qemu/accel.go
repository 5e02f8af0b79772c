package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// AccelOptions configures ChooseAccel. The zero value works.
type AccelOptions struct {
	// Banner is what the guest's console shows if KVM works. The zero value accepts any output.
	Banner serial.Matcher

	// CacheDir is the directory in which answers are remembered until the next boot of the host.
	// Default: every process tries again.
	CacheDir string

	// Getenv reads the environment; nil means os.Getenv.
	Getenv func(string) string

	// Device is the device node of KVM; "" means /dev/kvm.
	Device string
}

func (o AccelOptions) getenv() func(string) string {
	if o.Getenv == nil {
		return os.Getenv
	}
	return o.Getenv
}

func (o AccelOptions) device() string {
	if o.Device == "" {
		return "/dev/kvm"
	}
	return o.Device
}

// Choice is an accelerator and the reason for it.
type Choice struct {
	Accel  Accel
	Reason string // one sentence without its full stop
}

// probeLimit is how long a guest may take under KVM to print something. If KVM works, UEFI firmware
// does so in about a second.
const probeLimit = 20 * time.Second

// unsureFor is how long the answer is kept that the guest printed nothing under KVM, because a busy
// host may have been the reason.
const unsureFor = 10 * time.Minute

// ChooseAccel decides how the machine runs. If cfg.Accel is kvm or tcg, that is the answer. If it
// is auto or "", SPICELANE_ACCEL decides. Otherwise ChooseAccel tries KVM: it runs the machine
// described by cfg on it, in a temporary directory, until the guest prints something on its
// console. That answer is cached.
//
// If KVM is requested and does not work, the error is a *HostError.
func ChooseAccel(ctx context.Context, cfg Config, opt AccelOptions) (Choice, error) {
	want, by := cfg.Accel, "asked for"
	if want == "" || want == AccelAuto {
		if env := opt.getenv()(EnvAccel); env != "" {
			want, by = Accel(env), EnvAccel+"="+env
		}
	}
	switch want {
	case TCG:
		return Choice{TCG, "TCG is used: " + by}, nil
	case "", AccelAuto, KVM:
	default:
		return Choice{}, &ConfigError{What: fmt.Sprintf("there is no accelerator %q", want), Hint: "use auto, kvm or tcg"}
	}

	unusable, err := kvmUnusable(ctx, cfg, opt)
	switch {
	case err != nil:
		return Choice{}, fmt.Errorf("find out whether KVM works: %w", err)
	case unusable == nil:
		return Choice{KVM, "KVM is used: a guest has run on it"}, nil
	case want == KVM:
		return Choice{}, &HostError{What: "KVM is required (" + by + ") and cannot be used: " + unusable.What, Hint: unusable.Hint, Err: unusable.Err}
	default:
		return Choice{TCG, "TCG is used, which is slow: " + unusable.What}, nil
	}
}

// kvmUnusable returns why KVM cannot be used; nil if it can.
func kvmUnusable(ctx context.Context, cfg Config, opt AccelOptions) (*HostError, error) {
	if lacks := openKVM(opt.device()); lacks != nil {
		return lacks, nil
	}
	if cfg.Binary == "" {
		var err error
		if cfg.Binary, err = FindQEMU(opt.getenv()); err != nil {
			return nil, err
		}
	}
	dir := opt.CacheDir
	key := kvmKey(cfg, opt)

	answer, err := kvmTrials.answer(ctx, key, func() (kvmAnswer, error) {
		if answer, ok := readAnswer(dir, key); ok && !answer.stale(time.Now()) {
			return answer, nil
		}
		answer, err := tryKVM(ctx, cfg, opt.Banner)
		if err == nil {
			writeAnswer(dir, key, answer)
		}
		return answer, err
	})
	if err != nil {
		return nil, err
	}
	if answer.Works {
		return nil, nil
	}
	return &HostError{What: answer.Reason, Hint: "use --accel tcg, or a host where KVM works (cloud machines need nested virtualisation)"}, nil
}

// openKVM opens the device as QEMU would.
func openKVM(device string) *HostError {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &HostError{What: "this host has no " + device, Hint: "load the kvm_intel or kvm_amd module, or switch virtualisation on in its firmware", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return &HostError{What: "this user may not open " + device, Hint: "sudo usermod -aG kvm $USER, then log in again", Err: err}
	default:
		return &HostError{What: fmt.Sprintf("%s cannot be opened: %v", device, err), Err: err}
	}
}

// kvmAnswer is the result of a trial.
type kvmAnswer struct {
	Works  bool      `json:"works"`
	Reason string    `json:"reason,omitempty"`
	Until  time.Time `json:"until,omitzero"` // zero: until the host boots again
}

func (a kvmAnswer) stale(now time.Time) bool { return !a.Until.IsZero() && now.After(a.Until) }

// trials are the answers that this process has, and those that it is finding out. Callers that want
// the same answer share one trial.
type trials struct {
	mu      sync.Mutex
	known   map[string]kvmAnswer     // by key
	running map[string]chan struct{} // closed when the trial has ended; by key
}

var kvmTrials = &trials{known: make(map[string]kvmAnswer), running: make(map[string]chan struct{})}

// answer returns the answer for key. If it is unknown, one caller runs the trial while the others
// wait, each until its own ctx ends. If that caller gets no answer, the next one tries.
func (t *trials) answer(ctx context.Context, key string, try func() (kvmAnswer, error)) (kvmAnswer, error) {
	for {
		if ctx.Err() != nil {
			return kvmAnswer{}, context.Cause(ctx)
		}
		t.mu.Lock()
		if a, ok := t.known[key]; ok && !a.stale(time.Now()) {
			t.mu.Unlock()
			return a, nil
		}
		ended, ok := t.running[key]
		if !ok {
			ended = make(chan struct{})
			t.running[key] = ended
			t.mu.Unlock()
			return t.lead(key, ended, try)
		}
		t.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return kvmAnswer{}, fmt.Errorf("another lane of this process is trying it: %w", context.Cause(ctx))
		}
	}
}

// lead runs the trial for all callers.
func (t *trials) lead(key string, ended chan struct{}, try func() (kvmAnswer, error)) (kvmAnswer, error) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.running, key)
		close(ended)
	}()
	a, err := try()
	if err == nil {
		t.mu.Lock()
		t.known[key] = a
		t.mu.Unlock()
	}
	return a, err
}

// forget makes this process forget all answers.
func (t *trials) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.known)
}

// tryKVM runs the machine on KVM until its console shows the banner. An error means that the trial
// says nothing about KVM.
func tryKVM(ctx context.Context, cfg Config, banner serial.Matcher) (kvmAnswer, error) {
	dir, err := os.MkdirTemp(trialParent(cfg), "kvm")
	if err != nil {
		return kvmAnswer{}, fileError(trialParent(cfg), err)
	}
	defer os.RemoveAll(dir)
	if banner.IsZero() {
		banner = serial.Func("any sign of life", func(serial.Line) bool { return true })
	}

	trial := cfg
	trial.Dir, trial.SocketDir, trial.Accel = dir, "", KVM
	trial.Spice, trial.Agent = Spice{}, false
	trial.LoadState, trial.Paused, trial.OnReset = "", false, nil
	if cfg.Disk != "" {
		// NB: the machine's own disk is not changed.
		trial.Image, trial.Disk = cfg.Disk, ""
	}
	if fw := cfg.Firmware; fw.Vars != "" {
		trial.Firmware.Vars = filepath.Join(dir, varsFile)
		if err := CopyVars(fw.Vars, trial.Firmware.Vars); err != nil {
			return kvmAnswer{}, err
		}
	}
	limited, cancel := context.WithTimeoutCause(ctx, probeLimit, errNoLife)
	defer cancel()
	if trial, err = Prepare(limited, trial); err != nil {
		return kvmAnswer{}, err
	}
	m, err := start(limited, trial) // nobody looks at its screen
	if err == nil {
		_, err = m.AwaitBoot(limited, banner)
		err = errors.Join(err, m.Close())
	}
	return judgeTrial(ctx, err)
}

// trialParent returns the parent of a trial's directory. It is beside the machine's sockets, so
// that the files of a killed process are found and removed. If the paths of the trial's own sockets
// would be too long there, it is the temporary directory.
func trialParent(cfg Config) string {
	const below = len("/kvm4294967295/") + len(serialSocket)
	if dir := cfg.SocketDir; dir != "" && len(dir)+below <= maxSocketPath {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return dir
		}
	}
	return os.TempDir()
}

var errNoLife = errors.New("no sign of life")

// judgeTrial tells failures of KVM from others.
func judgeTrial(ctx context.Context, err error) (kvmAnswer, error) {
	var end *ExitError
	var host *HostError
	switch {
	case err == nil:
		return kvmAnswer{Works: true}, nil
	case ctx.Err() != nil:
		return kvmAnswer{}, context.Cause(ctx)
	case errors.As(err, &end) && end.Verdict() == verdict.Host && end.Kind != KindInternalError:
		return kvmAnswer{}, err // a full disk, a signal: no answer, and none to remember
	case errors.As(err, &end):
		reason := "/dev/kvm is there, but a guest does not run on it: " + end.Reason
		if words := unadorned(errorLine(end.Stderr)); words != "" && !strings.Contains(reason, words) {
			reason += "; QEMU said: " + words
		}
		return kvmAnswer{Reason: reason}, nil
	case errors.Is(err, errNoLife):
		return kvmAnswer{
			Reason: fmt.Sprintf("/dev/kvm is there, but a guest run on it said nothing within %v", probeLimit),
			Until:  time.Now().Add(unsureFor),
		}, nil
	case errors.As(err, &host) && strings.Contains(host.What, "KVM"):
		return kvmAnswer{Reason: host.What}, nil
	default:
		return kvmAnswer{}, err
	}
}

// kvmKey returns everything that the answer depends on.
func kvmKey(cfg Config, opt AccelOptions) string {
	// The disk may be a new overlay, so the image below it counts.
	image := cfg.Image
	if image == "" {
		image = cfg.Disk
	}
	h := sha256.New()
	parts := []string{
		"2", // the version of this probe
		bootID(), fileIdentity(cfg.binary()), fileIdentity(opt.device()),
		fileIdentity(cfg.Firmware.Code), fileIdentity(image), fileIdentity(cfg.Kernel),
		fileIdentity(cfg.Initrd), cfg.Append,
		cfg.cpu(), opt.Banner.String(),
	}
	// NB: QEMU may refuse these, and that must not be said of KVM to machines without them.
	for _, list := range [][]string{cfg.Devices, cfg.Args} {
		parts = append(parts, fmt.Sprint(len(list)))
		parts = append(parts, list...)
	}
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s\n", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// bootID identifies this boot of the host: a new kernel may have fixed KVM.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
}

func answerFile(dir, key string) string { return filepath.Join(dir, "kvm-"+key+".json") }

func readAnswer(dir, key string) (kvmAnswer, bool) {
	if dir == "" {
		return kvmAnswer{}, false
	}
	b, err := os.ReadFile(answerFile(dir, key))
	if err != nil {
		return kvmAnswer{}, false
	}
	var a kvmAnswer
	if json.Unmarshal(b, &a) != nil || !a.Works && a.Reason == "" {
		return kvmAnswer{}, false
	}
	return a, true
}

// writeAnswer saves the answer if possible. Otherwise the next process tries again, which only
// takes time.
func writeAnswer(dir, key string, a kvmAnswer) {
	if dir == "" || os.MkdirAll(dir, 0o755) != nil {
		return
	}
	b, err := json.Marshal(a)
	if err != nil {
		return
	}
	_ = atomicfile.Write(answerFile(dir, key), append(b, '\n'), 0o600)
}
