package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// BenchmarkRelay is the throughput of one channel from the console to the
// client, whose leg is always TLS. "tls without proxy" is the yardstick: the
// same bytes over one TLS connection. "small" has messages of 256 bytes, as many
// at once as there are bytes in the large one.
func BenchmarkRelay(b *testing.B) {
	large := message(304, make([]byte, 1<<20-6))
	small := bytes.Repeat(message(304, make([]byte, 250)), 1<<12)
	receive := func(b *testing.B, msg []byte, from io.Reader, to io.Writer) {
		b.SetBytes(int64(len(msg)))
		var wg sync.WaitGroup
		wg.Go(func() {
			for range b.N {
				if _, err := to.Write(msg); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ResetTimer()
		if _, err := io.CopyN(io.Discard, from, int64(b.N)*int64(len(msg))); err != nil {
			b.Fatal(err)
		}
		wg.Wait()
	}
	for _, c := range []struct {
		name, network string
		bundle        *pki.Bundle
		msg           []byte
	}{{"from tcp", "tcp", nil, large}, {"from unix", "unix", nil, large}, {"small from unix", "unix", nil, small}, {"from tls", "tcp", testBundle(), large}} {
		b.Run(c.name, func(b *testing.B) {
			l := up(b, newConsole(b, c.network, c.bundle))
			token, _, _ := l.open()
			client, err := l.link(token, session, display)
			require.NoError(b, err)
			server := l.console.next(b)
			receive(b, c.msg, client, server)
		})
	}
	b.Run("tls without proxy", func(b *testing.B) {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", testBundle().ServerTLS())
		require.NoError(b, err)
		defer ln.Close()
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, _ := ln.Accept()
			conn.(*tls.Conn).Handshake()
			accepted <- conn
		}()
		client, err := tls.Dial("tcp", ln.Addr().String(), pki.ClientTLS(testBundle().CAPool(), "localhost", ""))
		require.NoError(b, err)
		defer client.Close()
		server := <-accepted
		defer server.Close()
		receive(b, large, client, server)
	})
}

// BenchmarkRoundTrip is the time of a small message from the client and its
// answer.
func BenchmarkRoundTrip(b *testing.B) {
	l := up(b, newConsole(b, "unix", nil))
	_, client, server := l.open()
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
	for b.Loop() {
		if _, err := client.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	client.Close()
	wg.Wait()
}

// BenchmarkLink is the time from connecting to being let in.
func BenchmarkLink(b *testing.B) {
	l := up(b, newConsole(b, "unix", nil), func(c *proxy.Config) { c.Linger = time.Millisecond })
	for b.Loop() {
		b.StopTimer()
		token := l.vv().Password
		b.StartTimer()
		conn, err := l.link(token, 0, mainChannel)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		conn.Close()
		(<-l.console.linked).Close()
		b.StartTimer()
	}
}
