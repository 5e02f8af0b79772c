package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/timeline"
)

// tracks are the tracks of a page, from top to bottom. Those without events are not shown.
var tracks = []track{
	{"lane", "Lane"}, {"beat", "Beats"}, {"wait", "Waits"}, {"fault", "Faults"}, {"input", "Keys"}, {"pointer", "Pointer"},
	{"latency", "Latency"}, {"load", "Load"}, {"screen", "Screen"}, {"digest", "Digests"}, {"serial", "Serial"}, {"qemu", "QEMU"}, {"qmp", "QMP"},
	{"proxy", "Proxy"}, {"client", "Client"}, {"control", "Control"}, {"test", "Test"}, {"other", "Other"},
}

// kindTracks has the track of each kind of entry of the timeline.
var kindTracks = map[string]string{
	"begin": "lane", "step": "lane", "lane": "lane", "verdict": "lane", "machine": "lane", "reset": "lane", "messages": "lane",
	"beat": "beat", "wait": "wait", "awaited": "wait", "fault": "fault", "link": "fault",
	"key": "input", "button": "pointer", "pointer": "pointer", "cursor": "pointer", "digest": "digest", "control": "control", "load": "load",
	"frame": "screen", "screenshot": "screen", "picture": "screen", "film": "screen",
	"serial": "serial", "console_failure": "serial",
	"proxy": "proxy", "migrated": "client", "agent": "client", "coverage": "client",
	timeline.KindFull: "lane", timeline.KindLeftOut: "lane",
}

// entry has the fields of all kinds of entries that say turns into words.
type entry struct {
	Name    string  `json:"name"`
	At      string  `json:"at"` // of a beat
	MS      float64 `json:"ms"`
	Detail  string  `json:"detail"`
	Text    string  `json:"text"`
	Error   string  `json:"error"`
	Wall    string  `json:"wall"`
	QMPUS   int64   `json:"qmp_us"`
	PID     int     `json:"pid"`
	Code    int     `json:"code"`
	Down    bool    `json:"down"`
	X       int     `json:"x"`
	Y       int     `json:"y"`
	Button  int     `json:"button"`
	Op      string  `json:"op"`
	Ops     any     `json:"ops"`
	Rect    []int   `json:"rect"`
	Count   int     `json:"count"`
	UntilUS int64   `json:"until_us"`
	Verdict string  `json:"verdict"`
	Reason  string  `json:"reason"`
	Test    string  `json:"test"`
	File    string  `json:"file"`
	Via     string  `json:"via"`
	Picture string  `json:"picture"`
	Event   string  `json:"event"`
	Channel any     `json:"channel"`
	Soft    bool    `json:"soft"`
	State   string  `json:"state"`
	Awaited string  `json:"awaited"`
	Saw     string  `json:"saw"`
	N       int     `json:"n"`

	Rows []json.RawMessage `json:"rows"` // of what was carried

	Frame    uint32            `json:"frame"` // of a digest
	Events   []json.RawMessage `json:"events"`
	Method   string            `json:"method"`
	Visible  bool              `json:"visible"`
	Relative bool              `json:"relative"`
	Hot      [2]int            `json:"hot"`
	PNG      []byte            `json:"png"`

	// Of the host's load.
	QEMU   float64 `json:"qemu"`
	Waited float64 `json:"waited"`
	HeldUp float64 `json:"held_up"`
	Busy   float64 `json:"busy"`
	Steal  float64 `json:"steal"`
	Memory int64   `json:"memory"`
	Read   int64   `json:"disk_read"`
	Wrote  int64   `json:"disk_written"`
	In     int64   `json:"spice_in"`
	Out    int64   `json:"spice_out"`

	Connected bool `json:"connected"`

	Fixture     string `json:"fixture"`
	Image       string `json:"image"`
	Display     string `json:"display"`
	Compression string `json:"compression"`
	Command     string `json:"command"`
	Spicelane   string `json:"spicelane"`
	Film        string `json:"film"`
	Warm        bool   `json:"warm"`
	ReadyMS     int64  `json:"ready_ms"`
	Link        string `json:"link"`
	Shaped      string `json:"shaped"`
}

// add adds an entry of the timeline.
func (l *lane) add(e timeline.Entry) {
	l.last = max(l.last, e.At)
	var f entry
	// If a field has an unexpected type, the entry is shown as it is.
	odd := e.Decode(&f) != nil
	ev := event{at: e.At, track: kindTracks[e.Kind]}
	if l.entries {
		ev.kind, ev.entry = e.Kind, e.Raw
	}
	if ev.track == "" {
		ev.track, odd = "other", true
	}
	if odd {
		ev.text = plain(rest(e))
		l.events = append(l.events, ev)
		return
	}
	l.say(e, f, &ev)
	ev.text = plain(ev.text)
	l.events = append(l.events, ev)
}

// rest returns an entry's fields, besides its time and kind, as JSON.
func rest(e timeline.Entry) string {
	var fields map[string]json.RawMessage
	if e.Decode(&fields) != nil {
		return string(e.Raw)
	}
	delete(fields, "t_us")
	delete(fields, "kind")
	b, err := json.Marshal(fields)
	if err != nil {
		return string(e.Raw)
	}
	return e.Kind + " " + string(b)
}

// say puts an entry into words.
func (l *lane) say(e timeline.Entry, f entry, ev *event) {
	switch e.Kind {
	case "begin":
		l.begin(f)
		ev.text = "the lane " + f.Name + " begins"
	case "machine":
		if f.QMPUS != 0 {
			l.machine = time.Duration(f.QMPUS) * time.Microsecond
		}
		l.head.Warm = f.Warm
		ev.text = fmt.Sprintf("QEMU runs as process %d", f.PID)
	case "step":
		l.step(f)
		ev.took = millis(f.MS)
		ev.at -= ev.took
		ev.text = strings.TrimSuffix(f.Name+": "+f.Detail, ": ")
	case "lane":
		ev.text = f.State
		if f.ReadyMS > 0 {
			ev.text = fmt.Sprintf("%s after %d ms", f.State, f.ReadyMS)
		}
		if f.Reason != "" {
			ev.text += ": " + f.Reason
		}
	case "reset":
		ev.text = fmt.Sprintf("reset %d: %s", f.N, f.Reason)
	case "beat":
		ev.text = f.Name + " " + f.At
		if f.At == "end" {
			ev.took = millis(f.MS)
			ev.at -= ev.took
			ev.text, ev.bad = f.Name, f.Error != ""
		}
		if f.Error != "" {
			ev.text += ": " + f.Error
		}
		if f.Picture != "" {
			l.pics = append(l.pics, picture{at: e.At, name: f.Picture, via: viaClient})
		}
	case "wait":
		ev.took, ev.bad = millis(f.MS), true
		ev.at -= ev.took
		ev.text = f.Error
		l.wait = &waited{at: ev.at, took: ev.took, Awaited: plain(f.Awaited), Saw: plain(f.Saw), Err: plain(f.Error)}
		l.marks = append(l.marks, mark{us(ev.at), us(ev.took), "wait", plain(f.Error)})
	case "awaited":
		ev.took, ev.spare = millis(f.MS), true
		ev.at -= ev.took
		ev.text = "awaited " + f.Awaited
	case "verdict":
		ev.bad = true
		ev.text = strings.TrimSuffix(f.Verdict+": "+f.Reason, ": ")
		if f.Test != "" {
			ev.text += " (" + f.Test + ")"
		}
		l.marks = append(l.marks, mark{us(e.At), 0, "verdict", plain(ev.text)})
	case "fault":
		ev.text = rest(e)
		l.marks = append(l.marks, mark{us(e.At), 0, "fault", plain(ev.text)})
	case "link":
		ev.text = "the client's connection: " + f.Link + ", " + f.Shaped
	case "key":
		ev.text = fmt.Sprintf("key %s %s", KeyName(f.Code), upDown(f.Down))
		l.keys = append(l.keys, key{e.At, f.Code, f.Down})
	case "button":
		ev.text = fmt.Sprintf("button %d %s", f.Button, upDown(f.Down))
		l.point(pointed{at: e.At, button: f.Button, down: f.Down})
	case "pointer":
		ev.text, ev.spare = fmt.Sprintf("pointer to %d, %d", f.X, f.Y), true
		if f.Relative {
			ev.text = fmt.Sprintf("pointer by %d, %d", f.X, f.Y)
		}
		l.point(pointed{at: e.At, x: f.X, y: f.Y, moved: !f.Relative, relative: f.Relative})
	case "cursor":
		ev.text, ev.spare = cursorText(f), true
		l.point(pointed{at: e.At, x: f.X, y: f.Y, server: true, visible: f.Visible, hot: f.Hot, shape: f.PNG})
	case "digest":
		ev.text = digestText(f)
		l.digests = append(l.digests, digestRead{e.At, f.Events})
	case "control":
		ev.took, ev.bad, ev.spare = millis(f.MS), f.Error != "", true
		ev.at -= ev.took
		ev.text = f.Method
	case "load":
		ev.text, ev.spare = loadText(f), true
		ev.took = millis(f.MS)
		ev.at -= ev.took
		l.loads = append(l.loads, load{e.At, ev.took, f.QEMU, max(f.Waited, f.HeldUp, f.Steal)})
	case "frame":
		ev.text, ev.spare = frameText(f), true
		l.drawn = append(l.drawn, e.At)
		if f.UntilUS != 0 {
			ev.took = max(0, time.Duration(f.UntilUS)*time.Microsecond-e.At)
		}
	case "screenshot":
		ev.text = "a picture was taken"
	case "picture":
		if f.Error != "" {
			ev.text, ev.bad = fmt.Sprintf("no last picture from %s: %s", f.Via, f.Error), true
			break
		}
		ev.text = f.File
		via := f.Via
		if via == "qmp" {
			via = viaQEMU
		}
		l.pics = append(l.pics, picture{at: e.At, name: f.File, via: via})
	case "serial":
		ev.text, ev.spare = f.Text, true
	case "console_failure":
		ev.text, ev.bad = f.Name+": "+f.Text, !f.Soft
	case "coverage":
		ev.text = fmt.Sprintf("the client notes what it was sent, in %d rows", len(f.Rows))
	case "agent":
		ev.text = "the guest's agent has gone"
		if f.Connected {
			ev.text = "the guest's agent is there"
		}
	case "proxy":
		ev.text = strings.Join(strings.Fields(fmt.Sprint(f.Event, " ", text(f.Channel), " ", f.Reason, " ", f.Error)), " ")
	default:
		ev.text = rest(e)
	}
	if f.Error != "" && !strings.Contains(ev.text, f.Error) {
		ev.text, ev.bad = ev.text+": "+f.Error, true
	}
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// begin copies what the first entry says about the lane.
func (l *lane) begin(f entry) {
	if t, err := time.Parse(time.RFC3339Nano, f.Wall); err == nil {
		l.began = t
	}
	h := &l.head
	h.Name, h.Test, h.Fixture, h.Image = plain(f.Name), plain(f.Test), plain(f.Fixture), plain(f.Image)
	h.Display, h.Compression, h.Command, h.Spicelane = plain(f.Display), plain(f.Compression), plain(f.Command), plain(f.Spicelane)
	h.Film = f.Film
}

// step copies what a step of the start says to the head.
func (l *lane) step(f entry) {
	switch f.Name {
	case "host":
		l.head.Accel = plain(f.Detail)
	case "qemu":
		l.head.Start = plain(f.Detail)
	}
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func upDown(down bool) string {
	if down {
		return "down"
	}
	return "up"
}

func frameText(f entry) string {
	where := ""
	if len(f.Rect) == 4 {
		where = fmt.Sprintf("%d×%d at %d, %d", f.Rect[2], f.Rect[3], f.Rect[0], f.Rect[1])
	}
	op := f.Op
	if ops, ok := f.Ops.(map[string]any); ok {
		op = strings.Join(slices.Sorted(maps.Keys(ops)), ", ")
	}
	if f.Count > 1 {
		return fmt.Sprintf("%d times drawn, %s, within %s", f.Count, op, where)
	}
	return fmt.Sprintf("%s %s", op, where)
}
