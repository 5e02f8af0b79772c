package mask

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/spicelane/spicelane/harness/replay"
)

// withheld is the content that Clean gives a compressed file with a secret.
const withheld = "A compressed file with this name contained a secret. It was withheld.\n"

// Clean removes the secrets from all files below dir, and from their names. It replaces the content
// of a compressed file that contains one with a note, and removes a symbolic link whose target
// contains one. It returns the new paths of the files whose content changed, relative to dir.
func (m *Masker) Clean(dir string) ([]string, error) {
	if m == nil || !m.any {
		return nil, nil
	}
	var changed []string
	var renames [][2]string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if to, err := os.Readlink(path); err == nil && m.String(to) != to {
				return os.Remove(path)
			}
		}
		if name := d.Name(); path != dir && m.String(name) != name {
			renames = append(renames, [2]string{path, filepath.Join(filepath.Dir(path), m.String(name))})
		}
		if !d.Type().IsRegular() {
			return nil
		}
		did, err := m.cleanFile(path)
		if did {
			rel, _ := filepath.Rel(dir, path)
			changed = append(changed, m.String(rel))
		}
		return err
	})
	// The deepest go first, so that the paths of the others stay valid.
	for i := len(renames) - 1; i >= 0; i-- {
		err = errors.Join(err, rename(renames[i][0], renames[i][1]))
	}
	if err != nil {
		return changed, fmt.Errorf("remove secrets: %w", err)
	}
	return changed, nil
}

// rename renames a file. If there is a file of that name already, whose own name may have had another
// secret at the same place, it adds a number to the name.
func rename(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	free := to
	for n := 2; !st.IsDir(); n++ { // the system refuses to replace a directory
		if _, err := os.Lstat(free); errors.Is(err, fs.ErrNotExist) {
			break
		}
		free = fmt.Sprintf("%s.%d", to, n)
	}
	return os.Rename(from, free)
}

func (m *Masker) cleanFile(path string) (changed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	plain, err := m.Contains(f)
	if err != nil {
		return false, err
	}
	inside, err := m.containsInside(f)
	if err != nil {
		return false, err
	}
	switch {
	case inside:
		return true, os.WriteFile(path, []byte(withheld), 0o644)
	case plain:
		return true, m.rewrite(f, path)
	}
	return false, nil
}

// containsInside reports whether f is a compressed file or a recording whose content has a secret.
func (m *Masker) containsInside(f *os.File) (bool, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	var r io.Reader
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return false, nil // it only looks like gzip
		}
		r = z
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(f)
		if err != nil {
			return false, nil
		}
		defer z.Close()
		r = z
	case filepath.Base(f.Name()) == replay.File:
		text, err := replay.Text(f)
		if err != nil {
			return false, nil // Contains has searched the file's bytes already
		}
		r = text
	default:
		return false, nil
	}
	found, err := m.Contains(r)
	if err != nil {
		return found, nil // it is damaged; the readable part was searched
	}
	return found, nil
}

// rewrite replaces the file at path with the masked content of f.
func (m *Masker) rewrite(f *os.File, path string) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".mask-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	w := m.Writer(tmp)
	_, err = io.Copy(w, f)
	err = errors.Join(err, w.Close())
	if info, serr := f.Stat(); serr == nil {
		err = errors.Join(err, tmp.Chmod(info.Mode().Perm()))
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
