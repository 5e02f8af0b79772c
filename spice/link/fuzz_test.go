package link_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// FuzzClient lets a server say anything to the client's half.
func FuzzClient(f *testing.F) {
	good := serverSays(f, testKey(f))
	f.Add(slices.Concat(good, []byte{0, 0, 0, 0}))
	f.Add(slices.Concat(good, []byte{7, 0, 0, 0}))
	f.Add(good)
	f.Add(link.Reply{Error: wire.ResultNeedSecured}.Append(nil))
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40})
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := bytes.NewReader(stream)
		channel, err := link.Client(t.Context(), &deaf{in: in}, link.Config{CommonCaps: link.CommonCaps, Secret: "secret"})
		if err != nil {
			var e *link.Error
			require.ErrorAs(t, err, &e)
			require.NotContains(t, err.Error(), "secret")
			return
		}
		// It was let in: the last four bytes that it read are the result.
		read := len(stream) - in.Len()
		require.Zero(t, binary.LittleEndian.Uint32(stream[read-4:]))
		require.NotNil(t, channel)
	})
}

// serverSays is what a server says up to the ticket.
func serverSays(f *testing.F, key *rsa.PrivateKey) []byte {
	var said bytes.Buffer
	conn := &noting{deaf: deaf{in: bytes.NewReader(link.Request{CommonCaps: link.CommonCaps}.Append(nil))}, said: &said}
	hs, err := link.Accept(f.Context(), conn, link.ServerConfig{Key: key})
	require.NoError(f, err)
	require.NoError(f, hs.Reply(f.Context(), link.CommonCaps, nil))
	return said.Bytes()
}

// noting is deaf and notes what it is told.
type noting struct {
	deaf
	said *bytes.Buffer
}

func (n *noting) Write(p []byte) (int, error) { return n.said.Write(p) }

// FuzzHandshake lets a client say anything to the server's half, up to its secret.
func FuzzHandshake(f *testing.F) {
	key := testKey(f)
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &key.PublicKey, []byte("secret\x00"), nil)
	require.NoError(f, err)
	request := link.Request{CommonCaps: link.CommonCaps}.Append(nil)
	f.Add(slices.Concat(request, []byte{byte(wire.CapAuthSpice), 0, 0, 0}, sealed))
	f.Add(slices.Concat(request, []byte{byte(wire.CapAuthSASL), 0, 0, 0}, sealed))
	f.Add(slices.Concat(link.Request{}.Append(nil), sealed))
	f.Add(slices.Concat(request, []byte{1, 0, 0, 0, 9}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := bytes.NewReader(stream)
		conn := &deaf{in: in}
		var e *link.Error
		hs, err := link.Accept(t.Context(), conn, link.ServerConfig{Key: key})
		if err != nil {
			require.ErrorAs(t, err, &e)
			return
		}
		require.NoError(t, hs.Reply(t.Context(), link.CommonCaps, nil))
		secret, err := hs.Secret(t.Context())
		if err != nil {
			require.ErrorAs(t, err, &e)
			require.Empty(t, secret)
			return
		}
		// Not one byte more than the handshake has.
		want := len(hs.Request.Append(nil)) + link.TicketSize
		if hs.Request.CommonCaps.Has(wire.CapAuthSelection) {
			want += 4
		}
		require.LessOrEqual(t, want, len(stream)-in.Len(), "capabilities may stand anywhere in the body")
		require.LessOrEqual(t, len(stream)-in.Len(), link.HeaderSize+link.MaxBody+4+link.TicketSize)
		require.LessOrEqual(t, len(secret), link.TicketSize)
	})
}
