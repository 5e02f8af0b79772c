package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Dir is a store in a directory. The first Put makes the directory. Put syncs each object to the
// disk, so that it survives a loss of power.
type Dir struct {
	Path string
	// NoSync lets the system decide when objects reach the disk. It is for tests.
	NoSync bool
}

// unfinished is the directory of objects that are not complete yet. Locks have a different name
// pattern there, because they are written while Sweep runs, too.
const (
	unfinished  = "tmp"
	lockPattern = "lock-*"
)

// Location implements Store.
func (d Dir) Location() string { return d.Path }

func (d Dir) file(name string) (string, error) {
	if !fs.ValidPath(name) || strings.Contains(name, "\\") {
		return "", &fs.PathError{Op: "archive", Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(d.Path, filepath.FromSlash(name)), nil
}

// Put implements Store.
func (d Dir) Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := d.file(name)
	if err != nil {
		return err
	}
	tmp := filepath.Join(d.Path, unfinished)
	if err := d.mkdirAll(tmp); err != nil {
		return err
	}
	pattern := "put-*"
	if strings.HasPrefix(name, locks) {
		pattern = lockPattern
	}
	f, err := os.CreateTemp(tmp, pattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	n, err := io.Copy(f, io.NewSectionReader(body, 0, size+1))
	if err == nil && n != size {
		err = &fs.PathError{Op: "archive", Path: name, Err: io.ErrUnexpectedEOF}
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil && !d.NoSync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := d.mkdirAll(dir); err != nil {
		return err
	}
	if create {
		err = os.Link(f.Name(), path) // unlike a rename, it fails if path is there
	} else {
		err = os.Rename(f.Name(), path)
	}
	if err == nil && !d.NoSync {
		err = syncDir(dir)
	}
	return err
}

// mkdirAll makes a directory and its parents, and syncs the directories in which it made one.
func (d Dir) mkdirAll(dir string) error {
	var parents []string
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || filepath.Dir(at) == at {
			break
		}
		parents = append(parents, filepath.Dir(at))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil || d.NoSync {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// syncDir syncs a directory, so that new names in it survive a loss of power.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if synced != nil {
		synced(dir)
	}
	return nil
}

// synced is called after a directory was synced; nil except in tests.
var synced func(dir string)

// Get implements Store.
func (d Dir) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path, err := d.file(name)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Stat implements Store.
func (d Dir) Stat(ctx context.Context, name string) (Object, error) {
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	path, err := d.file(name)
	if err != nil {
		return Object{}, err
	}
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return Object{}, err
	}
	return Object{Name: name, Bytes: st.Size()}, nil
}

// List implements Store.
func (d Dir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		root := filepath.Join(d.Path, filepath.FromSlash(prefix))
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // there is nothing yet, or it has been deleted meanwhile
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(d.Path, path)
			if err != nil {
				return err
			}
			if e.IsDir() {
				if rel == unfinished {
					return fs.SkipDir
				}
				return nil
			}
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !yield(Object{Name: filepath.ToSlash(rel), Bytes: st.Size(), Version: versionOf(st)}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Object{}, err)
		}
	}
}

// versionOf returns a version that differs from those of earlier files with the same name: each Put
// makes a new file.
func versionOf(st fs.FileInfo) string {
	inode := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%d-%d-%d", inode, st.ModTime().UnixNano(), st.Size())
}

// Delete implements Store.
func (d Dir) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := d.file(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sweep implements Store. It keeps the files of locks, which may be in use.
func (d Dir) Sweep(ctx context.Context) error {
	tmp := filepath.Join(d.Path, unfinished)
	// NB: the store's path is no pattern, whatever characters it has.
	files, err := fs.Glob(os.DirFS(tmp), "put-*")
	for _, file := range files {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = os.Remove(filepath.Join(tmp, file))
		}
	}
	return err
}
