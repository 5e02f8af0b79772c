package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// The index has a copy of most records, so that a list of many runs takes a few calls of the store
// instead of one per run. It is only a cache: an entry counts only if the store says that the
// record's object is still the one that was copied. All other records are read. A damaged or
// missing index only costs time.
const indexFile = "index.zst"

// indexEvery is how many entries must be missing or stale before the index is written again.
const indexEvery = 64

// An index is the content of index.zst.
type index struct {
	Format int       `json:"format"`
	Runs   []indexed `json:"runs"`
}

// An indexed is the copy of a record.
type indexed struct {
	// Version is that of the record's object, see [Object].
	Version string  `json:"version"`
	Record  *Record `json:"record"`
}

// readIndex returns the index, keyed by the names of the records' objects; nil if it cannot be
// used.
func (a *Archive) readIndex(ctx context.Context) map[string]indexed {
	object, err := a.read(ctx, indexFile)
	if err != nil {
		return nil
	}
	x, err := parseIndex(object)
	if err != nil {
		return nil // verify reports it
	}
	all := make(map[string]indexed, len(x.Runs))
	for _, r := range x.Runs {
		all[r.Record.object()] = r
	}
	return all
}

// parseIndex returns the index in an object.
func parseIndex(object []byte) (*index, error) {
	b, err := unsealBytes(indexFile, object, "")
	if err != nil {
		return nil, err
	}
	var x index
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, &DamageError{Name: indexFile, Err: err}
	}
	if x.Format != Format {
		return nil, &formatError{indexFile, x.Format}
	}
	for _, r := range x.Runs {
		if r.Record == nil {
			return nil, &DamageError{Name: indexFile, Err: errors.New("an entry has no record")}
		}
	}
	return &x, nil
}

// indexNow reports whether the writer of a run should renew the index. It chooses one run in
// indexEvery by its ID, so that most writers need not count the records that the index lacks.
func indexNow(id string) bool {
	sum := sha256.Sum256([]byte(id))
	return sum[0]%indexEvery == 0
}

// renewIndex writes the index if it lacks many records, or has many that are gone. The caller holds a
// lock. renewIndex ignores errors, because nothing depends on the index: the next writer tries
// again.
func (a *Archive) renewIndex(ctx context.Context, h *hold) {
	known := a.readIndex(ctx)
	x := index{Format: Format}
	changed := 0
	for name, r := range a.records(ctx, known) {
		switch {
		case name == "":
			return // the listing failed
		case r.err != nil || r.version == "":
			continue
		case known[name].Record == nil || known[name].Version != r.version:
			changed++
		}
		x.Runs = append(x.Runs, indexed{Version: r.version, Record: r.Record})
	}
	if gone := len(known) - (len(x.Runs) - changed); changed+gone < indexEvery {
		return
	}
	b, err := json.Marshal(x)
	if err != nil || h.check(ctx) != nil {
		return
	}
	object, _ := sealed(b)
	_ = a.store.Put(ctx, indexFile, bytes.NewReader(object), int64(len(object)), false)
}

// verifyIndex returns an error if the index differs from the given records, which were read without
// it. versions are the versions of the objects by name.
func (a *Archive) verifyIndex(ctx context.Context, records map[string]*Record, versions map[string]string) error {
	object, err := a.read(ctx, indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	x, err := parseIndex(object)
	if err != nil {
		return err
	}
	for _, r := range x.Runs {
		there := records[r.Record.ID]
		if there == nil || versions[r.Record.object()] != r.Version {
			continue // the entry does not count
		}
		ours, err := r.Record.encode()
		if err != nil {
			return err
		}
		theirs, err := there.encode()
		if err != nil {
			return err
		}
		if !bytes.Equal(ours, theirs) {
			return &DamageError{Name: indexFile, Err: fmt.Errorf("it does not say what the record of run %s says", there.ID)}
		}
	}
	return nil
}
