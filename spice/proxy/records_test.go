package proxy_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// spiceGTK reads as spice-gtk does (0.42, spice_channel_iterate_read): whenever its
// socket can be read it takes one message, however many there are in the records
// that OpenSSL has taken from the socket for it.
type spiceGTK struct {
	mini     bool
	socket   [][]byte // TLS records
	openSSL  []byte   // what is left of the last one
	message  []byte   // under way
	midway   bool
	messages int
}

// wake has it read until it waits for the socket.
func (g *spiceGTK) wake() {
	for g.midway || len(g.socket) > 0 {
		g.midway = true
		for len(g.message) < g.size() {
			if len(g.openSSL) == 0 {
				if len(g.socket) == 0 {
					return
				}
				g.openSSL, g.socket = g.socket[0], g.socket[1:]
			}
			n := min(len(g.openSSL), g.size()-len(g.message))
			g.message, g.openSSL = append(g.message, g.openSSL[:n]...), g.openSSL[n:]
		}
		g.messages, g.message, g.midway = g.messages+1, nil, false
	}
}

// size returns how many bytes of the message are known to be needed.
func (g *spiceGTK) size() int {
	header, sizeAt := wire.FullHeaderSize, 10
	if g.mini {
		header, sizeAt = wire.MiniHeaderSize, 2
	}
	if len(g.message) < header {
		return header
	}
	return header + int(binary.LittleEndian.Uint32(g.message[sizeAt:]))
}

const maxRecord = 16 << 10 // RFC 8446 section 5.1

// FuzzNoMessageStaysInARecord cuts messages of any sizes into pieces of any sizes,
// and demands that spice-gtk has every message as soon as its last byte was passed
// on, also if no other follows.
func FuzzNoMessageStaysInARecord(f *testing.F) {
	f.Add([]byte{4, 0, 12}, []byte{255}, true, true)
	f.Add([]byte{4, 0, 12}, []byte{11, 3, 200}, false, false)
	f.Add([]byte{0, 0, 0, 0, 250, 0, 0}, []byte{1, 100, 7}, true, false)
	f.Add([]byte{200, 3, 255, 255, 1, 0, 9}, []byte{255, 254, 3}, true, true)
	f.Fuzz(func(t *testing.T, bodies, cuts []byte, mini, oneByOne bool) {
		var stream bytes.Buffer
		var ends []int
		w := wire.NewFrameWriter(&stream, wire.FrameConfig{Mini: mini})
		for _, b := range bodies[:min(len(bodies), 64)] {
			body := make([]byte, int(b)*int(b)) // up to four records
			require.NoError(t, w.WriteRaw(wire.Header{Serial: 1, Type: 300}, body))
			ends = append(ends, stream.Len())
		}
		var pieces [][]byte
		for rest := stream.Bytes(); len(rest) > 0; {
			n := len(rest)
			if len(cuts) > 0 {
				n, cuts = min(n, 1+int(cuts[0])*int(cuts[0])), cuts[1:]
			}
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		writes, err := proxy.Records(mini, pieces...)
		require.NoError(t, err)
		g := &spiceGTK{mini: mini}
		passed := 0
		var came, got []byte
		for i, piece := range pieces {
			got = append(got, slices.Concat(writes[i]...)...)
			came = append(came, piece...)
			require.True(t, bytes.HasPrefix(came, got), "what is passed on is what came")
			require.Less(t, len(came)-len(got), wire.FullHeaderSize, "only the start of a header is kept back")
			for _, write := range writes[i] {
				for record := range slices.Chunk(write, maxRecord) {
					g.socket = append(g.socket, record)
					if oneByOne {
						g.wake()
					}
				}
			}
			g.wake()
			passed += len(piece)
			complete, _ := slices.BinarySearch(ends, passed+1)
			require.Equal(t, complete, g.messages, "after piece %d, which ends at byte %d; messages end at %v", i, passed, ends)
		}
	})
}
