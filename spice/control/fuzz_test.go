package control_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Whatever comes in, the answer can be encoded as one line and its id is the
// one that was sent.
func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"method":"hello","params":{"client_name":"x","protocol_version":"1.2"}}`,
		`{"id":"a\u0000b","method":"status","params":{}}`,
		`{"id":-0,"method":"paste","params":{"text":"\ud800","char_delay_ms":null}}`,
		`{"id":12345678901234567890,"method":"x","params":{"a":{"b":[1,2,{"c":null}]}}}`,
		`{"id":1e3,"method":"x","params":{}}`, `{"id":1,"id":"2","method":"x","params":{}}`,
		`{"id":null}`, `{"id":1,"method":null,"params":null}`, `[]`, `null`, `{}`, ``, ` `, "\xff", `{"id":"`, `"`,
		`{"id":1,"method":"x","params":[]}`, `{"ID":1,"METHOD":"x","PARAMS":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		req, err := server.ParseRequest(line)
		if err != nil {
			var e *control.Error
			if !errors.As(err, &e) || e.Code != control.CodeBadParams || e.Message == "" {
				t.Fatalf("%q: %v is no bad_params", line, err)
			}
			if !utf8.ValidString(e.Message) {
				t.Fatalf("%q: the message %q is no UTF-8", line, e.Message)
			}
		} else if len(req.ID) == 0 || len(req.Params) == 0 || req.Params[0] != '{' {
			t.Fatalf("%q: parsed as %+v", line, req)
		}
		if len(req.ID) > 0 && !bytes.Contains(line, req.ID) {
			t.Fatalf("%q: id %q does not stand there", line, req.ID)
		}
		out, jsonErr := json.Marshal(control.Response{ID: req.ID, OK: err == nil})
		if jsonErr != nil || bytes.ContainsRune(out, '\n') {
			t.Fatalf("%q: answer %q: %v", line, out, jsonErr)
		}
	})
}

// On whatever encoding/json takes for an object, the driver's quick parser finds
// the same fields.
func FuzzSplitObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"id":1,"ok":true,"result":{"a":[1,{"b":"}"}],"c":"\\\""}}`, `{"a\u0062":"\\","x":"\\\\\"{"}`,
		`{"event":"x","data":{}}`, `{"a":-1.5e3 , "b" : null,"c":[]}`, `{"a":1,"a":2}`, `{"a":1}x`, `{"a" 1}`, `{"a":}`, `{,}`, `[`, `{"a":"`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[string]json.RawMessage{}
		err := control.SplitObject(b, func(name string, v json.RawMessage) error {
			got[name] = v
			return nil
		})
		var want map[string]json.RawMessage
		if json.Unmarshal(b, &want) != nil || want == nil || !utf8.Valid(b) {
			return // it may take more than encoding/json does, never less
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q: got %q, %v, want %q", b, got, err, want)
		}
		for name, v := range want {
			if !bytes.Equal(got[name], v) {
				t.Fatalf("%q: %q is %q, want %q", b, name, got[name], v)
			}
		}
	})
}
