package main

// What a standalone proxy does within a second while a session is open: its operator
// ends the session, ends the proxy, edits the sources, or replaces the certificate.
//
//	client ──TLS──► spicelane proxy ──► console

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/internal/race"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

const (
	operator      = "the-operators-token"
	consoleTicket = "the-consoles-ticket"
)

var (
	mainID    = wire.ChannelID{Type: wire.ChannelMain}
	displayID = wire.ChannelID{Type: wire.ChannelDisplay}
)

// withinASecond waits until done is true. Its second is a hundred naps of 10 ms: on a host
// that is busy with other things, it lasts as long as a second's work does. The race detector
// makes that ten seconds.
func withinASecond(t *testing.T, what string, done func() bool) {
	t.Helper()
	naps := 100
	if race.Enabled {
		naps *= 10
	}
	for range naps {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("a second has passed: %s", what)
}

// proxyProcess is "spicelane proxy" in front of a console.
type proxyProcess struct {
	t       *testing.T
	console *spicetest.Server
	port    int
	dir     string
	bundle  *pki.Bundle
	cmd     *exec.Cmd
	ready   headless.Ready
	ended   chan struct{} // is closed when it has, with status err
	err     error
	sent    uint32 // messages of sessions

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *proxyProcess) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *proxyProcess) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func startProxyProcess(t *testing.T) *proxyProcess {
	t.Helper()
	p := &proxyProcess{t: t, dir: t.TempDir(), ended: make(chan struct{})}
	p.console = spicetest.Start(t, spicetest.Config{Ticket: consoleTicket, Scripts: map[wire.ChannelID]spicetest.Script{
		mainID:    {Steps: []spicetest.Step{spicetest.Send(&wire.MainInit{SessionID: 7})}},
		displayID: {},
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.console.ServeListener(ln)
	p.port = ln.Addr().(*net.TCPAddr).Port
	p.bundle, err = pki.New(pki.Config{})
	require.NoError(t, err)
	require.NoError(t, p.bundle.WriteDir(p.path("tls")))
	p.sources("beacon")
	require.NoError(t, os.WriteFile(p.path("token"), []byte(operator), 0o600))
	p.cmd = exec.Command("spicelane", "proxy", "--sources", p.path("sources.yaml"), "--tls", p.path("tls"), "--api-token-file", p.path("token"), "--ready-file", p.path("ready"))
	p.cmd.Stderr = p
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		for _, secret := range []string{operator, consoleTicket} {
			assert.NotContains(t, p.said(), secret)
		}
	})
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(p.path("ready"))
		return err == nil && json.Unmarshal(text, &p.ready) == nil
	}, time.Minute, 10*time.Millisecond)
	return p
}

func (p *proxyProcess) path(name string) string { return filepath.Join(p.dir, name) }

// sources writes a sources.yaml with a console of each name, all at the same port.
func (p *proxyProcess) sources(names ...string) {
	p.t.Helper()
	text := "- source: lab\n  type: static\n  consoles:\n"
	for i, name := range names {
		text += fmt.Sprintf(`    - uuid: "6f4e2c1a-0000-0000-0000-%012d"
      name: %q
      hypervisor: localhost
      hypervisor_ip: "127.0.0.1"
      insecure_port: %d
      ticket: %s
`, i+1, name, p.port, consoleTicket)
	}
	require.NoError(p.t, os.WriteFile(p.path("sources.yaml"), []byte(text), 0o600))
}

// ask asks the API, and returns the status and the answer; 0 if there is none.
func (p *proxyProcess) ask(method, path string) (int, string) {
	p.t.Helper()
	request, err := http.NewRequest(method, p.ready.API+path, nil)
	require.NoError(p.t, err)
	request.Header.Set("Authorization", "Bearer "+operator)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return response.StatusCode, string(text)
}

// consoles returns the names of the consoles on offer.
func (p *proxyProcess) consoles() []string {
	p.t.Helper()
	_, text := p.ask("GET", "/consoles")
	var list struct{ Consoles []proxy.ConsoleInfo }
	require.NoError(p.t, json.Unmarshal([]byte(text), &list))
	var names []string
	for _, c := range list.Consoles {
		names = append(names, c.Name)
	}
	return names
}

func (p *proxyProcess) file() *vv.File {
	p.t.Helper()
	status, text := p.ask("GET", "/console/proxy/lab/6f4e2c1a-0000-0000-0000-000000000001/console.vv")
	require.Equal(p.t, http.StatusOK, status, text)
	file, err := vv.Parse("console.vv", []byte(text))
	require.NoError(p.t, err)
	return file
}

// link links a channel as a virt-viewer file says, which the proxy's certificate must fit.
func (p *proxyProcess) link(file *vv.File, session uint32, id wire.ChannelID) (*tls.Conn, error) {
	p.t.Helper()
	pool := x509.NewCertPool()
	require.True(p.t, pool.AppendCertsFromPEM([]byte(file.CA)))
	conn, err := tls.Dial("tcp", p.ready.TLSAddr, pki.ClientTLS(pool, file.Host, file.HostSubject))
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	_, err = link.Client(ctx, conn, link.Config{ConnectionID: session, Channel: id, CommonCaps: link.CommonCaps, Secret: file.Password})
	return conn, err
}

// openSession is a session of two channels. What the proxy says on them is collected.
type openSession struct {
	p             *proxyProcess
	file          *vv.File
	main, display *reading
}

func (p *proxyProcess) open() *openSession {
	p.t.Helper()
	s := &openSession{p: p, file: p.file()}
	conn, err := p.link(s.file, 0, mainID)
	require.NoError(p.t, err)
	s.main = read(conn)
	require.Eventually(p.t, func() bool { return strings.Contains(s.main.text(), "\x67\x00") }, time.Minute, time.Millisecond, "MAIN_INIT")
	conn, err = p.link(s.file, 7, displayID)
	require.NoError(p.t, err)
	s.display = read(conn)
	s.carries()
	return s
}

// carries demands that a message of the client still arrives.
func (s *openSession) carries() {
	s.p.t.Helper()
	s.p.sent++
	id := s.p.sent
	w := wire.NewFrameWriter(s.display.conn, wire.FrameConfig{Mini: true})
	require.NoError(s.p.t, w.WriteMessage(&wire.Pong{ID: id}))
	withinASecond(s.p.t, "the session carries nothing any more", func() bool {
		return slices.ContainsFunc(s.p.console.Received(displayID), func(m wire.ClientMessage) bool {
			pong, ok := m.(*wire.Pong)
			return ok && pong.ID == id
		})
	})
}

func (s *openSession) over() bool { return s.main.over() && s.display.over() }

// reading is a connection that is read to its end.
type reading struct {
	conn  *tls.Conn
	ended chan struct{}
	mu    sync.Mutex
	got   []byte
}

func read(conn *tls.Conn) *reading {
	r := &reading{conn: conn, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			r.mu.Lock()
			r.got = append(r.got, b[:n]...)
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return r
}

func (r *reading) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.got)
}

func (r *reading) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func TestDELETEEndsEveryChannelOfASessionWithinASecond(t *testing.T) {
	p := startProxyProcess(t)
	s, other := p.open(), p.open()
	_, text := p.ask("GET", "/sessions")
	var list struct{ Sessions []proxy.SessionInfo }
	require.NoError(t, json.Unmarshal([]byte(text), &list))
	require.Len(t, list.Sessions, 2)
	status, _ := p.ask("DELETE", "/sessions/"+list.Sessions[0].ID)
	require.Equal(t, http.StatusNoContent, status)
	withinASecond(t, "the session goes on", s.over)
	assert.Contains(t, s.main.text(), "An operator has ended this session.")
	_, err := p.link(s.file, 7, displayID)
	var refused *link.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, wire.ResultPermissionDenied, refused.Code)
	assert.False(t, other.main.over() || other.display.over(), "the other session goes on")
	_, text = p.ask("GET", "/sessions")
	assert.NotContains(t, text, list.Sessions[0].ID)
	assert.Contains(t, text, list.Sessions[1].ID)
}

func TestSIGTERMEndsTheProxyWithinASecondAndTellsItsViewers(t *testing.T) {
	p := startProxyProcess(t)
	s := p.open()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	withinASecond(t, "the session goes on", s.over)
	assert.Contains(t, s.main.text(), "The console proxy is shutting down.")
	withinASecond(t, "the process goes on", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	<-p.ended
	assert.NoError(t, p.err, "exit status 0")
	for _, addr := range []string{p.ready.Addr, p.ready.TLSAddr, strings.TrimPrefix(p.ready.API, "http://")} {
		_, err := net.Dial("tcp", addr)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

// Timeline: a good edit, a bad one, a good one.
func TestAnEditOfTheSourcesTakesEffectWithinASecondAndEndsNoSession(t *testing.T) {
	p := startProxyProcess(t)
	s := p.open()
	offers := func(want ...string) func() bool {
		return func() bool { return fmt.Sprint(p.consoles()) == fmt.Sprint(want) }
	}
	p.sources("beacon", "lighthouse")
	withinASecond(t, "the console that was added is not on offer", offers("beacon", "lighthouse"))
	s.carries()

	text, err := os.ReadFile(p.path("sources.yaml"))
	require.NoError(t, err)
	bad := strings.Replace(string(text), "insecure_port: ", "insecure_prot: ", 1)
	require.NoError(t, os.WriteFile(p.path("sources.yaml"), []byte(bad), 0o600))
	withinASecond(t, "the mistake is not named", func() bool {
		return strings.Contains(p.said(), p.path("sources.yaml")+":8: consoles[0].insecure_prot: is not a known key")
	})
	assert.True(t, offers("beacon", "lighthouse")(), "the last good state stays")
	s.carries()
	p.open()

	p.sources("renamed")
	withinASecond(t, "the edit is not in force", offers("renamed"))
	s.carries()
}

func TestAReplacedCertificateIsServedWithinASecondAndEndsNoSession(t *testing.T) {
	p := startProxyProcess(t)
	s := p.open()
	fresh, err := pki.New(pki.Config{CommonName: "renewed"})
	require.NoError(t, err)
	require.NoError(t, fresh.WriteDir(p.path("next")))
	for _, name := range []string{pki.CACertFile, pki.ServerCertFile, pki.ServerKeyFile} {
		require.NoError(t, os.Rename(filepath.Join(p.path("next"), name), filepath.Join(p.path("tls"), name)))
	}
	withinASecond(t, "virt-viewer files do not carry it", func() bool { return p.file().HostSubject == fresh.HostSubject })
	file := p.file()
	assert.Equal(t, string(fresh.CACert), file.CA)
	_, err = p.link(file, 0, mainID)
	require.NoError(t, err)
	s.carries()
	// A client with an older file gets a TLS error, not a session with the wrong server.
	old := *file
	old.CA, old.HostSubject = string(p.bundle.CACert), p.bundle.HostSubject
	_, err = p.link(&old, 0, mainID)
	assert.ErrorContains(t, err, "certificate")
}
