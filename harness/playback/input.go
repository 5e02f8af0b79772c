package playback

import (
	"encoding/json"
	"image"
	"image/color"
	"slices"
	"time"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// An input is a key, a button or a movement of the pointer that was sent to the guest.
type input struct {
	at   time.Duration
	kind string // "key", "button" or "pointer"
	name string // of a key
	down bool
	x, y int
	rel  bool // x and y are a distance
}

// How long the drawing for an input is shown, in the playback's time.
const (
	keyFades    = 1500 * time.Millisecond
	buttonFades = 500 * time.Millisecond
)

func (in input) fades() time.Duration {
	if in.kind == "key" {
		return keyFades
	}
	return buttonFades
}

// readInputs returns the inputs of a lane in order of time.
func readInputs(r *replay.Recording) []input {
	var all []input
	for _, e := range r.Events {
		if e.Kind != "key" && e.Kind != "pointer" && e.Kind != "button" {
			continue
		}
		var f struct {
			Code     int    `json:"code"`
			Down     bool   `json:"down"`
			X        int    `json:"x"`
			Y        int    `json:"y"`
			Relative bool   `json:"relative"`
			Error    string `json:"error"`
		}
		// An input that could not be sent did not arrive.
		if json.Unmarshal(e.Entry, &f) != nil || f.Error != "" {
			continue
		}
		all = append(all, input{at: e.At, kind: e.Kind, name: replay.KeyName(f.Code), down: f.Down,
			x: f.X, y: f.Y, rel: f.Relative})
	}
	return all
}

// inputsUntil returns how many inputs there were up to a time of the playback.
func (p *Playback) inputsUntil(at time.Duration) int {
	n, _ := slices.BinarySearchFunc(p.inputs, at, func(in input, at time.Duration) int {
		if p.cut.at(in.at) <= at {
			return -1
		}
		return 1
	})
	return n
}

// drawInput draws the pointer and the recent keys into the picture of a frame.
func (p *Playback) drawInput(img *image.NRGBA, s shot) {
	made := p.inputs[:s.inputs]
	recent := func(in input) bool { return s.at < p.cut.at(in.at)+in.fades() && p.cut.has(in.at) }
	if where, known := pointerAt(made, img.Rect); known {
		pressed := slices.ContainsFunc(made[max(0, len(made)-64):], func(in input) bool {
			return in.kind == "button" && in.down && recent(in)
		})
		drawPointer(img, where, pressed)
	}
	var keys []string
	for _, in := range slices.Backward(made) {
		if !recent(in) && in.kind == "key" || len(keys) == maxKeys {
			break
		}
		if in.kind == "key" && in.down {
			keys = append(keys, in.name)
		}
	}
	slices.Reverse(keys)
	drawKeys(img, keys)
}

// maxKeys is how many names of keys are drawn at once.
const maxKeys = 12

// pointerAt returns the position of the pointer after the inputs. It is not known before the first
// absolute position, because the guest decides where its pointer is at first.
func pointerAt(made []input, screen image.Rectangle) (at image.Point, known bool) {
	from := 0
	for i, in := range slices.Backward(made) {
		if in.kind == "pointer" && !in.rel {
			at, known, from = image.Pt(in.x, in.y), true, i+1
			break
		}
	}
	for _, in := range made[from:] {
		if in.kind == "pointer" && known {
			at = at.Add(image.Pt(in.x, in.y))
			at.X, at.Y = min(max(at.X, 0), screen.Dx()-1), min(max(at.Y, 0), screen.Dy()-1)
		}
	}
	return at, known
}

var (
	inkColour    = color.NRGBA{0xff, 0xd0, 0x00, 0xff}
	shadowColour = color.NRGBA{0x00, 0x00, 0x00, 0xff}
)

// drawPointer draws a ring around a position. It fills the ring while a button is pressed;
// otherwise the pixels inside the ring stay as they are.
func drawPointer(img *image.NRGBA, at image.Point, pressed bool) {
	const outer, inner = 10, 7
	for y := -outer; y <= outer; y++ {
		for x := -outer; x <= outer; x++ {
			d := x*x + y*y
			switch {
			case d > outer*outer:
			case d >= (outer-1)*(outer-1), !pressed && d >= (inner-1)*(inner-1) && d < inner*inner:
				set(img, at.X+x, at.Y+y, shadowColour)
			case pressed, d >= inner*inner:
				set(img, at.X+x, at.Y+y, inkColour)
			}
		}
	}
}

// drawKeys draws the names of keys in boxes at the bottom.
func drawKeys(img *image.NRGBA, keys []string) {
	if len(keys) == 0 {
		return
	}
	font, err := text.Load("beacon")
	if err != nil {
		panic(err) // NB: this font is built into the program
	}
	const margin = 8
	x, bottom := img.Rect.Min.X+margin, img.Rect.Max.Y-margin
	for _, key := range keys {
		box := image.Rect(x, bottom-font.Height-margin, x+len([]rune(key))*font.Width+margin, bottom)
		for py := box.Min.Y; py < box.Max.Y; py++ {
			for px := box.Min.X; px < box.Max.X; px++ {
				colour := shadowColour
				if !image.Pt(px, py).In(box.Inset(1)) {
					colour = inkColour
				}
				set(img, px, py, colour)
			}
		}
		for i, r := range []rune(key) {
			for gy := range font.Height {
				for gx := range font.Width {
					if font.Drawn(r, false, gx, gy) {
						set(img, box.Min.X+margin/2+i*font.Width+gx, box.Min.Y+margin/2+gy, inkColour)
					}
				}
			}
		}
		x = box.Max.X + margin/2
	}
}

func set(img *image.NRGBA, x, y int, c color.NRGBA) {
	if image.Pt(x, y).In(img.Rect) {
		img.SetNRGBA(x, y, c)
	}
}
