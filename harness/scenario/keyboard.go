package scenario

import (
	"testing"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/spice/control"
)

// A key is one key of a keyboard: its code on the control socket, and what it types on a US
// keyboard, without and with Shift; 0 for nothing.
type key struct {
	code           uint16
	plain, shifted rune
}

// keyboard104 is the keyboard of 104 keys: 17 rows of AT set 1 codes, in the order of the keys on
// the desk.
var keyboard104 = func() []key {
	var keys []key
	codes := func(codes ...uint16) {
		for _, c := range codes {
			keys = append(keys, key{code: c})
		}
	}
	row := func(first uint16, plain, shifted string) {
		p, s := []rune(plain), []rune(shifted)
		for i := range p {
			keys = append(keys, key{first + uint16(i), p[i], s[i]})
		}
	}
	codes(control.KeyEscape)
	for i := range uint16(10) {
		codes(control.KeyF1 + i)
	}
	codes(control.KeyF11, control.KeyF12)
	codes(0xe037, 0x46, keyPause) // Print Screen, Scroll Lock
	row(0x29, "`", "~")
	row(0x02, "1234567890-=\b\t", "!@#$%^&*()_+\b\t")
	row(0x10, "qwertyuiop[]\r", "QWERTYUIOP{}\r")
	row(0x2b, `\`, "|")
	codes(control.KeyCapsLock)
	row(0x1e, "asdfghjkl;'", `ASDFGHJKL:"`)
	codes(control.KeyShift)
	row(0x2c, "zxcvbnm,./", "ZXCVBNM<>?")
	codes(0x36, control.KeyCtrl, control.KeyMeta, control.KeyAlt)
	row(0x39, " ", " ")
	codes(control.KeyAltGr, 0xe05c, control.KeyMenu, control.KeyRightCtrl)
	codes(control.KeyInsert, control.KeyHome, control.KeyPageUp, control.KeyDelete, control.KeyEnd, control.KeyPageDown)
	codes(control.KeyUp, control.KeyLeft, control.KeyDown, control.KeyRight)
	codes(0x45, 0xe035, 0x37, 0x4a)                 // Num Lock / * -
	codes(0x47, 0x48, 0x49, 0x4e, 0x4b, 0x4c, 0x4d) // 7 8 9 + 4 5 6
	codes(0x4f, 0x50, 0x51, 0xe01c, 0x52, 0x53)     // 1 2 3 Enter 0 .
	return keys
}()

// locks are the lock keys, and the modifiers that they switch.
var locks = map[uint16]digest.Modifiers{0x3a: digest.CapsLock, 0x45: digest.NumLock, 0x46: digest.ScrollLock}

// Keyboard demands that the guest sees every key of a keyboard of 104 keys go down and up. Keys
// with a character must give it, with Shift and without. Modifiers must hold, locks must stay, and
// a key that is down must repeat.
func Keyboard(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	r.hold(s)
	for _, k := range keyboard104 {
		r.key(s, k.code, k.plain)
		switch {
		case locks[k.code] != 0, k.code == keyF10: // once more, to leave things as they were
			r.key(s, k.code, 0)
		}
	}

	e := r.down(s, control.KeyShift)
	r.want(e.Modifiers&digest.Shift != 0, "Shift is down, and the guest's modifiers are %#x", e.Modifiers)
	for _, k := range keyboard104 {
		if k.shifted > ' ' {
			r.key(s, k.code, k.shifted)
		}
	}
	e = r.up(s, control.KeyShift)
	r.want(e.Modifiers&digest.Shift == 0, "Shift is up, and the guest's modifiers are %#x", e.Modifiers)

	r.down(s, control.KeySpace)
	r.must(r.client.SendKey(r.ctx, control.KeySpace, control.Down))
	awaitA(r, s, "the space bar repeating", func(e digest.Scancode) bool {
		return e.Code == control.KeySpace && e.State == digest.KeyRepeat
	})
	r.up(s, control.KeySpace)
}

// key presses and releases a key and demands its effects: a character, or a lock and its LED.
func (r *run) key(s *Stream, code uint16, char rune) {
	r.Helper()
	before := modifiers(s)
	e := r.down(s, code)
	if char != 0 {
		awaitA(r, s, "the character "+string(char), func(e digest.Keypress) bool { return rune(e.Unicode) == char })
	}
	if lock := locks[code]; lock != 0 {
		r.want(e.Modifiers&lock != before&lock, "the lock key %#04x was pressed, and the guest's modifiers stay %#x", code, e.Modifiers)
		on := e.Modifiers&lock != 0
		awaitA(r, s, "the light of a lock key", func(l digest.LEDs) bool { return (l.LEDs&ledOf[lock] != 0) == on })
	}
	r.up(s, code)
}

// ledOf are the bits of LEDs.
var ledOf = map[digest.Modifiers]uint8{digest.ScrollLock: 1, digest.NumLock: 2, digest.CapsLock: 4}

// modifiers returns the guest's modifiers after the last key that was seen.
func modifiers(s *Stream) digest.Modifiers {
	for i := len(s.events) - 1; i >= 0; i-- {
		if e, ok := s.events[i].(digest.Scancode); ok {
			return e.Modifiers
		}
	}
	return 0
}
