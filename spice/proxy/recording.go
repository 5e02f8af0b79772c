package proxy

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

// Defaults of Recording.
const (
	DefaultRecordingMaxSession = 256 << 20
	DefaultRecordingMaxTotal   = 4 << 30
	DefaultRecordingMaxAge     = 7 * 24 * time.Hour
)

// maxRecordedMessage limits a message that is recorded, in bytes. It is kept in memory until it is
// complete. An uncompressed picture of 4096×4096 pixels fits, with its description.
const maxRecordedMessage = wire.DefaultMaxBody

// sweepEvery is how often recordings that are too old are deleted.
const sweepEvery = time.Hour

// Names of recordings end with one of these: packedSuffix for the file of a session that is over,
// partialSuffix for the directory of a session that is still recorded, or was when the proxy died.
const (
	packedSuffix  = ".zip"
	partialSuffix = ".partial"
)

// Recording says whether sessions are recorded, and for how long recordings are kept. The zero
// value records nothing.
//
// A recording contains everything that the viewer saw and typed, so its file has mode 0600. It does
// not contain the links of the channels, and so neither token nor ticket. If one appears in a
// message, it is replaced.
type Recording struct {
	// Dir is the directory for recordings, one file per session; empty means that nothing is
	// recorded. [recording.Load] loads them. Only one proxy may use the directory.
	Dir string

	// MaxSession limits what the recording of one session takes, in bytes before it is compressed.
	// At the limit the recording ends, and the session goes on. 0 means DefaultRecordingMaxSession.
	MaxSession int64

	// MaxTotal limits what all recordings in Dir take, in bytes. The oldest are deleted first. If
	// only running recordings are left, those that need more room end. 0 means
	// DefaultRecordingMaxTotal.
	MaxTotal int64

	// MaxAge is how long a recording is kept; 0 means DefaultRecordingMaxAge.
	MaxAge time.Duration
}

func (r *Recording) maxSession() int64     { return cmp.Or(r.MaxSession, DefaultRecordingMaxSession) }
func (r *Recording) maxTotal() int64       { return cmp.Or(r.MaxTotal, DefaultRecordingMaxTotal) }
func (r *Recording) maxAge() time.Duration { return cmp.Or(r.MaxAge, DefaultRecordingMaxAge) }

// errTooLarge says that a recording ended before its session did.
var errTooLarge = errors.New("the recording reached its size limit")

// recordings has all recordings that a proxy makes.
type recordings struct {
	cfg Recording
	log *slog.Logger
	now func() time.Time

	// packing is the context for packing recordings. It ends some seconds after the proxy has
	// ended.
	packing context.Context
	cancel  context.CancelFunc

	mu   sync.Mutex
	live map[string]int64 // bytes of those that are not packed yet, by name
	used int64            // bytes of all others, at the last sweep
}

// newRecordings returns nil if nothing is recorded.
func newRecordings(cfg *Config) (*recordings, error) {
	if cfg.Recording.Dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(cfg.Recording.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("proxy: Config.Recording: %w", err)
	}
	probe, err := os.CreateTemp(cfg.Recording.Dir, ".probe-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		return nil, fmt.Errorf("proxy: Config.Recording: %w", err)
	}
	r := &recordings{cfg: cfg.Recording, log: cfg.logger(), now: cfg.now, live: map[string]int64{}}
	r.packing, r.cancel = context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(0)
	return r, nil
}

// keepSweeping deletes what is too old until ctx ends. Packing may go on for a moment after that.
func (r *recordings) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			time.AfterFunc(patience, r.cancel)
			return
		case <-tick.C:
			r.mu.Lock()
			r.sweep(0)
			r.mu.Unlock()
		}
	}
}

// stored is one recording in the directory.
type stored struct {
	path string
	size int64
	when time.Time
}

// sweep deletes recordings that are too old, and the oldest until need more bytes fit. It reports
// whether they do. r.mu is held.
func (r *recordings) sweep(need int64) bool {
	entries, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		r.log.Error("proxy: recordings cannot be listed", "dir", r.cfg.Dir, "error", err)
		return false
	}
	for _, size := range r.live {
		need += size
	}
	var all []stored
	r.used = 0
	for _, e := range entries {
		if _, live := r.live[strings.TrimSuffix(e.Name(), partialSuffix)]; live ||
			!strings.HasSuffix(e.Name(), packedSuffix) && !strings.HasSuffix(e.Name(), partialSuffix) {
			continue
		}
		s := measure(filepath.Join(r.cfg.Dir, e.Name()))
		all = append(all, s)
		r.used += s.size
	}
	slices.SortFunc(all, func(a, b stored) int { return a.when.Compare(b.when) })
	oldest := r.now().Add(-r.cfg.maxAge())
	for _, s := range all {
		if !s.when.Before(oldest) && r.used+need <= r.cfg.maxTotal() {
			break
		}
		if err := os.RemoveAll(s.path); err != nil {
			r.log.Error("proxy: a recording cannot be deleted", "path", s.path, "error", err)
			continue
		}
		r.log.Info("proxy: recording deleted", "path", s.path, "age", r.now().Sub(s.when))
		r.used -= s.size
	}
	return r.used+need <= r.cfg.maxTotal()
}

// measure returns the size and the time of the last change of a file, or of all in a directory.
func measure(path string) stored {
	s := stored{path: path}
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone
		}
		if info, err := d.Info(); err == nil {
			if !d.IsDir() {
				s.size += info.Size()
			}
			if info.ModTime().After(s.when) {
				s.when = info.ModTime()
			}
		}
		return nil
	})
	return s
}

// reserve reports whether the recording of that name may grow by n bytes.
func (r *recordings) reserve(name string, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := r.used + n
	for _, size := range r.live {
		total += size
	}
	if total > r.cfg.maxTotal() && !r.sweep(n) {
		return false
	}
	r.live[name] += n
	return true
}

// begin starts the recording of a session. Secrets are replaced wherever they appear in it.
func (r *recordings) begin(s *session, secrets []string) (*sessionRecording, error) {
	started := r.now().UTC()
	name := started.Format("20060102T150405Z") + "-" + s.id
	rec, err := recording.NewRecorder(recording.Config{Dir: filepath.Join(r.cfg.Dir, name+partialSuffix), Secrets: secrets, Now: r.now,
		Comments: []string{fmt.Sprintf("session %s of console %q (%s) from %s", s.id, s.name, s.uuid, started.Format(time.RFC3339))}})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[name] = 0
	return &sessionRecording{all: r, rec: rec, name: name}, nil
}

// sessionRecording is the recording of one session.
type sessionRecording struct {
	all  *recordings
	rec  *recording.Recorder
	name string

	full atomic.Bool
}

// file returns the name of the recording when it is complete.
func (s *sessionRecording) file() string { return s.name + packedSuffix }

// hide adds a secret, for messages that follow.
func (s *sessionRecording) hide(secret string) { s.rec.Hide(secret) }

// startTap begins to record a channel, if its session is recorded. offered are the channel
// capabilities that the proxy announced to the client.
func (ch *channel) startTap(request link.Request, offered wire.Caps) {
	s := ch.session.recording
	if s == nil {
		return
	}
	if !s.room(linkLines) {
		s.stop()
		return
	}
	tap := s.rec.Tap(ch.id)
	tap.Linked(wire.LinkInfo{Channel: ch.id, ConnectionID: request.ConnectionID,
		Client: wire.CapSets{Common: request.CommonCaps, Channel: request.ChannelCaps},
		Server: wire.CapSets{Common: offeredCommon, Channel: offered}})
	ch.tap = &boundedTap{Tap: tap, session: s}
}

// linkLines is what the lines about the link of a channel take at most, in bytes.
const linkLines = 1 << 10

// endTap ends the recording of a channel that is over, if there is one. A session may have any
// number of channels, one after the other.
func (ch *channel) endTap() {
	if ch.tap == nil {
		return
	}
	if tap, ok := ch.tap.Tap.(io.Closer); ok {
		_ = tap.Close() // end returns the error
	}
}

// room reports whether the recording may grow by n bytes.
func (s *sessionRecording) room(n int64) bool {
	return s.rec.Size()+n <= s.all.cfg.maxSession() && s.all.reserve(s.name, n)
}

// end ends the recording and packs it. The error is errTooLarge if the recording ended before the
// session did.
func (s *sessionRecording) end() error {
	err := s.rec.Close()
	file := filepath.Join(s.all.cfg.Dir, s.file())
	err = errors.Join(err, recording.Pack(s.all.packing, s.rec.Dir(), file))
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	delete(s.all.live, s.name)
	s.all.sweep(0)
	if err == nil && s.full.Load() {
		err = errTooLarge
	}
	return err
}

// boundedTap records messages until the session's recording is too large.
type boundedTap struct {
	wire.Tap
	session *sessionRecording
}

// Message records a message if there is room for it.
func (t *boundedTap) Message(d wire.Direction, h wire.Header, body []byte) {
	s := t.session
	if s.full.Load() {
		return
	}
	// What the text takes at most: a line before the body, and two letters a byte.
	const line = 128
	need := line + 2*int64(len(body)) + int64(len(body))/32 + 1
	if !s.room(need) {
		s.stop()
		return
	}
	t.Tap.Message(d, h, body)
}

// stop ends the recording, and lets the session go on.
func (s *sessionRecording) stop() {
	if s.full.CompareAndSwap(false, true) {
		// NB: no channel is recorded further alone, because a picture needs the messages of
		// several. end returns the error.
		_ = s.rec.Close()
	}
}

// done reports whether nothing more is recorded.
func (t *boundedTap) done() bool { return t.session.full.Load() }

func (t *boundedTap) stop() { t.session.stop() }

// sink takes the messages of a channel.
type sink interface {
	Message(d wire.Direction, h wire.Header, body []byte)
	done() bool
	stop()
}

// messages gives a sink the messages of a stream that passes in pieces of any size.
type messages struct {
	to   sink
	from wire.Direction
	mini bool
	kept []byte // the start of a message that is not complete

	serial uint64 // of the last message: mini headers have none, and are counted
}

// feed takes the next bytes of the stream.
func (m *messages) feed(b []byte) {
	for len(b) > 0 && !m.to.done() {
		if len(m.kept) == 0 {
			if h, size, ok := m.header(b); ok && size <= int64(len(b)) {
				m.pass(h, b[size-int64(h.Size):size])
				b = b[size:]
				continue
			}
		}
		// Up to the end of the header first: it says how much follows.
		missing := int64(m.headerSize() - len(m.kept))
		if _, size, ok := m.header(m.kept); ok {
			missing = size - int64(len(m.kept))
		}
		n := min(missing, int64(len(b)))
		m.kept, b = append(m.kept, b[:n]...), b[n:]
		h, size, ok := m.header(m.kept)
		switch {
		case !ok:
		case h.Size > maxRecordedMessage:
			m.to.stop()
		case size == int64(len(m.kept)):
			m.pass(h, m.kept[m.headerSize():])
			if m.kept = m.kept[:0]; cap(m.kept) > fromServerBuffer {
				m.kept = nil // pictures are rare
			}
		}
	}
	if m.to.done() {
		m.kept = nil
	}
}

// pass gives a message to the sink.
func (m *messages) pass(h wire.Header, body []byte) {
	if m.serial++; m.mini {
		h.Serial = m.serial
	}
	m.to.Message(m.from, h, body)
}

func (m *messages) headerSize() int {
	if m.mini {
		return wire.MiniHeaderSize
	}
	return wire.FullHeaderSize
}

// header reads the header at the start of b, if b has all of it, and returns the size of the whole
// message.
func (m *messages) header(b []byte) (h wire.Header, size int64, ok bool) {
	if len(b) < m.headerSize() {
		return h, 0, false
	}
	if !m.mini {
		h.Serial = binary.LittleEndian.Uint64(b)
		h.SubList = binary.LittleEndian.Uint32(b[14:])
		b = b[8:]
	}
	h.Type, h.Size = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint32(b[2:])
	return h, int64(m.headerSize()) + int64(h.Size), true
}

// keepOut makes sure that a secret of a channel is in no recording.
func (p *Proxy) keepOut(ch *channel, secret string) {
	switch s := ch.session; {
	case p.recordings == nil:
	case s.recording != nil:
		s.recording.hide(secret)
	case ch.id.Type == wire.ChannelMain:
		s.secrets = append(s.secrets, secret)
	}
}

// record starts the recording of a session whose main channel is linked. A session that cannot be
// recorded goes on, and the audit log says so.
func (p *Proxy) record(ch *channel) {
	if p.recordings == nil {
		return
	}
	r, err := p.recordings.begin(ch.session, ch.session.secrets)
	ch.session.secrets = nil
	if err != nil {
		e := ch.event(EventRecordingEnded)
		e.Channel, e.Reason, e.Err = "", ReasonFailed, err
		p.emit(e)
		return
	}
	ch.session.recording = r
}

// endRecording packs the recording of a session that is over, and emits the event about it.
func (p *Proxy) endRecording(ch *channel) {
	r := ch.session.recording
	if r == nil {
		return
	}
	e := ch.event(EventRecordingEnded)
	e.Channel, e.Recording = "", r.file()
	p.wg.Go(func() {
		switch err := r.end(); {
		case errors.Is(err, errTooLarge):
			e.Reason = ReasonRecordingTooLarge
		case err != nil:
			e.Reason, e.Err = ReasonFailed, err
		}
		p.emit(e)
	})
}
