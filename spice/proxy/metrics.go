package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/spicelane/spicelane/spice/wire"
)

// metrics are what /metrics serves. Each proxy has a registry of its own, so
// that several can live in one process.
type metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	linking  prometheus.Histogram
}

func newMetrics(p *Proxy) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spicelane_proxy_events_total",
			Help: "Events of the audit log, by kind and reason."}, []string{"event", "reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spicelane_proxy_relayed_bytes_total",
			Help: "Bytes passed on after the link, by channel type and sender."}, []string{"channel", "from"}),
		linking: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "spicelane_proxy_backend_link_seconds",
			Help:    "Time to connect to a console and link a channel, failures included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(m.events, m.bytes, m.linking,
		gauge("spicelane_proxy_sessions", "Sessions that are alive.", func() int { return len(p.sessions.list()) }),
		gauge("spicelane_proxy_channels", "Channels of these sessions.", func() int {
			n := 0
			for _, s := range p.sessions.list() {
				n += len(s.Channels)
			}
			return n
		}),
		gauge("spicelane_proxy_handshakes", "Connections that have not been let in yet.", func() int { return len(p.slots) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// relayed is the counter of one direction of a channel. Types that the protocol
// does not know share one label: a client chooses the number.
func (m *metrics) relayed(t wire.ChannelType, from wire.Direction) prometheus.Counter {
	name := "other"
	if t.Known() {
		name = t.String()
	}
	return m.bytes.WithLabelValues(name, from.String())
}
