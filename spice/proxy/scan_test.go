package proxy_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

const mainInitType = 103

// stream is three messages: one of no interest, a MAIN_INIT, an empty one.
func stream(mini bool) []byte {
	var out bytes.Buffer
	w := wire.NewFrameWriter(&out, wire.FrameConfig{Mini: mini})
	for _, m := range []struct {
		kind uint16
		body []byte
	}{{3, []byte("sync")}, {mainInitType, mainInit(7)}, {4, nil}} {
		if err := w.WriteRaw(wire.Header{Serial: 1, Type: m.kind}, m.body); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}

func mainInit(session uint32) []byte { return (&wire.MainInit{SessionID: session}).Append(nil) }

func TestScannerFindsMessagesInPiecesOfAnySize(t *testing.T) {
	for _, mini := range []bool{true, false} {
		s := stream(mini)
		for size := 1; size <= len(s); size++ {
			messages, found, passed, err := proxy.ScanMessages(s, mini, mainInitType, nil, size)
			require.NoError(t, err)
			assert.Equal(t, uint64(3), messages, "pieces of %d", size)
			assert.Equal(t, mainInit(7), found, "pieces of %d", size)
			assert.Equal(t, s, passed, "pieces of %d", size)
		}
		for cut := range s {
			messages, _, _, err := proxy.ScanMessages(s[:cut], mini, 0, nil, cut)
			require.NoError(t, err)
			assert.LessOrEqual(t, messages, uint64(3))
		}
	}
}

// Who looks at a message must not limit it: only the firewall does that.
func TestScannerCollectsTheBeginningOfAHugeMessageAndPassesItAll(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s := append(wire.Header{Type: mainInitType, Size: uint32(len(body))}.AppendMini(nil), body...)
	for _, size := range []int{1000, 4096, 4102, len(s)} {
		messages, found, passed, err := proxy.ScanMessages(s, true, mainInitType, nil, size)
		require.NoError(t, err)
		assert.Equal(t, uint64(1), messages)
		assert.Equal(t, body[:4096], found, "pieces of %d", size)
		assert.True(t, bytes.Equal(s, passed), "pieces of %d: what was passed on differs", size)
	}
	// What is only announced takes no memory.
	huge := wire.Header{Type: mainInitType, Size: 1<<32 - 1}.AppendMini(nil)
	assert.Less(t, testing.AllocsPerRun(1, func() { _, _, _, _ = proxy.ScanMessages(huge, true, mainInitType, nil, 6) }), 20.0)
}

// FuzzScanner checks that the size of the pieces makes no difference, and that
// the scanner agrees with wire's reader.
func FuzzScanner(f *testing.F) {
	f.Add(stream(true), true, 1)
	f.Add(stream(false), false, 7)
	f.Add([]byte{103, 0, 0xff, 0xff, 0xff, 0xff, 1}, true, 3)
	f.Add([]byte{}, false, 1)
	f.Fuzz(func(t *testing.T, s []byte, mini bool, size int) {
		whole, foundWhole, passedWhole, errWhole := proxy.ScanMessages(s, mini, mainInitType, nil, max(len(s), 1))
		pieces, foundPieces, passedPieces, errPieces := proxy.ScanMessages(s, mini, mainInitType, nil, size)
		if whole != pieces || !bytes.Equal(foundWhole, foundPieces) || !bytes.Equal(passedWhole, passedPieces) || (errWhole == nil) != (errPieces == nil) {
			t.Errorf("in pieces of %d: got %d, % x, %v, want %d, % x, %v", size, pieces, foundPieces, errPieces, whole, foundWhole, errWhole)
		}
		if errWhole != nil {
			return
		}
		in := wire.NewFrameReader(bytes.NewReader(s), wire.FrameConfig{Mini: mini, MaxBody: 1<<32 - 1})
		var want uint64
		for {
			if _, err := in.Next(); err != nil {
				break
			}
			want++
		}
		if whole != want {
			t.Errorf("got %d messages, want %d", whole, want)
		}
	})
}
