package warm

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/internal/atomicfile"
)

// EnvSize is the environment variable for the size of a cache in bytes; see ParseSize.
const EnvSize = "SPICELANE_WARM_SIZE"

// DefaultMaxBytes is the default size of a cache: some forty states of Beacon, or four of a guest
// that has filled half a gigabyte.
const DefaultMaxBytes = 2 << 30

// A Cache is a directory of saved states. Its methods may be called from any
// goroutine, and many Caches, in as many processes, may share a directory.
type Cache struct {
	// Dir is the directory; it is created with mode 0700 when it is needed.
	Dir string
	// MaxBytes limits the total size of the entries, in bytes; 0 or less keeps nothing.
	MaxBytes int64
}

// ParseSize parses a size: a whole number of bytes, or one followed by K, M, G or T for powers of
// 1024. Empty means DefaultMaxBytes; 0 keeps nothing.
func ParseSize(s string) (int64, error) {
	if s == "" {
		return DefaultMaxBytes, nil
	}
	digits, shift := s, 0
	if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
		digits, shift = s[:len(s)-1], 10*(i+1)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q is not a size: use bytes, or a number and K, M, G or T", s)
	}
	return n << shift, nil
}

// Names in a cache's directory besides keys.
const (
	leftoverPrefix = atomicfile.Prefix // so that one sweep finds both
	quarantineDir  = "quarantine"
)

// make creates the directory and checks that it is trusted.
func (c *Cache) make() error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	return c.trusted()
}

// trusted returns nil if only this user can put states into the directory, because a restored
// machine runs with this user's rights. If the directory does not exist, the error is
// fs.ErrNotExist.
func (c *Cache) trusted() error {
	st, err := os.Stat(c.Dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || !ok || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return &fs.PathError{Op: "use", Path: c.Dir, Err: errors.New("is not this user's own directory, or others may write to it")}
	}
	return nil
}

// cold returns a ColdError with err as its cause. It blames the host if err is the host's fault.
func cold(what string, err error) *ColdError {
	return &ColdError{Why: fmt.Sprintf("%s: %v", what, err), Host: hostFault(err), Err: err}
}

// hostFault tells whether err is the host's fault: a disk that is full or not writable.
func hostFault(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOTDIR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Open looks up the identity's entry and pins it: until its Close it is not removed to make room.
// Open checks the manifest; Entry.Verify checks the parts. The error is a *ColdError, whose cause
// is fs.ErrNotExist if nothing is saved.
func (c *Cache) Open(id Identity) (*Entry, error) {
	key := id.Key()
	if err := c.trusted(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nothing(err)
		}
		return nil, cold("saved states cannot be used", err)
	}
	if why := c.quarantined(key); why != "" {
		return nil, &ColdError{Why: why, Err: ErrQuarantined}
	}
	pin, err := c.tryLock(using, string(key), false)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrBusy) {
		return nil, nothing(err) // none was ever made here, or it is being removed
	}
	if err != nil {
		return nil, cold("saved states cannot be used", err)
	}
	e := &Entry{cache: c, dir: filepath.Join(c.Dir, string(key)), pin: pin}
	if err := e.read(id); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(nothing(err), pin.Close())
		}
		what := "the saved state is damaged and was thrown away"
		if derr := e.Discard(); derr != nil {
			what = "the saved state is damaged and cannot be thrown away"
		}
		return nil, errors.Join(cold(what, err), e.Close())
	}
	// Mark the entry as used, for the next process that makes room. If the directory is not
	// writable, that does no harm.
	now := time.Now()
	_ = os.Chtimes(filepath.Join(e.dir, manifestFile), now, now)
	return e, nil
}

func nothing(err error) *ColdError {
	if !errors.Is(err, fs.ErrNotExist) {
		err = fs.ErrNotExist
	}
	return &ColdError{Why: "no state of this machine is saved yet", Err: err}
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A leftover is a name for a directory that is being created or removed. It is locked, so that it
// is not taken for the leftover of a killed process.
type leftover struct {
	path string
	lock *lock
}

// newLeftover makes up a name and locks it. The caller creates the directory, or renames it.
func (c *Cache) newLeftover() (*leftover, error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	name := leftoverPrefix + hex.EncodeToString(b[:])
	l, err := c.tryLock(making, name, true)
	if err != nil {
		return nil, err
	}
	return &leftover{filepath.Join(c.Dir, name), l}, nil
}

// remove removes the directory and releases the name.
func (l *leftover) remove() error {
	return errors.Join(os.RemoveAll(l.path), l.lock.Close())
}

// drop removes an entry: it renames it at once, and then deletes it from the disk.
func (c *Cache) drop(dir string) error {
	gone, err := c.newLeftover()
	if err != nil {
		return err
	}
	if err := os.Rename(dir, gone.path); err != nil {
		_ = gone.lock.Close()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody was faster
		}
		return err
	}
	return gone.remove()
}

// Sweep removes the leftovers of killed processes.
func (c *Cache) Sweep() {
	if c.trusted() != nil {
		return
	}
	names, _ := os.ReadDir(c.Dir)
	for _, n := range names {
		if !strings.HasPrefix(n.Name(), leftoverPrefix) {
			continue
		}
		if l, err := c.tryLock(making, n.Name(), true); err == nil {
			_ = (&leftover{filepath.Join(c.Dir, n.Name()), l}).remove()
		}
	}
	// Writing a small file takes no time, so one this old has no writer.
	const old = time.Minute
	for _, dir := range []string{sumsDir, quarantineDir} {
		names, _ := os.ReadDir(filepath.Join(c.Dir, dir))
		for _, n := range names {
			st, err := n.Info()
			if err == nil && strings.HasPrefix(n.Name(), leftoverPrefix) && time.Since(st.ModTime()) > old {
				_ = os.Remove(filepath.Join(c.Dir, dir, n.Name()))
			}
		}
	}
}

// MakeRoom evicts the least recently used entries until all together have at most MaxBytes. Entries
// in use stay.
func (c *Cache) MakeRoom() error {
	type kept struct {
		key   string
		bytes int64
		used  time.Time
	}
	if err := c.trusted(); err != nil {
		return err
	}
	names, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	var all []kept
	var total int64
	for _, n := range names {
		if !n.IsDir() || !isKey(n.Name()) {
			continue
		}
		k := kept{key: n.Name()}
		files, _ := os.ReadDir(filepath.Join(c.Dir, k.key))
		for _, f := range files {
			st, err := f.Info()
			if err != nil {
				continue
			}
			k.bytes += st.Size()
			// An entry without a manifest is useless and is removed first.
			if f.Name() == manifestFile {
				k.used = st.ModTime()
			}
		}
		total += k.bytes
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.key, b.key)) })
	var errs []error
	for _, k := range all {
		if total <= c.MaxBytes {
			break
		}
		l, err := c.tryLock(using, k.key, true)
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err == nil {
			if err = c.drop(filepath.Join(c.Dir, k.key)); err == nil {
				total -= k.bytes
			}
			err = errors.Join(err, l.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ErrQuarantined is the cause of a ColdError for a machine in quarantine.
var ErrQuarantined = errors.New("warm: states of this machine are of no use for now")

// quarantineFor is how long no state of a machine is used or saved after Quarantine. It is limited,
// because the restored state may have been sound, and the check that found it dead wrong.
const quarantineFor = 10 * time.Minute

// maxQuarantine is the greatest length of the stored reason, in bytes.
const maxQuarantine = 1 << 10

// Quarantine prevents states of a machine from being used or saved for some minutes. The reason is
// that the machine cannot be saved, or that a restored one shows no sign of life. why is one
// sentence for later callers.
func (c *Cache) Quarantine(id Identity, why string) error {
	why = strings.Join(strings.Fields(why), " ")
	return writeWhole(filepath.Join(c.Dir, quarantineDir, string(id.Key())), []byte(why[:min(len(why), maxQuarantine)]))
}

// quarantined returns why the machine is in quarantine, or "".
func (c *Cache) quarantined(key Key) string {
	file := filepath.Join(c.Dir, quarantineDir, string(key))
	st, err := os.Stat(file)
	if err != nil {
		return ""
	}
	if time.Since(st.ModTime()) > quarantineFor {
		_ = os.Remove(file)
		return ""
	}
	why, err := readBounded(file, maxQuarantine)
	if err != nil || len(why) == 0 {
		return ""
	}
	return string(why)
}

// Condemn is the former name of Quarantine.
//
// Deprecated: use Quarantine.
func (c *Cache) Condemn(id Identity, why string) error { return c.Quarantine(id, why) }

// ErrCondemned is the former name of ErrQuarantined.
//
// Deprecated: use ErrQuarantined.
var ErrCondemned = ErrQuarantined
