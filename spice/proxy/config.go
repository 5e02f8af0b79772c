package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/spicelane/spicelane/spice/pki"
)

// Defaults of Config.
const (
	DefaultAddr             = "127.0.0.1:0"
	DefaultTokenLifetime    = 60 * time.Second
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultDialTimeout      = 10 * time.Second
	DefaultLinger           = 5 * time.Second
	DefaultMaxHandshakes    = 256
	DefaultMaxSessions      = 2000
	// DefaultMaxChannels is more than a guest with four displays, sound and a
	// dozen redirected devices needs.
	DefaultMaxChannels              = 48
	DefaultMaxChannelsOfType        = 16
	DefaultMaxConnectionsPerAddress = 1024
	DefaultKeepAlive                = 30 * time.Second
)

// Config sets up a proxy. TLS and Consoles are required; everything else has a
// default.
type Config struct {
	// TLS is the certificate that clients see, and the CA that .vv files carry.
	TLS *pki.Bundle

	// TLSDir, if not empty, is a directory as [pki.Bundle.WriteDir] makes it. The
	// certificate comes from there if TLS is nil. The directory is watched: a new
	// certificate is for new connections, a bad one changes nothing.
	TLSDir string

	// Consoles knows where the consoles are. The proxy never closes it.
	Consoles Catalog

	// Listen, ListenTLS and ListenAPI are the TCP addresses of the plaintext
	// port, the TLS port and the HTTP API; empty means DefaultAddr, a free
	// port on loopback. The API is plain HTTP and carries tokens: bind it to
	// loopback or a trusted network.
	Listen    string
	ListenTLS string
	ListenAPI string

	// Listener, TLSListener and APIListener replace the addresses if they are
	// not nil. All three listen for plain TCP, TLS is added by the proxy. The
	// proxy closes them, also when Start fails.
	Listener    net.Listener
	TLSListener net.Listener
	APIListener net.Listener

	// Host is the name or address that .vv files give to clients. Empty means
	// the address of the TLS listener or, if that is all interfaces, the host
	// by which the API was asked.
	Host string

	// APIToken is what the API wants as bearer token; empty means that all
	// but /healthz and /metrics is refused.
	APIToken string

	// AllowDirect enables .vv files that lead to the hypervisor itself and
	// hold the console's ticket.
	AllowDirect bool

	// TokenLifetime is how long a token may stay unused; 0 means
	// DefaultTokenLifetime.
	TokenLifetime time.Duration

	// HandshakeTimeout bounds the time from accepting a connection to having
	// its token; 0 means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// DialTimeout bounds the time to link a channel to the console; 0 means
	// DefaultDialTimeout.
	DialTimeout time.Duration

	// Linger is how long one direction of a channel may go on when the other
	// has ended, and the other channels of a session when its main channel
	// has; 0 means DefaultLinger.
	Linger time.Duration

	// MaxHandshakes bounds the connections of each port that have not shown a
	// good token yet. A newcomer takes the place of the handshake that has stood
	// still for longest. 0 means DefaultMaxHandshakes.
	MaxHandshakes int

	// MaxSessions bounds the sessions that are alive. A client that comes
	// beyond is refused and keeps its token. 0 means DefaultMaxSessions.
	MaxSessions int

	// MaxChannels and MaxChannelsOfType bound the channels of one session, all
	// and those of one type; each channel can be open once. 0 means
	// DefaultMaxChannels and DefaultMaxChannelsOfType.
	MaxChannels       int
	MaxChannelsOfType int

	// MaxConnectionsPerAddress bounds the connections to the TLS port that come
	// from one IPv4 address or IPv6 /64 network. Raise it if the clients are
	// behind one address. 0 means DefaultMaxConnectionsPerAddress.
	MaxConnectionsPerAddress int

	// Firewall says which channels and messages may pass. The zero value is on.
	Firewall Firewall

	// KeepAlive is how long a connection to a client or to a console may be
	// silent before the kernel probes it. Let it be shorter than the idle limit
	// of the firewalls on the way. 0 means DefaultKeepAlive.
	KeepAlive time.Duration

	// Takeover is what happens when a second viewer comes to a console; empty means
	// TakeoverShare.
	Takeover Takeover

	// Audit, if not nil, gets one JSON object a line for each event: who, which
	// console, session and channel, how many bytes each way, what the firewall said,
	// why it ended and who ended it. The proxy never closes it.
	Audit io.Writer

	// Logger gets the audit lines and what goes wrong; nil means none.
	Logger *slog.Logger

	// OnEvent, if not nil, is called with every event, from many goroutines at
	// once. It must not block: the channel that the event is about waits.
	OnEvent func(Event)

	// Now is the clock of tokens and events; nil means time.Now. Only tests
	// set it.
	Now func() time.Time
}

// Takeover is what happens when a second viewer comes to a console.
type Takeover string

// The values of Takeover.
const (
	// TakeoverShare leaves it to the console: spice-server disconnects the first
	// viewer, unless it was started in its multiple-client mode.
	TakeoverShare Takeover = "share"
	// TakeoverRefuse refuses the second viewer with channel_not_available. Its token
	// stays good.
	TakeoverRefuse Takeover = "refuse"
	// TakeoverReplace tells the first viewer why, and ends its session before the
	// second one is linked.
	TakeoverReplace Takeover = "replace"
)

func (c *Config) takeover() Takeover { return cmp.Or(c.Takeover, TakeoverShare) }

func (c *Config) tokenLifetime() time.Duration { return cmp.Or(c.TokenLifetime, DefaultTokenLifetime) }
func (c *Config) handshakeTimeout() time.Duration {
	return cmp.Or(c.HandshakeTimeout, DefaultHandshakeTimeout)
}
func (c *Config) dialTimeout() time.Duration { return cmp.Or(c.DialTimeout, DefaultDialTimeout) }
func (c *Config) linger() time.Duration      { return cmp.Or(c.Linger, DefaultLinger) }
func (c *Config) maxHandshakes() int         { return cmp.Or(c.MaxHandshakes, DefaultMaxHandshakes) }
func (c *Config) maxSessions() int           { return cmp.Or(c.MaxSessions, DefaultMaxSessions) }
func (c *Config) maxChannels() int           { return cmp.Or(c.MaxChannels, DefaultMaxChannels) }
func (c *Config) maxChannelsOfType() int {
	return cmp.Or(c.MaxChannelsOfType, DefaultMaxChannelsOfType)
}
func (c *Config) maxConnectionsPerAddress() int {
	return cmp.Or(c.MaxConnectionsPerAddress, DefaultMaxConnectionsPerAddress)
}
func (c *Config) keepAlive() time.Duration { return cmp.Or(c.KeepAlive, DefaultKeepAlive) }

func (c *Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// check says what makes the Config unusable.
func (c *Config) check() error {
	switch {
	case c.TLS == nil:
		return errors.New("proxy: Config.TLS is missing")
	case c.Consoles == nil:
		return errors.New("proxy: Config.Consoles is missing")
	}
	for _, d := range []struct {
		name  string
		value int64
	}{
		{"TokenLifetime", int64(c.TokenLifetime)}, {"HandshakeTimeout", int64(c.HandshakeTimeout)},
		{"DialTimeout", int64(c.DialTimeout)}, {"Linger", int64(c.Linger)}, {"MaxHandshakes", int64(c.MaxHandshakes)},
		{"MaxSessions", int64(c.MaxSessions)}, {"MaxChannels", int64(c.MaxChannels)}, {"MaxChannelsOfType", int64(c.MaxChannelsOfType)},
		{"MaxConnectionsPerAddress", int64(c.MaxConnectionsPerAddress)}, {"KeepAlive", int64(c.KeepAlive)},
	} {
		if d.value < 0 {
			return fmt.Errorf("proxy: Config.%s is negative", d.name)
		}
	}
	if t := c.takeover(); t != TakeoverShare && t != TakeoverRefuse && t != TakeoverReplace {
		return fmt.Errorf("proxy: Config.Takeover is %q, want %q, %q or %q", t, TakeoverShare, TakeoverRefuse, TakeoverReplace)
	}
	return c.Firewall.check()
}
