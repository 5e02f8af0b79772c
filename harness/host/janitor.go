package host

import (
	"os"
	"os/exec"
	"syscall"
)

// A janitor removes a lane's run directory when the process that owns the lane
// is killed: sockets, the overlay, and keys that nobody else should find. It is
// a shell that waits for the end of a pipe whose other end only the owner holds.
type janitor struct {
	cmd *exec.Cmd
	end *os.File
}

// The further attempts are for a QEMU that was making a file while it was being
// killed itself.
const janitorScript = `read -r _; for i in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$0" && exit; sleep 0.1; done`

// startJanitor watches over dir, which need not be there yet. Without a shell there is none, and dir is
// removed by the next lane (SweepRunDirs).
func startJanitor(dir string) *janitor {
	r, w, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", janitorScript, dir)
	cmd.Dir = "/"
	cmd.Stdin = r
	// A group of its own: Ctrl-C and what kills the owner's group leave it to do
	// its work.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Start() != nil {
		w.Close()
		return nil
	}
	return &janitor{cmd, w}
}

// dismiss ends the janitor, which removes what is still there.
func (j *janitor) dismiss() {
	if j == nil {
		return
	}
	j.end.Close()
	_ = j.cmd.Wait() // what it could not remove, its owner reports
}

// kill ends the janitor without letting it remove anything.
func (j *janitor) kill() {
	if j == nil {
		return
	}
	_ = j.cmd.Process.Kill()
	_ = j.cmd.Wait()
	j.end.Close()
}
