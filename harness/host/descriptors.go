package host

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spicelane/spicelane/harness/verdict"
)

// laneDescriptors is how many files a process must be able to open for one more lane.
// One with proxy and client inside the process was seen to take 31. QEMU has the same
// limit and takes 97 if it can; with 25 it says that it "failed to find romfile".
const laneDescriptors = 48

// EnoughDescriptors returns a Host error if this process cannot open the files that one
// more lane takes.
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

// openDescriptors returns how many files this process has open; 0 where that cannot be
// told.
func openDescriptors() uint64 {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return uint64(len(fds))
}
