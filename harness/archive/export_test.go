package archive

import (
	"bytes"
	"context"
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
