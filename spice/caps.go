package spice

import (
	"github.com/spicelane/spicelane/spice/wire"
)

// handlerFor returns the handler that interprets a channel.
func (c *Client) handlerFor(ch *channel) handler {
	switch ch.id.Type {
	case wire.ChannelMain:
		return &mainChannel{ch: ch, c: c}
	case wire.ChannelDisplay:
		return newDisplay(ch)
	case wire.ChannelInputs:
		return &inputsChannel{c: c}
	case wire.ChannelCursor:
		return &cursorChannel{ch: ch, c: c}
	}
	if ch.id.Type == wire.ChannelPlayback && c.cfg.Sound != nil {
		return &playback{c: c, sound: c.cfg.Sound, mode: wire.AudioRaw}
	}
	return counted{}
}

// channelCaps returns the capabilities that this side announces for a channel type: only what is
// implemented.
func (c *Client) channelCaps(t wire.ChannelType) wire.Caps {
	switch t {
	case wire.ChannelMain:
		return wire.MakeCaps(wire.CapMainNameAndUUID, wire.CapMainAgentConnectedTokens)
	case wire.ChannelDisplay:
		caps := wire.MakeCaps(
			wire.CapDisplaySizedStream, wire.CapDisplayMonitorsConfig, wire.CapDisplayA8Surface, wire.CapDisplayComposite,
			wire.CapDisplayStreamReport, wire.CapDisplayLZ4Compression,
			// With these two, a server sends no other codec.
			wire.CapDisplayMultiCodec, wire.CapDisplayCodecMJPEG,
		)
		if c.cfg.PreferredCompression != 0 {
			caps.Set(wire.CapDisplayPrefCompression)
		}
		return caps
	case wire.ChannelPlayback:
		if c.cfg.Sound != nil {
			return wire.MakeCaps(wire.CapPlaybackOpus)
		}
	}
	return nil
}

// counted handles a channel whose messages are only counted.
type counted struct{}

func (counted) begin() error                               { return nil }
func (counted) handle(wire.ServerMessage, *incoming) error { return nil }
