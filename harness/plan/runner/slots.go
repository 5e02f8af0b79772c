package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/verdict"
)

// held is what Hold prints when it has taken its host, and a worker when it has a place of one.
const held = "held\n"

// lockDir returns the directory of the locks of this host. All runs of a user share it.
func lockDir() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home, filepath.FromSlash(remoteCache))
	return dir, os.MkdirAll(dir, 0o700)
}

// lockFirst waits until one of the named files in the lock directory is free, and locks it. how is
// unix.LOCK_SH or unix.LOCK_EX. The kernel releases the lock when this process ends, however it
// ends.
func lockFirst(ctx context.Context, how int, names ...string) (*os.File, error) {
	dir, err := lockDir()
	if err != nil {
		return nil, verdict.Classify("lock the host", err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, name := range names {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
			if err != nil {
				return nil, verdict.Classify("lock the host", err)
			}
			if unix.Flock(int(f.Fd()), how|unix.LOCK_NB) == nil {
				return f, nil
			}
			_ = f.Close()
		}
		select {
		case <-ctx.Done():
			return nil, verdict.Classify("lock the host", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

const hostLock = "host.lock"

// TakeSlot waits for one of the n places of this host, and until no other run has the host alone. It
// then writes a line to out. The caller calls release to free the place.
func TakeSlot(ctx context.Context, n int, out io.Writer) (release func(), err error) {
	host, err := lockFirst(ctx, unix.LOCK_SH, hostLock)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("slot-%d.lock", i))
	}
	slot, err := lockFirst(ctx, unix.LOCK_EX, names...)
	if err != nil {
		_ = host.Close()
		return nil, err
	}
	release = func() { _ = slot.Close(); _ = host.Close() }
	if _, err := io.WriteString(out, held); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Hold waits until no run uses this host and takes it alone. It then writes a line to out, and
// keeps the host until in ends.
func Hold(ctx context.Context, in io.Reader, out io.Writer) error {
	f, err := lockFirst(ctx, unix.LOCK_EX, hostLock)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(out, held); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}
