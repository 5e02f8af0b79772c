package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// An Event is an asynchronous message from QEMU, such as SHUTDOWN.
type Event struct {
	Event     string         `json:"event"` // its name, such as EventReset
	Data      map[string]any `json:"data"`  // nil if the event has none
	Timestamp Timestamp      `json:"timestamp"`
}

// A Timestamp is when QEMU sent an event, by the host's clock.
type Timestamp struct {
	Seconds      int64 `json:"seconds"` // since 1970; -1 if QEMU could not read its clock
	Microseconds int64 `json:"microseconds"`
}

// Time returns the timestamp as a time.
func (t Timestamp) Time() time.Time { return time.Unix(t.Seconds, t.Microseconds*1000) }

// A Command is a command with its arguments. Args must encode to a JSON object; nil omits the
// arguments.
type Command struct {
	Execute string `json:"execute"`
	Args    any    `json:"arguments,omitempty"`
}

// Version is QEMU's version.
type Version struct {
	Package string      `json:"package"` // the distribution's, such as "Debian 1:7.2"
	QEMU    VersionQEMU `json:"qemu"`
}

// VersionQEMU is a version in numbers.
type VersionQEMU struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
	Micro int `json:"micro"`
}

// String returns the version as "7.2.22".
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
}

// Greeting is the first message on a connection.
type Greeting struct {
	Version      Version
	Capabilities []string // offered, such as "oob"; none is enabled by this package
}

// A message is one line from QEMU. Exactly one of Greeting, Event, Return and
// Error is set; ID belongs to Return and Error.
type message struct {
	Greeting *Greeting
	Event    *Event
	ID       string          // empty when QEMU could not tell which command it answers
	Return   json.RawMessage // owned by the message
	Error    *Error          // Command is empty: only the sender knows it
}

// DefaultMaxLine limits one line from QEMU, in bytes. The longest reply in use is query-qmp-schema
// with about 200 KiB. human-monitor-command can return a few megabytes for "info mtree" on a large
// machine.
const DefaultMaxLine = 16 << 20

// ErrLineTooLong is returned for a line over the limit.
var ErrLineTooLong = errors.New("line from QEMU is over the limit")

// A decoder reads messages from QEMU, one per line.
type decoder struct {
	r     *bufio.Reader
	limit int
	buf   []byte
}

// newDecoder returns a decoder whose lines are at most limit bytes long;
// limit <= 0 means DefaultMaxLine.
func newDecoder(r io.Reader, limit int) *decoder {
	if limit <= 0 {
		limit = DefaultMaxLine
	}
	return &decoder{r: bufio.NewReaderSize(r, 4096), limit: limit}
}

// decode returns the next message. At an end between lines it returns io.EOF, inside one
// io.ErrUnexpectedEOF. It may also return ErrLineTooLong, or an error that says what is wrong with
// the line. Any error is final, because the stream is out of step.
func (d *decoder) decode() (message, error) {
	line, err := d.line()
	if err != nil {
		return message{}, err
	}
	return parseMessage(line)
}

// line returns the next non-empty line without its end; it is valid until
// the next call.
func (d *decoder) line() ([]byte, error) {
	for {
		d.buf = d.buf[:0]
		for {
			part, err := d.r.ReadSlice('\n')
			if len(d.buf)+len(part) > d.limit {
				return nil, ErrLineTooLong
			}
			d.buf = append(d.buf, part...)
			if err == nil {
				break
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if errors.Is(err, io.EOF) && len(bytes.TrimSpace(d.buf)) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if line := bytes.TrimSpace(d.buf); len(line) > 0 {
			return line, nil
		}
	}
}

// wireMessage is a message of any kind, with the fields of its line.
type wireMessage struct {
	QMP    *wireGreeting   `json:"QMP"`
	Event  *string         `json:"event"`
	Return json.RawMessage `json:"return"`
	Error  *wireError      `json:"error"`
	ID     json.RawMessage `json:"id"`
}

type wireGreeting struct {
	Version      *Version          `json:"version"`
	Capabilities []json.RawMessage `json:"capabilities"`
}

type wireError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// parseMessage parses one line, without keeping a reference to it.
func parseMessage(line []byte) (message, error) {
	var w wireMessage
	if err := json.Unmarshal(line, &w); err != nil {
		return message{}, fmt.Errorf("line is not a QMP message: %w: %s", err, clip(line))
	}
	kinds := 0
	for _, is := range []bool{w.QMP != nil, w.Event != nil, w.Return != nil, w.Error != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return message{}, fmt.Errorf("message has %d of QMP, event, return and error, want 1: %s", kinds, clip(line))
	}

	var m message
	switch {
	case w.QMP != nil:
		if w.QMP.Version == nil {
			return message{}, fmt.Errorf("greeting has no version: %s", clip(line))
		}
		m.Greeting = &Greeting{Version: *w.QMP.Version}
		for _, c := range w.QMP.Capabilities {
			// Capabilities may be objects in the future; those are unknown here.
			var name string
			if json.Unmarshal(c, &name) == nil {
				m.Greeting.Capabilities = append(m.Greeting.Capabilities, name)
			}
		}
		return m, nil
	case w.Event != nil:
		m.Event = new(Event)
		if err := json.Unmarshal(line, m.Event); err != nil {
			return message{}, fmt.Errorf("malformed event: %w: %s", err, clip(line))
		}
		return m, nil
	case w.Return != nil:
		m.Return = bytes.Clone(w.Return)
	default:
		m.Error = &Error{Class: w.Error.Class, Desc: w.Error.Desc}
	}
	if len(w.ID) > 0 {
		if err := json.Unmarshal(w.ID, &m.ID); err != nil {
			return message{}, fmt.Errorf("reply has an id that is not a string: %s", clip(line))
		}
	}
	return m, nil
}

// clip shortens a line for an error message.
func clip(b []byte) string {
	const most = 120
	if len(b) <= most {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
}
