package qemu

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// appendTo opens a log that may contain output of an earlier machine.
func appendTo(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fileError(path, err)
	}
	return f, nil
}

// discard removes an unfinished file, but only a regular one: a user may well name a device.
func discard(path string) {
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
		// QEMU may have it open for a moment longer, and an unlinked open file still uses its
		// space.
		os.Truncate(path, 0)
		os.Remove(path)
	}
}

// fileError blames the host for a full disk, and the configuration for all other errors.
func fileError(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return diskFull(path, err)
	}
	return &ConfigError{What: fmt.Sprintf("the machine's file cannot be written: %v", err), Hint: "choose another directory", Err: err}
}

// filledPipe returns the reading end of a pipe that contains s and then ends. s must fit into the
// pipe's buffer, which has at least a page.
func filledPipe(s string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.WriteString(s)
	if err = errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// tailBytes is how much of a log's end is searched for its last lines.
const tailBytes = 16 << 10

// tailOf returns the last n lines of the file that begin at from or later,
// without blank ones.
func tailOf(path string, from int64, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	cut := end-from > tailBytes
	if cut {
		from = end - tailBytes
	}
	buf, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return nil
	}
	var lines []string
	for i, l := range strings.Split(string(buf), "\n") {
		if l = strings.TrimRight(l, "\r"); strings.TrimSpace(l) != "" && !(cut && i == 0) {
			lines = append(lines, l)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// roomFor returns a *HostError if the file system that holds path is full.
func roomFor(path string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &st); err != nil {
		return nil
	}
	const little = 1 << 20
	if uint64(st.Bavail)*uint64(st.Bsize) < little {
		return diskFull(path, syscall.ENOSPC)
	}
	return nil
}
