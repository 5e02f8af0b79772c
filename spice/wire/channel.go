package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// ChannelType says what a channel carries (SPICE_CHANNEL_* in spice/enums.h).
type ChannelType uint8

// The channel types of the protocol.
const (
	ChannelMain      ChannelType = 1
	ChannelDisplay   ChannelType = 2
	ChannelInputs    ChannelType = 3
	ChannelCursor    ChannelType = 4
	ChannelPlayback  ChannelType = 5
	ChannelRecord    ChannelType = 6
	ChannelTunnel    ChannelType = 7 // obsolete: no current server offers it
	ChannelSmartcard ChannelType = 8
	ChannelUSBRedir  ChannelType = 9
	ChannelPort      ChannelType = 10
	ChannelWebDAV    ChannelType = 11
)

var channelNames = [...]string{
	ChannelMain: "main", ChannelDisplay: "display", ChannelInputs: "inputs",
	ChannelCursor: "cursor", ChannelPlayback: "playback", ChannelRecord: "record",
	ChannelTunnel: "tunnel", ChannelSmartcard: "smartcard", ChannelUSBRedir: "usbredir",
	ChannelPort: "port", ChannelWebDAV: "webdav",
}

// String returns the name that spice.proto gives the channel ("main", "display",
// …), or "channel-N" for a type that the protocol does not know.
func (t ChannelType) String() string {
	if int(t) < len(channelNames) && channelNames[t] != "" {
		return channelNames[t]
	}
	return fmt.Sprintf("channel-%d", uint8(t))
}

// Known reports whether the protocol gives this type a meaning.
func (t ChannelType) Known() bool {
	return int(t) < len(channelNames) && channelNames[t] != ""
}

// ChannelTypes lists all known channel types in numeric order.
func ChannelTypes() []ChannelType {
	var all []ChannelType
	for t := range channelNames {
		if channelNames[t] != "" {
			all = append(all, ChannelType(t))
		}
	}
	return all
}

// ChannelID names one channel of a session: its type, and its number among the
// channels of that type, counted from 0.
type ChannelID struct {
	Type ChannelType
	ID   uint8
}

// String returns "display:0".
func (c ChannelID) String() string { return fmt.Sprintf("%s:%d", c.Type, c.ID) }

// ParseChannelID reads what [ChannelID.String] writes.
func ParseChannelID(s string) (ChannelID, error) {
	name, number, found := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 8)
	if !found || err != nil {
		return ChannelID{}, fmt.Errorf("wire: channel %q: want a type and a number, such as display:0", s)
	}
	for t, known := range channelNames {
		if known != "" && known == name {
			return ChannelID{ChannelType(t), uint8(n)}, nil
		}
	}
	if rest, ok := strings.CutPrefix(name, "channel-"); ok {
		if t, err := strconv.ParseUint(rest, 10, 8); err == nil {
			return ChannelID{ChannelType(t), uint8(n)}, nil
		}
	}
	return ChannelID{}, fmt.Errorf("wire: channel %q: unknown type %q", s, name)
}

// Direction says from which side of a connection a message comes.
type Direction uint8

// The two directions. Numbers of messages overlap between them.
const (
	FromServer Direction = iota
	FromClient
)

// String returns "server" or "client": the sender.
func (d Direction) String() string {
	if d == FromClient {
		return "client"
	}
	return "server"
}
