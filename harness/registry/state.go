// Package registry lists the lanes that are up. [Registry] has those of `spicelane up`, from the
// user's state directory. [RunningTests] has those of tests, from their run directories. [State]
// describes a lane to other processes.
package registry

import (
	"syscall"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Lane states as `spicelane status` prints them.
const (
	StateStarting = "starting"
	StateReady    = "ready"
	StateFailed   = "failed"
	StateStopped  = "stopped"
)

// Values of State.EndedBy.
const (
	EndedByRequest = verdict.EndedByRequest
	EndedByGuest   = verdict.EndedByGuest
)

// A State describes a lane to other processes; `up --json` and `status --json` print it. It never
// contains a ticket, token or key.
type State struct {
	Name    string `json:"name"`
	Dir     string `json:"dir"`
	Fixture string `json:"fixture"`
	Image   string `json:"image,omitempty"`
	// Accel is "kvm" or "tcg"; AccelReason says why it is not "kvm".
	Accel       string `json:"accel"`
	AccelReason string `json:"accel_reason,omitempty"`
	Display     string `json:"display,omitempty"`
	Compression string `json:"compression,omitempty"`
	// Warm tells whether the machine was restored from a saved state; ColdReason says why it was
	// not.
	Warm       bool   `json:"warm"`
	ColdReason string `json:"cold_reason"`
	State      string `json:"state"`
	// Reason says why a lane failed or stopped, Verdict whose fault it is, and Hop where it failed.
	Reason  string       `json:"reason,omitempty"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	// EndedBy says who ended a lane that was up: EndedByRequest, or EndedByGuest if the guest
	// switched itself off. It is empty for a failure.
	EndedBy string `json:"ended_by,omitempty"`
	// Resets is how often the guest has reset itself.
	Resets int `json:"resets,omitempty"`
	// ReadyMS is the time from Start to ready, in milliseconds.
	ReadyMS int64 `json:"ready_ms"`
	// Steps are the steps of the start, in order, with their times.
	Steps []Step `json:"steps,omitempty"`
	PIDs  PIDs   `json:"pids"`
	// QMP is the path of a QMP socket for people, QMPTools that of one for this program's own
	// commands. Each serves one connection at a time.
	QMP           string     `json:"qmp"`
	QMPTools      string     `json:"qmp_tools,omitempty"`
	SerialLog     string     `json:"serial_log"`
	SPICE         Addr       `json:"spice"`
	Proxy         ProxyAddrs `json:"proxy"`
	VV            string     `json:"vv"`
	ControlSocket string     `json:"control_socket"`
	ConsoleUUID   string     `json:"console_uuid"`
	// Fonts are the fonts that the guest may write in, besides those of this program: names or
	// files.
	Fonts []string `json:"fonts,omitempty"`

	// RunDir is the directory of sockets and scratch files. It is removed with the lane.
	RunDir string `json:"run_dir,omitempty"`
	// SupervisorStart is the kernel's start time of the supervisor process. It tells the supervisor
	// from a later process with the same pid.
	SupervisorStart uint64 `json:"supervisor_start,omitempty"`
}

// PIDs are the processes of a lane; 0 means that there is no separate process.
type PIDs struct {
	QEMU       int `json:"qemu"`
	Proxy      int `json:"proxy"`
	Client     int `json:"client"`
	Supervisor int `json:"supervisor,omitempty"`
}

// An Addr is where QEMU's SPICE server listens: host:port, or the path of a socket.
type Addr struct {
	Addr string `json:"addr"`
}

// ProxyAddrs are the addresses of a lane's proxy, host:port each; API is a base URL.
type ProxyAddrs struct {
	Addr    string `json:"addr"`
	TLSAddr string `json:"tls_addr"`
	API     string `json:"api"`
}

// A Step is one step of a lane's start.
type Step struct {
	// Name is a word or two: "qemu", "banner".
	Name string `json:"name"`
	// MS is how long it took, in milliseconds.
	MS int64 `json:"ms"`
	// Detail is what a person may want to know about the step; may be empty.
	Detail string `json:"detail,omitempty"`
}

// supervised tells whether the process that owns the lane is alive.
func (s State) supervised() bool {
	if s.PIDs.Supervisor == 0 {
		return false
	}
	start, alive := host.ProcessStart(s.PIDs.Supervisor)
	return alive && (s.SupervisorStart == 0 || start == s.SupervisorStart)
}

// Terminate asks the lane's supervisor to end the lane. It reports whether there was a supervisor.
func (s State) Terminate(sig syscall.Signal) bool {
	return s.supervised() && syscall.Kill(s.PIDs.Supervisor, sig) == nil
}

// SetSupervisor records the process that owns the lane.
func (s *State) SetSupervisor(pid int) {
	s.PIDs.Supervisor = pid
	s.SupervisorStart, _ = host.ProcessStart(pid)
}
