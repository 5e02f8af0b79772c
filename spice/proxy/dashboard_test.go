package proxy_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/dashboardtest"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// everyMetric returns the metrics that a proxy has which has seen a bit of everything,
// each with its labels.
func everyMetric(t *testing.T) map[string][]string {
	t.Helper()
	c := newConsole(t, "tcp", nil)
	l := up(t, c, func(cfg *proxy.Config) {
		cfg.Consoles, cfg.Linger = counting{&lab{consoles: []*console{c}}}, time.Millisecond
	})
	token, _, _ := l.open()
	picture, err := l.link(token, session, display)
	require.NoError(t, err)
	server := l.console.next(t)
	msg := message(3, (&wire.SetAck{Generation: 1, Window: 5}).Append(nil))
	write(t, server, msg)
	expect(t, picture, msg)
	_, err = l.link("never issued", 0, mainChannel)
	require.Error(t, err)
	l.open()
	other, _, _ := l.open()
	_, err = l.linkAs(link.Config{ConnectionID: session, Channel: wire.ChannelID{Type: wire.ChannelUSBRedir}, CommonCaps: link.CommonCaps, Secret: other})
	require.Error(t, err)
	require.True(t, l.EndSession(l.Sessions()[1].ID))
	l.event(proxy.EventChannelClosed)
	_, body := l.ask("GET", "/metrics")
	return dashboardtest.Metrics(body)
}

func TestTheDashboardAndTheManualShowWhatTheProxyMeasures(t *testing.T) {
	metrics := everyMetric(t)
	dashboardtest.Check(t, "../../docs/grafana-proxy.json", metrics, "spicelane_proxy_")
	manual, err := os.ReadFile("../../docs/proxy.md")
	require.NoError(t, err)
	for _, name := range dashboardtest.Names(metrics, "spicelane_proxy_") {
		assert.True(t, strings.Contains(string(manual), "`"+name+"`"), "docs/proxy.md does not name %s", name)
	}
}
