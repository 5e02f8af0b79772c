package link

import (
	"fmt"

	"github.com/spicelane/spicelane/spice/wire"
)

// Error says that a handshake failed.
type Error struct {
	// Op is the step: "read request", "read reply", "reply", "send ticket",
	// "read ticket", "read result", "finish", …
	Op string
	// Code is the result that the peer sent, or that a server should answer with. If neither
	// applies, for example because the connection broke, it is wire.ResultError.
	Code wire.Result
	// Err is the cause; nil if the peer's Code says everything.
	Err error
	// Hint says what to check, if that is known.
	Hint string
}

func (e *Error) Error() string {
	s := "link: " + e.Op
	if e.Err != nil {
		s += ": " + e.Err.Error()
	} else {
		s += ": " + e.Code.String()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// refused returns the error for a code that the peer sent.
func refused(op string, code wire.Result) *Error {
	e := &Error{Op: op, Code: code}
	switch code {
	case wire.ResultNeedSecured:
		e.Hint = "this port takes no plaintext: use the TLS port"
	case wire.ResultNeedUnsecured:
		e.Hint = "this channel takes no TLS: use the plaintext port"
	case wire.ResultPermissionDenied:
		e.Hint = "wrong ticket or token, or an expired one"
	case wire.ResultBadConnectionID:
		e.Hint = "the session of this connection id is over, or never was"
	case wire.ResultChannelNotAvailable:
		e.Hint = "the server has no such channel, or another client holds it"
	case wire.ResultVersionMismatch:
		e.Hint = fmt.Sprintf("we speak version %d.%d", Major, Minor)
	}
	return e
}

// foreignHint guesses which protocol the peer speaks, from bytes that should be "REDQ".
func foreignHint(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	switch {
	case b[0] >= 0x14 && b[0] <= 0x17 && b[1] == 3 && b[2] <= 4:
		return "looks like TLS: one side speaks TLS and the other does not"
	case string(b[:4]) == "HTTP", string(b[:4]) == "GET ", string(b[:4]) == "POST", string(b[:4]) == "HEAD":
		return "looks like HTTP: is this the SPICE port?"
	case string(b[:4]) == "RFB ":
		return "looks like VNC"
	case string(b[:4]) == "SSH-":
		return "looks like SSH"
	case b[0] == '{':
		return "looks like JSON: is this a QMP or control socket?"
	}
	return ""
}
