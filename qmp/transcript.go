package qmp

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Redacted replaces secrets in a transcript.
const Redacted = "(redacted)"

// Blotted is the former name of Redacted.
//
// Deprecated: use Redacted.
const Blotted = Redacted

// transcript writes both directions as NDJSON. A nil transcript writes
// nothing.
type transcript struct {
	start time.Time

	mu sync.Mutex
	w  io.Writer // nil after a failed write
}

func newTranscript(w io.Writer) *transcript {
	if w == nil {
		return nil
	}
	return &transcript{start: time.Now(), w: w}
}

func (t *transcript) out(line []byte) {
	if t != nil {
		t.write("out", redactCommand(line))
	}
}

// in writes a line from QEMU; secret means that its return value is secret.
func (t *transcript) in(line []byte, secret bool) {
	if t == nil {
		return
	}
	if secret {
		var m map[string]json.RawMessage
		if json.Unmarshal(line, &m) != nil {
			t.write("in", quote(Redacted))
			return
		}
		if _, ok := m["return"]; ok {
			m["return"] = quote(Redacted)
		}
		line, _ = json.Marshal(m)
	}
	t.write("in", line)
}

func (t *transcript) write(dir string, msg []byte) {
	if !json.Valid(msg) {
		msg = quote(string(msg))
	}
	line, err := json.Marshal(struct {
		T   int64           `json:"t_us"`
		Dir string          `json:"dir"`
		Msg json.RawMessage `json:"msg"`
	}{time.Since(t.start).Microseconds(), dir, bytes.TrimSpace(msg)})
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil {
		return
	}
	if _, err := t.w.Write(append(line, '\n')); err != nil {
		t.w = nil
	}
}

func quote(s string) json.RawMessage {
	b, _ := json.Marshal(s)
	return b
}

// redactCommand returns a command line with every secret in it replaced by Redacted: arguments
// whose names mention a password, the data of a secret object, and the line of a monitor command
// that contains a secret. A line that is not JSON is redacted completely.
func redactCommand(line []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber() // numbers must come out as they went in
	var cmd map[string]any
	if err := d.Decode(&cmd); err != nil {
		return quote(Redacted)
	}
	name, _ := cmd["execute"].(string)
	redact(name, cmd["arguments"])
	out, err := json.Marshal(cmd)
	if err != nil {
		return quote(Redacted)
	}
	return out
}

// redact replaces secrets in v, an argument value of the command, in place.
func redact(command string, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			redact(command, e)
		}
	case map[string]any:
		typ, _ := v["qom-type"].(string)
		line, _ := v["command-line"].(string)
		property, _ := v["property"].(string)
		for k, e := range v {
			switch {
			case speaksOfPassword(k),
				k == "data" && (typ == "secret" || command == "object-add"),
				k == "value" && command == "qom-set" && (property == "data" || speaksOfPassword(property)),
				k == "command-line" && monitorLineIsSecret(line):
				v[k] = Redacted
			default:
				redact(command, e)
			}
		}
	}
}

func speaksOfPassword(name string) bool {
	return strings.Contains(name, "password") && name != "password-secret"
}

// monitorLineIsSecret reports whether a human monitor command line contains a secret: set_password,
// change vnc password, object_add secret,…, qom-set.
func monitorLineIsSecret(line string) bool {
	return strings.Contains(line, "password") || strings.Contains(line, "secret") ||
		strings.HasPrefix(strings.TrimSpace(line), "qom-set")
}

// replyIsSecret reports whether the reply to cmd contains a secret: the data of a secret object can
// be read back.
func replyIsSecret(cmd Command) bool {
	if !slices.Contains([]string{"qom-get", "human-monitor-command"}, cmd.Execute) {
		return false
	}
	b, err := json.Marshal(cmd.Args)
	if err != nil {
		return true
	}
	var args struct {
		Property string `json:"property"`
		Line     string `json:"command-line"`
	}
	if json.Unmarshal(b, &args) != nil {
		return true
	}
	return args.Property == "data" || speaksOfPassword(args.Property) ||
		strings.HasPrefix(strings.TrimSpace(args.Line), "qom-get") || monitorLineIsSecret(args.Line)
}
