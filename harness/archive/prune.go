package archive

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Retention says which runs Prune keeps. A limit of zero means no limit. Pinned runs are always
// kept, and count towards the limits.
type Retention struct {
	// Age is the greatest age of a run.
	Age time.Duration
	// Runs is the greatest number of runs. The newest ones stay.
	Runs int
	// Bytes limits the stored size of the runs and their blobs. The newest runs stay.
	Bytes int64
	// AtLeast is how many of the newest runs stay even if they exceed the other limits.
	AtLeast int
	// DryRun deletes nothing.
	DryRun bool
}

// Pruned says what Prune has deleted, or would delete.
type Pruned struct {
	// Runs are the IDs of the deleted runs. Blobs counts the deleted blobs. Bytes is the stored size
	// of the deleted records and blobs.
	Runs  []string `json:"runs"`
	Blobs int      `json:"blobs"`
	Bytes int64    `json:"bytes"`
	// Kept is how many runs remain, and KeptBytes is their stored size.
	Kept      int   `json:"kept"`
	KeptBytes int64 `json:"kept_bytes"`
}

// Prune deletes the runs that exceed the limits, and then all blobs that no run needs, including
// those of writers that died. It waits until nobody else writes.
//
// A run's age counts back from now or from the newest run, whichever is earlier. So neither a clock
// here that has jumped into the future, nor a run from a host with such a clock, makes all other
// runs look old.
func (a *Archive) Prune(ctx context.Context, keep Retention) (*Pruned, error) {
	p, err := a.prune(ctx, keep)
	if err != nil {
		return p, a.classify(err)
	}
	return p, nil
}

func (a *Archive) prune(ctx context.Context, keep Retention) (*Pruned, error) {
	h, err := a.lock(ctx, true)
	if err != nil {
		return nil, err
	}
	defer h.release()
	// NB: an error about one record ends the prune, because that run's blobs would look unused.
	records, err := a.List(ctx)
	if err != nil {
		return nil, err
	}
	pinned, err := a.Pins(ctx)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64)
	for o, err := range a.store.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		sizes[o.Name] = o.Bytes
	}
	blobsOf := make(map[string][]string, len(records))
	for _, r := range records {
		files, err := a.filesOf(ctx, r)
		if err != nil {
			return nil, err
		}
		names := []string{r.Run.name(), r.Files.name()}
		for _, f := range files {
			names = append(names, f.name())
		}
		blobsOf[r.ID] = names
	}
	gone, used, kept := a.choose(records, pinned, sizes, blobsOf, keep)
	p := &Pruned{Runs: []string{}, Kept: len(records) - len(gone), KeptBytes: kept}
	var blobNames []string
	for name := range sizes {
		if strings.HasPrefix(name, blobs) && !used[name] {
			blobNames = append(blobNames, name)
		}
	}
	slices.Sort(blobNames)
	for _, r := range gone {
		p.Runs = append(p.Runs, r.ID)
		p.Bytes += sizes[r.object()]
	}
	p.Blobs = len(blobNames)
	for _, name := range blobNames {
		p.Bytes += sizes[name]
	}
	if keep.DryRun {
		return p, nil
	}
	// Records go first: no reader may see a run whose blobs are gone.
	for _, r := range gone {
		if err := a.deleteHeld(ctx, h, r.object()); err != nil {
			return p, err
		}
	}
	for _, name := range blobNames {
		if err := a.deleteHeld(ctx, h, name); err != nil {
			return p, err
		}
	}
	a.renewIndex(ctx, h)
	return p, a.store.Sweep(ctx)
}

// deleteHeld deletes an object while h is held.
func (a *Archive) deleteHeld(ctx context.Context, h *hold, name string) error {
	if err := h.check(ctx); err != nil {
		return err
	}
	return a.store.Delete(ctx, name)
}

// choose returns the runs to delete, the blobs that the others need, and how many bytes the others
// take. records are sorted, newest first.
func (a *Archive) choose(records []*Record, pinned map[string]bool, sizes map[string]int64, blobsOf map[string][]string,
	keep Retention) (gone []*Record, used map[string]bool, kept int64) {
	now := a.now()
	if len(records) > 0 && records[0].Began.Before(now) {
		now = records[0].Began
	}
	used = make(map[string]bool)
	// cost is how many bytes a run takes besides those of the runs that stay so far.
	cost := func(r *Record) int64 {
		n := sizes[r.object()]
		seen := make(map[string]bool)
		for _, name := range blobsOf[r.ID] {
			if !used[name] && !seen[name] {
				seen[name] = true
				n += sizes[name]
			}
		}
		return n
	}
	stays := make(map[string]bool)
	take := func(r *Record) {
		kept += cost(r)
		stays[r.ID] = true
		for _, name := range blobsOf[r.ID] {
			used[name] = true
		}
	}
	n := 0
	for _, r := range records {
		if pinned[r.ID] {
			take(r)
			n++
		}
	}
	full := false
	for i, r := range records {
		if stays[r.ID] {
			continue
		}
		tooLarge := keep.Bytes > 0 && (full || kept+cost(r) > keep.Bytes)
		over := keep.Runs > 0 && n >= keep.Runs || keep.Age > 0 && now.Sub(r.Began) > keep.Age || tooLarge
		if over && i >= keep.AtLeast {
			full = tooLarge
			gone = append(gone, r)
			continue
		}
		take(r)
		n++
	}
	return gone, used, kept
}

// Pin makes Prune keep a run, whatever the limits are, until Unpin. It waits until no Prune is under
// way, because that may have chosen the run already.
func (a *Archive) Pin(ctx context.Context, id string) error {
	h, err := a.lock(ctx, false)
	if err != nil {
		return a.classify(err)
	}
	defer h.release()
	return a.pin(ctx, id)
}

// pin does the same for a caller that has a lock.
func (a *Archive) pin(ctx context.Context, id string) error {
	rec, err := a.Record(ctx, id)
	if err != nil {
		return err
	}
	object, _ := sealed([]byte("pinned\n"))
	err = a.store.Put(ctx, pins+rec.ID+ext, bytes.NewReader(object), int64(len(object)), true)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return a.classify(err)
}

// Unpin lets Prune delete a run that was pinned. It returns nil if the run was not pinned.
func (a *Archive) Unpin(ctx context.Context, id string) error {
	if !idWords.MatchString(id) {
		return a.errorf("%q is no run's id", id)
	}
	return a.classify(a.store.Delete(ctx, pins+id+ext))
}

// Pins returns the IDs of the pinned runs.
func (a *Archive) Pins(ctx context.Context) (map[string]bool, error) {
	all := make(map[string]bool)
	for o, err := range a.store.List(ctx, pins) {
		if err != nil {
			return nil, a.classify(err)
		}
		all[idOf(pins, o.Name)] = true
	}
	return all, nil
}
