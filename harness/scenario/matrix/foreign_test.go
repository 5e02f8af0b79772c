package matrix_test

import (
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/internal/need"
)

// A foreign proxy that passes SPICE through inside TLS. Nothing else is asked of it.
func TestASessionThroughAForeignProxyGoesThroughTheSuites(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	need.Program(t, "socat")
	lane := harness.Up(t, harness.Config{Proxy: harness.Command("socat OPENSSL-LISTEN:{tls_port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={tls}/server.pem" +
		" TCP:{spice_host}:{spice_port}")})
	scenario.Run(t, lane, scenario.Suites("boot", "screenshot", "digest", "pointer", "clipboard", "monitors", "tone", "reconnect", "record")...)
}
