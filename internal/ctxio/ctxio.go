// Package ctxio lets a context interrupt what reads from or writes to a connection.
//
//	n, err := ctxio.Write(ctx, conn, p)
//	err := ctxio.Do(ctx, conn.SetDeadline, func() error { _, err := io.ReadFull(conn, b); return err })
//
// What it does not do: it keeps nobody from setting deadlines at the same time.
// While Do runs, the connection's deadline is its own.
package ctxio

import (
	"context"
	"errors"
	"os"
	"time"
)

// longAgo is a deadline that has passed. It ends what blocks at once.
var longAgo = time.Unix(1, 0)

// Do calls op, which uses a connection, and interrupts it when ctx ends: it sets the
// deadline with setDeadline, which is the connection's SetDeadline, SetReadDeadline
// or SetWriteDeadline. When Do returns, the connection has no deadline of Do's, and
// none will be set.
//
// The error is op's. If ctx ended before op was called, or op failed because of the
// deadline, it is the context's cause.
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
		// NB: without this wait the deadline could be set after it was cleared, and
		// every later use of the connection would time out.
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

// Write writes p until ctx ends. It returns how much was written, like the method
// Write of a connection, and an error as Do does.
func Write(ctx context.Context, w Writer, p []byte) (n int, err error) {
	err = Do(ctx, w.SetWriteDeadline, func() error {
		n, err = w.Write(p)
		return err
	})
	return n, err
}
