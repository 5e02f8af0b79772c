package proxy

import (
	"time"

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
	silence  *prometheus.HistogramVec
	verdicts *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	lost     prometheus.Counter
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
	m.silence = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "spicelane_proxy_channel_longest_silence_seconds",
		Help:    "Longest time for which a channel carried nothing, observed when it closes, by channel type.",
		Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800}}, []string{"channel"})
	m.verdicts = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spicelane_proxy_firewall_verdicts_total",
		Help: "Messages and channels that the firewall refused, delayed, or would have."}, []string{"channel", "from", "verdict", "why"})
	m.latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "spicelane_proxy_relay_seconds",
		Help:    "Time from having read a piece of a channel to having written it, by channel type and sender.",
		Buckets: prometheus.ExponentialBuckets(0.000_004, 4, 11)}, []string{"channel", "from"})
	m.lost = prometheus.NewCounter(prometheus.CounterOpts{Name: "spicelane_proxy_audit_lines_lost_total",
		Help: "Lines of the audit log that could not be written."})
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(m.events, m.bytes, m.linking, m.silence, m.verdicts, m.latency, m.lost, silenceNow{p},
		gauge("spicelane_proxy_sessions", "Sessions that are alive.", func() int { return len(p.Sessions()) }),
		gauge("spicelane_proxy_channels", "Channels of these sessions.", func() int {
			n := 0
			for _, s := range p.Sessions() {
				n += len(s.Channels)
			}
			return n
		}),
		gauge("spicelane_proxy_handshakes", "Connections that have not been let in yet.", p.Handshaking),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// relayed is the counter of one direction of a channel. Types that the protocol
// does not know share one label: a client chooses the number.
func (m *metrics) relayed(t wire.ChannelType, from wire.Direction) prometheus.Counter {
	return m.bytes.WithLabelValues(channelLabel(t), from.String())
}

// channelLabel bounds the values of a label that a client chooses.
func channelLabel(t wire.ChannelType) string {
	if t.Known() {
		return t.String()
	}
	return "other"
}

// silenceNow collects the longest silence that lasts now, by channel type.
type silenceNow struct{ p *Proxy }

var silenceNowDesc = prometheus.NewDesc("spicelane_proxy_channel_silence_seconds",
	"For how long the most silent open channel has carried nothing, by channel type.", []string{"channel"}, nil)

func (c silenceNow) Describe(descs chan<- *prometheus.Desc) { descs <- silenceNowDesc }

func (c silenceNow) Collect(out chan<- prometheus.Metric) {
	longest := map[string]time.Duration{}
	c.p.sessions.each(func(ch *channel) {
		current, _ := ch.silence.at(c.p.cfg.now())
		label := channelLabel(ch.id.Type)
		longest[label] = max(longest[label], current)
	})
	for label, d := range longest {
		out <- prometheus.MustNewConstMetric(silenceNowDesc, prometheus.GaugeValue, d.Seconds(), label)
	}
}
