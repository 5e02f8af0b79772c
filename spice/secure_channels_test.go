package spice_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// twoPorts stands for a QEMU with a plaintext port, 5930, and a TLS port, 5931. It notes
// the ports that are dialled.
type twoPorts struct {
	secure *tls.Config
	path   string                   // of the server behind both
	plain  func() (net.Conn, error) // instead of path, at the plaintext port
	mu     sync.Mutex
	dialed []string
	wg     sync.WaitGroup
}

func (p *twoPorts) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	p.dialed = append(p.dialed, addr)
	p.mu.Unlock()
	switch addr {
	case "kvm.example:5930":
		if p.plain != nil {
			return p.plain()
		}
		return new(net.Dialer).DialContext(ctx, "unix", p.path)
	case "kvm.example:5931":
	default:
		return nil, fmt.Errorf("nobody listens on %s", addr)
	}
	behind, err := new(net.Dialer).DialContext(ctx, "unix", p.path)
	if err != nil {
		return nil, err
	}
	near, far := spicetest.Pipe()
	server := tls.Server(far, p.secure)
	copy := func(to, from net.Conn) {
		defer p.wg.Done()
		defer to.Close()
		io.Copy(to, from)
	}
	p.wg.Add(2)
	go copy(server, behind)
	go copy(behind, server)
	return near, nil
}

// took returns how often a port was dialled.
func (p *twoPorts) took(port string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, addr := range p.dialed {
		if addr == "kvm.example:"+port {
			n++
		}
	}
	return n
}

func newTwoPorts(t *testing.T, path string) (*twoPorts, vv.File) {
	t.Helper()
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	p := &twoPorts{secure: bundle.ServerTLS(), path: path}
	t.Cleanup(p.wg.Wait)
	return p, vv.File{Host: "kvm.example", Port: 5930, TLSPort: 5931, Password: ticket,
		CA: string(bundle.CACert), HostSubject: bundle.HostSubject}
}

// https://github.com/avocado-framework/avocado-vt/issues/967: libvirt gives some channels of a guest
// mode='secure' and others mode='insecure', and the virt-viewer file names the former.
func TestASecureChannelUsesTLSAndAnotherThePlainPort(t *testing.T) {
	inputs := wire.ChannelID{Type: wire.ChannelInputs}
	for _, tc := range []struct {
		channels      []string
		plain, secure int
	}{
		{[]string{"main", "inputs"}, 1, 2},
		{[]string{"display"}, 2, 1},
		{[]string{"all"}, 0, 3},
		{[]string{"playback"}, 3, 0},
		{nil, 0, 3},
	} {
		t.Run(fmt.Sprint(tc.channels), func(t *testing.T) {
			s := serve(t, displayID, inputs)
			ports, file := newTwoPorts(t, s.path)
			file.SecureChannels = tc.channels
			cfg := spice.FromVV(&file)
			cfg.DialFunc = ports.dial
			c, err := spice.Dial(t.Context(), cfg)
			require.NoError(t, err)
			require.NoError(t, c.Close())
			require.Equal(t, tc.plain, ports.took("5930"), "plaintext connections")
			require.Equal(t, tc.secure, ports.took("5931"), "TLS connections")
		})
	}
}

// A server knows best which channels it takes on which port: QEMU's tls-channel= does.
func TestAChannelThatTheServerWantsSecuredGoesToTheTLSPort(t *testing.T) {
	s := serve(t, displayID)
	ports, file := newTwoPorts(t, s.path)
	refusing := spicetest.Start(t, spicetest.Config{Scripts: map[wire.ChannelID]spicetest.Script{
		displayID: {Refuse: wire.ResultNeedSecured},
	}})
	ports.plain = func() (net.Conn, error) { return refusing.Dial(t.Context(), "tcp", "") }
	file.SecureChannels = []string{"main"}
	cfg := spice.FromVV(&file)
	cfg.DialFunc = ports.dial
	c, err := spice.Dial(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, 1, ports.took("5930"))
	require.Equal(t, 2, ports.took("5931"))
}

func TestAChannelThatTheServerWantsPlainGoesThereUnlessTheFileForbidsIt(t *testing.T) {
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	for _, named := range []bool{false, true} {
		s := serve(t)
		file := vv.File{Host: "kvm.example", Port: 5930, TLSPort: 5931, Password: ticket, CA: string(bundle.CACert), HostSubject: bundle.HostSubject}
		if named {
			file.SecureChannels = []string{"main"}
		}
		refusing := spicetest.Start(t, spicetest.Config{TLS: bundle.ServerTLS(), Scripts: map[wire.ChannelID]spicetest.Script{
			{Type: wire.ChannelMain}: {Refuse: wire.ResultNeedUnsecured},
		}})
		var dialed []string
		cfg := spice.FromVV(&file)
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialed = append(dialed, addr)
			if addr == "kvm.example:5931" {
				return refusing.Dial(ctx, network, addr)
			}
			return new(net.Dialer).DialContext(ctx, "unix", s.path)
		}
		c, err := spice.Dial(t.Context(), cfg)
		if named {
			require.ErrorContains(t, err, "this channel takes no TLS")
			require.False(t, slices.Contains(dialed, "kvm.example:5930"))
			continue
		}
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.Equal(t, []string{"kvm.example:5931", "kvm.example:5930"}, dialed)
	}
}

func TestSecureChannelsWithoutATLSPortAreRefused(t *testing.T) {
	_, err := spice.Dial(t.Context(), spice.FromVV(&vv.File{Host: "a", Port: 1, SecureChannels: []string{"main", "inputs"}}))
	require.EqualError(t, err, "spice: config wants TLS for main, inputs and has no TLSPort")
	var config *spice.ConfigError
	require.ErrorAs(t, err, &config)
}

// https://github.com/OpenNebula/one/issues/5393: the file's host is a name that only its
// proxy understands.
func TestAnHTTPProxyIsNeverIgnored(t *testing.T) {
	_, err := spice.Dial(t.Context(), spice.FromVV(&vv.File{Host: "pvespiceproxy:65418c61:1006", TLSPort: 61000, Proxy: "http://127.0.0.1:3128"}))
	require.ErrorContains(t, err, "leads through an HTTP proxy")
	require.NotContains(t, err.Error(), "lookup")
}

func TestAnIPv6HostMayHaveBrackets(t *testing.T) {
	for _, host := range []string{"::1", "[::1]"} {
		s := serve(t)
		cfg := spice.Config{Host: host, Port: 5930, Password: ticket, DialFunc: func(ctx context.Context, _, addr string) (net.Conn, error) {
			require.Equal(t, "[::1]:5930", addr)
			return new(net.Dialer).DialContext(ctx, "unix", s.path)
		}}
		c, err := spice.Dial(t.Context(), cfg)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
}

// connects is an HTTP proxy that leads to ports, and notes what it is asked for.
func connects(t *testing.T, ports *twoPorts) (url string, asked func() []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var mu sync.Mutex
	var targets []string
	serve := func(conn net.Conn) {
		defer conn.Close()
		// Nothing follows the request before its answer.
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		mu.Lock()
		targets = append(targets, request.Method+" "+request.RequestURI)
		mu.Unlock()
		back, err := ports.dial(t.Context(), "tcp", request.RequestURI)
		if err != nil {
			return
		}
		defer back.Close()
		io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n")
		ports.wg.Go(func() {
			io.Copy(back, conn)
			back.Close()
		})
		io.Copy(conn, back)
	}
	ports.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			ports.wg.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close() })
	return "http://" + ln.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(targets)
		return slices.Clone(targets)
	}
}

func TestBehindAnHTTPProxyAPlainChannelGoesToThePlainPort(t *testing.T) {
	const plain, secure = "CONNECT kvm.example:5930", "CONNECT kvm.example:5931"
	for _, tc := range []struct {
		channels []string
		want     []string
	}{
		{[]string{"main"}, []string{plain, plain, secure}},
		{[]string{"display", "inputs"}, []string{plain, secure, secure}},
		{[]string{"all"}, []string{secure, secure, secure}},
		{nil, []string{secure, secure, secure}},
	} {
		t.Run(fmt.Sprint(tc.channels), func(t *testing.T) {
			s := serve(t, displayID, wire.ChannelID{Type: wire.ChannelInputs})
			ports, file := newTwoPorts(t, s.path)
			proxy, asked := connects(t, ports)
			file.Proxy, file.SecureChannels = proxy, tc.channels
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			c, err := spice.Dial(ctx, spice.FromVV(&file))
			require.NoError(t, err)
			require.NoError(t, c.Close())
			require.Equal(t, tc.want, asked())
		})
	}
}
