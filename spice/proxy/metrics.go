package proxy

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/spicelane/spicelane/spice/wire"
)

// metrics are the metrics of /metrics. Each proxy has a separate registry, so that several can run
// in one process.
type metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	verdicts *prometheus.CounterVec
	lost     prometheus.Counter

	handshake, connecting, linking prometheus.Histogram
	latency, silence               *prometheus.HistogramVec
}

// The buckets for steps of a connection double from 1 ms to 8 s.
var stepBuckets = prometheus.ExponentialBuckets(0.001, 2, 14)

func newMetrics(p *Proxy) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spicelane_proxy_events_total",
			Help: "Events of the audit log, by kind and reason."}, []string{"event", "reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spicelane_proxy_relayed_bytes_total",
			Help: "Bytes passed on after the link, by channel type and sender."}, []string{"channel", "from"}),
		linking: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "spicelane_proxy_backend_link_seconds",
			Help:    "Time to connect to a console and link a channel, failures included.",
			Buckets: stepBuckets}),
		handshake: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "spicelane_proxy_handshake_seconds",
			Help:    "Time from accepting a connection on the TLS port to having its token, good or not.",
			Buckets: stepBuckets}),
		connecting: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "spicelane_proxy_backend_connect_seconds",
			Help:    "Time to connect to a console, TLS included, before the channel is linked; failures included.",
			Buckets: stepBuckets}),
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
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "spicelane_proxy_build_info",
		Help: "Always 1; the labels say which build this is.", ConstLabels: buildLabels(debug.ReadBuildInfo())})
	build.Set(1)
	m.registry.MustRegister(m.events, m.bytes, m.handshake, m.connecting, m.linking, m.silence, m.verdicts, m.latency, m.lost,
		build, channelsNow{p}, sourceErrors{p.cfg.Consoles},
		gauge("spicelane_proxy_sessions", "Sessions that are alive.", func() int { return len(p.Sessions()) }),
		gauge("spicelane_proxy_handshakes", "Connections that have not been let in yet.", p.Handshaking),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// relayed returns the counter of one direction of a channel. Unknown channel types share one label,
// because the client chooses the number.
func (m *metrics) relayed(t wire.ChannelType, from wire.Direction) prometheus.Counter {
	return m.bytes.WithLabelValues(channelLabel(t), from.String())
}

// Relayed counts the bytes that a proxy has passed on since its start, on all channels, without
// their links.
type Relayed struct {
	FromClient uint64 `json:"from_client"`
	FromServer uint64 `json:"from_server"`
}

// Relayed returns how many bytes the proxy has passed on, including those of closed channels.
func (p *Proxy) Relayed() Relayed {
	counters := make(chan prometheus.Metric)
	go func() {
		defer close(counters)
		p.metrics.bytes.Collect(counters)
	}()
	var r Relayed
	for c := range counters {
		var m dto.Metric
		if err := c.Write(&m); err != nil {
			continue // NB: a counter can always be written
		}
		for _, label := range m.GetLabel() {
			switch {
			case label.GetName() != "from":
			case label.GetValue() == wire.FromClient.String():
				r.FromClient += uint64(m.GetCounter().GetValue())
			default:
				r.FromServer += uint64(m.GetCounter().GetValue())
			}
		}
	}
	return r
}

// channelLabel limits the values of a label that a client chooses.
func channelLabel(t wire.ChannelType) string {
	if t.Known() {
		return t.String()
	}
	return "other"
}

// buildLabels returns what the Go toolchain recorded in the binary. Without version control during
// the build, the revision is empty.
func buildLabels(info *debug.BuildInfo, ok bool) prometheus.Labels {
	labels := prometheus.Labels{"version": "unknown", "revision": "", "go": runtime.Version()}
	if !ok {
		return labels
	}
	labels["version"] = cmp.Or(info.Main.Version, "unknown")
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			labels["revision"] = s.Value
		}
	}
	return labels
}

// channelsNow collects metrics of the open channels, by type.
type channelsNow struct{ p *Proxy }

var (
	channelsDesc = prometheus.NewDesc("spicelane_proxy_channels",
		"Channels of the sessions that are alive, by type.", []string{"channel"}, nil)
	silenceDesc = prometheus.NewDesc("spicelane_proxy_channel_silence_seconds",
		"For how long the most silent open channel has carried nothing, by channel type.", []string{"channel"}, nil)
	unacknowledgedDesc = prometheus.NewDesc("spicelane_proxy_channel_unacknowledged_messages",
		"Messages from the console that a client has not acknowledged, on the open channel with most of them, by channel type.",
		[]string{"channel"}, nil)
)

func (c channelsNow) Describe(descs chan<- *prometheus.Desc) {
	descs <- channelsDesc
	descs <- silenceDesc
	descs <- unacknowledgedDesc
}

func (c channelsNow) Collect(out chan<- prometheus.Metric) {
	number, silent, unacknowledged := map[string]float64{}, map[string]float64{}, map[string]float64{}
	now := c.p.cfg.now()
	c.p.sessions.each(func(ch *channel) {
		label := channelLabel(ch.id.Type)
		number[label]++
		current, _ := ch.silence.at(now)
		silent[label] = max(silent[label], current.Seconds())
		if n, ok := ch.acks.pending(ch.fromServer.messages.Load()); ok {
			unacknowledged[label] = max(unacknowledged[label], float64(n))
		}
	})
	for desc, values := range map[*prometheus.Desc]map[string]float64{channelsDesc: number, silenceDesc: silent, unacknowledgedDesc: unacknowledged} {
		for label, value := range values {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, label)
		}
	}
}

// sourceErrors collects the errors that a catalog has counted, if it counts them.
type sourceErrors struct{ catalog Catalog }

var sourceErrorsDesc = prometheus.NewDesc("spicelane_proxy_source_errors_total",
	"Errors of a source of consoles: it could not be asked, or has lost who it asks.", []string{"source"}, nil)

func (c sourceErrors) Describe(descs chan<- *prometheus.Desc) { descs <- sourceErrorsDesc }

func (c sourceErrors) Collect(out chan<- prometheus.Metric) {
	counting, ok := c.catalog.(SourceErrors)
	if !ok {
		return
	}
	for source, n := range counting.SourceErrors() {
		out <- prometheus.MustNewConstMetric(sourceErrorsDesc, prometheus.CounterValue, float64(n), source)
	}
}
