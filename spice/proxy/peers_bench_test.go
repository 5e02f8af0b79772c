package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// A peer relays from a TLS port to a plain TCP server.
type peer struct {
	name, program string
	config        string // %[1]d port, %[2]d backend's port, %[3]s directory of server.pem and so on
	args          func(config string) []string
}

var peers = []peer{
	{"nginx", "nginx", `daemon off; worker_processes 2; error_log stderr crit; pid %[3]s/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 4096; }
stream { server { listen 127.0.0.1:%[1]d ssl; ssl_certificate %[3]s/server-cert.pem; ssl_certificate_key %[3]s/server-key.pem; proxy_pass 127.0.0.1:%[2]d; proxy_buffer_size 64k; tcp_nodelay on; } }
`, func(c string) []string { return []string{"-c", c} }},
	{"haproxy", "haproxy", `global
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:%[1]d ssl crt %[3]s/both.pem
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

// BenchmarkPeers compares our proxy, its firewall on, with a direct connection and
// with what people put in front of a SPICE server otherwise: throughput from the console
// in messages of 1 MiB, and the round trip of a message of 18 bytes. All clients speak
// TLS 1.3, all consoles plain TCP. A peer that is not installed is skipped.
func BenchmarkPeers(b *testing.B) {
	measure := func(b *testing.B, connect func(b *testing.B) (client, server net.Conn)) {
		b.Run("throughput", func(b *testing.B) {
			client, server := connect(b)
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
			_, err := io.CopyN(io.Discard, client, int64(b.N)*int64(len(msg)))
			require.NoError(b, err)
			wg.Wait()
		})
		b.Run("round trip", func(b *testing.B) {
			client, server := connect(b)
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
			reportPercentiles(b, took)
			client.Close()
			server.Close()
			wg.Wait()
		})
	}
	b.Run("spicelane", func(b *testing.B) {
		measure(b, func(b *testing.B) (net.Conn, net.Conn) {
			l := up(b, newConsole(b, "tcp", nil), func(c *proxy.Config) { c.Now = nil })
			token, _, _ := l.open()
			client, err := l.link(token, session, display)
			require.NoError(b, err)
			return client, l.console.next(b)
		})
	})
	b.Run("direct", func(b *testing.B) {
		measure(b, func(b *testing.B) (net.Conn, net.Conn) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", testBundle().ServerTLS())
			require.NoError(b, err)
			b.Cleanup(func() { ln.Close() })
			return through(b, ln.Addr().String(), ln, true)
		})
	})
	b.Run("io.Copy", func(b *testing.B) {
		measure(b, func(b *testing.B) (net.Conn, net.Conn) {
			backend, front := listen(b), listen(b)
			var wg sync.WaitGroup
			wg.Go(func() {
				conn, err := tls.NewListener(front, testBundle().ServerTLS()).Accept()
				if err != nil {
					return
				}
				back, err := net.Dial("tcp", backend.Addr().String())
				if err != nil {
					return
				}
				wg.Go(func() { _, _ = io.Copy(back, conn); back.Close() })
				_, _ = io.Copy(conn, back)
				conn.Close()
			})
			b.Cleanup(wg.Wait)
			return through(b, front.Addr().String(), backend, false)
		})
	})
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			program, err := exec.LookPath(p.program)
			if err != nil {
				b.Skip(err)
			}
			measure(b, func(b *testing.B) (net.Conn, net.Conn) {
				backend, free := listen(b), listen(b)
				port := free.Addr().(*net.TCPAddr).Port
				free.Close()
				dir := b.TempDir()
				require.NoError(b, os.Chmod(dir, 0o755))
				for name, text := range map[string][]byte{"server-cert.pem": testBundle().ServerCert, "server-key.pem": testBundle().ServerKey,
					"both.pem": append(append([]byte{}, testBundle().ServerCert...), testBundle().ServerKey...),
					"config":   fmt.Appendf(nil, p.config, port, backend.Addr().(*net.TCPAddr).Port, dir)} {
					require.NoError(b, os.WriteFile(filepath.Join(dir, name), text, 0o600))
				}
				cmd := exec.Command(program, p.args(filepath.Join(dir, "config"))...)
				require.NoError(b, cmd.Start())
				b.Cleanup(func() {
					_ = cmd.Process.Signal(os.Interrupt)
					_ = cmd.Wait()
				})
				addr := fmt.Sprintf("127.0.0.1:%d", port)
				require.Eventually(b, func() bool {
					conn, err := net.Dial("tcp", addr)
					if err == nil {
						conn.Close()
					}
					return err == nil
				}, most, 10*time.Millisecond)
				return through(b, addr, backend, false)
			})
		})
	}
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { ln.Close() })
	return ln
}

// through connects a TLS client to addr and returns the connection that the backend got
// for it. A peer may connect to the backend for nothing before: the one that a byte comes
// over is the client's.
func through(b *testing.B, addr string, backend net.Listener, secure bool) (client, server net.Conn) {
	b.Helper()
	got := make(chan net.Conn, 16)
	go func() {
		for {
			conn, err := backend.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
					got <- conn
				} else {
					conn.Close()
				}
			}()
		}
	}()
	client, err := tls.Dial("tcp", addr, pki.ClientTLS(testBundle().CAPool(), "localhost", ""))
	require.NoError(b, err)
	b.Cleanup(func() { client.Close() })
	_, err = client.Write([]byte{0})
	require.NoError(b, err)
	server = <-got
	b.Cleanup(func() { server.Close() })
	return client, server
}

// reportPercentiles adds the median and the 99th percentile of round trips.
func reportPercentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
}
