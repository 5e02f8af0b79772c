package host

import (
	"crypto/rand"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// runDirPrefix begins the name of every run directory, so that no other directory is taken for one.
const runDirPrefix = "spl-"

// A RunDir contains what must not outlive a lane: sockets, the overlay, the private copy of the
// firmware's variables, the .vv file. Its path is short, because a socket's path may have at most
// 107 bytes.
//
// It is locked while its owner lives, and removed with it. If the owner is killed, the janitor
// removes it, or else the process that makes the next run directory.
type RunDir struct {
	Path    string
	lock    *os.File
	janitor *janitor
}

// NewRunDir creates a run directory, and removes those that killed lanes have left.
func NewRunDir() (*RunDir, error) {
	base, err := ownDir(runDirBase(), "run directory")
	if err != nil {
		return nil, err
	}
	SweepRunDirs()
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	path := filepath.Join(base, runDirPrefix+hex.EncodeToString(random[:]))
	// Start the janitor first, so that the directory never exists without one.
	janitor := startJanitor(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		janitor.kill() // the directory is not ours to remove
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "run directory", Err: err}
	}
	// Lock it before it gets its name, so that a sweeper never finds it unlocked.
	lock, err := TryLock(filepath.Join(path, ".owner.new"))
	if err == nil {
		err = os.Rename(lock.Name(), filepath.Join(path, ownerFile))
	}
	if err != nil {
		janitor.dismiss()
		_ = os.RemoveAll(path)
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "run directory", Err: err}
	}
	return &RunDir{Path: path, lock: lock, janitor: janitor}, nil
}

// ownerless is the age from which a run directory without a lock file counts as abandoned. Creating
// one takes far less time.
const ownerless = time.Minute

// ownerFile is the lock of a run directory.
const ownerFile = ".owner"

// SweepRunDirs removes the run directories that killed lanes of this user have left. It does not
// touch running lanes. Every new lane calls it, too.
func SweepRunDirs() {
	base := runDirBase()
	es, _ := os.ReadDir(base)
	for _, e := range es {
		if !strings.HasPrefix(e.Name(), runDirPrefix) {
			continue
		}
		path := filepath.Join(base, e.Name())
		// A directory without a lock file is just being made or removed, or its owner was killed
		// doing that.
		owner := filepath.Join(path, ownerFile)
		if _, err := os.Stat(owner); err != nil {
			if st, err := os.Stat(path); err == nil && time.Since(st.ModTime()) > ownerless {
				_ = os.RemoveAll(path)
			}
			continue
		}
		if lock, err := TryLock(owner); err == nil {
			_ = os.RemoveAll(path)
			lock.Close()
		}
	}
}

// RunDirs returns the run directories of this user's lanes.
func RunDirs() []string {
	base := runDirBase()
	// NB: base is no pattern, whatever characters it has.
	dirs, _ := fs.Glob(os.DirFS(base), runDirPrefix+"*")
	for i, dir := range dirs {
		dirs[i] = filepath.Join(base, dir)
	}
	return dirs
}

// RemoveRunDir removes the run directory of a lane whose owner was killed. It removes only
// directories with the name of a run directory.
func RemoveRunDir(path string) {
	if strings.HasPrefix(filepath.Base(path), runDirPrefix) {
		_ = os.RemoveAll(path)
	}
}

// File returns the path of a file in the directory.
func (d *RunDir) File(name string) string { return filepath.Join(d.Path, name) }

// Remove removes the directory with everything in it.
func (d *RunDir) Remove() error {
	err := os.RemoveAll(d.Path)
	d.lock.Close()
	d.janitor.dismiss()
	return err
}
