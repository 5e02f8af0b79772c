package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/spicelane/spicelane/harness/verdict"
)

// Lane states as `spicelane status` prints them.
const (
	StateStarting = "starting"
	StateReady    = "ready"
	StateFailed   = "failed"
	StateStopped  = "stopped"
)

// A State describes a lane to other processes: what `up --json` and
// `status --json` print. It never holds a ticket, token or key.
type State struct {
	Name    string `json:"name"`
	Dir     string `json:"dir"`
	Fixture string `json:"fixture"`
	Image   string `json:"image,omitempty"`
	// Accel is "kvm" or "tcg"; AccelReason says why it is not KVM.
	Accel       string `json:"accel"`
	AccelReason string `json:"accel_reason,omitempty"`
	Display     string `json:"display,omitempty"`
	Compression string `json:"compression,omitempty"`
	// Warm is whether the machine was restored from a saved state; ColdReason
	// says why it was not.
	Warm       bool   `json:"warm"`
	ColdReason string `json:"cold_reason,omitempty"`
	State      string `json:"state"`
	// Reason says why a lane failed or stopped, Verdict whose fault it is.
	Reason  string       `json:"reason,omitempty"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	// ReadyMS is the time from start to ready in milliseconds.
	ReadyMS int64 `json:"ready_ms"`
	// Steps says what the time went into, in order.
	Steps         []Step     `json:"steps,omitempty"`
	PIDs          PIDs       `json:"pids"`
	QMP           string     `json:"qmp"`
	SerialLog     string     `json:"serial_log"`
	SPICE         Addr       `json:"spice"`
	Proxy         ProxyAddrs `json:"proxy"`
	VV            string     `json:"vv"`
	ControlSocket string     `json:"control_socket"`
	ConsoleUUID   string     `json:"console_uuid"`

	// RunDir holds the sockets and scratch files and goes with the lane.
	RunDir string `json:"run_dir,omitempty"`
	// SupervisorStart is the kernel's start time of the supervisor process,
	// so that a recycled pid is not taken for it.
	SupervisorStart uint64 `json:"supervisor_start,omitempty"`
}

// PIDs are the processes of a lane; 0 means that there is none of its own.
type PIDs struct {
	QEMU       int `json:"qemu"`
	Proxy      int `json:"proxy"`
	Client     int `json:"client"`
	Supervisor int `json:"supervisor,omitempty"`
}

// Addr is where QEMU's SPICE server listens: host:port or a socket path.
type Addr struct {
	Addr string `json:"addr"`
}

// ProxyAddrs says where a lane's proxy listens, host:port each; API is a base
// URL.
type ProxyAddrs struct {
	Addr    string `json:"addr"`
	TLSAddr string `json:"tls_addr"`
	API     string `json:"api"`
}

// A Step is one thing that was waited for while a lane came up.
type Step struct {
	// Name is a word or two: "qemu", "banner".
	Name string `json:"name"`
	// MS is how long it took, in milliseconds.
	MS int64 `json:"ms"`
	// Detail is what a person wants to know of it; may be empty.
	Detail string `json:"detail,omitempty"`
}

// maxName is the longest name of a lane.
const maxName = 41

var nameRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,40}$`)

// CheckName tells whether name can be a lane's name: letters, digits, dot,
// underscore and dash, at most maxName, the first a letter or digit.
func CheckName(name string) error {
	if !nameRE.MatchString(name) {
		return &verdict.Error{Verdict: verdict.Harness, Op: "lane name " + strconv.Quote(name),
			Err:  errors.New("not usable as a name"),
			Hint: "use letters, digits, '.', '_' and '-', at most 41, the first a letter or digit"}
	}
	return nil
}

// A Registry is where a user's lanes are noted: one directory a lane, with a
// lane.json in it. Lanes of `go test` are not noted.
type Registry struct {
	// Root is the directory; see DefaultRegistry.
	Root string
}

// DefaultRegistry is $XDG_STATE_HOME/spicelane/lanes, else
// ~/.local/state/spicelane/lanes, else a directory of this user's under
// os.TempDir.
func DefaultRegistry() Registry {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return Registry{filepath.Join(d, "spicelane", "lanes")}
	}
	if h, err := os.UserHomeDir(); err == nil && filepath.IsAbs(h) {
		return Registry{filepath.Join(h, ".local", "state", "spicelane", "lanes")}
	}
	return Registry{filepath.Join(os.TempDir(), "spicelane-"+strconv.Itoa(os.Getuid()), "lanes")}
}

// Entry is the directory that notes the lane called name.
func (r Registry) Entry(name string) string { return filepath.Join(r.Root, name) }

func (r Registry) file(name string) string { return filepath.Join(r.Entry(name), "lane.json") }

// Save notes s, atomically.
func (r Registry) Save(s State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.Entry(s.Name), 0o755); err != nil {
		return err
	}
	return writeFileAtomic(r.file(s.Name), append(b, '\n'), 0o644)
}

// Load reads the note of one lane and corrects it by what is alive: a lane
// whose supervisor is gone without a word is failed, and its sockets and
// scratch files are removed.
func (r Registry) Load(name string) (State, error) {
	if err := CheckName(name); err != nil {
		return State{}, err
	}
	b, err := os.ReadFile(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, &verdict.Error{Verdict: verdict.Harness, Op: "lane " + name, Err: errors.New("there is no lane of that name"), Hint: "see: spicelane status"}
	}
	if err != nil {
		return State{}, verdict.Classify("lane "+name, err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, &verdict.Error{Verdict: verdict.Harness, Op: r.file(name), Err: err, Hint: "remove that directory to forget the lane"}
	}
	if (s.State == StateReady || s.State == StateStarting) && !s.supervised() {
		what := "while the lane was ready"
		if s.State == StateStarting {
			what = "while the lane was starting"
		}
		s.State = StateFailed
		s.Verdict = verdict.Harness
		s.Reason = fmt.Sprintf("the supervisor (pid %d) was killed %s; QEMU, proxy and client ended with it", s.PIDs.Supervisor, what)
		s.cleanRunDir()
		// Another reader may come to the same conclusion at the same moment; both
		// write the same words.
		if err := r.Save(s); err != nil {
			return s, verdict.Classify("lane "+name, err)
		}
	}
	return s, nil
}

// List is every noted lane, by name. A note that cannot be read is reported
// beside the others.
func (r Registry) List() ([]State, error) {
	es, err := os.ReadDir(r.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, verdict.Classify("", err)
	}
	var out []State
	var errs []error
	for _, e := range es {
		if _, err := os.Stat(r.file(e.Name())); err != nil || CheckName(e.Name()) != nil {
			continue
		}
		s, err := r.Load(e.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, errors.Join(errs...)
}

// supervised tells whether the process that owns the lane is alive.
func (s State) supervised() bool {
	if s.PIDs.Supervisor == 0 {
		return false
	}
	start, alive := processStart(s.PIDs.Supervisor)
	return alive && (s.SupervisorStart == 0 || start == s.SupervisorStart)
}

// cleanRunDir removes what a killed supervisor could not. It only ever
// removes a directory that this program names itself.
func (s State) cleanRunDir() {
	if s.RunDir != "" && strings.HasPrefix(filepath.Base(s.RunDir), runDirPrefix) {
		_ = os.RemoveAll(s.RunDir)
	}
}

// processStart reads a process's start time (clock ticks since boot) and
// whether it lives. A zombie is not alive: where PID 1 does not reap, signal 0
// still reaches one.
func processStart(pid int) (start uint64, alive bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The command name, in parentheses, may hold anything; fields count from
	// the last ')': state is the first behind it, starttime the twentieth.
	s := string(b)
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return 0, false
	}
	f := strings.Fields(s[i+1:])
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, false
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, err == nil
}

// Alive tells whether the process pid runs (a zombie does not).
func Alive(pid int) bool {
	_, ok := processStart(pid)
	return ok
}

// Terminate asks the lane's supervisor to end the lane. It reports whether
// there was one to ask.
func (s State) Terminate(sig syscall.Signal) bool {
	return s.supervised() && syscall.Kill(s.PIDs.Supervisor, sig) == nil
}

func writeFileAtomic(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// SetSupervisor notes the process that owns the lane.
func (s *State) SetSupervisor(pid int) {
	s.PIDs.Supervisor = pid
	s.SupervisorStart, _ = processStart(pid)
}
