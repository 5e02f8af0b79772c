package conform

import (
	"fmt"
	"strings"
	"time"
)

func checkKeys(p *probe) {
	l := p.open()
	// Shift, right Control, and the right arrow with the break bit set by the driver, as some
	// drivers do.
	for _, params := range []string{
		`{"scancode":42,"state":"down"}`, `{"scancode":42,"state":"up"}`, `{"scancode":42,"state":"press"}`,
		`{"scancode":42,"state":"down"}`, `{"scancode":170,"state":"up"}`,
		`{"scancode":57373,"state":"down"}`, `{"scancode":57373,"state":"up"}`,
		`{"scancode":57373,"state":"down"}`, `{"scancode":57501,"state":"up"}`,
		`{"scancode":57421,"state":"press"}`,
	} {
		l.succeed("send_key", params)
	}
}

func checkKeyState(p *probe) {
	l := p.open()
	for _, state := range []string{"sideways", "", "Down", "press "} {
		l.refuse("bad_state", "send_key", fmt.Sprintf(`{"scancode":42,"state":%q}`, state))
	}
}

func checkKeyBad(p *probe) {
	l := p.open()
	for _, params := range []string{
		`{}`, `{"scancode":42}`, `{"state":"press"}`, `{"scancode":"42","state":"press"}`, `{"scancode":-1,"state":"press"}`,
		`{"scancode":65536,"state":"press"}`, `{"scancode":1.5,"state":"press"}`, `{"scancode":null,"state":"press"}`,
		`{"scancode":42,"state":1}`, `{"scancode":42,"state":null}`,
		`{"scancode":19424,"state":"press"}`, // 0x4be0, the wire's byte order
	} {
		l.refuse("bad_params", "send_key", params)
	}
	l.alive()
}

// paste sends a paste and returns the event that ends it. It checks that the answer came first.
func (l *line) paste(id, params string) message {
	l.send(fmt.Sprintf(`{"id":%s,"method":"paste","params":%s}`, id, params))
	l.wantAnswer(id)
	for _, ev := range l.events {
		if name := ev.str("event"); strings.HasPrefix(name, "paste_") {
			l.p.failf("%s came before the answer", name)
		}
	}
	deadline := time.Now().Add(l.p.opts.patience())
	for {
		m := l.read(time.Until(deadline))
		if strings.HasPrefix(m.str("event"), "paste_") {
			if got := string(m.sub("data")["request_id"]); got != id {
				l.p.failf("request_id %s, want %s: %s", got, id, m)
			}
			return m
		}
	}
}

func checkPaste(p *probe) {
	l := p.open()
	l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`)
	for _, c := range []struct {
		id, params string
		n          int
	}{
		{"901", `{"text":"conform","char_delay_ms":1}`, 7},
		{`"nine"`, `{"text":"","char_delay_ms":null}`, 0},
	} {
		m := l.paste(c.id, c.params)
		if m.str("event") != "paste_completed" || string(m.sub("data")["chars_sent"]) != fmt.Sprint(c.n) {
			p.failf("paste %s ended with %s, want paste_completed with %d characters", c.params, m, c.n)
		}
	}
}

func checkPasteFails(p *probe) {
	l := p.open()
	l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`)
	m := l.paste("902", `{"text":"•"}`)
	if m.str("event") != "paste_failed" || m.sub("data").str("reason") == "" {
		p.failf("it ended with %s, want paste_failed with a reason", m)
	}
}

func checkPasteBad(p *probe) {
	l := p.open()
	for _, params := range []string{`{}`, `{"text":7}`, `{"text":null}`, `{"text":"","char_delay_ms":-1}`, `{"text":"","char_delay_ms":"1"}`} {
		l.refuse("bad_params", "paste", params)
	}
}

func checkPasteCancelled(p *probe) {
	l := p.open()
	// This would take a hundred minutes.
	l.succeed("paste", `{"text":"`+strings.Repeat(" ", 100)+`","char_delay_ms":60000}`)
	l.conn.Close()
	l = p.open()
	// If the paste were still running, it would delay this one.
	l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`)
	m := l.paste("903", `{"text":"","char_delay_ms":0}`)
	if m.str("event") != "paste_completed" {
		p.failf("the next paste ended with %s", m)
	}
}
