package dbusdisplay

import (
	"image"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
)

// say makes a call as QEMU does.
func say(d *Display, method string, args ...any) {
	d.receive(d.listener, &dbus.Message{Type: dbus.TypeMethodCall, Body: args, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldInterface: dbus.MakeVariant(listenerName), dbus.FieldMember: dbus.MakeVariant(method)}})
}

func newDisplay() *Display {
	return &Display{changed: make(chan struct{}), stale: make(chan struct{}, 1)}
}

func TestUpdatesArePaintedInEachFormat(t *testing.T) {
	d := newDisplay()
	say(d, "Update", int32(0), int32(0), int32(1), int32(1), uint32(4), uint32(x8r8g8b8), []byte{1, 2, 3, 4})
	require.Nil(t, d.img, "one before the first surface is in that")
	require.NoError(t, d.err)
	say(d, "Scanout", uint32(2), uint32(2), uint32(12), uint32(x8r8g8b8), []byte{
		1, 2, 3, 0, 4, 5, 6, 0, 99, 99, 99, 99, // blue, green, red, nothing
		7, 8, 9, 0, 10, 11, 12, 0})
	require.NoError(t, d.err)
	require.Equal(t, image.Rect(0, 0, 2, 2), d.img.Rect)
	require.Equal(t, []byte{3, 2, 1, 255, 6, 5, 4, 255, 9, 8, 7, 255, 12, 11, 10, 255}, d.img.Pix)
	say(d, "Update", int32(1), int32(1), int32(1), int32(1), uint32(4), uint32(a8r8g8b8), []byte{20, 21, 22, 7})
	require.Equal(t, []byte{3, 2, 1, 255, 6, 5, 4, 255, 9, 8, 7, 255, 22, 21, 20, 255}, d.img.Pix)
	say(d, "Update", int32(0), int32(0), int32(2), int32(1), uint32(4), uint32(r5g6b5), []byte{0x00, 0xf8, 0xe0, 0x07})
	require.Equal(t, []byte{255, 0, 0, 255, 0, 255, 0, 255}, d.img.Pix[:8])
	say(d, "Update", int32(0), int32(0), int32(2), int32(1), uint32(4), uint32(x1r5g5b5), []byte{0x1f, 0x00, 0x00, 0x42})
	require.Equal(t, []byte{0, 0, 255, 255, 132, 132, 0, 255}, d.img.Pix[:8])
	require.EqualValues(t, 5, d.changes)
	require.Equal(t, 1, d.scanouts)
}

func TestWhatCannotBeShownIsAnErrorUntilTheNextSurface(t *testing.T) {
	good := func(d *Display) {
		say(d, "Scanout", uint32(1), uint32(1), uint32(4), uint32(x8r8g8b8), make([]byte, 4))
	}
	for name, bad := range map[string]func(*Display){
		"no bytes": func(d *Display) { say(d, "Scanout", uint32(1), uint32(1), uint32(4), uint32(x8r8g8b8), []byte(nil)) },
		"short lines": func(d *Display) {
			say(d, "Scanout", uint32(2), uint32(1), uint32(4), uint32(x8r8g8b8), make([]byte, 8))
		},
		"another format": func(d *Display) { say(d, "Scanout", uint32(1), uint32(1), uint32(4), uint32(1), make([]byte, 4)) },
		"no width": func(d *Display) {
			say(d, "Scanout", uint32(0), uint32(1), uint32(4), uint32(x8r8g8b8), make([]byte, 4))
		},
		"too large": func(d *Display) {
			say(d, "Scanout", uint32(1<<31), uint32(1), uint32(4), uint32(x8r8g8b8), make([]byte, 4))
		},
		"other arguments": func(d *Display) { say(d, "Scanout", "x") },
		"half an update":  func(d *Display) { say(d, "Update", int32(0)) },
		"negative": func(d *Display) {
			say(d, "Update", int32(0), int32(0), int32(-1), int32(1), uint32(4), uint32(x8r8g8b8), []byte{})
		},
		"a texture": func(d *Display) { say(d, "ScanoutDMABUF") },
	} {
		d := newDisplay()
		good(d)
		bad(d)
		require.Error(t, d.err, name)
		_, err := d.Picture(t.Context())
		require.ErrorIs(t, err, d.err, name)
		good(d)
		require.NoError(t, d.err, name)
	}
	// An update beyond the surface belongs to another surface, which is then requested.
	d := newDisplay()
	good(d)
	say(d, "Update", int32(0), int32(0), int32(2), int32(1), uint32(8), uint32(x8r8g8b8), make([]byte, 8))
	require.NoError(t, d.err)
	require.Nil(t, d.img)
	require.Len(t, d.stale, 1)
}
