package qmp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/qmp"
)

func version(major, minor, micro int, pkg string) (v qmp.Version) {
	v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro, v.Package = major, minor, micro, pkg
	return v
}

func event(name string, data map[string]any, s, us int64) *qmp.Event {
	ev := &qmp.Event{Event: name, Data: data}
	ev.Timestamp.Seconds, ev.Timestamp.Microseconds = s, us
	return ev
}

// Lines as QEMU 7.2 and 9.2 sent them, and what they mean.
var lines = []struct {
	line string
	want qmp.Message
}{
	{`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}`,
		qmp.Message{Greeting: &qmp.Greeting{Version: version(7, 2, 22, "Debian 1:7.2"), Capabilities: []string{"oob"}}}},
	{`{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 5}, "package": ""}, "capabilities": []}}`,
		qmp.Message{Greeting: &qmp.Greeting{Version: version(5, 0, 0, "")}}},
	{`{"return": {}, "id": "c1"}`, qmp.Message{ID: "c1", Return: []byte(`{}`)}},
	{`{"return": [1, 2], "id": "c2"}`, qmp.Message{ID: "c2", Return: []byte(`[1, 2]`)}},
	{`{"id": "c3", "error": {"class": "GenericError", "desc": "no"}}`, qmp.Message{ID: "c3", Error: &qmp.Error{Class: "GenericError", Desc: "no"}}},
	{`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`, qmp.Message{Error: &qmp.Error{Class: "GenericError", Desc: "JSON parse error"}}},
	{`{"timestamp": {"seconds": 1795219754, "microseconds": 580430}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`,
		qmp.Message{Event: event("SHUTDOWN", map[string]any{"guest": true, "reason": "guest-shutdown"}, 1795219754, 580430)}},
	{`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}`, qmp.Message{Event: event("STOP", nil, 1, 2)}},
}

func TestMessagesMeanWhatQEMUSends(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, tt := range lines {
		got, err := qmp.ParseMessage([]byte(tt.line))
		require.NoError(t, err, tt.line)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.line, diff)
		}
		all.WriteString(tt.line + "\r\n\n")
	}
	// The same, one after the other, however they are cut into pieces.
	d := qmp.NewDecoder(oneByte{strings.NewReader(all.String())}, 0)
	for _, tt := range lines {
		got, err := qmp.Decode(d)
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(tt.want, got))
	}
	_, err := qmp.Decode(d)
	require.ErrorIs(t, err, io.EOF)
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

func TestEveryProperPrefixOfAMessageIsRejected(t *testing.T) {
	t.Parallel()
	for _, tt := range lines {
		for n := 1; n < len(tt.line); n++ {
			_, err := qmp.ParseMessage([]byte(tt.line[:n]))
			assert.Error(t, err, tt.line[:n])
			_, err = qmp.Decode(qmp.NewDecoder(strings.NewReader(tt.line[:n]), 0))
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF, tt.line[:n])
		}
	}
}

func TestMalformedMessagesAreToldApart(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{}`:                                    "has 0 of",
		`[]`:                                    "not a QMP message",
		`{"return":{},"event":"STOP"}`:          "has 2 of",
		`{"QMP":{}}`:                            "no version",
		`{"return":{},"id":7}`:                  "id that is not a string",
		`{"event":"STOP","data":7}`:             "malformed event",
		`{"event":"` + strings.Repeat("x", 999): "bytes)",
	} {
		_, err := qmp.ParseMessage([]byte(line))
		require.Error(t, err, line)
		assert.Contains(t, err.Error(), want)
		assert.Less(t, len(err.Error()), 400)
	}
}

func FuzzDecoder(f *testing.F) {
	for _, tt := range lines {
		f.Add([]byte(tt.line + "\r\n"))
	}
	f.Add([]byte("\n\r\n{\"return\":{}}\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 10
		d := qmp.NewDecoder(bytes.NewReader(b), limit)
		for range len(b) + 2 {
			m, err := qmp.Decode(d)
			if err != nil {
				if errors.Is(err, io.EOF) && len(bytes.TrimSpace(b)) > 0 && bytes.Count(b, []byte("\n")) == 0 {
					t.Fatal("an unfinished line was taken for the end")
				}
				return
			}
			set := 0
			for _, is := range []bool{m.Greeting != nil, m.Event != nil, m.Return != nil, m.Error != nil} {
				if is {
					set++
				}
			}
			if set != 1 {
				t.Fatalf("%+v", m)
			}
		}
		t.Fatal("more messages than bytes")
	})
}

// Whatever the secret is and however the command around it looks, it is gone.
func FuzzRedactCommand(f *testing.F) {
	f.Add("hush-hush", "spice")
	f.Add("a \"quoted\" one", "execute")
	f.Fuzz(func(t *testing.T, secret, other string) {
		if len(secret) < 8 || strings.Contains(`{"execute":"object-add","arguments":`, secret) {
			return // too short to be told from the rest
		}
		quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
		for _, args := range []string{
			`{"password":%s,"x":%s}`,
			`{"x":[{"old-password":%s}],"y":%s}`,
			`{"qom-type":"secret","data":%s,"id":%s}`,
			`{"password":[%s,{"deep":"er"}],"x":%s}`,
		} {
			line := fmt.Sprintf(`{"execute":"object-add","arguments":`+args+`}`, quote(secret), quote(other))
			out := string(qmp.RedactCommand([]byte(line)))
			if !json.Valid([]byte(out)) {
				t.Fatalf("%s became %s", line, out)
			}
			if inner := strings.Trim(quote(secret), `"`); !strings.Contains(quote(other), inner) && strings.Contains(out, inner) {
				t.Fatalf("%s became %s", line, out)
			}
		}
	})
}
