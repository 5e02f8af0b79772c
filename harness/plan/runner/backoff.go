package runner

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// delays returns the delays between the attempts of a job, with the defaults of plan.Retry.
func delays(r plan.Retry) backoff.BackOff {
	first, most, jitter := r.Delay, r.MaxDelay, 0.1
	if first == 0 {
		first = time.Second
	}
	if most == 0 {
		most = max(time.Minute, first)
	}
	if r.Jitter != nil {
		jitter = *r.Jitter
	}
	first = min(first, most)
	switch r.Backoff {
	case "constant":
		return &bounded{next: backoff.NewConstantBackOff(first), jitter: jitter, most: most}
	case "linear":
		return &bounded{next: &linear{step: first}, jitter: jitter, most: most}
	}
	e := backoff.NewExponentialBackOff()
	e.InitialInterval, e.MaxInterval, e.Multiplier, e.RandomizationFactor = first, most, 2, 0
	e.Reset()
	return &bounded{next: e, jitter: jitter, most: most}
}

// linear is a back-off whose delay grows by its first delay each time.
type linear struct {
	step time.Duration
	n    int
}

func (l *linear) NextBackOff() time.Duration {
	l.n++
	return time.Duration(l.n) * l.step
}

func (l *linear) Reset() { l.n = 0 }

// bounded varies the delays of next at random and limits them to most.
type bounded struct {
	next   backoff.BackOff
	jitter float64
	most   time.Duration
}

func (b *bounded) NextBackOff() time.Duration {
	d := b.next.NextBackOff()
	d += time.Duration(b.jitter * (2*rand.Float64() - 1) * float64(d))
	return min(d, b.most)
}

func (b *bounded) Reset() { b.next.Reset() }

// again reports whether another attempt follows one that has ended.
func again(r plan.Retry, a result.Attempt) bool {
	if a.Outcome != result.Failure || a.N >= max(r.Attempts, 1) {
		return false
	}
	if r.On == nil {
		return a.Verdict == verdict.Host || a.Verdict == verdict.Harness
	}
	return slices.Contains(r.On, string(a.Verdict))
}
