// Package ctxio lets a context interrupt reads from and writes to a connection.
//
//	n, err := ctxio.Write(ctx, conn, p)
//	err := ctxio.Do(ctx, conn.SetDeadline, func() error { _, err := io.ReadFull(conn, b); return err })
//
// While Do runs, it owns the connection's deadline. The package does not keep other code from
// setting deadlines at the same time.
package ctxio

import (
	"context"
	"errors"
	"os"
	"time"
)

// longAgo is a deadline that has passed. It ends a blocked operation at once.
var longAgo = time.Unix(1, 0)

// Do calls op, which uses a connection, and interrupts it when ctx ends. To interrupt it, Do sets a
// deadline with setDeadline, which is the connection's SetDeadline, SetReadDeadline or
// SetWriteDeadline. When Do returns, it has cleared that deadline, and will not set another.
//
// The error is op's. If ctx ended before op was called, or op failed because of the deadline, the
// error is the context's cause.
func Do(ctx context.Context, setDeadline func(time.Time) error, op func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = setDeadline(longAgo) // a connection that refuses it fails by itself
	})
	err := op()
	if !stop() {
		// NB: without this wait the deadline could be set after it was cleared. Then every later
		// use of the connection would time out.
		<-interrupted
		_ = setDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return context.Cause(ctx)
		}
	}
	return err
}

// A Writer is the writing half of a net.Conn.
type Writer interface {
	Write(p []byte) (int, error)
	SetWriteDeadline(t time.Time) error
}

// Write writes p until ctx ends. It returns the number of bytes that it wrote, and an error as Do
// does.
func Write(ctx context.Context, w Writer, p []byte) (n int, err error) {
	err = Do(ctx, w.SetWriteDeadline, func() error {
		n, err = w.Write(p)
		return err
	})
	return n, err
}
