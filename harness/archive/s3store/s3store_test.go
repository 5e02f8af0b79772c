package s3store_test

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/archive/archivetest"
	"github.com/spicelane/spicelane/harness/archive/s3store"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// serve starts an S3 server with a bucket. Each request goes through wrap first, if wrap is set.
func serve(t testing.TB, wrap func(http.Handler) http.Handler) s3store.Config {
	t.Helper()
	h := bucket(t)
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return configOf(srv)
}

// bucket is an S3 server with an empty bucket.
func bucket(t testing.TB) http.Handler {
	t.Helper()
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("runs"))
	return gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
}

func configOf(srv *httptest.Server) s3store.Config {
	scheme, endpoint, _ := strings.Cut(srv.URL, "://")
	return s3store.Config{Endpoint: endpoint, Bucket: "runs", Prefix: "ci/lanes", Region: "us-east-1", Insecure: scheme == "http",
		Credentials: credentials.NewStaticV4("key", "secret", ""), Transport: srv.Client().Transport}
}

func open(t testing.TB, cfg s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

func TestABucketIsAStore(t *testing.T) {
	need.Long(t)
	t.Parallel()
	archivetest.TestStore(t, func(t *testing.T) archive.Store { return open(t, serve(t, nil)) })
}

func TestAServerThatFailsEveryThirdRequestLosesNothing(t *testing.T) {
	need.Long(t)
	t.Parallel()
	var requests, failed atomic.Int64
	cfg := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := requests.Add(1); n%3 == 0 {
				failed.Add(1)
				if n%2 == 0 {
					panic(http.ErrAbortHandler) // the connection breaks
				}
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	a := archivetest.Open(t, open(t, cfg))
	for n := range 3 {
		_, err := a.Add(t.Context(), archivetest.Run(n))
		require.NoError(t, err)
	}
	archivetest.Intact(t, a, "run-0000", "run-0001", "run-0002")
	require.Greater(t, failed.Load(), int64(20))
}

func TestAServerThatIgnoresConditionsIsRefused(t *testing.T) {
	t.Parallel()
	cfg := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			h.ServeHTTP(w, r)
		})
	})
	_, err := s3store.Open(t.Context(), cfg)
	require.ErrorContains(t, err, "archive s3://runs/ci/lanes: the server ignores the condition If-None-Match")
	require.Equal(t, verdict.Host, verdict.Of(err))
}

func TestABucketThatIsNotThereIsTheHostsFault(t *testing.T) {
	t.Parallel()
	cfg := serve(t, nil)
	cfg.Bucket = "none"
	_, err := s3store.Open(t.Context(), cfg)
	require.ErrorContains(t, err, "archive s3://none/ci/lanes: ")
	require.ErrorContains(t, err, "check the bucket")
	require.Equal(t, verdict.Host, verdict.Of(err))
	cfg.Endpoint = "127.0.0.1:1"
	_, err = s3store.Open(t.Context(), cfg)
	require.Equal(t, verdict.Host, verdict.Of(err))
}

// A truncated response must not look like damage: that would make verify blame the archive.
func TestAConnectionThatBreaksInTheMiddleOfAnObjectIsTriedAgain(t *testing.T) {
	t.Parallel()
	var cut atomic.Int64
	cfg := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && cut.Add(1)%2 == 1 {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.WriteHeader(rec.Code)
				_, _ = io.CopyN(w, rec.Body, int64(rec.Body.Len()/2))
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	})
	a := archivetest.Open(t, open(t, cfg))
	_, err := a.Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	archivetest.Intact(t, a, "run-0001")
	require.Greater(t, cut.Load(), int64(3))
}

// From 64 MiB on, the client sends an object in parts, several at once. NB: over TLS, because
// without it this server keeps the signatures between the pieces of a part.
func TestAnObjectThatIsSentInPartsArrivesAsItWas(t *testing.T) {
	need.Long(t)
	t.Parallel()
	srv := httptest.NewTLSServer(bucket(t))
	t.Cleanup(srv.Close)
	s := open(t, configOf(srv))
	content := make([]byte, 65<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	require.NoError(t, err)
	defer spool.Close()
	_, err = spool.Write(content)
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), "blobs/ab/large.zst", spool, int64(len(content)), false))
	rc, err := s.Get(t.Context(), "blobs/ab/large.zst")
	require.NoError(t, err)
	defer rc.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, rc)
	require.NoError(t, err)
	require.EqualValues(t, len(content), n)
	want := sha256.Sum256(content)
	require.Equal(t, want[:], sum.Sum(nil), "each part has its own bytes")
}

func TestALocationIsParsed(t *testing.T) {
	t.Parallel()
	c, err := s3store.Parse("s3://runs/ci/lanes/?endpoint=127.0.0.1:9000&region=eu&insecure=true")
	require.NoError(t, err)
	require.Equal(t, s3store.Config{Endpoint: "127.0.0.1:9000", Bucket: "runs", Prefix: "ci/lanes", Region: "eu", Insecure: true}, c)
	for location, says := range map[string]string{
		"http://runs":            "it is no location",
		"s3:///ci":               "it names no bucket",
		"s3://runs?colour=red":   "colour=red is unknown",
		"s3://runs?insecure=yes": "insecure=yes is unknown",
		"s3://key:secret@runs":   "keys do not belong into a location; set AWS_ACCESS_KEY_ID",
	} {
		_, err := s3store.Parse(location)
		require.ErrorContains(t, err, says, location)
		require.NotContains(t, err.Error(), "secret@")
		require.Equal(t, verdict.Harness, verdict.Of(err))
	}
}

func TestACancelledListEnds(t *testing.T) {
	t.Parallel()
	s := open(t, serve(t, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.List(ctx, "") {
		require.ErrorIs(t, err, context.Canceled)
	}
}

// The figure is the program's and the server's time together, on one machine. A server elsewhere adds
// its latency for each of the requests.
func BenchmarkListTenThousandRuns(b *testing.B) {
	var requests atomic.Int64
	cfg := serve(b, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			h.ServeHTTP(w, r)
		})
	})
	archivetest.BenchmarkList(b, open(b, cfg), 10_000, &requests)
}
