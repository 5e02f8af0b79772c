package playback

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/replay"
)

// subtitled are the tracks whose events become subtitles, and the word that marks each. Other
// tracks have more events than anyone can read.
var subtitled = map[string]string{
	"lane": "lane", "beat": "beat", "wait": "wait", "fault": "fault", "input": "input",
	"pointer": "input", "serial": "serial",
}

const (
	// readingTime is how long an event without duration is shown.
	readingTime = 2 * time.Second
	// minCue is the shortest time of a subtitle.
	minCue = 100 * time.Millisecond
	// maxCueLines is how many events of a track one subtitle shows. It only counts the others.
	maxCueLines = 4
	// maxCueText is how many characters of an event a subtitle shows.
	maxCueText = 160
)

// A cue is a subtitle.
type cue struct {
	track    string
	from, to time.Duration
	lines    []string
	took     bool // the event has a duration, so later events do not end its subtitle
	more     int  // the number of events that are not among the lines
}

// WriteSubtitles writes the events of the timeline as a WebVTT track for the playback. Each
// subtitle has the event's time on the lane's clock, for finding it on the lane's page.
func (p *Playback) WriteSubtitles(w io.Writer) error {
	var b strings.Builder
	b.WriteString("WEBVTT\n")
	for _, c := range p.cues() {
		fmt.Fprintf(&b, "\n%s --> %s\n%s\n", vttTime(c.from), vttTime(c.to), strings.Join(c.lines, "\n"))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	return nil
}

// cues returns the subtitles in order of time. Events of a track that follow each other too closely
// to be read one by one share a subtitle.
func (p *Playback) cues() []cue {
	var all []*cue
	last := map[string]*cue{}
	for _, e := range p.rec.Events {
		word := subtitled[e.Track]
		shown := p.cut.has(e.At) || p.cut.has(e.At+e.Took)
		if word == "" || e.Kind == "pointer" || e.Kind == "cursor" || isBeginning(e) || !shown {
			continue
		}
		from, to := p.cut.at(e.At), p.cut.at(e.At+e.Took)
		to = min(max(to, from+readingTime), max(p.Length(), from+minCue))
		line := vttText(fmt.Sprintf("%.3f %s: %s", e.At.Seconds(), word, shorten(e.Text)))
		if c := last[e.Track]; c != nil {
			if from < c.from+readingTime/4 {
				c.add(line)
				c.to = max(c.to, to)
				continue
			}
			if !c.took {
				c.to = max(min(c.to, from), c.from+minCue)
			}
		}
		last[e.Track] = &cue{e.Track, from, to, []string{line}, e.Took > 0, 0}
		all = append(all, last[e.Track])
	}
	slices.SortStableFunc(all, func(a, b *cue) int { return cmp.Compare(a.from, b.from) })
	out := make([]cue, len(all))
	for i, c := range all {
		out[i] = *c
	}
	return out
}

// add adds a line to the cue, or only counts it if the cue is full.
func (c *cue) add(line string) {
	if len(c.lines) < maxCueLines {
		c.lines = append(c.lines, line)
		return
	}
	c.more++
	c.lines = append(c.lines[:maxCueLines], fmt.Sprintf("… and %d more", c.more))
}

// isBeginning reports whether an event is the beginning of a beat. Its end has more: the result and
// the duration.
func isBeginning(e replay.Event) bool {
	var f struct {
		At string `json:"at"`
	}
	return e.Kind == "beat" && decode(e, &f) && f.At == "begin"
}

func shorten(s string) string {
	if r := []rune(s); len(r) > maxCueText {
		return string(r[:maxCueText-1]) + "…"
	}
	return s
}

// vttText escapes a text for WebVTT.
func vttText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func vttTime(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}
