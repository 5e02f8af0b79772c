package headless

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/timeline"
)

// KindControl is the kind of a timeline entry for a request on the control socket, written when it
// is answered. It has the request's method, but no parameters, which may be secrets.
const KindControl = "control"

// A notedListener notes the requests on its connections.
type notedListener struct {
	net.Listener
	log *timeline.Writer
}

func (l notedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.log == nil {
		return conn, err
	}
	return &notedConn{Conn: conn, log: l.log, asked: map[string]request{}}, nil
}

// A request is one that has not been answered yet.
type request struct {
	method string
	at     time.Time
}

// A notedConn reads along in both directions, line by line.
type notedConn struct {
	net.Conn
	log     *timeline.Writer
	in, out lineHead

	mu    sync.Mutex
	asked map[string]request // by the id
}

// maxAsked limits the number of open requests that are noted.
const maxAsked = 1000

func (c *notedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		at := time.Now()
		c.in.lines(p[:n], func(head []byte) {
			var r struct {
				ID     json.RawMessage `json:"id"`
				Method string          `json:"method"`
			}
			decodeFields(head, map[string]any{"id": &r.ID, "method": &r.Method})
			if r.Method == "" || r.ID == nil {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.asked) < maxAsked {
				c.asked[string(r.ID)] = request{r.Method, at}
			}
		})
	}
	return n, err
}

func (c *notedConn) Write(p []byte) (int, error) {
	at := time.Now()
	c.out.lines(p, func(head []byte) {
		var r struct {
			ID    json.RawMessage `json:"id"`
			Error *struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		decodeFields(head, map[string]any{"id": &r.ID, "error": &r.Error})
		c.mu.Lock()
		asked, ok := c.asked[string(r.ID)]
		delete(c.asked, string(r.ID))
		c.mu.Unlock()
		if !ok {
			return // an event
		}
		fields := map[string]any{"method": asked.method, "ms": float64(at.Sub(asked.at).Microseconds()) / 1000}
		if r.Error != nil {
			fields["error"] = r.Error.Code // its message may say what was typed
		}
		c.log.AddAt(at, KindControl, fields)
	})
	return c.Conn.Write(p)
}

// CloseWrite ends the writing direction. The server calls it before it closes a connection.
func (c *notedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// headBytes is how many bytes of a line are parsed. The method and the error come before what may
// be long, such as a picture.
const headBytes = 4 << 10

// A lineHead splits bytes into lines and keeps the beginning of each.
type lineHead struct{ head []byte }

func (l *lineHead) lines(p []byte, line func(head []byte)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if room := headBytes - len(l.head); room > 0 {
			l.head = append(l.head, part[:min(room, len(part))]...)
		}
		if i < 0 {
			return
		}
		line(l.head)
		l.head, p = l.head[:0], p[i+1:]
	}
}

// decodeFields decodes fields of a JSON object that may be cut off, as far as it goes.
func decodeFields(object []byte, fields map[string]any) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return
		}
		var into any = new(json.RawMessage)
		if v, ok := fields[name]; ok {
			into = v
		}
		if d.Decode(into) != nil {
			return
		}
	}
}
