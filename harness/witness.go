package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/wire"
)

// A witnessOf is the witness of a lane; nil means none.
type witnessOf struct {
	relay  *witness.Relay
	ledger *witness.Ledger
}

// startWitness puts a witness between QEMU and the proxy, if the lane has one.
func (l *Lane) startWitness() error {
	if !l.cfg.Witness && l.cfg.defect.proxy == nil {
		return nil
	}
	r, err := witness.Start(witness.Config{Dial: l.dialBackend, Change: l.cfg.defect.proxy})
	if err != nil {
		return verdict.Classify("witness", err)
	}
	l.undo.push(r.Close)
	l.witness = &witnessOf{r, witness.NewLedger(r)}
	return nil
}

// dialBackend connects to the present address of QEMU's SPICE server, or of the server in its
// place.
func (l *Lane) dialBackend(ctx context.Context) (net.Conn, error) {
	c := l.console()
	if c.Unix != "" {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.Unix)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", hostport.Join(c.HypervisorIP, c.InsecurePort))
}

// clientTap returns the tap to which the built-in client shows its messages.
func (l *Lane) clientTap(id wire.ChannelID) wire.Tap {
	var noted, bad wire.Tap
	if l.cfg.Witness {
		noted = l.witness.ledger.Tap(id)
	}
	if l.cfg.defect.tap != nil {
		bad = l.cfg.defect.tap(id)
	}
	return wire.JoinTaps(noted, bad)
}

// failed returns a channel that is closed when a message has not passed the proxy as it was sent.
func (w *witnessOf) failed() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.ledger.Failed()
}

// err returns the message that has not passed the proxy as it was sent: a fault of the proxy.
func (w *witnessOf) err() error {
	if w == nil {
		return nil
	}
	err := w.ledger.Err()
	if err == nil {
		return nil
	}
	return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "witness", Err: err}
}

// witnessPoll is how often to check whether all messages have arrived. Nothing notifies of a
// message that changes no picture.
const witnessPoll = 100 * time.Millisecond

// arrived waits until the client has received all that was sent to it. It returns how many messages
// are still in flight when ctx ends. Nothing may draw meanwhile.
func (w *witnessOf) arrived(ctx context.Context) (under int) {
	tick := time.NewTicker(witnessPoll)
	defer tick.Stop()
	for {
		under, _ = w.ledger.Under()
		if under == 0 || w.ledger.Err() != nil {
			return under
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return under
		}
	}
}

// BlamePath returns the hop at fault if the client shows another picture than QEMU. If QEMU's own
// SPICE server does not hold that picture, it is QEMU. In a lane with a Witness, it is the proxy or
// the client if that is clear. Otherwise it is the path between QEMU and the client. The text
// explains the answer.
func (l *Lane) BlamePath(ctx context.Context) (verdict.Hop, string) {
	if err := l.witness.err(); err != nil {
		return verdict.HopProxy, err.Error()
	}
	if hop, known := l.blameQEMU(ctx); hop != "" {
		return hop, known
	}
	if l.witness == nil {
		return verdict.HopPath, "it was lost between QEMU and the client"
	}
	if _, ok := l.witness.ledger.Under(); !ok || l.ended() {
		return verdict.HopPath, "it was lost between QEMU and the client"
	}
	ctx, cancel := context.WithTimeout(ctx, l.Scaled(askGrace))
	defer cancel()
	under := 0
	err := l.WhilePaused(ctx, func() error {
		under = l.witness.arrived(ctx)
		return nil
	})
	switch bad := l.witness.err(); {
	case bad != nil:
		return verdict.HopProxy, bad.Error()
	case err != nil || under > 0:
		return verdict.HopPath, fmt.Sprintf("%d messages of QEMU's have not arrived at the client", under)
	case l.witness.ledger.GaveUp():
		return verdict.HopPath, "it was lost between QEMU and the client"
	}
	return verdict.HopClient, "the client has received all that QEMU said, byte by byte, and shows something else"
}

// checkWitness checks, when a lane ends, whether all of QEMU's messages have arrived. Of a running
// server, which may send at any time, and behind an impaired Link it checks only those that have. The
// error is a product fault.
func (l *Lane) checkWitness(ctx context.Context) error {
	if l.witness == nil {
		return nil
	}
	if err := l.witness.err(); err != nil {
		return err
	}
	if l.driver == nil || l.tampered.Load() || l.ended() || isClosed(l.driver.Done()) || l.standIn.drawsAtWill() || l.cfg.impaired() {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.Scaled(countGrace), errors.New("they did not arrive"))
	defer cancel()
	if st, err := l.driver.Status(ctx); err != nil || !st.SPICEConnected {
		return nil // a client that has disconnected need not read the rest
	}
	under := 0
	err := l.WhilePaused(ctx, func() error {
		under = l.witness.arrived(ctx)
		return nil
	})
	switch bad := l.witness.err(); {
	case bad != nil:
		return bad
	case l.ended():
		return nil // the end has a separate verdict
	case err != nil:
		return verdict.Classify("witness", err)
	case l.witness.ledger.GaveUp():
		return &verdict.Error{Verdict: verdict.Harness, Op: "witness",
			Err: errors.New("too much of what QEMU said was in flight at once: it was not compared with what arrived")}
	case under > 0:
		return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "witness",
			Err: fmt.Errorf("%d messages of QEMU's did not arrive at the client", under)}
	}
	return nil
}
