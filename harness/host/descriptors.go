package host

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spicelane/spicelane/harness/verdict"
)

// laneDescriptors is how many files a process must be able to open for one more lane. A lane with
// proxy and client inside the process needed 31. QEMU has the same limit and opens up to 97; with
// only 25 it reports "failed to find romfile".
const laneDescriptors = 48

// EnoughDescriptors returns a Host error if this process cannot open as many files as one more lane
// needs.
func EnoughDescriptors() error {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return nil
	}
	return enoughDescriptors(limit.Cur, openDescriptors())
}

func enoughDescriptors(limit, open uint64) error {
	if limit >= open+laneDescriptors {
		return nil
	}
	return &verdict.Error{Verdict: verdict.Host, Op: "open files",
		Err:  fmt.Errorf("this process may have %d files open and has %d, a lane needs %d more", limit, open, laneDescriptors),
		Hint: "raise that limit (ulimit -n 1024)"}
}

// openDescriptors returns how many files this process has open, or 0 if that is unknown.
func openDescriptors() uint64 {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return uint64(len(fds))
}

// descriptorsLeft returns how many files this process may still open.
func descriptorsLeft() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1 << 20
	}
	return int(min(limit.Cur, 1<<20)) - int(openDescriptors())
}
