package conform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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

	// The screen may change between the event and the answer.
	if !has(l.hello.SupportedEvents, "digest_updated") {
		p.failf("digest is offered, and digest_updated is not")
	}
	l.succeed("subscribe", `{"events":["digest_updated"]}`)
	m, came := l.another("digest_updated")
	if !came {
		p.skipf("no digest_updated came within %s", p.opts.patience())
	}
	const tries = 5
	for range tries {
		told, said := m.sub("data"), l.succeed("digest", "{}")
		if string(said["frame_counter"]) == string(told["frame_counter"]) {
			for _, name := range []string{"framebuffer_hash", "events"} {
				if !equalJSON(said[name], told[name]) {
					p.failf("digest says of frame %s that %s is %s, digest_updated said %s",
						told["frame_counter"], name, said[name], told[name])
				}
			}
			return
		}
		if m, came = l.another("digest_updated"); !came {
			p.failf("digest says frame_counter %s, digest_updated said %s last",
				said["frame_counter"], told["frame_counter"])
		}
	}
	p.skipf("the digest changed during each of %d tries", tries)
}

// equalJSON reports whether two JSON values are equal.
func equalJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
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

func checkMatch(p *probe) {
	l := p.offers("match")
	l.primary()
	temp, err := os.MkdirTemp("", "conform-")
	if err != nil {
		p.fail(err)
	}
	defer os.RemoveAll(temp)
	dir, err := json.Marshal(temp)
	if err != nil {
		p.fail(err)
	}
	params := func(tag string) string { return fmt.Sprintf(`{"screen":{"dir":%s,"tag":%q}}`, dir, tag) }

	// The screen may change between a picture and a match.
	const tries = 5
	for try := 1; ; try++ {
		before, picture := l.shoot(`{"format":"rgba"}`)
		same := &image.NRGBA{Pix: picture, Stride: 4 * before.Width, Rect: image.Rect(0, 0, before.Width, before.Height)}
		off := &image.NRGBA{Pix: slices.Clone(picture), Stride: same.Stride, Rect: same.Rect}
		off.Pix[len(off.Pix)-4] ^= 1
		for name, img := range map[string]*image.NRGBA{"conform-same": same, "conform-off": off} {
			if err := writeReference(temp, name, img); err != nil {
				p.fail(err)
			}
		}
		yes, no := l.succeed("match", params("conform-same")), l.succeed("match", params("conform-off"))
		if _, after := l.shoot(`{"format":"rgba"}`); !bytes.Equal(picture, after) {
			if try == tries {
				p.skipf("the screen changed during each of %d tries", tries)
			}
			continue
		}
		if string(yes["matched"]) != "true" || yes.str("needle") != "conform-same" {
			p.failf("a reference image of the screen was answered %s", yes)
		}
		if string(no["matched"]) != "false" || no.str("needle") != "conform-off" {
			p.failf("a reference image that is a pixel off was answered %s", no)
		}
		var areas []struct {
			OK     *bool `json:"ok"`
			Differ *int  `json:"differ"`
		}
		if err := json.Unmarshal(no["areas"], &areas); err != nil || len(areas) != 1 || areas[0].OK == nil || areas[0].Differ == nil {
			p.failf("match names the areas %s, want one with ok and differ", no["areas"])
		}
		if *areas[0].OK || *areas[0].Differ != 1 {
			p.failf("match says of a reference image that is a pixel off: ok %v, %d pixels differ", *areas[0].OK, *areas[0].Differ)
		}
		break
	}
	const nowhere = `{"text":{"literal":"conform: this is on no screen"}}`
	if m := l.succeed("match", nowhere); string(m["matched"]) != "false" || m.str("saw") == "" {
		p.failf("match %s was answered %s", nowhere, m)
	}
	for _, params := range []string{`{}`, params("conform-missing"), `{"screen":{"dir":"relative","tag":"conform-same"}}`, `{"text":{"pattern":"("}}`, `{"txet":{}}`} {
		l.refuse("bad_params", "match", params)
	}
	l.alive()
}

// writeReference writes a reference image that must be equal to the whole screen.
func writeReference(dir, name string, img *image.NRGBA) error {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), b.Bytes(), 0o600); err != nil {
		return err
	}
	area := fmt.Sprintf(`{"area":[{"xpos":0,"ypos":0,"width":%d,"height":%d,"type":"match","margin":0}],"properties":[],"tags":[%q]}`,
		img.Rect.Dx(), img.Rect.Dy(), name)
	return os.WriteFile(filepath.Join(dir, name+".json"), []byte(area), 0o600)
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
