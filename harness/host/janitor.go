package host

import (
	"os"
	"os/exec"
	"syscall"
)

// A janitor removes a lane's run directory when the process that owns the lane is killed: sockets,
// the overlay, and keys. It is a shell that waits for the end of a pipe whose other end only the
// owner has.
type janitor struct {
	cmd *exec.Cmd
	end *os.File
}

// The script tries several times, because QEMU may create a file while it is being killed.
const janitorScript = `read -r _; for i in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$0" && exit; sleep 0.1; done`

// startJanitor watches over dir, which need not exist yet. Without a shell there is no janitor, and
// the next lane removes dir (SweepRunDirs).
func startJanitor(dir string) *janitor {
	r, w, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", janitorScript, dir)
	cmd.Dir = "/"
	cmd.Stdin = r
	// The janitor has its own process group, so that Ctrl-C, or whatever kills the owner's group,
	// does not end it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Start() != nil {
		w.Close()
		return nil
	}
	return &janitor{cmd, w}
}

// dismiss ends the janitor. Before it ends, it removes what remains of dir.
func (j *janitor) dismiss() {
	if j == nil {
		return
	}
	j.end.Close()
	_ = j.cmd.Wait() // the owner reports what could not be removed
}

// kill ends the janitor before it removes anything.
func (j *janitor) kill() {
	if j == nil {
		return
	}
	_ = j.cmd.Process.Kill()
	_ = j.cmd.Wait()
	j.end.Close()
}
