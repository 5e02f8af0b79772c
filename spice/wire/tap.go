package wire

// Tap observes one channel, message by message. Recorders and tracers are Taps; the owner of the
// channel calls them.
//
// Two goroutines may call Message at once, one per direction. A Tap must not block, must not change
// body, and must not keep it after Message returns.
type Tap interface {
	// Linked is called once, after the channel's link and before its first
	// message.
	Linked(LinkInfo)
	// Message is called with each message in the order in which it was read or
	// is about to be written. h.Size is the length of body.
	Message(d Direction, h Header, body []byte)
}

// LinkInfo is what both sides sent in the link of a channel, without secrets.
type LinkInfo struct {
	Channel      ChannelID
	ConnectionID uint32 // what the client sent: 0 on the first channel of a session
	Client       CapSets
	Server       CapSets
}

// Mini reports whether messages of the channel have the 6-byte header.
func (l LinkInfo) Mini() bool {
	return l.Client.Common.Has(CapMiniHeader) && l.Server.Common.Has(CapMiniHeader)
}

// CapSets are the capabilities that one side announced.
type CapSets struct {
	Common  Caps
	Channel Caps
}

// JoinTaps returns a Tap that passes everything to each of taps, in their order. It is nil if all
// of them are.
func JoinTaps(taps ...Tap) Tap {
	var all joinedTaps
	for _, t := range taps {
		if t != nil {
			all = append(all, t)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

type joinedTaps []Tap

func (l joinedTaps) Linked(i LinkInfo) {
	for _, t := range l {
		t.Linked(i)
	}
}

func (l joinedTaps) Message(d Direction, h Header, body []byte) {
	for _, t := range l {
		t.Message(d, h, body)
	}
}
