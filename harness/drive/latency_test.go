package drive_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A keyGuest is a control socket. Behind it, a guest answers keys as a test says, on a clock that
// moves only in the pauses between keys.
type keyGuest struct {
	conn   net.Conn
	offers []string // events
	// answer returns the events that follow key n, counting from 0.
	answer func(n int) []keyAnswer
	pressed,
	frame, keypress uint32
}

// A keyAnswer is one event: "draw", "own" (a digest that the guest showed by
// itself), "key" (one that shows the key) or "dropped".
type keyAnswer struct {
	kind  string
	after time.Duration // the time that a draw reports, after the key
}

var keyEvents = []string{control.EventSurfaceDrawn, control.EventDigestUpdated, control.EventDropped}

// newKeyGuest starts a guest. Its key 0 is not counted.
func newKeyGuest(t *testing.T, offers []string, answer func(n int) []keyAnswer) *control.Driver {
	here, there := net.Pipe()
	g := &keyGuest{conn: there, offers: offers, answer: answer, frame: 1}
	go g.serve()
	d, err := (control.DriverConfig{}).Hello(t.Context(), here)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func (g *keyGuest) serve() {
	lines := bufio.NewScanner(g.conn)
	for lines.Scan() {
		var req struct {
			ID     json.RawMessage
			Method string
			Params struct {
				State  string
				Events []string
			}
		}
		if json.Unmarshal(lines.Bytes(), &req) != nil {
			return
		}
		var result any = struct{}{}
		switch req.Method {
		case control.MethodHello:
			result = control.HelloResult{ProtocolVersion: control.Version, SupportedMethods: []string{control.MethodDigest}, SupportedEvents: g.offers}
		case control.MethodSubscribe:
			result = control.SubscribeResult{Subscribed: slices.DeleteFunc(req.Params.Events, func(e string) bool { return !slices.Contains(g.offers, e) })}
		case control.MethodDigest:
			result = g.digest()
		}
		g.write(map[string]any{"id": req.ID, "ok": true, "result": result})
		if req.Method == control.MethodSendKey && req.Params.State == string(control.Down) {
			g.key()
		}
	}
}

func (g *keyGuest) key() {
	n := int(g.pressed)
	g.pressed++
	for _, a := range g.answer(n) {
		switch a.kind {
		case "draw":
			g.event(control.EventSurfaceDrawn, control.SurfaceDrawnData{WallclockUS: time.Now().Add(a.after).UnixMicro()})
		case "dropped":
			g.event(control.EventDropped, control.DroppedData{Count: 1})
		case "key":
			g.keypress++
			fallthrough
		case "own":
			g.frame++
			g.event(control.EventDigestUpdated, g.digest())
		}
	}
}

func (g *keyGuest) digest() control.Digest {
	return control.Digest{FrameCounter: g.frame, Events: []json.RawMessage{}, ChannelHashes: map[string]uint32{"keypress": g.keypress}}
}

func (g *keyGuest) event(name string, data any) { g.write(map[string]any{"event": name, "data": data}) }

func (g *keyGuest) write(v any) {
	b, err := json.Marshal(v)
	if err == nil {
		_, _ = g.conn.Write(append(b, '\n'))
	}
}

func msec(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func TestWhatAGuestDrawsByItselfIsNotTakenForTheAnswerToAKey(t *testing.T) {
	answers := map[string][]keyAnswer{
		"the key alone":               {{"draw", msec(12)}, {"draw", msec(14)}, {"key", 0}},
		"a blink before it":           {{"draw", msec(3)}, {"own", 0}, {"draw", msec(12)}, {"key", 0}},
		"two":                         {{"draw", msec(3)}, {"own", 0}, {"draw", msec(5)}, {"own", 0}, {"draw", msec(12)}, {"key", 0}},
		"a draw from before the key":  {{"draw", msec(-1)}, {"draw", msec(12)}, {"key", 0}},
		"and one of the same moment":  {{"draw", msec(-1)}, {"draw", 0}, {"key", 0}},
		"what comes after is no news": {{"draw", msec(12)}, {"key", 0}, {"draw", msec(20)}, {"own", 0}},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newKeyGuest(t, keyEvents, func(int) []keyAnswer { return answer })
				got, err := drive.KeyLatencies(t.Context(), drive.LatencyConfig{Keys: 3}, d)
				require.NoError(t, err)
				want := msec(12)
				if name == "and one of the same moment" {
					want = 0
				}
				require.Equal(t, []drive.Latencies{{Picture: []time.Duration{want, want, want}, Digest: []time.Duration{0, 0, 0}}}, got)
			})
		})
	}
}

func TestAKeyThatWasNotSeenIsCountedAndNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newKeyGuest(t, keyEvents, func(n int) []keyAnswer {
			switch n {
			case 2:
				return []keyAnswer{{"draw", msec(1)}, {"own", 0}} // lost
			case 3:
				return []keyAnswer{{"draw", msec(1)}, {"dropped", 0}, {"key", 0}}
			case 4:
				return []keyAnswer{{"draw", msec(1)}, {"own", 0}, {"key", 0}} // which draw was it?
			}
			return []keyAnswer{{"draw", msec(n)}, {"key", 0}}
		})
		var told []int
		got, err := drive.KeyLatencies(t.Context(), drive.LatencyConfig{Keys: 5, OnKeys: func(n int) { told = append(told, n) }}, d)
		require.NoError(t, err)
		require.Equal(t, []drive.Latencies{{
			Picture: []time.Duration{msec(1), msec(5)}, Digest: []time.Duration{0, 0}, Lost: 1, Unclear: 2,
		}}, got)
		require.Equal(t, []int{0, 1, 2, 3, 4, 5}, told)
	})
}

func TestAClientThatStandsStillIsNotPressedOnFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := func(int) []keyAnswer { return []keyAnswer{{"draw", msec(1)}, {"key", 0}} }
		ahead := newKeyGuest(t, keyEvents, func(int) []keyAnswer {
			return []keyAnswer{{"own", 0}, {"own", 0}, {"draw", msec(1)}, {"key", 0}}
		})
		_, err := drive.KeyLatencies(t.Context(), drive.LatencyConfig{Keys: 3}, newKeyGuest(t, keyEvents, good), ahead)
		require.ErrorContains(t, err, "another client showed the key in frame")
		require.Equal(t, verdict.Product, verdict.Of(err))
	})
}

func TestKeysThatCannotBeTimedAreAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := func(int) []keyAnswer { return nil }
		_, err := drive.KeyLatencies(t.Context(), drive.LatencyConfig{}, newKeyGuest(t, []string{control.EventSurfaceDrawn}, never))
		require.ErrorContains(t, err, control.EventDigestUpdated)
		require.Equal(t, verdict.Harness, verdict.Of(err))

		_, err = drive.KeyLatencies(t.Context(), drive.LatencyConfig{Key: "nokey"}, newKeyGuest(t, keyEvents, never))
		require.ErrorContains(t, err, "nokey")
		require.Equal(t, verdict.Harness, verdict.Of(err))

		_, err = drive.KeyLatencies(t.Context(), drive.LatencyConfig{}, newKeyGuest(t, keyEvents, never))
		require.ErrorContains(t, err, `awaited the first "a" in a digest, saw last digest frame `)
		var wait *drive.AwaitError
		require.ErrorAs(t, err, &wait, "the host may be to blame, and is looked at")
		require.Equal(t, verdict.Product, verdict.Of(err))

		over := errors.New("the test is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, over)
		defer cancel()
		_, err = drive.KeyLatencies(ctx, drive.LatencyConfig{}, newKeyGuest(t, keyEvents, never))
		require.ErrorIs(t, err, over)
	})
}
