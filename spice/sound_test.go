package spice_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

var playbackID = wire.ChannelID{Type: wire.ChannelPlayback}

func TestWhatTheGuestPlaysIsKeptInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sound.wav")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	wav := spice.NewWAV(f)
	require.NoError(t, wav.Close(), "nothing was played yet")
	s := serve(t, playbackID)
	c := s.dial(spice.Config{Sound: wav})
	p := s.peer(playbackID)
	p.send(&wire.PlaybackMode{Mode: wire.AudioRaw}, &wire.PlaybackData{Data: []byte{9, 9}}, &wire.PlaybackVolume{Volumes: []uint16{1}},
		&wire.PlaybackStart{Channels: 2, Format: wire.AudioS16, Frequency: 48000},
		&wire.PlaybackData{Time: 1, Data: []byte{1, 2, 3, 4}}, &wire.PlaybackStop{},
		&wire.PlaybackData{Data: []byte{8, 8}},
		&wire.PlaybackStart{Channels: 2, Format: wire.AudioS16, Frequency: 48000},
		&wire.PlaybackData{Time: 2, Data: []byte{5, 6, 7, 8}},
		&wire.PlaybackMode{Mode: wire.AudioCELT051}, &wire.PlaybackData{Data: []byte{7, 7}})
	p.sync()
	header := "RIFF%sWAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00\x80\xbb\x00\x00\x00\xee\x02\x00\x04\x00\x10\x00data%s"
	want := func(riff, data string) []byte {
		b := []byte(header)
		b = bytes.Replace(b, []byte("%s"), []byte(riff), 1)
		b = bytes.Replace(b, []byte("%s"), []byte(data), 1)
		return append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want("\xff\xff\xff\xff", "\xff\xff\xff\xff"), got, "a run that is killed leaves a file that can be played")
	require.NoError(t, wav.Close())
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want("\x2c\x00\x00\x00", "\x08\x00\x00\x00"), got)
	require.Equal(t, map[string]uint64{"audio mode 2": 1}, c.Stats().Unsupported)
	require.ErrorContains(t, wav.Start(8000, 1), "sound of 8000 Hz with 1 channels in a WAV file of 48000 Hz with 2")
}

type deafSound struct{ calls int }

func (d *deafSound) Start(int, int) error         { d.calls++; return errors.New("disk full") }
func (d *deafSound) Samples(uint32, []byte) error { d.calls++; return nil }
func (d *deafSound) Stop() error                  { d.calls++; return nil }

func TestASoundThatFailsDoesNotEndTheSession(t *testing.T) {
	sound := &deafSound{}
	s := serve(t, playbackID)
	s.dial(spice.Config{Sound: sound})
	p := s.peer(playbackID)
	p.send(&wire.PlaybackStart{Channels: 1, Format: wire.AudioS16, Frequency: 8000}, &wire.PlaybackData{Data: []byte{1, 2}}, &wire.PlaybackStop{},
		&wire.PlaybackStart{Channels: 99, Format: wire.AudioS16, Frequency: 8000}, &wire.PlaybackData{Data: []byte{1, 2}})
	p.sync()
	require.Equal(t, 1, sound.calls)
}

// opusPacket is a line of a recording of Opus.
type opusPacket struct {
	frames      int
	left, right int16 // of the last frame, as libopus decodes it
	data        []byte
}

func readOpus(t testing.TB) []opusPacket {
	t.Helper()
	b, err := os.ReadFile("testdata/opus-1000hz.txt")
	require.NoError(t, err)
	var packets []opusPacket
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var p opusPacket
		_, err := fmt.Sscanf(line, "%d %d %d %x", &p.frames, &p.left, &p.right, &p.data)
		require.NoError(t, err, line)
		packets = append(packets, p)
	}
	return packets
}

// heard is a Sound that keeps what it gets.
type heard struct {
	rate, channels int
	packets        [][]byte
}

func (h *heard) Start(rate, channels int) error { h.rate, h.channels = rate, channels; return nil }
func (h *heard) Samples(_ uint32, pcm []byte) error {
	h.packets = append(h.packets, bytes.Clone(pcm))
	return nil
}
func (h *heard) Stop() error { return nil }

func opusStart() []wire.ServerMessage {
	return []wire.ServerMessage{&wire.PlaybackMode{Mode: wire.AudioOpus},
		&wire.PlaybackStart{Channels: 2, Format: wire.AudioS16, Frequency: 48000}}
}

func TestOpusOfARealServerIsDecodedAsTheReferenceDecoderDoes(t *testing.T) {
	sound := &heard{}
	s := serve(t, playbackID)
	c := s.dial(spice.Config{Sound: sound})
	p := s.peer(playbackID)
	require.True(t, p.request.ChannelCaps.Has(wire.CapPlaybackOpus))
	p.send(opusStart()...)
	packets := readOpus(t)
	for _, packet := range packets {
		p.send(&wire.PlaybackData{Data: packet.data})
	}
	p.sync()
	require.Equal(t, 48000, sound.rate)
	require.Equal(t, 2, sound.channels)
	require.Len(t, sound.packets, len(packets))
	var left []int16
	for i, pcm := range sound.packets {
		require.Len(t, pcm, 4*packets[i].frames, "packet %d", i)
		for ; len(pcm) > 0; pcm = pcm[4:] {
			left = append(left, int16(binary.LittleEndian.Uint16(pcm)))
			if len(pcm) == 4 {
				// Decoders need not agree to the last bit (RFC 6716, section 6).
				require.InDelta(t, packets[i].left, left[len(left)-1], 1, "packet %d", i)
				require.InDelta(t, packets[i].right, int16(binary.LittleEndian.Uint16(pcm[2:])), 1, "packet %d", i)
			}
		}
	}
	// The pitch, from where the sound rises through zero; in the first half it swings in.
	var rises []int
	for i := len(left) / 2; i < len(left); i++ {
		if left[i-1] < 0 && left[i] >= 0 {
			rises = append(rises, i)
		}
	}
	require.Greater(t, len(rises), 2)
	n := len(rises) - 1
	require.InEpsilon(t, 1000, float64(n*48000)/float64(rises[n]-rises[0]), 0.01)
	require.Empty(t, c.Stats().Unsupported)
}

func TestOpusIsNotAnnouncedWhereNothingTakesTheSound(t *testing.T) {
	s := serve(t, playbackID)
	s.dial(spice.Config{Channels: func(wire.ChannelID) bool { return true }})
	require.False(t, s.peer(playbackID).request.ChannelCaps.Has(wire.CapPlaybackOpus))
}

func TestABrokenOpusPacketEndsTheSessionWithATypedError(t *testing.T) {
	sound := &heard{}
	s := serve(t, playbackID)
	c := s.dial(spice.Config{Sound: sound})
	p := s.peer(playbackID)
	p.send(opusStart()...)
	p.send(&wire.PlaybackData{Data: []byte{0xf7, 0}}) // a packet of no frames
	var err *spice.ChannelError
	require.ErrorAs(t, c.Wait(), &err)
	require.Equal(t, playbackID, err.Channel)
	require.Equal(t, "playback.data", err.Message)
	require.EqualValues(t, 3, err.Serial)
	require.ErrorContains(t, err, "Opus packet of 2 bytes")
	require.Empty(t, sound.packets)
}

func TestOpusAtARateThatItDoesNotHaveIsLeftOut(t *testing.T) {
	sound := &heard{}
	s := serve(t, playbackID)
	c := s.dial(spice.Config{Sound: sound})
	p := s.peer(playbackID)
	p.send(&wire.PlaybackMode{Mode: wire.AudioOpus}, &wire.PlaybackStart{Channels: 2, Format: wire.AudioS16, Frequency: 44100},
		&wire.PlaybackData{Data: []byte{0xf4}})
	p.sync()
	require.Equal(t, map[string]uint64{"Opus sound of 44100 Hz with 2 channels": 1}, c.Stats().Unsupported)
	// Raw samples at any rate are taken again after a change of the mode.
	p.send(&wire.PlaybackMode{Mode: wire.AudioRaw}, &wire.PlaybackData{Data: []byte{1, 2, 3, 4}})
	p.sync()
	require.Equal(t, [][]byte{{1, 2, 3, 4}}, sound.packets)
}

func TestOpusAfterAPauseIsDecodedFromItsBeginning(t *testing.T) {
	sound := &heard{}
	s := serve(t, playbackID)
	s.dial(spice.Config{Sound: sound})
	p := s.peer(playbackID)
	packets := readOpus(t)[:2]
	play := func(before ...wire.ServerMessage) {
		p.send(before...)
		for _, packet := range packets {
			p.send(&wire.PlaybackData{Data: packet.data})
		}
	}
	play(opusStart()...)
	play(&wire.PlaybackStop{}, opusStart()[1])
	play(&wire.PlaybackMode{Mode: wire.AudioRaw}, &wire.PlaybackMode{Mode: wire.AudioOpus})
	p.sync()
	require.Len(t, sound.packets, 6)
	require.Equal(t, sound.packets[:2], sound.packets[2:4], "after a start")
	require.Equal(t, sound.packets[:2], sound.packets[4:], "after a change of the mode")
}
