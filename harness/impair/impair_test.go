package impair_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/internal/need"
)

func TestMain(m *testing.M) {
	if part != nil {
		part()
	}
	goleak.VerifyTestMain(m)
}

// part is the function that this process runs instead of the tests, or nil.
var part func()

// echoServer sends back what it receives, and reports when one of its connections ends.
func echoServer(t *testing.T) (addr string, ended <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ch := make(chan error, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, err := io.Copy(c, c)
				c.Close()
				ch <- err
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), ch
}

func start(t *testing.T, link impair.Profile) (*impair.Relay, net.Conn, <-chan error) {
	t.Helper()
	return startIn(t, impair.Config{Profile: link})
}

// places are relays that differ only in where they impair. If the kernel or the user of a host does
// not allow it in the kernel, there is only one of them.
var places = map[string]func(t *testing.T) impair.Config{
	"in process": func(*testing.T) impair.Config { return impair.Config{} },
}

func inEachMode(t *testing.T, f func(t *testing.T, cfg impair.Config)) {
	t.Helper()
	for name, cfg := range places {
		t.Run(name, func(t *testing.T) { f(t, cfg(t)) })
	}
}

// startIn starts a relay to an echo, and connects to it.
func startIn(t *testing.T, cfg impair.Config) (*impair.Relay, net.Conn, <-chan error) {
	t.Helper()
	addr, ended := echoServer(t)
	cfg.Network, cfg.Addr, cfg.Seed = "tcp", addr, 7
	r, err := impair.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	c, err := net.Dial("tcp", r.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return r, c, ended
}

// roundTrip sends one byte and returns how long its echo took.
func roundTrip(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	_, err := c.Write([]byte{'x'})
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
	return time.Since(began)
}

func TestWhateverTheLinkEveryByteArrivesInOrder(t *testing.T) {
	for name, link := range map[string]impair.Profile{
		"unimpaired": {},
		"delayed":    {Delay: 3 * time.Millisecond, Jitter: 3 * time.Millisecond},
		"lossy":      {Loss: 0.01},
		"throttled":  {Rate: 20 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			_, c, _ := start(t, link)
			requireEchoed(t, c)
		})
	}
}

// requireEchoed requires that a mebibyte comes back as it was sent, followed by the end.
func requireEchoed(t *testing.T, c net.Conn) {
	t.Helper()
	want := make([]byte, 1<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range want {
		want[i] = byte(rnd.Uint32())
	}
	go func() {
		_, _ = c.Write(want)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%d bytes of %d", len(got), len(want))
}

func TestADelayIsSeenTwiceInARoundTrip(t *testing.T) {
	r, c, _ := start(t, impair.Profile{})
	require.NoError(t, r.Set(impair.Profile{Delay: 100 * time.Millisecond}))
	require.GreaterOrEqual(t, roundTrip(t, c), 200*time.Millisecond)
	require.NoError(t, r.Set(impair.Profile{}))
	// A busy host may delay one round trip, but not all of them.
	for roundTrip(t, c) >= 200*time.Millisecond {
		require.NoError(t, t.Context().Err())
	}
}

func TestARateBoundsWhatPasses(t *testing.T) {
	_, c, _ := start(t, impair.Profile{Rate: 1 << 20})
	began := time.Now()
	go func() {
		_, _ = c.Write(make([]byte, 512<<10))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	n, err := io.Copy(io.Discard, c)
	require.NoError(t, err)
	require.EqualValues(t, 512<<10, n)
	// Half a mebibyte there and, at nearly the same time, back.
	require.GreaterOrEqual(t, time.Since(began), 450*time.Millisecond)
}

func TestALostSegmentHoldsUpWhatFollows(t *testing.T) {
	r, c, _ := start(t, impair.Profile{})
	require.NoError(t, r.Set(impair.Profile{Loss: 1}))
	require.GreaterOrEqual(t, roundTrip(t, c), 400*time.Millisecond, "lost once in each direction")
}

func TestACutConnectionIsResetOnBothSides(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		r, c, ended := startIn(t, cfg)
		roundTrip(t, c)
		conn := r.Conns()[0]
		conn.Cut()
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.ErrorIs(t, <-ended, syscall.ECONNRESET)
		<-conn.Done()
	})
}

func TestAFrozenConnectionSwallowsEverythingAndTellsNobody(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		r, c, ended := startIn(t, cfg)
		roundTrip(t, c)
		conn := r.Conns()[0]
		conn.Freeze()
		_, err := c.Write([]byte("nobody hears this"))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = c.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		select {
		case err := <-ended:
			require.Fail(t, "the far end has noticed", "%v", err)
		case <-conn.Done():
			require.Fail(t, "the connection is over")
		default:
		}
	})
}

// The first connection waits for its far end until the second one has its own.
func TestConnectionsAreListedOldestFirstWhicheverIsLedToItsEndSooner(t *testing.T) {
	addr, _ := echoServer(t)
	second := make(chan struct{})
	var dials atomic.Int64
	r, err := impair.Start(t.Context(), impair.Config{Dial: func(ctx context.Context) (net.Conn, error) {
		if dials.Add(1) == 1 {
			<-second
		}
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	var addrs []string
	for i := range 2 {
		c, err := net.Dial("tcp", r.Addr())
		require.NoError(t, err)
		defer c.Close()
		addrs = append(addrs, c.LocalAddr().String())
		require.Eventually(t, func() bool { return dials.Load() > int64(i) }, 10*time.Second, time.Millisecond)
	}
	listed := func() (all []string) {
		for _, c := range r.Conns() {
			all = append(all, c.NearAddr().String())
		}
		return all
	}
	require.Eventually(t, func() bool { return len(listed()) == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, addrs[1:], listed())
	close(second)
	require.Eventually(t, func() bool { return len(listed()) == 2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, addrs, listed())
}

// A far end that sends without end is stopped by the buffers on the way, and is not told. Later,
// nothing is missing.
func TestAHeldReaderStopsTheSenderAndMissesNothing(t *testing.T) {
	need.Long(t)
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		r, c, _ := startIn(t, cfg)
		roundTrip(t, c)
		conn := r.Conns()[0]
		conn.Hold()
		conn.Hold()
		// More than the buffers hold: the echo stops reading when it cannot write.
		const size = 64 << 20
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, size))
			sent <- err
		}()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		select {
		case err := <-sent:
			require.Fail(t, "everything was sent", "%v", err)
		default:
		}
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		conn.Release()
		n, err := io.CopyN(io.Discard, c, size)
		require.NoError(t, err, "after %d bytes", n)
		require.NoError(t, <-sent)
		conn.Release()
		roundTrip(t, c)
	})
}

func TestARelayThatIsDownResetsNewConnectionsOnly(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		r, c, _ := startIn(t, cfg)
		roundTrip(t, c)
		r.SetDown(true)
		d, err := net.Dial("tcp", r.Addr())
		if err == nil {
			_, err = d.Read(make([]byte, 1))
			d.Close()
		}
		require.ErrorIs(t, err, syscall.ECONNRESET)
		roundTrip(t, c)
		r.SetDown(false)
		d, err = net.Dial("tcp", r.Addr())
		require.NoError(t, err)
		defer d.Close()
		roundTrip(t, d)
	})
}

// A relay leads nowhere if its far end does not exist.
func TestAConnectionThatLeadsNowhereIsReset(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		cfg.Network, cfg.Addr = "tcp", ln.Addr().String()
		require.NoError(t, ln.Close())
		r, err := impair.Start(t.Context(), cfg)
		require.NoError(t, err)
		defer r.Close()
		c, err := net.Dial("tcp", r.Addr())
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

func TestAnEndIsPassedOn(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		r, c, ended := startIn(t, cfg)
		roundTrip(t, c)
		conn := r.Conns()[0]
		require.NoError(t, c.Close())
		require.NoError(t, <-ended)
		<-conn.Done()
		// The list is updated a moment later.
		require.Eventually(t, func() bool { return len(r.Conns()) == 0 }, 5*time.Second, time.Millisecond)
	})
}

// A peer that disconnects with a reset looks different from one that has finished. A program that
// was killed with unread data is an example. The other end must see the same.
func TestAResetIsPassedOnAsAReset(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		r, c, ended := startIn(t, cfg)
		roundTrip(t, c)
		conn := r.Conns()[0]
		require.NoError(t, c.(*net.TCPConn).SetLinger(0))
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-ended, syscall.ECONNRESET)
		<-conn.Done()
	})
}

// The sender is told, although the other direction is still open and silent.
func TestASenderToAnEndThatWasResetIsReset(t *testing.T) {
	inEachMode(t, func(t *testing.T, cfg impair.Config) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		cfg.Network, cfg.Addr = "tcp", ln.Addr().String()
		r, err := impair.Start(t.Context(), cfg)
		require.NoError(t, err)
		defer r.Close()
		c, err := net.Dial("tcp", r.Addr())
		require.NoError(t, err)
		defer c.Close()
		far, err := ln.Accept()
		require.NoError(t, err)
		require.NoError(t, far.(*net.TCPConn).SetLinger(0))
		require.NoError(t, far.Close())
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

func TestAProfileSaysItsRateAsItIs(t *testing.T) {
	for rate, want := range map[int64]string{300: "0.3 kB/s", 1500: "1.5 kB/s", 250_000: "250 kB/s", 20_000_000: "20000 kB/s"} {
		require.Equal(t, "delay 0s ± 0s, "+want, impair.Profile{Rate: rate}.String())
	}
}

func TestAnUnknownModeIsRefused(t *testing.T) {
	_, err := impair.Start(t.Context(), impair.Config{In: "the cloud"})
	require.ErrorContains(t, err, `there is no mode "the cloud"`)
}

// Whichever mode it chooses works and is reported.
func TestAutoTakesTheKernelWhereItCanBeHad(t *testing.T) {
	r, c, _ := startIn(t, impair.Config{In: impair.Auto, Profile: impair.Profile{Delay: 20 * time.Millisecond}})
	require.GreaterOrEqual(t, roundTrip(t, c), 40*time.Millisecond)
	t.Log(r.Shaped())
	switch lack := impair.Probe(); lack {
	case nil:
		require.Equal(t, "by netem, between two network namespaces", r.Shaped())
	default:
		require.Equal(t, "in this process, on the byte streams: "+lack.Error(), r.Shaped())
		_, err := impair.Start(t.Context(), impair.Config{In: impair.InKernel})
		var none *impair.Unavailable
		require.ErrorAs(t, err, &none)
		require.ErrorContains(t, err, lack.Error())
	}
}

func TestALinkThatMakesNoSenseIsRefused(t *testing.T) {
	for want, link := range map[string]impair.Profile{
		"below zero":        {Delay: -1},
		"more than the":     {Delay: 1, Jitter: 2},
		"more than 1m0s":    {Delay: time.Hour},
		"a rate below zero": {Rate: -1},
		"not a probability": {Loss: 1.5},
	} {
		_, err := impair.Start(t.Context(), impair.Config{Profile: link})
		require.ErrorContains(t, err, want)
	}
}

func TestAnEndedContextStartsNoRelay(t *testing.T) {
	why := errors.New("the test is over")
	for _, mode := range []impair.Mode{impair.InProcess, impair.Auto} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		_, err := impair.Start(ctx, impair.Config{Network: "tcp", Addr: "127.0.0.1:1", In: mode})
		require.ErrorIs(t, err, why, mode)
	}
}
