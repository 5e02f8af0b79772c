package conform_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/control/conform"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// object is a line, or a part of one.
type object = map[string]any

// A mutant is our own server with one mistake. It stands between the checks and the
// server:
//
//	conform ─ mutant ─ server ─ a console made of memory
type mutant struct {
	// check is the name of the check that must find it, or what it begins with.
	check string
	// request may change a request's line, answer it itself, or hang up.
	request func(l *link, line string) (forward string, answers []string)
	// line may change what the server sends; it returns what the client gets.
	line func(l *link, m object) []object
	// keeps says that the server does not notice that its client has gone.
	keeps bool
	// impatient says that the check fails after a wait.
	impatient bool
	// mode is the socket file's.
	mode os.FileMode
}

// A link is one connection through a mutant.
type link struct {
	mu             sync.Mutex
	client, server net.Conn
	methods        map[string]string // of requests, by id
	held           object
	n              int
}

// method returns the verb that a line answers.
func (l *link) method(m object) string {
	id, _ := json.Marshal(m["id"])
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.methods[string(id)]
}

// reply writes lines to the client.
func (l *link) reply(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range lines {
		_, _ = l.client.Write([]byte(s + "\n")) // a client that has gone is none of ours
	}
}

// requests takes the client's lines apart and forwards them.
func (l *link) requests(mu mutant) {
	var line []byte
	buf := make([]byte, 1<<20)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			if !mu.keeps {
				l.server.Close()
			}
			return
		}
		line = append(line, buf[:n]...)
		for {
			one, rest, complete := bytes.Cut(line, []byte("\n"))
			if !complete {
				break
			}
			line = append([]byte(nil), rest...)
			forward := string(one)
			var req struct {
				ID     json.RawMessage `json:"id"`
				Method string          `json:"method"`
			}
			if json.Unmarshal(one, &req) == nil {
				var id any
				dec := json.NewDecoder(bytes.NewReader(req.ID))
				dec.UseNumber()
				_ = dec.Decode(&id)
				key, _ := json.Marshal(id)
				l.mu.Lock()
				l.methods[string(key)] = req.Method
				l.mu.Unlock()
			}
			var answers []string
			if mu.request != nil {
				forward, answers = mu.request(l, forward)
			}
			l.reply(answers...)
			if forward != "" {
				if _, err := l.server.Write([]byte(forward + "\n")); err != nil {
					return
				}
			}
		}
	}
}

// answers passes the server's lines on.
func (l *link) answers(mu mutant) {
	defer l.client.Close()
	r := bufio.NewReader(l.server)
	for {
		raw, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		if mu.line == nil {
			l.reply(strings.TrimSuffix(string(raw), "\n"))
			continue
		}
		var m object
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if dec.Decode(&m) != nil {
			return
		}
		for _, out := range mu.line(l, m) {
			b, _ := json.Marshal(out)
			l.reply(string(b))
		}
	}
}

// serve stands before the server at path until the test ends; it returns its own path.
func (mu mutant) serve(t *testing.T, path string) string {
	t.Helper()
	own := controltest.SocketPath(t)
	l, err := net.Listen("unix", own)
	require.NoError(t, err)
	mode := mu.mode
	if mode == 0 {
		mode = 0o600
	}
	require.NoError(t, os.Chmod(own, mode))
	var (
		joined sync.WaitGroup
		mutex  sync.Mutex
		conns  []net.Conn
	)
	joined.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			srv, err := net.Dial("unix", path)
			if err != nil {
				client.Close()
				continue
			}
			mutex.Lock()
			conns = append(conns, client, srv)
			mutex.Unlock()
			one := &link{client: client, server: srv, methods: map[string]string{}}
			joined.Go(func() { one.requests(mu) })
			joined.Go(func() { one.answers(mu) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mutex.Lock()
		for _, c := range conns {
			c.Close()
		}
		mutex.Unlock()
		joined.Wait()
	})
	return own
}

// What mutants are made of.

// swap replaces a text in requests.
func swap(old, new string) func(*link, string) (string, []string) {
	return func(_ *link, line string) (string, []string) { return strings.ReplaceAll(line, old, new), nil }
}

// answering answers requests that hold a text itself.
func answering(text, answer string) func(*link, string) (string, []string) {
	return func(_ *link, line string) (string, []string) {
		if strings.Contains(line, text) {
			return "", []string{answer}
		}
		return line, nil
	}
}

// result changes the result of a verb.
func result(method string, change func(object)) func(*link, object) []object {
	return func(l *link, m object) []object {
		if res, ok := m["result"].(object); ok && l.method(m) == method {
			change(res)
		}
		return []object{m}
	}
}

// recode gives the errors of a verb another code; of every verb if it is "*".
func recode(method, from, to string) func(*link, object) []object {
	return func(l *link, m object) []object {
		if e, ok := m["error"].(object); ok && e["code"] == from && (method == "*" || l.method(m) == method) {
			e["code"] = to
		}
		return []object{m}
	}
}

// event changes the data of an event.
func event(name string, change func(l *link, m, data object)) func(*link, object) []object {
	return func(l *link, m object) []object {
		if data, ok := m["data"].(object); ok && m["event"] == name {
			change(l, m, data)
		}
		return []object{m}
	}
}

// hangUpAt ends the connection instead of sending the nth event of a name.
func hangUpAt(name string, n int) func(*link, object) []object {
	return event(name, func(l *link, _, _ object) {
		if l.n++; l.n == n {
			l.client.Close()
		}
	})
}

// mutants has at least one for each check.
var mutants = []mutant{
	{check: "the socket file is for its owner alone", mode: 0o660},
	{check: "a request before hello is", line: recode("send_key", "no_hello_yet", "unknown_method")},
	{check: "hello names the server", line: result("hello", func(r object) { r["supported_methods"] = []string{"hello", "status"} })},
	{check: "hello names the server", line: result("hello", func(r object) { r["server_name"] = "" })},
	{check: "hello takes any minor version", request: swap(`"1.99"`, `"2.0"`)},
	{check: "hello with another major version", request: swap(`"0.9"`, `"1.0"`)},
	{check: "hello with bad params", request: swap(`"1.2.3"`, `"1.2"`)},
	// As a server has it that reads ids as floating point numbers.
	{check: "ids come back as they were sent", line: func(_ *link, m object) []object {
		if m["id"] == json.Number("9007199254740993") {
			m["id"] = json.Number("9007199254740992")
		}
		return []object{m}
	}},
	{check: "a verb that nobody knows", line: recode("*", "unknown_method", "bad_params")},
	{check: "lines that are no request", line: func(_ *link, m object) []object {
		if e, ok := m["error"].(object); ok && m["id"] == nil && e["code"] == "bad_params" {
			e["code"] = "internal_error"
		}
		return []object{m}
	}},
	{check: "a malformed request with a readable id", line: func(_ *link, m object) []object {
		if e, ok := m["error"].(object); ok && e["code"] == "bad_params" {
			delete(m, "id")
		}
		return []object{m}
	}},
	{check: "a line that is not UTF-8", request: func(_ *link, line string) (string, []string) {
		return strings.ToValidUTF8(line, "?"), nil
	}},
	{check: "unknown fields are ignored", request: answering(`"jsonrpc"`, `{"id":31,"ok":false,"error":{"code":"bad_params","message":"jsonrpc"}}`)},
	{check: "empty lines and carriage returns", request: func(_ *link, line string) (string, []string) {
		if strings.TrimSpace(line) == "" {
			return "", []string{`{"ok":false,"error":{"code":"bad_params","message":"empty"}}`}
		}
		return line, nil
	}},
	// As a server answers that takes each read for a request.
	{check: "a request that comes in pieces", request: answering(`"id":"p"`, `{"ok":false,"error":{"code":"bad_params","message":"half a line"}}`)},
	{check: "requests that come at once", line: func(l *link, m object) []object {
		switch m["id"] {
		case json.Number("3"):
			l.held = m
			return nil
		case json.Number("4"):
			return []object{m, l.held}
		}
		return []object{m}
	}},
	{check: "a line of 1 MB is a request", request: func(_ *link, line string) (string, []string) {
		if len(line) > 1<<19 {
			return "", []string{`{"id":77,"ok":false,"error":{"code":"bad_params","message":"too long"}}`}
		}
		return line, nil
	}},
	{check: "a line of more than 1 MB", request: func(l *link, line string) (string, []string) {
		if len(line) > 1<<20 {
			l.client.Close()
		}
		return line, nil
	}},
	{check: "answers wait for a client", line: func(_ *link, m object) []object {
		if m["id"] == json.Number("4000") {
			return nil
		}
		return []object{m}
	}},
	{check: "a second client gets busy", line: func(_ *link, m object) []object {
		if e, ok := m["error"].(object); ok && e["code"] == "busy" {
			m["id"] = nil
		}
		return []object{m}
	}},
	{check: "a client that goes in the middle", keeps: true},
	{check: "subscriptions end with the connection", line: result("unsubscribe", func(r object) { r["unsubscribed"] = []string{"latency"} })},
	{check: "status tells the connection", line: result("status", func(r object) { delete(r, "agent_connected") })},
	{check: "status tells the connection", line: result("status", func(r object) { r["surfaces"] = []object{{"channel_id": 0, "surface_id": 0}} })},
	{check: "send_key takes down, up and press", request: func(_ *link, line string) (string, []string) {
		return strings.Replace(line, `"scancode":170`, `"scancode":0`, 1), nil
	}},
	{check: "send_key refuses other states", line: recode("send_key", "bad_state", "bad_params")},
	{check: "send_key refuses what is no logical", request: swap("19424", "57419")},
	{check: "paste is answered before", line: func(l *link, m object) []object {
		if l.method(m) == "paste" && m["ok"] == true {
			l.held = m
			return nil
		}
		if m["event"] == "paste_completed" {
			return []object{m, l.held}
		}
		return []object{m}
	}},
	{check: "paste is answered before", line: event("paste_completed", func(_ *link, _, data object) { data["chars_sent"] = 6 })},
	{check: "paste of what cannot be typed", line: event("paste_failed", func(_ *link, m, data object) {
		m["event"], data["chars_sent"] = "paste_completed", 1
	})},
	{check: "paste refuses bad params", request: swap(`"text":null`, `"text":""`)},
	{check: "a paste ends with its client", keeps: true},
	{check: "screenshot as png", line: result("screenshot", func(r object) { r["width"] = 319 })},
	{check: "screenshot as rgba", line: result("screenshot", func(r object) {
		data, _ := base64.StdEncoding.DecodeString(r["data_base64"].(string))
		data[len(data)-1] = 0
		r["data_base64"] = base64.StdEncoding.EncodeToString(data)
	})},
	{check: "screenshot as rgba", line: result("screenshot", func(r object) {
		r["width"], r["height"], r["data_base64"] = 1, 1, "AAAA/w=="
	})},
	{check: "screenshot refuses other surfaces", line: recode("screenshot", "unsupported_format", "bad_params")},
	{check: "subscribe takes what it knows", line: result("subscribe", func(r object) {
		r["subscribed"] = append(r["subscribed"].([]any), "no_such_event")
	})},
	{check: "unsubscribe names what it ended", line: result("unsubscribe", func(r object) { r["unsubscribed"] = []string{} })},
	{check: "subscribe and unsubscribe refuse", request: swap(`"events":null`, `"events":[]`)},
	{check: "no event comes without", line: func(l *link, m object) []object {
		if l.method(m) == "send_key" {
			return []object{m, {"event": "latency", "data": object{"sample_ms": 1}}}
		}
		return []object{m}
	}},
	{check: "latency has a sample", line: event("latency", func(_ *link, _, data object) { data["sample_ms"] = "1" })},
	{check: "latency has a sample", line: event("latency", func(_ *link, _, data object) { data["wallclock_us"] = 1 })},
	{check: "latency has a sample", line: hangUpAt("latency", 1)},
	{check: "surface_drawn has a channel", line: hangUpAt("surface_drawn", 1)},
	{check: "surface_drawn has a channel", line: hangUpAt("surface_drawn", 2)},
	{check: "digest_updated has counter", line: hangUpAt("digest_updated", 1)},
	{check: "digest_updated has counter", line: hangUpAt("digest_updated", 2)},
	{check: "surface_drawn has a channel", line: event("surface_drawn", func(l *link, _, data object) {
		l.n++
		data["produced_at_secs"] = 100 - l.n // a clock that goes back
	})},
	{check: "digest_updated has counter", line: event("digest_updated", func(_ *link, _, data object) { data["frame_counter"] = 5 })},
	{check: "digest_updated has counter", line: event("digest_updated", func(_ *link, _, data object) { data["events"] = nil })},
	{check: "digest, where offered", line: result("digest", func(r object) { r["framebuffer_hash"] = nil })},
	{check: "digest, where offered", line: result("digest", func(r object) { r["framebuffer_hash"] = 8 })},
	{check: "digest, where offered", line: result("digest", func(r object) { r["events"] = []object{} })},
	{check: "digest, where offered", line: result("digest", func(r object) { r["frame_counter"] = 99 }), impatient: true},
	{check: "await, where offered", line: func(_ *link, m object) []object {
		if e, ok := m["error"].(object); ok && e["code"] == "timeout" {
			e["message"] = "it did not come true"
		}
		return []object{m}
	}},
	{check: "match, where offered", line: result("match", func(r object) { r["matched"] = true })},
	{check: "match, where offered", line: result("match", func(r object) { r["matched"] = false })},
	{check: "match, where offered", line: result("match", func(r object) { r["areas"] = []object{} })},
	{check: "match, where offered", request: swap(`{"txet":{}}`, `{"text":{"literal":"a"}}`)},
	{check: "type, where offered", line: recode("type", "unmappable", "bad_params")},
	{check: "record_start and record_stop", line: result("record_stop", func(r object) { r["files"] = []string{} })},
	{check: "a client that does not read", line: event("dropped", func(_ *link, _, data object) { data["count"] = 1 << 20 })},
}

// named returns the checks whose name begins with the mutant's.
func (mu mutant) named() string {
	var found []string
	for _, name := range conform.Names() {
		if strings.HasPrefix(name, mu.check) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		panic(fmt.Sprintf("%q begins %d checks", mu.check, len(found)))
	}
	return found[0]
}

// origin serves what mutants stand before.
func origin(t *testing.T) (path string, opts conform.Options) {
	c := controltest.NewFull(320, 240)
	controltest.DrawDigest(c.Console, 320, 240, 1, 1)
	path, _ = controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan, Finder: controltest.Finder{}})
	return path, conform.Options{Burst: controltest.Noticer(c.Console), Patience: 10 * time.Second}
}

// What stands between is no mistake by itself: a check that fails, fails because of
// the mutation.
func TestAMutantWithoutAMistakePassesEveryCheck(t *testing.T) {
	path, opts := origin(t)
	through := mutant{line: func(_ *link, m object) []object { return []object{m} }}.serve(t, path)
	for _, r := range conform.Run(t.Context(), through, opts) {
		require.Equal(t, conform.Pass, r.Outcome, "%s", r)
	}
}

func TestEachCheckFindsAServerThatIsWrongInWhatItChecks(t *testing.T) {
	need.Long(t)
	var covered []string
	for _, mu := range mutants {
		name := mu.named()
		covered = append(covered, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, opts := origin(t)
			if mu.keeps || mu.impatient || strings.HasPrefix(mu.check, "answers wait") {
				opts.Patience = time.Second // the wait for it fails
			}
			err := conform.RunOne(t.Context(), mu.serve(t, path), opts, name)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "none came within", "it was skipped")
			t.Logf("%v", err)
		})
	}
	for _, name := range conform.Names() {
		require.True(t, slices.Contains(covered, name), "no mutant for the check %q", name)
	}
}
