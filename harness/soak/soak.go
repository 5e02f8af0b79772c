// Package soak brings many lanes up, checks each console, ends the lanes, and reports how often
// that fails.
//
//	r, err := soak.Run(ctx, soak.Config{N: 200, Dir: "artifacts/soak"})
//	fmt.Println(r.Rate) // 0 of 200 failed: 0.0 % (95 % confidence: 0.0 % to 1.9 %)
//
// A lane fails if it does not come up, if the smoke check fails, or if it does not end cleanly. It
// also fails if it leaves a process or its directory of sockets behind. The evidence of failed
// lanes is kept; the rest is removed.
//
// Every lane has the same configuration, so only chance differs. For a matrix of configurations see
// harness/scenario; for tests that run several times, `go test -count` and package harness/report.
package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/quantile"
)

// A Config says what to repeat, and how often.
type Config struct {
	// N is the number of lanes. It must be at least 1.
	N int
	// Parallel is how many lanes run at once. Default: 1.
	Parallel int
	// Lane is the configuration of each lane. Run sets Name, Dir, Processes and ReleaseControl: the
	// lanes' parts are processes, and the smoke check gets the control socket.
	Lane harness.Config
	// Smoke configures the check of each console. Run sets Socket and Picture, and RequireDigest if
	// the fixture shows a digest.
	Smoke drive.SmokeConfig
	// Dir gets a directory for each lane, and soak.json. It is created if necessary.
	Dir string
	// StopAfter ends the soak after this many failures in a row: what always fails is not flaky,
	// and more lanes would only take time. Default: 5; negative: never.
	StopAfter int
	// OnLane, if not nil, is called with each lane's result, one call at a time.
	OnLane func(Lane)
}

// The stages of a lane's life.
const (
	Up    = "up"
	Smoke = "smoke"
	Down  = "down"
)

// A Lane is the result of one lane.
type Lane struct {
	// N counts from 1 in the order of their starts.
	N  int  `json:"n"`
	OK bool `json:"ok"`
	// Stage is the stage that failed: Up, Smoke or Down.
	Stage   string       `json:"stage,omitempty"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Accel   string       `json:"accel,omitempty"`
	Warm    bool         `json:"warm"`
	UpMS    int64        `json:"up_ms"`
	SmokeMS int64        `json:"smoke_ms"`
	DownMS  int64        `json:"down_ms"`
	// Dir is the directory with the evidence; empty for a lane that passed.
	Dir string `json:"dir,omitempty"`
}

// Times are quantiles in milliseconds.
type Times struct {
	P50 int64 `json:"p50_ms"`
	P95 int64 `json:"p95_ms"`
	Max int64 `json:"max_ms"`
}

// A Report is the result of a soak. Times are those of lanes that passed.
type Report struct {
	report.Rate
	// Low and High are the limits of the failure rate with 95 % confidence.
	Low      float64              `json:"low"`
	High     float64              `json:"high"`
	Wanted   int                  `json:"wanted"`
	Parallel int                  `json:"parallel"`
	Accels   map[string]int       `json:"accels"`
	Warm     int                  `json:"warm"`
	Verdicts map[verdict.Kind]int `json:"verdicts,omitempty"`
	Up       Times                `json:"up"`
	Smoke    Times                `json:"smoke"`
	Down     Times                `json:"down"`
	// PerMinute is the average number of lanes per minute.
	PerMinute float64 `json:"per_minute"`
	TookMS    int64   `json:"took_ms"`
	// Stopped says why the soak ended early; empty if it did not.
	Stopped  string `json:"stopped,omitempty"`
	Failures []Lane `json:"failures,omitempty"`
}

// Verdict returns the verdict of the whole soak; empty if nothing failed. A product failure
// outweighs others.
func (r *Report) Verdict() verdict.Kind {
	for _, v := range []verdict.Kind{verdict.Product, verdict.Harness, verdict.Host} {
		if r.Verdicts[v] > 0 {
			return v
		}
	}
	return ""
}

// Run brings the lanes up, one after the other or Parallel at once. It returns an error only if the
// soak could not run; failing lanes are in the report. When ctx ends, running lanes are ended and
// not counted.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.N < 1 || cfg.Parallel < 0 || cfg.Dir == "" {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "soak", Err: errors.New("it needs at least one lane and a directory")}
	}
	cfg.Lane.Processes, cfg.Lane.ReleaseControl = true, true
	if err := cfg.Lane.Check(); err != nil {
		return nil, err
	}
	if cfg.Lane.Client == harness.None {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "soak", Err: errors.New("without a client there is nothing to check")}
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "soak", Err: err, Hint: "choose another directory"}
	}
	s := &soak{cfg: cfg, began: time.Now()}
	s.run(ctx)
	r := s.report()
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(cfg.Dir, "soak.json"), append(b, '\n'), 0o644)
	}
	return r, err
}

type soak struct {
	cfg   Config
	began time.Time

	mu      sync.Mutex
	next    int // number of lanes begun
	inARow  int // failures
	stopped string
	lanes   []Lane
}

func (s *soak) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range max(s.cfg.Parallel, 1) {
		workers.Go(func() {
			for n := s.begin(ctx); n > 0; n = s.begin(ctx) {
				l := s.lane(ctx, n)
				if ctx.Err() == nil {
					s.ended(l)
				}
			}
		})
	}
	workers.Wait()
}

// begin returns the number of the next lane, or 0 if no lane is to follow.
func (s *soak) begin(ctx context.Context) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil && s.stopped == "" {
		s.stopped = "it was interrupted"
	}
	if s.stopped != "" || s.next == s.cfg.N {
		return 0
	}
	s.next++
	return s.next
}

func (s *soak) ended(l Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes = append(s.lanes, l)
	if s.inARow++; l.OK {
		s.inARow = 0
	}
	limit := s.cfg.StopAfter
	if limit == 0 {
		limit = 5
	}
	if s.stopped == "" && s.inARow == limit && s.next < s.cfg.N {
		s.stopped = fmt.Sprintf("%d lanes in a row failed", limit)
	}
	if s.cfg.OnLane != nil {
		s.cfg.OnLane(l)
	}
}

// lane runs one lane and returns its result.
func (s *soak) lane(ctx context.Context, n int) Lane {
	l := Lane{N: n}
	cfg := s.cfg.Lane
	cfg.Name = fmt.Sprintf("soak-%d", n)
	cfg.Dir = filepath.Join(s.cfg.Dir, fmt.Sprintf("%04d", n))

	began := time.Now()
	lane, err := harness.Start(ctx, cfg)
	l.UpMS = time.Since(began).Milliseconds()
	l.fail(Up, err)
	if err == nil {
		state := lane.State()
		l.Accel, l.Warm = state.Accel, state.Warm

		check := s.cfg.Smoke
		check.Socket = state.ControlSocket
		check.Picture = filepath.Join(cfg.Dir, "smoke.png")
		if fx := lane.Fixture(); fx != nil && fx.Digest != nil {
			check.RequireDigest = true
		}
		began = time.Now()
		_, err = drive.Smoke(ctx, check)
		l.SmokeMS = time.Since(began).Milliseconds()
		// If a check failed because the lane broke, the console is not at fault.
		if end := lane.Err(); end != nil {
			err = end
		}
		l.fail(Smoke, err)

		began = time.Now()
		err = lane.Close()
		l.DownMS = time.Since(began).Milliseconds()
		l.fail(Down, err)
		l.fail(Down, leftovers(state))
	}
	l.settle(cfg.Name, cfg.Dir, ctx.Err() != nil)
	return l
}

// fail notes what failed. The first problem counts.
func (l *Lane) fail(stage string, err error) {
	if err != nil && l.Stage == "" {
		l.Stage, l.Verdict, l.Reason = stage, verdict.Of(err), err.Error()
	}
}

// settle decides whether the lane passed, and keeps the evidence in dir only if it did not.
func (l *Lane) settle(name, dir string, interrupted bool) {
	l.OK = l.Stage == ""
	if l.OK || interrupted {
		err := os.RemoveAll(dir)
		if err == nil || interrupted { // the result of an interrupted lane does not count
			return
		}
		l.fail(Down, &verdict.Error{Verdict: verdict.Host, Op: "remove the evidence", Err: err})
		l.OK = false
	}
	l.Dir = dir
	l.note(name)
}

// leftovers returns an error that names what an ended lane has left behind.
func leftovers(s registry.State) error {
	for name, pid := range map[string]int{"QEMU": s.PIDs.QEMU, "the proxy": s.PIDs.Proxy, "the client": s.PIDs.Client} {
		if pid != 0 && host.Alive(pid) {
			return &verdict.Error{Verdict: verdict.Harness, Op: "down", Err: fmt.Errorf("%s (pid %d) is still alive", name, pid)}
		}
	}
	if _, err := os.Lstat(s.RunDir); s.RunDir != "" && err == nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "down", Err: fmt.Errorf("the sockets' directory %s is still there", s.RunDir)}
	}
	return nil
}

// note writes the verdict of a failed smoke check into the lane's directory, because the lane
// itself does not know it. For a lane that did not come up, it reads the verdict from there.
func (l *Lane) note(name string) {
	path := filepath.Join(l.Dir, verdict.File)
	v := verdict.Report{Name: name, Accel: l.Accel, Warm: l.Warm, Dir: l.Dir}
	if b, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(b, &v) // what it holds is better than nothing
	}
	l.Accel, l.Warm = v.Accel, v.Warm
	v.OK, v.Verdict, v.Reason = false, l.Verdict, l.Stage+": "+l.Reason
	if b, err := json.MarshalIndent(v, "", "  "); err == nil {
		// soak.json, which is written last, reports a full disk.
		_ = os.WriteFile(path, append(b, '\n'), 0o644)
	}
}

func (s *soak) report() *Report {
	r := &Report{
		Wanted: s.cfg.N, Parallel: max(s.cfg.Parallel, 1), Stopped: s.stopped,
		Accels: map[string]int{}, Verdicts: map[verdict.Kind]int{},
		TookMS: time.Since(s.began).Milliseconds(),
	}
	var up, smoke, down []time.Duration
	for _, l := range s.lanes {
		r.Runs++
		if l.Accel != "" {
			r.Accels[l.Accel]++
		}
		if l.Warm {
			r.Warm++
		}
		if !l.OK {
			r.Failed++
			r.Verdicts[l.Verdict]++
			r.Failures = append(r.Failures, l)
			continue
		}
		up = append(up, time.Duration(l.UpMS)*time.Millisecond)
		smoke = append(smoke, time.Duration(l.SmokeMS)*time.Millisecond)
		down = append(down, time.Duration(l.DownMS)*time.Millisecond)
	}
	r.Low, r.High = r.Interval()
	r.Up, r.Smoke, r.Down = timesOf(up), timesOf(smoke), timesOf(down)
	if r.TookMS > 0 {
		r.PerMinute = float64(r.Runs) / (float64(r.TookMS) / 60000)
	}
	return r
}

func timesOf(d []time.Duration) Times {
	return Times{
		P50: quantile.Of(d, 0.5).Milliseconds(),
		P95: quantile.Of(d, 0.95).Milliseconds(),
		Max: quantile.Of(d, 1).Milliseconds(),
	}
}
