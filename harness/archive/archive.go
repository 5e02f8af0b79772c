package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Format is the version of the layout and of records.
const Format = 1

const (
	formatFile = "archive.zst"
	runs       = "runs/"
	blobs      = "blobs/"
	pins       = "pins/"
	ext        = ".zst"
)

// parallel limits how many calls to the store run at once.
const parallel = 16

// Options configure Open. The zero value is useful.
type Options struct {
	// Lease is how long a lock outlives a process that has vanished; zero means DefaultLease.
	Lease time.Duration
	// Now returns the time; nil means time.Now. It is for tests.
	Now func() time.Time
}

// An Archive is an open archive. Its methods may be called concurrently.
type Archive struct {
	store Store
	lease time.Duration
	now   func() time.Time
}

// Open opens the archive in a store. An empty store is an empty archive. Open fails if the store
// has anything else in it, or an archive of another format.
func Open(ctx context.Context, s Store, opt Options) (*Archive, error) {
	a := &Archive{store: Retrying(s), lease: cmp.Or(opt.Lease, DefaultLease), now: opt.Now}
	if a.now == nil {
		a.now = time.Now
	}
	object, err := a.read(ctx, formatFile)
	if errors.Is(err, fs.ErrNotExist) {
		for o, err := range a.store.List(ctx, "") {
			if err != nil {
				return nil, a.classify(err)
			}
			if !a.ours(o.Name) {
				return nil, a.errorf("it is no archive: it has %s; choose an empty or a new place", o.Name)
			}
		}
		return a, nil
	}
	if err != nil {
		return nil, verdict.Classify("", err)
	}
	b, err := unsealBytes(formatFile, object, "")
	if err != nil {
		return nil, a.errorf("%w", err)
	}
	var f struct{ Format int }
	if err := json.Unmarshal(b, &f); err != nil || f.Format != Format {
		return nil, a.errorf("its format is %s, and this program knows format %d", strings.TrimSpace(string(b)), Format)
	}
	return a, nil
}

// Location returns where the archive is, for messages.
func (a *Archive) Location() string { return a.store.Location() }

// ours reports whether an object of this name can be part of an archive.
func (a *Archive) ours(name string) bool {
	return name == formatFile || name == indexFile || strings.HasPrefix(name, runs) || strings.HasPrefix(name, blobs) ||
		strings.HasPrefix(name, pins) || strings.HasPrefix(name, locks)
}

// errorf returns a Harness error about the archive.
func (a *Archive) errorf(format string, args ...any) error {
	return &verdict.Error{Verdict: verdict.Harness, Op: "archive " + a.store.Location(), Err: fmt.Errorf(format, args...)}
}

// classify gives an error of the store a verdict.
func (a *Archive) classify(err error) error {
	return verdict.Classify("archive "+a.store.Location(), err)
}

// A formatError says that an object has another format, such as one of a later program.
type formatError struct {
	name   string
	format int
}

func (e *formatError) Error() string {
	return fmt.Sprintf("%s: its format is %d, and this program knows format %d", e.name, e.format, Format)
}

// A Ref names a blob. SHA256 and Bytes are those of its content, before compression.
type Ref struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

func (r Ref) name() string { return blobs + r.SHA256[:2] + "/" + r.SHA256 + ext }

// refOf returns the blob whose object has this name, without its size. If the name is not that of a
// blob, ok is false and the Ref is empty.
func refOf(name string) (r Ref, ok bool) {
	r.SHA256 = strings.TrimSuffix(path.Base(name), ext)
	if !hexSum.MatchString(r.SHA256) || r.name() != name {
		return Ref{}, false
	}
	return r, true
}

// idOf returns the ID of the run whose record or pin has this name in the directory dir; empty if
// the name is not in dir.
func idOf(dir, name string) string {
	id, ok := strings.CutPrefix(strings.TrimSuffix(name, ext), dir)
	if !ok {
		return ""
	}
	return id
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// A File is a file of a run.
type File struct {
	// Path is relative to the run's directory, with slashes.
	Path string `json:"path"`
	Ref
}

// A Record is the summary of a run.
type Record struct {
	Format int `json:"format"`
	// ID names the run in the archive. It is the ID in run.json. If two different runs have the same
	// ID, the second one's gets a suffix.
	ID     string            `json:"id"`
	Plan   string            `json:"plan"`
	Began  time.Time         `json:"began"`
	TookMS int64             `json:"took_ms"`
	Labels map[string]string `json:"labels,omitempty"`

	Outcome result.Outcome         `json:"outcome"`
	Verdict verdict.Kind           `json:"verdict,omitempty"`
	Cells   map[result.Outcome]int `json:"cells"`

	// Build is what the run tested (see the function [Build]), and Key is its key.
	Build map[string]string `json:"build,omitempty"`
	Key   string            `json:"key,omitempty"`
	// Identities are the keys of the cells' identities, sorted; nil if there are more than 64.
	Identities []string `json:"identities,omitempty"`

	// Run is the blob with run.json. Files is the blob with the list of files, a JSON array of File.
	Run   Ref `json:"run"`
	Files Ref `json:"files"`
	// Bytes is the size of run.json and of all files, before compression.
	Bytes int64 `json:"bytes"`
}

// maxIdentities limits a record's size, because a list of all runs reads all records.
const maxIdentities = 64

// idWords matches valid IDs. An ID is part of the names of objects and files.
var idWords = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~+-]{0,199}$`)

// summarise returns the record of a run without its blobs.
func summarise(r *result.Run) *Record {
	rec := &Record{Format: Format, ID: r.ID, Plan: r.Plan.Name, Began: r.Began, TookMS: r.TookMS, Labels: r.Labels,
		Outcome: r.Outcome, Verdict: r.Verdict, Cells: map[result.Outcome]int{}, Build: Build(r)}
	rec.Key = Key(rec.Build)
	keys := make(map[string]bool)
	for i := range r.Cells {
		rec.Cells[r.Cells[i].Outcome]++
		if k := Key(r.Cells[i].Identity); k != "" {
			keys[k] = true
		}
	}
	if len(keys) <= maxIdentities {
		for k := range keys {
			rec.Identities = append(rec.Identities, k)
		}
		slices.Sort(rec.Identities)
	}
	return rec
}

func (r *Record) object() string { return runs + r.ID + ext }

// encode returns the record as an object. The same run always gives the same bytes.
func (r *Record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	object, _ := sealed(append(b, '\n'))
	return object, nil
}

// parseRecord returns the record in an object.
func parseRecord(name string, object []byte) (*Record, error) {
	b, err := unsealBytes(name, object, "")
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, &DamageError{Name: name, Err: err}
	}
	switch {
	case r.Format != Format:
		return nil, &formatError{name, r.Format}
	case r.object() != name:
		return nil, &DamageError{Name: name, Err: fmt.Errorf("it is the record of run %s", r.ID)}
	case !idWords.MatchString(r.ID):
		return nil, &DamageError{Name: name, Err: fmt.Errorf("%q is no run's id", r.ID)}
	case !hexSum.MatchString(r.Run.SHA256) || !hexSum.MatchString(r.Files.SHA256):
		return nil, &DamageError{Name: name, Err: errors.New("it does not name run.json and files")}
	}
	return &r, nil
}

// Record returns the record of a run. If there is no such run, the error matches fs.ErrNotExist.
func (a *Archive) Record(ctx context.Context, id string) (*Record, error) {
	if !idWords.MatchString(id) {
		return nil, a.errorf("%q is no run's id", id)
	}
	name := runs + id + ext
	object, err := a.read(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, a.errorf("there is no run %s: %w", id, fs.ErrNotExist)
	}
	if err != nil {
		return nil, verdict.Classify("", err)
	}
	r, err := parseRecord(name, object)
	if err != nil {
		return nil, a.errorf("%w", err)
	}
	return r, nil
}

// List returns the records of all runs, newest first. If some records cannot be read, it returns
// the others along with the error.
func (a *Archive) List(ctx context.Context) ([]*Record, error) {
	var all []*Record
	var bad []error
	for _, r := range a.records(ctx, a.readIndex(ctx)) {
		if r.err != nil {
			if ctx.Err() != nil {
				return nil, verdict.Classify("", ctx.Err())
			}
			bad = append(bad, r.err)
			continue
		}
		all = append(all, r.Record)
	}
	slices.SortFunc(all, func(x, y *Record) int {
		return cmp.Or(y.Began.Compare(x.Began), cmp.Compare(y.ID, x.ID))
	})
	if len(bad) > 0 {
		return all, a.errorf("%w", errors.Join(bad...))
	}
	return all, nil
}

// readRecord is a record, or the error of reading it, and the version of its object.
type readRecord struct {
	*Record
	version string
	err     error
}

// records yields the record in each object of runs/. It does not read those that known has copies
// of. An error without a name is an error of the listing.
func (a *Archive) records(ctx context.Context, known map[string]indexed) iter.Seq2[string, readRecord] {
	return func(yield func(string, readRecord) bool) {
		var names []string
		var read []readRecord
		for o, err := range a.store.List(ctx, runs) {
			if err != nil {
				yield("", readRecord{err: err})
				return
			}
			r := readRecord{version: o.Version}
			if copied := known[o.Name]; o.Version != "" && copied.Version == o.Version {
				r.Record = copied.Record
			}
			names, read = append(names, o.Name), append(read, r)
		}
		var g errgroup.Group
		g.SetLimit(parallel)
		for i, name := range names {
			if read[i].Record != nil {
				continue
			}
			g.Go(func() error {
				object, err := a.read(ctx, name)
				if err == nil {
					read[i].Record, err = parseRecord(name, object)
				}
				read[i].err = err
				return nil
			})
		}
		_ = g.Wait()
		for i, name := range names {
			if errors.Is(read[i].err, fs.ErrNotExist) {
				continue // it has been deleted meanwhile
			}
			if !yield(name, read[i]) {
				return
			}
		}
	}
}

// Run returns the content of a run's run.json, with the ID that the run has in the archive.
func (a *Archive) Run(ctx context.Context, id string) (*result.Run, error) {
	rec, err := a.Record(ctx, id)
	if err != nil {
		return nil, err
	}
	return a.runOf(ctx, rec)
}

func (a *Archive) runOf(ctx context.Context, rec *Record) (*result.Run, error) {
	b, err := a.blob(ctx, rec.Run)
	if err != nil {
		return nil, err
	}
	r, err := result.Parse(b)
	if err != nil {
		return nil, a.errorf("run %s: %w", rec.ID, err)
	}
	r.ID = rec.ID
	return r, nil
}

// Files returns the list of a run's files, sorted by path.
func (a *Archive) Files(ctx context.Context, id string) ([]File, error) {
	rec, err := a.Record(ctx, id)
	if err != nil {
		return nil, err
	}
	return a.filesOf(ctx, rec)
}

func (a *Archive) filesOf(ctx context.Context, rec *Record) ([]File, error) {
	b, err := a.blob(ctx, rec.Files)
	if err != nil {
		return nil, err
	}
	files, err := parseFiles(b)
	if err != nil {
		return nil, a.errorf("run %s: %w", rec.ID, err)
	}
	return files, nil
}

// parseFiles parses a list of files.
func parseFiles(b []byte) ([]File, error) {
	var files []File
	if err := json.Unmarshal(b, &files); err != nil {
		return nil, err
	}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || strings.Contains(f.Path, "\\") || !hexSum.MatchString(f.SHA256) {
			return nil, fmt.Errorf("its list of files has %q with sha256 %q", f.Path, f.SHA256)
		}
	}
	return files, nil
}

// OpenFile opens a file of a run. At the end of the file, Read checks its content against its hash;
// if they differ, Read returns a *DamageError instead of io.EOF.
func (a *Archive) OpenFile(ctx context.Context, f File) (io.ReadCloser, error) {
	rc, err := a.store.Get(ctx, f.name())
	if err == nil {
		rc, err = unseal(f.name(), rc, f.SHA256)
	}
	if err != nil {
		return nil, a.errorf("%s: %w", f.Path, err)
	}
	return rc, nil
}

// blob returns the content of a blob.
func (a *Archive) blob(ctx context.Context, ref Ref) ([]byte, error) {
	object, err := a.read(ctx, ref.name())
	if err != nil {
		return nil, verdict.Classify("", err)
	}
	b, err := unsealBytes(ref.name(), object, ref.SHA256)
	if err != nil {
		return nil, a.errorf("%w", err)
	}
	return b, nil
}
