package playback

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spicelane/spicelane/internal/atomicfile"
)

// WriteFile fills the file at path with what write writes. After an error, the file is what it was.
func WriteFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), atomicfile.Prefix+"*")
	if err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	defer os.Remove(f.Name()) // it has another name if all went well
	b := bufio.NewWriter(f)
	err = write(b)
	if ferr := b.Flush(); err == nil {
		err = ferr
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
