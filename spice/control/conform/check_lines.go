package conform

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

func checkIDs(p *probe) {
	l := p.open()
	for _, id := range []string{"1", "0", "-7", "4294967296", "9007199254740993", `"a"`, `""`, `"1"`, `"ünï ✓"`, `"with \"quotes\""`} {
		m := l.askID(id, "status", "{}")
		if !m.ok() {
			p.failf("id %s: %s", id, m)
		}
	}
}

func checkUnknownMethod(p *probe) {
	l := p.open()
	for _, method := range []string{"no_such_verb", "", "Status", "status "} {
		l.refuse("unknown_method", method, "{}")
	}
	l.alive()
}

func checkMalformed(p *probe) {
	l := p.open()
	for _, s := range []string{
		`{`, `}`, `nonsense`, `[]`, `[1]`, `"status"`, `7`, `null`, `{}`, `{"id":1`, `{"id":1,}`,
		`{"id":1,"method":"status","params":{}}}`, `{"method":"status","params":{}}`,
		`{"id":null,"method":"status","params":{}}`, `{"id":1.5,"method":"status","params":{}}`,
		`{"id":true,"method":"status","params":{}}`, `{"id":[1],"method":"status","params":{}}`,
		`{"id":{},"method":"status","params":{}}`, "{\"id\":1,\x00}",
	} {
		l.send(s)
		m := l.answer(s)
		l.wantCode(m, "bad_params", s)
		if id, has := m["id"]; has && string(id) != "null" && string(id) != "1" {
			p.failf("%s was answered with the id %s", s, id)
		}
	}
	l.alive()
}

func checkMalformedID(p *probe) {
	l := p.open()
	for i, rest := range []string{
		`"params":{}`, `"method":7,"params":{}`, `"method":null,"params":{}`, `"method":"status"`, `"method":"status","params":null`,
		`"method":"status","params":[]`, `"method":"status","params":"{}"`, `"method":"status","params":3`,
	} {
		id := fmt.Sprint(500 + i)
		l.send(`{"id":` + id + `,` + rest + `}`)
		m := l.answer(rest)
		l.wantCode(m, "bad_params", rest)
		if got := string(m["id"]); got != id {
			p.failf("{%s}: the answer has id %q, want %s", rest, got, id)
		}
	}
	l.alive()
}

func checkUTF8(p *probe) {
	l := p.open()
	l.send("{\"id\":1,\"method\":\"status\",\"params\":{\"x\":\"\xff\xfe\"}}")
	l.wantCode(l.answer("a line with the bytes ff fe"), "bad_params", "a line with the bytes ff fe")
	l.alive()
}

func checkUnknownFields(p *probe) {
	l := p.open()
	l.send(`{"jsonrpc":"2.0","id":31,"method":"status","params":{"verbose":true,"a":[1,{"b":null}]},"trace":{"x":[[]]}}`)
	l.wantAnswer("31")
	l.succeed("subscribe", `{"events":[],"since":0}`)
}

func checkBlank(p *probe) {
	l := p.open()
	l.send("\n\n\r\n  \n{\"id\":5,\"method\":\"status\",\"params\":{}}\r")
	l.wantAnswer("5")
	l.alive()
}

func checkPieces(p *probe) {
	l := p.open()
	for _, b := range []byte(`{"id":"p","method":"status","params":{"ü":1}}` + "\n") {
		l.write(string([]byte{b}))
	}
	l.wantAnswer(`"p"`)
}

func checkPipeline(p *probe) {
	l := p.open()
	const n = 100
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "{\"id\":%d,\"method\":\"status\",\"params\":{}}\n", i)
	}
	l.write(all.String())
	for i := range n {
		l.wantAnswer(fmt.Sprint(i))
	}
}

// padded returns a status request of exactly n bytes.
func padded(id, n int) string {
	head := fmt.Sprintf(`{"id":%d,"method":"status","params":{"padding":"`, id)
	return head + strings.Repeat("x", n-len(head)-3) + `"}}`
}

func checkLong(p *probe) {
	l := p.open()
	l.send(padded(77, 1_000_000))
	l.wantAnswer("77")
	l.alive()
}

func checkTooLong(p *probe) {
	l := p.open()
	l.send(padded(78, 3<<20))
	if m := l.answer("a line of 3 MiB"); !m.ok() {
		l.wantCode(m, "bad_params", "a line of 3 MiB")
	}
	l.alive()
}

func checkLateReader(p *probe) {
	l := p.open()
	// More than the socket can buffer: the server has to wait for us, and we for it. So the
	// requests are written on another goroutine than the one that reads.
	const n = 5000
	sent := make(chan error, 1)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer l.conn.Close() // ends the writing if the check fails
	writing.Go(func() {
		var all bytes.Buffer
		for i := range n {
			fmt.Fprintf(&all, "{\"id\":%d,\"method\":\"status\",\"params\":{}}\n", i)
		}
		_, err := l.conn.Write(all.Bytes())
		sent <- err
	})
	late := time.NewTimer(300 * time.Millisecond)
	defer late.Stop()
	<-late.C
	for i := range n {
		l.wantAnswer(fmt.Sprint(i))
	}
	if err := <-sent; err != nil {
		p.fail(err)
	}
}
