package bench

import (
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/film"
)

// A Film is what it costs to film a lane (harness.Config.Film) that comes up and ends at once.
// Little else happens in it, so a longer lane has a smaller share.
type Film struct {
	Warm bool `json:"warm"`
	// CPU is the processor time that filming took.
	CPU Times `json:"cpu"`
	// Share is that as a part of all that the lane took, in percent: QEMU, and this
	// process with harness, proxy, client and film.
	Share float64 `json:"share_percent"`
	// Bytes is the median size of a film.
	Bytes int64 `json:"bytes"`
}

// A filmCost is that of one lane.
type filmCost struct {
	cpu, lane time.Duration
	bytes     int64
}

// filmCostOf reads what the film of a lane that has ended has cost. It is false if there is none.
func filmCostOf(dir string, lane time.Duration) (filmCost, bool) {
	f, err := film.ReadFile(filepath.Join(dir, film.File))
	if err != nil || f.Stats == nil {
		return filmCost{}, false
	}
	return filmCost{f.Stats.CPU, lane, f.Stats.Bytes}, true
}

func filmOf(warm bool, costs []filmCost) Film {
	out := Film{Warm: warm}
	var cpu, lane time.Duration
	var times []time.Duration
	var bytes []int64
	for _, c := range costs {
		cpu, lane = cpu+c.cpu, lane+c.lane
		times, bytes = append(times, c.cpu), append(bytes, c.bytes)
	}
	out.CPU = timesOf(times)
	if lane > 0 {
		out.Share = round(100 * float64(cpu) / float64(lane))
	}
	out.Bytes = median(bytes)
	return out
}

// filmed returns a lane's configuration with its film kept, unless it is not to be filmed.
func filmed(c harness.Config) harness.Config {
	if c.Film == "" {
		c.Film = harness.FilmAlways
	}
	return c
}
