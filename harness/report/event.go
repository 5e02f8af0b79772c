package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// An event is one line of the stream, see `go doc cmd/test2json`; the build
// events are those of `go help buildjson`.
type event struct {
	Time        time.Time
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
	Path        string // the directory, for the action "artifacts"
}

// maxLine limits one line of the stream, in bytes. Test2json splits output into lines or, if there
// are none, into pieces of a few KiB. A longer line is not from test2json.
const maxLine = 4 << 20

// errForeign means that a line is not an event.
var errForeign = errors.New("not a line of go test -json")

// parseEvent parses one line without its newline.
func parseEvent(line []byte) (event, error) {
	line = bytes.TrimSpace(line)
	var e event
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil {
		return e, errForeign
	}
	if e.Action == "" || e.Package == "" && e.ImportPath == "" {
		return e, errForeign
	}
	return e, nil
}

// eachLine calls f with every line, without its newline. A line longer than maxLine is truncated.
// cut means that the stream ended inside the last line.
func eachLine(r io.Reader, f func(line []byte, cut bool)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	for {
		piece, err := br.ReadSlice('\n')
		if room := maxLine - len(line); room > 0 {
			line = append(line, piece[:min(len(piece), room)]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if done := err != nil; len(line) > 0 || !done {
			f(bytes.TrimSuffix(line, []byte("\n")), done)
			if done {
				return nil
			}
			line = line[:0]
			continue
		}
		return nil
	}
}
