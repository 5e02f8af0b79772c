package truth

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/spicelane/spicelane/spice/wire"
)

// relay stands between the server and a proxy, and notes what the server says to each session:
// what a client behind the proxy has not received then got lost in the proxy. It changes nothing.
//
// Its address stays when the server is started again, so that a proxy need not be told.
type relay struct {
	ln     net.Listener
	server atomic.Int32 // the server's port
	// change, if set, replaces a message of a channel by what it returns: tests make a bad proxy with it.
	change func(wire.ChannelID, note) []note

	mu     sync.Mutex
	conns  map[net.Conn]bool
	noted  map[sessionChannel]*notes
	closed bool
	wg     sync.WaitGroup
}

// sessionChannel is a channel of one session.
type sessionChannel struct {
	session uint32
	channel wire.ChannelID
}

func startRelay() (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{ln: ln, conns: map[net.Conn]bool{}, noted: map[sessionChannel]*notes{}}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) port() int { return r.ln.Addr().(*net.TCPAddr).Port }

// of returns what the server said to a channel of a session.
func (r *relay) of(session uint32, channel wire.ChannelID) *notes {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := sessionChannel{session, channel}
	if r.noted[k] == nil {
		r.noted[k] = &notes{channel: channel}
	}
	return r.noted[k]
}

// forget drops what is known of a session.
func (r *relay) forget(session uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.noted {
		if k.session == session {
			delete(r.noted, k)
		}
	}
}

func (r *relay) close() {
	r.ln.Close()
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// keep has close end a connection; false if it is too late for that.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.conns[c] = true
	return true
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	c.Close()
}

func (r *relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		if r.keep(c) {
			r.wg.Go(func() { r.serve(c) })
		}
	}
}

// serve passes a connection on.
func (r *relay) serve(client net.Conn) {
	defer r.drop(client)
	server, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(r.server.Load())})
	if err != nil || !r.keep(server) {
		return
	}
	defer r.drop(server)
	mess, head, err := readLink(client)
	if err != nil {
		return
	}
	if _, err := server.Write(head); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	_ = r.down(client, server, mess)
	client.Close()
	server.Close()
	<-done
}

// linkMess is what a client says of a channel in its link message (SpiceLinkMess).
type linkMess struct {
	session uint32
	channel wire.ChannelID
	mini    bool // offers short message headers
}

// Sizes of the handshake (spice/protocol.h).
const (
	linkHeader     = 16
	linkMessFixed  = 4 + 1 + 1 + 3*4
	linkReplyFixed = 4 + 162 + 3*4
	maxLink        = 4096
	miniHeaderBit  = 1 << 3 // SPICE_COMMON_CAP_MINI_HEADER
)

var errLink = errors.New("not a SPICE link")

// linkBody reads a link header and what follows it.
func linkBody(c io.Reader) (all, body []byte, err error) {
	all = make([]byte, linkHeader)
	if _, err := io.ReadFull(c, all); err != nil {
		return all, nil, err
	}
	n := binary.LittleEndian.Uint32(all[12:])
	if string(all[:4]) != "REDQ" || n > maxLink {
		return all, nil, errLink
	}
	all = append(all, make([]byte, n)...)
	_, err = io.ReadFull(c, all[linkHeader:])
	return all, all[linkHeader:], err
}

// hasMini looks for the short header in the first word of the common capabilities, whose number and
// offset stand at counts.
func hasMini(body []byte, counts int) bool {
	n, offset := binary.LittleEndian.Uint32(body[counts:]), binary.LittleEndian.Uint32(body[counts+8:])
	if n == 0 || uint64(offset)+4 > uint64(len(body)) {
		return false
	}
	return binary.LittleEndian.Uint32(body[offset:])&miniHeaderBit != 0
}

func readLink(c io.Reader) (linkMess, []byte, error) {
	all, body, err := linkBody(c)
	if err != nil || len(body) < linkMessFixed {
		return linkMess{}, nil, errors.Join(err, errLink)
	}
	return linkMess{
		session: binary.LittleEndian.Uint32(body),
		channel: wire.ChannelID{Type: wire.ChannelType(body[4]), ID: body[5]},
		mini:    hasMini(body, 6),
	}, all, nil
}

// down passes on what the server says, and notes its messages.
func (r *relay) down(client io.Writer, server io.Reader, mess linkMess) error {
	all, body, err := linkBody(server)
	if err != nil || len(body) < linkReplyFixed {
		return errors.Join(err, errLink)
	}
	mini := mess.mini && hasMini(body, 4+162)
	if _, err := client.Write(all); err != nil {
		return err
	}
	var result [4]byte // of the authentication
	if _, err := io.ReadFull(server, result[:]); err != nil {
		return err
	}
	if _, err := client.Write(result[:]); err != nil {
		return err
	}
	var n *notes
	if mess.session != 0 {
		n = r.of(mess.session, mess.channel)
	}
	in := wire.NewFrameReader(server, wire.FrameConfig{Mini: mini})
	out := wire.NewFrameWriter(client, wire.FrameConfig{Mini: mini})
	for {
		h, err := in.Next()
		if err != nil {
			return err
		}
		body, err := in.Body(nil)
		if err != nil {
			return err
		}
		if n != nil {
			n.add(h, body)
		}
		passed := []note{{h, body}}
		if r.change != nil {
			passed = r.change(mess.channel, passed[0])
		}
		for _, m := range passed {
			if err := out.WriteRaw(m.header, m.body); err != nil {
				return err
			}
		}
	}
}
