package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/fixtures/digest"
)

// A FinalReport is what a guest prints on its serial line before it switches the machine off: every
// event since its start, and a summary.
type FinalReport struct {
	// Events are the events, oldest first.
	Events []digest.Event
	// Stats are the numbers of the last line.
	Stats map[string]uint64
}

// ReadFinalReport parses the final report at the end of the lines of a serial console. It demands
// that the report exists, is in order of time, and complete.
func ReadFinalReport(lines []string) (*FinalReport, error) {
	end := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "type=refresh_stats ") })
	if end < 0 {
		return nil, fmt.Errorf("final report: the line type=refresh_stats is missing")
	}
	for _, l := range lines[end+1:] {
		if strings.TrimSpace(l) != "" {
			return nil, fmt.Errorf("final report: %q comes after type=refresh_stats", l)
		}
	}
	begin := end
	for begin > 0 && strings.HasPrefix(lines[begin-1], "t=") {
		begin--
	}
	d := &FinalReport{Stats: map[string]uint64{}}
	for i, l := range lines[begin:end] {
		e, err := ParseLine(l)
		if err != nil {
			return nil, fmt.Errorf("final report: line %d: %w", i, err)
		}
		// NB: the clock of some records has only 32 bits; a lane does not live for 49 days.
		if n := len(d.Events); n > 0 && d.Events[n-1].At() > e.At() {
			return nil, fmt.Errorf("final report: line %d: %q is older than the line before it", i, l)
		}
		d.Events = append(d.Events, e)
	}
	f, err := split(lines[end])
	if err != nil {
		return nil, fmt.Errorf("final report: %w", err)
	}
	delete(f.m, "type")
	for _, k := range []string{"events", "dropped"} {
		if _, ok := f.m[k]; !ok {
			f.fail("%s= is missing", k)
		}
	}
	for k := range f.m {
		d.Stats[k] = f.number(k, 64)
	}
	if f.err != nil {
		return nil, fmt.Errorf("final report: %q: %w", lines[end], f.err)
	}
	switch {
	case len(d.Events) == 0:
		return nil, fmt.Errorf("final report: there is no event in it, not even that the machine is switched off")
	case d.Stats["dropped"] != 0:
		return nil, fmt.Errorf("final report: the guest has dropped %d events", d.Stats["dropped"])
	case d.Stats["events"] != uint64(len(d.Events)):
		return nil, fmt.Errorf("final report: %d lines of events, and the guest counted %d", len(d.Events), d.Stats["events"])
	}
	return d, nil
}

// Follows returns an error unless the final report agrees with a stream that was open since the
// guest's start. The final report must have all events of the stream in the same order. Up to the
// last of them, its events must have the rolling hashes of the stream's last digest. So it has no
// other events of the published kinds.
func (d *FinalReport) Follows(s *Stream) error {
	var hashes digest.ChannelHashes
	at := 0
	for i, want := range s.events {
		found := false
		for ; at < len(d.Events) && !found; at++ {
			found = d.Events[at] == want
			if err := hashes.Add(d.Events[at]); err != nil {
				return err
			}
		}
		if !found {
			return fmt.Errorf("final report: event %d of the digest is not in it, or in another place: %s", i, describe([]digest.Event{want}))
		}
	}
	if hashes != s.hashes {
		return fmt.Errorf("final report: its events have the hashes %v, the last digest says %v", hashes.Map(), s.hashes.Map())
	}
	return nil
}

// ParseLine reads one line of a final report.
func ParseLine(line string) (digest.Event, error) {
	f, err := split(line)
	if err != nil {
		return nil, err
	}
	e := f.event()
	if f.err == nil && len(f.m) > 0 {
		var left []string
		for k := range f.m {
			left = append(left, k)
		}
		slices.Sort(left)
		f.err = fmt.Errorf("it has no %s", strings.Join(left, ", "))
	}
	if f.err != nil {
		return nil, fmt.Errorf("%q: %w", line, f.err)
	}
	return e, nil
}

// The words of the final report for the values of enumerations and the bits of sets;
// they are those of fixtures/guest/README.md.
var (
	phaseWords     = []string{"awaiting", "booting", "parked"}
	choiceWords    = []string{"retry", "ignore", "abort"}
	keyWords       = []string{"up", "down", "repeat"}
	modifierWords  = []string{"shift", "control", "alt", "meta", "caps", "num", "scroll"}
	ledWords       = []string{"scroll", "num", "caps"}
	sourceWords    = []string{"ps2", "tablet", "agent"}
	buttonWords    = []string{"left", "right", "middle", "side", "extra"}
	agentWords     = []string{"absent", "port_opened", "host_open", "host_closed", "capabilities"}
	clipboardWords = []string{1: "grab_received", "request_received", "data_received", "release_received",
		"grab_sent", "request_sent", "data_sent", "release_sent"}
	clipboardFlags = []string{"invalid_utf8", "too_large", "not_text"}
	toneWords      = []string{1: "started", "ended", "no_device"}
	faultDevices   = []string{1: "keyboard", "mouse", "tablet", "agent", "sound", "display"}
	faultCodes     = []string{1: "lost", "malformed", "too_large", "refused", "no_answer", "out_of_step"}
	deviceWords    = []string{"keyboard", "mouse", "wheel", "tablet", "virtio_serial", "agent", "sound"}
	nativeWords    = []string{"absent", "entered", "drawn", "left", "failed"}
	powerOffWords  = []string{1: "key", "countdown", "button"}
)

func (f *reportFields) event() digest.Event {
	t := f.number("t", 64)
	ms := uint32(t)
	switch kind := f.take("type"); kind {
	case "keypress":
		return digest.Keypress{TimestampMS: t, Unicode: digest.Char(f.hex("unicode", 16)), Scancode: uint16(f.hex("scancode", 16))}
	case "line":
		return digest.LineRendered{TimestampMS: t, Row: uint16(f.number("row", 16))}
	case "transition":
		return digest.SceneTransition{TimestampMS: t, From: digest.Phase(f.word("from", phaseWords)), To: digest.Phase(f.word("to", phaseWords))}
	case "bootloader_decision":
		return digest.BootloaderDecision{TimestampMS: t, Choice: digest.Choice(f.word("choice", choiceWords)), Attempt: uint32(f.number("attempt", 32))}
	case "paste":
		return digest.PasteReceived{TimestampMS: t, Len: uint16(f.number("len", 16)), Correct: f.bool("correct")}
	case "bootloader_timeout":
		return digest.BootloaderTimeout{TimestampMS: t}
	case "mode_switch":
		e := digest.ModeSwitch{TimestampMS: t}
		e.RequestedW, e.RequestedH = f.size("requested")
		e.AppliedW, e.AppliedH = f.size("applied")
		return e
	case "mode_cycle":
		return digest.ModeCycle{TimestampMS: t, Count: uint32(f.number("count", 32)), Interrupted: f.bool("interrupted")}
	case "scancode":
		return digest.Scancode{TimestampMS: ms, Code: uint16(f.hex("code", 16)), State: digest.KeyState(f.word("state", keyWords)),
			Modifiers: digest.Modifiers(f.set("modifiers", modifierWords))}
	case "leds":
		return digest.LEDs{TimestampMS: ms, LEDs: uint8(f.set("on", ledWords))}
	case "pointer":
		return digest.Pointer{TimestampMS: ms, Source: digest.PointerSource(f.word("source", sourceWords)), X: uint16(f.number("x", 16)),
			Y: uint16(f.number("y", 16)), Buttons: digest.Buttons(f.set("buttons", buttonWords)), Wheel: int16(f.signed("wheel", 16))}
	case "agent":
		return digest.Agent{TimestampMS: ms, State: digest.AgentState(f.word("state", agentWords)), Capabilities: uint32(f.hex("capabilities", 32))}
	case "clipboard":
		return digest.Clipboard{TimestampMS: ms, What: digest.ClipboardStep(f.word("what", clipboardWords)),
			Flags: digest.ClipboardFlags(f.set("flags", clipboardFlags)), Size: uint32(f.number("size", 32)), CRC: uint32(f.hex("crc", 32))}
	case "monitors":
		e := digest.Monitors{TimestampMS: ms, Count: uint8(f.number("count", 8))}
		e.Width, e.Height = f.size("first")
		return e
	case "tone":
		return digest.Tone{TimestampMS: ms, State: digest.ToneState(f.word("state", toneWords)), Hz: uint16(f.number("hz", 16)),
			LengthMS: uint16(f.number("length_ms", 16))}
	case "fault":
		return digest.Fault{TimestampMS: ms, Device: digest.FaultDevice(f.word("device", faultDevices)),
			Code: digest.FaultCode(f.word("code", faultCodes)), Detail: uint32(f.number("detail", 32))}
	case "devices":
		return digest.Devices{TimestampMS: ms, Devices: digest.DeviceSet(f.set("found", deviceWords))}
	case "power_off":
		return digest.PowerOff{TimestampMS: ms, Reason: digest.PowerOffReason(f.word("reason", powerOffWords))}
	case "hold":
		return digest.Hold{TimestampMS: ms, On: f.bool("on")}
	case "native":
		return digest.Native{TimestampMS: ms, State: digest.NativeState(f.word("state", nativeWords)),
			Step: uint8(f.number("step", 8)), Steps: uint8(f.number("steps", 8))}
	default:
		f.fail("type=%s is not known", kind)
		return nil
	}
}

// reportFields are the key=value pairs of a line. Taking one removes it; the first error is kept.
type reportFields struct {
	m   map[string]string
	err error
}

func split(line string) (*reportFields, error) {
	f := &reportFields{m: map[string]string{}}
	for _, word := range strings.Split(line, " ") {
		k, v, ok := strings.Cut(word, "=")
		if _, again := f.m[k]; !ok || k == "" || again {
			return nil, fmt.Errorf("%q: want key=value, each key once, with one blank between", line)
		}
		f.m[k] = v
	}
	return f, nil
}

func (f *reportFields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

func (f *reportFields) take(key string) string {
	v, ok := f.m[key]
	if !ok {
		f.fail("%s= is missing", key)
	}
	delete(f.m, key)
	return v
}

func (f *reportFields) parse(key string, base, bits int) uint64 {
	v := f.take(key)
	n, err := strconv.ParseUint(v, base, bits)
	if err != nil {
		f.fail("%s=%s is no number of %d bits in base %d", key, v, bits, base)
	}
	return n
}

func (f *reportFields) number(key string, bits int) uint64 { return f.parse(key, 10, bits) }
func (f *reportFields) hex(key string, bits int) uint64    { return f.parse(key, 16, bits) }

func (f *reportFields) signed(key string, bits int) int64 {
	v := f.take(key)
	n, err := strconv.ParseInt(v, 10, bits)
	if err != nil {
		f.fail("%s=%s is no signed number of %d bits", key, v, bits)
	}
	return n
}

func (f *reportFields) bool(key string) bool {
	v := f.take(key)
	if v != "true" && v != "false" {
		f.fail("%s=%s: want true or false", key, v)
	}
	return v == "true"
}

func (f *reportFields) size(key string) (w, h uint16) {
	v := f.take(key)
	a, b, ok := strings.Cut(v, "x")
	x, err1 := strconv.ParseUint(a, 10, 16)
	y, err2 := strconv.ParseUint(b, 10, 16)
	if !ok || err1 != nil || err2 != nil {
		f.fail("%s=%s: want a width, x and a height", key, v)
	}
	return uint16(x), uint16(y)
}

func (f *reportFields) word(key string, words []string) int {
	v := f.take(key)
	i := slices.Index(words, v)
	if i < 0 || v == "" {
		f.fail("%s=%s: want one of %s", key, v, strings.TrimSpace(strings.Join(words, " ")))
		return 0
	}
	return i
}

func (f *reportFields) set(key string, words []string) (bits uint) {
	v := f.take(key)
	if v == "none" {
		return 0
	}
	for _, word := range strings.Split(v, ",") {
		i := slices.Index(words, word)
		if i < 0 || word == "" || bits>>i != 0 {
			f.fail("%s=%s: want none, or some of %s in that order", key, v, strings.Join(words, ","))
			return 0
		}
		bits |= 1 << i
	}
	return bits
}

// Deprecated: use FinalReport.
type Drain = FinalReport

// ReadDrain is ReadFinalReport.
//
// Deprecated: use ReadFinalReport.
func ReadDrain(lines []string) (*FinalReport, error) { return ReadFinalReport(lines) }
