package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/stretchr/testify/require"
)

// Each condition is awaited before it holds; then it is made to hold.
func TestAwaitEndsWhenTheConditionHolds(t *testing.T) {
	c := controltest.NewFull(320, 240)
	c.SetAgent(false)
	path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)

	corner := control.Area{Rect: &control.Rect{X: 0, Y: 0, Width: 4, Height: 4}}
	black := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		black.Pix[4*i+3] = 255
	}
	sum := sha256.Sum256(black.Pix)
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, black))
	paint := func(v byte) {
		c.Draw(0, 0, image.Rect(0, 0, 4, 4), func(pix []byte, stride int) {
			for y := range 4 {
				for i := range 16 {
					pix[y*stride+i] = v
				}
			}
		})
	}
	truth, x := true, 7
	for _, tc := range []struct {
		name string
		cond control.Condition
		make func()
		saw  string // what is seen when it holds
	}{
		{"surface", control.Condition{Surface: &control.SurfaceCondition{Width: 640, Height: 480}},
			func() { c.AddSurface(0, 0, 640, 480) }, "surface 0 on channel 0 of 640x480"},
		{"another surface", control.Condition{Surface: &control.SurfaceCondition{SurfaceID: new(uint32(3))}},
			func() { c.AddSurface(0, 3, 4, 4) }, "surface 3 on channel 0 of 4x4"},
		{"agent", control.Condition{Agent: &truth}, func() { c.SetAgent(true) }, "the agent connected"},
		{"region by hash", control.Condition{Region: &control.RegionCondition{Area: corner, SHA256: fmt.Sprintf("%x", sum)}},
			func() { paint(0) }, fmt.Sprintf("4x4 pixels with sha256 %x", sum)},
		{"region differs", control.Condition{Region: &control.RegionCondition{Area: corner, PNG: file.Bytes(), Differs: true}},
			func() { paint(9) }, "16 pixels differ; at (0,0) the client has #090909, the given picture #000000"},
		{"region within a tolerance", control.Condition{Region: &control.RegionCondition{Area: corner, PNG: file.Bytes(), Tolerance: 5}},
			func() { paint(5) }, "no pixel differs"},
		{"cursor", control.Condition{Cursor: &control.CursorCondition{Visible: &truth, X: &x}},
			func() { c.SetCursor(server.Cursor{Visible: true, X: 7, Y: 8}) }, "visible at 7,8"},
		{"digest", control.Condition{Digest: &control.DigestCondition{MinCounter: new(uint32(40)), Event: "keypress",
			Fields: map[string]json.RawMessage{"unicode": json.RawMessage(`"\r"`)}, AfterMS: new(uint64(138549)), Hashes: map[string]uint32{"keypress": 41}}},
			func() { controltest.DrawDigest(c.Console, 640, 480, 41, 1) }, ""},
		{"all", control.Condition{All: []control.Condition{
			{Surface: &control.SurfaceCondition{Width: 100}}, {Any: []control.Condition{{Agent: new(bool)}, {Agent: &truth}}}}},
			func() { c.AddSurface(0, 0, 100, 100) }, "surface 0 on channel 0 of 100x100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// It does not hold yet.
			_, err := d.Await(ctx, control.AwaitParams{Condition: tc.cond, TimeoutMS: new(uint32)})
			require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeTimeout})
			require.ErrorContains(t, err, "last seen: ")

			type outcome struct {
				res control.AwaitResult
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				res, err := d.Await(ctx, control.AwaitParams{Condition: tc.cond, TimeoutMS: new(uint32(15_000))})
				done <- outcome{res, err}
			}()
			// Other requests are answered meanwhile.
			_, err = d.Status(ctx)
			require.NoError(t, err)
			select {
			case out := <-done:
				t.Fatalf("it ended before its time: %+v", out)
			default:
			}
			tc.make()
			out := <-done
			require.NoError(t, out.err)
			require.True(t, out.res.Seen[0].Met)
			if tc.saw != "" {
				require.Equal(t, tc.saw, out.res.Seen[0].Saw)
			}
		})
	}
}

// Time is the bubble's: a stall of the host is none of the test's.
//
//	0     20    40  …  300                    500 ms
//	draw  draw  draw   the last   200 ms of quiet
func TestAwaitStableWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(32, 32)
		draw := func(v byte) {
			c.Draw(0, 0, image.Rect(0, 0, 1, 1), func(pix []byte, _ int) { pix[0] = v })
		}
		began := time.Now()
		draw(1)
		done := make(chan time.Duration, 1)
		go func() {
			a := server.Awaiter{Console: c}
			_, err := a.Await(t.Context(), stableFor(200, 10_000))
			if err != nil {
				t.Error(err)
			}
			done <- time.Since(began)
		}()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range 15 {
			<-tick.C
			draw(byte(i + 2))
		}
		require.Equal(t, 500*time.Millisecond, <-done)
	})
}

// stableFor returns a wait for ms of quiet that ends after timeout ms.
func stableFor(ms, timeout uint32) control.AwaitParams {
	return control.AwaitParams{Condition: control.Condition{Stable: &control.StableCondition{MS: ms}}, TimeoutMS: &timeout}
}

func TestAwaitStableCountsTheQuietBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(32, 32)
		c.Draw(0, 0, image.Rect(0, 0, 1, 1), func(pix []byte, _ int) { pix[0] = 1 })
		quiet := time.NewTimer(60 * time.Millisecond)
		<-quiet.C
		a := server.Awaiter{Console: c}
		_, err := a.Await(t.Context(), stableFor(60, 0))
		require.NoError(t, err)
		_, err = a.Await(t.Context(), stableFor(61, 0))
		require.ErrorIs(t, err, &control.Error{Code: control.CodeTimeout})
	})
}

func TestAwaitSaysAtOnceThatTheSessionIsOver(t *testing.T) {
	c := controltest.NewFull(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	done := make(chan error, 1)
	go func() {
		_, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{Surface: &control.SurfaceCondition{Width: 1}}})
		done <- err
	}()
	c.SetConnected(false, "display: unexpected EOF")
	err := <-done
	require.ErrorIs(t, err, &control.Error{Code: control.CodeDisconnected})
	require.ErrorContains(t, err, "display: unexpected EOF")
	require.ErrorContains(t, err, "last seen: surface 0 on channel 0 of 8x8")
	var e *control.Error
	require.ErrorAs(t, err, &e)
	var res control.AwaitResult
	require.NoError(t, json.Unmarshal(e.Data, &res))
	require.Equal(t, []control.ConditionResult{{Condition: "a surface of 1x0", Saw: "surface 0 on channel 0 of 8x8"}}, res.Seen)
}

func TestAwaitRefusesConditionsThatMeanNothing(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	var dot bytes.Buffer
	require.NoError(t, png.Encode(&dot, image.NewGray(image.Rect(0, 0, 1, 1))))
	ofPNG, err := json.Marshal(dot.Bytes())
	require.NoError(t, err)
	ofSum := fmt.Sprintf(`"sha256":"%x"`, sha256.Sum256(nil))
	for _, params := range []string{
		`{"region":{` + ofSum + `,"tolerance":1}}`, `{"region":{` + ofSum + `,"max_pixels":1}}`,
		`{"region":{` + ofSum + `,"masks":[{"x":0,"y":0,"width":1,"height":1}]}}`,
		`{"region":{` + ofSum + `,"rect":{"x":0,"y":0,"width":0,"height":1}}}`,
		`{"region":{"differs":true,"png":` + string(ofPNG) + `,"rect":{"x":0,"y":0,"width":2,"height":1}}}`,
		`{"region":{"png":` + string(ofPNG) + `,"max_pixels":-1}}`, `{"stable":{"ms":5,"rect":{"x":0,"y":0,"width":-1,"height":-1}}}`,
		`{}`, `{"timeout_ms":5}`, `{"agent":true,"stable":{"ms":5}}`, `{"agnet":true}`, `{"surface":{"widht":5}}`, `{"all":[]}`, `{"any":[{}]}`,
		`{"region":{}}`, `{"region":{"sha256":"00"}}`, `{"region":{"png":"AAAA"}}`, `{"digest":{"fields":{"row":1}}}`, `{"digest":{}}`,
		`{"cursor":{"visible":true}}`, `{"agent":1}`, `{"agent":true,"timeout_ms":-1}`,
	} {
		err := d.Call(controltest.Within(t), control.MethodAwait, json.RawMessage(params), nil)
		require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeBadParams}, params)
	}
}

func TestAnAwaitEndsWithItsClient(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	r := controltest.DialRaw(t, path)
	r.Hello()
	r.Send(`{"id":1,"method":"await","params":{"agent":true,"timeout_ms":3600000}}`,
		`{"id":1,"method":"await","params":{"agent":true}}`)
	require.Contains(t, r.Line(), `still in flight`)
	r.Conn.Close()
	controltest.Dial(t, path) // is served when the wait has ended
}

// A surface that is taken away at the end, as a change of the mode does, hides
// nothing of what was wrong with it.
func TestAWaitThatFailsKeepsTheLastThingItSaw(t *testing.T) {
	black := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		black.Pix[4*i+3] = 255
	}
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, black))
	for _, tc := range []struct {
		name string
		cond control.Condition
		last string
	}{
		{"region", control.Condition{Region: &control.RegionCondition{Area: control.Area{Rect: &control.Rect{Width: 4, Height: 4}}, PNG: file.Bytes()}},
			"the region 4x4 at 0,0 equal to the given picture (last seen: 16 pixels differ; at (0,0) the client has #090909, the given picture #000000; then there is no surface at this moment: the guest is changing its mode"},
		{"surface", control.Condition{Surface: &control.SurfaceCondition{Width: 7}},
			"a surface of 7x0 (last seen: surface 0 on channel 0 of 320x240; then there is no surface at this moment: the guest is changing its mode"},
		{"stable", control.Condition{Stable: &control.StableCondition{MS: 3_600_000}},
			"; then there is no surface at this moment: the guest is changing its mode"},
		{"digest", control.Condition{Digest: &control.DigestCondition{MinCounter: new(uint32(7))}},
			"a digest with frame counter at least 7 (last seen: no digest, only a code that could not be read, 1 times)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controltest.NewFull(320, 240)
				controltest.DrawDigest(c.Console, 320, 240, 5, 2)
				c.Draw(0, 0, image.Rect(0, 0, 4, 4), func(pix []byte, stride int) {
					for y := range 4 {
						for i := range 16 {
							pix[y*stride+i] = 9
						}
					}
				})
				reader := &server.DigestReader{Console: c, Scan: controltest.Scan}
				digests := reader.Watch(nil)
				defer digests.Close()
				a := server.Awaiter{Console: c, Digests: func() *server.DigestWatcher { return digests }}
				done := make(chan error, 1)
				go func() {
					_, err := a.Await(t.Context(), control.AwaitParams{Condition: tc.cond, TimeoutMS: new(uint32(1000))})
					done <- err
				}()
				synctest.Wait() // it has looked
				c.RemoveSurfaces()
				err := <-done
				require.ErrorIs(t, err, &control.Error{Code: control.CodeTimeout})
				require.ErrorContains(t, err, tc.last)
			})
		})
	}
}

func TestADigestThatIsNoLongerOnTheScreenMeetsNoCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(320, 240)
		r := controltest.RawOn(t, controltest.Pipe(t, server.Config{Console: c, Scan: controltest.Scan}))
		r.Hello()
		await := func(timeout int) string {
			r.Send(fmt.Sprintf(`{"id":1,"method":"await","params":{"digest":{"min_counter":5},"timeout_ms":%d}}`, timeout))
			return r.Line()
		}
		controltest.DrawDigest(c, 320, 240, 5, 1)
		require.Contains(t, await(1000), `"ok":true`)
		controltest.DrawDigest(c, 320, 240, 0, 0) // the guest is reset
		synctest.Wait()
		require.Contains(t, await(0), `last seen: no digest`)
		controltest.DrawDigest(c, 320, 240, 5, 1)
		require.Contains(t, await(1000), `"ok":true`, "the same counter again")
		c.RemoveSurfaces()
		synctest.Wait()
		require.Contains(t, await(0), `last seen: no digest`)
		c.AddSurface(0, 0, 320, 240)
		controltest.DrawDigest(c, 320, 240, 5, 1)
		require.Contains(t, await(1000), `"ok":true`, "the same pixels again")
	})
}

func TestTheFirstAwaitOfADigestSeesTheOneOnTheScreenThoughItChecksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(320, 240)
		controltest.DrawDigest(c, 320, 240, 5, 1)
		r := controltest.RawOn(t, controltest.Pipe(t, server.Config{Console: c, Scan: controltest.Scan}))
		r.Hello()
		r.Send(`{"id":1,"method":"await","params":{"digest":{"min_counter":5},"timeout_ms":0}}`)
		require.Contains(t, r.Line(), `"ok":true`)
	})
}
