package libvirt_test

// Tests with servers that are no libvirtd, or that break its protocol.

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/sources/libvirt"
)

// Procedures of libvirt's remote protocol (src/remote/remote_protocol.x).
const (
	connectOpen   = 1
	getHostname   = 59
	authList      = 66
	listDomains   = 273
	registerEvent = 316
)

// packet is a packet of libvirt's remote program, version 1, with status 0.
func packet(length uint32, procedure, kind, serial uint32, body ...byte) []byte {
	var b []byte
	for _, n := range []uint32{length, 0x20008086, 1, procedure, kind, serial, 0} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, body...)
}

// reply is an answer to a call.
func reply(procedure, serial uint32, body ...byte) []byte {
	return packet(uint32(28+len(body)), procedure, 1, serial, body...)
}

// answers plays a libvirtd that answers calls as f says; nil is the end.
func answers(f func(procedure, serial uint32) []byte) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			head := make([]byte, 28)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head))-28); err != nil {
				return
			}
			answer := f(binary.BigEndian.Uint32(head[12:]), binary.BigEndian.Uint32(head[20:]))
			if answer == nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}

// well answers like a libvirtd without domains, with the host name "kvm".
func well(procedure, serial uint32) []byte {
	switch procedure {
	case authList, listDomains:
		return reply(procedure, serial, 0, 0, 0, 0, 0, 0, 0, 0)
	case getHostname:
		return reply(procedure, serial, 0, 0, 0, 3, 'k', 'v', 'm', 0)
	case registerEvent:
		return reply(procedure, serial, 0, 0, 0, 7)
	}
	return reply(procedure, serial)
}

// play serves a unix socket and returns a source that connects to it.
func play(t *testing.T, serve func(net.Conn)) *libvirt.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	s, err := libvirt.Open(sources.Declared{Name: "kvm", Values: map[string]string{"uri": "qemu:///system?socket=" + path}})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		ln.Close()
		wg.Wait()
	})
	return s
}

func TestWhatIsNoLibvirtdIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(net.Conn)
		want  string
	}{
		"a QMP socket": {func(conn net.Conn) {
			io.WriteString(conn, `{"QMP": {"version": {"qemu": {}}}}`+"\r\n")
			io.Copy(io.Discard, conn)
		},
			"open: this is not a libvirtd: it begins with 7b 22 51 4d 50 22 3a 20"},
		"nobody":          {func(net.Conn) {}, "open: libvirtd has closed the connection"},
		"half a packet":   {func(conn net.Conn) { conn.Write(packet(100, authList, 1, 1)[:20]) }, "open: libvirtd has closed the connection"},
		"half an answer":  {func(conn net.Conn) { conn.Write(packet(100, authList, 1, 1)) }, "open: libvirtd has closed the connection"},
		"a short packet":  {func(conn net.Conn) { conn.Write(packet(27, authList, 1, 1)); io.Copy(io.Discard, conn) }, "open: a packet has 27 bytes, want 28 to 33554432"},
		"an endless one":  {func(conn net.Conn) { conn.Write(packet(1<<31, authList, 1, 1)); io.Copy(io.Discard, conn) }, "open: a packet has 2147483648 bytes, want 28 to 33554432"},
		"an answer twice": {answers(func(p, s uint32) []byte { return append(well(p, s), well(p, s)...) }), "was answered twice"},
		"an end at opening": {answers(func(p, s uint32) []byte {
			if p == connectOpen {
				return nil
			}
			return well(p, s)
		}), "open: libvirtd has closed the connection"},
		"an end at once behind it": {func(conn net.Conn) {
			answers(func(p, s uint32) []byte {
				if p == connectOpen {
					conn.Write(well(p, s))
					return nil
				}
				return well(p, s)
			})(conn)
		}, "libvirtd has closed the connection"},
		"an end after it": {answers(func(p, s uint32) []byte {
			if p != authList && p != connectOpen {
				return nil
			}
			return well(p, s)
		}), "libvirtd has closed the connection"},
		"an answer of garbage": {answers(func(p, s uint32) []byte {
			if p == getHostname {
				return reply(p, s, 0xff, 0xff, 0xff, 0xff)
			}
			return well(p, s)
		}), ": xdr:"},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, tc.serve)
			ctx, cancel := context.WithTimeout(t.Context(), most)
			defer cancel()
			_, err := s.Consoles(ctx)
			require.ErrorContains(t, err, tc.want)
			assert.ErrorContains(t, err, "libvirt qemu:///system: ")
			require.NoError(t, ctx.Err())
		})
	}
}

func TestALibvirtdThatRefusesToOpenIsQuoted(t *testing.T) {
	s := play(t, answers(func(p, serial uint32) []byte {
		if p != connectOpen {
			return well(p, serial)
		}
		// remote_error: code, domain, a message, a level.
		text := "authentication unavailable: no polkit agent"
		body := []byte{0, 0, 0, 45, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(text))}
		body = append(append(body, text...), make([]byte, (4-len(text)%4)%4+4)...)
		out := reply(p, serial, body...)
		out[27] = 1 // VIR_NET_ERROR
		return out
	}))
	_, err := s.Consoles(t.Context())
	assert.EqualError(t, err, "libvirt qemu:///system: open: authentication unavailable: no polkit agent")
}

// Timeline: the source is connected; then events arrive without end, about a domain whose XML
// cannot be parsed, while the source is closed.
func TestASourceCanBeClosedWhileEventsCome(t *testing.T) {
	flooding := make(chan struct{})
	s := play(t, func(conn net.Conn) {
		var once sync.Once
		answers(func(p, serial uint32) []byte {
			if p == listDomains {
				defer once.Do(func() {
					event := packet(0, 318, 2, 0, append([]byte{0, 0, 0, 7, 0, 0, 0, 1, 'a', 0, 0, 0}, make([]byte, 28)...)...)
					binary.BigEndian.PutUint32(event, uint32(len(event)))
					go func() {
						for {
							if _, err := conn.Write(event); err != nil {
								return
							}
							select {
							case flooding <- struct{}{}:
							default:
							}
						}
					}()
				})
			}
			return well(p, serial)
		})(conn)
	})
	<-flooding
	done := make(chan error)
	go func() { done <- s.Close() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(most):
		t.Fatal("Close does not return")
	}
}

func TestAnEmptyLibvirtdHasNoConsoles(t *testing.T) {
	s := play(t, answers(well))
	all, err := s.Consoles(t.Context())
	require.NoError(t, err, fmt.Sprint(all))
	assert.Empty(t, all)
}
