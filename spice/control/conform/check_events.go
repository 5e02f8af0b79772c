package conform

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

func checkSubscribe(p *probe) {
	l := p.open()
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
		res := l.succeed("subscribe", c.params)
		l.wantNames(res, "subscribed", c.want...)
	}
}

func checkUnsubscribe(p *probe) {
	l := p.open()
	l.succeed("subscribe", `{"events":["paste_completed","paste_failed"]}`)
	for _, c := range []struct {
		params string
		want   []string
	}{
		{`{"events":["latency","no_such_event"]}`, nil},
		{`{"events":["paste_completed","latency"]}`, []string{"paste_completed"}},
		{`{"events":["paste_completed"]}`, nil},
		{`{"events":["paste_failed"]}`, []string{"paste_failed"}},
	} {
		res := l.succeed("unsubscribe", c.params)
		l.wantNames(res, "unsubscribed", c.want...)
	}
	// From now on the paste ends without an event, so the next line is the next answer.
	l.succeed("paste", `{"text":"","char_delay_ms":0}`)
	l.alive()
	if len(l.events) > 0 {
		p.failf("%s came after unsubscribe", l.events[0])
	}
}

func checkSubscribeBad(p *probe) {
	l := p.open()
	for _, method := range []string{"subscribe", "unsubscribe"} {
		for _, params := range []string{`{}`, `{"events":"latency"}`, `{"events":null}`, `{"events":[1]}`, `{"events":{}}`} {
			l.refuse("bad_params", method, params)
		}
	}
}

func checkSilence(p *probe) {
	l := p.open()
	l.succeed("send_key", `{"scancode":42,"state":"press"}`)
	if p.opts.Burst != nil {
		p.opts.Burst(3)
	}
	for range 20 {
		l.alive()
	}
	if len(l.events) > 0 {
		p.failf("%s came unasked", l.events[0])
	}
}

// first subscribes to an event and waits for its first occurrence. If none comes, it skips the
// check.
func (p *probe) first(name string) (*line, message) {
	l := p.open()
	if !has(l.hello.SupportedEvents, name) {
		p.skipf("the server does not offer %s", name)
	}
	l.succeed("subscribe", fmt.Sprintf(`{"events":[%q]}`, name))
	if p.opts.Burst != nil {
		p.opts.Burst(1)
	}
	m, came := l.another(name)
	if !came {
		p.skipf("none came within %s", p.opts.patience())
	}
	if len(l.events) > 0 {
		p.failf("%s came unasked", l.events[0])
	}
	return l, m.sub("data")
}

func checkLatency(p *probe) {
	l, data := p.first("latency")
	l.number(data, "sample_ms", 0, math.MaxFloat64)
	l.wallclock(data)
}

func checkDrawn(p *probe) {
	l, data := p.first("surface_drawn")
	last := 0.0
	for range 3 {
		l.number(data, "display_channel_id", 0, 255)
		l.number(data, "surface_id", 0, math.MaxUint32)
		l.number(data, "produced_at_secs", last, math.MaxFloat64)
		_ = json.Unmarshal(data["produced_at_secs"], &last)
		l.wallclock(data)
		if p.opts.Burst != nil {
			p.opts.Burst(1)
		}
		m, came := l.another("surface_drawn")
		if !came {
			return // the guest causes no more events; what came was right
		}
		data = m.sub("data")
	}
}

func checkDigest(p *probe) {
	l, data := p.first("digest_updated")
	last := -1.0
	for range 3 {
		l.number(data, "frame_counter", 0, math.MaxUint32)
		l.number(data, "framebuffer_hash", 0, math.MaxUint32)
		l.wallclock(data)
		var counter float64
		_ = json.Unmarshal(data["frame_counter"], &counter)
		if counter == last {
			p.failf("frame_counter %v came twice", counter)
		}
		last = counter
		var events []map[string]map[string]json.RawMessage
		if err := json.Unmarshal(data["events"], &events); err != nil || events == nil {
			p.failf("events is no array of objects: %s", data)
		}
		for _, ev := range events {
			for kind := range ev {
				if len(ev) != 1 || kind != strings.ToLower(kind) {
					p.failf("an event has not one snake_case key: %s", data)
				}
			}
		}
		if p.opts.Burst != nil {
			p.opts.Burst(1)
		}
		m, came := l.another("digest_updated")
		if !came {
			return // the guest's digest does not change; what came was right
		}
		data = m.sub("data")
	}
}
