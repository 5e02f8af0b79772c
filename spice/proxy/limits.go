package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// stallBeforeEviction is how long a handshake must have made no progress before a new connection
// may take its place. Even on a slow line, a client needs less for each step, which is one round
// trip.
const stallBeforeEviction = 500 * time.Millisecond

// handshakes are the connections of one listener that have not sent a valid token yet. When there
// is no room for a new one, the one that has been idle longest is closed. So hundreds of idle
// connections do not keep others out.
type handshakes struct {
	limit int

	mu     sync.Mutex
	places map[*place]struct{}
	of     map[netip.Addr]int // places by address
	freed  chan struct{}      // has an element if a place may be free
}

// place is a connection's place among the handshakes.
type place struct {
	all        *handshakes
	conn       net.Conn
	addr       netip.Addr
	entered    time.Time // when the connection was accepted
	progressed time.Time // when the last step of the handshake was done
	evicted    bool      // a new connection has the place
}

func newHandshakes(limit int) *handshakes {
	return &handshakes{limit: limit, places: map[*place]struct{}{}, of: map[netip.Addr]int{}, freed: make(chan struct{}, 1)}
}

// enter gives a connection a place. It waits while all places belong to handshakes that make
// progress. It returns nil when ctx ends. The second result is the place that was evicted for it,
// if any.
func (h *handshakes) enter(ctx context.Context, conn net.Conn) (mine, evicted *place) {
	mine = &place{all: h, conn: conn, addr: addressOf(conn), entered: time.Now()}
	for {
		evicted, wait := h.try(mine)
		if wait == 0 {
			return mine, evicted
		}
		timer := time.NewTimer(wait)
		select {
		case <-h.freed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil
		}
		timer.Stop()
	}
}

// try gives mine a place, or returns how long to wait before the next attempt.
func (h *handshakes) try(mine *place) (evicted *place, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if len(h.places) >= h.limit {
		evicted = h.stalest()
		if left := stallBeforeEviction - now.Sub(evicted.progressed); left > 0 {
			return nil, left
		}
		evicted.evicted = true
		h.remove(evicted)
		closeNow(evicted.conn)
	}
	mine.progressed = now
	h.places[mine] = struct{}{}
	h.of[mine.addr]++
	return evicted, 0
}

// stalest returns the place whose handshake has been idle longest, of the address that has the most
// places. So one address cannot crowd out the others.
func (h *handshakes) stalest() *place {
	most := 0
	for _, n := range h.of {
		most = max(most, n)
	}
	var found *place
	for p := range h.places {
		if h.of[p.addr] == most && (found == nil || p.progressed.Before(found.progressed)) {
			found = p
		}
	}
	return found
}

func (h *handshakes) remove(p *place) {
	if _, there := h.places[p]; !there {
		return
	}
	delete(h.places, p)
	if h.of[p.addr]--; h.of[p.addr] == 0 {
		delete(h.of, p.addr)
	}
	select {
	case h.freed <- struct{}{}:
	default:
	}
}

func (h *handshakes) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.places)
}

// progress records that a step of the handshake is done.
func (p *place) progress() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.progressed = time.Now()
}

// leave frees the place. It may be called more than once.
func (p *place) leave() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.all.remove(p)
}

// wasEvicted reports whether a new connection has taken the place.
func (p *place) wasEvicted() bool {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	return p.evicted
}

// addresses counts connections by their remote address.
type addresses struct {
	limit int

	mu sync.Mutex
	n  map[netip.Addr]int
}

// enter counts a connection and reports whether its address may have one more. If it returns true,
// leave must be called once.
func (a *addresses) enter(addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n[addr] >= a.limit {
		return false
	}
	a.n[addr]++
	return true
}

func (a *addresses) leave(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n[addr]--; a.n[addr] <= 0 {
		delete(a.n, addr)
	}
}

// addressOf returns what counts as one address. For IPv6 that is the first 64 bits, because one
// subscriber has at least that much.
func addressOf(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap()
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// internalErrorAlert is a TLS record with the fatal alert internal_error (RFC 8446 section 6.2). A
// client that is refused before its handshake gets it, and not only the end of the connection.
var internalErrorAlert = []byte{21, 3, 3, 0, 2, 2, 80}

// turnAway refuses a TLS connection.
func turnAway(conn net.Conn) {
	// Seven bytes fit into any socket's empty buffer, so this does not wait.
	_, _ = conn.Write(internalErrorAlert)
	conn.Close()
}

// keepAlive lets the kernel probe a silent connection. spice-server pings the main and display
// channels every 15 s, but inputs and cursor only every 300 s. Many middleboxes drop connections
// that are silent for a minute.
func keepAlive(conn net.Conn, idle time.Duration) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		// A closed connection fails at its first use.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: idle, Interval: idle / 3, Count: 4})
	}
}
