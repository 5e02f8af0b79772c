package viewer

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/internal/fresh"
	"github.com/spicelane/spicelane/spice/control"
)

// A Kind is the kind of an entry.
type Kind string

// The kinds of entries.
const (
	// Serial is a line on the guest's serial console.
	Serial Kind = "serial"
	// Event is an event in the guest's digest.
	Event Kind = "event"
	// Session is the beginning or end of the viewer's own SPICE session.
	Session Kind = "session"
	// Lane is the lane's end.
	Lane Kind = "lane"
)

// An Entry is one thing that happened in a lane.
type Entry struct {
	// N counts entries from 0.
	N int `json:"n"`
	// At is when the viewer saw it.
	At time.Time `json:"at"`
	// Kind says where it comes from.
	Kind Kind `json:"kind"`
	// Name is the name of an event ("keypress"); empty for a serial line.
	Name string `json:"name,omitempty"`
	// Text is for people.
	Text string `json:"text"`
}

// keptEntries is how many entries are kept for late readers.
const keptEntries = 2000

// feed keeps the newest entries and wakes readers that wait for more.
type feed struct {
	mu      sync.Mutex
	entries []Entry
	next    int
	news    chan struct{} // closed by the next wake; nil if nobody waits
}

func (f *feed) add(e Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.N = f.next
	f.next++
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if len(f.entries) == keptEntries {
		f.entries = slices.Delete(f.entries, 0, keptEntries/10)
	}
	f.entries = append(f.entries, e)
	f.wakeLocked()
}

func (f *feed) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakeLocked()
}

func (f *feed) wakeLocked() {
	if f.news != nil {
		close(f.news)
		f.news = nil
	}
}

func (f *feed) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.news == nil {
		f.news = make(chan struct{})
	}
	return f.news
}

func (f *feed) since(from int) ([]Entry, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(max(f.next-from, 0), len(f.entries))
	return slices.Clone(f.entries[len(f.entries)-n:]), f.next
}

// freshEvents returns the events of now that before did not have. A digest shows the newest events,
// so most of them have been shown already.
func freshEvents(before, now *control.Digest) []Entry {
	var seen []json.RawMessage
	if before != nil {
		seen = before.Events
	}
	var out []Entry
	for _, raw := range fresh.After(seen, now.Events, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		out = append(out, eventEntry(raw))
	}
	return out
}

// eventEntry returns an event for people: {"keypress":{"scancode":0,"unicode":"a"}} becomes the
// keypress `scancode=0 unicode="a"`.
func eventEntry(raw json.RawMessage) Entry {
	e := Entry{Kind: Event, Name: "event", Text: string(raw)}
	var named map[string]json.RawMessage
	if json.Unmarshal(raw, &named) != nil || len(named) != 1 {
		return e
	}
	for name, body := range named {
		e.Name, e.Text = name, string(body)
		var fields map[string]json.RawMessage
		if json.Unmarshal(body, &fields) != nil {
			continue
		}
		var keys []string
		for k := range fields {
			keys = append(keys, k)
		}
		// The time comes last: it is the least interesting and the longest.
		slices.SortFunc(keys, func(a, b string) int {
			if ta, tb := a == "timestamp_ms", b == "timestamp_ms"; ta != tb {
				if ta {
					return 1
				}
				return -1
			}
			return strings.Compare(a, b)
		})
		var parts []string
		for _, k := range keys {
			parts = append(parts, strings.TrimSuffix(k, "stamp_ms")+"="+string(fields[k]))
		}
		e.Text = strings.Join(parts, " ")
	}
	return e
}
