package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spicelane/spicelane/harness/verdict"
)

// laneRoomMiB is the space in MiB that a lane's directory must have at the start, for logs,
// timeline and pictures. If a lane cannot write them, nobody can find the reason of a failure.
const laneRoomMiB = 16

// RoomForLane returns a Host error if the disk of a lane's directory is full.
func RoomForLane(dir string) error {
	free, err := freeMiB(dir)
	if err != nil || free >= laneRoomMiB {
		return nil // if it is unknown, try
	}
	return &verdict.Error{Verdict: verdict.Host, Op: "lane directory",
		Err:  fmt.Errorf("the disk is full: %d MiB are free for %s, a lane needs %d", free, dir, laneRoomMiB),
		Hint: "free some space or choose another directory"}
}

// freeMiB returns how many MiB this user may still write at dir, or at its nearest existing parent.
func freeMiB(dir string) (int, error) {
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		if err == nil {
			return int(st.Bavail * uint64(st.Bsize) >> 20), nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, os.ErrNotExist) || parent == dir {
			return 0, err
		}
		dir = parent
	}
}
