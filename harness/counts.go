package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/proxy"
)

// countGrace limits, under KVM, how long messages may be in flight when a lane ends.
const countGrace = time.Second

// countPoll is how often the counts are compared until they agree. Nothing notifies when a message
// arrives that changes no picture.
const countPoll = 100 * time.Millisecond

// checkCounts compares the messages that the built-in proxy has received from QEMU with those that
// the built-in client has received. If a message is lost, duplicated or added on the way, the next
// paint may hide that on the screen.
//
// It checks nothing in a lane with another proxy or client, with several sessions, with a running
// server, which may send at any time, or whose connections are impaired or the test has tampered with.
// The error is a product fault.
func (l *Lane) checkCounts(ctx context.Context) error {
	if l.standIn.drawsAtWill() || l.cfg.impaired() {
		return nil
	}
	if l.cfg.Proxy != Builtin || l.cfg.Client != Builtin || l.driver == nil || l.tampered.Load() || l.ended() || isClosed(l.driver.Done()) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.Scaled(countGrace), errors.New("the counts did not agree"))
	defer cancel()
	// A guest that draws all the time always has messages in flight.
	err := l.WhilePaused(ctx, func() error { return l.compareCounts(ctx) })
	if l.ended() {
		return nil // meanwhile; the lane's end has a separate verdict
	}
	return err
}

// impaired tells whether messages may be in flight for as long as Link likes.
func (c Config) impaired() bool { return c.Link != nil && *c.Link != (impair.Profile{}) }

// compareCounts compares the counts until they agree or ctx ends.
func (l *Lane) compareCounts(ctx context.Context) error {
	tick := time.NewTicker(countPoll)
	defer tick.Stop()
	var last error
	for {
		relayed, received, err := l.counts(ctx)
		switch {
		case errors.Is(err, errNoSingleSession):
			return nil
		case err != nil && ctx.Err() == nil:
			return verdict.Classify("count messages", err)
		case err != nil:
		case relayed.total == received:
			l.log.Add("messages", map[string]any{"relayed": relayed.total, "received": received})
			return nil
		default:
			last = fmt.Errorf("the proxy took %d messages from QEMU (%s), and the client has received %d", relayed.total, relayed.channels, received)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if last == nil {
				return verdict.Classify("count messages", err)
			}
			return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "count messages", Err: last}
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// errNoSingleSession says that the proxy's counts cannot be assigned to one session.
var errNoSingleSession = errors.New("the proxy has not exactly one session")

// relayedCounts are the messages that a proxy has received from QEMU in one session.
type relayedCounts struct {
	total    uint64
	channels string // for a person
}

// counts asks proxy and client. It asks the client last, so the proxy has counted every message
// that the client has received.
func (l *Lane) counts(ctx context.Context) (relayed relayedCounts, received uint64, err error) {
	sessions, err := l.proxySessions(ctx)
	if err != nil {
		return relayed, 0, err
	}
	if len(sessions) != 1 {
		return relayed, 0, errNoSingleSession
	}
	var channels []string
	for _, c := range sessions[0].Channels {
		relayed.total += c.MessagesFromServer
		channels = append(channels, fmt.Sprintf("%s %d", c.Channel, c.MessagesFromServer))
	}
	relayed.channels = strings.Join(channels, ", ")
	st, err := l.driver.Status(ctx)
	if err != nil {
		return relayed, 0, err
	}
	if !st.SPICEConnected {
		return relayed, 0, errNoSingleSession
	}
	return relayed, st.Messages, nil
}

// proxySessions returns the built-in proxy's sessions.
func (l *Lane) proxySessions(ctx context.Context) ([]proxy.SessionInfo, error) {
	var got struct{ Sessions []proxy.SessionInfo }
	err := getJSON(ctx, l.State().Proxy.API+"/sessions", l.apiToken, &got)
	return got.Sessions, err
}
