package archive

import (
	"context"
	"slices"
	"sync"

	"github.com/spicelane/spicelane/harness/plan/result"
)

// Results looks for trusted results of earlier runs. Its methods may be called from any goroutine.
type Results struct {
	a       *Archive
	records []*Record // as they were when Results was made

	mu   sync.Mutex
	read []*result.Run // the last ones, the newest first
}

// maxRead is how many run.json Results keeps in memory. The cells of a plan mostly have their results
// in one run.
const maxRead = 4

// Results returns the results of all runs that are in the archive now.
func (a *Archive) Results(ctx context.Context) (*Results, error) {
	records, err := a.List(ctx)
	if err != nil {
		return nil, err
	}
	return &Results{a: a, records: records}, nil
}

// A Found result is one that need not be made again.
type Found struct {
	// Run is the record of the run that the result is from.
	Run  *Record
	Cell *result.Cell
}

// Trusted returns the newest trusted result of a cell for the same build; nil if there is none. does is
// what the cell does, see [result.Cell]. A result is trusted if it says something about the product:
// the cell passed at the first attempt, or failed by the product's fault. A failure of the harness or
// the host is none, nor is a cell that passed only when it was tried again, nor one that was itself
// taken from another run.
//
// An empty identity and an empty does match nothing: they do not say what was tested, and how.
func (r *Results) Trusted(ctx context.Context, cell, does string, identity map[string]string) (*Found, error) {
	key := Key(identity)
	if key == "" || does == "" {
		return nil, nil
	}
	for _, rec := range r.records {
		if rec.Identities != nil && !slices.Contains(rec.Identities, key) {
			continue
		}
		run, err := r.run(ctx, rec)
		if err != nil {
			return nil, err
		}
		for i := range run.Cells {
			c := &run.Cells[i]
			if c.ID == cell && c.Does == does && Key(c.Identity) == key && trusted(c) {
				return &Found{Run: rec, Cell: c}, nil
			}
		}
	}
	return nil, nil
}

// run returns the run.json of a record.
func (r *Results) run(ctx context.Context, rec *Record) (*result.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.read {
		if run.ID == rec.ID {
			return run, nil
		}
	}
	run, err := r.a.runOf(ctx, rec)
	if err != nil {
		return nil, err
	}
	r.read = append([]*result.Run{run}, r.read[:min(len(r.read), maxRead-1)]...)
	return run, nil
}

// Archive returns the archive of the results.
func (r *Results) Archive() *Archive { return r.a }

// trusted tells whether a cell's result says something about the product.
func trusted(c *result.Cell) bool {
	if c.ReusedFrom != "" {
		return false
	}
	_, passed := c.Passed()
	return passed && !c.Flaky() || c.Outcome == result.Failure && c.Verdict == "product"
}
