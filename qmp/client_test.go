package qmp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/qmp"
	"github.com/spicelane/spicelane/qmp/qmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func boundary(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// connect shakes hands with a server that goes on with steps.
func connect(t *testing.T, cfg qmp.Config, steps ...qmptest.Step) *qmp.Client {
	t.Helper()
	steps = append([]qmptest.Step{qmptest.Greeting(), qmptest.Accept("qmp_capabilities")}, steps...)
	return newClient(t, qmptest.NewServer(t, steps...).Conn(), cfg)
}

func newClient(t *testing.T, conn net.Conn, cfg qmp.Config) *qmp.Client {
	t.Helper()
	c, err := qmp.NewClient(boundary(t), conn, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestACommandIsAnswered(t *testing.T) {
	t.Parallel()
	c := connect(t, qmp.Config{},
		qmptest.Expect("query-status", nil, `{"status":"internal-error","singlestep":false,"running":false}`),
		qmptest.Expect("set_password", map[string]any{"protocol": "spice", "password": "p", "connected": "keep"}, `{}`),
	)
	assert.Equal(t, "9.2.2", c.Version().String())
	assert.Equal(t, []string{"oob"}, c.Greeting().Capabilities)
	assert.True(t, c.AtLeast(9, 2))
	assert.True(t, c.AtLeast(8, 9))
	assert.False(t, c.AtLeast(9, 3))
	st, err := c.QueryStatus(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, qmp.Status{State: qmp.StateInternalError}, st)
	require.NoError(t, c.SetSPICETicket(boundary(t), "p"))
}

func TestARefusalIsATypedError(t *testing.T) {
	t.Parallel()
	c := connect(t, qmp.Config{},
		qmptest.Refuse("cont", "GenericError", "Resetting the Virtual Machine is required"),
		qmptest.Refuse("no-such", "CommandNotFound", "The command no-such has not been found"),
	)
	err := c.Cont(boundary(t))
	var refused *qmp.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, &qmp.Error{Command: "cont", Class: "GenericError", Desc: "Resetting the Virtual Machine is required"}, refused)
	assert.EqualError(t, err, "qmp: cont: Resetting the Virtual Machine is required")
	assert.EqualError(t, c.Do(boundary(t), "no-such", nil, nil), "qmp: no-such: The command no-such has not been found (CommandNotFound)")
}

// The events between the greeting and the handshake's answer, and among
// answers, are never taken for an answer.
func TestEventsAroundTheHandshakeShiftNoAnswer(t *testing.T) {
	t.Parallel()
	srv := qmptest.NewServer(t,
		qmptest.Greeting(),
		qmptest.Event("RESUME", ""),
		qmptest.Accept("qmp_capabilities"),
		qmptest.Event("STOP", ""),
		qmptest.Expect("query-status", nil, `{"status":"paused","running":false}`),
	)
	c := newClient(t, srv.Conn(), qmp.Config{})
	st, err := c.QueryStatus(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, qmp.StatePaused, st.State)
}

func TestCommandsUnderWayAtOnceEachGetTheirOwnAnswerInWhateverOrder(t *testing.T) {
	t.Parallel()
	const n = 50
	var steps []qmptest.Step
	for i := range n {
		steps = append(steps, qmptest.Hold(fmt.Sprintf("command-%d", i)))
	}
	// NB: Hold expects an order, so each is sent only once the one before is.
	sent := make([]chan struct{}, n)
	for i := range sent {
		sent[i] = make(chan struct{})
		steps = append(steps[:2*i+1], append([]qmptest.Step{qmptest.Do(func() { close(sent[i]) })}, steps[2*i+1:]...)...)
	}
	c := connect(t, qmp.Config{}, append(steps, qmptest.Release())...)

	var wg sync.WaitGroup
	for i := range n {
		if i > 0 {
			<-sent[i-1]
		}
		wg.Go(func() {
			name := fmt.Sprintf("command-%d", i)
			var got string
			assert.NoError(t, c.Do(boundary(t), name, nil, &got))
			assert.Equal(t, name, got)
		})
	}
	wg.Wait()
}

func TestACallThatGivesUpLeavesTheConnectionUsable(t *testing.T) {
	t.Parallel()
	why := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := make(chan struct{})
	c := connect(t, qmp.Config{},
		qmptest.Hold("query-block"),
		qmptest.Do(func() { cancel(why) }),
		qmptest.Await(gaveUp),
		qmptest.Release(), // an answer that nobody waits for
		qmptest.Accept("stop"),
	)
	_, err := c.Run(ctx, qmp.Command{Execute: "query-block"})
	require.ErrorIs(t, err, why)
	assert.Contains(t, err.Error(), "query-block")
	close(gaveUp)
	require.NoError(t, c.Stop(boundary(t)))
}

// A server that does not read must not hold up a caller beyond its context.
func TestACommandThatCannotBeSentEndsWithItsContext(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	c := connect(t, qmp.Config{}, qmptest.Await(over), qmptest.Accept("cont"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := c.Stop(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, c.Stop(ctx), context.DeadlineExceeded, "with a context that is over")
	close(over)
	require.NoError(t, c.Cont(boundary(t)), "not a byte was sent, so the connection is in step")
}

func TestEveryWaiterLearnsAtOnceThatQEMUIsGone(t *testing.T) {
	t.Parallel()
	c := connect(t, qmp.Config{}, qmptest.Hold("query-block"), qmptest.Event("SHUTDOWN", `{"guest":true,"reason":"guest-shutdown"}`), qmptest.Hangup())
	sub := c.Subscribe()
	_, err := c.Run(boundary(t), qmp.Command{Execute: "query-block"})
	var closed *qmp.ClosedError
	require.ErrorAs(t, err, &closed)
	require.ErrorIs(t, err, io.EOF)
	require.ErrorAs(t, c.Wait(), &closed)
	require.ErrorAs(t, c.Stop(boundary(t)), &closed)

	// What came before the end can still be read.
	ev, err := sub.Next(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, "SHUTDOWN", ev.Event)
	assert.Equal(t, "guest-shutdown", ev.Data["reason"])
	_, err = sub.Next(boundary(t))
	require.ErrorAs(t, err, &closed)
	_, err = c.Subscribe().Next(boundary(t))
	require.ErrorAs(t, err, &closed)
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Wait(), io.EOF, "the first reason stays")
}

func TestCloseEndsCallsAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	c := connect(t, qmp.Config{}, qmptest.Hold("query-block"), qmptest.Do(func() { close(held) }))
	errs := make(chan error, 1)
	go func() {
		_, err := c.Run(boundary(t), qmp.Command{Execute: "query-block"})
		errs <- err
	}()
	<-held
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-errs, qmp.ErrClosed)
	require.ErrorIs(t, c.Quit(boundary(t)), qmp.ErrClosed)
}

func TestQuitSucceedsWhenQEMUIsGoneBeforeItAnswers(t *testing.T) {
	t.Parallel()
	require.NoError(t, connect(t, qmp.Config{}, qmptest.Hold("quit"), qmptest.Hangup()).Quit(boundary(t)))
	require.NoError(t, connect(t, qmp.Config{}, qmptest.Accept("quit"), qmptest.Hangup()).Quit(boundary(t)))
}

func TestAHandshakeThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []qmptest.Step
		want  string
	}{
		{"hangs up", []qmptest.Step{qmptest.Hangup()}, "awaiting the greeting"},
		{"is no QMP", []qmptest.Step{qmptest.Raw("SSH-2.0-OpenSSH_9.2\r\n")}, "not a QMP message"},
		{"greets twice", []qmptest.Step{qmptest.Greeting(), qmptest.Greeting()}, "second greeting"},
		{"refuses", []qmptest.Step{qmptest.Greeting(), qmptest.Refuse("qmp_capabilities", "GenericError", "no")}, "qmp: qmp_capabilities: no"},
		{"does not understand", []qmptest.Step{
			qmptest.Greeting(), qmptest.Hold("qmp_capabilities"),
			qmptest.Raw(`{"error":{"class":"GenericError","desc":"JSON parse error"}}` + "\n"),
		}, "did not understand"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// NB: a script may be cut short by the client's going away, so
			// its faults are not this test's.
			srv := qmptest.NewServer(quiet{t}, tt.steps...)
			_, err := qmp.NewClient(boundary(t), srv.Conn(), qmp.Config{})
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
	t.Run("is taken by another client", func(t *testing.T) {
		t.Parallel()
		over := make(chan struct{})
		defer close(over)
		srv := qmptest.NewServer(t, qmptest.Await(over))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := qmp.NewClient(ctx, srv.Conn(), qmp.Config{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Contains(t, err.Error(), "another client")
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		_, err := qmp.Dial(boundary(t), "/nonexistent/qmp.sock", qmp.Config{})
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// A command used to wait for as long as its context said, which for a person at a
// terminal is for ever (issue 17, line 15).
func TestACommandThatQEMUDoesNotAnswerEndsWithoutADeadlineOfTheCallers(t *testing.T) {
	t.Parallel()
	c := connect(t, qmp.Config{Timeout: 50 * time.Millisecond}, qmptest.Hold("screendump"), qmptest.Accept("cont"))
	err := c.Do(context.Background(), "screendump", nil, nil)
	var silent *qmp.NoAnswerError
	require.ErrorAs(t, err, &silent)
	assert.EqualError(t, err, "qmp: screendump: no reply yet: QEMU did not answer within 50ms")
	require.NoError(t, c.Cont(boundary(t)), "the connection lives on")

	over := make(chan struct{})
	defer close(over)
	c = connect(t, qmp.Config{Timeout: 50 * time.Millisecond}, qmptest.Await(over))
	err = c.Stop(context.Background())
	require.ErrorAs(t, err, &silent, "and one that QEMU does not even read")
}

func TestASocketThatIsTakenIsNotAwaitedForEver(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "qmp")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer ln.Close()
	_, err = qmp.Dial(context.Background(), ln.Addr().String(), qmp.Config{Timeout: 50 * time.Millisecond})
	var silent *qmp.NoAnswerError
	require.ErrorAs(t, err, &silent)
	assert.ErrorContains(t, err, "is another client connected to this socket? QEMU serves one at a time")
	assert.ErrorContains(t, err, "QEMU did not greet within 50ms")
}

// quiet is a test whose server's faults do not count.
type quiet struct{ testing.TB }

func (quiet) Errorf(string, ...any) {}

func TestALineOverTheLimitEndsTheConnection(t *testing.T) {
	t.Parallel()
	srv := qmptest.NewServer(quiet{t}, qmptest.Greeting(), qmptest.Accept("qmp_capabilities"), qmptest.Hold("query-block"),
		qmptest.Raw(`{"return":"`+strings.Repeat("x", 5000)+`","id":"c2"}`+"\n"))
	c := newClient(t, srv.Conn(), qmp.Config{MaxLine: 4096})
	_, err := c.Run(boundary(t), qmp.Command{Execute: "query-block"})
	require.ErrorIs(t, err, qmp.ErrLineTooLong)
}

func TestASlowSubscriberLosesTheOldestEventsAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const n = 40
	start := make(chan struct{})
	steps := []qmptest.Step{qmptest.Await(start)}
	for i := range n {
		steps = append(steps, qmptest.Event("RTC_CHANGE", fmt.Sprintf(`{"offset":%d}`, i)), qmptest.Event("RESET", `{"guest":true}`))
	}
	c := connect(t, qmp.Config{}, append(steps, qmptest.Accept("stop"))...)
	slow, resets := c.SubscribeN(3, "RTC_CHANGE"), c.Subscribe("RESET")
	defer slow.Close()
	defer resets.Close()
	close(start)
	require.NoError(t, c.Stop(boundary(t)), "nobody waits for the slow one")

	assert.EqualValues(t, n-3, slow.Dropped())
	for i := n - 3; i < n; i++ {
		ev, err := slow.Next(boundary(t))
		require.NoError(t, err)
		assert.EqualValues(t, i, ev.Data["offset"])
	}
	for range n {
		ev, err := resets.Next(boundary(t))
		require.NoError(t, err)
		assert.Equal(t, "RESET", ev.Event)
	}
	assert.Zero(t, resets.Dropped())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := slow.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	slow.Close()
	slow.Close()
	_, err = slow.Next(boundary(t))
	require.ErrorIs(t, err, qmp.ErrClosed)
}

func TestFilesArePassedOverAUnixSocket(t *testing.T) {
	t.Parallel()
	f, err := os.CreateTemp(t.TempDir(), "state")
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("the very file")
	require.NoError(t, err)
	var got []string
	read := func(files []*os.File) {
		for _, f := range files {
			b := make([]byte, 100)
			n, _ := f.ReadAt(b, 0)
			got = append(got, string(b[:n]))
			f.Close()
		}
	}
	srv := qmptest.NewUnixServer(t, qmptest.Greeting(), qmptest.Accept("qmp_capabilities"),
		qmptest.Expect("getfd", map[string]any{"fdname": "state"}, `{}`), qmptest.Files(1, read),
		qmptest.Expect("add-fd", nil, `{"fdset-id":7,"fd":12}`), qmptest.Files(1, read),
		qmptest.Accept("stop"), qmptest.Files(0, read),
	)
	c := newClient(t, srv.Conn(), qmp.Config{})
	require.NoError(t, c.GetFD(boundary(t), "state", f))
	set, err := c.AddFD(boundary(t), f)
	require.NoError(t, err)
	assert.Equal(t, 7, set)
	require.NoError(t, c.Stop(boundary(t)))
	assert.Equal(t, []string{"the very file", "the very file"}, got)

	// Over anything else it is refused before a byte is sent.
	c = connect(t, qmp.Config{}, qmptest.Accept("stop"))
	require.ErrorContains(t, c.GetFD(boundary(t), "state", f), "unix socket only")
	require.NoError(t, c.Stop(boundary(t)))
}

func TestScreendumpFallsBackToPPM(t *testing.T) {
	t.Parallel()
	png := map[string]any{"filename": "/x/s", "format": "png"}
	ppm := map[string]any{"filename": "/x/s"}
	tests := []struct {
		name         string
		major, minor int
		steps        []qmptest.Step
		want         qmp.ImageFormat
	}{
		{"png", 7, 2, []qmptest.Step{qmptest.Expect("screendump", png, `{}`)}, qmp.PNG},
		{"crashes on png", 7, 1, []qmptest.Step{qmptest.Expect("screendump", ppm, `{}`)}, qmp.PPM},
		{"too old", 5, 2, []qmptest.Step{qmptest.Expect("screendump", ppm, `{}`)}, qmp.PPM},
		{"built without", 9, 0, []qmptest.Step{
			qmptest.Refuse("screendump", "GenericError", "Enable PNG support with libpng for screendump"),
			qmptest.Expect("screendump", ppm, `{}`),
		}, qmp.PPM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			steps := append([]qmptest.Step{qmptest.GreetingOf(tt.major, tt.minor), qmptest.Accept("qmp_capabilities")}, tt.steps...)
			c := newClient(t, qmptest.NewServer(t, steps...).Conn(), qmp.Config{})
			got, err := c.Screendump(boundary(t), "/x/s")
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	_, err := connect(t, qmp.Config{}).Screendump(boundary(t), "s.png")
	require.ErrorContains(t, err, "not an absolute path")
}

func TestSavingStateWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	f, err := os.CreateTemp(t.TempDir(), "state")
	require.NoError(t, err)
	defer f.Close()
	drop := func(files []*os.File) { files[0].Close() }
	before := []qmptest.Step{
		qmptest.Greeting(), qmptest.Accept("qmp_capabilities"), qmptest.Accept("migrate-set-capabilities"),
		qmptest.Accept("migrate-set-parameters"), qmptest.Accept("getfd"), qmptest.Files(1, drop),
		qmptest.Expect("migrate", map[string]any{"uri": "fd:state"}, `{}`),
		qmptest.Event("MIGRATION", `{"status":"setup"}`), qmptest.Event("MIGRATION", `{"status":"active"}`),
	}
	good := append(before[:len(before):len(before)], qmptest.Event("MIGRATION", `{"status":"completed"}`),
		qmptest.Expect("query-status", nil, `{"status":"finish-migrate","running":false}`),
		qmptest.Expect("query-status", nil, `{"status":"postmigrate","running":false}`))
	require.NoError(t, newClient(t, qmptest.NewUnixServer(t, good...).Conn(), qmp.Config{}).SaveState(boundary(t), f))

	bad := append(before[:len(before):len(before)], qmptest.Event("MIGRATION", `{"status":"failed"}`),
		qmptest.Expect("query-migrate", nil, `{"status":"failed","error-desc":"No space left on device"}`))
	err = newClient(t, qmptest.NewUnixServer(t, bad...).Conn(), qmp.Config{}).SaveState(boundary(t), f)
	require.EqualError(t, err, "qmp: migration failed: No space left on device")
}

// QEMU 11 refuses "fd:" for a file.
func TestANewQEMUSavesAndLoadsStateThroughASetOfFiles(t *testing.T) {
	t.Parallel()
	drop := func(files []*os.File) { files[0].Close() }
	steps := func(command, uri string, more ...qmptest.Step) []qmptest.Step {
		all := []qmptest.Step{qmptest.GreetingOf(11, 1), qmptest.Accept("qmp_capabilities"), qmptest.Accept("migrate-set-capabilities")}
		if command == "migrate" {
			all = append(all, qmptest.Accept("migrate-set-parameters"))
		}
		all = append(all, qmptest.Expect("add-fd", nil, `{"fdset-id":7,"fd":21}`), qmptest.Files(1, drop),
			qmptest.Expect(command, map[string]any{"uri": uri}, `{}`), qmptest.Event("MIGRATION", `{"status":"completed"}`),
			qmptest.Expect("remove-fd", map[string]any{"fdset-id": 7.0}, `{}`))
		return append(all, more...)
	}
	path := filepath.Join(t.TempDir(), "state")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	save := steps("migrate", "file:/dev/fdset/7,offset=0", qmptest.Expect("query-status", nil, `{"status":"postmigrate","running":false}`))
	require.NoError(t, newClient(t, qmptest.NewUnixServer(t, save...).Conn(), qmp.Config{}).SaveState(boundary(t), f))
	from, err := os.Open(path)
	require.NoError(t, err)
	defer from.Close()
	_, err = from.Seek(4096, io.SeekStart)
	require.NoError(t, err)
	load := steps("migrate-incoming", "file:/dev/fdset/7,offset=4096")
	require.NoError(t, newClient(t, qmptest.NewUnixServer(t, load...).Conn(), qmp.Config{}).LoadState(boundary(t), from))
}

func TestTheTranscriptHasEveryLineAndNoSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := connect(t, qmp.Config{Transcript: &out},
		qmptest.Hold("set_password"), qmptest.Event("STOP", ""), qmptest.Release(),
		qmptest.Accept("object-add"),
		qmptest.Expect("qom-get", nil, `"hush-3"`),
		qmptest.Expect("human-monitor-command", nil, `""`),
		qmptest.Refuse("cont", "GenericError", "no"),
	)
	ctx := boundary(t)
	require.NoError(t, c.SetSPICETicket(ctx, "hush-1"))
	require.NoError(t, c.Do(ctx, "object-add", map[string]any{"qom-type": "secret", "id": "s", "data": "hush-2"}, nil))
	var data string
	require.NoError(t, c.Do(ctx, "qom-get", map[string]any{"path": "/objects/s", "property": "data"}, &data))
	assert.Equal(t, "hush-3", data, "the caller gets it")
	_, err := c.HumanMonitor(ctx, "set_password spice hush-4")
	require.NoError(t, err)
	require.Error(t, c.Cont(ctx))
	require.NoError(t, c.Close())

	assert.NotContains(t, out.String(), "hush")
	var dirs, names []string
	for line := range strings.Lines(out.String()) {
		var l struct {
			T   *int64 `json:"t_us"`
			Dir string `json:"dir"`
			Msg struct {
				Execute string `json:"execute"`
				Event   string `json:"event"`
			} `json:"msg"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		require.NotNil(t, l.T)
		dirs = append(dirs, l.Dir)
		names = append(names, l.Msg.Execute+l.Msg.Event)
	}
	assert.Equal(t, "in out in out in in out in out in out in out in", strings.Join(dirs, " "))
	assert.Equal(t, []string{"", "qmp_capabilities", "", "set_password", "STOP", "", "object-add", "", "qom-get", "", "human-monitor-command", "", "cont", ""}, names)
}

func TestATranscriptThatCannotBeWrittenIsNoReasonToStop(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	r.Close()
	c := connect(t, qmp.Config{Transcript: w}, qmptest.Accept("stop"))
	require.NoError(t, c.Stop(boundary(t)))
}

func TestRedactCommandBlotsSecretsAndNothingElse(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`{"id":"c1","execute":"stop"}`, `{"execute":"stop","id":"c1"}`},
		{`{"execute":"set_password","arguments":{"protocol":"spice","password":"x"}}`, `{"arguments":{"password":"(redacted)","protocol":"spice"},"execute":"set_password"}`},
		{`{"execute":"object-add","arguments":{"qom-type":"secret","id":"s","data":"x"}}`, `{"arguments":{"data":"(redacted)","id":"s","qom-type":"secret"},"execute":"object-add"}`},
		{`{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"a"}]}}`, `{"arguments":{"keys":[{"data":"a","type":"qcode"}]},"execute":"send-key"}`},
		{`{"execute":"qom-set","arguments":{"path":"/o","property":"data","value":"x"}}`, `{"arguments":{"path":"/o","property":"data","value":"(redacted)"},"execute":"qom-set"}`},
		{`{"execute":"qom-set","arguments":{"path":"/o","property":"label","value":"x"}}`, `{"arguments":{"path":"/o","property":"label","value":"x"},"execute":"qom-set"}`},
		{`{"execute":"human-monitor-command","arguments":{"command-line":"info mtree"}}`, `{"arguments":{"command-line":"info mtree"},"execute":"human-monitor-command"}`},
		{`{"execute":"human-monitor-command","arguments":{"command-line":"object_add secret,id=a,data=x"}}`, `{"arguments":{"command-line":"(redacted)"},"execute":"human-monitor-command"}`},
		{`{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":1152921504606846977}}`, `{"arguments":{"max-bandwidth":1152921504606846977},"execute":"migrate-set-parameters"}`},
		{`not json`, `"(redacted)"`},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, string(qmp.RedactCommand([]byte(tt.in))), tt.in)
	}
}

// QEMU takes a longer ticket without a word, and spice-server cuts it.
func TestATicketThatSpiceServerWouldCutIsNotSent(t *testing.T) {
	t.Parallel()
	c := connect(t, qmp.Config{})
	err := c.SetSPICETicket(boundary(t), strings.Repeat("x", 60))
	assert.EqualError(t, err, "qmp: set_password: the ticket has 60 bytes, and spice-server keeps only the first 59")
}

func TestAConnectionIDOfTheUpperHalfIsReadAsQEMUWritesIt(t *testing.T) {
	for text, want := range map[string]uint32{"-575939110": 3719028186, "7": 7, "4294967295": 1<<32 - 1, "-1": 1<<32 - 1} {
		var c qmp.SPICEChannel
		require.NoError(t, json.Unmarshal([]byte(`{"connection-id":`+text+`,"channel-type":1,"channel-id":2,"tls":true,"host":"h","port":"p","family":"unix"}`), &c))
		assert.Equal(t, qmp.SPICEChannel{ConnectionID: want, Type: 1, ID: 2, TLS: true, Host: "h", Port: "p", Family: "unix"}, c)
	}
}
