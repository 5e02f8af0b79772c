package playback_test

import (
	"bytes"
	"image"
	"image/color"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/playback"
	"github.com/spicelane/spicelane/harness/screen/text"
)

const hands = begin +
	`{"t_us":500000,"kind":"pointer","x":150,"y":20,"error":"the channel has ended"}` + "\n" +
	`{"t_us":1000000,"kind":"pointer","x":30,"y":40}` + "\n" +
	`{"t_us":1500000,"kind":"button","button":1,"down":true}` + "\n" +
	`{"t_us":1600000,"kind":"button","button":1,"down":false}` + "\n" +
	`{"t_us":3000000,"kind":"key","code":30,"down":true}` + "\n" +
	`{"t_us":3050000,"kind":"key","code":30,"down":false}` + "\n" +
	`{"t_us":3100000,"kind":"key","code":28,"down":true}` + "\n" +
	`{"t_us":6000000,"kind":"pointer","x":500,"y":-20,"relative":true}` + "\n" +
	`{"t_us":9000000,"kind":"lane"}` + "\n"

// pictures returns the pictures that are shown at given times, from the first picture on.
func pictures(t *testing.T, p *playback.Playback, moments ...time.Duration) []*image.NRGBA {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.WriteAPNG(&b))
	frames, _ := readAPNG(t, b.Bytes())
	var out []*image.NRGBA
	for _, moment := range moments {
		at := time.Duration(0)
		for _, f := range frames {
			if at += f.lasts; at > moment {
				out = append(out, f.img)
				break
			}
		}
	}
	require.Len(t, out, len(moments))
	return out
}

func TestPointerAndKeysAreDrawnInOnlyOnRequest(t *testing.T) {
	t.Parallel()
	m := newMade(200, 100)
	m.draw(0, m.img.Rect, true)
	r := m.lane(t, hands)
	p := open(t, r, playback.Options{})
	require.Equal(t, 1, p.Frames(), "what is sent to the guest changes nothing by itself")
	requireSame(t, m.img, pictures(t, p, 8*time.Second)[0], "without input")

	p = open(t, r, playback.Options{DrawInput: true})
	got := pictures(t, p, 900*time.Millisecond, 1200*time.Millisecond, 1550*time.Millisecond, 2500*time.Millisecond, 6500*time.Millisecond)
	requireSame(t, m.img, got[0], "what was not sent is not drawn")
	ink, shadow := color.NRGBA{0xff, 0xd0, 0, 0xff}, color.NRGBA{0, 0, 0, 0xff}
	at := func(img *image.NRGBA, x, y int) color.NRGBA { return img.NRGBAAt(x, y) }
	for i, pressed := range map[int]bool{1: false, 2: true, 3: false} {
		require.Equal(t, []color.NRGBA{ink, shadow}, []color.NRGBA{at(got[i], 30+8, 40), at(got[i], 30+10, 40)}, "a ring around 30, 40")
		require.Equal(t, at(m.img, 30+11, 40), at(got[i], 30+11, 40), "and nothing around it")
		want := at(m.img, 30, 40)
		if pressed {
			want = ink
		}
		require.Equal(t, want, at(got[i], 30, 40), "what is pointed at is seen unless a button is pressed: %d", i)
	}
	require.Equal(t, ink, at(got[4], 199-8, 20), "a distance is added to the position, and the pointer stays on the screen")
}

func TestTheNamesOfKeysAreDrawnForAWhile(t *testing.T) {
	t.Parallel()
	m := newMade(200, 100)
	m.draw(0, m.img.Rect, true)
	keys := ""
	for line := range strings.Lines(hands) {
		if !strings.Contains(line, `"pointer"`) {
			keys += line
		}
	}
	p := open(t, m.lane(t, keys), playback.Options{DrawInput: true, From: 2500 * time.Millisecond})
	// From 2.5 s on: a at 3 s, Enter at 3.1 s, each shown for 1.5 s.
	got := pictures(t, p, 0, 550*time.Millisecond, 700*time.Millisecond, 2050*time.Millisecond, 2200*time.Millisecond)
	font, err := text.Load("beacon")
	require.NoError(t, err)
	// says tells whether a text is written in a box, from x on.
	says := func(img *image.NRGBA, x int, text string) bool {
		for i, r := range text {
			for py := range font.Height {
				for px := range font.Width {
					is := img.NRGBAAt(x+4+8*i+px, 100-8-4-font.Height+py) == color.NRGBA{0xff, 0xd0, 0, 0xff}
					if is != font.Drawn(r, false, px, py) {
						return false
					}
				}
			}
		}
		return true
	}
	second := 8 + 8 + 8 + 4 // the box of one character, and a gap
	requireSame(t, m.img, got[0], "no key is down yet")
	require.True(t, says(got[1], 8, "a"))
	require.False(t, says(got[1], 8, "b"))
	require.False(t, says(got[1], second, "Enter"))
	require.True(t, says(got[2], 8, "a") && says(got[2], second, "Enter"))
	require.True(t, says(got[3], 8, "Enter"), "the older one is not shown any more")
	requireSame(t, got[0], got[4], "nothing is left in the end")
}
