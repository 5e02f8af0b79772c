package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Source is a run that has ended.
type Source struct {
	Run *result.Run
	// Files has the run's evidence. The paths in Run are relative to its root.
	Files fs.FS
	// AllowMissing leaves out evidence that is not in Files. Without it, missing evidence is an error.
	AllowMissing bool
}

// Added says what Add has done.
type Added struct {
	Record *Record
	// Known means that the archive had the run already.
	Known bool
	// Stored counts the contents that were new to the archive; StoredBytes is their compressed size.
	// Shared counts the contents that the archive had already.
	Stored, Shared int
	StoredBytes    int64
	// Missing lists the paths of the evidence that was left out.
	Missing []string
}

// Add stores a run: all of it or, with an error, nothing that a reader sees. It does not store a
// run again that the archive has. A different run with the same ID gets an ID with a suffix.
func (a *Archive) Add(ctx context.Context, src Source) (*Added, error) {
	added, err := a.add(ctx, src)
	if err != nil {
		return nil, a.classify(err)
	}
	return added, nil
}

func (a *Archive) add(ctx context.Context, src Source) (*Added, error) {
	if !idWords.MatchString(src.Run.ID) {
		return nil, fmt.Errorf("the run's id %q is no file name", src.Run.ID)
	}
	runJSON, err := src.Run.Encode()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", src.Run.ID, err)
	}
	h, err := a.lock(ctx, false)
	if err != nil {
		return nil, err
	}
	defer h.release()
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	added := &Added{Record: summarise(src.Run)}
	files, err := a.addFiles(ctx, src, added)
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	rec := added.Record
	for _, b := range []struct {
		content []byte
		ref     *Ref
	}{{runJSON, &rec.Run}, {list, &rec.Files}} {
		if *b.ref, err = a.putBytes(ctx, b.content, added); err != nil {
			return nil, err
		}
	}
	rec.Bytes = int64(len(runJSON))
	for _, f := range files {
		rec.Bytes += f.Bytes
	}
	if err := h.check(ctx); err != nil {
		return nil, err
	}
	added.Record, added.Known, err = a.putRecord(ctx, rec)
	if err != nil {
		return nil, err
	}
	if !added.Known && indexNow(added.Record.ID) {
		a.renewIndex(ctx, h)
	}
	return added, nil
}

// begin marks the store as an archive.
func (a *Archive) begin(ctx context.Context) error {
	if _, err := a.store.Stat(ctx, formatFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	object, _ := sealed(fmt.Appendf(nil, "{\"format\":%d}\n", Format))
	err := a.store.Put(ctx, formatFile, bytes.NewReader(object), int64(len(object)), true)
	if errors.Is(err, fs.ErrExist) {
		return nil // another writer was faster
	}
	return err
}

// putRecord makes a run visible. If another run has the ID, the record's ID gets a suffix made from
// its content. So the same run is never stored twice, whichever of the two IDs it has here and in
// the archive that it comes from.
func (a *Archive) putRecord(ctx context.Context, rec *Record) (stored *Record, known bool, err error) {
	same := func(id string) (*Record, error) {
		there, err := a.Record(ctx, id)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (there.Run != rec.Run || there.Files != rec.Files) {
			return nil, nil
		}
		return there, err
	}
	suffix := "~" + rec.Run.SHA256[:8] + rec.Files.SHA256[:8]
	first := strings.TrimSuffix(rec.ID, suffix)
	for _, id := range []string{first, first + suffix} {
		if there, err := same(id); err != nil || there != nil {
			return there, there != nil, err
		}
	}
	ids := []string{rec.ID}
	if !strings.Contains(rec.ID, "~") { // otherwise it has been renamed before
		ids = append(ids, rec.ID+suffix)
	}
	for _, id := range ids {
		r := *rec
		r.ID = id
		object, err := r.encode()
		if err != nil {
			return nil, false, err
		}
		err = a.store.Put(ctx, r.object(), bytes.NewReader(object), int64(len(object)), true)
		if !errors.Is(err, fs.ErrExist) {
			return &r, false, err
		}
		if there, err := same(id); err != nil || there != nil { // another writer was faster
			return there, there != nil, err
		}
	}
	return nil, false, fmt.Errorf("two different runs are called %s", rec.ID)
}

// addFiles stores the run's evidence.
func (a *Archive) addFiles(ctx context.Context, src Source, added *Added) ([]File, error) {
	seen := make(map[string]bool)
	var names []string
	for i := range src.Run.Cells {
		for _, at := range src.Run.Cells[i].Attempts {
			for _, e := range at.Evidence {
				if !seen[e.Path] {
					seen[e.Path] = true
					names = append(names, e.Path)
				}
			}
		}
	}
	slices.Sort(names)
	type stored struct {
		file    File
		bytes   int64
		missing bool
	}
	all := make([]stored, len(names))
	var once claims
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4) // each compresses on one core and spools to a file
	for i, name := range names {
		g.Go(func() error {
			ref, n, err := a.putFile(gctx, src.Files, name, &once)
			if errors.Is(err, fs.ErrNotExist) && isMissing(src.Files, name) {
				if !src.AllowMissing {
					return &verdict.Error{Verdict: verdict.Harness, Op: "run " + src.Run.ID,
						Err: fmt.Errorf("its evidence %s is not there: %w", name, err), Hint: "--allow-missing leaves it out"}
				}
				all[i].missing = true
				return nil
			}
			all[i].file, all[i].bytes = File{Path: name, Ref: ref}, n
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	files := []File{}
	for i, s := range all {
		if s.missing {
			added.Missing = append(added.Missing, names[i])
			continue
		}
		added.count(s.bytes)
		files = append(files, s.file)
	}
	return files, nil
}

func isMissing(files fs.FS, name string) bool {
	if files == nil {
		return true
	}
	_, err := fs.Stat(files, name)
	return errors.Is(err, fs.ErrNotExist)
}

// count counts a content for which n bytes were stored; 0 means that the archive had it.
func (d *Added) count(n int64) {
	if n == 0 {
		d.Shared++
		return
	}
	d.Stored++
	d.StoredBytes += n
}

// putFile stores a file and returns how many bytes it stored; 0 if the archive had the content.
func (a *Archive) putFile(ctx context.Context, files fs.FS, name string, once *claims) (Ref, int64, error) {
	if files == nil {
		return Ref{}, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := files.Open(name)
	if err != nil {
		return Ref{}, 0, err
	}
	defer f.Close()
	spool, err := os.CreateTemp("", "spicelane-archive-*")
	if err != nil {
		return Ref{}, 0, err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return Ref{}, 0, err
	}
	sum, size, err := seal(spool, f)
	if err != nil {
		return Ref{}, 0, fmt.Errorf("%s: %w", name, err)
	}
	ref := Ref{SHA256: sum, Bytes: size}
	if !once.claim(sum) {
		return ref, 0, nil
	}
	n, err := spool.Seek(0, io.SeekEnd)
	if err != nil {
		return ref, 0, err
	}
	n, err = a.putBlob(ctx, ref, spool, n)
	return ref, n, err
}

// claims are the contents that one Add has taken on, so that it does not store one of them twice.
type claims struct {
	mu    sync.Mutex
	taken map[string]bool
}

// claim reports whether the caller is the first one with this content.
func (c *claims) claim(sum string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken[sum] {
		return false
	}
	if c.taken == nil {
		c.taken = make(map[string]bool)
	}
	c.taken[sum] = true
	return true
}

// putBytes stores a content.
func (a *Archive) putBytes(ctx context.Context, b []byte, added *Added) (Ref, error) {
	object, sum := sealed(b)
	ref := Ref{SHA256: sum, Bytes: int64(len(b))}
	n, err := a.putBlob(ctx, ref, bytes.NewReader(object), int64(len(object)))
	added.count(n)
	return ref, err
}

// putBlob stores an object unless the store has the content. It returns how many bytes it stored.
func (a *Archive) putBlob(ctx context.Context, ref Ref, object io.ReaderAt, n int64) (int64, error) {
	_, err := a.store.Stat(ctx, ref.name())
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return n, a.store.Put(ctx, ref.name(), object, n, false)
}

// Extra adds to a run what its directory does not say.
type Extra struct {
	// Labels are added to the run's own labels. [Select] finds runs by them.
	Labels map[string]string
	// Identity says what was tested. Surroundings says what may have influenced it, such as the
	// host's class. They apply only to cells that have none themselves, such as those of go test.
	Identity, Surroundings map[string]string
}

// ReadDir reads the run in a directory: one that spicelane run wrote, or one with streams of
// go test -json, such as make test writes.
func ReadDir(dir string, extra Extra) (Source, error) {
	read := readGoTest
	if _, err := os.Stat(path.Join(dir, result.File)); err == nil {
		read = result.Read
	}
	run, err := read(dir)
	if err != nil {
		return Source{}, err
	}
	extra.addTo(run)
	return Source{Run: run, Files: os.DirFS(dir)}, nil
}

func (e Extra) addTo(r *result.Run) {
	if r.Labels == nil && e.Labels != nil {
		r.Labels = make(map[string]string)
	}
	maps.Copy(r.Labels, e.Labels)
	fill := func(identity, surroundings *map[string]string) {
		if len(*identity) == 0 {
			*identity = e.Identity
		}
		if len(*surroundings) == 0 {
			*surroundings = e.Surroundings
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		fill(&c.Identity, &c.Surroundings)
		for j := range c.Attempts {
			fill(&c.Attempts[j].Identity, &c.Attempts[j].Surroundings)
		}
	}
}
