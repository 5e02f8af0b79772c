package scenario

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// A viewer is one session of a takeover. It does not open the cursor channel, so that a suite can
// use that channel to test its token.
type viewer struct {
	*spice.Client
	file *vv.File

	mu      sync.Mutex
	notices []string
}

// cursorChannel is the channel with which suites test tokens.
var cursorChannel = wire.ChannelID{Type: wire.ChannelCursor}

// Takeover demands that a second viewer of the console is treated according to the proxy's policy,
// and that the first viewer is told:
//
//   - share: the console decides. In spice-server's mode for several clients both have
//     keyboard and picture. Otherwise the first viewer's session ends when the second one
//     comes, and its token opens nothing any more.
//   - refuse: the second viewer gets channel_not_available. The first one goes on. The
//     second one's token stays good: it opens the console once the first viewer has left.
//   - replace: the first viewer reads why, its session ends, and its token opens nothing any
//     more.
//
// In every case the token of a session that continues opens further channels. The lane's own client
// is disconnected during the suite.
func Takeover(policy proxy.Takeover) func(tb testing.TB, lane *harness.Lane) {
	return func(tb testing.TB, lane *harness.Lane) {
		r := begin(tb, lane)
		defer r.end()
		if !r.alone("a second viewer") {
			return
		}
		first := r.awaitViewer(r.file())
		r.shift(first.Client)
		file := r.file()
		began := time.Now()
		switch policy {
		case proxy.TakeoverRefuse:
			r.refused(first, file)
		case proxy.TakeoverReplace:
			second := r.viewer(file)
			r.overcome(first, second, began, "Another viewer has taken over this console.")
		default:
			second := r.viewer(file)
			if r.machine().Config().Spice.SingleClient {
				r.overcome(first, second, began, "")
			} else {
				r.shared(first, second)
			}
		}
	}
}

// file returns a virt-viewer file with a new token.
func (r *run) file() *vv.File {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	f, err := r.lane.VV(ctx)
	r.must(err)
	return f
}

// viewer opens a session with a file.
func (r *run) viewer(file *vv.File) *viewer {
	r.Helper()
	v, err := r.tryViewer(file)
	if err != nil {
		err = &verdict.Error{Verdict: verdict.Product, Op: "another viewer", Err: err}
	}
	r.must(err)
	return v
}

func (r *run) tryViewer(file *vv.File) (*viewer, error) {
	r.Helper()
	v := &viewer{file: file}
	cfg := spice.FromVV(file)
	cfg.Channels = func(id wire.ChannelID) bool {
		return id.Type == wire.ChannelDisplay || id.Type == wire.ChannelInputs
	}
	ctx, cancel := r.within(patience)
	defer cancel()
	var err error
	if v.Client, err = spice.Dial(ctx, cfg); err != nil {
		return nil, err
	}
	r.later(func() { v.Close() })
	v.Observe(func(e spice.Event) {
		// spice-server warns about each channel without TLS.
		if n, ok := e.(spice.Notified); ok && !strings.HasSuffix(n.Text, "channel is insecure") {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.notices = append(v.notices, n.Text)
		}
	})
	return v, nil
}

// awaitViewer opens a session with a file as soon as the console is free: the proxy may not have
// noticed yet that the previous viewer has left.
func (r *run) awaitViewer(file *vv.File) *viewer {
	r.Helper()
	began := time.Now()
	ctx, cancel := r.within(patience)
	defer cancel()
	for {
		v, err := r.tryViewer(file)
		if err == nil {
			return v
		}
		if !refusedWith(err, wire.ResultChannelNotAvailable) {
			r.must(&verdict.Error{Verdict: verdict.Product, Op: "another viewer", Err: err})
		}
		select {
		case <-time.After(20 * time.Millisecond): // nothing tells when a session is gone
		case <-ctx.Done():
			r.must(r.lane.Attribute(began, &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "takeover",
				Err: &drive.AwaitError{Wanted: "a session with a console that nobody looks at", Last: "a refusal: " + err.Error(), Err: context.Cause(ctx)}}))
		}
	}
}

// told returns the notices that a viewer received.
func (v *viewer) told() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.notices)
}

// opens demands an answer to one more channel of a viewer's session. After the session has ended,
// that may take a moment.
func (r *run) opens(who string, v *viewer, want wire.Result) {
	r.Helper()
	began := time.Now()
	ctx, cancel := r.within(patience)
	defer cancel()
	for {
		got, err := r.tryChannel(ctx, v.file, v.MainState().ConnectionID)
		r.must(err, "a further channel of ", who)
		if got == want {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond): // nothing tells when a session is gone
		case <-ctx.Done():
			r.must(r.lane.Attribute(began, &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "takeover",
				Err: &drive.AwaitError{Wanted: fmt.Sprintf("the answer %s to the token of %s for a further channel", want, who), Last: got.String(), Err: context.Cause(ctx)}}))
		}
	}
}

// tryChannel requests the cursor channel of a session and returns the answer.
func (r *run) tryChannel(ctx context.Context, f *vv.File, connectionID uint32) (wire.Result, error) {
	conn, err := connect(ctx, f)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, err = link.Client(ctx, conn, link.Config{ConnectionID: connectionID, Channel: cursorChannel, CommonCaps: link.CommonCaps, Secret: f.Password})
	var refused *link.Error
	if errors.As(err, &refused) && refused.Err == nil {
		return refused.Code, nil
	}
	return wire.ResultOK, err
}

// connect connects to the address of a virt-viewer file.
func connect(ctx context.Context, f *vv.File) (net.Conn, error) {
	network, addr := "tcp", hostport.Join(f.Host, cmp.Or(f.TLSPort, f.Port))
	if f.UnixPath != "" {
		network, addr = "unix", f.UnixPath
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil || f.UnixPath != "" || f.TLSPort == 0 {
		return conn, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(f.CA))
	secure := tls.Client(conn, pki.ClientTLS(roots, f.Host, f.HostSubject))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// overcome demands that the first viewer's session has ended, with the given notice or without one
// if it is "". The second viewer's session must continue.
func (r *run) overcome(first, second *viewer, began time.Time, notice string) {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	select {
	case <-first.Done():
	case <-ctx.Done():
		r.must(r.lane.Attribute(began, &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "takeover",
			Err: &drive.AwaitError{Wanted: "the end of the first viewer's session", Last: "it beside the second one's", Err: context.Cause(ctx)}}))
	}
	r.Logf("the first viewer's session ended %v after the second viewer came, and it was told %q", time.Since(began).Round(time.Millisecond), first.told())
	var said *spice.DisconnectedError
	if notice != "" {
		r.want(slices.Contains(first.told(), notice), "the first viewer was told %q, want %q", first.told(), notice)
		r.want(errors.As(first.Wait(), &said) && said.Notice == notice, "the first viewer's session ended with %v, want a farewell of the proxy's", first.Wait())
	} else {
		r.want(len(first.told()) == 0, "the first viewer was told %q, and the proxy does not share consoles", first.told())
	}
	r.opens("the first viewer", first, wire.ResultPermissionDenied)
	_, err := r.tryViewer(first.file)
	r.want(refusedWith(err, wire.ResultPermissionDenied), "the first viewer's token was answered %v for a new session, want %s", err, wire.ResultPermissionDenied)
	r.shift(second.Client)
	r.opens("the second viewer", second, wire.ResultOK)
}

// shared demands that two viewers use the console at the same time.
func (r *run) shared(first, second *viewer) {
	r.Helper()
	for name, v := range map[string]*viewer{"first": first, "second": second} {
		r.shift(v.Client)
		r.must(r.samePicture(v.Client), "the ", name, " viewer")
		r.want(len(v.told()) == 0, "the %s viewer was told %q", name, v.told())
	}
	r.opens("the first viewer", first, wire.ResultOK)
	r.opens("the second viewer", second, wire.ResultOK)
}

// refused demands that a second viewer is refused until the first one has left, and that the second
// one's token stays valid.
func (r *run) refused(first *viewer, file *vv.File) {
	r.Helper()
	began := time.Now()
	_, err := r.tryViewer(file)
	r.want(refusedWith(err, wire.ResultChannelNotAvailable), "the second viewer was answered %v, want %s", err, wire.ResultChannelNotAvailable)
	r.Logf("the second viewer was refused after %v", time.Since(began).Round(time.Millisecond))
	r.want(len(first.told()) == 0, "the first viewer was told %q", first.told())
	r.shift(first.Client)
	r.opens("the first viewer", first, wire.ResultOK)
	// Nor into the first viewer's session.
	got, err := r.tryChannel(r.ctx, file, first.MainState().ConnectionID)
	r.must(err)
	r.want(got == wire.ResultBadConnectionID, "the second viewer's token was answered %s in the first one's session, want %s", got, wire.ResultBadConnectionID)

	r.must(first.Close())
	second := r.awaitViewer(file)
	r.shift(second.Client)
	r.must(second.Close())
	// The lane's client may come back once the proxy has noticed that.
	r.opens("the second viewer", second, wire.ResultPermissionDenied)
}

// refusedWith tells whether a session was refused with a code.
func refusedWith(err error, code wire.Result) bool {
	var refused *link.Error
	return errors.As(err, &refused) && refused.Code == code && refused.Err == nil
}
