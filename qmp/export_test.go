package qmp

// What only tests of the line format use from outside.
type Message = message

var (
	NewDecoder    = newDecoder
	ParseMessage  = parseMessage
	RedactCommand = redactCommand
)

// Decode returns the decoder's next message.
func Decode(d *decoder) (Message, error) { return d.decode() }
