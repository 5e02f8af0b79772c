package wire_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/wire"
)

// agentVector is an agent message's data as bytes and as a struct.
type agentVector struct {
	caps  wire.Caps
	bytes string
	msg   wire.AgentMessage
	open  bool // ends in data that takes the rest
	fixed int
}

var (
	selection = wire.MakeCaps(wire.AgentCapClipboardSelection)
	serial    = wire.MakeCaps(wire.AgentCapClipboardSelection, wire.AgentCapClipboardGrabSerial)
)

var agentVectors = []agentVector{
	{nil, "01000000 02000000 02000000 03", &wire.AgentMouseState{X: 1, Y: 2, Buttons: wire.AgentButtonLeft, Display: 3}, false, 0},
	{nil, "01000000 01000000 00030000 00040000 20000000 ffffffff 05000000",
		&wire.AgentMonitorsConfig{Flags: wire.AgentMonitorsUsePos, Monitors: []wire.AgentMonitor{{Height: 768, Width: 1024, Depth: 32, X: -1, Y: 5}}}, false, 0},
	{nil, "01000000 02000000 00030000 00040000 20000000 00000000 00000000 6400 c800",
		&wire.AgentMonitorsConfig{Flags: wire.AgentMonitorsPhysicalSize, Monitors: []wire.AgentMonitor{{Height: 768, Width: 1024, Depth: 32, HeightMM: 100, WidthMM: 200}}}, false, 0},
	{nil, "02000000 01000000", &wire.AgentReply{Type: wire.AgentTypeMonitorsConfig, Error: wire.AgentSuccess}, false, 0},
	{nil, "01000000 'text'", &wire.AgentClipboard{Type: wire.ClipboardUTF8, Data: []byte("text")}, true, 4},
	{selection, "01000000 01000000 'text'", &wire.AgentClipboard{Selection: wire.SelectionPrimary, Type: wire.ClipboardUTF8, Data: []byte("text")}, true, 8},
	{nil, "08000000 18000000", &wire.AgentDisplayConfig{Flags: 8, Depth: 24}, false, 0},
	{nil, "01000000 63000000", &wire.AgentAnnounceCapabilities{Request: true, Caps: wire.MakeCaps(0, 1, wire.AgentCapClipboardByDemand, wire.AgentCapClipboardSelection)}, true, 4},
	{nil, "01000000 02000000", &wire.AgentClipboardGrab{Types: []wire.ClipboardType{wire.ClipboardUTF8, wire.ClipboardPNG}}, true, 0},
	{serial, "00000000 05000000 01000000", &wire.AgentClipboardGrab{Serial: 5, Types: []wire.ClipboardType{wire.ClipboardUTF8}}, true, 8},
	{nil, "01000000", &wire.AgentClipboardRequest{Type: wire.ClipboardUTF8}, false, 0},
	{selection, "02000000 01000000", &wire.AgentClipboardRequest{Selection: wire.SelectionSecondary, Type: wire.ClipboardUTF8}, false, 0},
	{nil, "", &wire.AgentClipboardRelease{}, false, 0},
	{selection, "01000000", &wire.AgentClipboardRelease{Selection: wire.SelectionPrimary}, false, 0},
	{nil, "07000000 '[vdagent-file-xfer]'", &wire.AgentFileXferStart{ID: 7, Data: []byte("[vdagent-file-xfer]")}, true, 4},
	{nil, "07000000 04000000 0010000000000000", &wire.AgentFileXferStatus{ID: 7, Result: wire.FileXferNotEnoughSpace, Data: []byte{0, 16, 0, 0, 0, 0, 0, 0}}, true, 8},
	{nil, "07000000 0200000000000000 6869", &wire.AgentFileXferData{ID: 7, Data: []byte("hi")}, false, 0},
	{nil, "", &wire.AgentClientDisconnected{}, false, 0},
	{nil, "ffffffff", &wire.AgentMaxClipboard{Max: -1}, false, 0},
	{nil, "01 00 02 ffff 0080", &wire.AgentAudioVolumeSync{Playback: true, Volumes: []uint16{0xffff, 0x8000}}, false, 0},
	{nil, "01000000 00000000 01000000 02000000 03000000 '02' 00",
		&wire.AgentGraphicsDeviceInfo{Devices: []wire.AgentDevice{{Monitor: 1, DeviceDisplayID: 2, Address: "02"}}}, false, 0},
	{nil, "0102", &wire.AgentUnknown{Type: 99, Data: []byte{1, 2}}, true, 0},
}

func TestEveryAgentMessageIsItsLiteralBytes(t *testing.T) {
	seen := map[wire.AgentType]bool{}
	for i, v := range agentVectors {
		seen[v.msg.AgentType()] = true
		t.Run(fmt.Sprintf("%d %s", i, v.msg.AgentType()), func(t *testing.T) {
			data := literal(v.bytes)
			got, err := wire.DecodeAgent(wire.RawAgentMessage{Type: v.msg.AgentType(), Data: data}, v.caps)
			require.NoError(t, err)
			if diff := cmp.Diff(v.msg, got, sameMessage); diff != "" {
				t.Errorf("decode % x (-want +got):\n%s", data, diff)
			}
			assert.Equal(t, data, append([]byte{}, v.msg.AppendData(nil, v.caps)...))
			for n := range data {
				_, err := wire.DecodeAgent(wire.RawAgentMessage{Type: v.msg.AgentType(), Data: data[:n:n]}, v.caps)
				if v.open && n >= v.fixed {
					assert.NoErrorf(t, err, "%d of %d bytes", n, len(data))
				} else {
					assert.Errorf(t, err, "%d of %d bytes", n, len(data))
				}
			}
		})
	}
	for typ := wire.AgentTypeMouseState; typ <= wire.AgentTypeGraphicsDeviceInfo; typ++ {
		assert.Truef(t, seen[typ], "%s has no vector", typ)
	}
}

func TestAgentMessagesAreCutIntoPiecesAndPutTogether(t *testing.T) {
	text := make([]byte, 5000)
	for i := range text {
		text[i] = byte(i)
	}
	stream := wire.AppendAgent(nil, &wire.AgentClipboard{Type: wire.ClipboardUTF8, Data: text}, nil)
	assert.Equal(t, literal("01000000 04000000 0000000000000000 8c130000 01000000"), stream[:24])
	chunks := wire.AgentChunks(stream)
	require.Len(t, chunks, 3)
	assert.Len(t, chunks[0], wire.MaxAgentChunk)
	assert.Len(t, chunks[2], 24+5000-2*wire.MaxAgentChunk)

	// The pieces arrive in any size, two messages behind one another.
	stream = wire.AppendAgent(stream, &wire.AgentReply{Type: 2, Error: 1}, nil)
	for _, size := range []int{1, 7, 20, 2048, len(stream)} {
		var a wire.AgentAssembler
		var got []wire.RawAgentMessage
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			done, err := a.Write(rest[:n])
			require.NoError(t, err)
			got = append(got, done...)
			rest = rest[n:]
		}
		require.Lenf(t, got, 2, "pieces of %d", size)
		m, err := wire.DecodeAgent(got[0], nil)
		require.NoError(t, err)
		assert.Equal(t, text, m.(*wire.AgentClipboard).Data)
		assert.Equal(t, wire.AgentTypeReply, got[1].Type)
	}
}

func TestTheAssemblerRefusesWhatIsTooLargeOrNoAgent(t *testing.T) {
	var a wire.AgentAssembler
	_, err := a.Write(literal("01000000 04000000 0000000000000000 ffffffff"))
	assert.EqualError(t, err, "wire: agent: at byte 20 of the body: clipboard of 4294967295 bytes, the limit is 16777216")
	_, again := a.Write(nil)
	assert.Equal(t, err, again)
	small := wire.AgentAssembler{MaxMessage: 16}
	done, err := small.Write(literal("01000000 0d000000 0000000000000000 10000000 00000000000000000000000000000000"))
	assert.NoError(t, err)
	assert.Len(t, done, 1)
	_, err = small.Write(literal("01000000 0d000000 0000000000000000 11000000"))
	assert.ErrorContains(t, err, "client_disconnected of 17 bytes, the limit is 16")
	a.Reset()
	_, err = a.Write(literal("02000000 04000000 0000000000000000 00000000"))
	assert.ErrorContains(t, err, "agent protocol 2, want 1")
}

// FuzzAgent feeds a stream in two pieces and decodes what comes out.
func FuzzAgent(f *testing.F) {
	for _, v := range agentVectors {
		f.Add(uint32(0x20060), 5, wire.AppendAgent(nil, v.msg, serial))
		f.Add(uint32(0), 30, wire.AppendAgent(nil, v.msg, nil))
	}
	f.Fuzz(func(t *testing.T, caps uint32, cut int, stream []byte) {
		a := wire.AgentAssembler{MaxMessage: 1 << 16}
		cut = min(max(cut, 0), len(stream))
		for _, piece := range [][]byte{stream[:cut], stream[cut:]} {
			done, err := a.Write(piece)
			for _, raw := range done {
				m, err := wire.DecodeAgent(raw, wire.Caps{caps})
				if err != nil {
					continue
				}
				data := m.AppendData(nil, wire.Caps{caps})
				again, err := wire.DecodeAgent(wire.RawAgentMessage{Type: raw.Type, Data: data}, wire.Caps{caps})
				require.NoError(t, err)
				if diff := cmp.Diff(m, again, sameMessage); diff != "" {
					t.Errorf("encoded as % x (-before +after):\n%s", data, diff)
				}
			}
			if err != nil {
				return
			}
		}
	})
}
