package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spicelane/spicelane/harness/filewatch"
)

// Follow copies the file at path to w, from its beginning, and then whatever another process
// appends, until ctx ends. Then it copies the rest and returns nil. A read or write error also ends
// it, and is returned. The file must exist.
func Follow(ctx context.Context, path string, w io.Writer) error {
	return FollowFrom(ctx, path, 0, w)
}

// FollowFrom does what Follow does, from the byte at offset on.
func FollowFrom(ctx context.Context, path string, offset int64, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("follow the console: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("follow the console: %w", err)
	}

	grown, stop := filewatch.Watch(path)
	defer stop()
	for {
		if _, err := io.Copy(w, f); err != nil {
			if errors.Is(err, io.ErrClosedPipe) {
				return nil // the log was ended: nobody wants more
			}
			return fmt.Errorf("follow the console %s: %w", path, err)
		}
		select {
		case <-grown:
		case <-ctx.Done():
			_, err := io.Copy(w, f)
			if err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return fmt.Errorf("follow the console %s: %w", path, err)
			}
			return nil
		}
	}
}
