// Package proxmoxtest imitates how Proxmox VE hands out SPICE consoles. An HTTP proxy accepts
// CONNECT to an opaque host name that contains a ticket. That ticket and a SPICE password are valid
// for some seconds, by a clock that tests move.
//
//	fake := proxmoxtest.Start(t, console.Addr().String(), func(password string) { … })
//	file := fake.Mint()       // as POST …/spiceproxy answers
//	fake.Advance(31 * time.Second) // the password has expired, the proxy's ticket has not
//
// It does not imitate more than that: nothing is signed, there is one virtual machine, and the test
// provides the SPICE server.
package proxmoxtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/spicelane/spicelane/spice/vv"
)

// The lifetimes of passwords and tickets.
const (
	PasswordLifetime = 30 * time.Second // of the SPICE password
	TicketLifetime   = 40 * time.Second // of the ticket in the host
)

// TLSPort is the port in the files. Only the proxy understands it.
const TLSPort = 61000

// Fake is a running imitation.
type Fake struct {
	ln      net.Listener
	backend string
	set     func(password string)

	mu       sync.Mutex
	now      time.Time
	ticket   string // of the last mint; the ones before are revoked
	minted   time.Time
	password string
	hosts    []string // what was asked for, and the Host header of it
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// Start starts an imitation in front of the SPICE server at backend. It calls set with each
// password that the server must accept from then on, "" for none.
func Start(tb testing.TB, backend string, set func(password string)) *Fake {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	f := &Fake{ln: ln, backend: backend, set: set, now: time.Now(), conns: map[net.Conn]bool{}}
	f.wg.Go(f.accept)
	tb.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		for conn := range f.conns {
			conn.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// Proxy returns the proxy's URL.
func (f *Fake) Proxy() string { return "http://" + f.ln.Addr().String() }

// Advance moves the clock. An expired password is revoked.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	f.now = f.now.Add(d)
	dead := f.password != "" && f.now.Sub(f.minted) >= PasswordLifetime
	if dead {
		f.password = ""
	}
	f.mu.Unlock()
	if dead {
		f.set("")
	}
}

// Mint returns a virt-viewer file without CA and host subject, and revokes the previous one.
func (f *Fake) Mint() *vv.File {
	f.mu.Lock()
	f.ticket, f.password, f.minted = rand.Text(), rand.Text(), f.now
	file := &vv.File{Type: "spice", TLSPort: TLSPort, Proxy: f.Proxy(), Password: f.password, DeleteThisFile: true,
		Host: fmt.Sprintf("pvespiceproxy:%s:100:node7::%s", f.ticket, "1a2b3c")}
	f.mu.Unlock()
	f.set(file.Password)
	return file
}

// Asked returns the targets and Host headers of all requests, in order.
func (f *Fake) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.hosts...)
}

func (f *Fake) accept() {
	for {
		conn, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.track(conn)
		f.wg.Go(func() {
			defer conn.Close()
			f.serve(conn)
		})
	}
}

func (f *Fake) track(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[conn] = true
}

func (f *Fake) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	var target, version string
	if n, _ := fmt.Sscanf(line, "CONNECT %s %s", &target, &version); n != 2 {
		fmt.Fprint(conn, "HTTP/1.0 405 method not allowed\r\n\r\n")
		return
	}
	host := ""
	for {
		header, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if header == "\r\n" {
			break
		}
		_, _ = fmt.Sscanf(header, "Host: %s", &host)
	}
	f.mu.Lock()
	f.hosts = append(f.hosts, target, host)
	want := fmt.Sprintf("pvespiceproxy:%s:100:node7::1a2b3c:%d", f.ticket, TLSPort)
	good := f.ticket != "" && target == want && f.now.Sub(f.minted) < TicketLifetime
	f.mu.Unlock()
	if !good {
		fmt.Fprintf(conn, "HTTP/1.0 %d invalid ticket\r\n\r\n", http.StatusUnauthorized)
		return
	}
	back, err := new(net.Dialer).DialContext(context.Background(), "tcp", f.backend)
	if err != nil {
		fmt.Fprint(conn, "HTTP/1.0 502 no such virtual machine\r\n\r\n")
		return
	}
	f.track(back)
	defer back.Close()
	fmt.Fprint(conn, "HTTP/1.0 200 OK\r\n\r\n")
	f.wg.Go(func() {
		_, _ = io.Copy(back, in)
		back.Close()
	})
	_, _ = io.Copy(conn, back)
}
