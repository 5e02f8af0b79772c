package timeline

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Entry is one line of a timeline.ndjson.
type Entry struct {
	At   time.Duration // since the lane began
	Kind string
	Raw  json.RawMessage // all of it
}

// Decode reads the entry's fields into v.
func (e Entry) Decode(v any) error { return json.Unmarshal(e.Raw, v) }

// LeftOut is what a timeline lacks.
type LeftOut struct {
	// LimitBytes is how large the file was to grow at most, and has; 0 if nothing is left out.
	LimitBytes int64
	// Entries are how many were left out, by kind. They are not known of a writer that was killed.
	Entries map[string]int
	// Torn is the number of lines that are no entries: a killed writer's last.
	Torn int
}

// String is LeftOut in words; empty if nothing is.
func (l LeftOut) String() string {
	if l.LimitBytes == 0 {
		return ""
	}
	s := fmt.Sprintf("the timeline has its limit of %d MiB; left out are ", l.LimitBytes>>20)
	if len(l.Entries) == 0 {
		return s + "frames, serial lines and pointer moves that came later"
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(l.Entries)) {
		kinds = append(kinds, fmt.Sprintf("%d of kind %s", l.Entries[kind], kind))
	}
	return s + strings.Join(kinds, ", ")
}

// Read calls f for every entry of a timeline.ndjson, in the order in which they were written,
// which is not that of their times. It returns what the timeline lacks. An error of f ends it.
func Read(r io.Reader, f func(Entry) error) (LeftOut, error) {
	left := LeftOut{}
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			if ferr := left.entry(line, f); ferr != nil {
				return left, ferr
			}
		}
		if errors.Is(err, io.EOF) {
			return left, nil
		}
		if err != nil {
			return left, fmt.Errorf("timeline: %w", err)
		}
	}
}

func (l *LeftOut) entry(line []byte, f func(Entry) error) error {
	var head struct {
		T       *int64         `json:"t_us"`
		Kind    string         `json:"kind"`
		Limit   int64          `json:"limit_bytes"`
		Entries map[string]int `json:"entries"`
	}
	if json.Unmarshal(line, &head) != nil || head.T == nil || head.Kind == "" {
		l.Torn++
		return nil
	}
	switch head.Kind {
	case KindFull:
		l.LimitBytes = max(l.LimitBytes, head.Limit)
	case KindLeftOut:
		if l.Entries == nil {
			l.Entries = map[string]int{}
		}
		for kind, n := range head.Entries {
			l.Entries[kind] += n
		}
	}
	return f(Entry{At: time.Duration(*head.T) * time.Microsecond, Kind: head.Kind, Raw: slices.Clone(json.RawMessage(line))})
}
