package replay_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/replay"
)

// keyEntry returns an entry for a key.
func keyEntry(us, code int, down bool) string {
	return fmt.Sprintf(`{"t_us":%d,"kind":"key","code":%d,"down":%v}`+"\n", us, code, down)
}

func frameEntry(us int) string {
	return fmt.Sprintf(`{"t_us":%d,"kind":"frame","op":"draw_copy","rect":[0,0,1,1]}`+"\n", us)
}

func TestTextsThatWereTypedAreWords(t *testing.T) {
	t.Parallel()
	tl := begin
	at := 0
	press := func(code int) { at += 1000; tl += keyEntry(at, code, true) + keyEntry(at+1, code, false) }
	tl += keyEntry(1, 0x2a, true)
	press(0x23) // H
	tl += keyEntry(at+2, 0x2a, false)
	press(0x17) // i
	press(0x39)
	tl += keyEntry(at+3, 0x36, true)
	press(0x02) // !
	tl += keyEntry(at+2, 0x36, false)
	press(0x1c) // Enter ends a text
	press(0x1e)
	press(0x30)
	at += 3_000_000 // so does a pause
	press(0x2e)
	tl += keyEntry(at+5, 0x1d, true) // Ctrl+C is no text
	press(0x2e)
	press(0x2e)
	m := makePage(t, lay(t, map[string]string{"timeline.ndjson": tl}), replay.Options{})
	var typed []string
	for _, x := range m.track("input") {
		if x[0] == 't' {
			typed = append(typed, x)
		}
	}
	require.Equal(t, []string{`typed "Hi !"`, `typed "ab"`}, typed)
}

func TestALatencyIsFromAKeyToWhatAnswersIt(t *testing.T) {
	t.Parallel()
	shows := func(us, code int, state string) string {
		return fmt.Sprintf(`{"t_us":%d,"kind":"digest","frame":1,"events":[{"scancode":{"code":%d,"state":%q,"timestamp_ms":1}}]}`+"\n", us, code, state)
	}
	m := makePage(t, lay(t, map[string]string{"timeline.ndjson": begin +
		frameEntry(500) + keyEntry(1000, 0x1e, true) + keyEntry(1500, 0x1e, false) + frameEntry(17000) + shows(18000, 0x1e, "up") + shows(19500, 0x1e, "down") +
		// The draw may belong to c, so b has no time to the picture.
		keyEntry(100000, 0x30, true) + keyEntry(101000, 0x2e, true) + frameEntry(102000) + shows(103000, 0x30, "down") +
		// Too late, and never.
		keyEntry(200000, 0x1e, true) + frameEntry(2300000) + shows(2400000, 0x1e, "down"),
	}), replay.Options{})
	require.Equal(t, []string{"a to the picture: 16.0 ms", "a to the digest: 18.5 ms", "b to the digest: 3.0 ms", "c to the picture: 1.0 ms"}, m.track("latency"))
	require.Contains(t, m.html, "picture 16 ms (p95 16), digest 18 ms (p95 18)")
	require.Equal(t, `frame 1: scancode code=30 state="up"`, m.track("digest")[0])
}

func TestThePointerIsWhereTheClientPutItOrWhereTheServerSays(t *testing.T) {
	t.Parallel()
	img := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	shape := base64.StdEncoding.EncodeToString(b.Bytes())
	large := image.NewNRGBA(image.Rect(0, 0, 1000, 4))
	var l bytes.Buffer
	require.NoError(t, png.Encode(&l, large))
	m := makePage(t, lay(t, map[string]string{"timeline.ndjson": begin +
		`{"t_us":1,"kind":"cursor","visible":false,"x":0,"y":0}` + "\n" + // nothing is known of it yet
		`{"t_us":2,"kind":"cursor","visible":true,"x":7,"y":8,"hot":[1,2],"png":"` + shape + `"}` + "\n" +
		`{"t_us":3,"kind":"pointer","x":100,"y":50,"relative":false}` + "\n" +
		`{"t_us":4,"kind":"cursor","visible":false,"x":9,"y":9}` + "\n" + // the guest follows the client: this is old
		`{"t_us":5,"kind":"button","button":1,"down":true}` + "\n" + `{"t_us":6,"kind":"button","button":1,"down":false}` + "\n" +
		`{"t_us":7,"kind":"pointer","x":-3,"y":2,"relative":true}` + "\n" +
		`{"t_us":8,"kind":"cursor","visible":true,"x":97,"y":52}` + "\n" +
		`{"t_us":9,"kind":"cursor","visible":false,"x":97,"y":52,"png":"` + base64.StdEncoding.EncodeToString(l.Bytes()) + `"}` + "\n" +
		`{"t_us":10,"kind":"cursor","visible":true,"x":1,"y":1,"png":"` + base64.StdEncoding.EncodeToString([]byte("no PNG")) + `"}` + "\n",
	}), replay.Options{})
	require.Equal(t, [][5]int64{{2, 7, 8, 1, 0}, {3, 100, 50, 1, 0}, {4, 100, 50, 1, 0}, {5, 100, 50, 1, 2}, {6, 100, 50, 1, 0},
		{8, 97, 52, 1, 0}, {9, 97, 52, 1, 1}, {10, 1, 1, 1, 0}}, m.Pointer)
	require.Len(t, m.Shapes, 1)
	require.Equal(t, [2]int{1, 2}, m.Shapes[0].Hot)
	require.Contains(t, m.html, shape)
}

func TestTheHostsLoadIsACurve(t *testing.T) {
	t.Parallel()
	m := makePage(t, lay(t, map[string]string{"timeline.ndjson": begin +
		`{"t_us":500000,"kind":"load","ms":500,"qemu":0.95,"waited":0.02,"held_up":0,"busy":0.5,"steal":0.1}` + "\n" +
		`{"t_us":1000000,"kind":"load","ms":500,"qemu":1.2,"waited":0.4,"held_up":0,"busy":0.5,"steal":0,"memory":3145728,"disk_read":2048,"disk_written":4096,"spice_in":1024,"spice_out":71680}` + "\n",
	}), replay.Options{})
	require.Equal(t, "QEMU used 120 % of a processor, waited 40 % for one; the harness was held up 0 %; the host was busy 50 %, stolen 0 %; "+
		"QEMU had 3 MiB, read 2 and wrote 4 KiB of disks, and received 1 and sent 70 KiB as SPICE", m.track("load")[1])
	require.Equal(t, "QEMU used 95 % of a processor, waited 2 % for one; the harness was held up 0 %; the host was busy 50 %, stolen 10 %", m.track("load")[0])
	require.Len(t, m.Curves, 2)
	require.Equal(t, []float64{0.95, 1.2}, m.Curves[0].V)
	require.Equal(t, []float64{0.1, 0.4}, m.Curves[1].V, "what QEMU wanted and did not get")
}

func TestRequestsOnTheControlSocketTakeTheirTime(t *testing.T) {
	t.Parallel()
	m := makePage(t, lay(t, map[string]string{"timeline.ndjson": begin +
		`{"t_us":900000,"kind":"control","method":"await","ms":400,"error":"timeout"}` + "\n"}), replay.Options{})
	require.Equal(t, []string{"await: timeout"}, m.track("control"))
	require.Equal(t, int64(500000), m.T[1])
	require.Equal(t, int64(400000), m.D[1])
}
