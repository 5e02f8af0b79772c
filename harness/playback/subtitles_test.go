package playback_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/playback"
	"github.com/spicelane/spicelane/harness/replay"
)

// A cue is a subtitle that was read.
type cue struct {
	from, to time.Duration
	lines    []string
}

var vttTimes = regexp.MustCompile(`^(\d\d+):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d\d+):([0-5]\d):([0-5]\d)\.(\d{3})$`)

// readVTT reads subtitles by WebVTT's syntax (its section 4.1): blocks separated by empty lines, in
// the order of their start.
func readVTT(t *testing.T, text string) []cue {
	t.Helper()
	rest, ok := strings.CutPrefix(text, "WEBVTT\n\n")
	require.True(t, ok)
	var all []cue
	for block := range strings.SplitSeq(strings.TrimSuffix(rest, "\n"), "\n\n") {
		lines := strings.Split(block, "\n")
		m := vttTimes.FindStringSubmatch(lines[0])
		require.NotNil(t, m, "%q is not a time", lines[0])
		moment := func(at int) time.Duration {
			var n [4]int
			for i := range n {
				n[i], _ = strconv.Atoi(m[at+i])
			}
			return time.Duration(n[0])*time.Hour + time.Duration(n[1])*time.Minute + time.Duration(n[2])*time.Second + time.Duration(n[3])*time.Millisecond
		}
		c := cue{moment(1), moment(5), lines[1:]}
		require.Less(t, c.from, c.to)
		require.NotEmpty(t, c.lines)
		for _, line := range c.lines {
			require.NotContains(t, line, "-->")
			require.NotRegexp(t, "[<>\x00-\x1f]", line)
		}
		if len(all) > 0 {
			require.GreaterOrEqual(t, c.from, all[len(all)-1].from)
		}
		all = append(all, c)
	}
	return all
}

func subtitles(t *testing.T, r *replay.Recording, o playback.Options) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, open(t, r, o).WriteSubtitles(&b))
	return b.String()
}

const told = begin +
	`{"t_us":1200000,"kind":"key","code":30,"down":true}` + "\n" +
	`{"t_us":1250000,"kind":"key","code":30,"down":false}` + "\n" +
	`{"t_us":1300000,"kind":"pointer","x":3,"y":4}` + "\n" +
	`{"t_us":1400000,"kind":"serial","n":0,"text":"a <b> --> & \u001b[31mred\n\nWEBVTT"}` + "\n" +
	`{"t_us":2000000,"kind":"beat","name":"look","at":"begin"}` + "\n" +
	`{"t_us":4500000,"kind":"beat","name":"look","at":"end","ms":2500}` + "\n" +
	`{"t_us":2100000,"kind":"key","code":28,"down":true}` + "\n" +
	`{"t_us":5000000,"kind":"wait","ms":3500,"error":"three keys never came"}` + "\n" +
	`{"t_us":5100000,"kind":"verdict","verdict":"product","reason":"boot"}` + "\n"

func TestTheEventsOfTheTimelineAreSubtitles(t *testing.T) {
	t.Parallel()
	m := newMade(4, 4)
	m.draw(time.Second, m.img.Rect, true)
	r := m.lane(t, told)
	ms := time.Millisecond
	require.Equal(t, []cue{
		{200 * ms, 1100 * ms, []string{"1.200 input: key a down", "1.250 input: key a up"}},
		{400 * ms, 2400 * ms, []string{`1.400 serial: a &lt;b&gt; --&gt; &amp; red  WEBVTT`}},
		{500 * ms, 4000 * ms, []string{"1.500 wait: three keys never came"}},
		{1000 * ms, 3500 * ms, []string{"2.000 beat: look"}},
		{1100 * ms, 3100 * ms, []string{"2.100 input: key Enter down"}},
		{4100 * ms, 4200 * ms, []string{"5.100 lane: product: boot"}},
	}, readVTT(t, subtitles(t, r, playback.Options{})))
	// On the clock of the playback: without idle times, twice as fast.
	fast := readVTT(t, subtitles(t, r, playback.Options{Speed: 2, From: 2050 * ms}))
	require.Equal(t, []string{"1.500 wait: three keys never came"}, fast[0].lines, "what has begun before is still going on")
	require.Equal(t, cue{0, 1525 * ms, fast[0].lines}, fast[0])
	require.Equal(t, cue{25 * ms, 1525 * ms, []string{"2.100 input: key Enter down"}}, fast[2])
	idle := readVTT(t, subtitles(t, r, playback.Options{SkipIdle: 500 * ms}))
	require.Equal(t, 500*ms, idle[len(idle)-1].from, "what happens in a time that is not shown is shown at its end")
}

func TestManyEventsAreFewSubtitlesThatCanBeRead(t *testing.T) {
	t.Parallel()
	m := newMade(4, 4)
	m.draw(0, m.img.Rect, true)
	var lines strings.Builder
	lines.WriteString(begin)
	for i := range 50 {
		fmt.Fprintf(&lines, `{"t_us":%d,"kind":"key","code":30,"down":%v}`+"\n", 1000*(100+i), i%2 == 0)
	}
	fmt.Fprintf(&lines, `{"t_us":3000000,"kind":"serial","text":%q}`+"\n", strings.Repeat("x", 900))
	all := readVTT(t, subtitles(t, m.lane(t, lines.String()), playback.Options{}))
	require.Len(t, all, 3)
	require.Equal(t, cue{100 * time.Millisecond, 2149 * time.Millisecond, []string{"0.100 input: key a down", "0.101 input: key a up",
		"0.102 input: key a down", "0.103 input: key a up", "… and 46 more"}}, all[1])
	require.Equal(t, "3.000 serial: "+strings.Repeat("x", 159)+"…", all[2].lines[0])
}

// ffmpeg reads WebVTT, too, and knows nothing of how this was made.
func TestFFmpegReadsTheSubtitles(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	m := newMade(4, 4)
	m.draw(time.Second, m.img.Rect, true)
	path := filepath.Join(t.TempDir(), "a.vtt")
	require.NoError(t, os.WriteFile(path, []byte(subtitles(t, m.lane(t, told), playback.Options{})), 0o644))
	srt := string(output(t, "ffmpeg", "-v", "error", "-i", path, "-f", "srt", "-"))
	require.Contains(t, srt, "2\n00:00:00,400 --> 00:00:02,400\n1.400 serial: a <b> --> & red  WEBVTT\n")
	require.Contains(t, srt, "6\n00:00:04,100 --> 00:00:04,200\n5.100 lane: product: boot\n")
}
