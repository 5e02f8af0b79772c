package spicetest

import (
	"fmt"

	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

// Conversation is the recording of one session.
type Conversation struct {
	Recordings []*recording.Channel // main first, then by channel
}

// Load reads a conversation that a recording.Recorder has written.
func Load(dir string) (*Conversation, error) {
	channels, err := recording.Load(dir)
	if err != nil {
		return nil, err
	}
	return &Conversation{Recordings: channels}, nil
}

// awaited reports whether a played server waits for this message of the client where it is in the
// recording, because a server does not continue without it. All other messages of the client depend
// on what drives it, and are only collected.
func awaited(channel wire.ChannelType, messageType uint16) bool {
	return channel == wire.ChannelDisplay && messageType == (*wire.DisplayInit)(nil).MessageType() ||
		channel == wire.ChannelMain && messageType == (*wire.MainAttachChannels)(nil).MessageType()
}

// Config returns a configuration that plays the conversation: the server sends what the recorded
// server sent, byte for byte, as fast as the client reads it. At the end of each channel the script
// syncs with the client, so AwaitScripts returns when everything has been handled. Any ticket is
// accepted. The client must announce at least the capabilities that it announced in the recording.
func (c *Conversation) Config() Config {
	cfg := Config{Scripts: map[wire.ChannelID]Script{}, CommonCaps: wire.Caps{}}
	for i, r := range c.Recordings {
		if i == 0 {
			cfg.CommonCaps = append(cfg.CommonCaps, r.Link.Server.Common...)
		}
		cfg.Scripts[r.Link.Channel] = Script{Caps: r.Link.Server.Channel, Steps: Steps(r)}
		for _, m := range r.Messages {
			var init wire.MainInit
			if r.Link.Channel.Type == wire.ChannelMain && m.From == wire.FromServer &&
				m.Header.Type == init.MessageType() && init.Decode(m.Body) == nil {
				cfg.SessionID = init.SessionID
			}
		}
	}
	return cfg
}

// Steps returns the script that plays the recording of one channel.
func Steps(r *recording.Channel) []Step {
	channel := r.Link.Channel.Type
	steps := []Step{{"compare capabilities", func(c *Channel) error {
		gone := r.Link.Client.Channel.Without(c.Request.ChannelCaps.List()...)
		if len(gone.List()) > 0 {
			return fmt.Errorf("the client no longer announces %s, which the server relied on: record it again", gone.ChannelNames(channel))
		}
		return nil
	}}}
	for i, m := range r.Messages {
		name := fmt.Sprintf("message %d, %s", i+1, wire.MessageName(channel, m.From, m.Header.Type))
		switch {
		case m.From == wire.FromServer:
			steps = append(steps, Step{"play " + name, func(c *Channel) error { return c.SendRaw(m.Header, m.Body) }})
		case awaited(channel, m.Header.Type):
			steps = append(steps, Step{"await " + name, func(c *Channel) error {
				for {
					got, err := c.Receive()
					if err != nil || got.MessageType() == m.Header.Type {
						return err
					}
				}
			}})
		}
	}
	return append(steps, Sync())
}
