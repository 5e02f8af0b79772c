package conform

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var (
	coreMethods = []string{"hello", "status", "send_key", "paste", "screenshot", "subscribe", "unsubscribe"}
	coreEvents  = []string{"latency", "agent_connected", "paste_completed", "paste_failed", "dropped", "surface_drawn"}
)

// checks are made in this order.
var checks = []check{
	{"the socket file is for its owner alone", checkMode},
	{"a request before hello is answered no_hello_yet and the connection stays", checkHelloFirst},
	{"hello names the server, version 1.x, the verbs and the events", checkHello},
	{"hello takes any minor version", checkHelloMinor},
	{"hello with another major version is refused and the connection closed", checkHelloMajor},
	{"hello with bad params is answered bad_params and can be said again", checkHelloBad},
	{"ids come back as they were sent, integers and strings", checkIDs},
	{"a verb that nobody knows is answered unknown_method", checkUnknownMethod},
	{"lines that are no request are answered bad_params and the connection stays", checkMalformed},
	{"a malformed request with a readable id gets that id back", checkMalformedID},
	{"a line that is not UTF-8 is answered bad_params and the connection stays", checkUTF8},
	{"unknown fields are ignored", checkUnknownFields},
	{"empty lines and carriage returns are ignored", checkBlank},
	{"a request that comes in pieces is one request", checkPieces},
	{"requests that come at once are answered one by one in their order", checkPipeline},
	{"a line of 1 MB is a request like any other", checkLong},
	{"a line of more than 1 MB costs at most itself", checkTooLong},
	{"answers wait for a client that reads late", checkLateReader},
	{"a second client is told busy without an id and closed, the first one stays", checkBusy},
	{"a client that goes in the middle of a line makes room for the next", checkHalfLine},
	{"subscriptions end with the connection", checkForget},
	{"status tells the connection, the agent and the surfaces", checkStatus},
	{"send_key takes down, up and press, plain and extended", checkKeys},
	{"send_key refuses other states with bad_state", checkKeyState},
	{"send_key refuses what is no logical scancode with bad_params", checkKeyBad},
	{"paste is answered before its paste_completed, which names it and counts", checkPaste},
	{"paste of what cannot be typed ends in paste_failed", checkPasteFails},
	{"paste refuses bad params", checkPasteBad},
	{"a paste ends with its client", checkPasteCancelled},
	{"screenshot as png is a picture of the surface's size", checkPNG},
	{"screenshot as rgba is opaque and as long as the surface is large", checkRGBA},
	{"screenshot refuses other surfaces, formats and params", checkScreenshotBad},
	{"subscribe takes what it knows and ignores the rest", checkSubscribe},
	{"unsubscribe names what it ended and ignores the rest", checkUnsubscribe},
	{"subscribe and unsubscribe refuse bad params", checkSubscribeBad},
	{"no event comes without a subscription", checkSilence},
	{"latency has a sample and a time", checkLatency},
	{"surface_drawn has a channel, a surface and two clocks", checkDrawn},
	{"digest_updated has counter, hash, events and a time, and its counter changes", checkDigest},
	{"digest, where offered, says what digest_updated says", checkDigestVerb},
	{"await, where offered, waits, says what it saw, and holds up nobody", checkAwait},
	{"type, where offered, types or names what it cannot", checkType},
	{"record_start and record_stop, where offered, record into a directory, one recording at a time", checkRecord},
	{"a client that does not read loses the oldest events and is told how many", checkDropped},
}

func checkMode(p *probe) error {
	fi, err := os.Stat(p.path)
	if err != nil {
		return err
	}
	if fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is no socket", p.path)
	}
	if perm := fi.Mode().Perm(); perm != 0o600 {
		return fmt.Errorf("mode %04o, want 0600", perm)
	}
	return nil
}

func checkHelloFirst(p *probe) error {
	l, err := p.free()
	if err != nil {
		return err
	}
	for _, method := range []string{"status", "send_key", "subscribe", "no_such_verb"} {
		if err := l.refuse("no_hello_yet", method, "{}"); err != nil {
			return err
		}
	}
	if _, err := l.succeed("hello", `{"client_name":"conform","protocol_version":"1.2"}`); err != nil {
		return err
	}
	return l.alive()
}

func checkHello(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if l.hello.ServerName == "" {
		return fmt.Errorf("server_name is empty")
	}
	if !strings.HasPrefix(l.hello.ProtocolVersion, "1.") {
		return fmt.Errorf("protocol_version %q, want 1.x", l.hello.ProtocolVersion)
	}
	for _, m := range coreMethods {
		if !has(l.hello.SupportedMethods, m) {
			return fmt.Errorf("supported_methods lacks %s", m)
		}
	}
	for _, e := range coreEvents {
		if !has(l.hello.SupportedEvents, e) {
			return fmt.Errorf("supported_events lacks %s", e)
		}
	}
	return nil
}

func checkHelloMinor(p *probe) error {
	for _, v := range []string{"1.0", "1.1", "1.99"} {
		l, err := p.free()
		if err != nil {
			return err
		}
		res, err := l.succeed("hello", fmt.Sprintf(`{"client_name":"conform","protocol_version":%q}`, v))
		if err != nil {
			return err
		}
		if got := res.str("protocol_version"); !strings.HasPrefix(got, "1.") {
			return fmt.Errorf("asked for %s, got %q", v, got)
		}
		l.conn.Close()
	}
	return nil
}

func checkHelloMajor(p *probe) error {
	for _, v := range []string{"2.0", "0.9"} {
		l, err := p.free()
		if err != nil {
			return err
		}
		if err := l.refuse("protocol_version_mismatch", "hello", fmt.Sprintf(`{"client_name":"conform","protocol_version":%q}`, v)); err != nil {
			return err
		}
		if err := l.ended(); err != nil {
			return err
		}
	}
	return nil
}

func checkHelloBad(p *probe) error {
	l, err := p.free()
	if err != nil {
		return err
	}
	for _, params := range []string{
		`{}`, `{"client_name":"x"}`, `{"protocol_version":"1.2"}`, `{"client_name":1,"protocol_version":"1.2"}`,
		`{"client_name":"x","protocol_version":1.2}`, `{"client_name":"x","protocol_version":"1"}`,
		`{"client_name":"x","protocol_version":"1.2.3"}`, `{"client_name":"x","protocol_version":"one.two"}`,
		`{"client_name":"x","protocol_version":""}`, `{"client_name":"x","protocol_version":"-1.0"}`,
	} {
		if err := l.refuse("bad_params", "hello", params); err != nil {
			return err
		}
	}
	if err := l.refuse("no_hello_yet", "status", "{}"); err != nil {
		return fmt.Errorf("after a refused hello: %w", err)
	}
	_, err = l.succeed("hello", `{"client_name":"conform","protocol_version":"1.2"}`)
	return err
}

func checkIDs(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, id := range []string{"1", "0", "-7", "4294967296", "9007199254740993", `"a"`, `""`, `"1"`, `"ünï ✓"`, `"with \"quotes\""`} {
		m, err := l.askID(id, "status", "{}")
		if err != nil {
			return err
		}
		if !m.ok() {
			return fmt.Errorf("id %s: %s", id, m)
		}
	}
	return nil
}

func checkUnknownMethod(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, method := range []string{"no_such_verb", "", "Status", "status "} {
		if err := l.refuse("unknown_method", method, "{}"); err != nil {
			return err
		}
	}
	return l.alive()
}

func checkMalformed(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, s := range []string{
		`{`, `}`, `nonsense`, `[]`, `[1]`, `"status"`, `7`, `null`, `{}`, `{"id":1`, `{"id":1,}`,
		`{"id":1,"method":"status","params":{}}}`, `{"method":"status","params":{}}`,
		`{"id":null,"method":"status","params":{}}`, `{"id":1.5,"method":"status","params":{}}`,
		`{"id":true,"method":"status","params":{}}`, `{"id":[1],"method":"status","params":{}}`,
		`{"id":{},"method":"status","params":{}}`, "{\"id\":1,\x00}",
	} {
		if err := l.send(s); err != nil {
			return err
		}
		m, err := l.answer()
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		if err := wantCode(m, "bad_params", s); err != nil {
			return err
		}
		if id, has := m["id"]; has && string(id) != "null" && string(id) != "1" {
			return fmt.Errorf("%s was answered with the id %s", s, id)
		}
	}
	return l.alive()
}

func checkMalformedID(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for i, rest := range []string{
		`"params":{}`, `"method":7,"params":{}`, `"method":null,"params":{}`, `"method":"status"`, `"method":"status","params":null`,
		`"method":"status","params":[]`, `"method":"status","params":"{}"`, `"method":"status","params":3`,
	} {
		id := fmt.Sprint(500 + i)
		if err := l.send(`{"id":` + id + `,` + rest + `}`); err != nil {
			return err
		}
		m, err := l.answer()
		if err != nil {
			return fmt.Errorf("%s: %w", rest, err)
		}
		if err := wantCode(m, "bad_params", rest); err != nil {
			return err
		}
		if got := string(m["id"]); got != id {
			return fmt.Errorf("{%s}: the answer has id %q, want %s", rest, got, id)
		}
	}
	return l.alive()
}

func checkUTF8(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if err := l.send("{\"id\":1,\"method\":\"status\",\"params\":{\"x\":\"\xff\xfe\"}}"); err != nil {
		return err
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if err := wantCode(m, "bad_params", "a line with the bytes ff fe"); err != nil {
		return err
	}
	return l.alive()
}

func checkUnknownFields(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if err := l.send(`{"jsonrpc":"2.0","id":31,"method":"status","params":{"verbose":true,"a":[1,{"b":null}]},"trace":{"x":[[]]}}`); err != nil {
		return err
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if !m.ok() || string(m["id"]) != "31" {
		return fmt.Errorf("the answer was %s", m)
	}
	_, err = l.succeed("subscribe", `{"events":[],"since":0}`)
	return err
}

func checkBlank(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if err := l.send("\n\n\r\n  \n{\"id\":5,\"method\":\"status\",\"params\":{}}\r"); err != nil {
		return err
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if !m.ok() || string(m["id"]) != "5" {
		return fmt.Errorf("the answer was %s", m)
	}
	return l.alive()
}

func checkPieces(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, b := range []byte(`{"id":"p","method":"status","params":{"ü":1}}` + "\n") {
		if _, err := l.conn.Write([]byte{b}); err != nil {
			return err
		}
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if !m.ok() || string(m["id"]) != `"p"` {
		return fmt.Errorf("the answer was %s", m)
	}
	return nil
}

func checkPipeline(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	const n = 100
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "{\"id\":%d,\"method\":\"status\",\"params\":{}}\n", i)
	}
	if _, err := io.WriteString(l.conn, all.String()); err != nil {
		return err
	}
	for i := range n {
		m, err := l.answer()
		if err != nil {
			return fmt.Errorf("answer %d of %d: %w", i, n, err)
		}
		if string(m["id"]) != fmt.Sprint(i) || !m.ok() {
			return fmt.Errorf("answer %d of %d is %s", i, n, m)
		}
	}
	return nil
}

// padded is a status request of exactly n bytes.
func padded(id, n int) string {
	head := fmt.Sprintf(`{"id":%d,"method":"status","params":{"padding":"`, id)
	return head + strings.Repeat("x", n-len(head)-3) + `"}}`
}

func checkLong(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if err := l.send(padded(77, 1_000_000)); err != nil {
		return err
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if !m.ok() || string(m["id"]) != "77" {
		return fmt.Errorf("the answer was %s", m)
	}
	return l.alive()
}

func checkTooLong(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if err := l.send(padded(78, 3<<20)); err != nil {
		return fmt.Errorf("the server stopped reading: %w", err)
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if !m.ok() {
		if err := wantCode(m, "bad_params", "a line of 3 MiB"); err != nil {
			return err
		}
	}
	return l.alive()
}

func checkLateReader(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	// More than the socket holds: the server has to wait for us, and we for it,
	// so the requests are written beside the reading.
	const n = 5000
	sent := make(chan error, 1)
	go func() {
		var all bytes.Buffer
		for i := range n {
			fmt.Fprintf(&all, "{\"id\":%d,\"method\":\"status\",\"params\":{}}\n", i)
		}
		_, err := l.conn.Write(all.Bytes())
		sent <- err
	}()
	late := time.NewTimer(300 * time.Millisecond)
	defer late.Stop()
	<-late.C
	for i := range n {
		m, err := l.answer()
		if err != nil {
			l.conn.Close()
			<-sent
			return fmt.Errorf("answer %d of %d: %w", i, n, err)
		}
		if string(m["id"]) != fmt.Sprint(i) {
			l.conn.Close()
			<-sent
			return fmt.Errorf("answer %d of %d is %s", i, n, m)
		}
	}
	return <-sent
}

func checkBusy(p *probe) error {
	first, err := p.open()
	if err != nil {
		return err
	}
	for range 2 {
		second, err := p.dial()
		if err != nil {
			return err
		}
		m, err := second.read(p.opts.patience())
		if err != nil {
			return fmt.Errorf("second client: %w", err)
		}
		if err := wantCode(m, "busy", "a second client"); err != nil {
			return err
		}
		if _, has := m["id"]; has {
			return fmt.Errorf("the busy answer has an id: %s", m)
		}
		if err := second.ended(); err != nil {
			return fmt.Errorf("second client: %w", err)
		}
	}
	return first.alive()
}

func checkHalfLine(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(l.conn, `{"id":1,"method":"sta`); err != nil {
		return err
	}
	l.conn.Close()
	l, err = p.open()
	if err != nil {
		return err
	}
	return l.alive()
}

func checkForget(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.succeed("subscribe", `{"events":["latency","surface_drawn"]}`); err != nil {
		return err
	}
	l.conn.Close()
	if l, err = p.open(); err != nil {
		return err
	}
	res, err := l.succeed("unsubscribe", `{"events":["latency","surface_drawn"]}`)
	if err != nil {
		return err
	}
	return wantNames(res, "unsubscribed")
}

func checkStatus(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	_, err = l.surfaces()
	return err
}

type surface struct {
	ChannelID *uint8  `json:"channel_id"`
	SurfaceID *uint32 `json:"surface_id"`
	Width     *uint32 `json:"width"`
	Height    *uint32 `json:"height"`
}

// surfaces returns the surfaces that status names, having checked its form.
func (l *line) surfaces() ([]surface, error) {
	m, err := l.ask("status", "{}")
	if err != nil {
		return nil, err
	}
	var st struct {
		SPICEConnected *bool      `json:"spice_connected"`
		AgentConnected *bool      `json:"agent_connected"`
		Surfaces       *[]surface `json:"surfaces"`
	}
	if err := json.Unmarshal(m["result"], &st); err != nil {
		return nil, fmt.Errorf("status: %w: %s", err, m)
	}
	if st.SPICEConnected == nil || st.AgentConnected == nil || st.Surfaces == nil {
		return nil, fmt.Errorf("status lacks a field: %s", m)
	}
	for _, s := range *st.Surfaces {
		if s.ChannelID == nil || s.SurfaceID == nil || s.Width == nil || s.Height == nil || *s.Width == 0 || *s.Height == 0 {
			return nil, fmt.Errorf("a surface lacks a field: %s", m)
		}
	}
	return *st.Surfaces, nil
}

// primary returns surface 0 of the lowest channel, or a reason to skip.
func (l *line) primary() (surface, error) {
	all, err := l.surfaces()
	if err != nil {
		return surface{}, err
	}
	var best *surface
	for _, s := range all {
		if *s.SurfaceID == 0 && (best == nil || *s.ChannelID < *best.ChannelID) {
			best = &s
		}
	}
	if best == nil {
		return surface{}, skipf("the session has no primary surface")
	}
	return *best, nil
}

func checkKeys(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	// Shift, right Control, and the right arrow with the break bit set by the
	// driver, as some drivers do.
	for _, params := range []string{
		`{"scancode":42,"state":"down"}`, `{"scancode":42,"state":"up"}`, `{"scancode":42,"state":"press"}`,
		`{"scancode":42,"state":"down"}`, `{"scancode":170,"state":"up"}`,
		`{"scancode":57373,"state":"down"}`, `{"scancode":57373,"state":"up"}`,
		`{"scancode":57373,"state":"down"}`, `{"scancode":57501,"state":"up"}`,
		`{"scancode":57421,"state":"press"}`,
	} {
		if _, err := l.succeed("send_key", params); err != nil {
			return err
		}
	}
	return nil
}

func checkKeyState(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, state := range []string{"sideways", "", "Down", "press "} {
		if err := l.refuse("bad_state", "send_key", fmt.Sprintf(`{"scancode":42,"state":%q}`, state)); err != nil {
			return err
		}
	}
	return nil
}

func checkKeyBad(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, params := range []string{
		`{}`, `{"scancode":42}`, `{"state":"press"}`, `{"scancode":"42","state":"press"}`, `{"scancode":-1,"state":"press"}`,
		`{"scancode":65536,"state":"press"}`, `{"scancode":1.5,"state":"press"}`, `{"scancode":null,"state":"press"}`,
		`{"scancode":42,"state":1}`, `{"scancode":42,"state":null}`,
		`{"scancode":19424,"state":"press"}`, // 0x4be0, the wire's byte order
	} {
		if err := l.refuse("bad_params", "send_key", params); err != nil {
			return err
		}
	}
	return l.alive()
}

// paste sends a paste and returns the event that ends it, having checked that
// the answer came first.
func (l *line) paste(id, params string) (message, error) {
	if err := l.send(fmt.Sprintf(`{"id":%s,"method":"paste","params":%s}`, id, params)); err != nil {
		return nil, err
	}
	m, err := l.answer()
	if err != nil {
		return nil, err
	}
	if !m.ok() || string(m["id"]) != id {
		return nil, fmt.Errorf("paste %s was answered %s", params, m)
	}
	for _, ev := range l.events {
		if name := ev.str("event"); strings.HasPrefix(name, "paste_") {
			return nil, fmt.Errorf("%s came before the answer", name)
		}
	}
	deadline := time.Now().Add(l.p.opts.patience())
	for {
		m, err := l.read(time.Until(deadline))
		if err != nil {
			return nil, fmt.Errorf("waiting for the end of paste %s: %w", params, err)
		}
		if strings.HasPrefix(m.str("event"), "paste_") {
			if got := string(m.sub("data")["request_id"]); got != id {
				return nil, fmt.Errorf("request_id %s, want %s: %s", got, id, m)
			}
			return m, nil
		}
	}
}

func checkPaste(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`); err != nil {
		return err
	}
	for _, c := range []struct {
		id, params string
		n          int
	}{
		{"901", `{"text":"conform","char_delay_ms":1}`, 7},
		{`"nine"`, `{"text":"","char_delay_ms":null}`, 0},
	} {
		m, err := l.paste(c.id, c.params)
		if err != nil {
			return err
		}
		if m.str("event") != "paste_completed" || string(m.sub("data")["chars_sent"]) != fmt.Sprint(c.n) {
			return fmt.Errorf("paste %s ended with %s, want paste_completed with %d characters", c.params, m, c.n)
		}
	}
	return nil
}

func checkPasteFails(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`); err != nil {
		return err
	}
	m, err := l.paste("902", `{"text":"•"}`)
	if err != nil {
		return err
	}
	if m.str("event") != "paste_failed" || m.sub("data").str("reason") == "" {
		return fmt.Errorf("it ended with %s, want paste_failed with a reason", m)
	}
	return nil
}

func checkPasteBad(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, params := range []string{`{}`, `{"text":7}`, `{"text":null}`, `{"text":"","char_delay_ms":-1}`, `{"text":"","char_delay_ms":"1"}`} {
		if err := l.refuse("bad_params", "paste", params); err != nil {
			return err
		}
	}
	return nil
}

func checkPasteCancelled(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	// Would last a hundred minutes.
	if _, err := l.succeed("paste", `{"text":"`+strings.Repeat(" ", 100)+`","char_delay_ms":60000}`); err != nil {
		return err
	}
	l.conn.Close()
	if l, err = p.open(); err != nil {
		return err
	}
	// A paste that were still running would hold this one up.
	if _, err := l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`); err != nil {
		return err
	}
	m, err := l.paste("903", `{"text":"","char_delay_ms":0}`)
	if err != nil {
		return err
	}
	if m.str("event") != "paste_completed" {
		return fmt.Errorf("the next paste ended with %s", m)
	}
	return nil
}

type shot struct {
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	Format     string `json:"format"`
	DataBase64 string `json:"data_base64"`
}

// shoot takes a picture and returns it with its bytes decoded.
func (l *line) shoot(params string) (shot, []byte, error) {
	m, err := l.ask("screenshot", params)
	if err != nil {
		return shot{}, nil, err
	}
	var s shot
	if err := json.Unmarshal(m["result"], &s); err != nil || !m.ok() {
		return s, nil, fmt.Errorf("screenshot %s was answered %s", params, m)
	}
	data, err := base64.StdEncoding.Strict().DecodeString(s.DataBase64)
	if err != nil {
		return s, nil, fmt.Errorf("screenshot %s: data_base64: %w", params, err)
	}
	if strings.ContainsAny(s.DataBase64, "\r\n") {
		return s, nil, fmt.Errorf("screenshot %s: data_base64 has line breaks", params)
	}
	return s, data, nil
}

func checkPNG(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	want, err := l.primary()
	if err != nil {
		return err
	}
	for _, params := range []string{`{}`, `{"format":"png"}`, `{"surface_id":0,"format":"png"}`, `{"surface_id":null,"format":null}`} {
		s, data, err := l.shoot(params)
		if err != nil {
			return err
		}
		if s.Format != "png" || uint32(s.Width) != *want.Width || uint32(s.Height) != *want.Height {
			return fmt.Errorf("screenshot %s: %s of %dx%d, want png of %dx%d", params, s.Format, s.Width, s.Height, *want.Width, *want.Height)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("screenshot %s: %w", params, err)
		}
		if b := img.Bounds(); b.Dx() != s.Width || b.Dy() != s.Height {
			return fmt.Errorf("screenshot %s: the file is %dx%d, the answer says %dx%d", params, b.Dx(), b.Dy(), s.Width, s.Height)
		}
		if o, ok := img.(interface{ Opaque() bool }); ok && !o.Opaque() {
			return fmt.Errorf("screenshot %s: the picture is not opaque", params)
		}
	}
	return nil
}

func checkRGBA(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.primary(); err != nil {
		return err
	}
	s, data, err := l.shoot(`{"format":"rgba"}`)
	if err != nil {
		return err
	}
	if s.Format != "rgba" || len(data) != 4*s.Width*s.Height {
		return fmt.Errorf("format %s, %d bytes for %dx%d, want %d", s.Format, len(data), s.Width, s.Height, 4*s.Width*s.Height)
	}
	for i := 3; i < len(data); i += 4 {
		if data[i] != 255 {
			return fmt.Errorf("pixel %d,%d has alpha %d, want 255", i/4%s.Width, i/4/s.Width, data[i])
		}
	}
	return nil
}

func checkScreenshotBad(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, c := range [][2]string{
		{"no_such_surface", `{"surface_id":4294967295}`},
		{"unsupported_format", `{"format":"jpeg"}`}, {"unsupported_format", `{"format":"PNG"}`},
		{"bad_params", `{"surface_id":"0"}`}, {"bad_params", `{"surface_id":-1}`}, {"bad_params", `{"surface_id":4294967296}`}, {"bad_params", `{"format":7}`},
	} {
		if err := l.refuse(c[0], "screenshot", c[1]); err != nil {
			return err
		}
	}
	return l.alive()
}

// wantNames checks that the field is an array of exactly these strings.
func wantNames(res message, field string, want ...string) error {
	var got []string
	if err := json.Unmarshal(res[field], &got); err != nil || got == nil {
		return fmt.Errorf("%s is no array of strings: %s", field, res)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		return fmt.Errorf("%s is %q, want %q", field, got, want)
	}
	return nil
}

func checkSubscribe(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		params string
		want   []string
	}{
		{`{"events":["paste_completed","no_such_event"]}`, []string{"paste_completed"}},
		{`{"events":["paste_completed"]}`, []string{"paste_completed"}},
		{`{"events":["no_such_event",""]}`, nil},
		{`{"events":[]}`, nil},
		{`{"events":["agent_connected","paste_failed"]}`, []string{"agent_connected", "paste_failed"}},
	} {
		res, err := l.succeed("subscribe", c.params)
		if err != nil {
			return err
		}
		if err := wantNames(res, "subscribed", c.want...); err != nil {
			return fmt.Errorf("%s: %w", c.params, err)
		}
	}
	return nil
}

func checkUnsubscribe(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`); err != nil {
		return err
	}
	for _, c := range []struct {
		params string
		want   []string
	}{
		{`{"events":["latency","no_such_event"]}`, nil},
		{`{"events":["paste_completed","latency"]}`, []string{"paste_completed"}},
		{`{"events":["paste_completed"]}`, nil},
		{`{"events":["paste_failed"]}`, []string{"paste_failed"}},
	} {
		res, err := l.succeed("unsubscribe", c.params)
		if err != nil {
			return err
		}
		if err := wantNames(res, "unsubscribed", c.want...); err != nil {
			return fmt.Errorf("%s: %w", c.params, err)
		}
	}
	// The paste ends silently now; the next answer is the next line.
	if _, err := l.succeed("paste", `{"text":"","char_delay_ms":0}`); err != nil {
		return err
	}
	if err := l.alive(); err != nil {
		return err
	}
	if len(l.events) > 0 {
		return fmt.Errorf("%s came after unsubscribe", l.events[0])
	}
	return nil
}

func checkSubscribeBad(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	for _, method := range []string{"subscribe", "unsubscribe"} {
		for _, params := range []string{`{}`, `{"events":"latency"}`, `{"events":null}`, `{"events":[1]}`, `{"events":{}}`} {
			if err := l.refuse("bad_params", method, params); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSilence(p *probe) error {
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.succeed("send_key", `{"scancode":42,"state":"press"}`); err != nil {
		return err
	}
	if p.opts.Burst != nil {
		p.opts.Burst(3)
	}
	for range 20 {
		if err := l.alive(); err != nil {
			return err
		}
	}
	if len(l.events) > 0 {
		return fmt.Errorf("%s came unasked", l.events[0])
	}
	return nil
}

// number checks that a field is a number within bounds.
func number(data message, name string, least, most float64) error {
	var f *float64
	if err := json.Unmarshal(data[name], &f); err != nil || f == nil {
		return fmt.Errorf("%s is no number: %s", name, data)
	}
	if *f < least || *f > most {
		return fmt.Errorf("%s is %v, want %v to %v", name, *f, least, most)
	}
	return nil
}

// wallclock checks that wallclock_us is near this host's clock.
func wallclock(data message) error {
	now := float64(time.Now().UnixMicro())
	const hour = 3600e6
	return number(data, "wallclock_us", now-hour, now+hour)
}

// first subscribes to one event and waits for the first of it, or returns a
// reason to skip.
func (p *probe) first(name string) (*line, message, error) {
	l, err := p.open()
	if err != nil {
		return nil, nil, err
	}
	if !has(l.hello.SupportedEvents, name) {
		return nil, nil, skipf("the server does not offer %s", name)
	}
	if _, err := l.succeed("subscribe", fmt.Sprintf(`{"events":[%q]}`, name)); err != nil {
		return nil, nil, err
	}
	if p.opts.Burst != nil {
		p.opts.Burst(1)
	}
	m, err := l.event(name)
	if err != nil {
		return nil, nil, skipf("none came within %s", p.opts.patience())
	}
	if len(l.events) > 0 {
		return nil, nil, fmt.Errorf("%s came unasked", l.events[0])
	}
	return l, m.sub("data"), nil
}

func checkLatency(p *probe) error {
	_, data, err := p.first("latency")
	if err != nil {
		return err
	}
	if err := number(data, "sample_ms", 0, math.MaxFloat64); err != nil {
		return err
	}
	return wallclock(data)
}

func checkDrawn(p *probe) error {
	l, data, err := p.first("surface_drawn")
	if err != nil {
		return err
	}
	last := 0.0
	for range 3 {
		if err := number(data, "display_channel_id", 0, 255); err != nil {
			return err
		}
		if err := number(data, "surface_id", 0, math.MaxUint32); err != nil {
			return err
		}
		if err := number(data, "produced_at_secs", last, math.MaxFloat64); err != nil {
			return fmt.Errorf("the clock must not go back: %w", err)
		}
		_ = json.Unmarshal(data["produced_at_secs"], &last)
		if err := wallclock(data); err != nil {
			return err
		}
		if p.opts.Burst != nil {
			p.opts.Burst(1)
		}
		m, err := l.event("surface_drawn")
		if err != nil {
			return nil // the guest fell silent; what came was right
		}
		data = m.sub("data")
	}
	return nil
}

func checkDigest(p *probe) error {
	l, data, err := p.first("digest_updated")
	if err != nil {
		return err
	}
	last := -1.0
	for range 3 {
		if err := number(data, "frame_counter", 0, math.MaxUint32); err != nil {
			return err
		}
		if err := number(data, "framebuffer_hash", 0, math.MaxUint32); err != nil {
			return err
		}
		if err := wallclock(data); err != nil {
			return err
		}
		var counter float64
		_ = json.Unmarshal(data["frame_counter"], &counter)
		if counter == last {
			return fmt.Errorf("frame_counter %v came twice", counter)
		}
		last = counter
		var events []map[string]map[string]json.RawMessage
		if err := json.Unmarshal(data["events"], &events); err != nil || events == nil {
			return fmt.Errorf("events is no array of objects: %s", data)
		}
		for _, ev := range events {
			for kind := range ev {
				if len(ev) != 1 || kind != strings.ToLower(kind) {
					return fmt.Errorf("an event has not one snake_case key: %s", data)
				}
			}
		}
		if p.opts.Burst != nil {
			p.opts.Burst(1)
		}
		m, err := l.event("digest_updated")
		if err != nil {
			return nil // the guest's digest does not change; what came was right
		}
		data = m.sub("data")
	}
	return nil
}

func checkDropped(p *probe) error {
	if p.opts.Burst == nil {
		return skipf("nothing here makes the console draw fast enough")
	}
	l, err := p.open()
	if err != nil {
		return err
	}
	if _, err := l.succeed("subscribe", `{"events":["surface_drawn","dropped"]}`); err != nil {
		return err
	}
	// Enough to fill the socket, which holds some hundred kilobytes, and the
	// queue, which holds 256.
	const n = 20000
	begin := time.Now()
	p.opts.Burst(n)
	if took := time.Since(begin); took > p.opts.patience() {
		return fmt.Errorf("the console waited %s for a client that does not read", took)
	}
	// Everything is either read or counted.
	seen, dropped, drops := 0, 0, 0
	for seen+dropped < n {
		m, err := l.read(p.opts.patience())
		if err != nil {
			return fmt.Errorf("%d events read and %d counted as dropped, of %d: %w", seen, dropped, n, err)
		}
		switch m.str("event") {
		case "surface_drawn":
			seen++
		case "dropped":
			var data struct {
				Count int `json:"count"`
			}
			if err := json.Unmarshal(m["data"], &data); err != nil || data.Count <= 0 {
				return fmt.Errorf("dropped without a count: %s", m)
			}
			dropped += data.Count
			drops++
		}
	}
	if seen+dropped != n {
		return fmt.Errorf("%d events read and %d counted as dropped, %d were caused", seen, dropped, n)
	}
	if drops == 0 {
		return fmt.Errorf("%d events were kept for a client that did not read", seen)
	}
	return l.alive()
}

// offers opens a connection to a server that offers the verb, or skips.
func (p *probe) offers(method string) (*line, error) {
	l, err := p.open()
	if err != nil {
		return nil, err
	}
	if !has(l.hello.SupportedMethods, method) {
		return nil, skipf("the server does not offer %s", method)
	}
	return l, nil
}

func checkDigestVerb(p *probe) error {
	l, err := p.offers("digest")
	if err != nil {
		return err
	}
	m, err := l.ask("digest", "{}")
	if err != nil {
		return err
	}
	if !m.ok() {
		if err := wantCode(m, "no_digest", "digest"); err != nil {
			return err
		}
		return skipf("there is no digest on the screen: %s", m.sub("error").str("message"))
	}
	data := m.sub("result")
	if err := number(data, "frame_counter", 0, math.MaxUint32); err != nil {
		return err
	}
	if err := number(data, "framebuffer_hash", 0, math.MaxUint32); err != nil {
		return err
	}
	return wallclock(data)
}

func checkAwait(p *probe) error {
	l, err := p.offers("await")
	if err != nil {
		return err
	}
	want, err := l.primary()
	if err != nil {
		return err
	}
	res, err := l.succeed("await", fmt.Sprintf(`{"surface":{"width":%d,"height":%d}}`, *want.Width, *want.Height))
	if err != nil {
		return err
	}
	if err := number(res, "waited_ms", 0, float64(p.opts.patience().Milliseconds())); err != nil {
		return err
	}
	// One that does not come true is overtaken by what is asked after it.
	const never = `{"surface":{"width":1,"height":1},"timeout_ms":200}`
	if err := l.send(`{"id":"late","method":"await","params":` + never + `}`); err != nil {
		return err
	}
	if err := l.alive(); err != nil {
		return err
	}
	m, err := l.answer()
	if err != nil {
		return err
	}
	if string(m["id"]) != `"late"` {
		return fmt.Errorf("the answer was %s, want that of await", m)
	}
	if err := wantCode(m, "timeout", "await "+never); err != nil {
		return err
	}
	if !strings.Contains(m.sub("error").str("message"), fmt.Sprintf("%dx%d", *want.Width, *want.Height)) {
		return fmt.Errorf("the timeout does not say what was seen: %s", m)
	}
	for _, params := range []string{`{}`, `{"no_such_condition":true}`, `{"all":[]}`, `{"surface":{"widht":1}}`} {
		if err := l.refuse("bad_params", "await", params); err != nil {
			return err
		}
	}
	return l.alive()
}

func checkType(p *probe) error {
	l, err := p.offers("type")
	if err != nil {
		return err
	}
	res, err := l.succeed("type", `{"text":"conform","delay_ms":1}`)
	if err != nil {
		return err
	}
	if err := number(res, "chars_sent", 7, 7); err != nil {
		return err
	}
	if err := l.refuse("unmappable", "type", `{"text":"•"}`); err != nil {
		return err
	}
	return l.refuse("bad_params", "type", `{"text":"x","layout":"klingon"}`)
}

func checkRecord(p *probe) error {
	l, err := p.offers("record_start")
	if err != nil {
		return err
	}
	if !has(l.hello.SupportedMethods, "record_stop") {
		return errors.New("record_start is offered, and record_stop is not")
	}
	if err := l.refuse("bad_params", "record_start", `{"dir":"relative/path"}`); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "conform-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	dir, err := json.Marshal(filepath.Join(temp, "recording"))
	if err != nil {
		return err
	}
	params := fmt.Sprintf(`{"dir":%s}`, dir)
	m, err := l.ask("record_start", params)
	if err != nil {
		return err
	}
	if m.code() == "wrong_recording_state" {
		return skipf("somebody is recording: %s", m.sub("error").str("message"))
	}
	if !m.ok() {
		return fmt.Errorf("record_start %s was answered %s", params, m)
	}
	if err := l.refuse("wrong_recording_state", "record_start", params); err != nil {
		return err
	}
	res, err := l.succeed("record_stop", "{}")
	if err != nil {
		return err
	}
	if got := string(res["dir"]); got != string(dir) {
		return fmt.Errorf("record_stop says that the recording is in %s, want %s", got, dir)
	}
	var files []string
	if err := json.Unmarshal(res["files"], &files); err != nil || len(files) == 0 {
		return fmt.Errorf("record_stop names the files %s", res["files"])
	}
	if err := number(res, "bytes", 1, math.MaxInt64); err != nil {
		return err
	}
	if err := l.refuse("wrong_recording_state", "record_stop", "{}"); err != nil {
		return err
	}
	return l.alive()
}
