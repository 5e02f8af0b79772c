package control

import (
	"context"
)

// Await waits in the server for a condition. If it is not met in time, the error is an *[Error]
// with the code timeout, whose data is an [AwaitResult]. ctx should last longer than the params'
// timeout.
func (d *Driver) Await(ctx context.Context, p AwaitParams) (AwaitResult, error) {
	var res AwaitResult
	err := d.Call(ctx, MethodAwait, p, &res)
	return res, err
}

// Match looks for a reference image or a text on the screen now. If it is not there, Matched is
// false; that is not an error.
func (d *Driver) Match(ctx context.Context, p MatchParams) (MatchResult, error) {
	var res MatchResult
	err := d.Call(ctx, MethodMatch, p, &res)
	return res, err
}

// Type types a text in the guest's keyboard layout and returns when that is done. With Confirm in
// the params, it waits until the guest shows each character.
func (d *Driver) Type(ctx context.Context, p TypeParams) (TypeResult, error) {
	var res TypeResult
	err := d.Call(ctx, MethodType, p, &res)
	return res, err
}

// MouseMove moves the pointer.
func (d *Driver) MouseMove(ctx context.Context, p MouseMoveParams) error {
	return d.Call(ctx, MethodMouseMove, p, nil)
}

// MouseButtons returns the names of the buttons.
func MouseButtons() []string { return []string{"left", "middle", "right", "side", "extra"} }

// MouseButton presses, releases or clicks one of the MouseButtons.
func (d *Driver) MouseButton(ctx context.Context, button string, state KeyState) error {
	return d.Call(ctx, MethodMouseButton, MouseButtonParams{Button: button, State: state}, nil)
}

// MouseWheel turns the wheel by steps from -100 to 100; positive is away from the user.
func (d *Driver) MouseWheel(ctx context.Context, steps int) error {
	return d.Call(ctx, MethodMouseWheel, MouseWheelParams{Steps: steps}, nil)
}

// ClipboardGet returns the text on the guest's clipboard.
func (d *Driver) ClipboardGet(ctx context.Context) (string, error) {
	var res ClipboardText
	err := d.Call(ctx, MethodClipboardGet, nil, &res)
	return res.Text, err
}

// ClipboardSet offers a text to the guest.
func (d *Driver) ClipboardSet(ctx context.Context, text string) error {
	return d.Call(ctx, MethodClipboardSet, ClipboardText{text}, nil)
}

// SetDisplay asks the guest's agent for another resolution, in pixels. Use Await or Status to see
// whether the guest has set it.
func (d *Driver) SetDisplay(ctx context.Context, width, height int) error {
	return d.Call(ctx, MethodSetDisplay, SetDisplayParams{width, height}, nil)
}

// Cursor returns the pointer's position and shape.
func (d *Driver) Cursor(ctx context.Context) (CursorResult, error) {
	var res CursorResult
	err := d.Call(ctx, MethodCursor, nil, &res)
	return res, err
}

// Stats decodes the server's counters into v.
func (d *Driver) Stats(ctx context.Context, v any) error {
	return d.Call(ctx, MethodStats, nil, v)
}

// RecordStart starts to record the conversation with the guest's server into a directory of the
// server's host, which must not contain a recording. It opens a new session for that.
func (d *Driver) RecordStart(ctx context.Context, dir string) error {
	return d.Call(ctx, MethodRecordStart, RecordStartParams{dir}, nil)
}

// RecordStop ends the recording and returns its files.
func (d *Driver) RecordStop(ctx context.Context) (RecordStopResult, error) {
	var res RecordStopResult
	err := d.Call(ctx, MethodRecordStop, nil, &res)
	return res, err
}

// Disconnect ends the server's session with the guest. The control socket stays open.
func (d *Driver) Disconnect(ctx context.Context) error {
	return d.Call(ctx, MethodDisconnect, nil, nil)
}

// Reconnect ends the server's session with the guest, if there is one, and opens another.
func (d *Driver) Reconnect(ctx context.Context) error { return d.Call(ctx, MethodReconnect, nil, nil) }
