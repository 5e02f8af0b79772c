package headless_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
)

// TestMain does not call headless.Main.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const uuid = "6f4e2c1a-0000-4000-8000-000000000001"

func proxyConfig(t *testing.T) headless.ProxyConfig {
	t.Helper()
	static, err := sources.NewStatic("src", sources.Console{UUID: uuid, Name: "guest", Hypervisor: "localhost", HypervisorIP: "127.0.0.1",
		InsecurePort: 1, Ticket: "t"})
	require.NoError(t, err)
	catalog, err := sources.NewCatalog(static)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, catalog.Close()) })
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	return headless.ProxyConfig{
		Config: proxy.Config{TLS: bundle, Consoles: catalog, APIToken: "a"},
		KeepVV: filepath.Join(t.TempDir(), "console.vv"), KeepSource: "src", KeepUUID: uuid,
	}
}

func TestAProxyKeepsAFileThatWorksAndTakesItAway(t *testing.T) {
	t.Parallel()
	cfg := proxyConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := make(chan headless.Ready, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- headless.RunProxy(ctx, cfg, func(r headless.Ready) error { ready <- r; return nil })
	}()
	at := <-ready
	f, err := vv.ReadFile(cfg.KeepVV)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(at.TLSAddr)
	require.NoError(t, err)
	require.Equal(t, port, strconv.Itoa(f.TLSPort))
	require.NotEmpty(t, f.Password)
	st, err := os.Stat(cfg.KeepVV)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), "it holds a token")
	cancel()
	require.NoError(t, <-ended)
	require.NoFileExists(t, cfg.KeepVV)
}

// TestAKeptFileWorksAgainAfterItsConsoleWasDown: the console of proxyConfig is down, and the
// attempt uses up the token.
func TestAKeptFileWorksAgainAfterItsConsoleWasDown(t *testing.T) {
	t.Parallel()
	renewsAfterARefusal(t, proxyConfig(t))
}

// renewsAfterARefusal requires that a file gets another token after an attempt that failed.
func renewsAfterARefusal(t *testing.T, cfg headless.ProxyConfig) {
	t.Helper()
	p, err := headless.StartProxy(t.Context(), cfg)
	require.NoError(t, err)
	defer p.Close()
	first, err := vv.ReadFile(cfg.KeepVV)
	require.NoError(t, err)
	_, err = spice.Dial(t.Context(), spice.FromVV(first))
	require.ErrorContains(t, err, "error")
	require.Eventually(t, func() bool {
		f, err := vv.ReadFile(cfg.KeepVV)
		return err == nil && f.Password != first.Password
	}, 10*time.Second, time.Millisecond, "the file still has the token that was used up")
}

// A forgetful catalog has no console from the second request on, for as many requests as forgets
// says.
type forgetful struct {
	proxy.Catalog
	asked, forgets int
	mu             sync.Mutex
}

func (f *forgetful) Console(ctx context.Context, source, uuid string) (proxy.Console, error) {
	f.mu.Lock()
	f.asked++
	gone := f.asked > 1 && f.asked <= 1+f.forgets
	f.mu.Unlock()
	if gone {
		return proxy.Console{}, &proxy.UnknownConsoleError{Source: source, UUID: uuid}
	}
	return f.Catalog.Console(ctx, source, uuid)
}

// The attempt uses up the token, although the proxy does not get as far as the console.
func TestAKeptFileWorksAgainAfterItsConsoleWasUnknown(t *testing.T) {
	t.Parallel()
	for name, forgets := range map[string]int{"for a moment": 1, "even when the file is to be renewed": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := proxyConfig(t)
			cfg.Consoles = &forgetful{Catalog: cfg.Consoles, forgets: forgets}
			renewsAfterARefusal(t, cfg)
		})
	}
}

func TestADaemonWhoseReadinessNobodyTakesEnds(t *testing.T) {
	t.Parallel()
	gone := errors.New("nobody waits")
	cfg := proxyConfig(t)
	err := headless.RunProxy(t.Context(), cfg, func(headless.Ready) error { return gone })
	require.ErrorIs(t, err, gone)
	require.NoFileExists(t, cfg.KeepVV)
}

func TestAConsoleThatIsNotInTheCatalogCannotBeKept(t *testing.T) {
	t.Parallel()
	cfg := proxyConfig(t)
	cfg.KeepUUID = "6f4e2c1a-0000-4000-8000-00000000000f"
	err := headless.RunProxy(t.Context(), cfg, func(headless.Ready) error { t.Error("it says that it is ready"); return nil })
	require.ErrorContains(t, err, "virt-viewer file: ")
	require.NoFileExists(t, cfg.KeepVV)
}

func TestAClientThatReachesNothingLeavesNoSocket(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	require.NoError(t, ln.Close())
	dir := t.TempDir()
	cfg := headless.ClientConfig{
		VV: func(context.Context) (*vv.File, error) {
			return &vv.File{Type: "spice", Host: "127.0.0.1", Port: port}, nil
		},
		Socket: filepath.Join(dir, "control.sock"), Timeline: filepath.Join(dir, "timeline.ndjson"), TimelineStart: time.Now(),
	}
	err = headless.RunClient(t.Context(), cfg, func(headless.Ready) error { t.Error("it says that it is ready"); return nil })
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.NoFileExists(t, cfg.Socket)
}

// If the file cannot be had, no server has been asked yet. The cause is, for example, a relay that
// does not start, or a full disk.
func TestAClientThatGetsNoFileBlamesWhomTheFilesSourceBlames(t *testing.T) {
	t.Parallel()
	for _, kind := range []verdict.Kind{verdict.Product, verdict.Harness, verdict.Host} {
		none := &verdict.Error{Verdict: kind, Hop: verdict.HopProxy, Op: "link", Err: errors.New("it does not start")}
		_, err := headless.StartClient(t.Context(), headless.ClientConfig{
			VV:     func(context.Context) (*vv.File, error) { return nil, none },
			Socket: filepath.Join(t.TempDir(), "control.sock"),
		})
		require.ErrorIs(t, err, none)
		require.Equal(t, kind, verdict.Of(err))
		require.Equal(t, verdict.HopProxy, verdict.HopOf(err))
	}
}

func TestAClientThatIsNotAnsweredGivesUpInTime(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // and nobody accepts
	require.NoError(t, err)
	defer ln.Close()
	cfg := headless.ClientConfig{
		VV: func(context.Context) (*vv.File, error) {
			return &vv.File{Type: "spice", Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port}, nil
		},
		Socket: filepath.Join(t.TempDir(), "control.sock"), ConnectTimeout: 50 * time.Millisecond,
	}
	err = headless.RunClient(t.Context(), cfg, func(headless.Ready) error { t.Error("it says that it is ready"); return nil })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoFileExists(t, cfg.Socket)
}

func TestAProgramThatHasNotCalledMainIsToldSo(t *testing.T) {
	t.Parallel()
	_, err := headless.Role{Client: &headless.ClientRole{}}.Command()
	require.EqualError(t, err, "this program cannot be started once more as a proxy or client; call headless.Main first thing in main or TestMain")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}
