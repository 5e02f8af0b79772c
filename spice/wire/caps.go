package wire

import (
	"fmt"
	"math/bits"
	"strings"
)

// Cap is the number of one capability bit. Numbers count from 0 within their
// set: the common capabilities, and those of one channel type.
type Cap uint32

// Common capabilities (SPICE_COMMON_CAP_* in spice/protocol.h).
const (
	CapAuthSelection Cap = 0 // the client names the mechanism before it authenticates
	CapAuthSpice     Cap = 1 // RSA-encrypted ticket
	CapAuthSASL      Cap = 2
	CapMiniHeader    Cap = 3 // 6-byte message headers
)

// Capabilities of the main channel (SPICE_MAIN_CAP_*).
const (
	CapMainSemiSeamlessMigrate  Cap = 0
	CapMainNameAndUUID          Cap = 1
	CapMainAgentConnectedTokens Cap = 2
	CapMainSeamlessMigrate      Cap = 3
)

// Capabilities of the display channel (SPICE_DISPLAY_CAP_*).
const (
	CapDisplaySizedStream        Cap = 0
	CapDisplayMonitorsConfig     Cap = 1
	CapDisplayComposite          Cap = 2
	CapDisplayA8Surface          Cap = 3
	CapDisplayStreamReport       Cap = 4
	CapDisplayLZ4Compression     Cap = 5
	CapDisplayPrefCompression    Cap = 6
	CapDisplayGLScanout          Cap = 7
	CapDisplayMultiCodec         Cap = 8
	CapDisplayCodecMJPEG         Cap = 9
	CapDisplayCodecVP8           Cap = 10
	CapDisplayCodecH264          Cap = 11
	CapDisplayPrefVideoCodecType Cap = 12
	CapDisplayCodecVP9           Cap = 13
	CapDisplayCodecH265          Cap = 14
)

// Capabilities of the inputs, playback, record, usbredir, port and webdav channels.
const (
	CapInputsKeyScancode Cap = 0

	CapPlaybackCELT051 Cap = 0
	CapPlaybackVolume  Cap = 1
	CapPlaybackLatency Cap = 2
	CapPlaybackOpus    Cap = 3

	CapRecordCELT051 Cap = 0
	CapRecordVolume  Cap = 1
	CapRecordOpus    Cap = 2

	CapSpicevmcDataCompressLZ4 Cap = 0
)

var commonCapNames = []string{"auth_selection", "auth_spice", "auth_sasl", "mini_header"}

var spicevmcCapNames = []string{"data_compress_lz4"}

var channelCapNames = map[ChannelType][]string{
	ChannelMain: {"semi_seamless_migrate", "name_and_uuid", "agent_connected_tokens", "seamless_migrate"},
	ChannelDisplay: {"sized_stream", "monitors_config", "composite", "a8_surface", "stream_report",
		"lz4_compression", "pref_compression", "gl_scanout", "multi_codec", "codec_mjpeg", "codec_vp8",
		"codec_h264", "pref_video_codec_type", "codec_vp9", "codec_h265"},
	ChannelInputs:   {"key_scancode"},
	ChannelPlayback: {"celt_0_5_1", "volume", "latency", "opus"},
	ChannelRecord:   {"celt_0_5_1", "volume", "opus"},
	ChannelUSBRedir: spicevmcCapNames,
	ChannelPort:     spicevmcCapNames,
	ChannelWebDAV:   spicevmcCapNames,
}

// CommonCapName names a common capability, "cap-N" if the number is unknown.
func CommonCapName(c Cap) string { return capName(commonCapNames, c) }

// ChannelCapName names a capability of channel type t, "cap-N" if it is unknown.
func ChannelCapName(t ChannelType, c Cap) string { return capName(channelCapNames[t], c) }

// ChannelCapsOf lists every capability that the protocol knows for channel
// type t, in numeric order.
func ChannelCapsOf(t ChannelType) []Cap {
	all := make([]Cap, len(channelCapNames[t]))
	for i := range all {
		all[i] = Cap(i)
	}
	return all
}

func capName(names []string, c Cap) string {
	if uint64(c) < uint64(len(names)) {
		return names[c]
	}
	return fmt.Sprintf("cap-%d", uint32(c))
}

// Caps is a set of capabilities as it goes over the wire: words of 32 bits,
// lowest number in the lowest bit of the first word. nil is the empty set.
type Caps []uint32

// MaxCapWords bounds the capability words of one set: 512 capabilities. The
// protocol uses one word today; an announcement beyond this is malformed.
const MaxCapWords = 16

// MakeCaps returns the set of the given capabilities. A number of 32*MaxCapWords or
// more cannot be expressed on the wire and is left out.
func MakeCaps(caps ...Cap) Caps {
	var set Caps
	for _, c := range caps {
		set.Set(c)
	}
	return set
}

// Has reports whether c is in the set.
func (s Caps) Has(c Cap) bool {
	word := int(c / 32)
	return word < len(s) && s[word]&(1<<(c%32)) != 0
}

// Set adds c, growing the set as needed up to MaxCapWords.
func (s *Caps) Set(c Cap) {
	word := int(c / 32)
	if word >= MaxCapWords {
		return
	}
	for len(*s) <= word {
		*s = append(*s, 0)
	}
	(*s)[word] |= 1 << (c % 32)
}

// Clear removes c. It never shrinks the words.
func (s Caps) Clear(c Cap) {
	if word := int(c / 32); word < len(s) {
		s[word] &^= 1 << (c % 32)
	}
}

// Clone returns a copy with separate words.
func (s Caps) Clone() Caps { return append(Caps(nil), s...) }

// Without returns a copy that lacks the given capabilities.
func (s Caps) Without(caps ...Cap) Caps {
	out := s.Clone()
	for _, c := range caps {
		out.Clear(c)
	}
	return out
}

// And returns the set of what both have.
func (s Caps) And(other Caps) Caps {
	out := make(Caps, min(len(s), len(other)))
	for i := range out {
		out[i] = s[i] & other[i]
	}
	return out
}

// List returns the numbers in the set, ascending.
func (s Caps) List() []Cap {
	var list []Cap
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			list = append(list, Cap(i*32+bits.TrailingZeros32(word)))
		}
	}
	return list
}

// CommonNames returns the names of the set's capabilities, read as common ones, joined by commas:
// "auth_spice,mini_header".
func (s Caps) CommonNames() string { return s.names(commonCapNames) }

// ChannelNames returns the names of the set's capabilities, read as those of channel type t.
func (s Caps) ChannelNames(t ChannelType) string { return s.names(channelCapNames[t]) }

func (s Caps) names(names []string) string {
	var b strings.Builder
	for i, c := range s.List() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(capName(names, c))
	}
	return b.String()
}
