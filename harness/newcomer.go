package harness

import (
	"context"
	"errors"
	"image"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

var (
	errNoNewcomer = errors.New("another client would end the lane's")
	errNoNews     = errors.New("the server tells a new client of nothing")
)

// newcomerPatience returns how long, under KVM, a new client may take to show what QEMU shows.
// Usually it does so at once. A busy host must not be mistaken for a server that lacks something.
func (c Config) newcomerPatience() time.Duration {
	if c.defect.newcomer != nil {
		return 2 * time.Second // it never will
	}
	return samePatience
}

// newsGrace limits, under KVM, how long the server may send a new client no drawing.
const newsGrace = time.Second

// sentByQEMU connects a client to QEMU's own SPICE server and waits until it shows what QEMU shows.
// The server sends a new client its whole surface. So diff says what the server was never told; it
// is "" if the pictures are equal. Otherwise the new client's last picture and QEMU's stay in the
// lane's directory.
//
// The error is errNoNewcomer if another client would disconnect the lane's client. It is errNoNews
// if the server sends the new client no drawing. That proves nothing: the server may be waiting for
// another client that does not read.
//
// QEMU 7.2 without KVM can lose a change: the firmware's displays find changes by the pages that
// were written, and a write at the moment of that search is missed.
func (l *Lane) sentByQEMU(ctx context.Context) (diff string, err error) {
	if l.cfg.guestless() || l.machine().Config().Spice.SingleClient {
		return "", errNoNewcomer
	}
	patience := l.Scaled(l.cfg.newcomerPatience())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	ctx, stop := l.whileUp(ctx)
	defer stop()
	cfg := spice.FromVV(l.DirectVV())
	cfg.Channels = func(id wire.ChannelID) bool { return id.Type == wire.ChannelDisplay && id.ID == 0 }
	cfg.Tap = l.cfg.defect.newcomer
	client, err := spice.Dial(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	quiet := l.Scaled(newsGrace)
	silent := time.AfterFunc(quiet, func() { give(errNoNews) })
	defer silent.Stop()
	defer client.Observe(func(e spice.Event) {
		if _, ok := e.(spice.Drawn); ok {
			silent.Reset(quiet)
		}
	})()
	var seen uint64 // the generation of the surface
	c := &comparison{lane: l,
		shot: func(ctx context.Context) (*image.NRGBA, error) {
			if _, err := client.AwaitPicture(ctx, 0); err != nil {
				return nil, err
			}
			p, err := client.Snapshot(0, 0, nil)
			if err != nil {
				return nil, err
			}
			seen = p.Generation
			return p.Image(), nil
		},
		next: func(ctx context.Context) error {
			return client.Await(ctx, func() bool {
				now, ok := client.Surface(0, 0)
				changed := ok && now.Generation != seen
				seen = now.Generation
				return changed
			})
		}}
	defer c.endWatch()
	switch err = c.equal(ctx); {
	case err == nil:
	case c.last != "" && timedOut(err):
		diff = c.last
	default:
		return "", err
	}
	if err := c.keep(directPair); err != nil {
		l.cfg.log().Error("cannot keep the pictures of a client that has connected to QEMU itself", "err", err)
	}
	return diff, nil
}

// blameQEMU returns HopQEMU and the reason if QEMU's SPICE server does not hold what QEMU shows.
func (l *Lane) blameQEMU(ctx context.Context) (verdict.Hop, string) {
	diff, err := l.sentByQEMU(ctx)
	if err != nil || diff == "" {
		return "", ""
	}
	return verdict.HopQEMU, "a client that has just connected to QEMU itself is not sent what QEMU shows either: " + diff
}
