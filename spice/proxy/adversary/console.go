package adversary

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// Ticket is the ticket of the consoles that this package plays. It must not appear in any log of
// the target.
const Ticket = "the-played-consoles-ticket"

// connectionID is the connection id that a played console gives its first session.
const connectionID = 0x5eed

// Console is a SPICE server that this package plays.
type Console struct {
	ln     net.Listener
	linked chan *Linked
	handle func(conn net.Conn) // nil: a good console
	ticket string              // the ticket that opens it; empty: Ticket
	init   []byte              // what is sent on a main channel instead of MAIN_INIT, if not nil

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	nextID uint32
	wg     sync.WaitGroup
}

// Linked is the console's end of a channel.
type Linked struct {
	net.Conn
	Request link.Request
}

var ticketKey = sync.OnceValues(link.GenerateKey)

// play starts a console and, if the target has Lead, directs the target to it. change, if not nil,
// alters what Lead is told; cases that use it need needLead.
func (a *attack) play(secure *tls.Config, handle func(conn net.Conn), change func(c *console.Console)) *Console {
	addr := "127.0.0.1:0"
	if a.t.Lead == nil {
		addr = a.t.ConsoleAddr
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		a.fail("play a console: %v", err)
	}
	c := &Console{ln: ln, linked: make(chan *Linked, 1000), handle: handle, conns: map[net.Conn]bool{}, nextID: connectionID}
	about := console.Console{Hypervisor: "localhost", HypervisorIP: "127.0.0.1", Ticket: Ticket}
	port := ln.Addr().(*net.TCPAddr).Port
	if secure == nil {
		about.InsecurePort = port
	} else {
		about.SecurePort = port
	}
	if change != nil {
		change(&about)
	}
	c.wg.Go(func() { c.accept(secure) })
	a.cleanup(c.close)
	if a.t.Lead != nil {
		a.t.Lead(about)
	}
	a.console = c
	return c
}

// good plays a console that behaves correctly.
func (a *attack) good() *Console { return a.play(nil, nil, nil) }

func (c *Console) accept(secure *tls.Config) {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.conns[conn] = true
		over := c.closed
		c.mu.Unlock()
		if over {
			conn.Close()
		}
		if secure != nil {
			conn = tls.Server(conn, secure)
		}
		c.wg.Go(func() {
			if c.handle != nil {
				c.handle(conn)
				conn.Close()
			} else if !c.link(conn) {
				conn.Close()
			}
		})
	}
}

func (c *Console) link(conn net.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key, err := ticketKey()
	if err != nil {
		return false
	}
	return c.linkWith(ctx, conn, key)
}

func (c *Console) linkWith(ctx context.Context, conn net.Conn, key *rsa.PrivateKey) bool {
	hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: key})
	if err != nil || hs.Reply(ctx, link.CommonCaps, nil) != nil {
		return false
	}
	secret, err := hs.Secret(ctx)
	if err != nil {
		return false
	}
	if secret != cmp.Or(c.ticket, Ticket) {
		_ = hs.Finish(ctx, wire.ResultPermissionDenied)
		return false
	}
	if hs.Finish(ctx, wire.ResultOK) != nil {
		return false
	}
	if hs.Request.Channel.Type == wire.ChannelMain {
		c.mu.Lock()
		id := c.nextID
		c.nextID++
		c.mu.Unlock()
		init := c.init
		if init == nil {
			init = message(103, (&wire.MainInit{SessionID: id}).Append(nil))
		}
		if _, err := conn.Write(init); err != nil {
			return false
		}
	}
	c.linked <- &Linked{conn, hs.Request}
	return true
}

// next waits for the next channel that the target links.
func (c *Console) next(a *attack) *Linked {
	select {
	case l := <-c.linked:
		return l
	case <-time.After(a.t.patience()):
		a.fail("the target linked no channel")
		return nil
	}
}

func (c *Console) close() {
	c.ln.Close()
	c.mu.Lock()
	c.closed = true
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}
