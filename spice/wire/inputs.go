package wire

// Modifiers are the lock keys (SPICE_KEYBOARD_MODIFIER_FLAGS_*).
type Modifiers uint16

// The lock keys.
const (
	ModifierScrollLock Modifiers = 1 << 0
	ModifierNumLock    Modifiers = 1 << 1
	ModifierCapsLock   Modifiers = 1 << 2
)

// String returns the names of the keys that are on.
func (m Modifiers) String() string {
	return flagNames(uint32(m), []string{"scroll_lock", "num_lock", "caps_lock"})
}

// MouseButton is one button (SPICE_MOUSE_BUTTON_*). The wheel is the buttons up
// and down.
type MouseButton uint8

// The buttons.
const (
	ButtonLeft   MouseButton = 1
	ButtonMiddle MouseButton = 2
	ButtonRight  MouseButton = 3
	ButtonUp     MouseButton = 4
	ButtonDown   MouseButton = 5
	ButtonSide   MouseButton = 6
	ButtonExtra  MouseButton = 7
)

// String returns "left", "middle", …
func (b MouseButton) String() string { return enumName("button", uint32(b), mouseButtonNames) }

var mouseButtonNames = map[uint32]string{1: "left", 2: "middle", 3: "right", 4: "up", 5: "down", 6: "side", 7: "extra"}

// Mask returns the button's bit in a MouseButtons, 0 for a button out of range.
func (b MouseButton) Mask() MouseButtons {
	if b < ButtonLeft || b > ButtonExtra {
		return 0
	}
	return 1 << (b - 1)
}

// MouseButtons are the buttons held (SPICE_MOUSE_BUTTON_MASK_*).
type MouseButtons uint16

// String returns the names of the buttons held.
func (b MouseButtons) String() string {
	return flagNames(uint32(b), []string{"left", "middle", "right", "up", "down", "side", "extra"})
}

// MotionAckBunch is the number of motion or position messages that the server
// acknowledges at once (SPICE_INPUT_MOTION_ACK_BUNCH). A client keeps at most
// twice as many unacknowledged.
const MotionAckBunch = 4

// InputsInit is the first message of the channel.
type InputsInit struct{ Modifiers Modifiers }

// MessageType returns 101.
func (*InputsInit) MessageType() uint16 { return 101 }

// MessageName returns "inputs.init".
func (*InputsInit) MessageName() string { return "inputs.init" }

func (*InputsInit) fromServer() {}

// Append appends the body.
func (m *InputsInit) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsInit) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsInit) decode(r *Reader) { m.Modifiers = Modifiers(r.Uint16()) }
func (m *InputsInit) encode(w *writer) { w.u16(uint16(m.Modifiers)) }

// InputsKeyModifiers says that the guest changed its lock keys.
type InputsKeyModifiers struct{ Modifiers Modifiers }

// MessageType returns 102.
func (*InputsKeyModifiers) MessageType() uint16 { return 102 }

// MessageName returns "inputs.key_modifiers".
func (*InputsKeyModifiers) MessageName() string { return "inputs.key_modifiers" }

func (*InputsKeyModifiers) fromServer() {}

// Append appends the body.
func (m *InputsKeyModifiers) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsKeyModifiers) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsKeyModifiers) decode(r *Reader) { m.Modifiers = Modifiers(r.Uint16()) }
func (m *InputsKeyModifiers) encode(w *writer) { w.u16(uint16(m.Modifiers)) }

// InputsMouseMotionAck acknowledges MotionAckBunch motions or positions.
type InputsMouseMotionAck struct{}

// MessageType returns 111.
func (*InputsMouseMotionAck) MessageType() uint16 { return 111 }

// MessageName returns "inputs.mouse_motion_ack".
func (*InputsMouseMotionAck) MessageName() string { return "inputs.mouse_motion_ack" }

func (*InputsMouseMotionAck) fromServer() {}

// Append appends the body.
func (m *InputsMouseMotionAck) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *InputsMouseMotionAck) Decode([]byte) error { return nil }

// InputsKeyDown presses a key. Code is the AT set 1 make code as it is sent on
// the wire, first byte lowest: 0x1e for A, 0x1de0 for right control.
type InputsKeyDown struct{ Code uint32 }

// MessageType returns 101.
func (*InputsKeyDown) MessageType() uint16 { return 101 }

// MessageName returns "inputs.key_down".
func (*InputsKeyDown) MessageName() string { return "inputs.key_down" }

func (*InputsKeyDown) fromClient() {}

// Append appends the body.
func (m *InputsKeyDown) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsKeyDown) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsKeyDown) decode(r *Reader) { m.Code = r.Uint32() }
func (m *InputsKeyDown) encode(w *writer) { w.u32(m.Code) }

// InputsKeyUp releases a key. Code is the break code, first byte lowest: 0x9e
// for A, 0x9de0 for right control.
type InputsKeyUp struct{ Code uint32 }

// MessageType returns 102.
func (*InputsKeyUp) MessageType() uint16 { return 102 }

// MessageName returns "inputs.key_up".
func (*InputsKeyUp) MessageName() string { return "inputs.key_up" }

func (*InputsKeyUp) fromClient() {}

// Append appends the body.
func (m *InputsKeyUp) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsKeyUp) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsKeyUp) decode(r *Reader) { m.Code = r.Uint32() }
func (m *InputsKeyUp) encode(w *writer) { w.u32(m.Code) }

// InputsClientKeyModifiers asks the guest to have these lock keys on.
type InputsClientKeyModifiers struct{ Modifiers Modifiers }

// MessageType returns 103.
func (*InputsClientKeyModifiers) MessageType() uint16 { return 103 }

// MessageName returns "inputs.key_modifiers".
func (*InputsClientKeyModifiers) MessageName() string { return "inputs.key_modifiers" }

func (*InputsClientKeyModifiers) fromClient() {}

// Append appends the body.
func (m *InputsClientKeyModifiers) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsClientKeyModifiers) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsClientKeyModifiers) decode(r *Reader) { m.Modifiers = Modifiers(r.Uint16()) }
func (m *InputsClientKeyModifiers) encode(w *writer) { w.u16(uint16(m.Modifiers)) }

// InputsKeyScancode sends raw scancodes; needs CapInputsKeyScancode.
type InputsKeyScancode struct{ Codes []byte }

// MessageType returns 104.
func (*InputsKeyScancode) MessageType() uint16 { return 104 }

// MessageName returns "inputs.key_scancode".
func (*InputsKeyScancode) MessageName() string { return "inputs.key_scancode" }

func (*InputsKeyScancode) fromClient() {}

// Append appends the body.
func (m *InputsKeyScancode) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsKeyScancode) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsKeyScancode) decode(r *Reader) { m.Codes = r.Rest() }
func (m *InputsKeyScancode) encode(w *writer) { w.bytes(m.Codes) }

// InputsMouseMotion moves the pointer in MouseModeServer.
type InputsMouseMotion struct {
	DX, DY  int32
	Buttons MouseButtons
}

// MessageType returns 111.
func (*InputsMouseMotion) MessageType() uint16 { return 111 }

// MessageName returns "inputs.mouse_motion".
func (*InputsMouseMotion) MessageName() string { return "inputs.mouse_motion" }

func (*InputsMouseMotion) fromClient() {}

// Append appends the body.
func (m *InputsMouseMotion) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsMouseMotion) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsMouseMotion) decode(r *Reader) {
	m.DX, m.DY, m.Buttons = r.Int32(), r.Int32(), MouseButtons(r.Uint16())
}

func (m *InputsMouseMotion) encode(w *writer) { w.i32(m.DX); w.i32(m.DY); w.u16(uint16(m.Buttons)) }

// InputsMousePosition places the pointer in MouseModeClient, in pixels of the
// display's surface.
type InputsMousePosition struct {
	X, Y    uint32
	Buttons MouseButtons
	Display uint8 // the id of a display channel
}

// MessageType returns 112.
func (*InputsMousePosition) MessageType() uint16 { return 112 }

// MessageName returns "inputs.mouse_position".
func (*InputsMousePosition) MessageName() string { return "inputs.mouse_position" }

func (*InputsMousePosition) fromClient() {}

// Append appends the body.
func (m *InputsMousePosition) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsMousePosition) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsMousePosition) decode(r *Reader) {
	m.X, m.Y, m.Buttons, m.Display = r.Uint32(), r.Uint32(), MouseButtons(r.Uint16()), r.Uint8()
}

func (m *InputsMousePosition) encode(w *writer) {
	w.u32(m.X)
	w.u32(m.Y)
	w.u16(uint16(m.Buttons))
	w.u8(m.Display)
}

// InputsMousePress presses a button. Buttons includes it.
type InputsMousePress struct {
	Button  MouseButton
	Buttons MouseButtons
}

// MessageType returns 113.
func (*InputsMousePress) MessageType() uint16 { return 113 }

// MessageName returns "inputs.mouse_press".
func (*InputsMousePress) MessageName() string { return "inputs.mouse_press" }

func (*InputsMousePress) fromClient() {}

// Append appends the body.
func (m *InputsMousePress) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsMousePress) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsMousePress) decode(r *Reader) {
	m.Button, m.Buttons = MouseButton(r.Uint8()), MouseButtons(r.Uint16())
}

func (m *InputsMousePress) encode(w *writer) { w.u8(uint8(m.Button)); w.u16(uint16(m.Buttons)) }

// InputsMouseRelease releases a button. Buttons lacks it.
type InputsMouseRelease struct {
	Button  MouseButton
	Buttons MouseButtons
}

// MessageType returns 114.
func (*InputsMouseRelease) MessageType() uint16 { return 114 }

// MessageName returns "inputs.mouse_release".
func (*InputsMouseRelease) MessageName() string { return "inputs.mouse_release" }

func (*InputsMouseRelease) fromClient() {}

// Append appends the body.
func (m *InputsMouseRelease) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *InputsMouseRelease) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *InputsMouseRelease) decode(r *Reader) {
	m.Button, m.Buttons = MouseButton(r.Uint8()), MouseButtons(r.Uint16())
}

func (m *InputsMouseRelease) encode(w *writer) { w.u8(uint8(m.Button)); w.u16(uint16(m.Buttons)) }
