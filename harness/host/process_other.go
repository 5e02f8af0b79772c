//go:build !linux

package host

import "context"

// awaitExit waits until the process pid has ended or ctx is done.
func awaitExit(ctx context.Context, pid int) bool { return awaitGone(ctx, pid) }
