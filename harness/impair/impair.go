// Package impair is a bad network in a box: a relay for TCP or unix stream
// connections that delays, throttles, stalls, cuts and forgets.
//
//	r, err := impair.Start(ctx, impair.Config{Network: "tcp", Addr: proxyAddr,
//		Profile: impair.Profile{Delay: 40 * time.Millisecond}})
//	if err != nil { … }
//	defer r.Close()
//	dial(r.Addr())        // what the client is told
//	r.Set(impair.Profile{})  // from now on nothing is impaired
//	r.Conns()[0].Cut()    // and one connection ends with a reset
//
// What a [Profile] says is done in one of two places. Inside this process it is done
// to the byte streams, in order and without loss, as TCP shows a bad path to its
// two ends. In the kernel ([InKernel]) each connection is led, as TCP, from one
// network namespace to another, and netem impairs the packets between them: what
// is lost is really sent again, windows open as slowly as they would, and a
// connection takes a round trip to be made. That needs Linux with sch_netem and a
// user who may make network namespaces; [Auto] takes it where it can be had, and
// [Relay.Shaped] says what was taken and why.
//
// The relay decodes nothing: what a connection carries is the caller's to know.
// What goes wrong with a connection by itself ends it on both sides as a polite
// end or a reset, as it came.
package impair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// A Profile is what a network path does to each direction of a connection. The
// zero Profile does nothing.
type Profile struct {
	// Delay is how long bytes travel, one way.
	Delay time.Duration
	// Jitter is by how much Delay varies up or down, evenly. Order is kept.
	Jitter time.Duration
	// Rate is how many bytes pass in a second; 0 means any number.
	Rate int64
	// Loss is the probability, 0 to 1, that a segment of 1460 bytes is lost on
	// its way. What TCP makes of it is a pause until it was sent again.
	Loss float64
}

// segment is the payload of an Ethernet frame's TCP segment, in bytes.
const segment = 1460

// minRTO is the least time after which Linux sends a segment again
// (TCP_RTO_MIN).
const minRTO = 200 * time.Millisecond

// Check tells what is wrong with the values, nil if nothing is.
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
		s += fmt.Sprintf(", %d kB/s", l.Rate/1000)
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

// maxDelay bounds a Profile's delay: TCP itself gives up beyond.
const maxDelay = time.Minute

// A Mode says what impairs the connections: this process or the kernel.
type Mode string

// Place is the former name of Mode.
//
// Deprecated: use Mode.
type Place = Mode

// The modes.
const (
	// InProcess impairs byte streams inside this process. It works everywhere; an
	// empty Mode means it.
	InProcess Mode = "process"
	// InKernel impairs packets between two network namespaces, by netem.
	InKernel Mode = "kernel"
	// Auto is InKernel where that works, else InProcess.
	Auto Mode = "auto"
)

// A Config says what a relay leads to.
type Config struct {
	// Network and Addr are where connections are led: "tcp" or "unix".
	Network, Addr string
	// Profile is what is done to them at first.
	Profile Profile
	// In says what impairs them. Default: InProcess.
	In Mode
	// Seed makes jitter and loss repeatable, in this process only; 0 is a seed like
	// any other.
	Seed uint64
	// Dial replaces a plain dial to Network and Addr.
	Dial func(ctx context.Context) (net.Conn, error)

	// shape takes netem's place in tests, whose kernel may lack it.
	shape shaper
}

// A Relay listens on a free TCP port on loopback and leads every connection to
// one place. Its methods may be called from any goroutine.
type Relay struct {
	cfg    Config
	net    *network // nil in process
	lack   error    // why Auto has not got one
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

// Start opens a relay, which lives until Close; ctx bounds only the call. The error
// is that of listening, of a Profile or a Mode that makes no sense, or an
// *Unavailable.
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

// An Unavailable says that a Profile cannot be done in the kernel here.
type Unavailable struct {
	// Err is what is lacking.
	Err error
}

func (e *Unavailable) Error() string { return "impair: not in the kernel: " + e.Err.Error() }
func (e *Unavailable) Unwrap() error { return e.Err }

// Shaped says where and by what connections are impaired, and why there.
func (r *Relay) Shaped() string {
	switch {
	case r.net != nil:
		return "by netem, between two network namespaces"
	case r.lack != nil:
		return "in this process, on the byte streams: " + r.lack.Error()
	}
	return "in this process, on the byte streams"
}

// Addr returns where the relay listens, host:port.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Set changes what is done to all connections from now on. Bytes that are on
// their way keep the delay they set out with.
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

// Profile returns what is done to connections now.
func (r *Relay) Profile() Profile {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.profile
}

// SetDown makes the relay reset every new connection at once, as a host does
// where nothing listens, or lead them again.
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

// Close ends the relay and every connection and joins them.
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
	for {
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
		go r.lead(near)
	}
}

func (r *Relay) dial() (net.Conn, error) {
	if r.cfg.Dial != nil {
		return r.cfg.Dial(r.ctx)
	}
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(r.ctx, r.cfg.Network, r.cfg.Addr)
}

// lead joins near to where the relay leads, until both directions have ended.
func (r *Relay) lead(near net.Conn) {
	defer r.joined.Done()
	// The way there first: the far end hears of a connection when it arrives.
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
	c := &Conn{relay: r, near: near, far: far, way: way, frozen: make(chan struct{}), done: make(chan struct{})}
	r.mu.Lock()
	closing := r.ctx.Err() != nil
	if !closing {
		r.conns = append(r.conns, c)
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
				// Neither end is there any more, and the way has not been told.
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

// reset closes a connection so that the other end gets ECONNRESET instead of a
// polite end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// A Conn is one connection through a relay.
type Conn struct {
	relay     *Relay
	near, far net.Conn
	// way is the connection between them that the kernel impairs, its near end
	// first; none in process.
	way    []net.Conn
	frozen chan struct{}
	freeze sync.Once
	done   chan struct{}

	mu   sync.Mutex
	held chan struct{} // closed by Release; nil if the near end is not held
}

func (c *Conn) ends() []net.Conn { return append([]net.Conn{c.near, c.far}, c.way...) }

// NearAddr returns the address of the end that connected; FarAddr is the address from
// which the relay connected onward, as the far end sees it.
func (c *Conn) NearAddr() net.Addr { return c.near.RemoteAddr() }

// FarAddr returns the relay's own address on the far side.
func (c *Conn) FarAddr() net.Addr { return c.far.LocalAddr() }

// Cut ends the connection on both sides with a reset.
func (c *Conn) Cut() {
	c.Freeze()
	for _, end := range c.ends() {
		reset(end)
	}
}

// Freeze makes the connection half open: nothing passes any more in either
// direction, and neither end is told, until one of them closes it.
func (c *Conn) Freeze() { c.freeze.Do(func() { close(c.frozen) }) }

// Hold makes the near end a reader that does not read: what the far end sends is
// not lost but stays where it is, until the buffers on the way are full and the far
// end cannot send any more. What the near end sends passes.
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

// releaseIf releases a near end that has ended: nobody is held any more.
func (c *Conn) releaseIf(src net.Conn) {
	if src == c.near {
		c.Release()
	}
}

// mayPass waits for as long as dst is the near end and is held.
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

// Heard is how much the two ends of a connection have sent.
type Heard struct {
	Segments uint64 // of TCP, those without data included
	Bytes    uint64 // of data
}

// Done is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// A parcel is bytes on their way.
type parcel struct {
	b   []byte
	due time.Time
}

// inFlight bounds the parcels on their way in one direction: what the socket
// buffers of a path would hold. A sender beyond it waits, as with a full window.
const inFlight = 256

// pipe carries src to dst until either ends, one direction of a connection.
func (c *Conn) pipe(dst, src net.Conn) {
	way := make(chan parcel, inFlight)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.deliver(dst, way)
	}()
	c.collect(src, way, sent)
	close(way)
	<-sent
}

// collect reads from src and gives each piece the time at which it arrives.
func (c *Conn) collect(src net.Conn, way chan<- parcel, sent <-chan struct{}) {
	defer c.releaseIf(src)
	var clear time.Time // when what was sent before has left the bottleneck
	var last time.Time  // when it arrives
	for {
		// Small pieces where the rate is low, so that they flow instead of
		// coming in bursts.
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
				// Read and forgotten: the sender is not told.
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
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// travel returns how long n bytes are on their way beyond the bottleneck.
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

// deliver writes each parcel to dst when it is due.
func (c *Conn) deliver(dst net.Conn, way <-chan parcel) {
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
			return
		}
	}
	select {
	case <-c.frozen:
		// Whoever is at the other end is not told.
		return
	default:
	}
	if w, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// pumpBuffer is read at once on the way to or from the kernel's impaired one.
const pumpBuffer = 32 << 10

// pump carries src to dst as it comes, one direction of a hop, and passes on how
// it ends.
func (c *Conn) pump(dst, src net.Conn) {
	defer c.releaseIf(src)
	b := make([]byte, pumpBuffer)
	for {
		n, err := src.Read(b)
		c.mayPass(dst)
		select {
		case <-c.frozen:
			// Read and forgotten: the sender is not told, nor is anybody of the end.
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
		switch {
		case err == io.EOF:
			if w, ok := dst.(interface{ CloseWrite() error }); ok {
				_ = w.CloseWrite()
			}
			return
		case err != nil:
			reset(dst)
			return
		}
	}
}
