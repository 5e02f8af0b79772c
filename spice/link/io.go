package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spicelane/spicelane/internal/ctxio"
	"github.com/spicelane/spicelane/spice/wire"
)

// guard runs one step on conn. The end of ctx interrupts it.
func guard(ctx context.Context, conn net.Conn, step func() error) error {
	return ctxio.Do(ctx, conn.SetDeadline, step)
}

// readHeader reads and checks a link header. Its error has the code with which a server answers.
func readHeader(conn io.Reader, op string, least int) (Header, error) {
	var b [HeaderSize]byte
	var h Header
	// Read the magic first: a peer with another protocol may send less than a header and then wait.
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

// readBody reads the body that a link header announced, at most MaxBody bytes.
func readBody(conn io.Reader, op string, size uint32) ([]byte, error) {
	body := make([]byte, size)
	if n, err := io.ReadFull(conn, body); err != nil {
		return nil, readError(op, n, err)
	}
	return body, nil
}

// readError wraps an error after n bytes. An end of the stream becomes io.ErrUnexpectedEOF.
func readError(op string, n int, err error) *Error {
	e := &Error{Op: op, Code: wire.ResultError, Err: err}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.Err = fmt.Errorf("the peer closed the connection after %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	return e
}

// stepError wraps guard's error, unless it is already an *Error.
func stepError(op string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Op: op, Code: wire.ResultError, Err: err}
}
