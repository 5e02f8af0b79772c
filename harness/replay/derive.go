package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"time"
)

// A key is a key event: a key that went down or up.
type key struct {
	at   time.Duration
	code int
	down bool
}

// A digestRead is a digest with the events that the digest before it did not have.
type digestRead struct {
	at     time.Duration
	events []json.RawMessage
}

// A load is the load of the host during a time, in parts of one processor.
type load struct {
	at, took time.Duration
	qemu     float64
	lost     float64 // what QEMU or the harness waited for
}

// pointed is an entry about the pointer: a requested move, a button, or what the server says about
// the guest's pointer.
type pointed struct {
	at                      time.Duration
	x, y                    int
	moved, relative, server bool
	visible                 bool
	hot                     [2]int
	shape                   []byte // a PNG; nil if it is the previous one
	button                  int
	down                    bool
}

// point notes an entry about the pointer, without a shape that is damaged or too large.
func (l *lane) point(p pointed) {
	if len(p.shape) > 0 {
		cfg, err := png.DecodeConfig(bytes.NewReader(p.shape))
		if err != nil || cfg.Width > maxShape || cfg.Height > maxShape {
			p.shape = nil
		}
	}
	l.pointer = append(l.pointer, p)
}

// maxShape limits the width and height of a pointer that is shown, in pixels.
const maxShape = 256

// A pointerAt is the state of the pointer from a moment on.
type pointerAt struct {
	at     time.Duration
	x, y   int
	hidden bool
	shape  int // number of the shape, from 1 on; 0 if it is not known
	down   bool
}

// A shape is a shape of the pointer.
type shape struct {
	png []byte
	hot [2]int
}

// pointers returns the states of the pointer, and its shapes. After an absolute move, the pointer
// is where the client put it. After a relative one, and before any, it is where the server says.
func (l *lane) pointers() (at []pointerAt, shapes []shape) {
	all := slices.Clone(l.pointer)
	slices.SortStableFunc(all, func(a, b pointed) int { return cmp.Compare(a.at, b.at) })
	known := map[string]int{}
	follows, any := false, false // the guest follows the client; the place is known
	now := pointerAt{}
	down := map[int]bool{}
	for _, p := range all {
		now.at = p.at
		switch {
		case p.moved:
			follows, any = true, true
			now.x, now.y, now.hidden = p.x, p.y, false
		case p.relative:
			follows = false
			continue
		case p.server:
			if len(p.shape) > 0 {
				id := fmt.Sprint(p.hot, string(p.shape))
				if known[id] == 0 {
					shapes = append(shapes, shape{p.shape, p.hot})
					known[id] = len(shapes)
				}
				now.shape = known[id]
			}
			if !follows {
				any = any || p.visible
				now.x, now.y, now.hidden = p.x, p.y, !p.visible
			}
		default:
			down[p.button] = p.down
			now.down = false
			for _, d := range down {
				now.down = now.down || d
			}
		}
		if any {
			at = append(at, now)
		}
	}
	return at, shapes
}

// derive adds what follows from several entries: typed texts, and the latencies of keys.
func (l *lane) derive() {
	slices.SortStableFunc(l.keys, func(a, b key) int { return cmp.Compare(a.at, b.at) })
	slices.Sort(l.drawn)
	slices.SortStableFunc(l.digests, func(a, b digestRead) int { return cmp.Compare(a.at, b.at) })
	l.deriveTexts()
	l.deriveLatencies()
}

// shifted replaces the characters of keyRows that are not letters by those that Shift makes of them
// on a US keyboard.
var shifted = strings.NewReplacer("1", "!", "2", "@", "3", "#", "4", "$", "5", "%", "6", "^", "7", "&", "8", "*", "9", "(", "0", ")", "-", "_", "=", "+",
	"[", "{", "]", "}", ";", ":", "'", `"`, "`", "~", `\`, "|", ",", "<", ".", ">", "/", "?")

// typedPause is the pause between two keys from which on they belong to different texts.
const typedPause = 2 * time.Second

// deriveTexts adds the texts that keys typed. It assumes that the guest has a US keyboard.
func (l *lane) deriveTexts() {
	var text strings.Builder
	var from, to time.Duration
	n := 0
	flush := func() {
		if n > 1 {
			l.events = append(l.events, event{at: from, took: to - from, track: "input", text: plain(fmt.Sprintf("typed %q", text.String()))})
		}
		text.Reset()
		n = 0
	}
	held := map[int]bool{}
	for _, k := range l.keys {
		held[k.code] = k.down
		shift := held[0x2a] || held[0x36]
		name := KeyName(k.code)
		switch {
		case !k.down || name == "Shift" || name == "right Shift":
			continue
		case k.code == 0x39:
			name = " "
		case len(name) != 1 || held[0x1d] || held[0x38] || held[0xe01d] || held[0xe038]:
			flush() // not a character
			continue
		case shift:
			name = shifted.Replace(strings.ToUpper(name))
		}
		if n > 0 && k.at-to > typedPause {
			flush()
		}
		if n == 0 {
			from = k.at
		}
		text.WriteString(name)
		to = k.at
		n++
	}
	flush()
}

// longestLatency is the time after which a drawing or a digest does not count as the answer to a
// key.
const longestLatency = 2 * time.Second

// deriveLatencies adds the time from each key to the first pixels after it, and to the digest that
// shows it.
func (l *lane) deriveLatencies() {
	var pictures, digests []time.Duration
	add := func(k key, to string, took time.Duration) {
		l.events = append(l.events, event{at: k.at, took: took, track: "latency",
			text: fmt.Sprintf("%s to the %s: %.1f ms", KeyName(k.code), to, float64(took)/float64(time.Millisecond))})
	}
	shown := map[int][]time.Duration{} // of each code: when a digest showed that it went down
	for _, d := range l.digests {
		for _, raw := range d.events {
			var e struct {
				Scancode *struct {
					Code  int    `json:"code"`
					State string `json:"state"`
				} `json:"scancode"`
			}
			if json.Unmarshal(raw, &e) == nil && e.Scancode != nil && e.Scancode.State == "down" {
				shown[e.Scancode.Code] = append(shown[e.Scancode.Code], d.at)
			}
		}
	}
	var downs []key
	for _, k := range l.keys {
		if k.down {
			downs = append(downs, k)
		}
	}
	for i, k := range downs {
		at, _ := slices.BinarySearch(l.drawn, k.at)
		// Pixels after the next key may be the answer to that one.
		if at < len(l.drawn) && l.drawn[at]-k.at <= longestLatency && (i+1 == len(downs) || l.drawn[at] < downs[i+1].at) {
			pictures = append(pictures, l.drawn[at]-k.at)
			add(k, "picture", l.drawn[at]-k.at)
		}
		// Each digest that shows the key anew answers one press.
		times := shown[k.code]
		for len(times) > 0 && times[0] < k.at {
			times = times[1:]
		}
		if len(times) > 0 && times[0]-k.at <= longestLatency {
			digests = append(digests, times[0]-k.at)
			add(k, "digest", times[0]-k.at)
			times = times[1:]
		}
		shown[k.code] = times
	}
	l.head.latency = latencyFact(pictures, digests)
}

// latencyFact summarises latencies in a Fact.
func latencyFact(pictures, digests []time.Duration) Fact {
	var parts []string
	for _, m := range []struct {
		name string
		all  []time.Duration
	}{{"picture", pictures}, {"digest", digests}} {
		if n := len(m.all); n > 0 {
			slices.Sort(m.all)
			ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
			parts = append(parts, fmt.Sprintf("%s %.0f ms (p95 %.0f)", m.name, ms(m.all[n/2]), ms(m.all[min(n-1, n*95/100)])))
		}
	}
	return Fact{"Key to", strings.Join(parts, ", "), fmt.Sprintf("medians of %d keys to the first pixels after them, of %d to the digest that shows them", len(pictures), len(digests))}
}

func cursorText(f entry) string {
	s := fmt.Sprintf("the guest's pointer is at %d, %d", f.X, f.Y)
	if !f.Visible {
		s = "the guest's pointer is hidden"
	}
	if len(f.PNG) > 0 {
		s += ", with another shape"
	}
	return s
}

func digestText(f entry) string {
	var parts []string
	for _, raw := range f.Events {
		parts = append(parts, digestEvent(raw))
	}
	return strings.TrimSuffix(fmt.Sprintf("frame %d: %s", f.Frame, strings.Join(parts, "; ")), ": ")
}

// digestEvent returns an event of a digest for people: {"keypress":{"scancode":0,"unicode":"a"}}
// becomes keypress scancode=0 unicode="a".
func digestEvent(raw json.RawMessage) string {
	var named map[string]map[string]json.RawMessage
	if json.Unmarshal(raw, &named) != nil || len(named) != 1 {
		return string(raw)
	}
	for name, fields := range named {
		delete(fields, "timestamp_ms") // the guest's clock
		var parts []string
		for k, v := range fields {
			parts = append(parts, " "+k+"="+string(v))
		}
		slices.Sort(parts)
		return name + strings.Join(parts, "")
	}
	return ""
}

func loadText(f entry) string {
	s := fmt.Sprintf("QEMU used %.0f %% of a processor, waited %.0f %% for one; the harness was held up %.0f %%; the host was busy %.0f %%, stolen %.0f %%",
		100*f.QEMU, 100*f.Waited, 100*f.HeldUp, 100*f.Busy, 100*f.Steal)
	if f.Memory > 0 {
		s += fmt.Sprintf("; QEMU had %d MiB, read %d and wrote %d KiB of disks, and received %d and sent %d KiB as SPICE",
			f.Memory>>20, f.Read>>10, f.Wrote>>10, f.In>>10, f.Out>>10)
	}
	return s
}
