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

// A Claim is the right to make one entry. While somebody has it others wait for
// the entry rather than make it, too.
type Claim struct {
	cache *Cache
	id    Identity
	lock  *lock
}

// Claim takes the right to make the identity's entry. The error is ErrBusy if
// somebody else has it, else a *ColdError: nothing can be saved here.
func (c *Cache) Claim(id Identity) (*Claim, error) {
	if c.MaxBytes <= 0 {
		return nil, &ColdError{Why: "nothing is kept: " + EnvSize + " is 0"}
	}
	if err := c.make(); err != nil {
		return nil, cold("no state can be saved", err)
	}
	// Said before a machine is stopped to be saved for nothing.
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

// minFree is how much room a disk has to have for a state to be begun: less than
// the smallest that was seen. Whether a larger one fits shows when it is written.
const minFree = 32 << 20

func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Close gives the right back. It is idempotent.
func (c *Claim) Close() error { return c.lock.Close() }

// A Draft is an entry that is being made.
type Draft struct {
	claim *Claim
	dir   *leftover
}

// Draft begins the entry. The caller owes Publish or Abandon.
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

// Path returns where the part called name is to be written.
func (d *Draft) Path(name string) string { return filepath.Join(d.dir.path, name) }

// Abandon throws the draft away.
func (d *Draft) Abandon() error { return d.dir.remove() }

// Publish makes the draft the entry, whole and at once, in the place of the one
// that may be there, makes room for it and returns its size in bytes. It reads all
// of the draft once. A draft that is not published is removed. The error is a
// *ColdError.
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
	// What could not be read back is not worth keeping.
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
		// Whoever has it open keeps what they have.
		if err = cache.drop(entry); err == nil {
			err = os.Rename(d.dir.path, entry)
		}
	}
	if err != nil {
		return 0, err
	}
	_ = d.dir.lock.Close()
	// The entry is there: that there may be too many is no reason to say it is
	// not. Who publishes next tries again.
	_ = cache.MakeRoom()
	return size, nil
}

// seal makes a part read-only and sums it up.
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
