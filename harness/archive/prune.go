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

// Retention says which runs Prune keeps. A limit of zero is no limit. A pinned run is always kept,
// and counts for the other limits.
type Retention struct {
	// Age is how old a run may be.
	Age time.Duration
	// Runs is how many runs may stay, the newest ones.
	Runs int
	// Bytes is how large the archive may be, as stored. The newest runs stay.
	Bytes int64
	// AtLeast is how many of the newest runs stay whatever the other limits say.
	AtLeast int
	// DryRun deletes nothing.
	DryRun bool
}

// Pruned says what Prune has deleted, or would delete.
type Pruned struct {
	Runs  []string `json:"runs"`
	Blobs int      `json:"blobs"`
	Bytes int64    `json:"bytes"`
	// Kept and KeptBytes are what remains.
	Kept      int   `json:"kept"`
	KeptBytes int64 `json:"kept_bytes"`
}

// Prune deletes runs beyond the limits, and then the blobs that no run needs, also those of writers
// that died. It waits until nobody writes.
//
// A run's age counts from the present or from the newest run, whichever is earlier. So neither a
// clock that has jumped into the future here, nor a run from a host with such a clock, makes all
// others look old.
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
	// NB: an error about one record ends it: that run's blobs would look unused.
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
	// Records first: a run whose blobs are gone must not be seen.
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

// choose returns the runs that must go, the blobs that the others need, and how many bytes the others
// take. records are sorted, the newest first.
func (a *Archive) choose(records []*Record, pinned map[string]bool, sizes map[string]int64, blobsOf map[string][]string,
	keep Retention) (gone []*Record, used map[string]bool, kept int64) {
	now := a.now()
	if len(records) > 0 && records[0].Began.Before(now) {
		now = records[0].Began
	}
	used = make(map[string]bool)
	// cost is what a run takes beyond the runs before it.
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

// Pin makes Prune keep a run, whatever its age. Unpin ends that.
func (a *Archive) Pin(ctx context.Context, id string) error {
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

// Unpin lets Prune delete a run that was pinned.
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
