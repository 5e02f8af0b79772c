package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// ParseRequest parses one request line. With an error it still returns the id if the line has a
// valid one, so that the answer can have it. The error's code is always bad_params.
func ParseRequest(line []byte) (control.Request, error) {
	var req control.Request
	if !utf8.Valid(line) {
		return req, errorf(control.CodeBadParams, "the line is not valid UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return req, errorf(control.CodeBadParams, "the line is not a JSON object: %s", jsonReason(err))
	}
	if fields == nil {
		return req, errorf(control.CodeBadParams, "the line is not a JSON object: it is null")
	}
	id, ok := fields["id"]
	switch {
	case !ok:
		return req, errorf(control.CodeBadParams, `the request has no "id"`)
	case !validID(id):
		return req, errorf(control.CodeBadParams, `"id" is %s: want an integer or a string`, ndjson.Abbreviate(id))
	}
	req.ID = id
	method, ok := fields["method"]
	if !ok {
		return req, errorf(control.CodeBadParams, `the request has no "method"`)
	}
	if err := json.Unmarshal(method, &req.Method); err != nil || string(method) == "null" {
		return req, errorf(control.CodeBadParams, `"method" is %s: want a string`, ndjson.Abbreviate(method))
	}
	params, ok := fields["params"]
	switch {
	case !ok:
		return req, errorf(control.CodeBadParams, `the request has no "params": send {} if the verb takes none`)
	case len(params) == 0 || params[0] != '{':
		return req, errorf(control.CodeBadParams, `"params" is %s: want an object`, ndjson.Abbreviate(params))
	}
	req.Params = params
	return req, nil
}

// validID reports whether the JSON value is a string or an integer of any size.
func validID(raw json.RawMessage) bool {
	if len(raw) == 0 {
		return false
	}
	if raw[0] == '"' {
		return true
	}
	digits := bytes.TrimPrefix(raw, []byte("-"))
	return len(digits) > 0 && len(bytes.Trim(digits, "0123456789")) == 0
}

// idOfPrefix finds the id in the beginning of a line that was too long to keep; nil if it is not
// there.
func idOfPrefix(prefix []byte) control.ID {
	dec := json.NewDecoder(bytes.NewReader(prefix))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil
		}
		if key == "id" && validID(v) && utf8.Valid(v) {
			return v
		}
	}
	return nil
}

// decodeParams decodes params into the struct that v points to. Unlike encoding/json it matches
// field names exactly, treats null as absent, and requires every field without omitempty. Unknown
// fields are ignored.
func decodeParams(params json.RawMessage, v any) *control.Error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(params, &fields); err != nil {
		return errorf(control.CodeBadParams, "params: %s", jsonReason(err))
	}
	rv := reflect.ValueOf(v).Elem()
	for i := range rv.NumField() {
		name, opts, _ := strings.Cut(rv.Type().Field(i).Tag.Get("json"), ",")
		raw, ok := fields[name]
		if !ok || string(raw) == "null" {
			if opts == "omitempty" {
				continue
			}
			return errorf(control.CodeBadParams, "params.%s is missing: want %s", name, describe(rv.Field(i).Type()))
		}
		if err := json.Unmarshal(raw, rv.Field(i).Addr().Interface()); err != nil {
			if e := new(control.Error); errors.As(err, &e) {
				return e
			}
			return errorf(control.CodeBadParams, "params.%s is %s: want %s", name, ndjson.Abbreviate(raw), describe(rv.Field(i).Type()))
		}
	}
	return nil
}

// describe says in plain words which values a field accepts.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("an integer from 0 to %d", uint64(1)<<t.Bits()-1)
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes in base64"
		}
		return "an array, each element " + describe(t.Elem())
	default:
		return "an object"
	}
}

// jsonReason returns an error of encoding/json without Go's terms.
func jsonReason(err error) string {
	if e := new(json.UnmarshalTypeError); errors.As(err, &e) {
		return "it is a JSON " + e.Value
	}
	return err.Error()
}

func errorf(code control.Code, format string, args ...any) *control.Error {
	return &control.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
