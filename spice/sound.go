package spice

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/pion/opus"

	"github.com/spicelane/spicelane/spice/wire"
)

// Sound receives what the guest plays. Its methods are called in message order, on the goroutine
// that reads the playback channel, and must not block. After an error it is not called again, and
// the session continues.
type Sound interface {
	// Start gives the format of the following samples: signed 16 bits, little-endian, channels
	// interleaved.
	Start(rate, channels int) error
	// Samples gives samples to be played at a time of the server's multimedia clock, in
	// milliseconds. pcm is valid only during the call.
	Samples(time uint32, pcm []byte) error
	// Stop says that the guest has stopped playing.
	Stop() error
}

// playback interprets a playback channel: raw samples, and Opus (RFC 6716), which servers send if
// it is announced (SPICE_PLAYBACK_CAP_OPUS). CELT 0.5.1 is not announced.
type playback struct {
	c              *Client
	sound          Sound
	started        bool
	rate, channels int // from the start message
	mode           wire.AudioMode
	opus           *opus.Decoder // created at the first packet after a start or a change of mode
	samples        []int16
	pcm            []byte
	failed         bool
}

func (p *playback) begin() error { return nil }

func (p *playback) handle(msg wire.ServerMessage, _ *incoming) error {
	switch m := msg.(type) {
	case *wire.PlaybackMode:
		if p.mode = m.Mode; p.mode != wire.AudioRaw && p.mode != wire.AudioOpus {
			p.c.miss(fmt.Sprintf("audio mode %d", m.Mode))
		}
		p.opus = nil
	case *wire.PlaybackStart:
		if m.Format != wire.AudioS16 || m.Channels < 1 || m.Channels > 8 || m.Frequency < 1 || m.Frequency > 1<<20 {
			p.c.miss(fmt.Sprintf("audio format %d", m.Format))
			p.started = false
			return nil
		}
		p.started, p.opus = true, nil
		p.rate, p.channels = int(m.Frequency), int(m.Channels)
		p.do(func() error { return p.sound.Start(p.rate, p.channels) })
	case *wire.PlaybackData:
		if !p.started || p.failed {
			return nil
		}
		pcm := m.Data
		switch p.mode {
		case wire.AudioRaw:
		case wire.AudioOpus:
			var err error
			if pcm, err = p.decode(m.Data); err != nil || pcm == nil {
				return err
			}
		default:
			return nil
		}
		p.do(func() error { return p.sound.Samples(m.Time, pcm) })
	case *wire.PlaybackStop:
		if p.started {
			p.do(p.sound.Stop)
		}
		p.started = false
	case *wire.PlaybackVolume, *wire.PlaybackMute, *wire.PlaybackLatency: // samples are passed on unchanged
	default:
		p.c.miss("message " + msg.MessageName())
	}
	return nil
}

// opusPacketMilliseconds is the longest duration of an Opus packet (RFC 6716, section 3.2.5).
const opusPacketMilliseconds = 120

// decode decodes one Opus packet. The samples are valid until the next call. They are nil if Opus
// does not have the sample rate.
func (p *playback) decode(packet []byte) ([]byte, error) {
	if p.opus == nil {
		d, err := opus.NewDecoderWithOutput(p.rate, p.channels)
		if err != nil {
			p.c.miss(fmt.Sprintf("Opus sound of %d Hz with %d channels", p.rate, p.channels))
			return nil, nil
		}
		p.opus = &d
		p.samples = make([]int16, p.rate*opusPacketMilliseconds/1000*p.channels)
	}
	frames, err := p.opus.DecodeToInt16(packet, p.samples)
	if err != nil {
		return nil, fmt.Errorf("an Opus packet of %d bytes: %w", len(packet), err)
	}
	p.pcm = p.pcm[:0]
	for _, v := range p.samples[:frames*p.channels] {
		p.pcm = binary.LittleEndian.AppendUint16(p.pcm, uint16(v))
	}
	return p.pcm, nil
}

func (p *playback) do(fn func() error) {
	if p.failed {
		return
	}
	if err := fn(); err != nil {
		p.failed = true
		p.c.log.Warn("sound is no longer kept", "error", err)
	}
}

// WAV is a Sound that writes a RIFF WAVE file. It omits pauses. All samples must have the rate and
// channels of the first ones.
type WAV struct {
	mu             sync.Mutex
	w              io.WriteSeeker
	rate, channels int
	written        int64 // bytes of samples
}

// NewWAV returns a WAV that writes to w from its beginning. The file can be played at any time; its
// header has the length only after Close.
func NewWAV(w io.WriteSeeker) *WAV { return &WAV{w: w} }

// wavHeaderSize is the number of bytes before the samples.
const wavHeaderSize = 44

func (v *WAV) header(size uint32) []byte {
	frame := 2 * v.channels
	b := append(make([]byte, 0, wavHeaderSize), "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(min(int64(size)+wavHeaderSize-8, math.MaxUint32)))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1) // PCM
	b = binary.LittleEndian.AppendUint16(b, uint16(v.channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(v.rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(v.rate*frame))
	b = binary.LittleEndian.AppendUint16(b, uint16(frame))
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	return binary.LittleEndian.AppendUint32(b, size)
}

// Start writes the header, the first time.
func (v *WAV) Start(rate, channels int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.rate == 0 {
		v.rate, v.channels = rate, channels
		// Until Close the size is the largest possible one, which players take for "to the end of
		// the file".
		_, err := v.w.Write(v.header(math.MaxUint32))
		return err
	}
	if rate != v.rate || channels != v.channels {
		return fmt.Errorf("spice: sound of %d Hz with %d channels in a WAV file of %d Hz with %d", rate, channels, v.rate, v.channels)
	}
	return nil
}

// Samples appends samples.
func (v *WAV) Samples(_ uint32, pcm []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, err := v.w.Write(pcm)
	v.written += int64(n)
	return err
}

// Stop does nothing: the next samples are appended.
func (v *WAV) Stop() error { return nil }

// Close writes the length into the header. It does not close the file.
func (v *WAV) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.rate == 0 {
		return nil
	}
	if _, err := v.w.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := v.w.Write(v.header(uint32(min(v.written, math.MaxUint32)))); err != nil {
		return err
	}
	_, err := v.w.Seek(0, io.SeekEnd)
	return err
}
