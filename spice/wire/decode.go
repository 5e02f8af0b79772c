package wire

import (
	"errors"
	"slices"
)

// DecodeServer decodes a message that a server sent on a channel of type t. A
// type that is not modelled gives *Unknown and no error. An error is a
// *DecodeError.
func DecodeServer(t ChannelType, messageType uint16, body []byte) (ServerMessage, error) {
	m := NewServerMessage(t, messageType)
	return m, inChannel(t, m.Decode(body))
}

// DecodeClient decodes a message that a client sent, as DecodeServer does.
func DecodeClient(t ChannelType, messageType uint16, body []byte) (ClientMessage, error) {
	m := NewClientMessage(t, messageType)
	return m, inChannel(t, m.Decode(body))
}

// Decode decodes a message of either direction.
func Decode(t ChannelType, d Direction, messageType uint16, body []byte) (Message, error) {
	if d == FromClient {
		return DecodeClient(t, messageType, body)
	}
	return DecodeServer(t, messageType, body)
}

// NewServerMessage returns an empty message to decode into; *Unknown if the type is
// not modelled.
func NewServerMessage(t ChannelType, messageType uint16) ServerMessage {
	return lookup(serverTables, t, messageType, func() ServerMessage { return &Unknown{Type: messageType} })
}

// NewClientMessage returns an empty message to decode into, as NewServerMessage.
func NewClientMessage(t ChannelType, messageType uint16) ClientMessage {
	return lookup(clientTables, t, messageType, func() ClientMessage { return &Unknown{Type: messageType} })
}

// MessageName names a message by its number: "display.draw_copy", "ping", and
// "display.N" for one that is not modelled.
func MessageName(t ChannelType, d Direction, messageType uint16) string {
	var m Message
	if d == FromClient {
		m = NewClientMessage(t, messageType)
	} else {
		m = NewServerMessage(t, messageType)
	}
	if _, unknown := m.(*Unknown); unknown {
		return unknownName(t, messageType)
	}
	return m.MessageName()
}

// MessageKind is a message that this package models.
type MessageKind struct {
	Type uint16
	Name string
}

// Messages lists the modelled messages of a channel type and direction by number, including those
// of all channels. Coverage is counted against this list.
func Messages(t ChannelType, d Direction) []MessageKind {
	var kinds []MessageKind
	if d == FromClient {
		kinds = listKinds(clientTables, t)
	} else {
		kinds = listKinds(serverTables, t)
	}
	slices.SortFunc(kinds, func(a, b MessageKind) int { return int(a.Type) - int(b.Type) })
	return kinds
}

// table has messages by number. Numbers without a message are nil.
type table[M Message] []func() M

func lookup[M Message](tables func(ChannelType) []table[M], t ChannelType, messageType uint16, unknown func() M) M {
	for _, tab := range tables(t) {
		if int(messageType) < len(tab) && tab[messageType] != nil {
			return tab[messageType]()
		}
	}
	return unknown()
}

func listKinds[M Message](tables func(ChannelType) []table[M], t ChannelType) []MessageKind {
	var kinds []MessageKind
	for _, tab := range tables(t) {
		for n, make := range tab {
			if make != nil {
				kinds = append(kinds, MessageKind{uint16(n), make().MessageName()})
			}
		}
	}
	return kinds
}

// inChannel sets the channel of a decoding error.
func inChannel(t ChannelType, err error) error {
	if e := (*DecodeError)(nil); errors.As(err, &e) {
		e.Channel = t
	}
	return err
}

func serverTables(t ChannelType) []table[ServerMessage] {
	switch t {
	case ChannelMain:
		return mainServerTables
	case ChannelDisplay:
		return displayServerTables
	case ChannelInputs:
		return inputsServerTables
	case ChannelCursor:
		return cursorServerTables
	case ChannelPlayback:
		return playbackServerTables
	case ChannelRecord:
		return recordServerTables
	case ChannelSmartcard:
		return smartcardServerTables
	case ChannelUSBRedir:
		return usbredirServerTables
	case ChannelPort, ChannelWebDAV:
		return portServerTables
	}
	return otherServerTables
}

func clientTables(t ChannelType) []table[ClientMessage] {
	switch t {
	case ChannelMain:
		return mainClientTables
	case ChannelDisplay:
		return displayClientTables
	case ChannelInputs:
		return inputsClientTables
	case ChannelRecord:
		return recordClientTables
	case ChannelSmartcard:
		return smartcardClientTables
	case ChannelUSBRedir:
		return usbredirClientTables
	case ChannelPort, ChannelWebDAV:
		return portClientTables
	}
	return otherClientTables
}

// The tables that each channel's messages are looked up in.
var (
	mainServerTables      = []table[ServerMessage]{baseServer, mainServer}
	displayServerTables   = []table[ServerMessage]{baseServer, displayServer}
	inputsServerTables    = []table[ServerMessage]{baseServer, inputsServer}
	cursorServerTables    = []table[ServerMessage]{baseServer, cursorServer}
	playbackServerTables  = []table[ServerMessage]{baseServer, playbackServer}
	recordServerTables    = []table[ServerMessage]{baseServer, recordServer}
	smartcardServerTables = []table[ServerMessage]{baseServer, smartcardServer}
	usbredirServerTables  = []table[ServerMessage]{baseServer, spicevmcServer}
	portServerTables      = []table[ServerMessage]{baseServer, spicevmcServer, portServer}
	otherServerTables     = []table[ServerMessage]{baseServer}

	mainClientTables      = []table[ClientMessage]{baseClient, mainClient}
	displayClientTables   = []table[ClientMessage]{baseClient, displayClient}
	inputsClientTables    = []table[ClientMessage]{baseClient, inputsClient}
	recordClientTables    = []table[ClientMessage]{baseClient, recordClient}
	smartcardClientTables = []table[ClientMessage]{baseClient, smartcardClient}
	usbredirClientTables  = []table[ClientMessage]{baseClient, spicevmcClient}
	portClientTables      = []table[ClientMessage]{baseClient, spicevmcClient, portClient}
	otherClientTables     = []table[ClientMessage]{baseClient}
)

// The modelled messages, by number.

var baseServer = table[ServerMessage]{
	1: func() ServerMessage { return new(Migrate) },
	2: func() ServerMessage { return new(MigrateData) },
	3: func() ServerMessage { return new(SetAck) },
	4: func() ServerMessage { return new(Ping) },
	5: func() ServerMessage { return new(WaitForChannels) },
	6: func() ServerMessage { return new(Disconnecting) },
	7: func() ServerMessage { return new(Notify) },
	8: func() ServerMessage { return new(List) },
}

var mainServer = table[ServerMessage]{
	101: func() ServerMessage { return new(MainMigrateBegin) },
	102: func() ServerMessage { return new(MainMigrateCancel) },
	103: func() ServerMessage { return new(MainInit) },
	104: func() ServerMessage { return new(MainChannelsList) },
	105: func() ServerMessage { return new(MainMouseMode) },
	106: func() ServerMessage { return new(MainMultiMediaTime) },
	107: func() ServerMessage { return new(MainAgentConnected) },
	108: func() ServerMessage { return new(MainAgentDisconnected) },
	109: func() ServerMessage { return new(MainAgentData) },
	110: func() ServerMessage { return new(MainAgentToken) },
	111: func() ServerMessage { return new(MainMigrateSwitchHost) },
	112: func() ServerMessage { return new(MainMigrateEnd) },
	113: func() ServerMessage { return new(MainName) },
	114: func() ServerMessage { return new(MainUUID) },
	115: func() ServerMessage { return new(MainAgentConnectedTokens) },
	116: func() ServerMessage { return new(MainMigrateBeginSeamless) },
	117: func() ServerMessage { return new(MainMigrateDstSeamlessAck) },
	118: func() ServerMessage { return new(MainMigrateDstSeamlessNack) },
}

var displayServer = table[ServerMessage]{
	101: func() ServerMessage { return new(DisplayMode) },
	102: func() ServerMessage { return new(DisplayMark) },
	103: func() ServerMessage { return new(DisplayReset) },
	104: func() ServerMessage { return new(DisplayCopyBits) },
	105: func() ServerMessage { return new(DisplayInvalList) },
	106: func() ServerMessage { return new(DisplayInvalAllPixmaps) },
	107: func() ServerMessage { return new(DisplayInvalPalette) },
	108: func() ServerMessage { return new(DisplayInvalAllPalettes) },
	122: func() ServerMessage { return new(DisplayStreamCreate) },
	123: func() ServerMessage { return new(DisplayStreamData) },
	124: func() ServerMessage { return new(DisplayStreamClip) },
	125: func() ServerMessage { return new(DisplayStreamDestroy) },
	126: func() ServerMessage { return new(DisplayStreamDestroyAll) },
	302: func() ServerMessage { return new(DrawFill) },
	303: func() ServerMessage { return new(DrawOpaque) },
	304: func() ServerMessage { return new(DrawCopy) },
	305: func() ServerMessage { return new(DrawBlend) },
	306: func() ServerMessage { return new(DrawBlackness) },
	307: func() ServerMessage { return new(DrawWhiteness) },
	308: func() ServerMessage { return new(DrawInvers) },
	309: func() ServerMessage { return new(DrawRop3) },
	310: func() ServerMessage { return new(DrawStroke) },
	311: func() ServerMessage { return new(DrawText) },
	312: func() ServerMessage { return new(DrawTransparent) },
	313: func() ServerMessage { return new(DrawAlphaBlend) },
	314: func() ServerMessage { return new(DisplaySurfaceCreate) },
	315: func() ServerMessage { return new(DisplaySurfaceDestroy) },
	316: func() ServerMessage { return new(DisplayStreamDataSized) },
	317: func() ServerMessage { return new(DisplayMonitorsConfig) },
	318: func() ServerMessage { return new(DrawComposite) },
	319: func() ServerMessage { return new(DisplayStreamActivateReport) },
	320: func() ServerMessage { return new(DisplayGLScanoutUnix) },
	321: func() ServerMessage { return new(DisplayGLDraw) },
	322: func() ServerMessage { return new(DisplayQualityIndicator) },
}

var inputsServer = table[ServerMessage]{
	101: func() ServerMessage { return new(InputsInit) },
	102: func() ServerMessage { return new(InputsKeyModifiers) },
	111: func() ServerMessage { return new(InputsMouseMotionAck) },
}

var cursorServer = table[ServerMessage]{
	101: func() ServerMessage { return new(CursorInit) },
	102: func() ServerMessage { return new(CursorReset) },
	103: func() ServerMessage { return new(CursorSet) },
	104: func() ServerMessage { return new(CursorMove) },
	105: func() ServerMessage { return new(CursorHide) },
	106: func() ServerMessage { return new(CursorTrail) },
	107: func() ServerMessage { return new(CursorInvalOne) },
	108: func() ServerMessage { return new(CursorInvalAll) },
}

var playbackServer = table[ServerMessage]{
	101: func() ServerMessage { return new(PlaybackData) },
	102: func() ServerMessage { return new(PlaybackMode) },
	103: func() ServerMessage { return new(PlaybackStart) },
	104: func() ServerMessage { return new(PlaybackStop) },
	105: func() ServerMessage { return new(PlaybackVolume) },
	106: func() ServerMessage { return new(PlaybackMute) },
	107: func() ServerMessage { return new(PlaybackLatency) },
}

var recordServer = table[ServerMessage]{
	101: func() ServerMessage { return new(RecordStart) },
	102: func() ServerMessage { return new(RecordStop) },
	103: func() ServerMessage { return new(RecordVolume) },
	104: func() ServerMessage { return new(RecordMute) },
}

var smartcardServer = table[ServerMessage]{
	101: func() ServerMessage { return new(SmartcardData) },
}

var spicevmcServer = table[ServerMessage]{
	101: func() ServerMessage { return new(SpicevmcData) },
	102: func() ServerMessage { return new(SpicevmcCompressedData) },
}

var portServer = table[ServerMessage]{
	201: func() ServerMessage { return new(PortInit) },
	202: func() ServerMessage { return new(PortEvent) },
}

var baseClient = table[ClientMessage]{
	1: func() ClientMessage { return new(AckSync) },
	2: func() ClientMessage { return new(Ack) },
	3: func() ClientMessage { return new(Pong) },
	4: func() ClientMessage { return new(MigrateFlushMark) },
	5: func() ClientMessage { return new(ClientMigrateData) },
	6: func() ClientMessage { return new(ClientDisconnecting) },
}

var mainClient = table[ClientMessage]{
	101: func() ClientMessage { return new(MainClientInfo) },
	102: func() ClientMessage { return new(MainMigrateConnected) },
	103: func() ClientMessage { return new(MainMigrateConnectError) },
	104: func() ClientMessage { return new(MainAttachChannels) },
	105: func() ClientMessage { return new(MainMouseModeRequest) },
	106: func() ClientMessage { return new(MainAgentStart) },
	107: func() ClientMessage { return new(MainClientAgentData) },
	108: func() ClientMessage { return new(MainClientAgentToken) },
	109: func() ClientMessage { return new(MainClientMigrateEnd) },
	110: func() ClientMessage { return new(MainMigrateDstDoSeamless) },
	111: func() ClientMessage { return new(MainMigrateConnectedSeamless) },
	112: func() ClientMessage { return new(MainQualityIndicator) },
}

var displayClient = table[ClientMessage]{
	101: func() ClientMessage { return new(DisplayInit) },
	102: func() ClientMessage { return new(DisplayStreamReport) },
	103: func() ClientMessage { return new(DisplayPreferredCompression) },
	104: func() ClientMessage { return new(DisplayGLDrawDone) },
	105: func() ClientMessage { return new(DisplayPreferredVideoCodecType) },
}

var inputsClient = table[ClientMessage]{
	101: func() ClientMessage { return new(InputsKeyDown) },
	102: func() ClientMessage { return new(InputsKeyUp) },
	103: func() ClientMessage { return new(InputsClientKeyModifiers) },
	104: func() ClientMessage { return new(InputsKeyScancode) },
	111: func() ClientMessage { return new(InputsMouseMotion) },
	112: func() ClientMessage { return new(InputsMousePosition) },
	113: func() ClientMessage { return new(InputsMousePress) },
	114: func() ClientMessage { return new(InputsMouseRelease) },
}

var recordClient = table[ClientMessage]{
	101: func() ClientMessage { return new(RecordData) },
	102: func() ClientMessage { return new(RecordMode) },
	103: func() ClientMessage { return new(RecordStartMark) },
}

var smartcardClient = table[ClientMessage]{
	101: func() ClientMessage { return new(SmartcardData) },
}

var spicevmcClient = table[ClientMessage]{
	101: func() ClientMessage { return new(SpicevmcData) },
	102: func() ClientMessage { return new(SpicevmcCompressedData) },
}

var portClient = table[ClientMessage]{
	201: func() ClientMessage { return new(PortClientEvent) },
}
