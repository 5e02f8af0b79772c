package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/stretchr/testify/require"
)

// guest shows the keys it gets as a UEFI program would: each that produces a
// character, in a digest of its own with the newest three.
type guest struct {
	*controltest.Console
	mu     sync.Mutex
	n      uint32
	events []json.RawMessage
	lose   map[int]bool // which characters, from 0, never arrive
	late   map[int]bool // which are shown only after the next one
	held   string
}

var usChars = map[uint16]string{0x1e: "a", 0x30: "b", 0x2e: "c", 0x20: "d", 0x12: "e", 0x1c: `\r`}

func newGuest() *guest {
	g := &guest{Console: controltest.New(320, 240), lose: map[int]bool{}, late: map[int]bool{}}
	g.OnKey = func(_ context.Context, k controltest.Key) error {
		char, ok := usChars[k.Code]
		if !ok || !k.Down {
			return nil
		}
		g.mu.Lock()
		i := int(g.n)
		g.n++
		show := func(c string) {
			g.events = append(g.events, json.RawMessage(fmt.Sprintf(`{"keypress":{"scancode":0,"timestamp_ms":%d,"unicode":"%s"}}`, 1000+len(g.events), c)))
			g.events = g.events[max(0, len(g.events)-3):]
		}
		switch {
		case g.lose[i]:
		case g.late[i]:
			g.held = char
		default:
			show(char)
			if g.held != "" {
				show(g.held)
				g.held = ""
			}
		}
		n := g.n
		g.mu.Unlock()
		go controltest.DrawDigest(g.Console, 320, 240, n, 1)
		return nil
	}
	return g
}

func (g *guest) scan(pix []byte, stride, w, h int) (control.Digest, error) {
	d, err := controltest.Scan(pix, stride, w, h)
	g.mu.Lock()
	defer g.mu.Unlock()
	d.Events = append([]json.RawMessage(nil), g.events...)
	return d, err
}

func TestClosedLoopTypingSendsTheNextKeyWhenTheLastWasSeen(t *testing.T) {
	g := newGuest()
	controltest.DrawDigest(g.Console, 320, 240, 99999, 1)
	path, _ := controltest.Open(t, server.Config{Console: g, Scan: g.scan})
	d := controltest.Dial(t, path)
	text := ""
	for range 40 {
		text += "abcde\n"
	}
	res, err := d.Type(controltest.Within(t), control.TypeParams{Text: text, Confirm: true})
	require.NoError(t, err)
	require.NotNil(t, res.Latency)
	require.Positive(t, res.Latency.P50MS)
	require.LessOrEqual(t, res.Latency.P50MS, res.Latency.MaxMS)
	res.Latency = nil
	require.Equal(t, control.TypeResult{CharsSent: 240, KeysSent: 480, Seen: 240}, res)
}

func TestClosedLoopTypingReportsWhatWasLostAndReordered(t *testing.T) {
	g := newGuest()
	g.lose[3], g.late[6] = true, true
	controltest.DrawDigest(g.Console, 320, 240, 99999, 1)
	path, _ := controltest.Open(t, server.Config{Console: g, Scan: g.scan})
	d := controltest.Dial(t, path)
	res, err := d.Type(controltest.Within(t), control.TypeParams{Text: "abcdeabcde", Confirm: true, ConfirmMS: new(uint32(100))})
	require.NoError(t, err)
	res.Latency = nil
	require.Equal(t, control.TypeResult{CharsSent: 10, KeysSent: 20, Seen: 8, Lost: 1, Reordered: 1, Anomalies: []string{
		`'d', character 3, was not shown within 100ms`,
		`'b', character 6, was not shown within 100ms`,
		`late: {"keypress":{"scancode":0,"timestamp_ms":1003,"unicode":"b"}}`,
	}}, res)
}

func TestTypingKnowsTheLayoutOfTheGuest(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	for _, tc := range []struct{ layout, text, want string }{
		{"us", "aZ@", "[1e -1e 2a 2c -2c -2a 2a 03 -03 -2a]"},
		{"", "\t\r\n", "[0f -0f 1c -1c]"},
		{"uk", `"@#£`, "[2a 03 -03 -2a 2a 28 -28 -2a 2b -2b 2a 04 -04 -2a]"},
		{"de", "zy@ö", "[15 -15 2c -2c e038 10 -10 -e038 27 -27]"},
		{"de", "é^", "[0d -0d 12 -12 29 -29 39 -39]"},
		{"fr", "aq1.ê", "[10 -10 1e -1e 2a 02 -02 -2a 2a 33 -33 -2a 1a -1a 12 -12]"},
	} {
		before := len(c.Keys())
		res, err := d.Type(controltest.Within(t), control.TypeParams{Text: tc.text, Layout: tc.layout, DelayMS: new(uint32)})
		require.NoError(t, err)
		require.Equal(t, tc.want, fmt.Sprint(c.Keys()[before:]), "%s %q", tc.layout, tc.text)
		require.Equal(t, len(c.Keys())-before, res.KeysSent)
	}
	before := len(c.Keys())
	_, err := d.Type(controltest.Within(t), control.TypeParams{Text: "aéb→", Layout: "us"})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeUnmappable})
	require.ErrorContains(t, err, "U+00E9 'é', U+2192 '→'")
	_, err = d.Type(controltest.Within(t), control.TypeParams{Text: "a", Layout: "dvorak"})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	_, err = d.Type(controltest.Within(t), control.TypeParams{Text: "a", Confirm: true})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	require.Len(t, c.Keys(), before)
}

func TestEveryPrintableASCIICharacterIsOnEveryLayout(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	text := ""
	for r := rune(0x20); r < 0x7f; r++ {
		text += string(r)
	}
	for _, layout := range control.Layouts() {
		_, err := d.Type(controltest.Within(t), control.TypeParams{Text: text, Layout: layout, DelayMS: new(uint32)})
		require.NoError(t, err, layout)
	}
}

// Public reports of drivers that type the opposite case because a lock is on in the
// guest: AutoHotkey's StoreCapsLockMode and AutoIt's SendCapslockMode exist for it.
//
//	Caps Lock on → off by its key → the text → on again by its key
func TestATextArrivesAsItIsWrittenWithCapsLockOn(t *testing.T) {
	for _, via := range []string{"type", "type --confirm", "paste"} {
		t.Run(via, func(t *testing.T) {
			c := newGuest()
			c.SetLocks(control.Locks{Caps: true, Num: true, Scroll: true})
			controltest.DrawDigest(c.Console, 320, 240, 99999, 1)
			path, _ := controltest.Open(t, server.Config{Console: c, Scan: c.scan})
			d := controltest.Dial(t, path)
			ctx := controltest.Within(t)
			switch via {
			case "paste":
				n, err := d.Paste(ctx, control.PasteParams{Text: "ab", CharDelayMS: new(uint32)})
				require.NoError(t, err)
				require.Equal(t, 2, n)
			default:
				res, err := d.Type(ctx, control.TypeParams{Text: "ab", DelayMS: new(uint32), Confirm: via != "type"})
				require.NoError(t, err)
				require.Equal(t, 2, res.CharsSent)
				require.Equal(t, 4, res.KeysSent, "the keys of the text")
				require.Empty(t, res.Anomalies)
			}
			require.Equal(t, "[3a -3a 1e -1e 30 -30 3a -3a]", fmt.Sprint(c.Keys()))
			require.Equal(t, control.Locks{Caps: true, Num: true, Scroll: true}, c.Locks(), "as it was found")
			st, err := d.Status(ctx)
			require.NoError(t, err)
			require.Equal(t, &control.Locks{Caps: true, Num: true, Scroll: true}, st.Locks)
		})
	}
}

func TestAGuestWhoseCapsLockStaysOnIsNotTypedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(8, 8)
		c.StuckLocks = true
		c.SetLocks(control.Locks{Caps: true})
		began := time.Now()
		_, err := server.Typist{Console: c}.Type(t.Context(), control.TypeParams{Text: "a"})
		require.ErrorIs(t, err, &control.Error{Code: control.CodeBadState})
		require.ErrorContains(t, err, "Caps Lock is on in the guest, and it did not switch it off within 2s of the key: nothing was typed")
		require.Equal(t, "[3a -3a]", fmt.Sprint(c.Keys()))
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

// What a driver that died, or another program on the same client, has left down makes
// Ctrl+A of an a. It is up while the text is typed, and down again afterwards. A key
// that is no modifier changes no other key.
func TestModifiersLeftDownDoNotChangeAText(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	for _, code := range []uint16{control.KeyCtrl, control.KeyRightShift, control.KeyLeft} {
		require.NoError(t, d.SendKey(ctx, code, control.Down))
	}
	require.NoError(t, d.Close())

	d = controltest.Dial(t, path)
	before := len(c.Keys())
	_, err := d.Type(ctx, control.TypeParams{Text: "A"})
	require.NoError(t, err)
	require.Equal(t, "[-1d -36 2a 1e -1e -2a 1d 36]", fmt.Sprint(c.Keys()[before:]))
	require.NoError(t, d.SendKey(ctx, control.KeyCtrl, control.Up))
	before = len(c.Keys())
	_, err = d.Paste(ctx, control.PasteParams{Text: "a"})
	require.NoError(t, err)
	require.Equal(t, "[-36 1e -1e 36]", fmt.Sprint(c.Keys()[before:]))
}

// A text that is cancelled leaves the keyboard as it was found, too.
func TestACancelledTextPutsTheKeyboardBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(8, 8)
		c.SetLocks(control.Locks{Caps: true})
		require.NoError(t, c.SendKey(t.Context(), control.KeyAlt, true))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := server.Typist{Console: c}.Type(ctx, control.TypeParams{Text: "aa", DelayMS: new(uint32(3_600_000))})
			done <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, "[38 -38 3a -3a 1e -1e 3a -3a 38]", fmt.Sprint(c.Keys()))
	})
}

// macOS hands over decomposed text (NFD); everybody else composed (NFC). Both are the
// same keys.
func TestDecomposedTextIsTypedAsItsComposedForm(t *testing.T) {
	for _, tc := range []struct{ layout, decomposed, composed string }{
		{"de", "u\u0308O\u0308a\u0302", "üÖâ"},
		{"fr", "e\u0301e\u0300c\u0327a\u0300u\u0300", "éèçàù"},
		{"uk", "a\u0301", "á"},
	} {
		c := controltest.New(8, 8)
		path, _ := controltest.Open(t, server.Config{Console: c})
		d := controltest.Dial(t, path)
		ctx := controltest.Within(t)
		res, err := d.Type(ctx, control.TypeParams{Text: tc.composed, Layout: tc.layout, DelayMS: new(uint32)})
		require.NoError(t, err)
		want := fmt.Sprint(c.Keys())
		before := len(c.Keys())
		got, err := d.Type(ctx, control.TypeParams{Text: tc.decomposed, Layout: tc.layout, DelayMS: new(uint32)})
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(c.Keys()[before:]), tc.layout)
		require.Equal(t, res, got)
		_, err = d.Type(ctx, control.TypeParams{Text: "n\u0303", Layout: tc.layout})
		require.ErrorContains(t, err, "U+00F1 'ñ'", "what is lacking is named as one character")
	}
}

// A console that was stopped for a while, or a busy one, takes its time for a key.
func TestAKeyComesUpThoughItTookLongToGoDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(8, 8)
		c.OnKey = func(ctx context.Context, k controltest.Key) error {
			if k.Down {
				<-time.After(10 * time.Second)
			}
			return ctx.Err()
		}
		_, err := server.Typist{Console: c}.Type(t.Context(), control.TypeParams{Text: "A"})
		require.NoError(t, err)
		require.Equal(t, "[2a 1e -1e -2a]", fmt.Sprint(c.Keys()))
	})
}
