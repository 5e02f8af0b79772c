package link_test

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// serve runs the server's half on its own goroutine and returns what it saw.
func serve(t *testing.T, conn net.Conn, common wire.Caps, result wire.Result) <-chan string {
	t.Helper()
	seen := make(chan string, 1)
	go func() {
		defer close(seen)
		ctx := t.Context()
		hs, err := link.Accept(ctx, conn, link.ServerConfig{})
		if !assert.NoError(t, err) {
			return
		}
		if !assert.NoError(t, hs.Reply(ctx, common, wire.MakeCaps(wire.CapMainNameAndUUID))) {
			return
		}
		ticket, err := hs.Secret(ctx)
		if !assert.NoError(t, err) {
			return
		}
		assert.NoError(t, hs.Finish(ctx, result))
		seen <- ticket
	}()
	return seen
}

func TestBothHalvesAgree(t *testing.T) {
	for _, tc := range []struct {
		name           string
		client, server wire.Caps
		mini           bool
	}{
		{"with a named mechanism and mini headers", link.CommonCaps, link.CommonCaps, true},
		{"with a client that sends the ticket at once", wire.MakeCaps(wire.CapMiniHeader), link.CommonCaps, true},
		{"with a server that knows no mechanisms", link.CommonCaps, nil, false},
		{"without any capability", nil, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			seen := serve(t, b, tc.server, wire.ResultOK)
			ch, err := link.Client(t.Context(), a, link.Config{CommonCaps: tc.client, Secret: "s3cret"})
			require.NoError(t, err)
			assert.Equal(t, "s3cret", <-seen)
			assert.Equal(t, tc.mini, ch.Mini())
			assert.True(t, ch.ChannelCaps.Has(wire.CapMainNameAndUUID))
		})
	}
}

func TestPermissionDeniedIsTypedAndHinted(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	seen := serve(t, b, link.CommonCaps, wire.ResultPermissionDenied)
	_, err := link.Client(t.Context(), a, link.Config{CommonCaps: link.CommonCaps, Secret: "wr0ng"})
	<-seen
	var e *link.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, wire.ResultPermissionDenied, e.Code)
	assert.EqualError(t, err, "link: main:0: permission_denied (wrong ticket or token, or an expired one)")
}

func TestMessIsTheseBytes(t *testing.T) {
	request := link.Request{ConnectionID: 0x11223344, Channel: wire.ChannelID{Type: wire.ChannelDisplay, ID: 1},
		CommonCaps: wire.Caps{0xb}, ChannelCaps: wire.Caps{0x1, 0x80000000}}
	literal := unhex(t, `52454451 02000000 02000000 1e000000
		44332211 02 01 01000000 02000000 12000000  0b000000 01000000 00000080`)
	assert.Equal(t, literal, request.Append(nil))
	var back link.Request
	require.NoError(t, back.Decode(literal[link.HeaderSize:]))
	assert.Equal(t, request, back)
	for n := range len(literal) - link.HeaderSize {
		assert.Errorf(t, back.Decode(literal[link.HeaderSize:][:n]), "prefix of %d bytes", n)
	}
}

func TestCancellationInterruptsAHandshake(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	go func() {
		var one [1]byte
		_, _ = b.Read(one[:]) // the client has begun
		cancel(reason)
	}()
	_, err := link.Client(ctx, a, link.Config{})
	require.ErrorIs(t, err, reason)
}

func TestForeignProtocolsAreRecognised(t *testing.T) {
	for name, tc := range map[string]struct{ bytes, hint string }{
		"a TLS hello":  {"\x16\x03\x01\x02\x00\x01\x00", "looks like TLS"},
		"HTTP":         {"GET / HTTP/1.1\r\n", "looks like HTTP"},
		"an RFB hello": {"RFB 003.008\n", "looks like VNC"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			go func() { _, _ = a.Write([]byte(tc.bytes)) }()
			_, err := link.Accept(t.Context(), b, link.ServerConfig{})
			var e *link.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, wire.ResultInvalidMagic, e.Code)
			assert.Contains(t, e.Hint, tc.hint)
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}
