package scenario

import (
	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/spice/control"
)

// Exports for tests of the parts that need no lane.
var (
	Dominant = dominant
)

// Keyboard104 are the codes of the keyboard that the suite presses.
func Keyboard104() (codes []uint16) {
	for _, k := range keyboard104 {
		codes = append(codes, k.code)
	}
	return codes
}

// Characters are what its keys type, plain and with Shift.
func Characters() (plain, shifted map[rune]uint16) {
	plain, shifted = map[rune]uint16{}, map[rune]uint16{}
	for _, k := range keyboard104 {
		if k.plain > ' ' {
			plain[k.plain], shifted[k.shifted] = k.code, k.code
		}
	}
	return plain, shifted
}

// ClipboardText is the text that goes over the clipboard.
var ClipboardText = clipboardText

// A ScriptedStream takes digests without a lane.
func ScriptedStream(first digest.Digest) *Stream {
	return &Stream{last: first, frames: 1, events: first.Events, read: len(first.Events), hashes: first.ChannelHashes}
}

// Take adds a digest.
func (s *Stream) Take(d digest.Digest) error { return s.take(d) }

// The keys that Typing types, and how it counts the result.
var (
	TypedText  = typedText
	TypedParts = typedParts
	InCommon   = inCommon
)

// IsBanner is what Boot waits for.
var IsBanner = isBanner

// ReadBackOf is ReadBack with another limit for each wait, and with other texts.
var ReadBackOf = readBack

// What Native requires of a client.
var (
	NativeDemands = nativeDemands
	Streams       = streams
	CRC           = crc32c
	Codecs        = compressed // that a compression leads to

	DrawsAddUp  = drawsAddUp
	FramesAddUp = framesAddUp
)

// CheckPointer compares a client's pointer with the guest's line.
func CheckPointer(line string, got control.CursorResult) error {
	p, err := parsePointerLine(line)
	if err != nil {
		return err
	}
	return p.check(got)
}
