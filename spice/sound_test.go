package spice_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
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
		&wire.PlaybackMode{Mode: wire.AudioOpus}, &wire.PlaybackData{Data: []byte{7, 7}})
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
	require.Equal(t, map[string]uint64{"audio mode 3": 1}, c.Stats().Unsupported)
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
