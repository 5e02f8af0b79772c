package warm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
)

// Parts of an entry, and the file that describes them.
const (
	StatePart = "state"      // what QEMU wrote: processors, devices, memory
	DiskPart  = "disk.qcow2" // what the guest had written to its disk
	VarsPart  = "vars.fd"    // the firmware's variables
	SaidPart  = "serial.log" // what the guest had said

	manifestFile = "manifest.json"
	restoredFile = "restored"
)

// maxManifest limits the size of a manifest, in bytes; real ones have 4 KiB.
const maxManifest = 1 << 20

// maxSaid limits the saved console output of a guest, in bytes.
const maxSaid = 16 << 20

// A Saved describes a saved state to people.
type Saved struct {
	At   time.Time `json:"at"`
	QEMU string    `json:"qemu"` // its version
}

// manifest is manifest.json.
type manifest struct {
	Identity Identity `json:"identity"`
	Saved    Saved    `json:"saved"`
	Parts    []part   `json:"parts"`
}

// A part is a file of an entry. CRC32C does not protect against malice, see the package's comment,
// and checks 44 MB in a few milliseconds.
type part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	CRC32C uint32 `json:"crc32c"`
}

// parseManifest parses a manifest and checks that it is consistent.
func parseManifest(b []byte) (manifest, error) {
	var m manifest
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if dec.More() {
		return m, errors.New("manifest: something follows its end")
	}
	if m.Identity.Format != format {
		return m, fmt.Errorf("manifest: format %d is not %d", m.Identity.Format, format)
	}
	var names []string
	for _, p := range m.Parts {
		if !slices.Contains([]string{StatePart, DiskPart, VarsPart, SaidPart}, p.Name) || slices.Contains(names, p.Name) || p.Size < 0 {
			return m, fmt.Errorf("manifest: a part %q of %d bytes cannot be", p.Name, p.Size)
		}
		names = append(names, p.Name)
	}
	if !slices.Contains(names, StatePart) {
		return m, errors.New("manifest: there is no state")
	}
	return m, nil
}

// An Entry is a saved state, pinned until Close.
type Entry struct {
	cache *Cache
	dir   string
	pin   *lock
	manifest

	mu   sync.Mutex
	seen map[string]fileIdentity // of each part, when it was verified
	gone bool                    // discarded
}

// read reads the manifest and checks that it belongs to the wanted entry. The error is
// fs.ErrNotExist if there is no entry.
func (e *Entry) read(id Identity) error {
	b, err := e.readManifest()
	if err != nil {
		return err
	}
	if e.manifest, err = parseManifest(b); err != nil {
		return err
	}
	if e.Identity.Key() != id.Key() {
		return errors.New("manifest: it is of another machine")
	}
	return nil
}

// errNoManifest is not fs.ErrNotExist: there is an entry.
var errNoManifest = errors.New("it has no manifest")

func (e *Entry) readManifest() ([]byte, error) {
	for {
		dir, err := os.Open(e.dir)
		if err != nil {
			return nil, err
		}
		b, err := readBounded(filepath.Join(e.dir, manifestFile), maxManifest)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, errors.Join(err, dir.Close())
		}
		// Either it has no manifest, or it is just being removed.
		was, err := dir.Stat()
		dir.Close()
		if err != nil {
			return nil, err
		}
		is, err := os.Stat(e.dir)
		if err != nil {
			return nil, err
		}
		if os.SameFile(was, is) {
			return nil, errNoManifest
		}
	}
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("has more than %d bytes", limit)
	}
	if err != nil {
		return nil, pathError("read", path, err)
	}
	return b, nil
}

// SavedAt returns when the state was saved.
func (e *Entry) SavedAt() time.Time { return e.Saved.At }

// Size returns the total size of the parts in bytes.
func (e *Entry) Size() int64 {
	var n int64
	for _, p := range e.Parts {
		n += p.Size
	}
	return n
}

// Path returns the file of a part; "" if the entry has no such part. It must not be written to.
func (e *Entry) Path(name string) string {
	for _, p := range e.Parts {
		if p.Name == name {
			return filepath.Join(e.dir, name)
		}
	}
	return ""
}

// Apply makes cfg describe a machine that is restored from e. disk and vars are the paths of the
// machine's own disk and variables, which Apply creates. They share with e what the machine does
// not change. Apply verifies nothing.
func (e *Entry) Apply(cfg *qemu.Config, disk, vars string) error {
	cfg.LoadState = e.Path(StatePart)
	if path := e.Path(SaidPart); path != "" {
		var err error
		if cfg.Said, err = readBounded(path, maxSaid); err != nil {
			return err
		}
	}
	if path := e.Path(DiskPart); path != "" {
		if err := qemu.OverlayState(path, disk); err != nil {
			return err
		}
		cfg.Disk = disk
	}
	if path := e.Path(VarsPart); path != "" {
		if err := qemu.CopyVars(path, vars); err != nil {
			return err
		}
		cfg.Firmware.Vars = vars
	}
	return nil
}

// Verify reads all parts and compares their sizes and checksums with the saved ones. It takes some
// 10 ms for 44 MB and may run while a machine is being restored from e. That machine must not run
// before Verify and Unchanged have succeeded. Verify ends early with ctx's cause.
func (e *Entry) Verify(ctx context.Context) error {
	seen := make(map[string]fileIdentity, len(e.Parts))
	for _, p := range e.Parts {
		id, err := e.verify(ctx, p)
		if ctx.Err() != nil {
			return fmt.Errorf("check the saved state: %w", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("the saved state is damaged: %w", err)
		}
		seen[p.Name] = id
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = seen
	return nil
}

func (e *Entry) verify(ctx context.Context, p part) (fileIdentity, error) {
	f, err := openRegular(filepath.Join(e.dir, p.Name))
	if err != nil {
		return fileIdentity{}, err
	}
	defer f.Close()
	id, err := identityOf(f)
	if err != nil {
		return id, err
	}
	if id.Size != p.Size {
		return id, pathError("check", f.Name(), fmt.Errorf("has %d bytes instead of %d", id.Size, p.Size))
	}
	sum, n, err := checksum(ctx, f)
	if err != nil {
		return id, err
	}
	if n != p.Size || sum != p.CRC32C {
		return id, pathError("check", f.Name(), fmt.Errorf("has the checksum %08x instead of %08x", sum, p.CRC32C))
	}
	return id, nil
}

// Unchanged returns an error if the parts are not the files that Verify has read, or have changed
// since.
func (e *Entry) Unchanged() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.Parts {
		f, err := openRegular(filepath.Join(e.dir, p.Name))
		if err != nil {
			return fmt.Errorf("the saved state was changed while it was restored: %w", err)
		}
		id, err := identityOf(f)
		f.Close()
		if err == nil && id != e.seen[p.Name] {
			err = pathError("check", f.Name(), errChanging)
		}
		if err != nil {
			return fmt.Errorf("the saved state was changed while it was restored: %w", err)
		}
	}
	return nil
}

// openRegular opens a file that must be a regular one: opening a pipe in its place would hang.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = pathError("open", path, errors.New("is not a regular file"))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the CRC-32C of f from its offset on, and the number of bytes.
func checksum(ctx context.Context, f *os.File) (sum uint32, n int64, err error) {
	buf := make([]byte, 1<<20)
	for {
		if ctx.Err() != nil {
			return 0, n, context.Cause(ctx)
		}
		k, err := f.Read(buf)
		sum = crc32.Update(sum, castagnoli, buf[:k])
		n += int64(k)
		if err == io.EOF {
			return sum, n, nil
		}
		if err != nil {
			return 0, n, err
		}
	}
}

// Restored tells whether a lane restored from e has become ready before.
func (e *Entry) Restored() bool { return isThere(filepath.Join(e.dir, restoredFile)) }

// MarkRestored records that a lane restored from e has become ready.
func (e *Entry) MarkRestored() {
	if f, err := os.OpenFile(filepath.Join(e.dir, restoredFile), os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		f.Close()
	}
}

// Proven is the former name of Restored.
//
// Deprecated: use Restored.
func (e *Entry) Proven() bool { return e.Restored() }

// Prove is the former name of MarkRestored.
//
// Deprecated: use MarkRestored.
func (e *Entry) Prove() { e.MarkRestored() }

// Discard deletes the entry, because it was found to be unusable. Machines that were restored from
// it keep their open files. It is idempotent.
func (e *Entry) Discard() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return nil
	}
	e.gone = true
	if err := e.cache.drop(e.dir); err != nil {
		return fmt.Errorf("throw a saved state away: %w", err)
	}
	return nil
}

// Close unpins the entry. A machine restored from it must have ended. It is
// idempotent.
func (e *Entry) Close() error { return e.pin.Close() }
