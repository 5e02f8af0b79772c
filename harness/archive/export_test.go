package archive

import (
	"bytes"
	"context"
)

// Copy stores a run's record again, under another ID.
func (a *Archive) Copy(ctx context.Context, from, to string) error {
	r, err := a.Record(ctx, from)
	if err != nil {
		return err
	}
	r.ID = to
	object, err := r.encode()
	if err != nil {
		return err
	}
	return a.store.Put(ctx, r.object(), bytes.NewReader(object), int64(len(object)), true)
}
