// Package impair simulates a bad network: a relay for TCP or unix stream connections that delays,
// throttles, stalls, cuts and drops.
//
//	r, err := impair.Start(ctx, impair.Config{Network: "tcp", Addr: proxyAddr,
//		Profile: impair.Profile{Delay: 40 * time.Millisecond}})
//	if err != nil { … }
//	defer r.Close()
//	dial(r.Addr())        // the address for the client
//	r.Set(impair.Profile{})  // from now on nothing is impaired
//	r.Conns()[0].Cut()    // and one connection ends with a reset
//
// A [Profile] is applied in one of two places. Inside this process it is applied to the byte
// streams, in order and without loss, as TCP shows a bad path to its two ends. In the kernel
// ([InKernel]) each connection passes as TCP from one network namespace to another, and netem
// impairs the packets between them. Then lost packets are really retransmitted, windows open as
// slowly as on a real network, and a connection takes a round trip. That needs Linux with
// sch_netem, and a user who may make network namespaces. [Auto] uses the kernel if possible, and
// [Relay.Shaped] says what is used and why.
//
// The relay decodes nothing; the caller knows what a connection carries. If a connection ends by
// itself, the relay ends both sides in the same way: with a normal end or a reset.
package impair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A Profile says how a network path impairs each direction of a connection. The zero Profile
// changes nothing.
type Profile struct {
	// Delay is the delay of bytes, one way.
	Delay time.Duration
	// Jitter is how much Delay varies up or down, evenly distributed. The order is kept.
	Jitter time.Duration
	// Rate is the number of bytes per second; 0 means no limit.
	Rate int64
	// Loss is the probability, 0 to 1, that a segment of 1460 bytes is lost. TCP turns that into a
	// pause until the retransmission.
	Loss float64
}

// segment is the payload of an Ethernet frame's TCP segment, in bytes.
const segment = 1460

// minRTO is the shortest time after which Linux retransmits a segment (TCP_RTO_MIN).
const minRTO = 200 * time.Millisecond

// Check returns an error if a value is invalid.
func (l Profile) Check() error {
	switch {
	case l.Delay < 0 || l.Jitter < 0:
		return errors.New("impair: a delay or jitter below zero")
	case l.Delay > maxDelay:
		return fmt.Errorf("impair: a delay of %v is more than %v", l.Delay, maxDelay)
	case l.Jitter > l.Delay:
		return fmt.Errorf("impair: a jitter of %v is more than the delay of %v", l.Jitter, l.Delay)
	case l.Rate < 0:
		return errors.New("impair: a rate below zero")
	case l.Loss < 0 || l.Loss > 1:
		return fmt.Errorf("impair: a loss of %v is not a probability", l.Loss)
	}
	return nil
}

func (l Profile) String() string {
	if l == (Profile{}) {
		return "unimpaired"
	}
	s := fmt.Sprintf("delay %v ± %v", l.Delay, l.Jitter)
	if l.Rate > 0 {
		s += fmt.Sprintf(", %s kB/s", strconv.FormatFloat(float64(l.Rate)/1000, 'f', -1, 64))
	}
	if l.Loss > 0 {
		s += fmt.Sprintf(", %.2g %% loss", 100*l.Loss)
	}
	return s
}

// Link is the former name of Profile.
//
// Deprecated: use Profile.
type Link = Profile

// maxDelay limits a Profile's delay; beyond it TCP itself gives up.
const maxDelay = time.Minute

// A Mode says what impairs the connections: this process or the kernel.
type Mode string

// Place is the former name of Mode.
//
// Deprecated: use Mode.
type Place = Mode

// The modes.
const (
	// InProcess impairs byte streams inside this process. It works everywhere, and is the default.
	InProcess Mode = "process"
	// InKernel impairs packets between two network namespaces, by netem.
	InKernel Mode = "kernel"
	// Auto is InKernel if that works, otherwise InProcess.
	Auto Mode = "auto"
)

// A Config configures a relay.
type Config struct {
	// Network and Addr are the address to connect to; Network is "tcp" or "unix".
	Network, Addr string
	// Profile is the initial profile.
	Profile Profile
	// In says where connections are impaired. Default: InProcess.
	In Mode
	// Seed makes jitter and loss repeatable if they are applied in this process; 0 is a valid seed.
	Seed uint64
	// Dial, if not nil, replaces a plain dial to Network and Addr.
	Dial func(ctx context.Context) (net.Conn, error)

	// shape replaces netem in tests, whose kernel may lack it.
	shape shaper
}

// A Relay listens on a free TCP port on loopback and connects every connection to one address. Its
// methods may be called from any goroutine.
type Relay struct {
	cfg    Config
	net    *network // nil in process
	lack   error    // why Auto does not use the kernel
	ln     net.Listener
	ctx    context.Context
	cancel context.CancelFunc
	joined sync.WaitGroup

	mu      sync.Mutex
	profile Profile
	rnd     *rand.Rand
	conns   []*Conn
	down    bool // new connections are reset
}

// Start opens a relay, which runs until Close; ctx limits only the call. The error comes from
// listening, from an invalid Profile or Mode, or is an *Unavailable.
func Start(ctx context.Context, cfg Config) (*Relay, error) {
	if err := cfg.Profile.Check(); err != nil {
		return nil, err
	}
	r := &Relay{cfg: cfg, profile: cfg.Profile, rnd: rand.New(rand.NewPCG(cfg.Seed, cfg.Seed))}
	switch cfg.In {
	case "", InProcess:
	case InKernel, Auto:
		if r.net, r.lack = newNetwork(ctx, cfg.Profile, cfg.shape); r.lack != nil && cfg.In == InKernel {
			return nil, &Unavailable{r.lack}
		}
	default:
		return nil, fmt.Errorf("impair: there is no mode %q", cfg.In)
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("impair: start a relay: %w", context.Cause(ctx)), r.net.Close())
	}
	var err error
	// A path sends nothing by itself: keepalive probes are those of the two ends.
	lc := net.ListenConfig{KeepAlive: -1}
	if r.ln, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("impair: %w", err), r.net.Close())
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.joined.Add(1)
	go r.accept()
	return r, nil
}

// An Unavailable says that the kernel cannot apply a Profile here.
type Unavailable struct {
	// Err says what is missing.
	Err error
}

func (e *Unavailable) Error() string { return "impair: not in the kernel: " + e.Err.Error() }
func (e *Unavailable) Unwrap() error { return e.Err }

// Shaped says where and how connections are impaired, and if Auto did not choose the kernel, why.
func (r *Relay) Shaped() string {
	switch {
	case r.net != nil:
		return "by netem, between two network namespaces"
	case r.lack != nil:
		return "in this process, on the byte streams: " + r.lack.Error()
	}
	return "in this process, on the byte streams"
}

// Addr returns the relay's address, host:port.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Set changes the profile of all connections from now on. Bytes in flight keep the delay they
// started with.
func (r *Relay) Set(l Profile) error {
	if err := l.Check(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.net != nil {
		if err := r.net.set(l); err != nil {
			return err
		}
	}
	r.profile = l
	return nil
}

// Link is the former name of Profile.
//
// Deprecated: use Profile.
func (r *Relay) Link() Profile { return r.Profile() }

// Profile returns the present profile.
func (r *Relay) Profile() Profile {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.profile
}

// SetDown makes the relay reset every new connection at once, or accept connections again.
func (r *Relay) SetDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// Conns returns the connections that are open, oldest first.
func (r *Relay) Conns() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.conns)
}

// Close ends the relay and all its connections and joins them.
func (r *Relay) Close() error {
	r.cancel()
	err := r.ln.Close()
	for _, c := range r.Conns() {
		c.Cut()
	}
	r.joined.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // it was closed before
	}
	return errors.Join(err, r.net.Close())
}

func (r *Relay) accept() {
	defer r.joined.Done()
	for n := 0; ; n++ {
		near, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		down := r.down
		r.mu.Unlock()
		if down {
			reset(near)
			continue
		}
		r.joined.Add(1)
		go r.lead(near, n)
	}
}

func (r *Relay) dial() (net.Conn, error) {
	if r.cfg.Dial != nil {
		return r.cfg.Dial(r.ctx)
	}
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(r.ctx, r.cfg.Network, r.cfg.Addr)
}

// lead connects near, which was accepted as number n, to the relay's address, until both directions
// have ended.
func (r *Relay) lead(near net.Conn, n int) {
	defer r.joined.Done()
	// Connect in this order: the far end learns of a connection when it arrives.
	var way []net.Conn
	if r.net != nil {
		a, b, err := r.net.pair(r.ctx)
		if err != nil {
			reset(near)
			return
		}
		way = []net.Conn{a, b}
	}
	far, err := r.dial()
	if err != nil {
		for _, c := range append(way, near) {
			reset(c)
		}
		return
	}
	c := &Conn{relay: r, n: n, near: near, far: far, way: way, frozen: make(chan struct{}), done: make(chan struct{})}
	r.mu.Lock()
	closing := r.ctx.Err() != nil
	if !closing {
		// A connection that was accepted later may be led to its end sooner.
		at, _ := slices.BinarySearchFunc(r.conns, n, func(x *Conn, n int) int { return x.n - n })
		r.conns = slices.Insert(r.conns, at, c)
	}
	r.mu.Unlock()
	if closing {
		c.Cut()
	}
	var all sync.WaitGroup
	if r.net == nil {
		all.Go(func() { c.pipe(far, near) })
		all.Go(func() { c.pipe(near, far) })
	} else {
		var outer sync.WaitGroup
		outer.Go(func() { c.pump(way[0], near) })
		outer.Go(func() { c.pump(way[1], far) })
		all.Go(func() { c.pump(near, way[0]) })
		all.Go(func() { c.pump(far, way[1]) })
		all.Go(func() {
			outer.Wait()
			select {
			case <-c.frozen:
				// Both ends have closed, but the connection between them does not know.
				reset(way[0])
				reset(way[1])
			default:
			}
		})
	}
	all.Wait()
	close(c.done)
	for _, end := range c.ends() {
		end.Close()
	}
	r.mu.Lock()
	r.conns = slices.DeleteFunc(r.conns, func(x *Conn) bool { return x == c })
	r.mu.Unlock()
}

// reset closes a connection so that the other end gets ECONNRESET instead of a normal end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// A Conn is one connection through a relay.
type Conn struct {
	relay     *Relay
	n         int // its number in the order in which connections were accepted
	near, far net.Conn
	// way is the connection between them that the kernel impairs, its near end first; nil in
	// process.
	way    []net.Conn
	frozen chan struct{}
	freeze sync.Once
	done   chan struct{}

	mu   sync.Mutex
	held chan struct{} // closed by Release; nil if the near end is not held
}

func (c *Conn) ends() []net.Conn { return append([]net.Conn{c.near, c.far}, c.way...) }

// NearAddr returns the address of the end that connected to the relay.
func (c *Conn) NearAddr() net.Addr { return c.near.RemoteAddr() }

// FarAddr returns the address from which the relay connected onward, as the far end sees it.
func (c *Conn) FarAddr() net.Addr { return c.far.LocalAddr() }

// Cut ends the connection on both sides with a reset.
func (c *Conn) Cut() {
	c.Freeze()
	for _, end := range c.ends() {
		reset(end)
	}
}

// Freeze makes the connection half open: no data passes any more in either direction, and neither
// end gets an error until one of them closes it.
func (c *Conn) Freeze() { c.freeze.Do(func() { close(c.frozen) }) }

// Hold makes the near end a reader that does not read. What the far end sends is not lost. It waits
// until the buffers on the way are full and the far end cannot send any more. What the near end
// sends passes.
func (c *Conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = make(chan struct{})
	}
}

// Release lets the near end read again.
func (c *Conn) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		close(c.held)
		c.held = nil
	}
}

// releaseIf releases a near end that has ended.
func (c *Conn) releaseIf(src net.Conn) {
	if src == c.near {
		c.Release()
	}
}

// mayPass waits while dst is the near end and held.
func (c *Conn) mayPass(dst net.Conn) {
	if dst != c.near {
		return
	}
	for {
		c.mu.Lock()
		held := c.held
		c.mu.Unlock()
		if held == nil {
			return
		}
		select {
		case <-held:
		case <-c.frozen:
			return
		}
	}
}

// Heard says how much the two ends of a connection have sent.
type Heard struct {
	Segments uint64 // of TCP, including those without data
	Bytes    uint64 // of data
}

// Done returns a channel that is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// A parcel is a piece of data in flight.
type parcel struct {
	b   []byte
	due time.Time
}

// inFlight limits the parcels in flight in one direction, like the socket buffers of a path. Beyond
// it the sender waits, as with a full window.
const inFlight = 256

// pipe carries src to dst until either ends. It is one direction of a connection.
func (c *Conn) pipe(dst, src net.Conn) {
	way := make(chan parcel, inFlight)
	sent := make(chan struct{})
	var end error // how src has ended; valid when way is closed
	go func() {
		defer close(sent)
		if !c.deliver(dst, way) {
			reset(src)
			return
		}
		c.passEnd(dst, end)
	}()
	end = c.collect(src, way, sent)
	close(way)
	<-sent
}

// collect reads from src and gives each piece the time at which it arrives. It returns the error
// with which src ended.
func (c *Conn) collect(src net.Conn, way chan<- parcel, sent <-chan struct{}) error {
	defer c.releaseIf(src)
	var clear time.Time // when what was sent before has left the bottleneck
	var last time.Time  // when it arrives
	for {
		// Use small pieces if the rate is low, so that data flows instead of coming in bursts.
		size := 32 << 10
		if rate := c.relay.Profile().Rate; rate > 0 {
			size = int(min(int64(size), max(segment, rate/100)))
		}
		b := make([]byte, size)
		n, err := src.Read(b)
		profile := c.relay.Profile() // as it is now that the bytes set out
		if n > 0 {
			select {
			case <-c.frozen:
				// Read and dropped: the sender gets no error.
				continue
			default:
			}
			now := time.Now()
			if clear.Before(now) {
				clear = now
			}
			if profile.Rate > 0 {
				clear = clear.Add(time.Duration(float64(n) / float64(profile.Rate) * float64(time.Second)))
			}
			due := clear.Add(c.relay.travel(profile, n))
			if due.Before(last) {
				due = last // TCP delivers in order
			}
			last = due
			select {
			case way <- parcel{b[:n], due}:
			case <-sent:
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// travel returns how long n bytes are in flight after the bottleneck.
func (r *Relay) travel(profile Profile, n int) time.Duration {
	d := profile.Delay
	if profile.Jitter == 0 && profile.Loss == 0 {
		return d
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if profile.Jitter > 0 {
		d += time.Duration(r.rnd.Int64N(2*int64(profile.Jitter)+1)) - profile.Jitter
	}
	for range (n + segment - 1) / segment {
		if profile.Loss > 0 && r.rnd.Float64() < profile.Loss {
			d += max(minRTO, 2*profile.Delay)
		}
	}
	return d
}

// deliver writes each parcel to dst when it is due. It reports whether dst has taken all.
func (c *Conn) deliver(dst net.Conn, way <-chan parcel) bool {
	t := time.NewTimer(0)
	defer t.Stop()
	for p := range way {
		if wait := time.Until(p.due); wait > 0 {
			t.Reset(wait)
			select {
			case <-t.C:
			case <-c.frozen:
			}
		}
		c.mayPass(dst)
		select {
		case <-c.frozen:
			continue
		default:
		}
		if _, err := dst.Write(p.b); err != nil {
			return false
		}
	}
	return true
}

// passEnd ends what dst receives as its sender has ended it: normally or with a reset.
func (c *Conn) passEnd(dst net.Conn, end error) {
	select {
	case <-c.frozen:
		// The other end gets no error.
		return
	default:
	}
	if end != io.EOF {
		reset(dst)
		return
	}
	if w, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// pumpBuffer is how much is read at once to or from the kernel's impaired connection.
const pumpBuffer = 32 << 10

// pump copies src to dst and passes on how it ends. It is one direction of a hop.
func (c *Conn) pump(dst, src net.Conn) {
	defer c.releaseIf(src)
	b := make([]byte, pumpBuffer)
	for {
		n, err := src.Read(b)
		c.mayPass(dst)
		select {
		case <-c.frozen:
			// Read and dropped: the sender gets no error, and the end is not passed on.
			if err != nil {
				return
			}
			continue
		default:
		}
		if n > 0 {
			if _, err := dst.Write(b[:n]); err != nil {
				reset(src)
				return
			}
		}
		if err != nil {
			c.passEnd(dst, err)
			return
		}
	}
}
