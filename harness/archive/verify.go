package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/spicelane/spicelane/harness/plan/result"
)

// A Fault describes an object that is damaged or missing, or does not belong to the archive.
type Fault struct {
	Name string `json:"name"`
	// Runs are the IDs of the runs that need the object, as far as they are known.
	Runs []string `json:"runs,omitempty"`
	Why  string   `json:"why"`
}

// Verified is what Verify has found.
type Verified struct {
	Runs    int   `json:"runs"`
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Faults are sorted by name.
	Faults []Fault `json:"faults"`
	// Unused counts blobs that no run needs: of a writer that died, or of one that is still writing.
	// UnusedBytes is their stored size.
	Unused      int   `json:"unused"`
	UnusedBytes int64 `json:"unused_bytes"`
}

// Verify reads every byte of the archive. It finds each bit that has changed, each blob that is
// missing, and each object that does not belong there. It takes no lock and changes nothing.
func (a *Archive) Verify(ctx context.Context) (*Verified, error) {
	v, _, err := a.verify(ctx)
	if err != nil {
		return nil, a.classify(err)
	}
	return v, nil
}

// Discard verifies the archive and deletes the damaged objects, and those that do not belong there.
// The same content can then be stored again by adding or importing its run. Discard returns the
// names of the deleted objects.
func (a *Archive) Discard(ctx context.Context) ([]string, error) {
	h, err := a.lock(ctx, true)
	if err != nil {
		return nil, a.classify(err)
	}
	defer h.release()
	_, damaged, err := a.verify(ctx)
	for i, name := range damaged {
		if err == nil {
			err = h.check(ctx)
		}
		if err == nil {
			err = a.store.Delete(ctx, name)
		}
		if err != nil {
			return damaged[:i], a.classify(err)
		}
	}
	return damaged, a.classify(err)
}

func (a *Archive) verify(ctx context.Context) (_ *Verified, damaged []string, _ error) {
	v := &Verified{Faults: []Fault{}}
	needs := make(map[string][]string) // blob → runs
	records := make(map[string]*Record)
	fault := func(name, why string) {
		v.Faults = append(v.Faults, Fault{Name: name, Runs: needs[name], Why: why})
	}
	sizes := make(map[string]int64)
	versions := make(map[string]string)
	for o, err := range a.store.List(ctx, "") {
		if err != nil {
			return nil, nil, err
		}
		if strings.HasPrefix(o.Name, locks) {
			continue
		}
		sizes[o.Name], versions[o.Name] = o.Bytes, o.Version
		v.Objects++
		v.Bytes += o.Bytes
	}
	for name, r := range a.records(ctx, nil) { // NB: without an index, which would hide damage
		if name == "" {
			return nil, nil, r.err
		}
		if r.err != nil {
			var d *DamageError
			var later *formatError
			switch {
			case errors.As(r.err, &d):
				damaged = append(damaged, name)
			case !errors.As(r.err, &later):
				return nil, nil, r.err
			}
			fault(name, why(r.err))
			continue
		}
		records[r.ID] = r.Record
		v.Runs++
		needs[r.Run.name()] = append(needs[r.Run.name()], r.ID)
		needs[r.Files.name()] = append(needs[r.Files.name()], r.ID)
	}
	for _, r := range records {
		files, err := a.filesOf(ctx, r)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			continue // the blob is read below, and the fault is reported there
		}
		for _, f := range files {
			if !slices.Contains(needs[f.name()], r.ID) {
				needs[f.name()] = append(needs[f.name()], r.ID)
			}
		}
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for name, size := range sizes {
		if strings.HasPrefix(name, runs) && records[idOf(runs, name)] == nil {
			continue // it was reported above, or has been added since
		}
		if strings.HasPrefix(name, blobs) && needs[name] == nil {
			v.Unused++
			v.UnusedBytes += size
		}
		g.Go(func() error {
			err := a.verifyObject(gctx, name, records[idOf(runs, name)])
			var d *DamageError
			switch {
			case err == nil, errors.Is(err, fs.ErrNotExist): // the latter was deleted meanwhile, or is missing below
			case errors.As(err, &d):
				mu.Lock()
				defer mu.Unlock()
				fault(name, why(err))
				damaged = append(damaged, name)
			default:
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	if err := a.verifyIndex(ctx, records, versions); err != nil {
		var d *DamageError
		var later *formatError
		if !errors.As(err, &d) && !errors.As(err, &later) {
			return nil, nil, err
		}
		if !slices.Contains(damaged, indexFile) {
			fault(indexFile, why(err))
			damaged = append(damaged, indexFile)
		}
	}
	for name := range needs {
		if _, ok := sizes[name]; ok {
			continue
		}
		// It may have been written since the list was made.
		if _, err := a.store.Stat(ctx, name); errors.Is(err, fs.ErrNotExist) {
			fault(name, "it is missing")
		} else if err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(v.Faults, func(x, y Fault) int { return strings.Compare(x.Name, y.Name) })
	slices.Sort(damaged)
	return v, damaged, nil
}

func why(err error) string {
	var d *DamageError
	if errors.As(err, &d) {
		return d.Err.Error()
	}
	return err.Error()
}

// verifyObject reads an object and checks it. r is the record that the object contains, or nil.
func (a *Archive) verifyObject(ctx context.Context, name string, r *Record) error {
	ref, isBlob := refOf(name)
	if !isBlob && strings.HasPrefix(name, blobs) {
		return &DamageError{Name: name, Err: errors.New("this is no name of a blob")}
	}
	if !a.ours(name) {
		return &DamageError{Name: name, Err: errors.New("it does not belong to an archive")}
	}
	_, err := retry(ctx, func() (struct{}, error) {
		rc, err := a.store.Get(ctx, name)
		if err != nil {
			return struct{}{}, err
		}
		content, err := unseal(name, rc, ref.SHA256)
		if err != nil {
			return struct{}{}, err
		}
		_, err = io.Copy(io.Discard, content)
		return struct{}{}, errors.Join(err, content.Close())
	})
	if err != nil || r == nil {
		return err
	}
	// A record that contradicts its run.json would hide or invent a failure.
	b, err := a.blob(ctx, r.Run)
	if err != nil {
		return nil // reported for the blob
	}
	run, err := result.Parse(b)
	if err == nil {
		ofRun := summarise(run)
		ofRun.ID, ofRun.Run, ofRun.Files, ofRun.Bytes = r.ID, r.Run, r.Files, r.Bytes
		var ours, theirs []byte
		if ours, err = ofRun.encode(); err == nil {
			if theirs, err = r.encode(); err == nil && string(ours) != string(theirs) {
				err = errors.New("it does not say what run.json says")
			}
		}
	}
	if err != nil {
		return &DamageError{Name: name, Err: fmt.Errorf("run.json: %w", err)}
	}
	return nil
}
