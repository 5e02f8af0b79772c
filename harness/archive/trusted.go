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
	records []*Record // all runs at the time when Results was made

	mu   sync.Mutex
	read []*result.Run // the last ones that were read, the latest first
}

// maxRead is how many runs Results keeps in memory. Mostly, the cells of a plan have their results
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

// Found is an earlier result that can be reused.
type Found struct {
	// Run is the record of the run that the result is from.
	Run  *Record
	Cell *result.Cell
}

// Trusted returns the newest trusted result of a cell for the same build; nil if there is none. does is
// the hash of what the cell does (see [result.Cell]). A result is trusted if it says something
// about the product: the cell passed at the first attempt, or failed with verdict "product". Not
// trusted are failures of the harness or the host, cells that passed only after a retry, and
// results that were themselves taken from another run.
//
// An empty identity or an empty does matches nothing, because it does not say what was tested, or
// how.
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

// Archive returns the archive that the results are in.
func (r *Results) Archive() *Archive { return r.a }

// trusted reports whether a cell's result says something about the product and is the run's own.
func trusted(c *result.Cell) bool {
	if c.ReusedFrom != "" {
		return false
	}
	_, passed := c.Passed()
	return passed && !c.Flaky() || c.Outcome == result.Failure && c.Verdict == "product"
}
