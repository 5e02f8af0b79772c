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

// An Entry is one line of a timeline.ndjson.
type Entry struct {
	At   time.Duration // since the lane's start
	Kind string
	Raw  json.RawMessage // the whole line
}

// Decode decodes the entry's fields into v.
func (e Entry) Decode(v any) error { return json.Unmarshal(e.Raw, v) }

// LeftOut says what a timeline lacks.
type LeftOut struct {
	// LimitBytes is the size limit that the file has reached; 0 if nothing is left out.
	LimitBytes int64
	// Entries are how many were left out, by kind. They are unknown if the writer was killed.
	Entries map[string]int
	// Torn is the number of lines that are not entries, such as the last line of a killed writer.
	Torn int
}

// String returns LeftOut in words; empty if nothing is left out.
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

// Read calls f for every entry of a timeline.ndjson, in file order, which is not the order of their
// times. It returns what the timeline lacks. An error of f ends it.
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
