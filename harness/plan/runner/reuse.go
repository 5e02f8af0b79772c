package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/worker"
)

// answer tells a worker, which has sent the identity of what its lanes will test, whether to run.
// If an earlier result can be reused, the attempt is skipped. If the lookup fails, the log says
// why.
func (r *talk) answer(ctx context.Context, id worker.Identity) {
	why := id.Unknown
	if why == "" {
		var err error
		if r.reused, err = r.earlier(ctx, id.Values); err != nil {
			why = r.Plan.Masker().String(err.Error())
		}
	}
	r.decided <- worker.Command{Go: r.reused == nil, Skip: r.reused != nil}
	if r.reused != nil {
		return
	}
	r.begins()
	if why != "" {
		line := "no earlier result can stand for this cell: " + strings.ReplaceAll(why, "\n", "; ")
		fmt.Fprintln(r.log, line)
		r.Observer.Line(r.cell.Cell, "reuse", line)
	}
}

// earlier returns an earlier result for the cell that can be reused, and copies its artifacts into
// this run's directory. It returns nil if there is none. If the earlier result is a failure, the
// cell runs again, because somebody may want to see it fail.
func (r *talk) earlier(ctx context.Context, identity map[string]string) (*result.Cell, error) {
	found, err := r.Reuse.Trusted(ctx, r.cell.ID, r.does, identity)
	if err != nil || found == nil || found.Cell.Outcome != result.Success {
		return nil, err
	}
	was := *found.Cell
	was.Job, was.Allowed, was.ReusedFrom = r.cell.Job.ID, r.cell.Job.ContinueOnError, found.Run.ID
	artifacts := keepArtifacts(&was)
	if len(artifacts) == 0 {
		return &was, nil
	}
	files, err := r.Reuse.Archive().Files(ctx, found.Run.ID)
	if err != nil {
		return nil, err
	}
	byPath := make(map[string]archive.File, len(files))
	for _, f := range files {
		byPath[f.Path] = f
	}
	// A trusted result that passed has only one attempt.
	below := path.Join(cellsDir, r.cell.Path, strconv.Itoa(1), worker.ArtifactsDir) + "/"
	for _, e := range artifacts {
		f, ok := byPath[e.Path]
		if !ok || !strings.HasPrefix(e.Path, below) {
			err = fmt.Errorf("run %s has passed, but its artifact %s is not in the archive", found.Run.ID, e.Path)
		} else {
			err = r.bring(ctx, f, e.Executable)
		}
		if err != nil {
			// The cell runs after all, and files of another run are not evidence of this one.
			return nil, errors.Join(err, os.RemoveAll(filepath.Join(r.Dir, filepath.FromSlash(below))))
		}
	}
	return &was, nil
}

// bring writes a file of an archived run into this run's directory.
func (r *talk) bring(ctx context.Context, f archive.File, executable bool) (err error) {
	in, err := r.Reuse.Archive().OpenFile(ctx, f)
	if err != nil {
		return err
	}
	defer in.Close()
	to := filepath.Join(r.Dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	_, err = io.Copy(out, in)
	return err
}
