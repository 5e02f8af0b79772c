package proxy_test

import (
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/internal/race"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// leftovers is what a process holds.
type leftovers struct {
	goroutines, descriptors int
	heap                    uint64 // bytes that are in use
}

func countLeftovers(t testing.TB) leftovers {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	// Pools are emptied by the second collection.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return leftovers{runtime.NumGoroutine(), len(open), m.HeapAlloc}
}

// churn lets n clients come and go. Each goes in another way: without a word, after the
// TLS handshake, in the middle of the link, with a reset, refused for its token, and from
// an open session.
func (l *lane) churn(n int) {
	l.t.Helper()
	config := pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject)
	for i := range n {
		raw, err := net.Dial("tcp", l.TLSAddr())
		require.NoError(l.t, err)
		if i%6 > 0 {
			conn := tls.Client(raw, config)
			require.NoError(l.t, conn.HandshakeContext(l.t.Context()))
			cfg := link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: "no such token"}
			switch i % 6 {
			case 2:
				_, err = conn.Write(link.Request{Channel: mainChannel, CommonCaps: link.CommonCaps}.Append(nil)[:20])
				require.NoError(l.t, err)
			case 3:
				_, err = link.Open(l.t.Context(), conn, cfg)
				require.NoError(l.t, err)
				require.NoError(l.t, raw.(*net.TCPConn).SetLinger(0))
			case 4:
				_, err = link.Client(l.t.Context(), conn, cfg)
				require.Error(l.t, err)
			case 5:
				cfg.Secret = l.vv().Password
				_, err = link.Client(l.t.Context(), conn, cfg)
				require.NoError(l.t, err)
				// A console hangs up when its client has.
				go func(s *served) {
					_, _ = s.Read(make([]byte, 1))
					s.Close()
				}(<-l.console.linked)
			}
		}
		raw.Close()
	}
	require.Eventually(l.t, func() bool { return len(l.Sessions()) == 0 && l.Handshaking() == 0 }, most, time.Millisecond,
		"the proxy still has %d sessions and %d handshakes", len(l.Sessions()), l.Handshaking())
	// Tokens are remembered until they would have expired.
	l.clock.Advance(time.Hour)
	l.vv()
}

// churning returns a proxy whose log and events are not kept.
func churning(t testing.TB) *lane {
	return up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) {
		c.Logger, c.OnEvent, c.Linger = nil, nil, 10*time.Millisecond
	})
}

func TestClientsThatCameAndWentLeaveNothingBehind(t *testing.T) {
	need.Long(t)
	l := churning(t)
	// What is made once is made by the first ones.
	l.churn(120)
	before := countLeftovers(t)
	const n = 2000
	l.churn(n)
	l.leaves(before, n)
}

// leaves checks that n clients have left nothing since before.
func (l *lane) leaves(before leftovers, n int) {
	l.t.Helper()
	var now leftovers
	// The last of them may be about to go. The condition has a goroutine of its own.
	require.Eventually(l.t, func() bool {
		now = countLeftovers(l.t)
		return now.goroutines <= before.goroutines+1 && now.descriptors <= before.descriptors
	}, most, 10*time.Millisecond, "before: %+v, now: %+v", &before, &now)
	grown := (int64(now.heap) - int64(before.heap)) / int64(n)
	l.t.Logf("heap: %d bytes for each client", grown)
	require.Less(l.t, grown, int64(64), "bytes for each client; before: %+v, now: %+v", before, now)
}

// BenchmarkChurn lets 10,000 clients come and go, and fails if they leave something.
func BenchmarkChurn(b *testing.B) {
	l := churning(b)
	l.churn(120)
	before := countLeftovers(b)
	const n = 10_000
	for b.Loop() {
		l.churn(n)
	}
	l.leaves(before, n*b.N)
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*b.N), "us/client")
}

// A thousand sessions of four channels that carry nothing fit into 200 MB. The proxy is a
// process of its own.
func TestAnIdleSessionTakesLessThan200KB(t *testing.T) {
	need.Long(t)
	limit := 200_000
	if race.Enabled {
		limit *= 15 // what it needs itself
	}
	const n = 200
	s := start(t, peer{name: "spicelane"})
	go s.serve()
	empty := s.resident(t)
	open := s.sessions(t, n)
	require.Len(t, open, 4*n)
	perSession := (s.resident(t) - empty) / n
	t.Logf("%d bytes of memory for each session", perSession)
	require.Less(t, perSession, limit)
}
