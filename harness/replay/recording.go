package replay

import (
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/film"
)

// A Recording is what a lane left behind, for programs that do not show it as a page.
type Recording struct {
	Dir string
	// Head is the top of the page.
	Head Head
	// Began is when the lane's clock began; zero if that is not known.
	Began time.Time
	// End is the time of the last entry of the timeline.
	End time.Duration
	// Events are in the order of their times. Each text is one line without control characters.
	Events []Event
	// Tracks are the tracks that have events, from top to bottom.
	Tracks []Track
	// Film is nil if there is none. It comes from the page if only that was kept.
	Film *film.Film
}

// An Event is something that happened to a lane.
type Event struct {
	At time.Duration
	// Took is how long it took after At; 0 for most.
	Took  time.Duration
	Track string // the ID of its track
	Text  string
	// Bad means that something went wrong.
	Bad bool
	// Kind is the kind of the timeline's entry, and Entry is the entry itself. Both are empty for
	// lines of other files.
	Kind  string
	Entry json.RawMessage
}

// A Track is a kind of events.
type Track struct{ ID, Name string }

// Read reads what the lane in dir left behind. It returns an error only if there is no lane in dir.
func Read(dir string) (*Recording, error) {
	l, err := gather(dir, Options{entries: true})
	if err != nil {
		return nil, err
	}
	r := &Recording{Dir: dir, Head: l.head, Began: l.began, End: l.last, Film: l.film}
	used := map[string]bool{}
	for _, e := range l.events {
		r.Events = append(r.Events, Event{e.at, e.took, e.track, e.text, e.bad, e.kind, e.entry})
		used[e.track] = true
	}
	for _, t := range tracks {
		if used[t.ID] {
			r.Tracks = append(r.Tracks, Track(t))
		}
	}
	if l.stills {
		r.Film = nil
	}
	if r.Film == nil {
		r.Film = readPageFilm(filepath.Join(dir, File))
	}
	return r, nil
}
