package viewer

import (
	"image"
	"time"

	"github.com/spicelane/spicelane/spice/control"
)

// Exports for the external tests of this package.

var AddRect = addRect

const MaxRects = maxRects

func FreshEvents(before, now *control.Digest) []Entry { return freshEvents(before, now) }

// A Latency is a latency with exported methods.
type Latency struct{ l latency }

func (l *Latency) Pressed(at time.Time)         { l.l.pressed(at) }
func (l *Latency) Drawn(at time.Time)           { l.l.drawn(at) }
func (l *Latency) Shown(at time.Time)           { l.l.shown(at) }
func (l *Latency) OtherPressed(us int64)        { l.l.otherPressed(us) }
func (l *Latency) OtherDrawn(us int64)          { l.l.otherDrawn(us) }
func (l *Latency) Sums() (Latencies, Latencies) { return l.l.sums() }

// Lines splits bytes as a timeline is split.
func Lines(chunks ...string) []string {
	var lines []string
	w := &lineWriter{line: func(b []byte) { lines = append(lines, string(b)) }}
	for _, c := range chunks {
		_, _ = w.Write([]byte(c))
	}
	return lines
}

func AfterNewline(chunks ...string) string {
	var out stringWriter
	w := &afterNewline{w: &out}
	for _, c := range chunks {
		_, _ = w.Write([]byte(c))
	}
	return string(out)
}

type stringWriter []byte

func (s *stringWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

func Covers(rs []image.Rectangle, r image.Rectangle) bool {
	for _, o := range rs {
		if r.In(o) {
			return true
		}
	}
	return false
}
