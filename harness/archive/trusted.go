package archive

import (
	"context"
	"slices"

	"github.com/spicelane/spicelane/harness/plan/result"
)

// A Found result is one that need not be made again.
type Found struct {
	// Run is the record of the run that the result is from.
	Run  *Record
	Cell *result.Cell
}

// Trusted returns the newest trusted result of a cell for the same build; nil if there is none. A
// result is trusted if it says something about the product: the cell passed at the first attempt, or
// failed by the product's fault. A failure of the harness or the host is none, nor is a cell that
// passed only when it was tried again, nor one that was itself taken from another run.
//
// An empty identity matches nothing: it does not say what was tested.
func (a *Archive) Trusted(ctx context.Context, cell string, identity map[string]string) (*Found, error) {
	key := Key(identity)
	if key == "" {
		return nil, nil
	}
	records, err := a.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, rec := range records {
		if rec.Identities != nil && !slices.Contains(rec.Identities, key) {
			continue
		}
		run, err := a.runOf(ctx, rec)
		if err != nil {
			return nil, err
		}
		for i := range run.Cells {
			c := &run.Cells[i]
			if c.ID == cell && Key(c.Identity) == key && trusted(c) {
				return &Found{Run: rec, Cell: c}, nil
			}
		}
	}
	return nil, nil
}

// trusted tells whether a cell's result says something about the product.
func trusted(c *result.Cell) bool {
	if c.ReusedFrom != "" {
		return false
	}
	_, passed := c.Passed()
	return passed && !c.Flaky() || c.Outcome == result.Failure && c.Verdict == "product"
}
