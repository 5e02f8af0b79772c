package scenario_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/verdict"
)

// One line of each kind, as in Beacon's own tests.
var reportLines = []struct {
	line string
	want digest.Event
}{
	{"t=1 type=keypress unicode=000a scancode=0000", digest.Keypress{TimestampMS: 1, Unicode: '\n'}},
	{"t=18446744073709551615 type=keypress unicode=0041 scancode=ffff", digest.Keypress{TimestampMS: 1<<64 - 1, Unicode: 'A', Scancode: 0xffff}},
	{"t=22 type=line row=65535", digest.LineRendered{TimestampMS: 22, Row: 65535}},
	{"t=333 type=transition from=awaiting to=booting", digest.SceneTransition{TimestampMS: 333, From: digest.Awaiting, To: digest.Booting}},
	{"t=334 type=transition from=parked to=parked", digest.SceneTransition{TimestampMS: 334, From: digest.Parked, To: digest.Parked}},
	{"t=4444 type=bootloader_decision choice=abort attempt=7", digest.BootloaderDecision{TimestampMS: 4444, Choice: digest.Abort, Attempt: 7}},
	{"t=5 type=paste len=30 correct=true", digest.PasteReceived{TimestampMS: 5, Len: 30, Correct: true}},
	{"t=7 type=bootloader_timeout", digest.BootloaderTimeout{TimestampMS: 7}},
	{"t=8 type=mode_switch requested=1280x720 applied=1280x800", digest.ModeSwitch{TimestampMS: 8, RequestedW: 1280, RequestedH: 720, AppliedW: 1280, AppliedH: 800}},
	{"t=9 type=mode_cycle count=28 interrupted=true", digest.ModeCycle{TimestampMS: 9, Count: 28, Interrupted: true}},
	{"t=66051 type=scancode code=e05d state=down modifiers=shift,control,alt,scroll", digest.Scancode{TimestampMS: 66051, Code: 0xe05d, State: digest.KeyDown, Modifiers: digest.Shift | digest.Control | digest.Alt | digest.ScrollLock}},
	{"t=1 type=scancode code=001e state=repeat modifiers=none", digest.Scancode{TimestampMS: 1, Code: 0x1e, State: digest.KeyRepeat}},
	{"t=2 type=leds on=scroll,caps", digest.LEDs{TimestampMS: 2, LEDs: 5}},
	{"t=3 type=pointer source=tablet x=1023 y=767 buttons=right,extra wheel=-2", digest.Pointer{TimestampMS: 3, Source: digest.FromTablet, X: 1023, Y: 767, Buttons: digest.RightButton | digest.ExtraButton, Wheel: -2}},
	{"t=3 type=pointer source=ps2 x=0 y=0 buttons=none wheel=0", digest.Pointer{TimestampMS: 3}},
	{"t=4 type=agent state=capabilities capabilities=80000000", digest.Agent{TimestampMS: 4, State: digest.CapabilitiesReceived, Capabilities: 1 << 31}},
	{"t=5 type=clipboard what=data_received flags=invalid_utf8 size=1048576 crc=deadbeef", digest.Clipboard{TimestampMS: 5, What: digest.DataReceived, Flags: digest.ClipboardNotUTF8, Size: 1 << 20, CRC: 0xdeadbeef}},
	{"t=5 type=clipboard what=release_sent flags=none size=0 crc=00000000", digest.Clipboard{TimestampMS: 5, What: digest.ReleaseSent}},
	{"t=6 type=monitors count=2 first=1920x1080", digest.Monitors{TimestampMS: 6, Count: 2, Width: 1920, Height: 1080}},
	{"t=7 type=tone state=started hz=440 length_ms=2000", digest.Tone{TimestampMS: 7, State: digest.ToneStarted, Hz: 440, LengthMS: 2000}},
	{"t=8 type=fault device=agent code=malformed detail=99", digest.Fault{TimestampMS: 8, Device: digest.AgentFault, Code: digest.Garbled, Detail: 99}},
	{"t=9 type=devices found=keyboard,mouse,wheel,tablet,virtio_serial,agent,sound", digest.Devices{TimestampMS: 9, Devices: 127}},
	{"t=10 type=power_off reason=button", digest.PowerOff{TimestampMS: 10, Reason: digest.PowerOffButton}},
	{"t=11 type=hold on=true", digest.Hold{TimestampMS: 11, On: true}},
	{"t=12 type=native state=drawn step=7 steps=50",
		digest.Native{TimestampMS: 12, State: digest.NativeDrawn, Step: 7, Steps: 50}},
}

func TestEveryLineOfAFinalReportIsAnEvent(t *testing.T) {
	t.Parallel()
	for _, tt := range reportLines {
		got, err := scenario.ParseLine(tt.line)
		require.NoError(t, err)
		require.Equal(t, tt.want, got, tt.line)
		// A part of it is not accepted as all of it, and neither is the whole with something added.
		fields := strings.Split(tt.line, " ")
		for i := range fields {
			_, err := scenario.ParseLine(strings.Join(slices.Delete(slices.Clone(fields), i, i+1), " "))
			require.Error(t, err, "%q without %q", tt.line, fields[i])
			_, err = scenario.ParseLine(strings.Join(append(slices.Clone(fields), fields[i]), " "))
			require.Error(t, err, "%q with %q twice", tt.line, fields[i])
		}
		for _, more := range []string{" ", " x=1", " x", "\x00"} {
			_, err := scenario.ParseLine(tt.line + more)
			require.Error(t, err, "%q", tt.line+more)
		}
	}
}

func TestALineThatIsNoEventIsRefused(t *testing.T) {
	t.Parallel()
	for line, why := range map[string]string{
		"":                                 "key=value",
		"Hello from Beacon":                "key=value",
		"t=1 type=surprise":                "type=surprise is not known",
		"t=x type=line row=1":              "t=x is no number",
		"t=1 type=line row=65536":          "no number of 16 bits",
		"t=1 type=paste len=1 correct=yes": "want true or false",
		"t=1 type=transition from=nowhere to=parked":                        "want one of awaiting booting parked",
		"t=1 type=tone state= hz=1 length_ms=1":                             "state=:",
		"t=1 type=scancode code=001e state=up modifiers=":                   "modifiers=:",
		"t=1 type=scancode code=001e state=up modifiers=alt,shift":          "in that order",
		"t=1 type=scancode code=001e state=up modifiers=shift,shift":        "in that order",
		"t=1 type=monitors count=1 first=1920":                              "want a width",
		"t=1 type=pointer source=ps2 x=0 y=0 buttons=none wheel=32768":      "no signed number",
		"t=1 type=mode_switch requested=1x1 applied=1x65536":                "want a width",
		"t=1 type=clipboard what=grab_sent flags=none size=0 crc=123456789": "crc=123456789",
	} {
		_, err := scenario.ParseLine(line)
		require.ErrorContains(t, err, why, "%q", line)
	}
}

const stats = "type=refresh_stats count=3 total_ms=255 mean_us=850 max_us=1000 p99_us=954 events=2 dropped=0"

func TestAFinalReportIsReadFromTheEndOfTheConsole(t *testing.T) {
	t.Parallel()
	console := []string{"BdsDxe: starting", "Hello from Beacon", "available GOP modes: 640x480", "t=1 type=line row=0", "t=1 type=line row=1", stats, ""}
	d, err := scenario.ReadFinalReport(console)
	require.NoError(t, err)
	require.Equal(t, []digest.Event{digest.LineRendered{TimestampMS: 1}, digest.LineRendered{TimestampMS: 1, Row: 1}}, d.Events)
	require.Equal(t, uint64(954), d.Stats["p99_us"])

	for why, damage := range map[string]func([]string) []string{
		"refresh_stats is missing":         func(c []string) []string { return c[:5] },
		"comes after type=refresh_stats":   func(c []string) []string { return append(c, "t=2 type=line row=2") },
		"older than the line before":       func(c []string) []string { c[4] = "t=0 type=line row=1"; return c },
		"1 lines of events, and the guest": func(c []string) []string { return slices.Delete(c, 3, 4) },
		"has dropped 7 events":             func(c []string) []string { c[5] = strings.Replace(stats, "dropped=0", "dropped=7", 1); return c },
		"line 1":                           func(c []string) []string { c[4] = "t=1 type=line"; return c },
		"events=many is no number":         func(c []string) []string { c[5] = strings.Replace(stats, "events=2", "events=many", 1); return c },
	} {
		_, err := scenario.ReadFinalReport(damage(slices.Clone(console)))
		require.ErrorContains(t, err, why)
	}
}

func FuzzParseLine(f *testing.F) {
	for _, tt := range reportLines {
		f.Add(tt.line)
	}
	f.Add(stats)
	f.Fuzz(func(t *testing.T, line string) {
		e, err := scenario.ParseLine(line)
		if err != nil {
			return
		}
		if digest.Size(e) == 0 {
			t.Fatalf("%q is read as %#v, which no digest can hold", line, e)
		}
	})
}

// digests returns the digests that a guest shows when these events happen one by one.
func digests(t *testing.T, events []digest.Event) []digest.Digest {
	t.Helper()
	ds := []digest.Digest{{FrameCounter: 1}}
	for i, e := range events {
		d := digest.Digest{FrameCounter: uint32(i + 2), Events: digest.Newest(events[:i+1]), ChannelHashes: ds[i].ChannelHashes}
		require.NoError(t, d.ChannelHashes.Add(e))
		ds = append(ds, d)
	}
	return ds
}

// lines returns n painted lines, one per millisecond.
func painted(n int) []digest.Event {
	var events []digest.Event
	for i := range n {
		events = append(events, digest.LineRendered{TimestampMS: uint64(i), Row: uint16(i)})
	}
	return events
}

func TestAStreamPutsTheWindowsTogether(t *testing.T) {
	t.Parallel()
	events := painted(20)
	ds := digests(t, events)
	for _, step := range []int{1, 2, 3} { // a digest holds three of these events
		s := scenario.ScriptedStream(ds[0])
		last := 0
		for i := step; i < len(ds); i += step {
			require.NoError(t, s.Take(ds[i]))
			last = i
		}
		require.Equal(t, events[:last], s.Events())
		require.NoError(t, s.Complete(t.Context(), true))
		require.NoError(t, (&scenario.FinalReport{Events: events}).Follows(s), "a final report may say more than was seen")
	}
}

func TestAStreamNoticesWhatNoDigestShowed(t *testing.T) {
	t.Parallel()
	ds := digests(t, painted(20))
	s := scenario.ScriptedStream(ds[0])
	require.NoError(t, s.Take(ds[3]))
	require.NoError(t, s.Take(ds[7])) // four events later
	require.NoError(t, s.Take(ds[8]))
	err := s.Complete(t.Context(), false)
	require.ErrorContains(t, err, "no digest showed line_rendered between frames 4 and 8")
	require.Equal(t, verdict.Product, verdict.Of(err))

	// Joined late: complete from there on, but not from the start.
	s = scenario.ScriptedStream(ds[5])
	require.NoError(t, s.Take(ds[6]))
	require.NoError(t, s.Complete(t.Context(), false))
	require.ErrorContains(t, s.Complete(t.Context(), true), "the events seen have the hashes")
}

func TestAFrameCounterThatDoesNotRiseIsAFault(t *testing.T) {
	t.Parallel()
	ds := digests(t, painted(3))
	s := scenario.ScriptedStream(ds[2])
	for _, d := range ds[:3] {
		require.ErrorContains(t, s.Take(d), "the frame counter went from 3 to")
	}
}

func TestAFinalReportThatSaysOtherwiseIsNoticed(t *testing.T) {
	t.Parallel()
	events := painted(6)
	ds := digests(t, events)
	s := scenario.ScriptedStream(ds[0])
	for _, d := range ds[1:] {
		require.NoError(t, s.Take(d))
	}
	for _, tt := range []struct {
		what, why string
		reported  []digest.Event
	}{
		{"one is missing", "event 2 of the digest is not in it", slices.Delete(slices.Clone(events), 2, 3)},
		{"two have changed places", "event 3 of the digest is not in it, or in another place",
			[]digest.Event{events[0], events[1], events[3], events[2], events[4], events[5]}},
		{"one is another", "event 5 of the digest is not in it", append(slices.Clone(events[:5]), digest.LineRendered{TimestampMS: 5, Row: 6})},
		{"there is one more", "its events have the hashes", slices.Insert(slices.Clone(events), 3, digest.Event(digest.LineRendered{TimestampMS: 3, Row: 9}))},
	} {
		require.ErrorContains(t, (&scenario.FinalReport{Events: tt.reported}).Follows(s), tt.why, tt.what)
	}
}

func TestAFinalReportWithoutAnEventOrACountIsNotComplete(t *testing.T) {
	for last, says := range map[string]string{
		"type=refresh_stats events=0 dropped=0": "no event",
		"type=refresh_stats events=0":           "dropped= is missing",
		"type=refresh_stats dropped=0":          "events= is missing",
	} {
		_, err := scenario.ReadFinalReport([]string{"Hello from Beacon", last})
		require.ErrorContains(t, err, says, last)
	}
}
