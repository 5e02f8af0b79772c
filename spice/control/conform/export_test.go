package conform

import "context"

// Names returns the checks in their order.
func Names() []string {
	var names []string
	for _, ch := range checks {
		names = append(names, ch.name)
	}
	return names
}

// RunOne makes the check of that name alone.
func RunOne(ctx context.Context, path string, opts Options, name string) error {
	for _, ch := range checks {
		if ch.name == name {
			return runCheck(ctx, path, opts, ch)
		}
	}
	panic("no check " + name)
}
