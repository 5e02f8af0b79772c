package spice

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/codec/glz"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// Client is one session with a SPICE server. Dial makes one.
type Client struct {
	cfg Config
	log *slog.Logger

	observers observers
	notifier  notifier
	counters  counters
	main      mainState
	inputs    inputsState
	agent     agentState
	cache     pixmapCache
	budget    budget
	glz       *glz.Window
	work      chan *prefetched // images to decode ahead of their turn

	// ctx lasts as long as the session and ends its goroutines.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   chan struct{} // closed when the session is over
	joined chan struct{} // closed after that, when its goroutines have ended and Ended was emitted

	mu       sync.Mutex
	closed   bool  // by Close or by an error
	err      error // what ended the session; nil before that, and after Close
	channels []*channel
	opening  []wire.ChannelID // those that Dial opens, also after it has opened them
	decoding bool             // the decoders run
}

// Dial connects. It returns when the main channel is open, and all channels that the server offers
// and Config.Channels chooses. ctx limits only that. The error is a *DialError, or a *ConfigError
// for a Config that cannot work.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, &ConfigError{err}
	}
	c := &Client{cfg: cfg, log: cfg.Logger, done: make(chan struct{}), joined: make(chan struct{}), work: make(chan *prefetched)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.agent.turn = make(chan struct{}, 1)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.budget.limit = int64(cfg.Limits.totalPixels())
	c.cache.limit = 2*int64(cfg.pixmapCachePixels()) + int64(cfg.Limits.imagePixels())
	c.glz = glz.NewWindow(cfg.glzWindowPixels())
	if err := c.open(ctx); err != nil {
		c.end(err)
		c.join()
		return nil, err
	}
	return c, nil
}

// open links the main channel, waits for the list of channels, and links those.
func (c *Client) open(ctx context.Context) error {
	tlsConfig, err := c.cfg.tls()
	if err != nil {
		return &ConfigError{err}
	}
	main, err := c.link(ctx, mainID, 0, tlsConfig, make(chan struct{}))
	if err != nil {
		return err
	}
	c.start(main)
	var list []wire.ChannelID
	err = c.Await(ctx, func() bool {
		c.main.mu.Lock()
		defer c.main.mu.Unlock()
		list = c.main.offered
		return c.main.listed
	})
	if err != nil {
		return &DialError{Channel: mainID, Addr: c.cfg.shownAddr(c.cfg.secure(mainID)), Err: fmt.Errorf("waiting for the list of channels: %w", err)}
	}
	want := c.cfg.Channels
	if want == nil {
		want = c.wanted
	}
	type result struct {
		ch  *channel
		err error
	}
	var wanted []wire.ChannelID
	for _, id := range list {
		if id.Type != wire.ChannelMain && want(id) && !slices.Contains(wanted, id) {
			wanted = append(wanted, id)
		}
	}
	if most := c.cfg.Limits.channels(); len(wanted) > most {
		return &DialError{Channel: mainID, Addr: c.cfg.shownAddr(c.cfg.secure(mainID)), Err: &LimitError{What: "channels offered", Got: int64(len(wanted)), Want: int64(most)}}
	}
	// spice-server makes an RSA key for each link, in the order of the connections. The displays go
	// first, so that the first picture comes early.
	slices.SortStableFunc(wanted, func(a, b wire.ChannelID) int {
		return cmp.Compare(linkOrder(a), linkOrder(b))
	})
	c.mu.Lock()
	c.opening = wanted
	c.mu.Unlock()
	session := c.MainState().ConnectionID
	results := make(chan result, len(wanted))
	connected := closedChan()
	for _, id := range wanted {
		after, mine := connected, make(chan struct{})
		go func() {
			<-after
			ch, err := c.link(ctx, id, session, tlsConfig, mine)
			results <- result{ch, err}
		}()
		connected = mine
	}
	var errs []error
	for range wanted {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		c.start(r.ch)
	}
	if len(errs) > 0 {
		// If the session has ended meanwhile, it has closed the links and knows why.
		if err := c.ended(); err != nil {
			return c.dialError(err)
		}
		return errs[0]
	}
	return nil
}

// dialError returns Dial's error for a session that ended before it was open. It names the channel
// that ended it.
func (c *Client) dialError(err error) error {
	id := mainID
	var failed *ChannelError
	if errors.As(err, &failed) {
		id = failed.Channel
	}
	return &DialError{Channel: id, Addr: c.cfg.shownAddr(c.cfg.secure(id)), Err: err}
}

func linkOrder(id wire.ChannelID) int {
	if id.Type == wire.ChannelDisplay {
		return 0
	}
	return 1
}

func closedChan() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// wanted reports whether a channel is opened unless Config.Channels decides.
func (c *Client) wanted(id wire.ChannelID) bool {
	switch id.Type {
	case wire.ChannelDisplay, wire.ChannelInputs, wire.ChannelCursor:
		return true
	case wire.ChannelPlayback:
		return c.cfg.Sound != nil
	}
	return false
}

// link connects one channel and does its handshake. It closes connected when there is a connection
// or an error. If the server wants the channel on its other port, link connects there, if the
// configuration allows that.
func (c *Client) link(ctx context.Context, id wire.ChannelID, session uint32, tlsConfig *tls.Config, connected chan<- struct{}) (*channel, error) {
	secure := c.cfg.secure(id)
	ch, err := c.linkAt(ctx, id, session, secure, tlsConfig, connected)
	var refused *link.Error
	if errors.As(err, &refused) && (!secure && refused.Code == wire.ResultNeedSecured && c.cfg.TLSPort != 0 ||
		secure && refused.Code == wire.ResultNeedUnsecured && c.cfg.mayBePlain(id)) {
		return c.linkAt(ctx, id, session, !secure, tlsConfig, make(chan struct{}))
	}
	return ch, err
}

// linkAt links a channel on one of the two ports.
func (c *Client) linkAt(ctx context.Context, id wire.ChannelID, session uint32, secure bool, tlsConfig *tls.Config, connected chan<- struct{}) (_ *channel, err error) {
	defer func() {
		if err != nil {
			err = &DialError{Channel: id, Addr: c.cfg.shownAddr(secure), Err: err}
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)() // a session that ends also ends its pending links
	network, addr := c.cfg.network(), c.cfg.addr(secure)
	dial := c.cfg.DialFunc
	switch {
	case dial != nil:
	case c.cfg.Proxy != "" && network == "tcp":
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.cfg.dialThroughProxy(ctx, c.cfg.port(secure))
		}
	default:
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, network, addr)
	close(connected)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	if secure {
		t := tls.Client(conn, tlsConfig)
		if err := t.HandshakeContext(ctx); err != nil {
			var record tls.RecordHeaderError
			if errors.As(err, &record) || errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("tls: %w (is this the TLS port?)", err)
			}
			return nil, fmt.Errorf("tls: %w", err)
		}
		conn = t
	}
	lc := link.Config{
		ConnectionID: session, Channel: id,
		CommonCaps: link.CommonCaps.Clone(), ChannelCaps: c.channelCaps(id.Type),
		Secret: c.cfg.Password,
	}
	l, err := link.Client(ctx, conn, lc)
	if err != nil {
		return nil, err
	}
	ch := &channel{client: c, id: id, conn: conn, link: l, turn: make(chan struct{}, 1)}
	frame := wire.FrameConfig{Mini: l.Mini(), MaxBody: c.cfg.Limits.MessageBytes}
	ch.in = wire.NewFrameReader(conn, frame)
	ch.out = wire.NewFrameWriter(conn, frame)
	if c.cfg.Tap != nil {
		if ch.tap = c.cfg.Tap(id); ch.tap != nil {
			ch.tap.Linked(wire.LinkInfo{
				Channel: id, ConnectionID: session,
				Client: wire.CapSets{Common: lc.CommonCaps, Channel: lc.ChannelCaps},
				Server: wire.CapSets{Common: l.CommonCaps, Channel: l.ChannelCaps},
			})
		}
	}
	ch.handler = c.handlerFor(ch)
	c.log.Debug("channel open", "channel", id.String(),
		"server_common", l.CommonCaps.CommonNames(), "server_caps", l.ChannelCaps.ChannelNames(id.Type))
	return ch, nil
}

// start adds the channel to the session and reads it.
func (c *Client) start(ch *channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		ch.conn.Close()
		return
	}
	c.channels = append(c.channels, ch)
	defer c.notifier.notify() // another channel may wait for this one
	if ch.id.Type != wire.ChannelDisplay {
		c.wg.Add(1)
		go ch.read()
		return
	}
	c.startDecoders()
	ahead := newReadAhead(ch)
	c.wg.Add(2)
	go ahead.read()
	go ahead.carryOut()
}

// end ends the session with an error, or with nil for Close. Only the first call counts.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.err = err
	channels := c.channels
	c.mu.Unlock()
	if err != nil {
		c.log.Info("session ended", "error", err)
	}
	c.cancel()
	for _, ch := range channels {
		ch.conn.Close()
	}
	close(c.done)
	c.notifier.notify()
	go c.conclude(err)
}

// conclude emits Ended when no goroutine of the session can emit another event.
func (c *Client) conclude(err error) {
	c.wg.Wait()
	c.observers.emit(Ended{Err: err})
	close(c.joined)
}

// spawn runs fn on a goroutine that Close joins. It returns false if the session is over.
func (c *Client) spawn(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(fn)
	return true
}

// ended returns the error for calls on a session that is over; nil before that.
func (c *Client) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.closed:
		return ErrClosed
	}
	return nil
}

// Done returns a channel that is closed when the session is over.
func (c *Client) Done() <-chan struct{} { return c.done }

// Wait blocks until the session is over and returns why: nil if Close ended it, otherwise a
// *ChannelError. Every caller gets the same answer.
func (c *Client) Wait() error {
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the session. It returns when the goroutines have ended and observers have received
// Ended. It may be called several times. The surfaces can still be read.
func (c *Client) Close() error {
	c.end(nil)
	c.join()
	return nil
}

// join waits for the readers. After five seconds it logs that it is waiting.
func (c *Client) join() {
	slow := time.AfterFunc(5*time.Second, func() {
		var ids []string
		for _, ch := range c.openChannels() {
			if !ch.ended.Load() {
				ids = append(ids, ch.id.String())
			}
		}
		c.log.Warn("close waits for channels", "channels", ids)
	})
	defer slow.Stop()
	<-c.joined
}

func (c *Client) openChannels() []*channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.channels)
}

// channel returns the open channel of that type and number, or nil if there is none.
func (c *Client) channel(id wire.ChannelID) *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.channels {
		if ch.id == id {
			return ch
		}
	}
	return nil
}

// willOpen reports whether a channel is open, or Dial is opening it. The server may send messages
// that refer to it as soon as it has answered the link, which is before this side calls it open.
func (c *Client) willOpen(id wire.ChannelID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.opening, id)
}

func (c *Client) displays() []*display {
	var all []*display
	for _, ch := range c.openChannels() {
		if d, ok := ch.handler.(*display); ok {
			all = append(all, d)
		}
	}
	return all
}

func (c *Client) display(id uint8) *display {
	if ch := c.channel(wire.ChannelID{Type: wire.ChannelDisplay, ID: id}); ch != nil {
		if d, ok := ch.handler.(*display); ok {
			return d
		}
	}
	return nil
}

// miss counts something that cannot be interpreted.
func (c *Client) miss(name string) {
	if c.counters.miss(name) {
		c.log.Warn("unsupported", "what", name)
	}
}
