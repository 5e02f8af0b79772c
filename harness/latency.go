package harness

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// Latencies are how long keys took, one entry a key, in the order of the keys.
type Latencies struct {
	// Picture is from sending a key to the first draw that followed.
	Picture []time.Duration
	// Digest is from sending a key to the digest that shows it.
	Digest []time.Duration
}

// Percentile is the p-th percentile of d, 0 ≤ p ≤ 100, by nearest rank; 0 if d is
// empty.
func Percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, max(0, int(float64(len(s))*p/100)))]
}

// KeyLatencies presses keys, one after the other, and measures how long each
// takes to the picture and to the digest. The guest must show a digest and
// have nothing better to do with the key. A draw that the guest made by itself
// in that moment (its cursor blinks twice a second) counts as the picture.
func KeyLatencies(ctx context.Context, d *control.Driver, key string, n int) (Latencies, error) {
	var out Latencies
	codes, err := control.ParseKey(key)
	if err != nil {
		return out, &Fault{Verdict: Harness, Op: "key latency", Err: err}
	}
	drawn, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return out, &Fault{Verdict: clientVerdict(err), Op: "key latency", Err: err}
	}
	defer drawn.Close()
	last, err := AwaitDigest(ctx, d, "a digest", func(Digest) bool { return true })
	if err != nil {
		return out, err
	}
	for range n {
		began := time.Now()
		if err := d.Chord(ctx, codes...); err != nil {
			return out, &Fault{Verdict: clientVerdict(err), Op: "key latency", Err: err}
		}
		last, err = AwaitDigest(ctx, d, "the key "+key, func(now Digest) bool { return now.ChannelHashes.Keypress != last.ChannelHashes.Keypress })
		if err != nil {
			return out, err
		}
		out.Digest = append(out.Digest, time.Since(began))
		picture, err := firstDrawAfter(ctx, drawn, began)
		if err != nil {
			return out, &Fault{Verdict: Product, Op: "key latency", Err: err}
		}
		out.Picture = append(out.Picture, picture)
	}
	return out, nil
}

// firstDrawAfter is how long after began the first draw came. It has come
// already: the digest is one.
func firstDrawAfter(ctx context.Context, drawn *control.Subscription, began time.Time) (time.Duration, error) {
	for {
		ev, err := drawn.Next(ctx)
		if err != nil {
			return 0, err
		}
		if ev.Name != control.EventSurfaceDrawn {
			continue
		}
		var data control.SurfaceDrawnData
		if err := ev.Decode(&data); err != nil {
			return 0, err
		}
		if took := time.UnixMicro(data.WallclockUS).Sub(began); took > 0 {
			return took, nil
		}
	}
}

// DirectVV leads past the lane's proxy to QEMU itself, with its ticket: for
// comparing a way with and without the proxy.
func (l *Lane) DirectVV() *vv.File {
	c := l.console()
	host := c.HypervisorIP
	if c.Unix != "" {
		host = ""
	}
	return &vv.File{
		Type: "spice", Host: host, Port: c.InsecurePort, TLSPort: c.SecurePort, UnixPath: c.Unix,
		Password: c.Ticket, CA: string(c.CACert), HostSubject: c.HostSubject, Title: fmt.Sprintf("%s, directly", l.cfg.name()),
	}
}
