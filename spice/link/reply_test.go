package link_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// testKey returns a committed RSA-1024 key, so that literal bytes stay what they are.
func testKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("testdata/ticket.key")
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key
}

// replyBytes returns a Reply with testKey, two common capabilities and one channel
// word, header included.
func replyBytes(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&testKey(t).PublicKey)
	require.NoError(t, err)
	require.Len(t, der, link.PublicKeySize, "SPICE_TICKET_PUBKEY_BYTES")
	b := unhex(t, "52454451 02000000 02000000 ba000000  00000000")
	b = append(b, der...)
	return append(b, unhex(t, "01000000 01000000 b2000000  0b000000 02000000")...)
}

func TestReplyIsTheseBytes(t *testing.T) {
	literal := replyBytes(t)
	reply := link.Reply{CommonCaps: wire.Caps{0xb}, ChannelCaps: wire.Caps{2}}
	copy(reply.PublicKey[:], literal[link.HeaderSize+4:])
	assert.Equal(t, literal, reply.Append(nil))
	var back link.Reply
	require.NoError(t, back.Decode(literal[link.HeaderSize:]))
	assert.Equal(t, reply, back)
	for n := range len(literal) - link.HeaderSize {
		assert.Errorf(t, back.Decode(literal[link.HeaderSize:][:n]), "prefix of %d bytes", n)
	}
}

func TestHeaderIsTheseBytes(t *testing.T) {
	literal := unhex(t, "52454451 02000000 02000000 16000000")
	h := link.Header{Magic: link.Magic, Major: 2, Minor: 2, Size: 22}
	assert.Equal(t, literal, h.Append(nil))
	var back link.Header
	require.NoError(t, back.Decode(literal))
	assert.Equal(t, h, back)
	for n := range literal {
		assert.Errorf(t, back.Decode(literal[:n]), "prefix of %d bytes", n)
	}
}

func TestMalformedCapabilitiesAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ bytes, reason string }{
		"a count beyond the limit":     {"00000000 01 00 ffffffff 00000000 12000000", "4294967295 common and 0 channel capability words, the limit is 16"},
		"counts that would overflow":   {"00000000 01 00 ffffffff 02000000 12000000", "the limit is 16"},
		"one word more than the limit": {"00000000 01 00 11000000 00000000 12000000" + strings.Repeat("00000000", 17), "17 common and 0 channel capability words, the limit is 16"},
		"an offset into the fields":    {"00000000 01 00 01000000 00000000 11000000 00000000", "1 capability words at offset 17 lie outside bytes 18 to 22"},
		"an offset beyond the end":     {"00000000 01 00 01000000 00000000 13000000 00000000", "1 capability words at offset 19 lie outside"},
		"an offset that would wrap":    {"00000000 01 00 01000000 00000000 fcffffff 00000000", "lie outside"},
		"a count beyond what is left":  {"00000000 01 00 01000000 01000000 12000000 00000000", "2 capability words at offset 18 lie outside"},
	} {
		t.Run(name, func(t *testing.T) {
			var m link.Request
			assert.ErrorContains(t, m.Decode(unhex(t, tc.bytes)), tc.reason)
		})
	}
	var m link.Request
	require.NoError(t, m.Decode(unhex(t, "00000000 01 00 00000000 00000000 00000000")), "no words need no offset")
	require.NoError(t, m.Decode(unhex(t, "00000000 01 00 01000000 00000000 14000000 ffff 07000000")), "words may lie further behind")
	assert.Equal(t, wire.Caps{7}, m.CommonCaps)
}

// script plays a peer that sends the given bytes, then nothing more;
// everything it was sent until the other side hung up is the result.
func script(t *testing.T, conn net.Conn, say []byte) <-chan []byte {
	t.Helper()
	heard := make(chan []byte, 1)
	go func() {
		defer close(heard)
		done := make(chan struct{})
		var all bytes.Buffer
		go func() {
			defer close(done)
			_, _ = io.Copy(&all, conn)
		}()
		_, _ = conn.Write(say)
		_ = conn.(*net.TCPConn).CloseWrite()
		<-done
		heard <- all.Bytes()
	}()
	return heard
}

func TestAClientNamesWhatItIsTold(t *testing.T) {
	refusal := func(code wire.Result) []byte { return link.Reply{Error: code}.Append(nil) }
	sasl := replyBytes(t)
	sasl[link.HeaderSize+178] = 1 | 1<<2 // auth_selection, auth_sasl
	weak := replyBytes(t)
	copy(weak[link.HeaderSize+4:], make([]byte, link.PublicKeySize))
	for name, tc := range map[string]struct {
		say  []byte
		code wire.Result
		want string
	}{
		"need_secured": {refusal(wire.ResultNeedSecured), wire.ResultNeedSecured,
			"link: display:1: need_secured (this port takes no plaintext: use the TLS port)"},
		"need_unsecured": {refusal(wire.ResultNeedUnsecured), wire.ResultNeedUnsecured, "use the plaintext port"},
		"bad_connection_id": {refusal(wire.ResultBadConnectionID), wire.ResultBadConnectionID,
			"link: display:1: bad_connection_id (the session of this connection id is over, or never was)"},
		"channel_not_available": {refusal(wire.ResultChannelNotAvailable), wire.ResultChannelNotAvailable, "the server has no such channel"},
		"invalid_data":          {refusal(wire.ResultInvalidData), wire.ResultInvalidData, "link: display:1: invalid_data"},
		"a number unheard of":   {refusal(99), 99, "link: display:1: result-99"},
		"only SASL": {sasl, wire.ResultError,
			"link: read reply: the server takes only SASL, which is not supported: configure it with a SPICE ticket"},
		"no key at all":     {weak, wire.ResultInvalidData, "link: read reply: the server's public key: asn1:"},
		"a TLS alert":       {unhex(t, "15 0303 0002 0246"), wire.ResultInvalidMagic, "looks like TLS"},
		"an HTTP answer":    {[]byte("HTTP/1.1 400 Bad Request\r\n"), wire.ResultInvalidMagic, "looks like HTTP"},
		"a QMP greeting":    {[]byte(`{"QMP": {}}`), wire.ResultInvalidMagic, "is this a QMP or control socket?"},
		"an old version":    {unhex(t, "52454451 01000000 00000000 16000000"), wire.ResultVersionMismatch, "peer speaks version 1.0, we speak 2.2"},
		"a huge reply":      {unhex(t, "52454451 02000000 02000000 ffffffff"), wire.ResultInvalidData, "announces 4294967295 bytes, want 178 to 4096"},
		"a tiny reply":      {unhex(t, "52454451 02000000 02000000 04000000"), wire.ResultInvalidData, "announces 4 bytes"},
		"nothing":           {nil, wire.ResultError, "the peer closed the connection after 0 bytes: unexpected EOF (a TLS port hangs up on plaintext: is this one?)"},
		"half a header":     {unhex(t, "52454451 0200"), wire.ResultError, "closed the connection after 6 bytes"},
		"half a reply":      {replyBytes(t)[:100], wire.ResultError, "closed the connection after 84 bytes"},
		"no result":         {replyBytes(t), wire.ResultError, "link: read result: the peer closed the connection after 0 bytes"},
		"half a result":     {append(replyBytes(t), 0, 0), wire.ResultError, "link: read result: the peer closed the connection after 2 bytes"},
		"permission denied": {append(replyBytes(t), 7, 0, 0, 0), wire.ResultPermissionDenied, "wrong ticket or token"},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := tcpPair(t)
			heard := script(t, server, tc.say)
			_, err := link.Client(t.Context(), client, link.Config{CommonCaps: link.CommonCaps,
				Channel: wire.ChannelID{Type: wire.ChannelDisplay, ID: 1}, Secret: "hunter2"})
			_ = client.Close()
			<-heard
			var e *link.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.code, e.Code)
			assert.ErrorContains(t, err, tc.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestAClientSendsTheseBytes(t *testing.T) {
	key := testKey(t)
	client, server := tcpPair(t)
	heard := script(t, server, append(replyBytes(t), 0, 0, 0, 0))
	ch, err := link.Client(t.Context(), client, link.Config{CommonCaps: link.CommonCaps, ChannelCaps: wire.Caps{1},
		ConnectionID: 5, Channel: wire.ChannelID{Type: wire.ChannelInputs}, Secret: "s3cret", Rand: zeros{}})
	require.NoError(t, err)
	assert.True(t, ch.Mini())
	assert.Equal(t, wire.Caps{2}, ch.ChannelCaps)
	_ = client.Close()
	sent := <-heard
	plainStart := unhex(t, `52454451 02000000 02000000 1a000000
		05000000 03 00 01000000 01000000 12000000  0b000000 01000000
		01000000`)
	require.Equal(t, plainStart, sent[:len(plainStart)])
	sealed := sent[len(plainStart):]
	require.Len(t, sealed, link.TicketSize)
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, key, sealed, nil)
	require.NoError(t, err)
	assert.Equal(t, "s3cret\x00", string(plain), "the zero byte goes along")
	// With the key and the padding fixed, so is the ticket.
	again, err := rsa.EncryptOAEP(sha1.New(), zeros{}, &key.PublicKey, plain, nil)
	require.NoError(t, err)
	assert.Equal(t, again, sealed)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestASecretThatCannotBeSentIsRefusedWithoutRepeatingIt(t *testing.T) {
	long := strings.Repeat("x", link.MaxSecret+1)
	assert.EqualError(t, link.CheckSecret(long), "the ticket has 60 bytes, and spice-server keeps only the first 59 of one, so that it would never match; use a shorter one")
	assert.EqualError(t, link.CheckSecret("a\x00b"), "the ticket has a zero byte at position 1")
	assert.NoError(t, link.CheckSecret(long[1:]))
	assert.NoError(t, link.CheckSecret(""))
}

func TestAServerAnswersAMalformedMessAndNobodyElse(t *testing.T) {
	for name, tc := range map[string]struct {
		say  []byte
		told wire.Result // the result that the client gets; ok for none at all
		code wire.Result
	}{
		"another version":   {unhex(t, "52454451 03000000 00000000 16000000"), wire.ResultVersionMismatch, wire.ResultVersionMismatch},
		"a tiny request":    {unhex(t, "52454451 02000000 02000000 11000000"), wire.ResultInvalidData, wire.ResultInvalidData},
		"a huge request":    {unhex(t, "52454451 02000000 02000000 01100000"), wire.ResultInvalidData, wire.ResultInvalidData},
		"wild capabilities": {unhex(t, "52454451 02000000 02000000 12000000 00000000 01 00 01000000 00000000 12000000"), wire.ResultInvalidData, wire.ResultInvalidData},
		"HTTP":              {[]byte("GET / HTTP/1.1\r\n"), wire.ResultOK, wire.ResultInvalidMagic},
		"half a header":     {unhex(t, "52454451 0200"), wire.ResultOK, wire.ResultError},
		"nothing":           {nil, wire.ResultOK, wire.ResultError},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := tcpPair(t)
			_, err := client.Write(tc.say)
			require.NoError(t, err)
			require.NoError(t, client.(*net.TCPConn).CloseWrite())
			_, err = link.Accept(t.Context(), server, link.ServerConfig{})
			var e *link.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.code, e.Code)
			require.NoError(t, server.(*net.TCPConn).CloseWrite())
			told, err := io.ReadAll(client)
			require.NoError(t, err)
			if tc.told == wire.ResultOK {
				assert.Empty(t, told)
				return
			}
			assert.Equal(t, link.Reply{Error: tc.told}.Append(nil), told)
			assert.Len(t, told, 16+178)
		})
	}
}

func TestAServerRefusesTicketsItCannotRead(t *testing.T) {
	request := link.Request{CommonCaps: link.CommonCaps, Channel: wire.ChannelID{Type: wire.ChannelMain}}
	for name, tc := range map[string]struct {
		say  []byte
		code wire.Result
		want string
	}{
		"noise":           {append([]byte{1, 0, 0, 0}, make([]byte, link.TicketSize)...), wire.ResultPermissionDenied, "not encrypted for this server"},
		"SASL":            {append([]byte{2, 0, 0, 0}, make([]byte, link.TicketSize)...), wire.ResultInvalidData, "the client chose auth_sasl, only auth_spice is offered"},
		"another number":  {append([]byte{9, 0, 0, 0}, make([]byte, link.TicketSize)...), wire.ResultInvalidData, "cap-9"},
		"half a number":   {[]byte{1, 0}, wire.ResultError, "link: read mechanism: the peer closed the connection after 2 bytes"},
		"half a ticket":   {append([]byte{1, 0, 0, 0}, make([]byte, 64)...), wire.ResultError, "link: read ticket: the peer closed the connection after 64 bytes"},
		"no ticket":       {[]byte{1, 0, 0, 0}, wire.ResultError, "closed the connection after 0 bytes"},
		"nothing further": {nil, wire.ResultError, "link: read mechanism"},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := tcpPair(t)
			heard := script(t, client, append(request.Append(nil), tc.say...))
			hs, err := link.Accept(t.Context(), server, link.ServerConfig{Key: testKey(t)})
			require.NoError(t, err)
			assert.Equal(t, request.Channel, hs.Request.Channel)
			require.NoError(t, hs.Reply(t.Context(), link.CommonCaps, nil))
			_, err = hs.Secret(t.Context())
			_ = server.Close()
			<-heard
			var e *link.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.code, e.Code)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAKeyOfAnotherSizeIsRefused(t *testing.T) {
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	client, server := tcpPair(t)
	_, err = client.Write(link.Request{}.Append(nil))
	require.NoError(t, err)
	hs, err := link.Accept(t.Context(), server, link.ServerConfig{Key: big})
	require.NoError(t, err)
	assert.EqualError(t, hs.Reply(t.Context(), nil, nil), "link: reply: the ticket key has 2048 bits, want 1024")
	_, err = (&link.Handshake{}).Secret(t.Context())
	assert.EqualError(t, err, "link: read ticket: called before Reply")
}

func TestADeadlineEndsEveryStepAndIsClearedAfterIt(t *testing.T) {
	client, server := tcpPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := link.Accept(ctx, server, link.ServerConfig{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.EqualError(t, err, "link: read request: context deadline exceeded")
	_, err = link.Accept(ctx, server, link.ServerConfig{})
	require.ErrorIs(t, err, context.DeadlineExceeded, "also when it is over before the step")

	go func() { _, _ = client.Write([]byte{1}) }()
	var one [1]byte
	_, err = server.Read(one[:])
	require.NoError(t, err, "the deadline does not outlive the step")
}

func TestNotOneByteBeyondTheHandshakeIsRead(t *testing.T) {
	client, server := tcpPair(t)
	go func() {
		hs, err := link.Accept(t.Context(), server, link.ServerConfig{Key: testKey(t)})
		if assert.NoError(t, err) && assert.NoError(t, hs.Reply(t.Context(), link.CommonCaps, nil)) {
			_, err = hs.Secret(t.Context())
			assert.NoError(t, err)
			_, err = server.Write(append(binary.LittleEndian.AppendUint32(nil, 0), "message"...))
			assert.NoError(t, err)
		}
		_ = server.Close()
	}()
	_, err := link.Client(t.Context(), client, link.Config{CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	rest, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, "message", string(rest))
}

func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func FuzzMess(f *testing.F) {
	f.Add(link.Request{ConnectionID: 1, Channel: wire.ChannelID{Type: 2, ID: 3}, CommonCaps: wire.Caps{0xb}, ChannelCaps: wire.Caps{1, 2}}.Append(nil)[link.HeaderSize:])
	f.Add(link.Request{}.Append(nil)[link.HeaderSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var m, again link.Request
		if m.Decode(body) != nil {
			return
		}
		require.NoError(t, again.Decode(m.Append(nil)[link.HeaderSize:]))
		require.Equal(t, fmt.Sprint(m), fmt.Sprint(again))
	})
}

func FuzzReply(f *testing.F) {
	f.Add(replyBytes(f)[link.HeaderSize:])
	f.Add(link.Reply{Error: wire.ResultNeedSecured}.Append(nil)[link.HeaderSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var r, again link.Reply
		if r.Decode(body) != nil {
			return
		}
		require.NoError(t, again.Decode(r.Append(nil)[link.HeaderSize:]))
		require.Equal(t, fmt.Sprint(r), fmt.Sprint(again))
	})
}

// FuzzAccept feeds a whole connection to the server's half.
func FuzzAccept(f *testing.F) {
	f.Add(link.Request{CommonCaps: link.CommonCaps}.Append(nil))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		hs, err := link.Accept(t.Context(), &deaf{in: bytes.NewReader(stream)}, link.ServerConfig{})
		if err != nil {
			var e *link.Error
			require.ErrorAs(t, err, &e)
			return
		}
		require.NotNil(t, hs)
	})
}

// deaf is a connection that sends what in holds and drops what it receives.
type deaf struct {
	net.Conn
	in io.Reader
}

func (d *deaf) Read(p []byte) (int, error)    { return d.in.Read(p) }
func (d *deaf) Write(p []byte) (int, error)   { return len(p), nil }
func (d *deaf) SetDeadline(_ time.Time) error { return nil }
