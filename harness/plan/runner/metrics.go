package runner

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/mask"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Metrics export runs and their lanes to Prometheus. Texts of a plan become labels, with secrets
// masked.
type Metrics struct {
	registry *prometheus.Registry
	attempts *prometheus.CounterVec
	now      func() time.Time

	mu    sync.Mutex
	plans map[string]*planMetrics
	lanes map[laneLabels]*laneMetrics
}

// planMetrics are the cells of a plan's last run.
type planMetrics struct {
	state map[string]string // by cell; see cellStates
	job   map[string]string // by cell
}

// The states of a cell, besides the outcomes.
const (
	stateWaiting = "waiting"
	stateRunning = "running"
)

var cellStates = []string{stateWaiting, stateRunning, string(result.Success), string(result.Failure), string(result.Cancelled), string(result.Skipped)}

// laneLabels identify the lane of a metric.
type laneLabels struct{ plan, job, cell, lane string }

type laneMetrics struct {
	worker.Load
	up    bool
	ended time.Time
}

// lingering is how long the metrics of a lane stay after its end. Many lanes are shorter than
// Prometheus's scrape interval. Prometheus itself drops a series after five minutes without a
// value.
const lingering = 5 * time.Minute

// NewMetrics returns metrics without runs. Observer adds a run.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), now: time.Now, plans: map[string]*planMetrics{}, lanes: map[laneLabels]*laneMetrics{},
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spicelane_run_attempts_total",
			Help: "Attempts that have ended, by their outcome and whose fault a failure is."}, []string{"plan", "job", "outcome", "verdict"}),
	}
	m.registry.MustRegister(m, m.attempts, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ServeHTTP responds with the metrics in the format that the request accepts: text by default.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry}).ServeHTTP(w, r)
}

// Serve serves the metrics over HTTP at /metrics of a TCP address until stop is called. It returns
// the address with the actual port.
func (m *Metrics) Serve(ctx context.Context, addr string) (at net.Addr, stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, &verdict.Error{Verdict: verdict.Harness, Op: "metrics", Err: err, Hint: "give --metrics an address of this host, with a free port"}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // it ends with stop
	}()
	return ln.Addr(), func() {
		_ = srv.Close()
		<-done
	}, nil
}

// Observer returns an observer that adds a run of the plan to the metrics.
func (m *Metrics) Observer(l *plan.Loaded) Observer {
	return &metricsOf{m: m, plan: label(l.Masker(), l.Name), mask: l.Masker()}
}

// label returns a text of a plan as a label's value, masked and in valid UTF-8.
func label(mask *mask.Masker, s string) string {
	return strings.ToValidUTF8(mask.String(s), "\ufffd")
}

// metricsOf observes a run for its metrics.
type metricsOf struct {
	m    *Metrics
	plan string
	mask *mask.Masker
}

func (o *metricsOf) RunBegins(_ string, cells []*plan.Cell) {
	p := &planMetrics{state: make(map[string]string, len(cells)), job: make(map[string]string, len(cells))}
	for _, c := range cells {
		p.state[c.ID], p.job[c.ID] = stateWaiting, label(o.mask, c.Job.ID)
	}
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	o.m.plans[o.plan] = p
}

func (o *metricsOf) setState(cell, state string) {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	o.m.plans[o.plan].state[cell] = state
}

func (o *metricsOf) AttemptBegins(c *plan.Cell, _ int)     { o.setState(c.ID, stateRunning) }
func (o *metricsOf) StepBegins(*plan.Cell, string, string) {}
func (o *metricsOf) Line(*plan.Cell, string, string)       {}
func (o *metricsOf) StepEnds(*plan.Cell, result.Step)      {}
func (o *metricsOf) CellEnds(c result.Cell)                { o.setState(c.ID, string(c.Outcome)) }
func (o *metricsOf) RunEnds(*result.Run)                   {}
func (o *metricsOf) labels(c *plan.Cell, lane string) laneLabels {
	return laneLabels{o.plan, label(o.mask, c.Job.ID), label(o.mask, c.ID), label(o.mask, lane)}
}

func (o *metricsOf) Load(c *plan.Cell, l worker.Load) {
	labels := o.labels(c, l.Lane)
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	o.m.lanes[labels] = &laneMetrics{Load: l, up: true}
}

func (o *metricsOf) AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration) {
	if next > 0 {
		o.setState(c.ID, stateWaiting)
	}
	labels := o.labels(c, "")
	o.m.attempts.WithLabelValues(labels.plan, labels.job, string(a.Outcome), string(a.Verdict)).Inc()
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	for of, l := range o.m.lanes {
		if of.plan == labels.plan && of.cell == labels.cell && l.up {
			l.up, l.ended = false, o.m.now()
		}
	}
}

// A laneMetric is a metric that each lane has.
type laneMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*laneMetrics) float64
	spice bool // its value is known only if Load.SPICEKnown is set
}

func newLaneMetric(kind prometheus.ValueType, name, help string, value func(*laneMetrics) float64) laneMetric {
	return laneMetric{prometheus.NewDesc("spicelane_lane_"+name, help, []string{"plan", "job", "cell", "lane"}, nil), kind, value, strings.HasPrefix(name, "spice_")}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var laneMetricsList = []laneMetric{
	newLaneMetric(gauge, "up", "1 while the lane is up, 0 for five minutes after its end.", func(l *laneMetrics) float64 {
		if l.up {
			return 1
		}
		return 0
	}),
	newLaneMetric(counter, "cpu_seconds_total", "Processor time that QEMU has used.", func(l *laneMetrics) float64 { return l.CPU }),
	newLaneMetric(counter, "waited_seconds_total", "Time for which a thread of QEMU was ready and did not run.", func(l *laneMetrics) float64 { return l.Waited }),
	newLaneMetric(counter, "held_up_seconds_total", "Time for which the harness did not run when it should have.", func(l *laneMetrics) float64 { return l.HeldUp }),
	newLaneMetric(gauge, "memory_bytes", "Resident memory of QEMU.", func(l *laneMetrics) float64 { return float64(l.Memory) }),
	newLaneMetric(counter, "disk_read_bytes_total", "Bytes that QEMU had read from disks.", func(l *laneMetrics) float64 { return float64(l.DiskRead) }),
	newLaneMetric(counter, "disk_written_bytes_total", "Bytes that QEMU had written to disks.", func(l *laneMetrics) float64 { return float64(l.DiskWritten) }),
	newLaneMetric(counter, "spice_received_bytes_total", "Bytes that QEMU's SPICE server has received.", func(l *laneMetrics) float64 { return float64(l.SPICEIn) }),
	newLaneMetric(counter, "spice_sent_bytes_total", "Bytes that QEMU's SPICE server has sent.", func(l *laneMetrics) float64 { return float64(l.SPICEOut) }),
	newLaneMetric(gauge, "host_busy_ratio", "Part of the host's processors that was in use.", func(l *laneMetrics) float64 { return l.Busy }),
	newLaneMetric(gauge, "host_steal_ratio", "Part of the host's processors that other virtual machines took.", func(l *laneMetrics) float64 { return l.Steal }),
	newLaneMetric(gauge, "host_load1", "The host's load average of one minute.", func(l *laneMetrics) float64 { return l.LoadAverage }),
}

var cellsDesc = prometheus.NewDesc("spicelane_run_cells", "Cells of the plan's last run, by their state.", []string{"plan", "job", "state"}, nil)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- cellsDesc
	for _, l := range laneMetricsList {
		descs <- l.desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, p := range m.plans {
		n := map[string][]float64{}
		for cell, state := range p.state {
			job := p.job[cell]
			if n[job] == nil {
				n[job] = make([]float64, len(cellStates))
			}
			n[job][slices.Index(cellStates, state)]++
		}
		for job, counts := range n {
			for i, state := range cellStates {
				out <- prometheus.MustNewConstMetric(cellsDesc, gauge, counts[i], name, job, state)
			}
		}
	}
	for of, l := range m.lanes {
		if !l.up && m.now().Sub(l.ended) > lingering {
			delete(m.lanes, of)
			continue
		}
		for _, metric := range laneMetricsList {
			if !metric.spice || l.SPICEKnown {
				out <- prometheus.MustNewConstMetric(metric.desc, metric.kind, metric.value(l), of.plan, of.job, of.cell, of.lane)
			}
		}
	}
}
