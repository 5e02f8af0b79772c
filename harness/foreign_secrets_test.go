package harness

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/spice/proxy"
)

func TestTheKeysThatAnotherProxyGetsAreSearchedForInWhatALaneLeaves(t *testing.T) {
	t.Parallel()
	run, err := host.NewRunDir()
	require.NoError(t, err)
	defer func() { require.NoError(t, run.Remove()) }()
	l := &Lane{dir: t.TempDir(), run: run, standIn: &standIn{console: proxy.Console{Source: laneSource, UUID: "6f4e2c1a-0000-4000-8000-000000000001",
		Name: "x", Hypervisor: "localhost", HypervisorIP: "127.0.0.1", InsecurePort: 9, Ticket: "0123456789abcdef0123"}}}
	l.cfg.Proxy = Command(`sh -c 'cat {tls}/server-key.pem; touch {ready}; exec sleep 60'`)
	b := &bringUp{Lane: l}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The proxy writes no virt-viewer file, so the wait for the file ends only when it is
	// cancelled.
	done := make(chan error, 1)
	go func() { done <- b.foreignProxy(ctx) }()
	require.Eventually(t, func() bool {
		_, err := os.Stat(run.File("proxy.ready"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	cancel()
	require.Error(t, <-done)
	require.NoError(t, l.proxy.Close())
	log, err := os.ReadFile(filepath.Join(l.dir, "proxy.log"))
	require.NoError(t, err)
	require.True(t, strings.Contains(string(log), "PRIVATE KEY"), string(log))
	require.ErrorContains(t, l.searchSecrets(), "the key of the proxy's certificate is in proxy.log")
}
