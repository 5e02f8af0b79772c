package archive

import (
	"bytes"
	"context"
	"encoding/json"
)

// CopyAs stores a copy of a run's record, with another ID and another format version.
func (a *Archive) CopyAs(ctx context.Context, from, to string, format int) error {
	r, err := a.Record(ctx, from)
	if err != nil {
		return err
	}
	r.ID, r.Format = to, format
	object, err := r.encode()
	if err != nil {
		return err
	}
	return a.store.Put(ctx, r.object(), bytes.NewReader(object), int64(len(object)), true)
}

// SpoilIndex writes the index again, with a valid seal, after change has changed a record in it.
func (a *Archive) SpoilIndex(ctx context.Context, change func(*Record)) error {
	object, err := a.read(ctx, indexFile)
	if err != nil {
		return err
	}
	x, err := parseIndex(object)
	if err != nil {
		return err
	}
	change(x.Runs[0].Record)
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	object, _ = sealed(b)
	return a.store.Put(ctx, indexFile, bytes.NewReader(object), int64(len(object)), false)
}

// OnSyncedDir sets the function that a Dir calls after it synced a directory; nil for none.
func OnSyncedDir(f func(dir string)) { synced = f }
