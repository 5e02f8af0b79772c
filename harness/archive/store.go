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

// A Store keeps objects by name. Names are paths with slashes, without "." and "..". All methods
// can be called from several goroutines and by several processes at once.
//
// An error about an object that is not there matches fs.ErrNotExist. An error with a method
// Temporary that returns true is tried again by the archive.
type Store interface {
	// Put stores body, which has size bytes, at least one. Readers see the old object or the new one,
	// never a part. If create is set and the object is there already, the error matches
	// fs.ErrExist, and the object stays as it is.
	Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error
	// Get opens an object.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Stat returns the size of an object.
	Stat(ctx context.Context, name string) (Object, error)
	// List yields the objects whose names begin with prefix, in any order. The prefix is empty or
	// ends with a slash.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes an object. It is no error if there is none.
	Delete(ctx context.Context, name string) error
	// Sweep removes what writers that died left besides objects. The archive calls it when nobody
	// else writes.
	Sweep(ctx context.Context) error
	// Location says where the store is, for messages. It has no password.
	Location() string
}

// An Object is one object of a store.
type Object struct {
	Name  string
	Bytes int64
	// Version is another one after each Put of the name; empty if the store does not know. Only List
	// sets it.
	Version string
}

// Limits of the retries of one call. The whole call is given up after about three seconds.
const (
	maxTries   = 8
	firstPause = 10 * time.Millisecond
	maxPause   = time.Second
)

// Retrying returns s with calls that are repeated if they fail for a temporary reason. [Open] calls it.
func Retrying(s Store) Store { return retrying{s} }

type retrying struct{ Store }

func (r retrying) Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error {
	tried := false
	_, err := retry(ctx, func() (struct{}, error) {
		err := r.Store.Put(ctx, name, body, size, create)
		if tried && create && errors.Is(err, fs.ErrExist) {
			// NB: the call before may have created it and lost only the answer.
			return struct{}{}, r.same(ctx, name, body, size, err)
		}
		tried = true
		return struct{}{}, err
	})
	return err
}

// same returns nil if the object has the content of body, and else the error exists.
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

// retry calls f until it succeeds or fails for good.
func retry[T any](ctx context.Context, f func() (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, maxPause
	return backoff.Retry(ctx, func() (T, error) {
		v, err := f()
		var t interface{ Temporary() bool }
		if err != nil && (!errors.As(err, &t) || !t.Temporary()) {
			err = backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(0))
}

// read returns the whole content of an object. It tries again if the connection breaks while it
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
