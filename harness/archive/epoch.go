package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// An epoch is a file with some runs of an archive: a tar file of the objects as they are stored.
// Unpacking it gives an archive. Its first member, epochFile, lists all others with their hashes.
// Blobs come before records.
const epochFile = "epoch.json"

// epochHead is the content of epoch.json.
type epochHead struct {
	Format  int         `json:"format"`
	Members []epochItem `json:"members"`
}

type epochItem struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the object, not of its content
}

// maxHead limits the list of an epoch's members.
const maxHead = 256 << 20

// InEpoch reports whether the run began in the epoch called name: a year, month or day in UTC
// ("2026", "2026-11", "2026-11-27"). The empty name means all time.
func (r *Record) InEpoch(name string) bool {
	return name == "" || strings.HasPrefix(r.Began.UTC().Format("2006-01-02")+"-", name+"-")
}

// Export writes the runs for which chosen returns true to w, as one tar file. It returns how many
// runs it wrote. The same runs give the same bytes.
func (a *Archive) Export(ctx context.Context, w io.Writer, chosen func(*Record) bool) (int, error) {
	n, err := a.export(ctx, w, chosen)
	return n, a.classify(err)
}

func (a *Archive) export(ctx context.Context, w io.Writer, chosen func(*Record) bool) (int, error) {
	h, err := a.lock(ctx, false) // nothing may be pruned meanwhile
	if err != nil {
		return 0, err
	}
	defer h.release()
	all, err := a.List(ctx)
	if err != nil {
		return 0, err
	}
	pinned, err := a.Pins(ctx)
	if err != nil {
		return 0, err
	}
	last := []string{}
	blobNames := make(map[string]bool)
	n := 0
	for _, r := range all {
		if !chosen(r) {
			continue
		}
		n++
		files, err := a.filesOf(ctx, r)
		if err != nil {
			return 0, err
		}
		blobNames[r.Run.name()], blobNames[r.Files.name()] = true, true
		for _, f := range files {
			blobNames[f.name()] = true
		}
		last = append(last, r.object())
		if pinned[r.ID] {
			last = append(last, pins+r.ID+ext)
		}
	}
	names := []string{formatFile}
	for name := range blobNames {
		names = append(names, name)
	}
	slices.Sort(names[1:])
	slices.Sort(last) // pins/ comes before runs/
	names = append(names, last...)

	head := epochHead{Format: Format}
	for _, name := range names {
		object, err := a.read(ctx, name)
		if err != nil {
			return 0, err
		}
		sum := sha256.Sum256(object)
		head.Members = append(head.Members, epochItem{name, int64(len(object)), hex.EncodeToString(sum[:])})
	}
	list, err := json.Marshal(head)
	if err != nil {
		return 0, err
	}
	t := tar.NewWriter(w)
	member := func(name string, b []byte) error {
		err := t.WriteHeader(&tar.Header{Name: name, Size: int64(len(b)), Mode: 0o644, Format: tar.FormatPAX, ModTime: time.Unix(0, 0)})
		if err == nil {
			_, err = t.Write(b)
		}
		return err
	}
	if err := member(epochFile, list); err != nil {
		return 0, err
	}
	for _, m := range head.Members {
		object, err := a.read(ctx, m.Name)
		if err == nil && int64(len(object)) != m.Bytes {
			err = fmt.Errorf("%s has changed meanwhile", m.Name)
		}
		if err == nil {
			err = intact(m.Name, object)
		}
		if err == nil {
			err = member(m.Name, object)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, t.Close()
}

// intact returns an error if an object is damaged, so that no damage is exported or imported.
func intact(name string, object []byte) error {
	ref, ok := refOf(name)
	if !ok && strings.HasPrefix(name, blobs) {
		return &DamageError{Name: name, Err: errors.New("this is no name of a blob")}
	}
	_, err := unsealBytes(name, object, ref.SHA256)
	return err
}

// Imported says what Import has done. Blobs counts the blobs that were new to the archive.
type Imported struct {
	// Runs are the IDs of new runs; Known are those of runs that the archive had already.
	Runs  []string `json:"runs"`
	Known []string `json:"known"`
	// Renamed maps old IDs to new ones, for runs whose ID another run had.
	Renamed map[string]string `json:"renamed,omitempty"`
	Blobs   int               `json:"blobs"`
}

// Import merges an epoch into the archive. It does not store runs again that the archive has. A
// different run with the same ID gets another ID. If the file is cut off or damaged, none of its
// runs becomes visible.
func (a *Archive) Import(ctx context.Context, r io.Reader) (*Imported, error) {
	done, err := a.imports(ctx, r)
	return done, a.classify(err)
}

func (a *Archive) imports(ctx context.Context, r io.Reader) (*Imported, error) {
	h, err := a.lock(ctx, false)
	if err != nil {
		return nil, err
	}
	defer h.release()
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	t := tar.NewReader(r)
	head, err := readHead(t)
	if err != nil {
		return nil, err
	}
	done := &Imported{Runs: []string{}, Known: []string{}, Renamed: map[string]string{}}
	var records []*Record
	var pinned []string
	for _, m := range head.Members {
		object, err := readMember(t, m)
		if err != nil {
			return nil, err
		}
		if err := intact(m.Name, object); err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(m.Name, blobs):
			ref, _ := refOf(m.Name)
			n, err := a.putBlob(ctx, ref, bytes.NewReader(object), int64(len(object)))
			if err != nil {
				return nil, err
			}
			if n > 0 {
				done.Blobs++
			}
		case strings.HasPrefix(m.Name, runs):
			rec, err := parseRecord(m.Name, object)
			if err != nil {
				return nil, err
			}
			records = append(records, rec)
		case strings.HasPrefix(m.Name, pins):
			pinned = append(pinned, idOf(pins, m.Name))
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the epoch has members that its list does not name, or is cut off: %v", err)
	}
	// The archive has all blobs now, so the runs can become visible.
	for _, rec := range records {
		if err := a.complete(ctx, rec); err != nil {
			return nil, err
		}
	}
	ids := make(map[string]string)
	for _, rec := range records {
		if err := h.check(ctx); err != nil {
			return done, err
		}
		stored, known, err := a.putRecord(ctx, rec)
		if err != nil {
			return done, err
		}
		ids[rec.ID] = stored.ID
		if known {
			done.Known = append(done.Known, stored.ID)
		} else {
			done.Runs = append(done.Runs, stored.ID)
		}
		if stored.ID != rec.ID {
			done.Renamed[rec.ID] = stored.ID
		}
	}
	for _, id := range pinned {
		if ids[id] != "" {
			if err := a.pin(ctx, ids[id]); err != nil {
				return done, err
			}
		}
	}
	a.renewIndex(ctx, h)
	return done, nil
}

// complete returns an error if the archive lacks a blob of the run.
func (a *Archive) complete(ctx context.Context, r *Record) error {
	if _, err := a.store.Stat(ctx, r.Run.name()); err != nil {
		return fmt.Errorf("run %s of the epoch: %w", r.ID, err)
	}
	files, err := a.filesOf(ctx, r)
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := a.store.Stat(ctx, f.name()); err != nil {
			return fmt.Errorf("run %s of the epoch: %s: %w", r.ID, f.Path, err)
		}
	}
	return nil
}

func readHead(t *tar.Reader) (*epochHead, error) {
	h, err := t.Next()
	if err != nil || h.Name != epochFile || h.Size > maxHead {
		return nil, fmt.Errorf("this is no epoch: a tar file whose first member is %s", epochFile)
	}
	b, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("the epoch: %w", err)
	}
	var head epochHead
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("the epoch's list: %w", err)
	}
	if head.Format != Format {
		return nil, fmt.Errorf("the epoch's format is %d, and this program knows format %d", head.Format, Format)
	}
	return &head, nil
}

// readMember reads the next member. It returns an error if that is not m.
func readMember(t *tar.Reader, m epochItem) ([]byte, error) {
	h, err := t.Next()
	if err != nil {
		return nil, fmt.Errorf("the epoch ends before %s: %w", m.Name, err)
	}
	if h.Name != m.Name || h.Size != m.Bytes || !fs.ValidPath(m.Name) {
		return nil, fmt.Errorf("the epoch has %q where its list has %q", h.Name, m.Name)
	}
	object, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("the epoch: %s: %w", m.Name, err)
	}
	if sum := sha256.Sum256(object); hex.EncodeToString(sum[:]) != m.SHA256 {
		return nil, &DamageError{Name: m.Name, Err: errors.New("the epoch has other bytes than its list says")}
	}
	return object, nil
}

// ExportFile is Export to a file. The file appears only when it is complete.
func (a *Archive) ExportFile(ctx context.Context, file string, chosen func(*Record) bool) (int, error) {
	n := 0
	err := atomicfile.Fill(file, 0o644, func(f *os.File) (err error) {
		if n, err = a.Export(ctx, f, chosen); err != nil {
			return err
		}
		return f.Sync()
	})
	return n, verdict.Classify("export", err)
}
