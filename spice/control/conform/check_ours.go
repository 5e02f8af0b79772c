package conform

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// offers opens a connection to a server that offers the verb, or skips the check.
func (p *probe) offers(method string) *line {
	l := p.open()
	if !has(l.hello.SupportedMethods, method) {
		p.skipf("the server does not offer %s", method)
	}
	return l
}

func checkDigestVerb(p *probe) {
	l := p.offers("digest")
	m := l.ask("digest", "{}")
	if !m.ok() {
		l.wantCode(m, "no_digest", "digest")
		p.skipf("there is no digest on the screen: %s", m.sub("error").str("message"))
	}
	data := m.sub("result")
	l.number(data, "frame_counter", 0, math.MaxUint32)
	l.number(data, "framebuffer_hash", 0, math.MaxUint32)
	l.wallclock(data)
}

func checkAwait(p *probe) {
	l := p.offers("await")
	want := l.primary()
	res := l.succeed("await", fmt.Sprintf(`{"surface":{"width":%d,"height":%d}}`, *want.Width, *want.Height))
	l.number(res, "waited_ms", 0, float64(p.opts.patience().Milliseconds()))
	// An await that is not met must not delay later requests.
	const never = `{"surface":{"width":1,"height":1},"timeout_ms":200}`
	l.send(`{"id":"late","method":"await","params":` + never + `}`)
	l.alive()
	m := l.answer("await " + never)
	if string(m["id"]) != `"late"` {
		p.failf("the answer was %s, want that of await", m)
	}
	l.wantCode(m, "timeout", "await "+never)
	if !strings.Contains(m.sub("error").str("message"), fmt.Sprintf("%dx%d", *want.Width, *want.Height)) {
		p.failf("the timeout does not say what was seen: %s", m)
	}
	for _, params := range []string{`{}`, `{"no_such_condition":true}`, `{"all":[]}`, `{"surface":{"widht":1}}`} {
		l.refuse("bad_params", "await", params)
	}
	l.alive()
}

func checkType(p *probe) {
	l := p.offers("type")
	res := l.succeed("type", `{"text":"conform","delay_ms":1}`)
	l.number(res, "chars_sent", 7, 7)
	l.refuse("unmappable", "type", `{"text":"•"}`)
	l.refuse("bad_params", "type", `{"text":"x","layout":"klingon"}`)
}

func checkRecord(p *probe) {
	l := p.offers("record_start")
	if !has(l.hello.SupportedMethods, "record_stop") {
		p.failf("record_start is offered, and record_stop is not")
	}
	l.refuse("bad_params", "record_start", `{"dir":"relative/path"}`)
	temp, err := os.MkdirTemp("", "conform-")
	if err != nil {
		p.fail(err)
	}
	defer os.RemoveAll(temp)
	dir, err := json.Marshal(filepath.Join(temp, "recording"))
	if err != nil {
		p.fail(err)
	}
	params := fmt.Sprintf(`{"dir":%s}`, dir)
	m := l.ask("record_start", params)
	if m.code() == "wrong_recording_state" {
		p.skipf("somebody is recording: %s", m.sub("error").str("message"))
	}
	if !m.ok() {
		p.failf("record_start %s was answered %s", params, m)
	}
	l.refuse("wrong_recording_state", "record_start", params)
	res := l.succeed("record_stop", "{}")
	if got := string(res["dir"]); got != string(dir) {
		p.failf("record_stop says that the recording is in %s, want %s", got, dir)
	}
	var files []string
	if err := json.Unmarshal(res["files"], &files); err != nil || len(files) == 0 {
		p.failf("record_stop names the files %s", res["files"])
	}
	l.number(res, "bytes", 1, math.MaxInt64)
	l.refuse("wrong_recording_state", "record_stop", "{}")
	l.alive()
}
