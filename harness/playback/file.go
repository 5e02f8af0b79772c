package playback

import (
	"bufio"
	"io"
	"os"

	"github.com/spicelane/spicelane/internal/atomicfile"
)

// WriteFile replaces the file at path with what write writes. After an error, the file is
// unchanged.
func WriteFile(path string, write func(io.Writer) error) error {
	return atomicfile.Fill(path, 0o644, func(f *os.File) error {
		b := bufio.NewWriter(f)
		if err := write(b); err != nil {
			return err
		}
		return b.Flush()
	})
}
