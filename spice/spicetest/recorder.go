package spicetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// Recorder writes what goes over the channels of a session into a directory,
// one text file each, as it happens. Its Tap fits spice.Config.Tap:
//
//	rec, err := spicetest.NewRecorder(spicetest.RecorderConfig{Dir: dir, Secrets: []string{password}})
//	client, err := spice.Connect(ctx, spice.Config{…, Tap: rec.Tap})
//	…
//	err = rec.Close()
//
// The link and its ticket are not part of a recording, only the capabilities
// are. Secrets are replaced wherever they stand in a message.
type Recorder struct {
	cfg   RecorderConfig
	start time.Time

	mu     sync.Mutex
	open   []*recorded
	used   map[string]int
	errs   []error
	closed bool
}

// RecorderConfig sets a Recorder up. Dir is required.
type RecorderConfig struct {
	// Dir is made if it does not exist. A recording that it holds of an equal
	// channel is overwritten.
	Dir string
	// Secrets are replaced by as many "x" in every body.
	Secrets []string
	// Comments stand in every file: what was recorded, with which options.
	Comments []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// NewRecorder makes the directory.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("spicetest: record: %w", err)
	}
	for _, c := range cfg.Comments {
		if strings.ContainsAny(c, "\r\n") {
			return nil, fmt.Errorf("spicetest: record: the comment %q has more than one line", c)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Recorder{cfg: cfg, start: cfg.Now(), used: map[string]int{}}, nil
}

// Tap is a tap that records one connection of a channel. A second connection of
// the same channel goes into a file of its own.
func (r *Recorder) Tap(id wire.ChannelID) wire.Tap {
	return &recorded{rec: r, link: wire.LinkInfo{Channel: id}}
}

// Close ends the recording and returns what went wrong in it. What comes after
// is not recorded.
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

// fail keeps an error; r.mu is held.
func (r *Recorder) fail(err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("spicetest: record: %w", err))
	}
}

// recorded is one connection.
type recorded struct {
	rec  *Recorder
	link wire.LinkInfo
	file *os.File // nil before the first line
	bad  bool     // a write failed: nothing more is written
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
	now := t.rec.cfg.Now()
	t.rec.mu.Lock()
	defer t.rec.mu.Unlock()
	t.begin()
	m := Recorded{From: d, At: now.Sub(t.rec.start), Header: h, Body: t.rec.redact(body)}
	t.buf = appendMessage(t.buf[:0], t.link.Channel.Type, m)
	t.write()
}

// begin opens the file once; rec.mu is held.
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
	var err error
	if t.file, err = os.Create(filepath.Join(r.cfg.Dir, name+".txt")); err != nil {
		t.bad = true
		r.fail(err)
		return
	}
	r.open = append(r.open, t)
	t.buf = appendHeader(t.buf[:0], t.link, r.cfg.Comments)
	t.write()
}

func (t *recorded) write() {
	if t.file == nil || t.bad || t.rec.closed {
		return
	}
	if _, err := t.file.Write(t.buf); err != nil {
		t.bad = true
		t.rec.fail(err)
	}
	if cap(t.buf) > 1<<20 {
		t.buf = nil
	}
}

// redact replaces secrets. The result is body itself if there is none in it.
func (r *Recorder) redact(body []byte) []byte {
	for _, secret := range r.cfg.Secrets {
		if secret != "" && bytes.Contains(body, []byte(secret)) {
			body = bytes.ReplaceAll(body, []byte(secret), bytes.Repeat([]byte("x"), len(secret)))
		}
	}
	return body
}
