package proxy_test

// Which capabilities each side sees of the other, for every type of channel.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// offered links up to the console's capabilities.
func (l *lane) offered(connectionID uint32, t wire.ChannelType, caps wire.Caps) (*link.Pending, wire.Caps) {
	l.t.Helper()
	pending, err := link.Open(l.t.Context(), l.dial(), link.Config{ConnectionID: connectionID, Channel: wire.ChannelID{Type: t},
		CommonCaps: link.CommonCaps, ChannelCaps: caps})
	require.NoError(l.t, err)
	return pending, pending.ChannelCaps
}

func TestCapabilitiesPassBothWaysAsTheyWereSent(t *testing.T) {
	for _, kind := range wire.ChannelTypes() {
		if kind == wire.ChannelTunnel {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			// More than QEMU has, some of it unknown to this package.
			has := proxy.OfferedCaps(kind).Clone()
			has.Set(9)
			has.Set(70)
			c := newConsole(t, "tcp", nil)
			c.set(func(c *console) { c.caps = map[wire.ChannelType]wire.Caps{kind: has} })
			l := up(t, c, func(c *proxy.Config) { c.Firewall.Permit = everything })
			asked := wire.Caps{0x5a5a5a5a, 0, 0x80000001}
			var token string
			if kind == wire.ChannelMain {
				token = l.token()
				pending, got := l.offered(0, kind, asked)
				assert.Equal(t, proxy.OfferedCaps(kind), got, "nothing is known of the console yet")
				require.NoError(t, pending.Authenticate(t.Context(), token))
				assert.Equal(t, asked, c.next(t).request.ChannelCaps)
				return
			}
			token, _, _ = l.open()
			pending, got := l.offered(session, kind, asked)
			assert.Equal(t, proxy.OfferedCaps(kind).List(), got.List(), "the console has not answered for this channel yet")
			require.NoError(t, pending.Authenticate(t.Context(), token))
			assert.Equal(t, asked, c.next(t).request.ChannelCaps, "to the console as the client sent them")

			_, got = l.offered(session, kind, asked)
			assert.Equal(t, has, got, "to the client as the console sent them")
			next := wire.ChannelID{Type: kind, ID: 1}
			_, err := l.linkAs(link.Config{ConnectionID: session, Channel: next, CommonCaps: link.CommonCaps, ChannelCaps: asked, Secret: token})
			assert.NoError(t, err)
		})
	}
}

func TestAConsoleThatLacksWhatTheClientWasPromisedIsAnErrorOnce(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	less := wire.MakeCaps(wire.CapDisplayMonitorsConfig)
	c.set(func(c *console) { c.caps = map[wire.ChannelType]wire.Caps{wire.ChannelDisplay: less} })
	l := up(t, c)
	token, _, _ := l.open()
	wants := wire.MakeCaps(wire.CapDisplayMonitorsConfig, wire.CapDisplayPrefCompression)
	pending, _ := l.offered(session, wire.ChannelDisplay, wants)
	assertCode(t, pending.Authenticate(t.Context(), token), wire.ResultError)
	e := l.event(proxy.EventBackendFailed)
	var broken *proxy.PromiseError
	require.ErrorAs(t, e.Err, &broken)
	assert.ErrorContains(t, e.Err, `lacks the capabilities pref_compression`)
	// Now it is known what the console has.
	pending, got := l.offered(session, wire.ChannelDisplay, wants)
	assert.Equal(t, less, got)
	require.NoError(t, pending.Authenticate(t.Context(), token))
	c.next(t)
}

func TestWhatTheClientDoesNotUseIsNoPromise(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	c.set(func(c *console) { c.caps = map[wire.ChannelType]wire.Caps{wire.ChannelDisplay: nil} })
	l := up(t, c)
	token, _, _ := l.open()
	pending, _ := l.offered(session, wire.ChannelDisplay, nil)
	assert.NoError(t, pending.Authenticate(t.Context(), token))
}

func TestTheDirectoryOfTheCertificateIsWatched(t *testing.T) {
	dir := t.TempDir()
	put := func(b *pki.Bundle) {
		for name, text := range map[string][]byte{pki.CACertFile: b.CACert, pki.ServerKeyFile: b.ServerKey, pki.ServerCertFile: b.ServerCert} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		}
	}
	put(testBundle())
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.TLS, c.TLSDir = nil, dir })
	_, client, server := l.open()
	fresh, err := pki.New(pki.Config{CommonName: "renewed"})
	require.NoError(t, err)
	// Good, bad, good.
	put(fresh)
	require.Eventually(t, func() bool { return l.vv().HostSubject == fresh.HostSubject }, most, 5*time.Millisecond)
	require.NoError(t, os.WriteFile(filepath.Join(dir, pki.ServerCertFile), []byte("half"), 0o600))
	require.Eventually(t, func() bool { return strings.Contains(l.log.String(), "the last good one stays") }, most, 5*time.Millisecond)
	assert.Equal(t, fresh.HostSubject, l.vv().HostSubject)
	put(testBundle())
	require.Eventually(t, func() bool { return l.vv().HostSubject == testBundle().HostSubject }, most, 5*time.Millisecond)
	_, err = l.link(l.token(), 0, mainChannel)
	assert.NoError(t, err)
	write(t, server, message(4, nil))
	expect(t, client, message(4, nil))
}

func TestANewCertificateIsForNewConnectionsAndFiles(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, client, server := l.open()
	fresh, err := pki.New(pki.Config{CommonName: "renewed"})
	require.NoError(t, err)
	l.SetTLS(fresh)
	write(t, server, message(4, nil))
	expect(t, client, message(4, nil))
	file := l.vv()
	want := vv.File{CA: string(fresh.CACert), HostSubject: fresh.HostSubject}
	assert.Equal(t, want, vv.File{CA: file.CA, HostSubject: file.HostSubject})
	l.tls = fresh
	_, err = l.link(file.Password, 0, mainChannel)
	assert.NoError(t, err)
}
