package scenario

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/wire"
)

// visitors is how many further clients connect, one after the other.
const visitors = 4

// Reconnect demands that sessions can be opened again and again. Further clients connect with
// separate files, see what QEMU shows, reach the guest and leave, while the lane's client stays; a
// lane for a single client has none of them. Then the lane's client itself leaves and comes back.
func Reconnect(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	r.hold(s)
	guests := visitors
	if !lane.SeveralClients() {
		r.left("further clients beside the lane's", "the lane is for a single one (Config.SingleClient or Config.Takeover)")
		guests = 0
	}
	for i := range guests {
		c := r.dial(nil)
		r.must(r.samePicture(c), "visitor ", i)
		r.must(c.Key(r.ctx, keyR, true))
		awaitA(r, s, fmt.Sprintf("the key of visitor %d going down", i), func(e digest.Scancode) bool { return e.Code == keyR && e.State == digest.KeyDown })
		r.must(c.Key(r.ctx, keyR, false))
		awaitA(r, s, fmt.Sprintf("the key of visitor %d going up", i), func(e digest.Scancode) bool { return e.Code == keyR && e.State == digest.KeyUp })
		r.must(c.Close())
		r.must(c.Wait())
	}
	r.understood()
	r.must(lane.AwaitScreensMatch(r.ctx))

	if !r.offers("a client that comes back", control.MethodDisconnect, control.MethodReconnect) {
		return
	}
	agent := r.understood().AgentConnected
	for range visitors {
		r.must(r.client.Disconnect(r.ctx))
		st, err := r.client.Status(r.ctx)
		r.must(err)
		r.want(!st.SPICEConnected, "the client was told to disconnect, and says that it is connected")
		r.must(r.comeBack())
		r.must(lane.AwaitScreensMatch(r.ctx))
		r.down(s, keyR)
		r.up(s, keyR)
		st = r.understood()
		r.want(st.AgentConnected == agent, "the agent was connected: %t; after the client has come back: %t", agent, st.AgentConnected)
	}
}

const keyR = 0x13

// dial opens another session with the lane's console, on the path of the lane's client. with, if
// not nil, may change the configuration.
func (r *run) dial(with func(*spice.Config)) *spice.Client {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	f, err := r.lane.VV(ctx)
	r.must(err)
	cfg := spice.FromVV(f)
	if with != nil {
		with(&cfg)
	}
	var c *spice.Client
	err = r.onceFree(ctx, func() error {
		c, err = spice.Dial(ctx, cfg)
		return err
	})
	if err != nil {
		err = &verdict.Error{Verdict: verdict.Product, Op: "another client", Err: err}
	}
	r.must(err)
	r.later(func() { c.Close() })
	return c
}

// comeBack makes the lane's client connect again.
func (r *run) comeBack() error {
	ctx, cancel := r.within(patience)
	defer cancel()
	return r.onceFree(ctx, func() error { return r.client.Reconnect(r.ctx) })
}

// onceFree opens a session, again and again while the console of a lane for a single client is refused:
// the proxy may not have noticed yet that the previous client has left.
func (r *run) onceFree(ctx context.Context, open func() error) error {
	for {
		err := open()
		// NB: the control socket has the code of the refusal only in its text.
		if err == nil || r.lane.SeveralClients() || !strings.Contains(err.Error(), wire.ResultChannelNotAvailable.String()) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond): // nothing tells when a session is gone
		case <-ctx.Done():
			return err
		}
	}
}

// samePicture does what Lane.AwaitScreensMatch does, for a session of the test.
func (r *run) samePicture(c *spice.Client) error {
	changed, stop := watch(c)
	defer stop()
	shot := func(context.Context) (*image.NRGBA, error) {
		p, err := c.Snapshot(0, 0, nil)
		if errors.Is(err, spice.ErrNoSurface) {
			err = &control.Error{Code: control.CodeNoSuchSurface, Message: err.Error()}
		}
		if err != nil {
			return nil, err
		}
		return nrgba(p), nil
	}
	return r.lane.AwaitScreensMatchOf(r.ctx, shot, func(ctx context.Context) error {
		select {
		case <-changed:
			return nil
		case <-c.Done():
			return &verdict.Error{Verdict: verdict.Product, Op: "another client", Err: fmt.Errorf("it ended: %w", c.Wait())}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// watch returns a channel that gets a value whenever something has happened in a session.
func watch(c *spice.Client) (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	return ch, c.Observe(func(spice.Event) {
		select {
		case ch <- struct{}{}:
		default:
		}
	})
}

// visit calls look whenever something has happened in a session. It returns when look returns an
// error, or an empty saw, which means that nothing is missing any more.
func (r *run) visit(c *spice.Client, what string, look func() (saw string, err error)) error {
	began := time.Now()
	ctx, cancel := r.within(patience)
	defer cancel()
	changed, stop := watch(c)
	defer stop()
	for {
		saw, err := look()
		if saw == "" || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-c.Done():
			return &verdict.Error{Verdict: verdict.Product, Op: "another client", Err: fmt.Errorf("it ended: %w", c.Wait())}
		case <-ctx.Done():
			return r.lane.Attribute(began, &verdict.Error{Verdict: verdict.Product, Op: "another client", Err: &drive.AwaitError{
				Wanted: what, Last: saw, Err: context.Cause(ctx)}})
		}
	}
}

// alone disconnects the lane's client until the suite's end, if possible.
func (r *run) alone(what string) bool {
	r.Helper()
	if !r.offers(what, control.MethodDisconnect, control.MethodReconnect) {
		return false
	}
	r.must(r.client.Disconnect(r.ctx))
	r.later(func() {
		// Reconnect even after a failure, because without its client the lane is useless.
		if err := r.comeBack(); !r.Failed() {
			r.must(err)
			r.returned()
		}
	})
	return true
}

// returned waits until the guest's agent knows the client that has come back.
func (r *run) returned() {
	r.Helper()
	if r.greets() {
		r.greeted(r.stream())
	}
}

// greets tells whether the guest's agent knows, or will know, about the client. With a client that
// has no verb await, that is known only once the client has seen the agent.
func (r *run) greets() bool {
	r.Helper()
	fx := r.lane.Fixture()
	if fx == nil || !fx.Agent || !r.machine().Config().Agent {
		return false
	}
	if r.client.Supports(control.MethodAwait) {
		return true
	}
	st, err := r.client.Status(r.ctx)
	r.must(err)
	return st.AgentConnected
}

// greeted waits until the guest's agent knows about the client, unless that was the last thing that
// happened. The agent learns of the client some time after the connection or its own start, and its
// report would displace others in the digest.
func (r *run) greeted(s *Stream) {
	r.Helper()
	greeting := func(e digest.Event) bool {
		a, ok := e.(digest.Agent)
		return ok && a.State == digest.CapabilitiesReceived
	}
	if n := len(s.events); n == 0 || !greeting(s.events[n-1]) {
		r.await(s, "the agent to know the client's capabilities", greeting)
	}
}

// awaitShown waits until the digest of a session shows an event of a type that accept accepts, and
// returns the newest one.
func awaitShown[E digest.Event](r *run, c *spice.Client, what string, accept func(E) bool) (e E) {
	r.Helper()
	r.must(r.visit(c, what+" in the digest", func() (saw string, err error) {
		p, err := c.Snapshot(0, 0, nil)
		if err != nil {
			return err.Error(), nil
		}
		d, err := drive.ScanPicture(nrgba(p))
		if err != nil {
			return err.Error(), nil
		}
		for _, shown := range slices.Backward(d.Events) {
			if got, ok := shown.(E); ok && accept(got) {
				e = got
				return "", nil
			}
		}
		return describe(d.Events), nil
	}))
	return e
}

// nrgba converts a picture of a session to one of the image package.
func nrgba(p *spice.Picture) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for y := range p.Height {
		src, dst := p.Pix[y*p.Stride:][:4*p.Width], img.Pix[y*img.Stride:][:4*p.Width]
		for x := 0; x+3 < len(src); x += 4 {
			bgrx := binary.LittleEndian.Uint32(src[x:])
			binary.BigEndian.PutUint32(dst[x:], bgrx<<8|0xff)
		}
	}
	return img
}
