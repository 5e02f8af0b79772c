package replay

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A lane is the content of a lane's directory.
type lane struct {
	dir    string
	head   Head
	events []event
	marks  []mark
	film   *film.Film // nil without one
	stills bool       // the film is made from pictures that the test took
	pics   []picture
	left   []string

	began   time.Time     // when the clock began; zero if that is not known
	machine time.Duration // when QEMU's QMP began; 0 if that is not known
	last    time.Duration // of the timeline
	verdict *verdict.Report
	wait    *waited // the last wait that failed
	thinned int     // number of events that were left out

	keys    []key
	drawn   []time.Duration // the times of frames
	digests []digestRead
	loads   []load
	pointer []pointed

	// The pointer: its states, its shapes, and where these are in the block of pictures.
	where    []pointerAt
	shapes   []shape
	shapesIn [][2]int
	entries  bool // events keep the timeline's entries
}

// An event is one line on a track.
type event struct {
	at    time.Duration
	took  time.Duration
	track string
	text  string
	bad   bool // something went wrong
	spare bool // it can be left out

	kind  string          // of the timeline's entry, if kept; empty for lines of other files
	entry json.RawMessage // that entry
}

// A picture is a file in the directory.
type picture struct {
	at   time.Duration
	name string
	via  string // whose it is, see viaClient
	png  []byte
	in   [2]int // offset and length in the block of pictures
}

// waited is a wait that failed.
type waited struct {
	at, took          time.Duration
	Awaited, Saw, Err string
}

// The sources of pictures. Others are a client that was compared with QEMU ("compared"), and a
// client that connected to QEMU itself ("direct").
const (
	viaClient = "client" // the lane's
	viaQEMU   = "qemu"
)

// Limits for the files that are read, in bytes. Artifacts may be from any source.
const (
	maxLog     = 64 << 20
	maxPicture = 8 << 20
	maxVerdict = 1 << 20
)

// gather reads the files of the lane in dir. The error is that dir is not the directory of a lane;
// what cannot be read is noted in left.
func gather(dir string, o Options) (*lane, error) {
	l := &lane{dir: dir, entries: o.entries}
	if !isLane(dir) {
		return nil, fmt.Errorf("replay: %s has no %s: it is not the directory of a lane", dir, timeline.File)
	}
	l.readVerdict()
	l.readTimeline()
	l.readLogs(o)
	l.readFilm(o)
	if !l.entries { // programs get only what was recorded
		l.derive()
	}
	slices.SortStableFunc(l.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	l.describe()
	return l, nil
}

// lack notes that the page lacks something.
func (l *lane) lack(format string, args ...any) {
	l.left = append(l.left, plain(fmt.Sprintf(format, args...)))
}

// open opens a file of the lane. It returns nil if the file does not exist or cannot be opened.
func (l *lane) open(name string) *os.File {
	if !exists(filepath.Join(l.dir, name)) {
		return nil
	}
	f, err := os.Open(filepath.Join(l.dir, name))
	if err != nil {
		l.lack("%s cannot be read: %v", name, err)
		return nil
	}
	return f
}

func (l *lane) readVerdict() {
	f := l.open(verdict.File)
	if f == nil {
		return
	}
	defer f.Close()
	var r verdict.Report
	if err := json.NewDecoder(io.LimitReader(f, maxVerdict)).Decode(&r); err != nil {
		l.lack("%s cannot be read: %v", verdict.File, err)
		return
	}
	l.verdict = &r
}

func (l *lane) readTimeline() {
	f := l.open(timeline.File)
	if f == nil {
		l.lack("there is no %s", timeline.File)
		return
	}
	defer f.Close()
	left, err := timeline.Read(f, func(e timeline.Entry) error {
		l.add(e)
		return nil
	})
	if err != nil {
		l.lack("%v", err)
	}
	if left.Torn > 0 {
		l.lack("%d line(s) of %s cannot be read: what wrote them was killed", left.Torn, timeline.File)
	}
	if s := left.String(); s != "" {
		l.lack("%s", s)
	}
}

// readLogs reads the logs beside the timeline.
func (l *lane) readLogs(o Options) {
	l.readLog("qemu.log", "qemu", l.machine)
	l.readLog("proxy.log", "proxy", 0)
	l.readLog("client.log", "client", 0)
	l.readLog("supervisor.log", "lane", 0)
	l.readQMP()
	if o.TestOutput != "" {
		// The output's lines have no times. A test prints its failure at the end.
		l.readLines(strings.NewReader(o.TestOutput), "the test's output", "test", l.last)
	}
}

func (l *lane) readLog(name, track string, at time.Duration) {
	f := l.open(name)
	if f == nil {
		return
	}
	defer f.Close()
	l.readLines(io.LimitReader(f, maxLog), name, track, at)
	if st, err := f.Stat(); err == nil && st.Size() > maxLog {
		l.lack("%s is longer than %d MiB: the rest is left out", name, maxLog>>20)
	}
}

// readLines adds the lines of a log. A line without a time gets the time of the line before it; the
// first one gets at.
func (l *lane) readLines(r io.Reader, name, track string, at time.Duration) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadString('\n')
		if text := strings.TrimRight(line, "\r\n"); text != "" {
			if t, rest, ok := wallTime(text); ok && !l.began.IsZero() {
				at, text = t.Sub(l.began), rest
			}
			level := logLevel(text)
			text = strings.TrimPrefix(text, "level=INFO ")
			l.events = append(l.events, event{at: at, track: track, text: plain(text), spare: true, bad: level == "ERROR"})
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.lack("%s: %v", name, err)
			return
		}
	}
}

// wallTime parses the time at the start of a line of log/slog or QEMU. It returns the time, the
// rest of the line, and whether there is a time.
func wallTime(line string) (time.Time, string, bool) {
	word, rest, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
	if len(word) < 20 || word[4] != '-' {
		return time.Time{}, line, false
	}
	t, err := time.Parse(time.RFC3339Nano, word)
	return t, rest, err == nil
}

func logLevel(text string) string {
	level, _, _ := strings.Cut(strings.TrimPrefix(text, "level="), " ")
	if strings.HasPrefix(text, "level=") {
		return level
	}
	return ""
}

// readQMP adds the messages to and from QEMU. Their clock begins with QEMU.
func (l *lane) readQMP() {
	f := l.open("qmp.ndjson")
	if f == nil {
		return
	}
	defer f.Close()
	br := bufio.NewReaderSize(io.LimitReader(f, maxLog), 64<<10)
	torn := 0
	for {
		line, err := br.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var m struct {
				T   *int64          `json:"t_us"`
				Dir string          `json:"dir"`
				Msg json.RawMessage `json:"msg"`
			}
			if json.Unmarshal(line, &m) != nil || m.T == nil {
				torn++
			} else {
				l.qmp(l.machine+time.Duration(*m.T)*time.Microsecond, m.Dir, m.Msg)
			}
		}
		if err != nil {
			break
		}
	}
	if torn > 0 {
		l.lack("%d line(s) of qmp.ndjson cannot be read", torn)
	}
}

func (l *lane) qmp(at time.Duration, dir string, msg json.RawMessage) {
	var m struct {
		QMP *struct {
			Version struct {
				QEMU    struct{ Major, Minor, Micro int } `json:"qemu"`
				Package string                            `json:"package"`
			} `json:"version"`
		} `json:"QMP"`
		Execute   string          `json:"execute"`
		Arguments json.RawMessage `json:"arguments"`
		Event     string          `json:"event"`
		Data      json.RawMessage `json:"data"`
		Error     json.RawMessage `json:"error"`
	}
	known := json.Unmarshal(msg, &m) == nil
	if known && m.QMP != nil {
		v := m.QMP.Version
		l.head.QEMU = plain(strings.TrimSpace(fmt.Sprintf("%d.%d.%d %s", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro, v.Package)))
	}
	text := "→ "
	if dir == "in" {
		text = "← "
	}
	// A row is short, and QEMU's events begin with their time, so show only the essential part.
	switch {
	case known && m.Event != "":
		text += strings.TrimSpace(m.Event + " " + string(m.Data))
	case known && m.Execute != "":
		text += strings.TrimSpace(m.Execute + " " + string(m.Arguments))
	default:
		text += string(msg)
	}
	l.events = append(l.events, event{at: at, track: "qmp", text: plain(text), bad: m.Error != nil, spare: true})
}

// readFilm reads the film and the pictures.
func (l *lane) readFilm(o Options) {
	if f := l.open(film.File); f != nil {
		defer f.Close()
		read, err := film.Read(f)
		if err != nil {
			l.lack("%v", err)
		} else {
			l.film = read
			if !o.LastPicture {
				l.noteFilm()
			}
		}
	}
	// A file that was written several times has only its last picture.
	last := map[string]int{}
	for i, p := range l.pics {
		last[p.name] = i
	}
	kept := l.pics[:0]
	for i, p := range l.pics {
		if last[p.name] != i {
			continue
		}
		if p.png = l.readPicture(p.name); p.png != nil {
			kept = append(kept, p)
		}
	}
	l.pics = kept
	// A client that was killed early leaves a film without pictures.
	if l.film == nil || len(l.film.Frames) == 0 && !l.entries {
		l.makeStills()
	}
	if l.film != nil && o.LastPicture {
		l.film.Frames = lastGroups(l.film.Frames)
	}
}

// makeStills makes a film from the client's pictures, for a client that was not filmed.
func (l *lane) makeStills() {
	var f film.Film
	for _, p := range l.pics {
		cfg, err := png.DecodeConfig(bytes.NewReader(p.png))
		if err != nil || p.via != viaClient || cfg.Width > maxPixels/cfg.Height {
			continue
		}
		size := image.Pt(cfg.Width, cfg.Height)
		f.Frames = append(f.Frames, film.Frame{At: max(p.at, 0), Key: true, Size: size,
			Patches: []film.Patch{{Rect: image.Rectangle{Max: size}, PNG: p.png}}})
	}
	if len(f.Frames) == 0 {
		return
	}
	slices.SortStableFunc(f.Frames, func(a, b film.Frame) int { return cmp.Compare(a.At, b.At) })
	l.film, l.stills = &f, true
}

// noteFilm notes what the film lacks.
func (l *lane) noteFilm() {
	f := l.film
	if f.Torn {
		l.lack("the film ends where its client was killed")
	}
	if f.Left.Frames > 0 {
		l.lack("%d frames before %s are left out of the film: it would have become too large", f.Left.Frames, seconds(f.Left.Before))
	}
}

// lastGroups returns the last key frame of each display and the frames that depend on it.
func lastGroups(frames []film.Frame) []film.Frame {
	from := map[uint8]int{}
	for i, f := range frames {
		if _, any := from[f.Display]; f.Key || f.Gone && !any {
			from[f.Display] = i
		}
	}
	var out []film.Frame
	for i, f := range frames {
		if i >= from[f.Display] {
			out = append(out, f)
		}
	}
	return out
}

// readPicture reads a PNG of the lane. It returns nil if the file is not a readable PNG.
func (l *lane) readPicture(name string) []byte {
	if name != filepath.Base(name) {
		l.lack("the picture %q is not in the lane's directory", name)
		return nil
	}
	path := filepath.Join(l.dir, name)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.lack("the picture %s is not there", name)
		return nil
	case err != nil || !st.Mode().IsRegular() || st.Size() > maxPicture:
		l.lack("the picture %s cannot be shown", name)
		return nil
	}
	b, err := os.ReadFile(path)
	if err == nil {
		_, err = png.DecodeConfig(bytes.NewReader(b))
	}
	if err != nil {
		l.lack("the picture %s cannot be read: %v", name, err)
		return nil
	}
	return b
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
