package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Claim is the right to make one entry. While it is held, others wait for the entry instead of
// also making it.
type Claim struct {
	cache *Cache
	id    Identity
	lock  *lock
}

// Claim takes the right to make the identity's entry. The error is ErrBusy if another process or
// lane has it, otherwise a *ColdError: nothing can be saved here.
func (c *Cache) Claim(id Identity) (*Claim, error) {
	if c.MaxBytes <= 0 {
		return nil, &ColdError{Why: "nothing is kept: " + EnvSize + " is 0"}
	}
	if err := c.make(); err != nil {
		return nil, cold("no state can be saved", err)
	}
	// Report it before a machine is paused for nothing.
	if err := unix.Access(c.Dir, unix.W_OK|unix.X_OK); err != nil {
		return nil, cold("no state can be saved", pathError("write to", c.Dir, err))
	}
	if free, err := freeBytes(c.Dir); err == nil && free < minFree {
		return nil, &ColdError{Why: fmt.Sprintf("no state can be saved: the disk that holds %s is full", c.Dir), Host: true, Err: syscall.ENOSPC}
	}
	l, err := c.tryLock(making, string(id.Key()), true)
	if errors.Is(err, ErrBusy) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, cold("no state can be saved", err)
	}
	return &Claim{cache: c, id: id, lock: l}, nil
}

// minFree is how much space a disk must have before a state is begun, in bytes. It is less than the
// smallest state seen. Whether a larger one fits shows when it is written.
const minFree = 32 << 20

func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Close releases the right. It is idempotent.
func (c *Claim) Close() error { return c.lock.Close() }

// A Draft is an entry that is being made.
type Draft struct {
	claim *Claim
	dir   *leftover
}

// Draft begins the entry. The caller must call Publish or Abandon.
func (c *Claim) Draft() (*Draft, error) {
	l, err := c.cache.newLeftover()
	if err == nil {
		if err = os.Mkdir(l.path, 0o700); err != nil {
			_ = l.lock.Close()
		}
	}
	if err != nil {
		return nil, cold("no state can be saved", err)
	}
	return &Draft{claim: c, dir: l}, nil
}

// Path returns the path of the part with the given name.
func (d *Draft) Path(name string) string { return filepath.Join(d.dir.path, name) }

// Abandon deletes the draft.
func (d *Draft) Abandon() error { return d.dir.remove() }

// Publish makes the draft the identity's entry, with one rename, and replaces an existing one. It
// returns the size in bytes, after it has made room in the cache. It reads the whole draft once. If
// it fails, it removes the draft. The error is a *ColdError.
func (d *Draft) Publish(ctx context.Context, s Saved) (size int64, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(cold("the state was not kept", err), d.Abandon())
		}
	}()
	if s.At.IsZero() {
		s.At = time.Now()
	}
	m := manifest{Identity: d.claim.id, Saved: s}
	for _, name := range []string{StatePart, DiskPart, VarsPart, SaidPart} {
		p, err := seal(ctx, d.Path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		size += p.Size
		m.Parts = append(m.Parts, p)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return 0, err
	}
	// A part that cannot be read back is not worth keeping.
	if _, err := parseManifest(b); err != nil {
		return 0, err
	}
	if limit := d.claim.cache.MaxBytes; size > limit {
		return 0, fmt.Errorf("it has %d MiB and the cache may have %d (%s)", size>>20, limit>>20, EnvSize)
	}
	if err := os.WriteFile(d.Path(manifestFile), b, 0o600); err != nil {
		return 0, err
	}
	cache := d.claim.cache
	entry := filepath.Join(cache.Dir, string(d.claim.id.Key()))
	err = os.Rename(d.dir.path, entry)
	if errors.Is(err, fs.ErrExist) {
		// Machines that have the old files open keep them.
		if err = cache.drop(entry); err == nil {
			err = os.Rename(d.dir.path, entry)
		}
	}
	if err != nil {
		return 0, err
	}
	_ = d.dir.lock.Close()
	// The entry exists, even if there may now be too many. The next process that publishes makes
	// room again.
	_ = cache.MakeRoom()
	return size, nil
}

// seal makes a part read-only and computes its checksum.
func seal(ctx context.Context, path string) (part, error) {
	f, err := openRegular(path)
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	sum, n, err := checksum(ctx, f)
	if err != nil {
		return part{}, err
	}
	return part{Name: filepath.Base(path), Size: n, CRC32C: sum}, f.Chmod(0o400)
}
