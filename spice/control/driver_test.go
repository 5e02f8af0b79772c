package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// scripted answers a driver line by line: what it reads is passed to the
// function and what that returns is written, nothing if it is empty.
func scripted(t *testing.T, answer func(req control.Request) string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		buf := make([]byte, 1<<16)
		for {
			n, err := theirs.Read(buf)
			if err != nil {
				return
			}
			req, err := server.ParseRequest(buf[:n-1])
			if err != nil {
				t.Errorf("the driver sent %s: %v", buf[:n], err)
				return
			}
			if s := answer(req); s != "" {
				if _, err := io.WriteString(theirs, s+"\n"); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() { ours.Close(); <-done })
	return ours
}

// ryll12 answers as ryll does: protocol 1.2 and nothing more.
func ryll12(then func(req control.Request) string) func(control.Request) string {
	return func(req control.Request) string {
		if req.Method == control.MethodHello {
			return `{"id":` + string(req.ID) + `,"ok":true,"result":{"server_name":"ryll","protocol_version":"1.2","supported_methods":["hello","status","send_key","paste","screenshot","subscribe","unsubscribe"],"supported_events":["latency","agent_connected","paste_completed","paste_failed","dropped","surface_drawn","digest_updated"]}}`
		}
		return then(req)
	}
}

func TestTheDriverNeedsOnlyProtocol12(t *testing.T) {
	conn := scripted(t, ryll12(func(req control.Request) string {
		switch req.Method {
		case control.MethodStatus:
			return `{"id":` + string(req.ID) + `,"ok":true,"result":{"spice_connected":true,"agent_connected":false,"surfaces":[{"channel_id":1,"surface_id":0,"width":1024,"height":768}],"new_field":1}}`
		case control.MethodSubscribe:
			return `{"id":` + string(req.ID) + `,"ok":true,"result":{"subscribed":["digest_updated"]}}` + "\n" +
				`{"event":"digest_updated","data":{"events":[{"line_rendered":{"row":0,"timestamp_ms":138550}}],"frame_counter":281,"framebuffer_hash":4022250974,"wallclock_us":1765432100000000}}`
		case control.MethodUnsubscribe:
			return ""
		default:
			t.Errorf("the driver used %s", req.Method)
			return ""
		}
	}))
	ctx := controltest.Within(t)
	d, err := control.DriverConfig{}.Hello(ctx, conn)
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, "ryll", d.Server().ServerName)
	require.False(t, d.Supports(control.MethodDigest))
	st, err := d.Status(ctx)
	require.NoError(t, err)
	require.Nil(t, st.Surfaces[0].Trusted, "ryll does not say")
	require.Equal(t, 1024, st.Surfaces[0].Width)
	dig, err := d.Digest(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 281, dig.FrameCounter)
	require.EqualValues(t, 4022250974, dig.FramebufferHash)
}

// refusals is a log handler that hears when a client is refused.
type refusals struct {
	slog.Handler
	each chan struct{}
}

func (refusals) Enabled(context.Context, slog.Level) bool { return true }

func (r refusals) Handle(_ context.Context, rec slog.Record) error {
	if rec.Level == slog.LevelWarn {
		r.each <- struct{}{}
	}
	return nil
}

func TestAServerThatIsServingAnotherIsBusy(t *testing.T) {
	ctx, enough := context.WithCancelCause(t.Context())
	refused := refusals{nil, make(chan struct{}, 100)}
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8), Logger: slog.New(refused)})
	first := controltest.Dial(t, path)
	_, err := control.Dial(controltest.Within(t), path)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBusy})
	require.EqualError(t, err, "control: hello: busy: another client is connected")
	<-refused.each

	cause := errors.New("enough")
	go func() {
		<-refused.each
		<-refused.each // the second time it has the first answer
		enough(cause)
	}()
	_, err = control.DriverConfig{}.DialWait(ctx, path)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBusy})
	require.ErrorIs(t, err, cause)

	first.Close()
	_, err = control.Dial(controltest.Within(t), path)
	require.NoError(t, err, "a client that has gone is not in the way")
}

func TestAnotherMajorVersionIsAnError(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	_, err := control.DriverConfig{Version: "2.0"}.Dial(controltest.Within(t), path)
	require.ErrorIs(t, err, &control.Error{Method: "hello", Code: control.CodeVersionMismatch})
}

func TestACallEndsWithItsContext(t *testing.T) {
	conn := scripted(t, ryll12(func(req control.Request) string {
		if req.Method == control.MethodStatus {
			return "" // never
		}
		return `{"id":` + string(req.ID) + `,"ok":true,"result":{}}`
	}))
	d, err := control.DriverConfig{}.Hello(controltest.Within(t), conn)
	require.NoError(t, err)
	defer d.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	_, err = d.Status(ctx)
	require.ErrorIs(t, err, cause)
	ctx, cancel2 := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel2()
	_, err = d.Status(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, d.SendKey(controltest.Within(t), control.KeyEnter, control.Press), "the connection is as good as before")
}

func TestTheEndOfTheConnectionEndsEveryCall(t *testing.T) {
	conn := scripted(t, ryll12(func(control.Request) string { return "" }))
	d, err := control.DriverConfig{}.Hello(controltest.Within(t), conn)
	require.NoError(t, err)
	got := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := d.Status(controltest.Within(t))
			got <- err
		}()
	}
	require.NoError(t, d.Close())
	for range 2 {
		require.ErrorIs(t, <-got, control.ErrDriverClosed)
	}
	require.NoError(t, d.Close())
}

func TestWhatIsNoProtocolEndsTheDriverWithTheLine(t *testing.T) {
	conn := scripted(t, func(control.Request) string { return "HTTP/1.1 400 Bad Request" })
	_, err := control.DriverConfig{}.Hello(controltest.Within(t), conn)
	require.ErrorContains(t, err, "not protocol: HTTP/1.1 400 Bad Request")
}

func TestASubscriptionKeepsTheNewestAndCountsTheRest(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	sub, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	require.NoError(t, err)
	const n = 10_000
	for i := range n {
		c.Notify(server.Drawn{Surface: uint32(i), At: time.Now()})
	}
	// Wait until all of it has been through the socket.
	_, err = d.Status(ctx)
	require.NoError(t, err)
	seen, last := uint64(0), uint32(0)
	for last != n-1 {
		ev, err := sub.Next(ctx)
		require.NoError(t, err)
		if ev.Name == control.EventDropped {
			continue
		}
		var data control.SurfaceDrawnData
		require.NoError(t, ev.Decode(&data))
		require.True(t, seen == 0 || data.SurfaceID > last, "%d after %d", data.SurfaceID, last)
		last = data.SurfaceID
		seen++
	}
	for seen+sub.Dropped() < n {
		_, err := sub.Next(ctx) // the count of what the server dropped comes last
		require.NoError(t, err)
	}
	require.EqualValues(t, n, seen+sub.Dropped())
}

func TestSubscriptionsOfOneDriverDoNotEndEachOther(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	a, err := d.Subscribe(ctx, control.EventLatency)
	require.NoError(t, err)
	b, err := d.Subscribe(ctx, control.EventLatency, control.EventSurfaceDrawn)
	require.NoError(t, err)
	b.Close()
	b.Close()
	_, err = d.Status(ctx)
	require.NoError(t, err)
	c.Notify(server.Latency{Interval: time.Millisecond})
	_, err = a.Next(ctx)
	require.NoError(t, err)
	_, err = b.Next(ctx)
	require.Error(t, err)
	_, err = d.Subscribe(ctx, "no_such_event")
	require.ErrorIs(t, err, &control.Error{Method: "subscribe", Code: control.CodeBadParams})
}

func TestAChordIsReleasedInTheOppositeOrder(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	keys, err := control.ParseKey("Ctrl+Alt+Delete")
	require.NoError(t, err)
	require.NoError(t, d.Chord(controltest.Within(t), keys...))
	require.Equal(t, []controltest.Key{
		{Code: 0x1d, Down: true}, {Code: 0x38, Down: true}, {Code: 0xe053, Down: true},
		{Code: 0xe053}, {Code: 0x38}, {Code: 0x1d},
	}, c.Keys())
}

// A client that was stopped takes requests and answers none.
func TestAChordEndsThoughNobodyAnswersItsReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ups atomic.Int32
		conn := scripted(t, ryll12(func(req control.Request) string {
			if strings.Contains(string(req.Params), `"up"`) {
				ups.Add(1)
				return ""
			}
			return `{"id":` + string(req.ID) + `,"ok":true,"result":{}}`
		}))
		d, err := control.DriverConfig{}.Hello(t.Context(), conn)
		require.NoError(t, err)
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- d.Chord(ctx, control.KeyCapsLock, control.KeyEnter) }()
		select {
		case err := <-done:
			require.ErrorIs(t, err, context.DeadlineExceeded)
		case <-time.After(time.Minute):
			t.Fatal("it waits for ever")
		}
		require.EqualValues(t, 2, ups.Load(), "both keys are released when it goes on")
	})
}

// lateDeadlines is a connection on which setting a deadline in the past takes until
// release is closed, and a write waits for that to have begun if slow is set.
type lateDeadlines struct {
	net.Conn
	slow             atomic.Bool
	entered, release chan struct{}
}

func (c *lateDeadlines) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() {
		close(c.entered)
		<-c.release
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *lateDeadlines) Write(p []byte) (int, error) {
	if c.slow.Load() {
		<-c.entered
	}
	return c.Conn.Write(p)
}

// A context ends while its request is written. The request gets through all the
// same, and the deadline that was to interrupt it arrives late.
func TestAContextThatEndsDuringAWriteDoesNotEndTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &lateDeadlines{entered: make(chan struct{}), release: make(chan struct{})}
		conn.Conn = scripted(t, ryll12(func(req control.Request) string {
			return `{"id":` + string(req.ID) + `,"ok":true,"result":{}}`
		}))
		d, err := control.DriverConfig{}.Hello(t.Context(), conn)
		require.NoError(t, err)
		defer d.Close()
		conn.slow.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.SendKey(ctx, control.KeyEnter, control.Press) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(conn.release)
		<-done // answered or cancelled, whichever was first
		synctest.Wait()
		conn.slow.Store(false)
		require.NoError(t, d.SendKey(t.Context(), control.KeyEnter, control.Press))
	})
}

// An answer to no request means that the server has lost count: the next answer could belong to any
// request. An earlier version dropped it, and the caller waited until its context ended, without a
// reason.
func TestAnAnswerWithAnUnknownIDEndsTheDriverWithThoseWords(t *testing.T) {
	for _, tc := range []struct{ name, answer, want string }{
		{"another number", `{"id":99,"ok":true,"result":{}}`, "control: the server sent an answer with an unknown id: 99"},
		{"the number as a string", `{"id":"2","ok":true,"result":{}}`, `control: the server sent an answer with an unknown id: "2"`},
		{"an error", `{"id":0,"ok":false,"error":{"code":"internal_error","message":"lost"}}`, "control: the server sent an answer with an unknown id: 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := scripted(t, ryll12(func(control.Request) string { return tc.answer }))
			d, err := control.DriverConfig{}.Hello(controltest.Within(t), conn)
			require.NoError(t, err)
			defer d.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err = d.Status(ctx)
			require.EqualError(t, d.Err(), tc.want)
			require.ErrorIs(t, err, d.Err())
		})
	}
}

func TestASecondAnswerToOneRequestEndsTheDriver(t *testing.T) {
	conn := scripted(t, ryll12(func(req control.Request) string {
		answer := `{"id":` + string(req.ID) + `,"ok":true,"result":{}}`
		return answer + "\n" + answer
	}))
	d, err := control.DriverConfig{}.Hello(controltest.Within(t), conn)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.SendKey(controltest.Within(t), control.KeyEnter, control.Press))
	select {
	case <-d.Done():
	case <-controltest.Within(t).Done():
		t.Fatal("the driver goes on")
	}
	require.EqualError(t, d.Err(), "control: the server sent an answer with an unknown id: 2")
}

// A call that was given up leaves an id that is known.
func TestTheLateAnswerToACallThatWasGivenUpIsNoMistake(t *testing.T) {
	ctx, giveUp := context.WithCancel(t.Context())
	late := make(chan string, 1)
	conn := scripted(t, ryll12(func(req control.Request) string {
		answer := `{"id":` + string(req.ID) + `,"ok":true,"result":{}}`
		if req.Method == control.MethodStatus {
			late <- answer
			giveUp()
			return ""
		}
		return <-late + "\n" + answer
	}))
	d, err := control.DriverConfig{}.Hello(controltest.Within(t), conn)
	require.NoError(t, err)
	defer d.Close()
	_, err = d.Status(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, d.SendKey(controltest.Within(t), control.KeyEnter, control.Press))
}
