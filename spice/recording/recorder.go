package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// Recorder writes the conversation of one session into a directory as it happens, one text file per
// channel. Make it with [NewRecorder]; its Tap fits spice.Config.Tap.
type Recorder struct {
	cfg   Config
	start time.Time

	mu     sync.Mutex
	open   []*recorded
	names  []string // of the files made, in that order
	used   map[string]int
	size   int64
	errs   []error
	closed bool
}

// Config configures a Recorder. Dir is required.
type Config struct {
	// Dir is created if necessary. It must not contain a recording: the files of two sessions could
	// not be told apart.
	Dir string
	// Secrets are replaced by the same number of "x" in all messages. A secret of fewer than six
	// bytes is not replaced in pixels and sound, where it occurs by chance.
	Secrets []string
	// Comments are written to every file: what was recorded, with which options.
	Comments []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// NewRecorder creates the directory and checks that it is writable.
func NewRecorder(cfg Config) (*Recorder, error) {
	for _, c := range cfg.Comments {
		if strings.ContainsAny(c, "\r\n") {
			return nil, fmt.Errorf("recording: the comment %q has more than one line", c)
		}
	}
	// NB: the contents of a session are private to its user.
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	// NB: the directory's own name may have characters of patterns.
	held, err := fs.Glob(os.DirFS(cfg.Dir), "*.txt*")
	if err != nil {
		return nil, fmt.Errorf("recording: %s: %w", cfg.Dir, err)
	}
	if len(held) > 0 {
		return nil, fmt.Errorf("recording: %s holds a recording already (%s): name another directory", cfg.Dir, held[0])
	}
	probe, err := os.CreateTemp(cfg.Dir, ".recording-*")
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Recorder{cfg: cfg, start: cfg.Now(), used: map[string]int{}}, nil
}

// Tap returns a tap that records one connection of a channel. A second connection of the same
// channel gets a separate file. The tap is an [io.Closer]: if the connection ends long before the
// recording, Close frees its file.
func (r *Recorder) Tap(id wire.ChannelID) wire.Tap {
	return &recorded{rec: r, link: wire.LinkInfo{Channel: id}}
}

// Hide adds a secret to Config.Secrets, for messages to come.
func (r *Recorder) Hide(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg.Secrets = append(slices.Clip(r.cfg.Secrets), secret)
}

// Dir returns the directory that the files are in.
func (r *Recorder) Dir() string { return r.cfg.Dir }

// Files returns the names of the files in Dir, sorted.
func (r *Recorder) Files() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.names))
}

// Size returns how many bytes have been written.
func (r *Recorder) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}

// Close ends the recording and returns the errors since its beginning. Later messages are not
// recorded. Further calls return the same errors.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.Join(r.errs...)
	}
	r.closed = true
	for _, t := range r.open {
		r.fail(t.file.Close())
	}
	return errors.Join(r.errs...)
}

// fail records an error; the caller holds r.mu.
func (r *Recorder) fail(err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("recording: %w", err))
	}
}

// recorded is one connection.
type recorded struct {
	rec  *Recorder
	link wire.LinkInfo
	file *os.File // nil before the first line
	bad  bool     // nothing more is written, because a write failed or the connection has ended
	buf  []byte
}

// Linked writes the headers.
func (t *recorded) Linked(info wire.LinkInfo) {
	t.rec.mu.Lock()
	defer t.rec.mu.Unlock()
	t.link = info
	t.begin()
}

// Message writes a message.
func (t *recorded) Message(d wire.Direction, h wire.Header, body []byte) {
	t.rec.mu.Lock()
	defer t.rec.mu.Unlock()
	if t.begin(); t.file == nil || t.bad || t.rec.closed {
		return
	}
	m := Message{From: d, At: t.rec.cfg.Now().Sub(t.rec.start), Header: h, Body: t.rec.redact(t.link.Channel.Type, body)}
	t.buf = appendMessage(t.buf[:0], t.link.Channel.Type, m)
	t.write()
}

// Close ends the recording of the connection. The error is also one of the Recorder's.
func (t *recorded) Close() error {
	r := t.rec
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.open, t)
	if i < 0 || r.closed {
		return nil
	}
	r.open = slices.Delete(r.open, i, i+1)
	t.bad = true // nothing more is written
	err := t.file.Close()
	r.fail(err)
	return err
}

// begin opens the file once; the caller holds rec.mu.
func (t *recorded) begin() {
	r := t.rec
	if t.file != nil || t.bad || r.closed {
		return
	}
	name := fmt.Sprintf("%s-%d", t.link.Channel.Type, t.link.Channel.ID)
	r.used[name]++
	if n := r.used[name]; n > 1 {
		name = fmt.Sprintf("%s.%d", name, n)
	}
	name += ".txt"
	var err error
	if t.file, err = os.OpenFile(filepath.Join(r.cfg.Dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
		t.bad = true
		r.fail(err)
		return
	}
	r.names = append(r.names, name)
	r.open = append(r.open, t)
	t.buf = appendHeader(t.buf[:0], t.link, r.cfg.Comments)
	t.write()
}

// write writes buf; the caller holds rec.mu.
func (t *recorded) write() {
	n, err := t.file.Write(t.buf)
	t.rec.size += int64(n)
	if err != nil {
		t.bad = true
		t.rec.fail(err)
	}
	if cap(t.buf) > 1<<20 {
		t.buf = nil
	}
}

// minAnywhere is the length from which a secret is also replaced in pixels and sound. Six given
// bytes occur in a gigabyte by chance once in 300,000 times. Three bytes occur everywhere, and
// replacing them would spoil the picture.
const minAnywhere = 6

// redact replaces secrets; the caller holds rec.mu. It returns body itself if it contains none.
func (r *Recorder) redact(channel wire.ChannelType, body []byte) []byte {
	raw := channel == wire.ChannelDisplay || channel == wire.ChannelCursor ||
		channel == wire.ChannelPlayback || channel == wire.ChannelRecord
	for _, secret := range r.cfg.Secrets {
		if secret == "" || raw && len(secret) < minAnywhere {
			continue
		}
		if bytes.Contains(body, []byte(secret)) {
			body = bytes.ReplaceAll(body, []byte(secret), bytes.Repeat([]byte("x"), len(secret)))
		}
	}
	return body
}
