package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// FuzzFirewall lets either side of a channel send anything in pieces of any size. What passes is
// what came, message by message, up to the first one that is not allowed.
func FuzzFirewall(f *testing.F) {
	f.Add(stream(true), byte(1), false, true, 1)
	f.Add(stream(false), byte(1), false, false, 7)
	f.Add(append(message(101, []byte{1, 2, 3, 4}), message(999, nil)...), byte(3), true, true, 5)
	f.Add(wire.Header{Type: 3, Size: 1 << 30}.AppendMini(nil), byte(2), true, true, 3)
	f.Fuzz(func(t *testing.T, s []byte, channel byte, client, mini bool, size int) {
		kind, from := wire.ChannelType(channel), wire.FromServer
		if client {
			from = wire.FromClient
		}
		refuse := errors.New("refused")
		judge := func(kindOf uint16, size uint32) error {
			if proxy.Judge(kind, from, kindOf, size) != "" {
				return refuse
			}
			return nil
		}
		_, _, passed, err := proxy.ScanMessages(s, mini, 0, judge, size)
		require.True(t, bytes.HasPrefix(s, passed))
		if err == nil {
			require.Less(t, len(s)-len(passed), wire.FullHeaderSize, "only the start of a header is kept back")
		}
		// Walked by hand: headers at their places, bodies skipped.
		header, at := wire.MiniHeaderSize, 0
		if !mini {
			header = wire.FullHeaderSize
		}
		for at+header <= len(s) {
			h := s[at:]
			if !mini {
				h = h[8:]
			}
			kindOf, size := binary.LittleEndian.Uint16(h), binary.LittleEndian.Uint32(h[2:])
			if proxy.Judge(kind, from, kindOf, size) != "" {
				require.ErrorIs(t, err, refuse)
				require.Len(t, passed, at, "all before the message, and nothing of it")
				return
			}
			at += header + int(size)
		}
		require.NoError(t, err)
	})
}

// toldConn is a connection that says what in holds, and notes what it is told.
type toldConn struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (c *toldConn) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *toldConn) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *toldConn) SetDeadline(time.Time) error      { return nil }
func (c *toldConn) SetReadDeadline(time.Time) error  { return nil }
func (c *toldConn) SetWriteDeadline(time.Time) error { return nil }
func (c *toldConn) Close() error                     { return nil }

// carried decodes what binary messages carry up to the first frame that breaks a rule, as
// RFC 6455 has it. The first whole bytes of the data came in complete frames. It is written from the
// RFC, and apart from what it checks.
func carried(b []byte) (data []byte, whole int) {
	open := false
	for len(b) >= 2 {
		first, mask, size := b[0], b[1]&0x80 != 0, uint64(b[1]&0x7f)
		b = b[2:]
		if more := map[uint64]int{126: 2, 127: 8}[size]; more > 0 {
			if len(b) < more {
				return data, len(data)
			}
			var wide [8]byte
			copy(wide[8-more:], b)
			size, b = binary.BigEndian.Uint64(wide[:]), b[more:]
		}
		opcode, final := first&0xf, first&fin != 0
		control := opcode >= 8
		if size >= 1<<63 || !mask || len(b) < 4 || first&0x70 != 0 || control && (!final || size > 125) {
			return data, len(data)
		}
		key := b[:4]
		b = b[4:]
		payload := b[:min(size, uint64(len(b)))]
		before := len(data)
		switch {
		case opcode == continuation && open, opcode == binaryFrame && !open:
			for i, c := range payload {
				data = append(data, c^key[i%4])
			}
			open = !final
		case opcode == ping, opcode == pong:
		default:
			return data, len(data)
		}
		if uint64(len(payload)) < size {
			return data, before
		}
		b = b[len(payload):]
	}
	return data, len(data)
}

// FuzzWebSocket sends anything behind a good request for a WebSocket.
func FuzzWebSocket(f *testing.F) {
	request := linkRequest(mainChannel)
	for _, seed := range [][]byte{
		frame(fin|binaryFrame, request),
		append(frame(binaryFrame, request[:5]), frame(fin|continuation, request[5:])...),
		append(append(frame(binaryFrame, request[:5]), frame(fin|ping, []byte("x"))...), frame(fin|continuation, request[5:])...),
		frame(fin|text, request),
		append([]byte{fin | binaryFrame, byte(len(request))}, request...),
		append(frame(fin|binaryFrame, request), frame(fin|closeFrame, []byte{3, 232})...),
		frame(fin|binaryFrame, make([]byte, 1000)),
		frame(fin|binaryFrame, make([]byte, 70_000)),
		{fin | binaryFrame, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5},
		frame(fin|binaryFrame, nil),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frames []byte) {
		conn := &toldConn{in: io.MultiReader(strings.NewReader(upgradeRequest), bytes.NewReader(frames))}
		web, err := proxy.Upgrade(t.Context(), conn)
		require.NoError(t, err)
		got, _ := io.ReadAll(web)
		want, whole := carried(frames)
		require.True(t, bytes.HasPrefix(want, got), "got % x, want % x", got, want)
		require.GreaterOrEqual(t, len(got), whole, "all that came in complete frames")
		require.NoError(t, web.Close())
		// The answers are frames of a server: whole, without mask, the close frame the last one.
		r := bufio.NewReader(&conn.out)
		response, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		for len(rest) > 0 {
			require.GreaterOrEqual(t, len(rest), 2)
			size := int(rest[1])
			require.LessOrEqual(t, size, 125, "short, and no mask")
			require.GreaterOrEqual(t, len(rest), 2+size)
			switch rest[0] {
			case fin | closeFrame:
				require.Len(t, rest, 2+size)
			case fin | pong:
			default:
				t.Fatalf("a frame that begins with %#x", rest[0])
			}
			rest = rest[2+size:]
		}
	})
}

// FuzzUpgrade sends anything to the WebSocket port in place of a request.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(upgradeRequest))
	f.Add([]byte(strings.Replace(upgradeRequest, "Host:", "Origin: https://proxy.example\r\nHost:", 1)))
	f.Add([]byte(strings.Replace(upgradeRequest, "Host:", "Origin: https://evil.example\r\nHost:", 1)))
	f.Add([]byte(strings.Replace(upgradeRequest, "binary", "base64", 1)))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(linkRequest(mainChannel))
	f.Add([]byte(upgradeRequest + "\x82\x80\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, request []byte) {
		conn := &toldConn{in: bytes.NewReader(request)}
		web, err := proxy.Upgrade(t.Context(), conn)
		if err != nil && conn.out.Len() == 0 {
			return // it ended before there was anything to answer
		}
		response, parseErr := http.ReadResponse(bufio.NewReader(&conn.out), nil)
		require.NoError(t, parseErr)
		if err != nil {
			require.GreaterOrEqual(t, response.StatusCode, 400, err)
			require.Less(t, response.StatusCode, 500, err)
			return
		}
		defer web.Close()
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		require.NoError(t, err)
		require.Equal(t, proxy.WebSocketPath, r.URL.Path)
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		require.Equal(t, base64.StdEncoding.EncodeToString(sum[:]), response.Header.Get("Sec-WebSocket-Accept"))
		if origin := r.Header.Get("Origin"); origin != "" {
			page, err := url.Parse(origin)
			require.NoError(t, err)
			require.True(t, strings.EqualFold(page.Host, r.Host), "%q at %q", origin, r.Host)
		}
	})
}
