package harness

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/spicelane/spicelane/harness/coverage"
)

// drawn lists the kinds of coverage rows that say how pictures were drawn.
var drawn = []string{"operation", "image"}

// allCarried counts the draw types and image codecs of all lanes of this process that have ended.
var allCarried struct {
	mu    sync.Mutex
	lanes int
	sum   map[string]uint64
}

// carried returns how often the client was sent each draw type and image codec. The client must
// have ended.
func (l *Lane) carried() map[string]uint64 {
	rows, err := coverage.OfLane(l.dir)
	if err != nil {
		l.cfg.log().Error("cannot say what the lane has carried", "err", err)
	}
	sum := map[string]uint64{}
	for _, row := range rows {
		if slices.Contains(drawn, row.Kind) && row.Count > 0 {
			sum[row.Kind+" "+row.Name] += row.Count
		}
	}
	return sum
}

// noteCarried adds the counts of one lane to those of all lanes.
func noteCarried(sum map[string]uint64) {
	allCarried.mu.Lock()
	defer allCarried.mu.Unlock()
	allCarried.lanes++
	if allCarried.sum == nil {
		allCarried.sum = map[string]uint64{}
	}
	for name, n := range sum {
		allCarried.sum[name] += n
	}
}

// Carried returns one line with the draw types and image codecs that the lanes of this process have
// carried, and how often. It counts lanes that have ended, and returns "" if there is none.
func Carried() string {
	allCarried.mu.Lock()
	defer allCarried.mu.Unlock()
	if allCarried.lanes == 0 {
		return ""
	}
	words := make([][]string, len(drawn))
	for _, name := range slices.Sorted(maps.Keys(allCarried.sum)) {
		kind, what, _ := strings.Cut(name, " ")
		i := slices.Index(drawn, kind)
		words[i] = append(words[i], fmt.Sprintf("%s %d", what, allCarried.sum[name]))
	}
	return fmt.Sprintf("%d lanes carried: %s; images: %s", allCarried.lanes,
		or(strings.Join(words[0], ", "), "no drawing"), or(strings.Join(words[1], ", "), "none"))
}
