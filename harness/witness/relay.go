// Package witness records what a SPICE server sends, in front of a proxy, and what a client
// receives behind it. A message that was lost, added, reordered or changed in between is the
// proxy's fault. Any other wrong picture is the client's fault.
//
//	relay, err := witness.Start(witness.Config{Dial: dialServer})
//	ledger := witness.NewLedger(relay)
//	// make the proxy connect to relay.Port(), and give the client ledger.Tap as its Tap
//	<-ledger.Failed()
//	fmt.Println(ledger.Err())
//
// The package compares bytes and decodes no pixels. It does not read TLS, so the connection to the
// server must have none. It ignores the main channel: messages there come before the session has
// the id that connects both ends.
package witness

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/spicelane/spicelane/spice/wire"
)

// A Config says which server a Relay connects to.
type Config struct {
	// Dial connects to the server. The relay calls it for each connection, so the server may move.
	Dial func(ctx context.Context) (net.Conn, error)
	// Change, if set, replaces a message of a channel by its result, after the message was noted.
	// Tests use it to make a bad proxy. Each channel calls it from another goroutine.
	Change func(wire.ChannelID, Message) []Message
}

// A Relay sits between a server and a proxy, and notes what the server sends to each session. It
// changes nothing unless a test asks for that.
//
// Its address stays the same when the server moves, so the proxy needs no new configuration.
type Relay struct {
	cfg  Config
	ln   net.Listener
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu     sync.Mutex
	conns  map[net.Conn]bool
	noted  map[sessionChannel]*Notes
	closed bool
	wg     sync.WaitGroup
}

// sessionChannel is a channel of one session.
type sessionChannel struct {
	session uint32
	channel wire.ChannelID
}

// Start returns a relay that listens on a port of the loopback address. The caller must close it.
func Start(cfg Config) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{cfg: cfg, ln: ln, conns: map[net.Conn]bool{}, noted: map[sessionChannel]*Notes{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.wg.Go(r.accept)
	return r, nil
}

// Port returns the relay's port.
func (r *Relay) Port() int { return r.ln.Addr().(*net.TCPAddr).Port }

// Of returns the notes of what the server sent to a channel of a session.
func (r *Relay) Of(session uint32, channel wire.ChannelID) *Notes {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := sessionChannel{session, channel}
	if r.noted[k] == nil {
		r.noted[k] = NewNotes(channel)
	}
	return r.noted[k]
}

// known returns the notes of a channel of a session, or nil if the channel was not opened here.
func (r *Relay) known(session uint32, channel wire.ChannelID) *Notes {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noted[sessionChannel{session, channel}]
}

// Forget drops the notes of a session.
func (r *Relay) Forget(session uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.noted {
		if k.session == session {
			delete(r.noted, k)
		}
	}
}

// Close closes all connections and waits for all goroutines. It may be called again.
func (r *Relay) Close() error {
	r.ln.Close()
	r.stop()
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// keep makes Close close a connection. It returns false if Close was called already.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.conns[c] = true
	return true
}

func (r *Relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	c.Close()
}

func (r *Relay) accept() {
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

// serve relays a connection.
func (r *Relay) serve(client net.Conn) {
	defer r.drop(client)
	server, err := r.cfg.Dial(r.ctx)
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
		if c, ok := server.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}()
	_ = r.down(client, server, mess)
	client.Close()
	server.Close()
	<-done
}

// linkMess is what a client says about a channel in its link message (SpiceLinkMess).
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

// linkBody reads a link header and its body.
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

// hasMini looks for the short header in the first word of the common capabilities. Their number and
// offset are at counts.
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

// down relays what the server sends, and notes its messages.
func (r *Relay) down(client io.Writer, server io.Reader, mess linkMess) error {
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
	// NB: make the notes before the client can know that it is linked, because then it asks for
	// them.
	var n *Notes
	if mess.session != 0 {
		n = r.Of(mess.session, mess.channel)
	}
	if _, err := client.Write(result[:]); err != nil {
		return err
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
		said := Message{h, body}
		if n != nil {
			n.add(said)
		}
		passed := []Message{said}
		if r.cfg.Change != nil {
			passed = r.cfg.Change(mess.channel, said)
		}
		for _, m := range passed {
			if err := out.WriteRaw(m.Header, m.Body); err != nil {
				return err
			}
		}
	}
}
