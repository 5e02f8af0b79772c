package proxy

import "github.com/spicelane/spicelane/spice/wire"

// offeredCommon is what the proxy can do on every channel.
var offeredCommon = wire.MakeCaps(wire.CapAuthSelection, wire.CapAuthSpice, wire.CapMiniHeader)

// offeredCaps are what the proxy announces on behalf of a console. It must do
// so before the client says which console it wants, so this is what
// spice-server announces on the channels of a QEMU (read off 0.15.1); what a
// console lacks of it is logged when it is linked.
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

// missing are the capabilities that were announced to the client and that the
// console does not have.
func missing(offered, has wire.Caps) wire.Caps { return offered.Without(has.List()...) }
