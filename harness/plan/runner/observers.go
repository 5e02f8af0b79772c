package runner

import (
	"time"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/worker"
)

// Observers is an Observer that passes each call to several others, in order. It may be nil.
type Observers []Observer

// RunBegins implements Observer.
func (all Observers) RunBegins(dir string, cells []*plan.Cell) {
	for _, o := range all {
		o.RunBegins(dir, cells)
	}
}

// AttemptBegins implements Observer.
func (all Observers) AttemptBegins(c *plan.Cell, n int) {
	for _, o := range all {
		o.AttemptBegins(c, n)
	}
}

// StepBegins implements Observer.
func (all Observers) StepBegins(c *plan.Cell, id, name string) {
	for _, o := range all {
		o.StepBegins(c, id, name)
	}
}

// Line implements Observer.
func (all Observers) Line(c *plan.Cell, step, line string) {
	for _, o := range all {
		o.Line(c, step, line)
	}
}

// Load implements Observer.
func (all Observers) Load(c *plan.Cell, l worker.Load) {
	for _, o := range all {
		o.Load(c, l)
	}
}

// StepEnds implements Observer.
func (all Observers) StepEnds(c *plan.Cell, s result.Step) {
	for _, o := range all {
		o.StepEnds(c, s)
	}
}

// AttemptEnds implements Observer.
func (all Observers) AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration) {
	for _, o := range all {
		o.AttemptEnds(c, a, next)
	}
}

// CellEnds implements Observer.
func (all Observers) CellEnds(c result.Cell) {
	for _, o := range all {
		o.CellEnds(c)
	}
}

// RunEnds implements Observer.
func (all Observers) RunEnds(r *result.Run) {
	for _, o := range all {
		o.RunEnds(r)
	}
}
