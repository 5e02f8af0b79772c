package wire

// Tap is shown what goes over one channel, message by message. Recorders and
// tracers are Taps; who owns the channel calls them.
//
// Messages of the two directions may be shown by two goroutines at once. No Tap
// may keep or change body after it returned, or block.
type Tap interface {
	// Linked is called once, after the channel's link and before its first
	// message.
	Linked(LinkInfo)
	// Message is called with each message in the order in which it was read or
	// is about to be written. h.Size is the length of body.
	Message(d Direction, h Header, body []byte)
}

// LinkInfo is what both sides said in the link of a channel, without what is
// secret in it.
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

// CapSets is what one side announced.
type CapSets struct {
	Common  Caps
	Channel Caps
}

// JoinTaps returns a Tap that shows everything to each of taps, in their order. It is nil if
// all of them are.
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
