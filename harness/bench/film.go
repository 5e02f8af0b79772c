package bench

import (
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/film"
)

// A Film is the cost of filming a lane (harness.Config.Film) that starts and ends at once. Little
// else happens in such a lane, so the share is smaller in a longer one.
type Film struct {
	Warm bool `json:"warm"`
	// CPU is the processor time that filming took.
	CPU Times `json:"cpu"`
	// Share is CPU as a share of all processor time of the lane, in percent. That includes QEMU and
	// this process with harness, proxy, client and film.
	Share float64 `json:"share_percent"`
	// Bytes is the median size of a film.
	Bytes int64 `json:"bytes"`
}

// A filmCost is the cost of one lane's film: its processor time, that of the whole lane, and its
// size.
type filmCost struct {
	cpu, lane time.Duration
	bytes     int64
}

// filmCostOf reads the cost of a lane's film after the lane's end. It returns false if there is no
// film.
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

// filmed returns a lane's configuration that keeps the film, unless the configuration sets Film
// itself.
func filmed(c harness.Config) harness.Config {
	if c.Film == "" {
		c.Film = harness.FilmAlways
	}
	return c
}
