package proxy

import (
	"fmt"
	"slices"
	"sync"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// offeredCommon are the common capabilities that the proxy supports on every channel.
var offeredCommon = wire.MakeCaps(wire.CapAuthSelection, wire.CapAuthSpice, wire.CapMiniHeader)

// offeredCaps are what the proxy announces for a console that it has not linked yet. It has to
// announce them before the client names a console. So they are what spice-server 0.15.1 announces
// in a QEMU.
var offeredCaps = map[wire.ChannelType]wire.Caps{
	wire.ChannelMain: wire.MakeCaps(wire.CapMainSemiSeamlessMigrate, wire.CapMainNameAndUUID,
		wire.CapMainAgentConnectedTokens, wire.CapMainSeamlessMigrate),
	wire.ChannelDisplay: wire.MakeCaps(wire.CapDisplayMonitorsConfig, wire.CapDisplayStreamReport,
		wire.CapDisplayPrefCompression, wire.CapDisplayPrefVideoCodecType),
	wire.ChannelInputs:   wire.MakeCaps(wire.CapInputsKeyScancode),
	wire.ChannelPlayback: wire.MakeCaps(wire.CapPlaybackVolume, wire.CapPlaybackOpus),
	wire.ChannelRecord:   wire.MakeCaps(wire.CapRecordVolume, wire.CapRecordOpus),
	wire.ChannelUSBRedir: wire.MakeCaps(wire.CapSpicevmcDataCompressLZ4),
	wire.ChannelPort:     wire.MakeCaps(wire.CapSpicevmcDataCompressLZ4),
	wire.ChannelWebDAV:   wire.MakeCaps(wire.CapSpicevmcDataCompressLZ4),
}

// knownCaps are the channel capabilities with which consoles have answered.
type knownCaps struct {
	mu  sync.Mutex
	all map[capsKey]wire.Caps
}

type capsKey struct {
	source, uuid string
	channel      wire.ChannelType
}

// maxKnownCaps limits the memory for consoles that no longer exist.
const maxKnownCaps = 10_000

func (k *knownCaps) learn(key capsKey, caps wire.Caps) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil || len(k.all) >= maxKnownCaps {
		k.all = map[capsKey]wire.Caps{}
	}
	k.all[key] = caps
}

func (k *knownCaps) lookup(key capsKey) (wire.Caps, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	caps, ok := k.all[key]
	return caps, ok
}

// offer returns the channel capabilities to offer to a client. Once a console has answered for a
// channel type, later channels of its sessions get exactly that answer. Before that, they get what
// a QEMU has. So do sessions that share a connection id but have different consoles.
func (p *Proxy) offer(request link.Request) wire.Caps {
	t := request.Channel.Type
	var answer wire.Caps
	found := false
	for _, s := range p.sessions.of(request.ConnectionID) {
		caps, ok := p.caps.lookup(capsKey{s.source, s.uuid, t})
		if !ok || found && !slices.Equal(caps, answer) {
			return offeredCaps[t]
		}
		answer, found = caps, true
	}
	if found {
		return answer
	}
	return offeredCaps[t]
}

// PromiseError says that a console lacks capabilities that its client was offered and uses. The
// next channel to this console is offered only what the console has.
type PromiseError struct {
	Channel wire.ChannelID
	Lacks   wire.Caps
}

func (e *PromiseError) Error() string {
	return fmt.Sprintf("channel %s lacks the capabilities %s that the client was offered", e.Channel, e.Lacks.ChannelNames(e.Channel.Type))
}

// brokenPromise returns the capabilities that the client was offered and uses, and the console
// lacks. A capability matters only if both sides have it.
func brokenPromise(offered wire.Caps, request link.Request, has wire.Caps) error {
	lacks := offered.And(request.ChannelCaps).Without(has.List()...)
	if len(lacks.List()) == 0 {
		return nil
	}
	return &PromiseError{Channel: request.Channel, Lacks: lacks}
}
