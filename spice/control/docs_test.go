package control_test

import (
	"encoding/json"
	"fmt"
	"image"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

const docFile = "../../docs/control-socket.md"

// section is what stands below one heading of the reference.
type section struct {
	name   string // of the verb or event, "" for other headings
	text   string
	blocks [][]string
}

func sections(t *testing.T) []section {
	t.Helper()
	b, err := os.ReadFile(docFile)
	require.NoError(t, err)
	var out []section
	heading := regexp.MustCompile("^#+ (?:`([a-z_]+)`|.*)$")
	inBlock := false
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "```") {
			if inBlock = !inBlock; inBlock {
				out[len(out)-1].blocks = append(out[len(out)-1].blocks, nil)
			}
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil && !inBlock {
			out = append(out, section{name: m[1]})
			continue
		}
		s := &out[len(out)-1]
		if inBlock {
			s.blocks[len(s.blocks)-1] = append(s.blocks[len(s.blocks)-1], line)
		} else {
			s.text += line + "\n"
		}
	}
	return out
}

// Every verb, event, error code and field of the code is in the reference, and
// every heading there is of something that exists.
func TestTheReferenceNamesEverythingThatIsThere(t *testing.T) {
	type shape struct{ params, result any }
	verbs := map[string]shape{
		control.MethodHello:       {control.HelloParams{}, control.HelloResult{}},
		control.MethodStatus:      {nil, []any{control.Status{}, control.Surface{}, control.Unsupported{}, control.DigestCounts{}, control.Locks{}}},
		control.MethodSendKey:     {control.SendKeyParams{}, nil},
		control.MethodPaste:       {control.PasteParams{}, nil},
		control.MethodScreenshot:  {[]any{control.ScreenshotParams{}, control.Rect{}}, control.ScreenshotResult{}},
		control.MethodSubscribe:   {control.SubscribeParams{}, control.SubscribeResult{}},
		control.MethodUnsubscribe: {control.SubscribeParams{}, control.UnsubscribeResult{}},
		control.MethodDigest:      {nil, nil}, // as digest_updated
		control.MethodAwait:       {[]any{control.AwaitParams{}, control.Condition{}, control.SurfaceCondition{}, control.StableCondition{}, control.RegionCondition{}, control.Area{}, control.DigestCondition{}, control.CursorCondition{}}, []any{control.AwaitResult{}, control.ConditionResult{}}},
		control.MethodMatch: {[]any{control.MatchParams{}, control.ScreenCondition{}, control.TextCondition{}, control.Area{}},
			[]any{control.MatchResult{}, control.MatchedArea{}, control.Rect{}, control.Point{}}},
		control.MethodType:         {control.TypeParams{}, []any{control.TypeResult{}, control.Percentiles{}}},
		control.MethodMouseMove:    {control.MouseMoveParams{}, nil},
		control.MethodMouseButton:  {control.MouseButtonParams{}, nil},
		control.MethodMouseWheel:   {control.MouseWheelParams{}, nil},
		control.MethodClipboardGet: {control.ClipboardGetParams{}, control.ClipboardText{}},
		control.MethodClipboardSet: {control.ClipboardText{}, nil},
		control.MethodSetDisplay:   {control.SetDisplayParams{}, nil},
		control.MethodCursor:       {nil, control.CursorResult{}},
		control.MethodStats:        {nil, nil},
		control.MethodRecordStart:  {control.RecordStartParams{}, nil},
		control.MethodRecordStop:   {nil, control.RecordStopResult{}},
		control.MethodDisconnect:   {nil, nil},
		control.MethodReconnect:    {nil, nil},
	}
	events := map[string]any{
		control.EventLatency:        control.LatencyData{},
		control.EventAgentConnected: control.AgentConnectedData{},
		control.EventPasteCompleted: control.PasteCompletedData{},
		control.EventPasteFailed:    control.PasteFailedData{},
		control.EventDropped:        control.DroppedData{},
		control.EventSurfaceDrawn:   []any{control.SurfaceDrawnData{}, control.Rect{}},
		control.EventDigestUpdated:  control.Digest{},
	}
	want := map[string][]any{}
	for name, s := range verbs {
		want[name] = []any{s.params, s.result}
	}
	for name, data := range events {
		want[name] = []any{data}
	}

	// What the server offers is exactly what is listed above.
	path, _ := controltest.Open(t, server.Config{Console: controltest.NewFull(8, 8), Scan: controltest.Scan, Finder: controltest.Finder{}})
	hello := controltest.Dial(t, path).Server()
	require.ElementsMatch(t, slices.Collect(maps.Keys(verbs)), hello.SupportedMethods)
	require.ElementsMatch(t, slices.Collect(maps.Keys(events)), hello.SupportedEvents)

	all := sections(t)
	var have []string
	for _, s := range all {
		if s.name == "" {
			continue
		}
		have = append(have, s.name)
		for _, field := range jsonFields(want[s.name]) {
			require.Contains(t, s.text, "`"+field+"`", "the section of %s lacks a field", s.name)
		}
		if s.name != control.EventDropped {
			require.NotEmpty(t, s.blocks, "the section of %s lacks an example", s.name)
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), have)
	text := ""
	for _, s := range all {
		text += s.text
	}
	for _, code := range errorCodes(t) {
		require.Contains(t, text, "\n| `"+code+"` |", "the table of errors lacks a code")
	}
}

// jsonFields returns the JSON names of the fields of structs.
func jsonFields(vs []any) []string {
	var names []string
	for _, v := range vs {
		switch v := v.(type) {
		case nil:
		case []any:
			names = append(names, jsonFields(v)...)
		default:
			rt := reflect.TypeOf(v)
			for i := range rt.NumField() {
				if tag, _, _ := strings.Cut(rt.Field(i).Tag.Get("json"), ","); tag != "" && tag != "-" {
					names = append(names, tag)
				}
			}
		}
	}
	return names
}

// errorCodes returns the codes that the source declares.
func errorCodes(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("protocol.go")
	require.NoError(t, err)
	var codes []string
	for _, m := range regexp.MustCompile(`Code\w+ +Code = "(\w+)"`).FindAllStringSubmatch(string(b), -1) {
		codes = append(codes, m[1])
	}
	require.Len(t, codes, 17)
	return codes
}

// Each example is a conversation on a connection of its own. Answers must have
// the fields that are shown, all of them and no others, with these values, but
// for those that are different each time.
func TestTheExamplesOfTheReferenceAreTrue(t *testing.T) {
	c := controltest.NewFull(320, 240)
	c.SetMouseMode("client")
	c.SetCursor(server.Cursor{Visible: true, X: 160, Y: 120, HotX: 1, Width: 2, Height: 1, Pix: make([]byte, 8)})
	require.NoError(t, c.ClipboardSet(t.Context(), "grüße"))
	causes := map[string]func(){
		control.EventLatency:        func() { c.Notify(server.Latency{Interval: 1200 * time.Microsecond}) },
		control.EventAgentConnected: func() { c.SetAgent(false) },
		control.EventSurfaceDrawn: func() {
			c.Notify(server.Drawn{Rect: image.Rect(0, 0, 16, 16), Op: "draw_copy", At: time.Now()})
		},
	}
	dark := image.NewNRGBA(image.Rect(0, 0, 320, 240))
	for i := 3; i < len(dark.Pix); i += 4 {
		dark.Pix[i] = 255
	}
	path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan, Finder: controltest.Finder{Images: map[string]*image.NRGBA{"login": dark}}})
	for _, s := range sections(t) {
		for i, block := range s.blocks {
			t.Run(fmt.Sprintf("%s-%d", s.name, i), func(t *testing.T) {
				c.SetAgent(true)
				_, _ = c.RecordStop(t.Context()) // what the block before has begun
				if s.name == control.MethodMatch {
					c.Draw(0, 0, dark.Rect, func(pix []byte, _ int) { clear(pix) })
					controltest.Write(c.Console, "host login: ")
				} else if s.name != control.MethodStatus && s.name != control.MethodScreenshot {
					controltest.DrawDigest(c.Console, 320, 240, 281, 1)
				}
				if strings.Contains(strings.Join(block, ""), `"busy"`) {
					defer controltest.Dial(t, path).Close()
				}
				r := untilFree(t, path, strings.HasPrefix(block[0], "→"))
				if s.name != control.MethodHello && strings.HasPrefix(block[0], "→") {
					r.Hello()
				}
				for _, line := range block {
					dir, rest, _ := strings.Cut(line, " ")
					switch dir {
					case "→":
						r.Send(rest)
					case "←":
						var want, got any
						require.NoError(t, json.Unmarshal([]byte(rest), &want), rest)
						if ev, ok := want.(map[string]any)["event"].(string); ok && causes[ev] != nil {
							causes[ev]()
						}
						line := r.Line()
						require.NoError(t, json.Unmarshal([]byte(line), &got), line)
						if diff := same("", want, got); diff != "" {
							t.Errorf("the reference has\n%s\nthe server says\n%s\n%s", rest, line, diff)
						}
					default:
						t.Fatalf("neither → nor ←: %s", line)
					}
				}
			})
		}
	}
}

// untilFree dials until no other client is served, if that is wanted.
func untilFree(t *testing.T, path string, free bool) *controltest.Raw {
	t.Helper()
	if free {
		controltest.Dial(t, path).Close()
	}
	return controltest.DialRaw(t, path)
}

// volatile are the fields whose values differ each time.
var volatile = []string{"wallclock_us", "drawn_at_us", "decode_us", "waited_ms", "produced_at_secs", "deeds"}

// same compares an example with what came.
func same(at string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(g))) {
			return fmt.Sprintf("%s: other fields", at)
		}
		for k := range want {
			if slices.Contains(volatile, k) {
				if reflect.TypeOf(want[k]) != reflect.TypeOf(g[k]) {
					return fmt.Sprintf("%s.%s: another type", at, k)
				}
				continue
			}
			if d := same(at+"."+k, want[k], g[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			return fmt.Sprintf("%s: another length", at)
		}
		for i := range want {
			if d := same(fmt.Sprintf("%s[%d]", at, i), want[i], g[i]); d != "" {
				return d
			}
		}
		return ""
	case string:
		if head, ok := strings.CutSuffix(want, "…"); ok {
			if s, isString := got.(string); isString && strings.HasPrefix(s, head) {
				return ""
			}
		}
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s: %v, not %v", at, got, want)
	}
	return ""
}
