package scenario

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"math/cmplx"
	"sync"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// listenFor is how much of a tone is analysed. tolerance is how far its frequency may differ, as a
// fraction of it.
const (
	listenFor = 800 * time.Millisecond
	tolerance = 0.01
)

// Tone makes the guest play its two tones and demands that they are heard on a playback channel.
// The strongest frequency must be the one that the guest reports, within one percent.
//
// A SPICE server sends sound only to the first of several clients, so the lane's client is
// disconnected meanwhile.
func Tone(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.machine().Config().Audio {
		r.left("sound", "the machine has no sound device")
		return
	}
	if !r.alone("sound") {
		return
	}
	ear := &ear{changed: make(chan struct{})}
	c := r.dial(func(cfg *spice.Config) { cfg.Sound = ear })
	var last digest.Tone
	for _, code := range []uint16{keyF5, keyF6} {
		ear.forget()
		r.must(c.Key(r.ctx, code, true))
		t := awaitShown(r, c, "a tone", func(t digest.Tone) bool { return t.State != digest.ToneEnded && t.Hz != last.Hz })
		r.must(c.Key(r.ctx, code, false))
		r.want(t.State == digest.ToneStarted, "the machine has a sound device, and the guest says of a tone: %v", t.State)
		ctx, cancel := r.within(patience)
		samples, rate, err := ear.listen(ctx, listenFor)
		cancel()
		r.must(err, "listen to ", t.Hz, " Hz")
		hz, loud := dominant(samples, rate)
		r.Logf("a tone of %d Hz is heard as %.1f Hz, %d samples a second, peak %.2f", t.Hz, hz, rate, loud)
		r.want(loud > 0.01, "%d samples came for a tone of %d Hz, and they are silent", len(samples), t.Hz)
		r.want(math.Abs(hz-float64(t.Hz)) <= tolerance*float64(t.Hz), "the guest plays %d Hz, and %.1f Hz are heard", t.Hz, hz)
		last = awaitShown(r, c, "a tone", func(e digest.Tone) bool { return e.State == digest.ToneEnded && e.Hz == t.Hz && e.At() > t.At() })
	}
}

const (
	keyF5 = control.KeyF1 + 4
	keyF6 = control.KeyF1 + 5
)

// An ear is a spice.Sound that keeps what it hears.
type ear struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	rate    int           // samples a second; 0 before anything is played
	frame   int           // bytes of a sample of all channels
	samples []float64     // of the first channel, -1 to 1, from the first that is no silence on
}

// Start implements spice.Sound.
func (e *ear) Start(rate, channels int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rate, e.frame = rate, 2*channels
	return nil
}

// Samples implements spice.Sound.
func (e *ear) Samples(_ uint32, pcm []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ; len(pcm) >= e.frame; pcm = pcm[e.frame:] {
		v := float64(int16(binary.LittleEndian.Uint16(pcm))) / -math.MinInt16
		if v != 0 || len(e.samples) > 0 {
			e.samples = append(e.samples, v)
		}
	}
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

// Stop implements spice.Sound.
func (e *ear) Stop() error { return nil }

// forget drops the samples.
func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.samples = nil
}

// listen waits until d of sound has come, and returns its samples and their rate.
func (e *ear) listen(ctx context.Context, d time.Duration) (samples []float64, rate int, err error) {
	for {
		e.mu.Lock()
		n, changed := len(e.samples), e.changed
		if rate = e.rate; rate > 0 && n >= int(d.Seconds()*float64(rate)) {
			samples = e.samples[:n:n]
		}
		e.mu.Unlock()
		if samples != nil {
			return samples, rate, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, 0, &verdict.Error{Verdict: verdict.Product, Op: "playback channel", Err: &drive.AwaitError{
				Wanted: fmt.Sprintf("%v of sound", d), Last: fmt.Sprintf("%d samples", n), Err: context.Cause(ctx)}}
		}
	}
}

// dominant returns the strongest frequency in samples, in Hz, and their peak.
func dominant(samples []float64, rate int) (hz, peak float64) {
	if len(samples) == 0 {
		return 0, 0
	}
	// A Hann window keeps the ends from looking like a frequency. The transform needs a power of
	// two.
	n := 1 << (bits.Len(uint(len(samples))) - 1)
	x := make([]complex128, n)
	for i := range x {
		peak = max(peak, math.Abs(samples[i]))
		x[i] = complex(samples[i]*(0.5-0.5*math.Cos(2*math.Pi*float64(i)/float64(n))), 0)
	}
	fft(x)
	best := 1
	for i := 1; i < n/2; i++ {
		if cmplx.Abs(x[i]) > cmplx.Abs(x[best]) {
			best = i
		}
	}
	at := float64(best)
	if best+1 < n/2 {
		// The peak is between bins: use a parabola through the three highest.
		a, b, c := cmplx.Abs(x[best-1]), cmplx.Abs(x[best]), cmplx.Abs(x[best+1])
		if d := a - 2*b + c; d != 0 {
			at += (a - c) / (2 * d)
		}
	}
	return at * float64(rate) / float64(n), peak
}

// fft computes the discrete Fourier transform in place; len(x) must be a power of two.
func fft(x []complex128) {
	n := len(x)
	if n <= 1 {
		return
	}
	shift := 64 - (bits.Len(uint(n)) - 1)
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size *= 2 {
		step := cmplx.Rect(1, -2*math.Pi/float64(size))
		for start := 0; start < n; start += size {
			w := complex(1, 0)
			for i := start; i < start+size/2; i++ {
				a, b := x[i], x[i+size/2]*w
				x[i], x[i+size/2] = a+b, a-b
				w *= step
			}
		}
	}
}
