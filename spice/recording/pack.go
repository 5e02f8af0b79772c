package recording

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Pack makes one compressed file of the recording in a directory, and removes the directory. The
// file appears when it is complete; [Load] loads it. If ctx ends before that, or anything fails, the
// directory stays as it was.
func Pack(ctx context.Context, dir, file string) error {
	err := pack(ctx, dir, file)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("recording: pack %s: %w", dir, err)
	}
	return nil
}

func pack(ctx context.Context, dir, file string) (err error) {
	names, err := fs.Glob(os.DirFS(dir), "*.txt")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("no recording there")
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".packing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	defer out.Close()
	z := zip.NewWriter(out)
	// Hexadecimal text loses half its size with the least effort.
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	for _, name := range names {
		if err := packFile(ctx, z, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := errors.Join(z.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}

func packFile(ctx context.Context, z *zip.Writer, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := z.Create(filepath.Base(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, &interruptible{ctx, in})
	return err
}

// interruptible is a file that can be read until ctx ends.
type interruptible struct {
	ctx context.Context
	in  *os.File
}

func (r *interruptible) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.in.Read(b)
}
