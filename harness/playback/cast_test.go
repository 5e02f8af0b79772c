package playback_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/playback"
	"github.com/spicelane/spicelane/harness/replay"
)

// A castEvent is an event of a recording that was read.
type castEvent struct {
	at         float64
	kind, text string
}

// readCast reads a recording as asciinema describes version 2: a header, then events in the order
// of their time, each a line of JSON.
func readCast(t *testing.T, r *replay.Recording, o playback.Options) (head map[string]any, all []castEvent) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, playback.WriteCast(&b, r, o))
	lines := bufio.NewScanner(&b)
	lines.Buffer(nil, 1<<20)
	require.True(t, lines.Scan())
	require.NoError(t, json.Unmarshal(lines.Bytes(), &head))
	for lines.Scan() {
		var e []any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		require.Len(t, e, 3)
		event := castEvent{e[0].(float64), e[1].(string), e[2].(string)}
		require.GreaterOrEqual(t, event.at, 0.0)
		if len(all) > 0 {
			require.GreaterOrEqual(t, event.at, all[len(all)-1].at)
		}
		all = append(all, event)
	}
	return head, all
}

const (
	console     = "Hello\r\n\x1b[31mred\x1b[0m <x>\r\n\r\nhalf \xff\r\nlogin: "
	consoleTold = begin +
		`{"t_us":1000000,"kind":"serial","n":0,"text":"Hello"}` + "\n" +
		`{"t_us":2500000,"kind":"beat","name":"look","at":"begin"}` + "\n" +
		`{"t_us":3000000,"kind":"serial","n":1,"text":"red <x>"}` + "\n" +
		`{"t_us":3000001,"kind":"serial","n":2,"text":""}` + "\n" +
		`{"t_us":4000000,"kind":"beat","name":"look","at":"end","ms":1500}` + "\n" +
		`{"t_us":9000000,"kind":"serial","n":3,"text":"half ` + "\ufffd" + `"}` + "\n" +
		`{"t_us":9500000,"kind":"verdict","verdict":"product","reason":"it stopped"}` + "\n"
)

func TestACastHasEveryByteOfTheSerialConsoleAtTheTimeOfTheTimeline(t *testing.T) {
	t.Parallel()
	r := lane(t, map[string]string{"serial.log": console, "timeline.ndjson": consoleTold})
	head, all := readCast(t, r, playback.Options{})
	require.Equal(t, map[string]any{"version": 2.0, "width": 80.0, "height": 25.0, "title": "no verdict: a (serial console)",
		"timestamp": float64(time.Date(2026, 11, 27, 4, 40, 17, 0, time.UTC).Unix())}, head)
	require.Equal(t, []castEvent{
		{0, "o", "Hello\r\n"},
		{1.5, "m", "look"},
		{2, "o", "\x1b[31mred\x1b[0m <x>\r\n"},
		{2.000001, "o", "\r\n"},
		{8, "o", "half \ufffd\r\n"},
		{8, "o", "login: "},
		{8.5, "m", "product: it stopped"},
	}, all)
	said := ""
	for _, e := range all {
		if e.kind == "o" {
			said += e.text
		}
	}
	require.Equal(t, strings.ToValidUTF8(console, "\ufffd"), said)
}

func TestACastIsCutAndSpedUpAsAFilmIs(t *testing.T) {
	t.Parallel()
	r := lane(t, map[string]string{"serial.log": console, "timeline.ndjson": consoleTold})
	_, all := readCast(t, r, playback.Options{SkipIdle: time.Second, Speed: 2})
	var at []float64
	for _, e := range all {
		at = append(at, e.at)
	}
	require.Equal(t, []float64{0, .5, .5, .5, 1.0, 1.0, 1.25}, roundAll(at))
	_, all = readCast(t, r, playback.Options{From: 2700 * time.Millisecond, To: 4 * time.Second})
	require.Equal(t, []castEvent{{0, "o", "Hello\r\n"}, {.3, "o", "\x1b[31mred\x1b[0m <x>\r\n"}, {.300001, "o", "\r\n"}}, all,
		"what was there before is on the screen at once")
	var b bytes.Buffer
	require.ErrorContains(t, playback.WriteCast(&b, r, playback.Options{From: time.Hour}), "from 1h0m0s: what is known of this lane ends at 9.5s")
	require.ErrorContains(t, playback.WriteCast(&b, r, playback.Options{From: 2, To: 1}), "the end must be after the beginning")
	require.ErrorContains(t, playback.WriteCast(&b, r, playback.Options{To: 1}),
		"to 1ns: the guest printed nothing before 1s")
	require.Empty(t, b.String())
}

func roundAll(at []float64) []float64 {
	for i := range at {
		at[i] = float64(int(at[i]*1000+.5)) / 1000
	}
	return at
}

func TestLinesThatTheTimelineLacksHaveTheTimeOfTheOneBefore(t *testing.T) {
	t.Parallel()
	r := lane(t, map[string]string{
		"serial.log": "one\nunknown\ntwo\n" + "x" + strings.Repeat("ü", 40000) + "\nthree\nback\n",
		"timeline.ndjson": begin + `{"t_us":1000000,"kind":"serial","text":"one"}` + "\n" + `{"t_us":1500000,"kind":"serial","text":"lost"}` + "\n" +
			`{"t_us":2000000,"kind":"serial","text":"two"}` + "\n" + `{"t_us":5000000,"kind":"serial","text":"three"}` + "\n" +
			`{"t_us":4000000,"kind":"serial","text":"back"}` + "\n",
	})
	_, all := readCast(t, r, playback.Options{})
	at := map[string]float64{}
	said := ""
	for _, e := range all {
		at[e.text] = e.at
		said += e.text
	}
	require.Equal(t, []float64{0, 0, 1, 4, 4}, []float64{at["one\n"], at["unknown\n"], at["two\n"], at["three\n"], at["back\n"]})
	require.NotContains(t, said, "\ufffd", "a character that a long line is parted in is whole")
	b, err := os.ReadFile(filepath.Join(r.Dir, "serial.log"))
	require.NoError(t, err)
	require.Equal(t, string(b), said)
}

func TestAConsoleThatSaidNothingHasNoCast(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for says, files := range map[string]map[string]string{
		"there is no serial.log": {"timeline.ndjson": begin},
		"serial.log is empty":    {"timeline.ndjson": begin, "serial.log": ""},
	} {
		err := playback.WriteCast(&b, lane(t, files), playback.Options{})
		require.ErrorIs(t, err, playback.ErrNoSerial)
		require.ErrorContains(t, err, says)
	}
	r := lane(t, map[string]string{"timeline.ndjson": begin})
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(r.Dir, "serial.log")))
	require.ErrorContains(t, playback.WriteCast(&b, r, playback.Options{}), "is no file")
	require.Empty(t, b.String())
}
