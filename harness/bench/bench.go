// Package bench measures lanes: how long they take to start, cold and warm, how much of that time
// the harness adds to QEMU's, how many lanes run per minute, and how much memory they need.
//
//	r, err := bench.Run(ctx, bench.Config{})
//	fmt.Println(r.Cold.Banner.P50, r.Bare.P50, r.Overhead.P50)
//
// Run measures what is compared in rounds, one measurement of each kind per round, so that a busy
// machine slows down all kinds alike. Times are those of a `go test`: proxy and client run inside
// this process. Memory is that of `spicelane up`, where each is a separate process.
//
// Figures are valid only for one machine, QEMU, fixture and load. A Report names them.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/soak"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/quantile"
)

// A Config says what to measure. The zero Config measures Beacon.
type Config struct {
	// Lane is the configuration of each lane. It must have a client. Run sets Name, Dir, Warm,
	// Processes, ReleaseControl and OnStep, and films lanes if Film is empty.
	Lane harness.Config
	// Rounds is how often each start is measured. Default: 5.
	Rounds int
	// Pace is the number of warm lanes for measuring lanes per minute. The number of cold lanes is a
	// quarter of that, but at least twice the number that runs at once. Default: 20.
	Pace int
	// Parallel is how many lanes run at once in the second of the two measurements of lanes per
	// minute. In the first one, one lane runs at a time. Default: 2.
	Parallel int
	// OnStep, if not nil, is called with a text about what is measured next.
	OnStep func(what string)
}

// Times summarise the rounds of one measurement, in milliseconds. N is their number.
type Times struct {
	N   int     `json:"n"`
	Min float64 `json:"min_ms"`
	P50 float64 `json:"p50_ms"`
	Max float64 `json:"max_ms"`
}

// Starts are the times of starts of lanes. Banner, Picture and Digest begin with the call of
// harness.Start.
type Starts struct {
	// Banner ends when the guest's banner is on its serial console.
	Banner Times `json:"banner"`
	// Picture ends when the client also has a picture.
	Picture Times `json:"picture"`
	// Digest ends when a digest on the picture has been read as well: the lane is ready.
	Digest Times `json:"digest"`
	// Down is the time that Close takes.
	Down Times `json:"down"`
	// CPU is the processor time of this process (harness, proxy, client) until the lane is ready.
	CPU Times `json:"cpu"`
}

// A Pace is the number of lanes per minute that start, pass the smoke check and end. Parallel of
// them run at once.
type Pace struct {
	Warm      bool    `json:"warm"`
	Parallel  int     `json:"parallel"`
	Lanes     int     `json:"lanes"`
	Failed    int     `json:"failed"`
	PerMinute float64 `json:"per_minute"`
}

// A Report has the results.
type Report struct {
	Machine Machine `json:"machine"`
	Fixture string  `json:"fixture"`
	Accel   string  `json:"accel"`
	// Cold has the starts of lanes that boot, and Warm those of lanes that are restored from a saved
	// state. If none could be restored, Warm is nil and NotWarm says why.
	Cold    Starts  `json:"cold"`
	Warm    *Starts `json:"warm,omitempty"`
	NotWarm string  `json:"not_warm,omitempty"`
	// Bare is the time from the start of a QEMU with the cold lane's command line to its banner, with
	// nothing connected to it. It is nil if the guest has no banner, or the machine needs more than a
	// command line.
	Bare *Times `json:"bare,omitempty"`
	// Overhead is what the harness adds to Bare: how much later the banner of the cold lane came in
	// the same round.
	Overhead *Times `json:"overhead,omitempty"`
	// Film is the cost of filming a lane; empty if no lane was filmed.
	Film   []Film   `json:"film,omitempty"`
	Pace   []Pace   `json:"pace"`
	Memory []Memory `json:"memory"`
}

// WriteMeasurements writes the medians as lines NAME VALUE UNIT BETTER. That is the format in which
// steps of a plan report measurements (SPICELANE_MEASUREMENTS), so an archive can show their trend.
func (r *Report) WriteMeasurements(w io.Writer) error {
	var b strings.Builder
	write := func(name string, value float64, unit, better string) {
		fmt.Fprintln(&b, name, value, unit, better)
	}
	starts := func(how string, s *Starts) {
		if s == nil {
			return
		}
		for _, m := range []struct {
			name string
			Times
		}{{"banner", s.Banner}, {"picture", s.Picture}, {"digest", s.Digest}, {"down", s.Down}, {"cpu", s.CPU}} {
			write(how+"/"+m.name, m.P50, "ms", "lower")
		}
	}
	starts("cold", &r.Cold)
	starts("warm", r.Warm)
	for _, m := range []struct {
		name string
		*Times
	}{{"bare", r.Bare}, {"overhead", r.Overhead}} {
		if m.Times != nil {
			write(m.name, m.P50, "ms", "lower")
		}
	}
	how := map[bool]string{false: "cold", true: "warm"}
	for _, p := range r.Pace {
		write(fmt.Sprintf("%s/pace-of-%d", how[p.Warm], p.Parallel), p.PerMinute, "lanes/min", "higher")
	}
	for _, m := range r.Memory {
		write(how[m.Warm]+"/memory", m.QEMUPSS+m.ProxyPSS+m.ClientPSS, "MiB", "lower")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// parts returns lane with its parts as processes, and its control socket free for the smoke check.
func (c Config) parts(lane harness.Config) harness.Config {
	lane.Processes, lane.ReleaseControl = true, true
	return lane
}

// Run measures starts, memory and lanes per minute, in this order. It takes a few minutes under
// TCG.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Lane.Client == harness.None || cfg.Rounds < 0 || cfg.Pace < 0 || cfg.Parallel < 0 {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bench", Err: errors.New("it needs lanes with a client, and counts that are not negative")}
	}
	if s := cfg.Lane.Server; s != "" && s != harness.ServerQEMU {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bench", Err: fmt.Errorf("it measures how machines start, and a lane whose server is %s has none", s)}
	}
	if err := cfg.parts(cfg.Lane).Check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "spicelane-bench-")
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "bench", Err: err}
	}
	defer os.RemoveAll(dir)
	b := &bench{cfg: cfg, dir: dir, report: &Report{}}
	if b.report.Machine, err = ThisMachine(ctx); err != nil {
		return nil, err
	}
	if err := b.starts(ctx); err != nil {
		return nil, err
	}
	if err := b.memory(ctx); err != nil {
		return nil, err
	}
	if err := b.pace(ctx); err != nil {
		return nil, err
	}
	return b.report, nil
}

type bench struct {
	cfg    Config
	dir    string
	report *Report
	n      int
}

func (b *bench) rounds() int {
	if b.cfg.Rounds == 0 {
		return 5
	}
	return b.cfg.Rounds
}

func (b *bench) say(format string, args ...any) {
	if b.cfg.OnStep != nil {
		b.cfg.OnStep(fmt.Sprintf(format, args...))
	}
}

// lane returns the configuration of the next lane.
func (b *bench) lane(warm harness.Warm) harness.Config {
	b.n++
	c := b.cfg.Lane
	c.Name = fmt.Sprintf("bench-%d", b.n)
	c.Dir = filepath.Join(b.dir, c.Name)
	c.Warm = warm
	return c
}

// A sample has the times of one start.
type sample struct {
	banner, picture, digest, down, cpu time.Duration

	film *filmCost // nil without a film
}

// start starts a lane inside this process, calls look, ends the lane, and returns its times.
func (b *bench) start(ctx context.Context, warm harness.Warm, look func(*harness.Lane)) (sample, error) {
	var s sample
	cfg := filmed(b.lane(warm))
	defer os.RemoveAll(cfg.Dir)
	began, cpu := time.Now(), ownCPU()
	cfg.OnStep = func(st registry.Step) {
		switch at := time.Since(began); st.Name {
		case "banner":
			s.banner = at
		case "picture":
			s.picture = at
		case "digest":
			s.digest = at
		}
	}
	lane, err := harness.Start(ctx, cfg)
	if err != nil {
		return s, err
	}
	s.cpu = ownCPU() - cpu
	look(lane)
	qemuCPU := proc.ReadStat(lane.Machine().PID()).CPU
	began = time.Now()
	err = lane.Close()
	s.down = time.Since(began)
	if cost, ok := filmCostOf(cfg.Dir, ownCPU()-cpu+qemuCPU); ok {
		s.film = &cost
	}
	return s, err
}

// starts measures cold, bare and warm starts in turns.
func (b *bench) starts(ctx context.Context) error {
	r := b.report
	var cold, warm []sample
	var bare, overhead []time.Duration
	// The first lane is not measured. It has one-time costs: trying KVM, asking QEMU what it offers,
	// and saving the state for warm lanes.
	b.say("the first lane, which is not measured")
	if _, err := b.start(ctx, harness.WarmAuto, func(*harness.Lane) {}); err != nil {
		return err
	}
	for i := range b.rounds() {
		var mc qemu.Config
		var banner string
		b.say("round %d of %d: cold", i+1, b.rounds())
		s, err := b.start(ctx, harness.WarmOff, func(l *harness.Lane) {
			st := l.State()
			r.Accel, r.Fixture = st.Accel, st.Fixture
			if st.Image != "" {
				r.Fixture = st.Image
			}
			mc, banner = l.Machine().Config(), bannerOf(l, b.cfg.Lane)
		})
		if err != nil {
			return err
		}
		cold = append(cold, s)

		if banner != "" && mc.Spice.Unix != "" {
			b.say("round %d of %d: QEMU alone", i+1, b.rounds())
			d, err := bareBoot(ctx, mc, banner)
			if err != nil {
				return err
			}
			bare = append(bare, d)
			overhead = append(overhead, s.banner-d)
		}

		b.say("round %d of %d: warm", i+1, b.rounds())
		isWarm := false
		s, err = b.start(ctx, harness.WarmAuto, func(l *harness.Lane) {
			if isWarm = l.State().Warm; !isWarm {
				r.NotWarm = l.State().ColdReason
			}
		})
		if err != nil {
			return err
		}
		if isWarm {
			warm = append(warm, s)
		}
	}
	r.Cold = startsOf(cold)
	for i, all := range [][]sample{cold, warm} {
		var costs []filmCost
		for _, s := range all {
			if s.film != nil {
				costs = append(costs, *s.film)
			}
		}
		if len(costs) > 0 {
			r.Film = append(r.Film, filmOf(i == 1, costs))
		}
	}
	if len(warm) > 0 {
		w := startsOf(warm)
		r.Warm = &w
		r.NotWarm = ""
	}
	if len(bare) > 0 {
		t, o := timesOf(bare), timesOf(overhead)
		r.Bare, r.Overhead = &t, &o
	}
	return nil
}

func bannerOf(l *harness.Lane, cfg harness.Config) string {
	if fx := l.Fixture(); cfg.Banner == "" && fx != nil {
		return fx.Banner
	}
	return cfg.Banner
}

// paced returns the configuration of the lanes of one measurement, p at once. A state that has been
// lost since the warm starts is an error: otherwise boots would be reported as restored lanes.
func (b *bench) paced(warm bool, lanes, p int) soak.Config {
	c := soak.Config{N: lanes, Parallel: p, Lane: b.lane(harness.WarmRequire), Dir: filepath.Join(b.dir, "pace"), StopAfter: 1}
	if !warm {
		c.N, c.Lane.Warm = max(lanes/4, 2*p), harness.WarmOff
	}
	return c
}

// pace measures how many lanes run per minute.
func (b *bench) pace(ctx context.Context) error {
	lanes, parallel := b.cfg.Pace, b.cfg.Parallel
	if lanes == 0 {
		lanes = 20
	}
	if parallel == 0 {
		parallel = 2
	}
	for _, warm := range []bool{false, true} {
		if warm && b.report.Warm == nil {
			continue
		}
		for _, p := range []int{1, parallel} {
			c := b.paced(warm, lanes, p)
			b.say("the pace of %d lanes, %d at once, warm: %v", c.N, p, warm)
			r, err := soak.Run(ctx, c)
			if err != nil {
				return err
			}
			if len(r.Failures) > 0 {
				f := r.Failures[0]
				return &verdict.Error{Verdict: f.Verdict, Op: "bench: " + f.Stage, Err: errors.New(f.Reason)}
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.report.Pace = append(b.report.Pace, Pace{Warm: warm, Parallel: p, Lanes: r.Runs, Failed: r.Rate.Failed, PerMinute: round(r.PerMinute)})
			if parallel == 1 {
				break
			}
		}
	}
	return nil
}

func startsOf(s []sample) Starts {
	pick := func(f func(sample) time.Duration) Times {
		var d []time.Duration
		for _, x := range s {
			d = append(d, f(x))
		}
		return timesOf(d)
	}
	return Starts{
		Banner:  pick(func(s sample) time.Duration { return s.banner }),
		Picture: pick(func(s sample) time.Duration { return s.picture }),
		Digest:  pick(func(s sample) time.Duration { return s.digest }),
		Down:    pick(func(s sample) time.Duration { return s.down }),
		CPU:     pick(func(s sample) time.Duration { return s.cpu }),
	}
}

func median(of []int64) int64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

func timesOf(d []time.Duration) Times {
	ms := func(q float64) float64 { return round(float64(quantile.Of(d, q)) / float64(time.Millisecond)) }
	return Times{N: len(d), Min: ms(0), P50: ms(0.5), Max: ms(1)}
}

// round rounds to one decimal. More decimals would suggest a precision that there is not.
func round(f float64) float64 { return float64(int64(f*10+0.5*sign(f))) / 10 }

func sign(f float64) float64 {
	if f < 0 {
		return -1
	}
	return 1
}
