package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

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
