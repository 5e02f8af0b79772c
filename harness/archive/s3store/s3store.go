// Package s3store is a store for archives in a bucket of an S3-compatible object storage.
//
// It is a separate package, so that programs that only use archives in directories do not link its
// client.
//
// The server must support conditional writes (If-None-Match), as Amazon S3, MinIO and Ceph do.
// Without them, two writers could take the same run's name. So [Open] tests for them.
package s3store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Config says where a store is.
type Config struct {
	// Endpoint is the server's host and port; empty means Amazon's.
	Endpoint string
	// Bucket must exist.
	Bucket string
	// Prefix comes before the names of all objects. It has no slash at either end, and may be empty.
	Prefix string
	// Region may be empty if the server reports its region, or has none.
	Region string
	// Insecure means HTTP instead of HTTPS.
	Insecure bool
	// Credentials are for the server; nil means those of the environment (AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY), of ~/.aws/credentials, or of the machine's role, in this order.
	Credentials *credentials.Credentials
	// Transport is for HTTP; nil means the client's default.
	Transport http.RoundTripper
}

// Parse parses a location: s3://BUCKET/PREFIX?endpoint=HOST:PORT&region=NAME&insecure=true. All but
// the bucket can be left out.
func Parse(location string) (Config, error) {
	wrong := func(format string, args ...any) (Config, error) {
		return Config{}, &verdict.Error{Verdict: verdict.Harness, Op: "archive " + location, Err: fmt.Errorf(format, args...),
			Hint: "write s3://BUCKET/PREFIX?endpoint=HOST:PORT"}
	}
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "s3" {
		return wrong("it is no location of an object storage")
	}
	if u.User != nil {
		return Config{}, &verdict.Error{Verdict: verdict.Harness, Op: "archive s3://" + u.Host,
			Err: errors.New("keys do not belong into a location"), Hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for k, v := range u.Query() {
		switch {
		case k == "endpoint":
			c.Endpoint = v[0]
		case k == "region":
			c.Region = v[0]
		case k == "insecure" && (v[0] == "true" || v[0] == "false"):
			c.Insecure = v[0] == "true"
		default:
			return wrong("%s=%s is unknown", k, v[0])
		}
	}
	if c.Bucket == "" {
		return wrong("it names no bucket")
	}
	return c, nil
}

// A Store is a bucket, or a part of one.
type Store struct {
	c        *minio.Client
	bucket   string
	prefix   string
	location string
}

// Open returns the store. It fails if it cannot write to the bucket, or if the server does not
// support conditional writes.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	creds := cfg.Credentials
	if creds == nil {
		creds = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}}})
	}
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = "s3.amazonaws.com"
	}
	// NB: one attempt per call, because the archive retries.
	c, err := minio.New(endpoint, &minio.Options{Creds: creds, Secure: !cfg.Insecure, Region: cfg.Region, MaxRetries: 1, Transport: cfg.Transport})
	s := &Store{c: c, bucket: cfg.Bucket, prefix: cfg.Prefix, location: "s3://" + path.Join(cfg.Bucket, cfg.Prefix)}
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "archive " + s.location, Err: err}
	}
	if err := s.tryCreate(ctx); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "archive " + s.location, Err: err,
			Hint: "check the bucket, the endpoint, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}
	}
	return s, nil
}

// tryCreate writes an object twice on the condition that it is new. The server must refuse the
// second write.
func (s *Store) tryCreate(ctx context.Context) error {
	store, name := archive.Retrying(s), "locks/try-"+rand.Text()
	try := func(body string) error {
		return store.Put(ctx, name, strings.NewReader(body), int64(len(body)), true)
	}
	if err := try("first"); err != nil {
		return err
	}
	err := try("second")
	_ = store.Delete(ctx, name) // if that fails, the object stays; Verify ignores locks
	switch {
	case err == nil:
		return errors.New("the server ignores the condition If-None-Match, so two writers could overwrite each other")
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return nil
}

// Location returns the location without its parameters: s3://BUCKET/PREFIX.
func (s *Store) Location() string { return s.location }

func (s *Store) key(name string) string { return path.Join(s.prefix, name) }

// Put stores an object, in several parts if it has 64 MiB or more.
func (s *Store) Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: "put", Path: name, Err: fs.ErrInvalid}
	}
	opts := minio.PutObjectOptions{ContentType: "application/zstd", DisableMultipart: size < 64<<20}
	if create {
		opts.SetMatchETagExcept("*")
	}
	// NB: the client closes a body that has Close, and this one is the caller's. A SectionReader has
	// no Close, and lets the client read several parts at the same time.
	_, err := s.c.PutObject(ctx, s.bucket, s.key(name), io.NewSectionReader(body, 0, size), size, opts)
	return s.error("put", name, err)
}

// Get opens an object.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	core := minio.Core{Client: s.c}
	rc, _, _, err := core.GetObject(ctx, s.bucket, s.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, s.error("get", name, err)
	}
	return &reader{rc, s, name}, nil
}

// A reader turns errors in the middle of an object into errors of the store.
type reader struct {
	io.ReadCloser
	s    *Store
	name string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = r.s.error("read", r.name, err)
	}
	return n, err
}

// Stat returns the size of an object.
func (s *Store) Stat(ctx context.Context, name string) (archive.Object, error) {
	info, err := s.c.StatObject(ctx, s.bucket, s.key(name), minio.StatObjectOptions{})
	if err != nil {
		return archive.Object{}, s.error("stat", name, err)
	}
	return archive.Object{Name: name, Bytes: info.Size}, nil
}

// List yields objects.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[archive.Object, error] {
	return func(yield func(archive.Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		before := ""
		if s.prefix != "" {
			before = s.prefix + "/"
		}
		for info := range s.c.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: before + prefix, Recursive: true}) {
			if info.Err != nil {
				yield(archive.Object{}, s.error("list", prefix, info.Err))
				return
			}
			if !yield(archive.Object{Name: strings.TrimPrefix(info.Key, before), Bytes: info.Size, Version: info.ETag}, nil) {
				return
			}
		}
	}
}

// Delete removes an object.
func (s *Store) Delete(ctx context.Context, name string) error {
	return s.error("delete", name, s.c.RemoveObject(ctx, s.bucket, s.key(name), minio.RemoveObjectOptions{}))
}

// Sweep aborts multipart uploads that were never completed.
func (s *Store) Sweep(ctx context.Context) error {
	before := s.key("blobs") + "/"
	for up := range s.c.ListIncompleteUploads(ctx, s.bucket, before, true) {
		if err := s.error("sweep", before, up.Err); errors.Is(err, fs.ErrNotExist) {
			return nil // some servers return this if there are no uploads
		} else if err != nil {
			return err
		}
		if err := s.c.RemoveIncompleteUpload(ctx, s.bucket, up.Key); err != nil {
			return s.error("sweep", up.Key, err)
		}
	}
	return nil
}

// An Error is an error that the storage returned, or an error of the connection to it.
type Error struct {
	Op, Name string
	// Code is S3's error code, such as AccessDenied; empty if there was no answer.
	Code string
	Err  error

	again bool
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Name, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Verdict returns Host: the storage is not what is under test.
func (e *Error) Verdict() verdict.Kind { return verdict.Host }

// Temporary reports whether the same call may succeed later.
func (e *Error) Temporary() bool { return e.again }

// error converts err to the errors that archive.Store specifies.
func (s *Store) error(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	resp := minio.ToErrorResponse(err)
	e := Error{Op: op, Name: name, Code: resp.Code, Err: err}
	switch {
	case resp.Code == "NoSuchKey" || resp.StatusCode == http.StatusNotFound && resp.Code != "NoSuchBucket":
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	case resp.Code == "PreconditionFailed" || resp.StatusCode == http.StatusPreconditionFailed:
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout,
		resp.Code == "SlowDown", resp.Code == "ConditionalRequestConflict":
		e.again = true
	case resp.StatusCode == 0 && broken(err):
		e.again = true
	}
	return &e
}

// broken reports whether a connection broke, or could not be made.
func broken(err error) bool {
	var n net.Error
	var o *net.OpError
	return errors.As(err, &o) || errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
