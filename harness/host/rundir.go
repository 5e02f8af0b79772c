package host

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// runDirPrefix starts the name of every run directory, so that nothing else is
// ever taken for one.
const runDirPrefix = "spl-"

// A RunDir holds what must not outlive a lane: sockets, the overlay,
// the private copy of the firmware's variables, the .vv file. Its path is
// short, because a socket's path may have 107 bytes at most.
//
// It is locked for as long as its owner lives, and goes with it even if that is
// killed: the janitor sees to it and, if that was killed too, whoever makes the
// next one.
type RunDir struct {
	Path    string
	lock    *os.File
	janitor *janitor
}

// NewRunDir makes a run directory, and removes those that killed lanes left.
func NewRunDir() (*RunDir, error) {
	base, err := ownDir(runDirBase(), "run directory")
	if err != nil {
		return nil, err
	}
	SweepRunDirs()
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	path := filepath.Join(base, runDirPrefix+hex.EncodeToString(random[:]))
	// The janitor first: there is no moment at which the directory is there and
	// nobody to remove it.
	janitor := startJanitor(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		janitor.kill() // it is not ours to remove
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "run directory", Err: err}
	}
	// Locked before it has its name: a sweeper never finds it unlocked.
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

// ownerless is how old a run directory without its lock file must be to belong to
// nobody: making one takes no time.
const ownerless = time.Minute

// ownerFile is the lock of a run directory.
const ownerFile = ".owner"

// SweepRunDirs removes what killed lanes of this user left in the place for
// sockets and scratch files. Lanes that are up are not touched; every new lane
// does this, too.
func SweepRunDirs() {
	base := runDirBase()
	es, _ := os.ReadDir(base)
	for _, e := range es {
		if !strings.HasPrefix(e.Name(), runDirPrefix) {
			continue
		}
		path := filepath.Join(base, e.Name())
		// One without its lock file is being made or removed at this moment, or its
		// owner was killed doing that.
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
	dirs, _ := filepath.Glob(filepath.Join(runDirBase(), runDirPrefix+"*"))
	return dirs
}

// RemoveRunDir removes the run directory of a lane whose owner was killed. It removes
// nothing that is not named as a run directory is.
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
