package matrix_test

import (
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/internal/need"
)

// A foreign proxy, which passes SPICE through inside TLS and is asked for
// nothing else.
func TestASessionThroughAForeignProxyGoesThroughTheSuites(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	need.Program(t, "socat")
	lane := harness.Up(t, harness.Config{Proxy: harness.Command("socat OPENSSL-LISTEN:{tls_port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={tls}/server.pem" +
		" TCP:{spice_host}:{spice_port}")})
	scenario.Run(t, lane, scenario.Suites("boot", "screenshot", "digest", "pointer", "clipboard", "monitors", "tone", "reconnect", "record")...)
}
