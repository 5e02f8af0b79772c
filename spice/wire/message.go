package wire

// Message is one message of either direction. The concrete types of this
// package are the only implementations: a server's implement ServerMessage, a
// client's ClientMessage, so that sending one the wrong way does not compile.
type Message interface {
	// MessageType returns the number in the header (SPICE_MSG_* or SPICE_MSGC_*).
	MessageType() uint16
	// MessageName returns the name of the channel and the message in spice.proto, such as
	// "display.draw_copy". Messages of all channels have no channel: "ping".
	MessageName() string
	// Append appends the encoded body.
	Append(b []byte) []byte
	// Decode replaces the message with the content of body. The error is a *DecodeError. It reuses
	// the message's memory: do not decode into a message that is still in use.
	Decode(body []byte) error
}

// ServerMessage goes from server to client.
type ServerMessage interface {
	Message
	fromServer()
}

// ClientMessage goes from client to server.
type ClientMessage interface {
	Message
	fromClient()
}

// Unknown is a message that this package does not model, kept byte for byte.
type Unknown struct {
	Type uint16
	Body []byte // a window into the decoded body
}

func (*Unknown) fromServer() {}
func (*Unknown) fromClient() {}

// MessageType returns the number with which the message came.
func (m *Unknown) MessageType() uint16 { return m.Type }

// MessageName returns "unknown".
func (m *Unknown) MessageName() string { return "unknown" }

// Append appends the body as it came.
func (m *Unknown) Append(b []byte) []byte { return append(b, m.Body...) }

// Decode takes any body.
func (m *Unknown) Decode(body []byte) error {
	m.Body = body
	return nil
}
