// Package qmptest plays QEMU's side of a QMP connection from a script.
//
//	srv := qmptest.NewServer(t,
//		qmptest.Greeting(),
//		qmptest.Accept("qmp_capabilities"),
//		qmptest.Expect("query-status", nil, `{"status":"running","running":true}`),
//	)
//	c, err := qmp.NewClient(ctx, srv.Conn(), qmp.Config{})
//
// Steps run in order, one at a time. An unexpected command fails the test and ends the connection.
// After the script, the server stays connected and answers every further command with an error,
// unless the last step is Hangup.
//
// It checks what a client sends; it does not model QEMU.
package qmptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"testing"
)

// A Step is one step of the server's script.
type Step struct {
	name string
	run  func(*Server) error
}

// Version is the QEMU version of Greeting.
const Version = `{"qemu":{"micro":2,"minor":2,"major":9},"package":"qmptest"}`

// Greeting sends a greeting of QEMU 9.2.2.
func Greeting() Step {
	return Raw(`{"QMP":{"version":` + Version + `,"capabilities":["oob"]}}` + "\r\n")
}

// GreetingOf sends a greeting of another version.
func GreetingOf(major, minor int) Step {
	return Raw(fmt.Sprintf(`{"QMP":{"version":{"qemu":{"micro":0,"minor":%d,"major":%d},"package":""},"capabilities":[]}}`+"\r\n", minor, major))
}

// Event sends an event; data is a JSON object, "" for none.
func Event(name, data string) Step {
	if data != "" {
		data = `"data":` + data + `,`
	}
	return Raw(fmt.Sprintf(`{"timestamp":{"seconds":1700000000,"microseconds":5},%s"event":%q}`+"\r\n", data, name))
}

// Raw sends bytes as they are.
func Raw(s string) Step {
	return Step{"send " + s, func(srv *Server) error {
		_, err := srv.conn.Write([]byte(s))
		return err
	}}
}

// Expect reads a command, checks its name and, unless args is nil, that its
// arguments encode to the same JSON, and answers with the JSON value ret.
func Expect(command string, args any, ret string) Step {
	return Step{"expect " + command, func(s *Server) error {
		id, err := s.expect(command, args)
		if err != nil {
			return err
		}
		return s.answer(id, `"return":`+ret)
	}}
}

// Accept reads a command with any arguments, checks its name and answers with an empty object.
func Accept(command string) Step { return Expect(command, nil, "{}") }

// Refuse reads a command, checks its name and answers with an error.
func Refuse(command, class, desc string) Step {
	return Step{"expect " + command, func(s *Server) error {
		id, err := s.expect(command, nil)
		if err != nil {
			return err
		}
		return s.answer(id, fmt.Sprintf(`"error":{"class":%q,"desc":%q}`, class, desc))
	}}
}

// Hold reads a command and checks its name. Release answers it later.
func Hold(command string) Step {
	return Step{"expect " + command, func(s *Server) error {
		id, err := s.expect(command, nil)
		s.held = append(s.held, id)
		return err
	}}
}

// Release answers every held command, the newest first, each with its name as the value.
func Release() Step {
	return Step{"release", func(s *Server) error {
		for i := len(s.held) - 1; i >= 0; i-- {
			if err := s.answer(s.held[i], `"return":"`+s.names[s.held[i]]+`"`); err != nil {
				return err
			}
		}
		s.held = nil
		return nil
	}}
}

// Await continues once ch is closed.
func Await(ch <-chan struct{}) Step {
	return Step{"await", func(s *Server) error {
		select {
		case <-ch:
			return nil
		case <-s.closing:
			return net.ErrClosed
		}
	}}
}

// Do calls f.
func Do(f func()) Step {
	return Step{"do", func(*Server) error { f(); return nil }}
}

// Files checks that n files came with the previous command, and passes them to f, which must close
// them. It needs NewUnixServer.
func Files(n int, f func([]*os.File)) Step {
	return Step{"files", func(s *Server) error {
		if len(s.files) != n {
			return fmt.Errorf("%d files came, want %d", len(s.files), n)
		}
		files := s.files
		s.files = nil
		f(files)
		return nil
	}}
}

// Hangup closes the connection.
func Hangup() Step {
	return Step{"hang up", func(s *Server) error { return s.conn.Close() }}
}

// A Server plays a script on one connection. It is closed and joined at the end of its test.
type Server struct {
	tb    testing.TB
	steps []Step
	conn  net.Conn // the server's end
	peer  net.Conn // what Conn returns
	in    *bufio.Reader

	held  []string
	names map[string]string // of commands, by id
	files []*os.File

	closing chan struct{}
	done    chan struct{}
	once    sync.Once
}

// NewServer plays steps on an in-memory connection without a buffer: a client that does not read
// makes the script wait.
func NewServer(tb testing.TB, steps ...Step) *Server {
	tb.Helper()
	ours, theirs := net.Pipe()
	s := newServer(tb, steps)
	s.peer = theirs
	s.serve(ours)
	return s
}

// NewUnixServer plays steps on a connected pair of unix sockets, which can transfer files.
func NewUnixServer(tb testing.TB, steps ...Step) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "qmp")
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	theirs, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	ours, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	s := newServer(tb, steps)
	s.peer = theirs
	s.serve(ours)
	return s
}

func newServer(tb testing.TB, steps []Step) *Server {
	s := &Server{tb: tb, steps: steps, names: make(map[string]string), closing: make(chan struct{}), done: make(chan struct{})}
	tb.Cleanup(s.Close)
	return s
}

func (s *Server) serve(conn net.Conn) {
	s.conn = conn
	s.in = bufio.NewReader(reader{s})
	go s.play()
}

// Conn returns the client's end.
func (s *Server) Conn() net.Conn { return s.peer }

// Done returns a channel that is closed when the script is over and the connection has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the connection and joins the server. It is idempotent.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.closing)
		s.conn.Close()
		s.peer.Close()
	})
	<-s.done
}

func (s *Server) play() {
	defer close(s.done)
	defer s.conn.Close()
	for i, step := range s.steps {
		if err := step.run(s); err != nil {
			select {
			case <-s.closing: // the test is over
			default:
				s.tb.Errorf("qmptest: step %d (%s): %v", i+1, step.name, err)
			}
			return
		}
	}
	for {
		id, _, err := s.read()
		if err != nil {
			return
		}
		if s.answer(id, `"error":{"class":"CommandNotFound","desc":"the script is over"}`) != nil {
			return
		}
	}
}

// command is a client's command.
type command struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        *string         `json:"id"`
}

func (s *Server) read() (string, command, error) {
	line, err := s.in.ReadBytes('\n')
	if err != nil {
		return "", command{}, err
	}
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		return "", c, fmt.Errorf("a command is not JSON: %w: %q", err, line)
	}
	if c.ID == nil {
		return "", c, fmt.Errorf("a command has no id: %q", line)
	}
	s.names[*c.ID] = c.Execute
	return *c.ID, c, nil
}

func (s *Server) expect(name string, args any) (string, error) {
	id, c, err := s.read()
	if err != nil {
		return "", err
	}
	if c.Execute != name {
		return "", fmt.Errorf("got the command %s, want %s", c.Execute, name)
	}
	if args == nil {
		return id, nil
	}
	want, err := json.Marshal(args)
	if err != nil {
		return "", err
	}
	var g, w any
	json.Unmarshal(want, &w)
	if json.Unmarshal(c.Arguments, &g) != nil || !reflect.DeepEqual(g, w) {
		return "", fmt.Errorf("%s: got the arguments %s, want %s", name, c.Arguments, want)
	}
	return id, nil
}

func (s *Server) answer(id, body string) error {
	_, err := fmt.Fprintf(s.conn, `{%s,"id":%q}`+"\r\n", body, id)
	return err
}

// reader reads from the connection and keeps the files that come with it.
type reader struct{ s *Server }

func (r reader) Read(p []byte) (int, error) {
	uc, ok := r.s.conn.(*net.UnixConn)
	if !ok {
		return r.s.conn.Read(p)
	}
	oob := make([]byte, syscall.CmsgSpace(4*8))
	n, oobn, _, _, err := uc.ReadMsgUnix(p, oob)
	if oobn > 0 {
		msgs, err := syscall.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return n, err
		}
		for _, m := range msgs {
			fds, err := syscall.ParseUnixRights(&m)
			if err != nil {
				return n, err
			}
			for _, fd := range fds {
				syscall.CloseOnExec(fd)
				r.s.files = append(r.s.files, os.NewFile(uintptr(fd), "passed"))
			}
		}
	}
	if n == 0 && err == nil {
		err = io.EOF // a stream's end, as ReadMsgUnix tells it
	}
	return max(n, 0), err
}
