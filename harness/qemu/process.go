package qemu

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is a child in a process group of its own, with exactly one goroutine
// that waits for it.
type process struct {
	pid    int
	exited chan struct{}    // closed once the child is reaped
	state  *os.ProcessState // valid after exited; nil when waiting failed

	mu     sync.Mutex
	reaped bool // the pid may belong to somebody else
}

// startProcess starts cmd, whose output must go to files (not to Go writers).
func startProcess(cmd *exec.Cmd) (*process, error) {
	setGroupAndDeathSignal(cmd)
	p := &process{exited: make(chan struct{})}
	started := make(chan error, 1)
	go p.own(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// own starts the child and waits for it. It is locked to a thread for as long
// as the child lives: on Linux the child dies with the *thread* that made it.
func (p *process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	defer close(p.exited)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil

	p.reap(cmd)
}

// signal sends a signal to the whole group, unless the child is gone.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		syscall.Kill(-p.pid, sig)
	}
}
