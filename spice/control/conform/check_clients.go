package conform

import (
	"encoding/json"
	"time"
)

func checkBusy(p *probe) {
	first := p.open()
	for range 2 {
		second := p.dial()
		m := second.read(p.opts.patience())
		second.wantCode(m, "busy", "a second client")
		if _, has := m["id"]; has {
			p.failf("the busy answer has an id: %s", m)
		}
		second.ended()
	}
	first.alive()
}

func checkHalfLine(p *probe) {
	l := p.open()
	l.write(`{"id":1,"method":"sta`)
	l.conn.Close()
	l = p.open()
	l.alive()
}

func checkForget(p *probe) {
	l := p.open()
	l.succeed("subscribe", `{"events":["latency","surface_drawn"]}`)
	l.conn.Close()
	l = p.open()
	res := l.succeed("unsubscribe", `{"events":["latency","surface_drawn"]}`)
	l.wantNames(res, "unsubscribed")
}

func checkDropped(p *probe) {
	if p.opts.Burst == nil {
		p.skipf("nothing here makes the console draw fast enough")
	}
	l := p.open()
	l.succeed("subscribe", `{"events":["surface_drawn","dropped"]}`)
	// Enough to fill the socket, which buffers some hundred kilobytes, and the queue of 256 events.
	const n = 20000
	begin := time.Now()
	p.opts.Burst(n)
	if took := time.Since(begin); took > p.opts.patience() {
		p.failf("the console waited %s for a client that does not read", took)
	}
	// Every event is either read or counted.
	seen, dropped, drops := 0, 0, 0
	for seen+dropped < n {
		m, err := l.tryRead(p.opts.patience())
		if err != nil {
			p.failf("%d events read and %d counted as dropped, of %d: %w", seen, dropped, n, err)
		}
		switch m.str("event") {
		case "surface_drawn":
			seen++
		case "dropped":
			var data struct {
				Count int `json:"count"`
			}
			if err := json.Unmarshal(m["data"], &data); err != nil || data.Count <= 0 {
				p.failf("dropped without a count: %s", m)
			}
			dropped += data.Count
			drops++
		}
	}
	if seen+dropped != n {
		p.failf("%d events read and %d counted as dropped, %d were caused", seen, dropped, n)
	}
	if drops == 0 {
		p.failf("%d events were kept for a client that did not read", seen)
	}
	l.alive()
}
