package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/proxy/adversary"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

const attackedUUID = "6f4e2c1a-0000-0000-0000-000000000001"

// attacked is a console that greets every client.
func attacked(t *testing.T) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, err := spicetest.NewServer(spicetest.Config{Ticket: "ticket", Scripts: map[wire.ChannelID]spicetest.Script{
		{Type: wire.ChannelMain}: {Steps: []spicetest.Step{spicetest.Send(&wire.MainInit{SessionID: 7})}},
	}})
	require.NoError(t, err)
	server.ServeListener(ln)
	t.Cleanup(func() { ln.Close(); _ = server.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}

func attack(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newAttack()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// proxyAttacked is the built-in proxy in front of a console, with a file that always has a fresh token.
func proxyAttacked(t *testing.T, c console.Console, life time.Duration) (p *headless.Proxy, file string) {
	t.Helper()
	c.UUID, c.Name, c.Hypervisor = attackedUUID, "beacon", "localhost"
	src, err := sources.NewStatic("lab", c)
	require.NoError(t, err)
	catalog, err := sources.NewCatalog(src)
	require.NoError(t, err)
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "console.vv")
	p, err = headless.StartProxy(t.Context(), headless.ProxyConfig{KeepVV: file, KeepSource: "lab", KeepUUID: attackedUUID,
		Config: proxy.Config{TLS: bundle, Consoles: catalog, ListenWebSocket: proxy.DefaultAddr, TokenLifetime: life,
			HandshakeTimeout: time.Second, Linger: 50 * time.Millisecond}})
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p, file
}

func TestAttackPassesTheBuiltInProxyAndPrintsATable(t *testing.T) {
	need.Long(t)
	t.Parallel()
	p, file := proxyAttacked(t, console.Console{HypervisorIP: "127.0.0.1", InsecurePort: attacked(t), Ticket: "ticket"}, 0)
	out, err := attack(t, p.TLSAddr(), "--vv", file, "--plain", p.Addr(), "--api", p.APIAddr(),
		"--websocket", p.WebSocketAddr(), "--one-session")
	require.NoError(t, err, out)
	assert.Regexp(t, `(?m)^PASS +token/replayed +permission_denied +want permission_denied`, out)
	assert.Regexp(t, `(?m)^PASS +websocket/text +close 1003 +want close 1003`, out)
	assert.Regexp(t, `(?m)^SKIP +console/dead +needs a console that can be played`, out)
	assert.Regexp(t, `verdict: PASS, 1[0-3]\d cases\n$`, out)
	assert.NotContains(t, out, "FAIL")
}

// TestAttackPlaysTheConsoleOfAnyProxyAndShowsForeignAndExpiredTokens gives the attack all that a proxy of
// somebody else can give.
func TestAttackPlaysTheConsoleOfAnyProxyAndShowsForeignAndExpiredTokens(t *testing.T) {
	need.Long(t)
	t.Parallel()
	// Nobody else listens on this address, so the port stays free.
	ln, err := net.Listen("tcp", "127.0.77.1:0")
	require.NoError(t, err)
	addr := ln.Addr().(*net.TCPAddr)
	require.NoError(t, ln.Close())
	to := console.Console{HypervisorIP: addr.IP.String(), InsecurePort: addr.Port, Ticket: adversary.Ticket}
	p, file := proxyAttacked(t, to, 2*time.Second)
	_, foreign := proxyAttacked(t, to, 0)
	out, err := attack(t, p.TLSAddr(), "--vv", file, "--one-session", "--console", addr.String(), "--foreign-vv", foreign, "--token-lifetime", "2s")
	require.NoError(t, err, out)
	assert.Regexp(t, `(?m)^PASS +token/expired +permission_denied `, out)
	assert.Regexp(t, `(?m)^PASS +token/of another proxy +permission_denied `, out)
	for _, name := range []string{"dead", "hangs up after the link", "does not know our ticket", "wants TLS", "another version"} {
		assert.Regexp(t, `(?m)^PASS +console/`+name+` +error `, out)
	}
	assert.Regexp(t, `(?m)^SKIP +console/certificate expired +needs a console whose TLS can be chosen`, out)
	assert.NotContains(t, out, "FAIL")
}

func TestAttackDoesNotBeginIfATokenCannotExpireInTime(t *testing.T) {
	_, err := attack(t, "127.0.0.1:1", "--vv", "none.vv", "--token-lifetime", "40s", "--timeout", "50s")
	require.EqualError(t, err, "--timeout 50s: the attack waits for 50s until a token has expired")
	require.Equal(t, 2, verdict.Of(err).ExitCode())
}

func TestAttackFailsARelayThatUnderstandsNothing(t *testing.T) {
	need.Long(t)
	t.Parallel()
	port := attacked(t)
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", bundle.ServerTLS())
	require.NoError(t, err)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); ln.Close(); wg.Wait() }()
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				back, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
				if err != nil {
					return
				}
				defer back.Close()
				defer context.AfterFunc(ctx, func() { conn.Close(); back.Close() })()
				wg.Go(func() { _, _ = io.Copy(back, conn); back.Close() })
				_, _ = io.Copy(conn, back)
			})
		}
	})
	file := filepath.Join(t.TempDir(), "relay.vv")
	text, err := vv.File{Type: "spice", Host: "127.0.0.1", TLSPort: ln.Addr().(*net.TCPAddr).Port, Password: "ticket",
		CA: string(bundle.CACert), HostSubject: bundle.HostSubject}.MarshalText()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	out, err := attack(t, ln.Addr().String(), "--vv", file, "--patience", "300ms")
	var fault *verdict.Error
	require.True(t, errors.As(err, &fault), "%v\n%s", err, out)
	assert.Equal(t, verdict.Product, fault.Verdict)
	assert.Regexp(t, `\d+ of \d+ answers were wrong`, err.Error())
	assert.Contains(t, out, "FAIL")
	t.Log("\n" + out)
}

func TestWrongAnswersCountThoughTheAttackTookTooLong(t *testing.T) {
	late, cancel := context.WithTimeoutCause(t.Context(), 0, errors.New("the attack took longer than 0s"))
	defer cancel()
	err := attackError(t.Context(), late, 2, 9)
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.EqualError(t, err, "attack: 2 of 9 answers were wrong")
	err = attackError(t.Context(), late, 0, 9)
	require.Equal(t, verdict.Harness, verdict.Of(err))
	require.EqualError(t, err, "the attack took longer than 0s")
	require.EqualError(t, attackError(late, late, 2, 9), "interrupted")
	require.NoError(t, attackError(t.Context(), t.Context(), 0, 9))
}

func TestAttackSaysWhenNoClientIsServedAtAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dead.vv")
	require.NoError(t, os.WriteFile(file, []byte("[virt-viewer]\ntype=spice\nhost=127.0.0.1\ntls-port=1\npassword=x\n"), 0o600))
	_, err := attack(t, "127.0.0.1:1", "--vv", file)
	assert.ErrorContains(t, err, "127.0.0.1:1 does not serve a well-behaved client")
	_, err = attack(t, "127.0.0.1:1")
	assert.ErrorContains(t, err, "attack needs --vv FILE")
}
