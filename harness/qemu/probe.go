package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/internal/distro"
)

const defaultBinary = "qemu-system-x86_64"

// Environment variables that override what is found on the host.
const (
	EnvQEMU     = "SPICELANE_QEMU"
	EnvOVMFCode = "SPICELANE_OVMF_CODE"
	EnvOVMFVars = "SPICELANE_OVMF_VARS"
	EnvAccel    = "SPICELANE_ACCEL"
	EnvLanes    = "SPICELANE_LANES"
)

// Hints that name what to install on this host.
var (
	hintQEMU  = distro.Here().Hint(distro.QEMU, distro.ImageTool, distro.OVMF)
	hintSPICE = distro.Here().Hint(distro.SPICE)
	hintOVMF  = distro.Here().Hint(distro.OVMF) + ", or set " + EnvOVMFCode + " and " + EnvOVMFVars
)

// CheckPlatform returns a *HostError if lanes do not run on this system and processor. goos and
// goarch are values of runtime.GOOS and runtime.GOARCH.
func CheckPlatform(goos, goarch string) error {
	if goos == "linux" && goarch == "amd64" {
		return nil
	}
	return &HostError{What: fmt.Sprintf("lanes run on Linux x86-64, and this is %s/%s", goos, goarch),
		Hint: "use another host, or a virtual machine"}
}

// FindQEMU returns the absolute path of QEMU: SPICELANE_QEMU if getenv has it,
// else qemu-system-x86_64 from PATH. The error is a *HostError.
func FindQEMU(getenv func(string) string) (string, error) {
	name := getenv(EnvQEMU)
	if name == "" {
		name = defaultBinary
	}
	path, err := exec.LookPath(name)
	if err != nil {
		what := fmt.Sprintf("QEMU was not found: no %s in PATH", defaultBinary)
		if name != defaultBinary {
			what = fmt.Sprintf("QEMU was not found: %s says %s, which cannot be run", EnvQEMU, name)
		}
		return "", &HostError{What: what, Hint: hintQEMU, Err: err}
	}
	return filepath.Abs(path)
}

// FindImageTool returns the absolute path of qemu-img: the one beside
// SPICELANE_QEMU if there is one, else that from PATH. The error is a
// *HostError.
func FindImageTool(getenv func(string) string) (string, error) {
	if getenv(EnvQEMU) != "" {
		if q, err := FindQEMU(getenv); err == nil {
			if path, err := exec.LookPath(filepath.Join(filepath.Dir(q), "qemu-img")); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return "", &HostError{What: "QEMU's image tool was not found: no qemu-img in PATH", Hint: hintQEMU, Err: err}
	}
	return filepath.Abs(path)
}

// readable reports why a regular file cannot be read, or nil.
func readable(path string) error {
	// Opening a pipe in its place would hang.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return err
	} else if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: path, Err: errors.New("is not a regular file")}
	}
	return nil
}

// HasSPICE returns nil if this QEMU has a SPICE server with the options used here. It only runs
// "-spice help". The error is a *HostError. If ctx ends first, it wraps ctx's cause.
func HasSPICE(ctx context.Context, binary string) error {
	opts, err := spiceOptions(ctx, binary)
	if err != nil {
		return err
	}
	switch {
	case !opts["image-compression"]:
		return &HostError{What: fmt.Sprintf("%s has no SPICE server", binary), Hint: hintSPICE}
	case !opts["password-secret"]:
		return &HostError{What: fmt.Sprintf("%s is too old: its SPICE server cannot take a ticket from a secret (QEMU 6.1 can)", binary), Hint: hintQEMU}
	}
	return nil
}

// HasDBusDisplay reports whether this QEMU can show a machine's screen over D-Bus. If QEMU cannot
// be asked, it returns false.
func HasDBusDisplay(ctx context.Context, binary string) bool {
	key := "display " + fileIdentity(binary)
	if has, ok := probed.Load(key); ok {
		return has.(bool)
	}
	out, err := ask(ctx, binary, "-display", "help")
	if err != nil {
		return false
	}
	has := slices.Contains(strings.Fields(out), "dbus")
	probed.Store(key, has)
	return has
}

// probed has the answers of QEMU binaries, by probe and identity.
var probed sync.Map

var spiceOption = regexp.MustCompile(`(?m)^\s*([a-z0-9-]+)=`)

func spiceOptions(ctx context.Context, binary string) (map[string]bool, error) {
	key := "spice " + fileIdentity(binary)
	if opts, ok := probed.Load(key); ok {
		return opts.(map[string]bool), nil
	}
	// NB: the exit status says nothing: a QEMU without SPICE fails here, and so do some that have
	// it.
	out, err := ask(ctx, binary, "-spice", "help")
	if err != nil {
		return nil, err
	}
	opts := make(map[string]bool)
	for _, m := range spiceOption.FindAllStringSubmatch(out, -1) {
		opts[m[1]] = true
	}
	probed.Store(key, opts)
	return opts, nil
}

// Version returns the first line of QEMU's --version, such as "QEMU emulator
// version 7.2.22 (Debian …)".
func Version(ctx context.Context, binary string) (string, error) {
	key := "version " + fileIdentity(binary)
	if v, ok := probed.Load(key); ok {
		return v.(string), nil
	}
	out, err := ask(ctx, binary, "--version")
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(out, "\n")
	line = strings.TrimSpace(line)
	if !strings.Contains(line, "version") {
		return "", &HostError{What: fmt.Sprintf("%s is not QEMU: asked for its version it said %q", binary, line), Hint: hintQEMU}
	}
	probed.Store(key, line)
	return line, nil
}

// OldestVersion is the oldest QEMU that lanes are tested with.
const OldestVersion = "7.2"

var versionNumber = regexp.MustCompile(`version (\d+\.\d+)`)

// CheckVersion returns a *HostError if version, which Version returned, is older than the oldest QEMU
// that lanes are tested with. Lanes may run with it nevertheless.
func CheckVersion(version string) error {
	m := versionNumber.FindStringSubmatch(version)
	if m == nil {
		return &HostError{What: fmt.Sprintf("QEMU does not tell its version: %q", version), Hint: hintOldQEMU}
	}
	var have, oldest [2]int
	_, err := fmt.Sscanf(m[1]+" "+OldestVersion, "%d.%d %d.%d", &have[0], &have[1], &oldest[0], &oldest[1])
	if err == nil && slices.Compare(have[:], oldest[:]) >= 0 {
		return nil
	}
	return &HostError{What: fmt.Sprintf("QEMU %s is older than %s, the oldest that lanes are tested with", m[1], OldestVersion), Hint: hintOldQEMU}
}

const hintOldQEMU = "update it, or set " + EnvQEMU + " to a newer one"

// askLimit is how long QEMU may take to answer a question about itself. It takes some 50 ms, and
// longer if every core is busy.
const askLimit = 20 * time.Second

// ask runs QEMU and returns what it prints about itself, whatever its exit status.
func ask(ctx context.Context, binary string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s %s did not answer: %w", binary, strings.Join(args, " "), context.Cause(ctx))
	}
	if err != nil && !errors.As(err, &exit) {
		return "", &HostError{What: fmt.Sprintf("%s cannot be run: %v", binary, err), Hint: hintQEMU, Err: err}
	}
	return out.String(), nil
}

// fileIdentity identifies one version of a file; "" if there is none.
func fileIdentity(path string) string {
	if path == "" {
		return "" // and not the directory that this process is in
	}
	if found, err := exec.LookPath(path); err == nil {
		path = found
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	st, err := os.Stat(path)
	if err != nil {
		return path + " missing"
	}
	return fmt.Sprintf("%s %d %d", path, st.Size(), st.ModTime().UnixNano())
}
