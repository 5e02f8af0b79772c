package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// guard runs one step on conn under ctx: its deadline becomes the connection's,
// its end interrupts what blocks. Afterwards the connection has no deadline.
func guard(ctx context.Context, conn net.Conn, step func() error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		// A time long past ends blocked reads and writes at once.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	err := step()
	if !stop() {
		<-interrupted
	}
	if clearErr := conn.SetDeadline(time.Time{}); err == nil && clearErr != nil {
		err = clearErr
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		// The connection's clock was ahead of the context's.
		return context.DeadlineExceeded
	}
	return err
}

// readHeader reads and judges a link header. The code of its error is what a
// server answers.
func readHeader(conn io.Reader, op string, least int) (Header, error) {
	var b [HeaderSize]byte
	var h Header
	// The magic by itself first: who speaks something else may send less than a
	// header and wait.
	n, err := io.ReadFull(conn, b[:4])
	if err != nil {
		return h, readError(op, n, err)
	}
	if binary.LittleEndian.Uint32(b[:]) != Magic {
		return h, &Error{Op: op, Code: wire.ResultInvalidMagic,
			Err: fmt.Errorf("began with % x, want % x (REDQ)", b[:4], "REDQ"), Hint: foreignHint(b[:])}
	}
	if n, err = io.ReadFull(conn, b[4:]); err != nil {
		return h, readError(op, n+4, err)
	}
	if err := h.Decode(b[:]); err != nil {
		return h, &Error{Op: op, Code: wire.ResultInvalidData, Err: err}
	}
	if h.Major != Major {
		return h, &Error{Op: op, Code: wire.ResultVersionMismatch,
			Err: fmt.Errorf("peer speaks version %d.%d, we speak %d.%d", h.Major, h.Minor, Major, Minor)}
	}
	if h.Size < uint32(least) || h.Size > MaxBody {
		return h, &Error{Op: op, Code: wire.ResultInvalidData,
			Err: fmt.Errorf("announces %d bytes, want %d to %d", h.Size, least, MaxBody)}
	}
	return h, nil
}

// readBody reads what a link header announced; it is at most MaxBody bytes.
func readBody(conn io.Reader, op string, size uint32) ([]byte, error) {
	body := make([]byte, size)
	if n, err := io.ReadFull(conn, body); err != nil {
		return nil, readError(op, n, err)
	}
	return body, nil
}

// readError makes any end of the stream inside the handshake an unexpected one.
func readError(op string, n int, err error) *Error {
	e := &Error{Op: op, Code: wire.ResultError, Err: err}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.Err = fmt.Errorf("the peer closed the connection after %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	return e
}

// stepError wraps what guard returned, unless it is an *Error already.
func stepError(op string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Op: op, Code: wire.ResultError, Err: err}
}
