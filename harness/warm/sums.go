package warm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spicelane/spicelane/internal/atomicfile"
	"golang.org/x/sys/unix"
)

// A fileIdentity is a file's metadata. As long as it is unchanged, the file counts as unchanged.
// Checksums are remembered by it, because QEMU and firmware have tens of megabytes.
type fileIdentity struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime_ns"`
	Ctime int64  `json:"ctime_ns"`
}

func identityOf(f *os.File) (fileIdentity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileIdentity{}, pathError("stat", f.Name(), err)
	}
	return fileIdentity{
		Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size,
		Mtime: unix.TimespecToNsec(st.Mtim), Ctime: unix.TimespecToNsec(st.Ctim),
	}, nil
}

// settled tells whether a later change would be visible in the identity. File systems use coarse
// timestamps, so a file that was changed just now may be changed again without a new timestamp.
func (id fileIdentity) settled(now time.Time) bool {
	const coarse = 2 * time.Second // FAT and some network file systems
	return now.UnixNano()-max(id.Mtime, id.Ctime) > int64(coarse)
}

const sumsDir = "sums"

// A noted checksum is stored in a separate file, so that processes do not disturb each other.
type noted struct {
	Path   string       `json:"path"`
	File   fileIdentity `json:"file"`
	SHA256 string       `json:"sha256"`
}

// known has the checksums that this process has read or stored.
var known sync.Map // of knownKey to string

type knownKey struct {
	cache, path string
	id          fileIdentity
}

// maxHashed is the largest file that is identified by its checksum. Reading a larger one, which may
// have holes of any size, would take longer than the boot that a saved state saves. It is
// identified by its fileIdentity.
const maxHashed = 256 << 20

// file describes the file at path, by content if it is not too large.
func (c *Cache) file(ctx context.Context, role, path string) (File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return File{}, err
	}
	f, err := openRegular(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	id, err := identityOf(f)
	if err != nil {
		return File{}, err
	}
	described := File{Role: role, Path: path}
	if id.Size <= maxHashed {
		described.SHA256, err = c.sum(ctx, f, path, id)
		return described, err
	}
	if !id.settled(time.Now()) {
		return File{}, pathError("identify", path, errJustChanged)
	}
	described.Stat = &id
	return described, nil
}

// errJustChanged means that a large file was written to a moment ago. Another change might not
// change its times.
var errJustChanged = errors.New("was changed a moment ago")

// sum returns the SHA-256 of f in hex; path is its path and id its identity.
func (c *Cache) sum(ctx context.Context, f *os.File, path string, id fileIdentity) (string, error) {
	if sum, ok := known.Load(knownKey{c.Dir, path, id}); ok {
		return sum.(string), nil
	}
	name := sha256.Sum256([]byte(path))
	note := filepath.Join(c.Dir, sumsDir, hex.EncodeToString(name[:8])+".json")
	distrusted := c.trusted()
	if errors.Is(distrusted, fs.ErrNotExist) {
		distrusted = nil // it will be ours
	}
	var n noted
	if b, err := os.ReadFile(note); distrusted == nil && err == nil && json.Unmarshal(b, &n) == nil && n.Path == path && n.File == id && isKey(n.SHA256) {
		known.Store(knownKey{c.Dir, path, id}, n.SHA256)
		return n.SHA256, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, interruptible{ctx, f}); err != nil {
		return "", pathError("read", path, err)
	}
	after, err := identityOf(f)
	if err != nil {
		return "", err
	}
	if after != id {
		return "", pathError("read", path, errChanging)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if id.settled(time.Now()) {
		known.Store(knownKey{c.Dir, path, id}, sum)
		// If it cannot be stored, it is computed again next time.
		if b, err := json.Marshal(noted{path, id, sum}); distrusted == nil && err == nil {
			_ = writeWhole(note, b)
		}
	}
	return sum, nil
}

// interruptible reads from r until ctx ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}

// writeWhole writes b to file atomically: a reader sees all of it, or the previous content.
func writeWhole(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(file, b, 0o600)
}
