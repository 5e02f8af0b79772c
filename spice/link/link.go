package link

import (
	"encoding/binary"
	"fmt"

	"github.com/spicelane/spicelane/spice/wire"
)

// Numbers of the handshake (spice/protocol.h).
const (
	// Magic begins the messages of both sides: "REDQ", read as a little-endian word.
	Magic uint32 = 'R' | 'E'<<8 | 'D'<<16 | 'Q'<<24
	// Major is the protocol version that both sides must share. The minor
	// version is informative.
	Major uint32 = 2
	// Minor is the minor version that this package announces.
	Minor uint32 = 2
	// HeaderSize is the size of SpiceLinkHeader in bytes.
	HeaderSize = 16
	// PublicKeySize is the space for the server's RSA-1024 key in a Reply, in bytes
	// (SPICE_TICKET_PUBKEY_BYTES).
	PublicKeySize = 162
	// TicketSize is the size of the encrypted ticket in bytes.
	TicketSize = 128
	// MaxSecret is the greatest length of a ticket or token in bytes. SPICE_MAX_PASSWORD_LENGTH is
	// 60 with the terminating zero. spice-server silently truncates a longer ticket, and then no
	// client's ticket matches.
	MaxSecret = 59
	// MaxBody limits what a link header may announce, in bytes. A real Request or Reply has under
	// 250; spice-server itself accepts up to 4096.
	MaxBody = 4096

	requestSize = 18
	replySize   = 4 + PublicKeySize + 12
)

// CommonCaps are the common capabilities of this package's client: it names its mechanism, uses
// tickets, and reads mini headers. Clone them before changing them.
var CommonCaps = wire.MakeCaps(wire.CapAuthSelection, wire.CapAuthSpice, wire.CapMiniHeader)

// Header is SpiceLinkHeader, with which both Request and Reply begin.
type Header struct {
	Magic uint32
	Major uint32
	Minor uint32
	Size  uint32 // bytes that follow
}

// Append appends the 16 bytes of the header.
func (h Header) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.Magic)
	b = binary.LittleEndian.AppendUint32(b, h.Major)
	b = binary.LittleEndian.AppendUint32(b, h.Minor)
	return binary.LittleEndian.AppendUint32(b, h.Size)
}

// Decode decodes the 16 bytes of a header without checking the values.
func (h *Header) Decode(b []byte) error {
	if len(b) < HeaderSize {
		return fmt.Errorf("link: header: want %d bytes, got %d", HeaderSize, len(b))
	}
	h.Magic = binary.LittleEndian.Uint32(b)
	h.Major = binary.LittleEndian.Uint32(b[4:])
	h.Minor = binary.LittleEndian.Uint32(b[8:])
	h.Size = binary.LittleEndian.Uint32(b[12:])
	return nil
}

// Request (SpiceLinkMess) requests a channel. The client sends it first.
type Request struct {
	ConnectionID uint32 // 0 for the first channel of a session, then MainInit.SessionID
	Channel      wire.ChannelID
	CommonCaps   wire.Caps
	ChannelCaps  wire.Caps
}

// Mess is the old name of Request.
//
// Deprecated: use Request.
type Mess = Request

// Append appends the Request with the header before it.
func (m Request) Append(b []byte) []byte {
	size := requestSize + 4*(len(m.CommonCaps)+len(m.ChannelCaps))
	b = Header{Magic, Major, Minor, uint32(size)}.Append(b)
	b = binary.LittleEndian.AppendUint32(b, m.ConnectionID)
	b = append(b, byte(m.Channel.Type), m.Channel.ID)
	return appendCaps(b, requestSize, m.CommonCaps, m.ChannelCaps)
}

// Decode reads what follows the header.
func (m *Request) Decode(body []byte) error {
	if len(body) < requestSize {
		return fmt.Errorf("link: request: want %d bytes, got %d", requestSize, len(body))
	}
	m.ConnectionID = binary.LittleEndian.Uint32(body)
	m.Channel = wire.ChannelID{Type: wire.ChannelType(body[4]), ID: body[5]}
	var err error
	m.CommonCaps, m.ChannelCaps, err = decodeCaps("request", body, requestSize)
	return err
}

// Reply is SpiceLinkReply, the server's answer. If Error is not wire.ResultOK, the rest is empty,
// and the server disconnects.
type Reply struct {
	Error       wire.Result
	PublicKey   [PublicKeySize]byte // SubjectPublicKeyInfo in DER, zeros after it
	CommonCaps  wire.Caps
	ChannelCaps wire.Caps
}

// Append appends the Reply with the header before it.
func (r Reply) Append(b []byte) []byte {
	size := replySize + 4*(len(r.CommonCaps)+len(r.ChannelCaps))
	b = Header{Magic, Major, Minor, uint32(size)}.Append(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Error))
	b = append(b, r.PublicKey[:]...)
	return appendCaps(b, replySize, r.CommonCaps, r.ChannelCaps)
}

// Decode reads what follows the header.
func (r *Reply) Decode(body []byte) error {
	if len(body) < replySize {
		return fmt.Errorf("link: reply: want %d bytes, got %d", replySize, len(body))
	}
	r.Error = wire.Result(binary.LittleEndian.Uint32(body))
	copy(r.PublicKey[:], body[4:])
	var err error
	r.CommonCaps, r.ChannelCaps, err = decodeCaps("reply", body, replySize)
	return err
}

// appendCaps appends the last three fields of a Request or Reply, and directly after them, at
// offset fixed, the capability words.
func appendCaps(b []byte, fixed uint32, common, channel wire.Caps) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(common)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(channel)))
	b = binary.LittleEndian.AppendUint32(b, fixed)
	for _, set := range []wire.Caps{common, channel} {
		for _, word := range set {
			b = binary.LittleEndian.AppendUint32(b, word)
		}
	}
	return b
}

// decodeCaps decodes the three fields that end at fixed, and the capability words.
func decodeCaps(what string, body []byte, fixed int) (common, channel wire.Caps, err error) {
	numCommon := binary.LittleEndian.Uint32(body[fixed-12:])
	numChannel := binary.LittleEndian.Uint32(body[fixed-8:])
	offset := binary.LittleEndian.Uint32(body[fixed-4:])
	if numCommon > wire.MaxCapWords || numChannel > wire.MaxCapWords {
		return nil, nil, fmt.Errorf("link: %s: %d common and %d channel capability words, the limit is %d",
			what, numCommon, numChannel, wire.MaxCapWords)
	}
	words := int(numCommon + numChannel)
	if words == 0 {
		// spice-server's error replies have offset 0 here.
		return nil, nil, nil
	}
	if int64(offset) < int64(fixed) || int64(offset)+int64(4*words) > int64(len(body)) {
		return nil, nil, fmt.Errorf("link: %s: %d capability words at offset %d lie outside bytes %d to %d",
			what, words, offset, fixed, len(body))
	}
	all := make(wire.Caps, words)
	for i := range all {
		all[i] = binary.LittleEndian.Uint32(body[int(offset)+4*i:])
	}
	return all[:numCommon:numCommon], all[numCommon:], nil
}
