package warm

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/qemu"
)

// format is the version of the stored data, and of the meaning of an Identity. A change of either
// makes all earlier states unknown.
const format = 1

// A Key names an entry: 64 hex digits.
type Key string

// Short returns enough of a key for people to tell it from others.
func (k Key) Short() string { return string(k[:min(12, len(k))]) }

func isKey(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == sha256.Size && strings.ToLower(name) == name
}

// An Identity is everything that decides whether the state of one machine can be restored in
// another. It does not contain what differs between lanes and does not reach the guest: names,
// directories, sockets, ports, the ticket, the SPICE server's compression, the UUID.
type Identity struct {
	Format int      `json:"format"`
	Argv   []string `json:"argv"`
	// Files are QEMU itself, the firmware and every file of the machine.
	Files []File `json:"files"`
	// Host is the processor, which the guest may have seen or measured, and under KVM the kernel.
	Host string `json:"host"`
}

// A File is a file that a machine depends on. It is identified by its content, or if it is large,
// by its file system metadata.
type File struct {
	Role   string        `json:"role"`
	Path   string        `json:"path"`
	SHA256 string        `json:"sha256,omitempty"`
	Stat   *fileIdentity `json:"stat,omitempty"`
}

// Key returns the identity's name.
func (id Identity) Key() Key {
	b, err := json.Marshal(id)
	if err != nil {
		panic(err) // strings and numbers marshal
	}
	sum := sha256.Sum256(b)
	return Key(hex.EncodeToString(sum[:]))
}

// A ColdError says why a machine has to boot.
type ColdError struct {
	Why string // one sentence without its full stop
	// Host means that this computer is at fault: a disk that is full, or not readable or writable.
	Host bool
	Err  error // the cause; may be nil
}

func (e *ColdError) Error() string { return e.Why }
func (e *ColdError) Unwrap() error { return e.Err }

// unkept are QEMU options that give a machine state that is not saved.
var unkept = []string{
	"-drive", "-blockdev", "-hda", "-hdb", "-hdc", "-hdd", "-fda", "-fdb", "-cdrom", "-sd", "-mtdblock", "-pflash",
	"-virtfs", "-fsdev", "-snapshot", "-loadvm", "-incoming", "-S", "-s", "-gdb", "-icount", "-record", "-readconfig",
}

// Identify returns the identity of the machine that cfg describes. Accel must be decided; Image is
// the image below its Disk, and Firmware.Vars is the template of its variables. It reads files of
// up to 256 MiB only once and remembers their checksums. The error is a *ColdError, or ctx's cause.
func (c *Cache) Identify(ctx context.Context, cfg qemu.Config) (Identity, error) {
	id := Identity{Format: format, Host: hostCPU()}
	if cfg.Accel == qemu.KVM {
		id.Host += " " + kernelRelease()
	}
	for _, arg := range cfg.Args {
		// QEMU takes two dashes for one.
		if opt := strings.TrimPrefix(arg, "-"); slices.Contains(unkept, arg) || slices.Contains(unkept, opt) {
			return id, &ColdError{Why: fmt.Sprintf("with the argument %s a machine has state that is not saved", arg)}
		}
	}
	var err error
	if id.Argv, err = commonArgv(cfg); err != nil {
		return id, &ColdError{Why: fmt.Sprintf("the machine cannot be told from others: %v", err), Err: err}
	}
	add := func(role, path string) {
		if path == "" || err != nil {
			return
		}
		var f File
		if f, err = c.file(ctx, role, path); err == nil {
			id.Files = append(id.Files, f)
		}
	}
	add("qemu", cfg.Binary)
	add("firmware", cfg.Firmware.Code)
	add("variables", cfg.Firmware.Vars)
	add("kernel", cfg.Kernel)
	add("initrd", cfg.Initrd)
	if cfg.Image != "" && err == nil {
		var files []string
		if files, err = qemu.ImageFiles(cfg.Image); err == nil {
			for _, f := range files {
				add("image", f)
			}
		}
	}
	for _, f := range namedFiles(append(slices.Clip(cfg.Devices), cfg.Args...)) {
		add("argument", f)
	}
	if ctx.Err() != nil {
		return id, context.Cause(ctx)
	}
	if err != nil {
		return id, &ColdError{Why: fmt.Sprintf("what the machine is made of cannot be read: %v", err), Err: err}
	}
	return id, nil
}

// commonArgv returns the command line without what is specific to each lane.
func commonArgv(cfg qemu.Config) ([]string, error) {
	const lane = "/lane"
	cfg.Name, cfg.UUID = "", ""
	cfg.Dir, cfg.SocketDir = lane, lane
	cfg.LoadState, cfg.Said, cfg.Paused = "", nil, false
	if cfg.Image != "" || cfg.Disk != "" {
		cfg.Disk = lane + "/disk.qcow2"
	}
	if cfg.Firmware.Code != "" {
		cfg.Firmware.Vars = lane + "/vars.fd"
	}
	if cfg.Spice.Unix != "" || cfg.Spice.Port != 0 || cfg.Spice.TLSPort != 0 {
		// The server is not part of the machine: a client gets the present settings, whatever they
		// were when the state was saved.
		cfg.Spice = qemu.Spice{Unix: lane + "/spice.sock", Ticket: "ticket"}
	}
	return qemu.Argv(cfg)
}

// namedFiles returns the files that free-form options name.
func namedFiles(options []string) []string {
	var files []string
	for _, opt := range options {
		for _, part := range strings.Split(opt, ",") {
			_, value, _ := strings.Cut(part, "=")
			for _, path := range []string{part, value} {
				if !filepath.IsAbs(path) {
					continue
				}
				if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && !slices.Contains(files, path) {
					files = append(files, path)
				}
			}
		}
	}
	return files
}

// hostCPU identifies the processor by what a guest can measure or, under KVM, see.
var hostCPU = sync.OnceValue(func() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	var said []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() && sc.Text() != "" { // the first processor's block
		key, value, _ := strings.Cut(sc.Text(), ":")
		switch key = strings.TrimSpace(key); key {
		case "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags":
			said = append(said, strings.TrimSpace(value))
		case "bogomips":
			// This is twice the rate of the time stamp counter in MHz. The kernel measures it at
			// each boot, with slightly different results.
			if rate, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				said = append(said, strconv.FormatFloat(math.Round(rate/100), 'f', 0, 64))
			}
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(said, "\n")))
	return runtime.GOARCH + " " + hex.EncodeToString(sum[:8])
})

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
}

// errChanging means that a file was written to while it was read.
var errChanging = errors.New("is being written to")

// pathError returns err with the path that it is about.
func pathError(op, path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
