// Package atomicfile writes files that no reader ever sees half of.
package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Prefix begins the names of files that are being written. A process that is killed
// meanwhile leaves one behind.
const Prefix = ".tmp-"

// Write writes b to the file at path, which another reader finds whole: as it was before,
// or as it is now. A file that is new has the given mode, and so has one that was there.
// Nothing is left beside it, whatever fails. The file survives the end of this process, but
// not necessarily the end of power: it is not synced.
func Write(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), Prefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
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
