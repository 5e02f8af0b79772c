package conform_test

import (
	"os"
	"testing"
	"time"

	"github.com/spicelane/spicelane/spice/control/conform"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// With SPICELANE_SOCKET set the checks run against that socket, whatever program serves
// it; otherwise against our server on a console made of memory.
func TestAControlSocketKeepsProtocol12(t *testing.T) {
	path, opts := os.Getenv("SPICELANE_SOCKET"), conform.Options{}
	if path == "" {
		c := controltest.NewFull(320, 240)
		path, _ = controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan, Finder: controltest.Finder{}})
		opts = conform.Options{Burst: controltest.Noticer(c.Console), Patience: 10 * time.Second}
	}
	for _, r := range conform.Run(t.Context(), path, opts) {
		switch r.Outcome {
		case conform.Fail:
			t.Errorf("%s", r)
		case conform.Skip:
			if os.Getenv("SPICELANE_SOCKET") == "" {
				t.Errorf("%s: our own server must be checked wholly", r)
			}
			t.Logf("%s", r)
		case conform.Pass:
			t.Logf("%s (%s)", r, r.Took.Round(time.Millisecond))
		}
	}
}
