package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A Store keeps objects by name. Names are paths with slashes, without "." and "..". Several
// goroutines and several processes may call its methods at once.
//
// An error about an object that does not exist matches fs.ErrNotExist. If an error has a method
// Temporary that returns true, the archive repeats the call.
type Store interface {
	// Put stores body, which has size bytes, at least one. Readers see the old object or the new one,
	// never a part. If create is set and the object exists already, the error matches fs.ErrExist,
	// and the object stays as it is.
	Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error
	// Get opens an object.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Stat returns the size of an object.
	Stat(ctx context.Context, name string) (Object, error)
	// List yields the objects whose names begin with prefix, in any order. The prefix is empty or
	// ends with a slash.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes an object. It returns nil if there is none.
	Delete(ctx context.Context, name string) error
	// Sweep removes the incomplete objects of writers that died. The archive calls it when nobody
	// else writes.
	Sweep(ctx context.Context) error
	// Location returns where the store is, for messages. It contains no password.
	Location() string
}

// An Object is one object of a store.
type Object struct {
	Name  string
	Bytes int64
	// Version differs after each Put of the name; empty if the store has no versions. Only List sets
	// it.
	Version string
}

// Limits of the retries of one call. The pauses double each time and vary by half at random. All
// seven take about two seconds together.
const (
	maxTries   = 8
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
)

// Retrying returns a store that calls s and repeats calls that fail with a temporary error. [Open]
// wraps its store with it.
func Retrying(s Store) Store { return retrying{s} }

type retrying struct{ Store }

func (r retrying) Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error {
	tried := false
	_, err := retry(ctx, func() (struct{}, error) {
		err := r.Store.Put(ctx, name, body, size, create)
		if tried && create && errors.Is(err, fs.ErrExist) {
			// NB: the previous call may have created it, and only its answer was lost.
			return struct{}{}, r.same(ctx, name, body, size, err)
		}
		tried = true
		return struct{}{}, err
	})
	return err
}

// same returns nil if the object has the content of body; otherwise it returns exists.
func (r retrying) same(ctx context.Context, name string, body io.ReaderAt, size int64, exists error) error {
	rc, err := r.Store.Get(ctx, name)
	if err != nil {
		return err
	}
	there, err := io.ReadAll(rc)
	if err = errors.Join(err, rc.Close()); err != nil {
		return err
	}
	ours, err := io.ReadAll(io.NewSectionReader(body, 0, size))
	if err == nil && !bytes.Equal(there, ours) {
		err = exists
	}
	return err
}

func (r retrying) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return retry(ctx, func() (io.ReadCloser, error) { return r.Store.Get(ctx, name) })
}

func (r retrying) Stat(ctx context.Context, name string) (Object, error) {
	return retry(ctx, func() (Object, error) { return r.Store.Stat(ctx, name) })
}

func (r retrying) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		all, err := retry(ctx, func() ([]Object, error) {
			var all []Object
			for o, err := range r.Store.List(ctx, prefix) {
				if err != nil {
					return nil, err
				}
				all = append(all, o)
			}
			return all, nil
		})
		if err != nil {
			yield(Object{}, err)
			return
		}
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (r retrying) Delete(ctx context.Context, name string) error {
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, r.Store.Delete(ctx, name) })
	return err
}

// retry calls f until it succeeds, fails with a permanent error, or has failed maxTries times.
func retry[T any](ctx context.Context, f func() (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.Multiplier, pause.MaxInterval = firstPause, 2, maxPause
	return backoff.Retry(ctx, func() (T, error) {
		v, err := f()
		var t interface{ Temporary() bool }
		if err != nil && (!errors.As(err, &t) || !t.Temporary()) {
			err = backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(0))
}

// read returns all bytes of an object, as stored. It tries again if the connection breaks while it
// reads.
func (a *Archive) read(ctx context.Context, name string) ([]byte, error) {
	b, err := retry(ctx, func() ([]byte, error) {
		rc, err := a.store.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(rc)
		return b, errors.Join(err, rc.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("archive %s: %s: %w", a.store.Location(), name, err)
	}
	return b, nil
}
