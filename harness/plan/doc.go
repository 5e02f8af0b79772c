// Package plan reads plans: YAML files that say which lanes to start and what to check on them.
//
//	l, err := plan.Load(ctx, "matrix.yaml", plan.Options{})
//	for _, c := range l.Cells {
//		task, err := l.Task(c)
//		…
//	}
//
// A plan has jobs. A job has steps and may have a matrix. A job with one combination of its matrix
// is a cell. Load checks everything before anything starts: the text, every reference, the types of
// all conditions, and the configuration of each lane in each cell. See docs/plans.md.
//
// The package runs nothing, except the commands that a plan names as sources of variables and
// secrets. Package worker runs one attempt of a cell, and package runner runs a whole plan.
//
// To debug a plan, print its cells and their commands: spicelane run --dry-run.
package plan
