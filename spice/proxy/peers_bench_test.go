package proxy_test

// Our proxy beside what people put in front of a SPICE server otherwise. Each peer is a
// process of its own, and the process of the test plays client and console:
//
//	client ──TLS 1.3──► peer ──TCP──► console

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// peer is a program that relays from a TLS port to a plain TCP server.
type peer struct {
	name string
	// program and config are of one that is not ours. In config, %[1]d is the port,
	// %[2]d the console's, and %[3]s the directory with the certificate.
	program, config string
	args            func(config string) []string
}

// The limits of the peers are high enough for 1,000 sessions; else they are as they come.
var peers = []peer{
	{name: "spicelane"},
	{name: "direct"},
	{name: "io.Copy"},
	{"nginx", "nginx", `daemon off; worker_processes 2; worker_rlimit_nofile 20000; error_log stderr crit; pid %[3]s/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 9000; }
stream { server { listen 127.0.0.1:%[1]d ssl backlog=4096; ssl_certificate %[3]s/server-cert.pem; ssl_certificate_key %[3]s/server-key.pem; proxy_pass 127.0.0.1:%[2]d; proxy_buffer_size 64k; tcp_nodelay on; } }
`, func(c string) []string { return []string{"-c", c} }},
	{"haproxy", "haproxy", `global
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend f
  bind 127.0.0.1:%[1]d ssl crt %[3]s/server.pem
  default_backend b
backend b
  server s 127.0.0.1:%[2]d
`, func(c string) []string { return []string{"-db", "-f", c} }},
	{"stunnel", "stunnel4", `foreground = yes
pid =
debug = 3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[s]
accept = 127.0.0.1:%[1]d
connect = 127.0.0.1:%[2]d
cert = %[3]s/server-cert.pem
key = %[3]s/server-key.pem
`, func(c string) []string { return []string{c} }},
}

// BenchmarkPeers compares, for each peer, the throughput of a display channel in messages
// of 1 MiB, the round trip of a message of 18 bytes, how many channels are linked in a
// second, and what 1,000 idle sessions of four channels cost. CPU time and memory are
// those of the peer alone. A peer that is not installed is skipped.
//
// scripts/bench-proxy.sh runs it in rounds and prints a table.
func BenchmarkPeers(b *testing.B) {
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			if p.program != "" {
				if _, err := exec.LookPath(p.program); err != nil {
					b.Skip(err)
				}
			}
			b.Run("throughput", func(b *testing.B) { measureThroughput(b, p) })
			b.Run("round trip", func(b *testing.B) { measureRoundTrip(b, p) })
			b.Run("links", func(b *testing.B) { measureLinks(b, p) })
			b.Run("idle", func(b *testing.B) { measureIdle(b, p) })
		})
	}
}

func measureThroughput(b *testing.B, p peer) {
	s := start(b, p)
	client, server := s.display(b)
	msg := message(304, make([]byte, 1<<20-6))
	b.SetBytes(int64(len(msg)))
	var wg sync.WaitGroup
	wg.Go(func() {
		for range b.N {
			if _, err := server.Write(msg); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ResetTimer()
	cpu := s.cpu(b)
	_, err := io.CopyN(io.Discard, client, int64(b.N)*int64(len(msg)))
	b.StopTimer()
	require.NoError(b, err)
	wg.Wait()
	b.ReportMetric((s.cpu(b)-cpu).Seconds()*1e3/(float64(b.N)*float64(len(msg))/1e9), "cpu-ms/GB")
}

func measureRoundTrip(b *testing.B, p peer) {
	s := start(b, p)
	client, server := s.display(b)
	msg := message(3, make([]byte, 12))
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, len(msg))
		for {
			if _, err := io.ReadFull(server, buf); err != nil {
				return
			}
			if _, err := server.Write(buf); err != nil {
				return
			}
		}
	})
	buf := make([]byte, len(msg))
	took := make([]time.Duration, 0, 1<<16)
	for b.Loop() {
		began := time.Now()
		_, err := client.Write(msg)
		require.NoError(b, err)
		_, err = io.ReadFull(client, buf)
		require.NoError(b, err)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
	client.Close()
	server.Close()
	wg.Wait()
}

// measureLinks links main channels, four clients at once, each from connecting to being
// let in by the console.
func measureLinks(b *testing.B, p peer) {
	s := start(b, p)
	go s.serve()
	secrets := make(chan string, b.N)
	for range b.N {
		secrets <- s.secret(b)
	}
	close(secrets)
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu := s.cpu(b)
	for range 4 {
		wg.Go(func() {
			for secret := range secrets {
				conn, err := s.link(secret, 0, mainChannel)
				if err != nil {
					b.Error(err)
					return
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "links/s")
	b.ReportMetric(float64((s.cpu(b)-cpu).Microseconds())/float64(b.N), "cpu-us/link")
}

// idleSessions is how many sessions wait for something to happen, and idleFor how long
// they are watched.
const (
	idleSessions = 1000
	idleFor      = 10 * time.Second
)

func measureIdle(b *testing.B, p peer) {
	if p.name == "direct" {
		b.Skip("there is no peer that could cost anything")
	}
	s := start(b, p)
	go s.serve()
	open := s.sessions(b, idleSessions)
	// What is measured is that nothing happens: there is nothing to wait for but time. At
	// first a peer still tidies up.
	time.Sleep(idleFor / 2)
	cpu := s.cpu(b)
	time.Sleep(idleFor)
	b.ReportMetric(float64((s.cpu(b)-cpu).Microseconds())/1e3/idleFor.Seconds(), "idle-cpu-ms/s")
	b.ReportMetric(float64(s.resident(b))/1e6, "idle-MB")
	for _, conn := range open {
		require.NoError(b, conn.SetReadDeadline(time.Now()))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(b, err, os.ErrDeadlineExceeded, "an idle session has ended")
	}
}

// standing is a peer that runs, in front of a console.
type standing struct {
	console *console
	addr    string
	api     string // of ours: where tokens come from
	group   int    // process group; 0 if there is no process
	clients atomic.Uint64
}

func start(t testing.TB, p peer) *standing {
	t.Helper()
	if p.name == "direct" {
		c := newConsole(t, "tcp", testBundle())
		return &standing{console: c, addr: c.ln.Addr().String()}
	}
	s := &standing{console: newConsole(t, "tcp", nil)}
	dir := t.TempDir()
	require.NoError(t, testBundle().WriteDir(filepath.Join(dir, "tls")))
	var cmd *exec.Cmd
	if p.program == "" {
		self, err := os.Executable()
		require.NoError(t, err)
		cmd = exec.Command(self, asPeer, p.name, filepath.Join(dir, "tls"), s.console.ln.Addr().String())
	} else {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s.addr = free.Addr().String()
		free.Close()
		tlsDir := filepath.Join(dir, "tls")
		both := slices.Concat(testBundle().ServerCert, testBundle().ServerKey)
		require.NoError(t, os.WriteFile(filepath.Join(tlsDir, "server.pem"), both, 0o600))
		config := filepath.Join(dir, "config")
		require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, p.config, portOf(s.addr), portOf(s.console.ln.Addr().String()), tlsDir), 0o600))
		// Debian's nginx gives its workers to another user.
		for _, d := range []string{dir, tlsDir} {
			require.NoError(t, os.Chmod(d, 0o755))
		}
		program, err := exec.LookPath(p.program)
		require.NoError(t, err)
		cmd = exec.Command(program, p.args(config)...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = &safeBuffer{}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s.group = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(most, func() { _ = syscall.Kill(-s.group, syscall.SIGKILL) })
		_ = cmd.Wait()
		timer.Stop()
	})
	if p.program == "" {
		var at [2]string
		require.NoError(t, json.NewDecoder(stdout).Decode(&at), "%s", cmd.Stderr)
		s.addr, s.api = at[0], at[1]
		return s
	}
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, most, 10*time.Millisecond, "%s does not listen: %s", p.name, cmd.Stderr)
	return s
}

func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

// secret returns what opens one more session.
func (s *standing) secret(t testing.TB) string {
	if s.api == "" {
		return ticket
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.api+"/console/proxy/"+source+"/"+uuid+"/console.vv", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+apiToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	file, err := vv.Parse("console.vv", text)
	require.NoError(t, err, "%s", text)
	return file.Password
}

// link links a channel as a client. Clients come from several addresses.
func (s *standing) link(secret string, connectionID uint32, id wire.ChannelID) (net.Conn, error) {
	from := net.IPv4(127, 0, 0, byte(2+s.clients.Add(1)%16))
	raw, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, pki.ClientTLS(testBundle().CAPool(), "localhost", ""))
	ctx, cancel := context.WithTimeout(context.Background(), 6*most)
	defer cancel()
	if _, err := link.Client(ctx, conn, link.Config{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps, Secret: secret}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// session opens a session of four channels.
func (s *standing) session(secret string) (conns []net.Conn, err error) {
	hello := make([]byte, len(message(mainInitType, mainInit(session))))
	for _, t := range []wire.ChannelType{wire.ChannelMain, wire.ChannelDisplay, wire.ChannelInputs, wire.ChannelCursor} {
		connectionID := uint32(session)
		if t == wire.ChannelMain {
			connectionID = 0
		}
		conn, err := s.link(secret, connectionID, wire.ChannelID{Type: t})
		if err != nil {
			return conns, fmt.Errorf("%s: %w", t, err)
		}
		conns = append(conns, conn)
		if t == wire.ChannelMain {
			if _, err := io.ReadFull(conn, hello); err != nil {
				return conns, err
			}
		}
	}
	return conns, nil
}

// sessions opens sessions of four channels, and ends them with the test.
func (s *standing) sessions(t testing.TB, n int) (open []net.Conn) {
	t.Helper()
	secrets := make(chan string)
	var mu sync.Mutex
	t.Cleanup(func() {
		for _, conn := range open {
			conn.Close()
		}
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for secret := range secrets {
				conns, err := s.session(secret)
				mu.Lock()
				open = append(open, conns...)
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range n {
		secrets <- s.secret(t)
	}
	close(secrets)
	wg.Wait()
	return open
}

// serve plays the console until that is closed: it gives each session its connection id,
// and hangs up when the client does.
func (s *standing) serve() {
	for served := range s.console.linked {
		go func() {
			defer served.Close()
			if served.request.Channel == mainChannel {
				if _, err := served.Write(message(mainInitType, mainInit(session))); err != nil {
					return
				}
			}
			_, _ = served.Read(make([]byte, 1))
		}()
	}
}

// display opens a session and returns both ends of its display channel.
func (s *standing) display(b *testing.B) (client net.Conn, server *served) {
	b.Helper()
	secret := s.secret(b)
	main, err := s.link(secret, 0, mainChannel)
	require.NoError(b, err)
	b.Cleanup(func() { main.Close() })
	write(b, s.console.next(b), message(mainInitType, mainInit(session)))
	expect(b, main, message(mainInitType, mainInit(session)))
	client, err = s.link(secret, session, display)
	require.NoError(b, err)
	b.Cleanup(func() { client.Close() })
	return client, s.console.next(b)
}

// processes returns the numbers of the peer's processes.
func (s *standing) processes(t testing.TB) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range stats {
		if fields := statOf(path); fields != nil && fields[2] == strconv.Itoa(s.group) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// statOf returns the fields of a process that follow its name, proc(5): state, parent,
// process group, …; nil if it has gone.
func statOf(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// cpu returns the processor time that the peer has used.
func (s *standing) cpu(t testing.TB) (sum time.Duration) {
	t.Helper()
	if s.group == 0 {
		return 0
	}
	for _, pid := range s.processes(t) {
		if fields := statOf(fmt.Sprintf("/proc/%d/stat", pid)); fields != nil {
			for _, ticks := range fields[11:13] { // user and system, in hundredths of a second
				n, err := strconv.Atoi(ticks)
				require.NoError(t, err)
				sum += time.Duration(n) * 10 * time.Millisecond
			}
		}
	}
	return sum
}

// resident returns the memory that the peer holds in RAM, in bytes.
func (s *standing) resident(t testing.TB) (sum int) {
	t.Helper()
	for _, pid := range s.processes(t) {
		fields, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		require.NoError(t, err)
		pages, err := strconv.Atoi(strings.Fields(string(fields))[1])
		require.NoError(t, err)
		sum += pages * os.Getpagesize()
	}
	return sum
}

// asPeer is the first argument that makes the test binary a peer: "spicelane" or
// "io.Copy", the directory of a certificate, and the address of the console.
const asPeer = "as-peer"

// runPeer prints the addresses of the TLS port and the API, and relays until SIGTERM.
func runPeer(name, tlsDir, consoleAddr string) error {
	bundle, err := pki.LoadDir(tlsDir)
	if err != nil {
		return err
	}
	addrs := [2]string{}
	if name == "spicelane" {
		// All limits, the firewall and the audit log are those of `spicelane proxy`.
		audit, err := os.Create(filepath.Join(tlsDir, "audit"))
		if err != nil {
			return err
		}
		one := &console{Console: proxy.Console{Source: source, UUID: uuid, Name: "beacon", Hypervisor: "localhost",
			HypervisorIP: "127.0.0.1", InsecurePort: portOf(consoleAddr), Ticket: ticket}}
		p, err := proxy.Start(context.Background(), proxy.Config{TLS: bundle, Consoles: &lab{consoles: []*console{one}},
			APIToken: apiToken, Audit: audit})
		if err != nil {
			return err
		}
		addrs = [2]string{p.TLSAddr(), p.APIAddr()}
	} else {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", bundle.ServerTLS())
		if err != nil {
			return err
		}
		addrs[0] = ln.Addr().String()
		go copyRelay(ln, consoleAddr)
	}
	if err := json.NewEncoder(os.Stdout).Encode(addrs); err != nil {
		return err
	}
	select {} // SIGTERM ends it
}

// copyRelay is the plainest relay that Go can have.
func copyRelay(ln net.Listener, to string) {
	for {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer server.Close()
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(client, server)
		}()
	}
}
