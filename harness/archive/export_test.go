package archive

import (
	"bytes"
	"context"
	"encoding/json"
)

// CopyAs stores a run's record again, under another ID and with a version of the format.
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

// SpoilIndex writes the index again, with a good seal, after change has changed a record in it.
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

// OnSyncedDir sets what is called after a directory of a Dir was synced; nil for nothing.
func OnSyncedDir(f func(dir string)) { synced = f }
