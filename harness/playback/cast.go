package playback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/serial"
)

// serialFile is the log of the serial console in a lane's directory.
const serialFile = "serial.log"

// maxSerial is how much of the console's log is read, in bytes.
const maxSerial = 64 << 20

// ErrNoSerial means that the guest has printed nothing on its serial console.
var ErrNoSerial = errors.New("the guest has printed nothing on its serial console")

// The size of the recorded terminal. A serial console has none, so it is that of a VGA text screen.
const (
	castWidth  = 80
	castHeight = 25
)

// WriteCast writes the serial console of a lane as a terminal recording, in version 2 of
// asciinema's format. It has every byte that the guest printed up to o.To; bytes that are not UTF-8
// become U+FFFD. The times are those of the timeline, which has one for each line: that of its
// first byte. Beats, waits, faults and the verdict are markers. The error matches ErrNoSerial if
// the guest printed nothing.
func WriteCast(w io.Writer, r *replay.Recording, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	lines, err := readConsole(r)
	if err != nil {
		return err
	}
	from, to := o.From, o.To
	if from == 0 {
		from = min(lines[0].at, r.End)
	}
	end := max(r.End, lines[len(lines)-1].at)
	if to == 0 || to > end {
		to = end
	}
	switch {
	case from > to && o.From == 0:
		return &RangeError{fmt.Sprintf("to %v: the guest printed nothing before %v", to, from)}
	case from > to:
		return &RangeError{fmt.Sprintf("from %v: what is known of this lane ends at %v", from, end)}
	}
	var moments []time.Duration
	for _, l := range lines {
		moments = append(moments, l.at)
	}
	c := newCut(o, from, to, moments)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	head := map[string]any{
		"version": 2, "width": castWidth, "height": castHeight, "title": castTitle(r),
	}
	if !r.Began.IsZero() {
		head["timestamp"] = r.Began.Unix()
	}
	if err := enc.Encode(head); err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	put := func(at time.Duration, kind, text string) error {
		seconds := json.Number(fmt.Sprintf("%.6f", c.at(at).Seconds()))
		if err := enc.Encode([]any{seconds, kind, text}); err != nil {
			return fmt.Errorf("playback: %w", err)
		}
		return nil
	}
	marks := castMarks(r)
	for _, l := range lines {
		if l.at > to {
			break
		}
		for len(marks) > 0 && marks[0].At <= l.at {
			if c.has(marks[0].At) {
				if err := put(marks[0].At, "m", marks[0].Text); err != nil {
					return err
				}
			}
			marks = marks[1:]
		}
		// Lines from before the beginning get the time 0, so that they are on the screen at once.
		if err := put(l.at, "o", l.text); err != nil {
			return err
		}
	}
	for _, m := range marks {
		if c.has(m.At) {
			if err := put(m.At, "m", m.Text); err != nil {
				return err
			}
		}
	}
	return nil
}

func castTitle(r *replay.Recording) string {
	return strings.TrimSpace(r.Head.Title() + " (serial console)")
}

// A printed is a text that a guest printed, and when.
type printed struct {
	at   time.Duration
	text string
}

// readConsole returns what the guest printed, line by line.
func readConsole(r *replay.Recording) ([]printed, error) {
	b, err := readRegular(filepath.Join(r.Dir, serialFile))
	if err != nil {
		return nil, err
	}
	// The log splits the bytes into lines as it did when the lane was up.
	log := serial.NewLog(serial.Config{MaxBytes: 2*maxSerial + 1})
	if _, err := log.Write(b); err != nil {
		return nil, fmt.Errorf("playback: %w", err)
	}
	type moment struct {
		at   time.Duration
		n    int
		text string
	}
	var known []moment
	for _, e := range r.Events {
		var f struct {
			N    int    `json:"n"`
			Text string `json:"text"`
		}
		if e.Kind == "serial" && decode(e, &f) {
			known = append(known, moment{e.At, f.N, f.Text})
		}
	}
	var all []printed
	var at time.Duration
	if len(known) > 0 {
		at = known[0].at
	}
	var rest []byte // the beginning of a character in which a very long line was split
	for _, line := range log.Lines() {
		// A line that the timeline does not have, such as a prompt without a newline, gets the time of
		// the previous line.
		for i, k := range known[:min(len(known), lookAhead)] {
			if k.text == inJSON(line.Text) {
				at = k.at
				known = known[i+1:]
				break
			}
		}
		text := append(rest, line.Raw...)
		n := wholeRunes(text)
		all = append(all, printed{at, string(text[:n])})
		rest = bytes.Clone(text[n:])
	}
	if len(rest) > 0 {
		all = append(all, printed{at, string(rest)})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("playback: %w (%s is empty)", ErrNoSerial, serialFile)
	}
	return all, nil
}

// inJSON returns a text as it reads after a round trip through JSON: each byte that is not UTF-8
// has become U+FFFD.
func inJSON(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// wholeRunes returns the length of b without an incomplete character at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

// lookAhead is how many entries of the timeline are searched for a line. The log may lack the lines
// of some entries.
const lookAhead = 64

func readRegular(path string) ([]byte, error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("playback: %w: there is no %s", ErrNoSerial, serialFile)
	case err != nil:
		return nil, fmt.Errorf("playback: %w", err)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("playback: %s is no file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("playback: %w", err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f, maxSerial)); err != nil {
		return nil, fmt.Errorf("playback: %w", err)
	}
	return b.Bytes(), nil
}

// castMarks returns the events that become markers, in order of time.
func castMarks(r *replay.Recording) []replay.Event {
	var all []replay.Event
	for _, e := range r.Events {
		switch e.Kind {
		case "beat", "wait", "fault", "verdict", "lane", "reset":
			if !isBeginning(e) {
				all = append(all, e)
			}
		}
	}
	return all
}

// decode decodes the fields of an entry into v. It returns false if a field has another type.
func decode(e replay.Event, v any) bool { return json.Unmarshal(e.Entry, v) == nil }
