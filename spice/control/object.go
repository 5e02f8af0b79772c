package control

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// errObject says that a line is not one JSON object.
var errObject = errors.New("not a JSON object")

// splitObject splits a JSON object into its fields without parsing them: each value is checked when
// it is decoded. encoding/json would scan a picture of some megabytes four times to find its end,
// at 150 MB/s.
//
// The values passed to each are parts of b. If each returns an error, splitObject stops and returns
// it.
func splitObject(b []byte, each func(name string, value json.RawMessage) error) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '{' {
		return errObject
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return endOf(b, i+1)
	}
	for {
		end, ok := skipString(b, i)
		if !ok {
			return errObject
		}
		name := string(b[i+1 : end-1])
		if bytes.IndexByte(b[i:end], '\\') >= 0 {
			if err := json.Unmarshal(b[i:end], &name); err != nil {
				return errObject
			}
		}
		i = skipSpace(b, end)
		if i == len(b) || b[i] != ':' {
			return errObject
		}
		i = skipSpace(b, i+1)
		if end, ok = skipValue(b, i); !ok {
			return errObject
		}
		if err := each(name, b[i:end:end]); err != nil {
			return err
		}
		i = skipSpace(b, end)
		if i == len(b) {
			return errObject
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			return endOf(b, i+1)
		default:
			return errObject
		}
	}
}

// endOf returns an error unless only white space follows i.
func endOf(b []byte, i int) error {
	if skipSpace(b, i) != len(b) {
		return errObject
	}
	return nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i.
func skipString(b []byte, i int) (int, bool) {
	if i >= len(b) || b[i] != '"' {
		return i, false
	}
	for at := i + 1; ; {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return i, false
		}
		at += n + 1
		escapes := 0
		for j := at - 2; j > i && b[j] == '\\'; j-- {
			escapes++
		}
		if escapes%2 == 0 {
			return at, true
		}
	}
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i int) (int, bool) {
	if i == len(b) {
		return i, false
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; i < len(b); {
			switch b[i] {
			case '"':
				end, ok := skipString(b, i)
				if !ok {
					return i, false
				}
				i = end
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			i++
			if depth == 0 {
				return i, true
			}
		}
		return i, false
	default:
		start := i
		for i < len(b) && bytes.IndexByte([]byte(",}] \t\r\n"), b[i]) < 0 {
			i++
		}
		return i, i > start
	}
}

// decode decodes the result of screenshot.
func (r *ScreenshotResult) decode(raw json.RawMessage) error {
	return splitObject(raw, func(name string, value json.RawMessage) error {
		switch name {
		case "width":
			return json.Unmarshal(value, &r.Width)
		case "height":
			return json.Unmarshal(value, &r.Height)
		case "format":
			return json.Unmarshal(value, &r.Format)
		case "data_base64":
			if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
				return json.Unmarshal(value, &r.Data)
			}
			text := value[1 : len(value)-1]
			data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
			n, err := base64.StdEncoding.Strict().Decode(data, text)
			if err != nil {
				return fmt.Errorf("data_base64: %w", err)
			}
			r.Data = data[:n]
		}
		return nil
	})
}
