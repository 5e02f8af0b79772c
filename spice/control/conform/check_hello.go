package conform

import (
	"fmt"
	"os"
	"strings"
)

var (
	coreMethods = []string{"hello", "status", "send_key", "paste", "screenshot", "subscribe", "unsubscribe"}
	coreEvents  = []string{"latency", "agent_connected", "paste_completed", "paste_failed", "dropped", "surface_drawn"}
)

func checkMode(p *probe) {
	fi, err := os.Stat(p.path)
	if err != nil {
		p.fail(err)
	}
	if fi.Mode().Type() != os.ModeSocket {
		p.failf("%s is no socket", p.path)
	}
	if perm := fi.Mode().Perm(); perm != 0o600 {
		p.failf("mode %04o, want 0600", perm)
	}
}

func checkHelloFirst(p *probe) {
	l := p.free()
	for _, method := range []string{"status", "send_key", "subscribe", "no_such_verb"} {
		l.refuse("no_hello_yet", method, "{}")
	}
	l.succeed("hello", `{"client_name":"conform","protocol_version":"1.2"}`)
	l.alive()
}

func checkHello(p *probe) {
	l := p.open()
	if l.hello.ServerName == "" {
		p.failf("server_name is empty")
	}
	if !strings.HasPrefix(l.hello.ProtocolVersion, "1.") {
		p.failf("protocol_version %q, want 1.x", l.hello.ProtocolVersion)
	}
	for _, m := range coreMethods {
		if !has(l.hello.SupportedMethods, m) {
			p.failf("supported_methods lacks %s", m)
		}
	}
	for _, e := range coreEvents {
		if !has(l.hello.SupportedEvents, e) {
			p.failf("supported_events lacks %s", e)
		}
	}
}

func checkHelloMinor(p *probe) {
	for _, v := range []string{"1.0", "1.1", "1.99"} {
		l := p.free()
		res := l.succeed("hello", fmt.Sprintf(`{"client_name":"conform","protocol_version":%q}`, v))
		if got := res.str("protocol_version"); !strings.HasPrefix(got, "1.") {
			p.failf("asked for %s, got %q", v, got)
		}
		l.conn.Close()
	}
}

func checkHelloMajor(p *probe) {
	for _, v := range []string{"2.0", "0.9"} {
		l := p.free()
		l.refuse("protocol_version_mismatch", "hello", fmt.Sprintf(`{"client_name":"conform","protocol_version":%q}`, v))
		l.ended()
	}
}

func checkHelloBad(p *probe) {
	l := p.free()
	for _, params := range []string{
		`{}`, `{"client_name":"x"}`, `{"protocol_version":"1.2"}`, `{"client_name":1,"protocol_version":"1.2"}`,
		`{"client_name":"x","protocol_version":1.2}`, `{"client_name":"x","protocol_version":"1"}`,
		`{"client_name":"x","protocol_version":"1.2.3"}`, `{"client_name":"x","protocol_version":"one.two"}`,
		`{"client_name":"x","protocol_version":""}`, `{"client_name":"x","protocol_version":"-1.0"}`,
	} {
		l.refuse("bad_params", "hello", params)
	}
	l.refuse("no_hello_yet", "status", "{}")
	l.succeed("hello", `{"client_name":"conform","protocol_version":"1.2"}`)
}
