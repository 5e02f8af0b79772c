package spice

import (
	"context"
	"fmt"
	"sync"

	"github.com/spicelane/spicelane/spice/wire"
)

// Modifiers are the lock keys that are on in the guest.
type Modifiers = wire.Modifiers

var inputsID = wire.ChannelID{Type: wire.ChannelInputs}

// motionWindow is how many mouse messages may be unacknowledged; the server drops further ones. It
// is twice the number after which servers acknowledge, as in spice-server's inputs channel.
const motionWindow = 2 * wire.MotionAckBunch

// inputsState is what the inputs channel has reported, and the mouse state that was last sent.
type inputsState struct {
	mu        sync.Mutex
	modifiers Modifiers
	buttons   wire.MouseButtons
	underway  int // mouse messages not acknowledged
}

// inputsChannel interprets the inputs channel.
type inputsChannel struct{ c *Client }

func (i *inputsChannel) begin() error { return nil }

func (i *inputsChannel) handle(msg wire.ServerMessage, _ *incoming) error {
	switch msg := msg.(type) {
	case *wire.InputsInit:
		i.modifiers(msg.Modifiers)
		return nil
	case *wire.InputsKeyModifiers:
		i.modifiers(msg.Modifiers)
		return nil
	case *wire.InputsMouseMotionAck:
		s := &i.c.inputs
		s.mu.Lock()
		s.underway = max(0, s.underway-wire.MotionAckBunch)
		s.mu.Unlock()
		i.c.notifier.notify()
		return nil
	}
	i.c.miss("message " + msg.MessageName())
	return nil
}

func (i *inputsChannel) modifiers(m Modifiers) {
	s := &i.c.inputs
	s.mu.Lock()
	s.modifiers = m
	s.mu.Unlock()
	i.c.observers.emit(ModifiersChanged{Modifiers: m})
	i.c.notifier.notify()
}

// Modifiers returns the lock keys that are on in the guest, from its last report.
func (c *Client) Modifiers() Modifiers {
	c.inputs.mu.Lock()
	defer c.inputs.mu.Unlock()
	return c.inputs.modifiers
}

// SetModifiers asks the guest to switch its lock keys. It returns when the message has been
// written, or when ctx ends.
func (c *Client) SetModifiers(ctx context.Context, m Modifiers) error {
	return c.ask(ctx, inputsID, &wire.InputsClientKeyModifiers{Modifiers: m})
}

// Key presses or releases a key. code is its AT set 1 make code, with a prefix of 0xe0 in the high
// byte: 0x1c is Enter, 0xe04b the left arrow. It returns when the message has been written, or when
// ctx ends.
func (c *Client) Key(ctx context.Context, code uint16, down bool) error {
	wired, err := scancode(code, down)
	if err != nil {
		return err
	}
	if down {
		return c.ask(ctx, inputsID, &wire.InputsKeyDown{Code: wired})
	}
	return c.ask(ctx, inputsID, &wire.InputsKeyUp{Code: wired})
}

// scancode returns the code in wire form: first byte lowest, and for a release the top bit of the
// last byte set.
func scancode(code uint16, down bool) (uint32, error) {
	prefix, make := uint32(code>>8), uint32(code&0xff)
	if make == 0 || make > 0x7f || prefix != 0 && prefix != 0xe0 {
		return 0, fmt.Errorf("spice: %#04x is not a make code of AT set 1 (0x01 to 0x7f, or with 0xe0 in the high byte)", code)
	}
	if !down {
		make |= 0x80
	}
	if prefix != 0 {
		return prefix | make<<8, nil
	}
	return make, nil
}

// MouseMove moves the pointer by dx, dy. The server must be in server mouse mode
// (MainState.MouseMode). While too many moves are unacknowledged, it waits until ctx ends.
func (c *Client) MouseMove(ctx context.Context, dx, dy int) error {
	return c.moveMouse(ctx, func(b wire.MouseButtons) wire.ClientMessage {
		return &wire.InputsMouseMotion{DX: int32(dx), DY: int32(dy), Buttons: b}
	})
}

// MousePosition places the pointer at x, y on the display of a display channel. The server must be
// in client mouse mode. While too many moves are unacknowledged, it waits until ctx ends.
func (c *Client) MousePosition(ctx context.Context, display uint8, x, y int) error {
	if x < 0 || y < 0 {
		return fmt.Errorf("spice: mouse position %d,%d is negative", x, y)
	}
	return c.moveMouse(ctx, func(b wire.MouseButtons) wire.ClientMessage {
		return &wire.InputsMousePosition{X: uint32(x), Y: uint32(y), Buttons: b, Display: display}
	})
}

func (c *Client) moveMouse(ctx context.Context, message func(wire.MouseButtons) wire.ClientMessage) error {
	s := &c.inputs
	var m wire.ClientMessage
	err := c.Await(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.underway >= motionWindow {
			return false
		}
		s.underway++
		m = message(s.buttons)
		return true
	})
	if err != nil {
		return fmt.Errorf("spice: mouse moves are not acknowledged: %w", err)
	}
	begun, err := c.tryAsk(ctx, inputsID, m)
	if !begun { // it will not be acknowledged
		s.mu.Lock()
		s.underway = max(0, s.underway-1)
		s.mu.Unlock()
		c.notifier.notify()
	}
	return err
}

// MouseButton presses or releases a button. A wheel step is a press and a release of the up or down
// button. It returns when the message has been written, or when ctx ends.
func (c *Client) MouseButton(ctx context.Context, b wire.MouseButton, down bool) error {
	s := &c.inputs
	s.mu.Lock()
	before := s.buttons & b.Mask()
	if down {
		s.buttons |= b.Mask()
	} else {
		s.buttons &^= b.Mask()
	}
	buttons := s.buttons
	s.mu.Unlock()
	var m wire.ClientMessage = &wire.InputsMouseRelease{Button: b, Buttons: buttons}
	if down {
		m = &wire.InputsMousePress{Button: b, Buttons: buttons}
	}
	begun, err := c.tryAsk(ctx, inputsID, m)
	if !begun { // so the guest's button is as it was
		s.mu.Lock()
		s.buttons = s.buttons&^b.Mask() | before
		s.mu.Unlock()
	}
	return err
}
