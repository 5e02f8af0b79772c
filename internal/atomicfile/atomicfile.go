// Package atomicfile replaces files so that readers see either the old or the new content, never
// half of it.
package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Prefix is the start of the names of files that are being written. A process that is killed during
// a write leaves such a file behind.
const Prefix = ".tmp-"

// Write writes b to the file at path, as [Fill] does.
func Write(path string, b []byte, mode fs.FileMode) error {
	return Fill(path, mode, func(f *os.File) error {
		_, err := f.Write(b)
		return err
	})
}

// Fill replaces the file at path by a new one, which write fills. Other readers see the old or the
// new content. The file gets the given mode, whether it is new or not. After an error the file is
// what it was, and no temporary file is left. The file survives the end of this process, but
// perhaps not a loss of power, unless write syncs it.
func Fill(path string, mode fs.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), Prefix+"*")
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// WriteTo does what Write does, for a path that a person has named. What is there already and is no
// regular file (a device, a pipe, a link) is written to and not replaced.
func WriteTo(path string, b []byte, mode fs.FileMode) error {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(path, b, mode)
	}
	return Write(path, b, mode)
}
