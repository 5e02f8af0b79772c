package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path"
	"strings"
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
	// DefaultMaxChannels is more than what a guest with four displays, sound and a dozen redirected
	// devices needs.
	DefaultMaxChannels              = 48
	DefaultMaxChannelsOfType        = 16
	DefaultMaxConnectionsPerAddress = 1024
	DefaultKeepAlive                = 30 * time.Second
)

// Config configures a proxy. TLS and Consoles are required; everything else has a default.
type Config struct {
	// TLS is the certificate for clients, and the CA for virt-viewer files.
	TLS *pki.Bundle

	// TLSDir, if not empty, is a directory written by [pki.Bundle.WriteDir]. If TLS is nil, the
	// certificate is loaded from there. The directory is watched: new connections use a new
	// certificate, and an invalid one changes nothing.
	TLSDir string

	// Consoles lists the consoles. The proxy never closes it.
	Consoles Catalog

	// Listen, ListenTLS and ListenAPI are the TCP addresses of the plaintext port, the TLS port and
	// the HTTP API. Empty means DefaultAddr, a free port on loopback. The API is plain HTTP and
	// carries tokens: use loopback or a trusted network.
	Listen    string
	ListenTLS string
	ListenAPI string

	// ListenWebSocket is the TCP address of the WebSocket port for clients in browsers; empty means
	// that there is none. The port speaks HTTPS with the certificate of the TLS port, and accepts
	// WebSockets at [WebSocketPath].
	ListenWebSocket string

	// AllowedOrigins lists the origins of web pages that may open a WebSocket, such as
	// "https://console.example". In the host, * stands for any characters, see [path.Match]. Pages
	// from the WebSocket port's own host and port are always allowed, and so are clients that send
	// no Origin, because they are not browsers.
	AllowedOrigins []string

	// Listener, TLSListener, APIListener and WebSocketListener, if not nil, replace the addresses.
	// All listen for plain TCP; the proxy adds TLS. The proxy closes them, even if Start fails.
	Listener          net.Listener
	TLSListener       net.Listener
	APIListener       net.Listener
	WebSocketListener net.Listener

	// Host is the name or address of this proxy in virt-viewer files. Empty means the address of
	// the TLS listener, or if that listens on all interfaces, the host in the API request.
	Host string

	// APIToken is the bearer token of the API. Empty means that the API refuses everything except
	// /healthz and /metrics.
	APIToken string

	// AllowDirect enables virt-viewer files that bypass the proxy. They contain the console's
	// ticket.
	AllowDirect bool

	// TokenLifetime is how long a token may stay unused; 0 means
	// DefaultTokenLifetime.
	TokenLifetime time.Duration

	// HandshakeTimeout limits the time from accepting a connection to having its token; 0 means
	// DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// DialTimeout limits the time to link a channel to the console; 0 means DefaultDialTimeout.
	DialTimeout time.Duration

	// Linger is how long one direction of a channel may continue after the other has ended, and the
	// other channels of a session after its main channel has ended; 0 means DefaultLinger.
	Linger time.Duration

	// MaxHandshakes limits the connections on each port that have not sent a valid token yet. If
	// there is no room for a new connection, the handshake that has been idle longest is closed. 0
	// means DefaultMaxHandshakes.
	MaxHandshakes int

	// MaxSessions limits the number of sessions. Further clients are refused and keep their tokens.
	// 0 means DefaultMaxSessions.
	MaxSessions int

	// MaxChannels and MaxChannelsOfType limit the channels of one session, in total and per type.
	// Each channel can be open only once. 0 means DefaultMaxChannels and DefaultMaxChannelsOfType.
	MaxChannels       int
	MaxChannelsOfType int

	// MaxConnectionsPerAddress limits the connections to the TLS and WebSocket ports from one IPv4
	// address or IPv6 /64 network. Raise it if many clients share an address. 0 means
	// DefaultMaxConnectionsPerAddress.
	MaxConnectionsPerAddress int

	// Firewall says which channels and messages are allowed. The zero value is on.
	Firewall Firewall

	// Recording records sessions. The zero value records nothing.
	Recording Recording

	// KeepAlive is how long a connection to a client or a console may be silent before the kernel
	// probes it. It should be shorter than the idle timeout of firewalls on the way. 0 means
	// DefaultKeepAlive.
	KeepAlive time.Duration

	// Takeover says what happens when a second viewer opens a console; empty means TakeoverShare.
	Takeover Takeover

	// Audit, if not nil, gets each event as one JSON object per line: who, which console, session
	// and channel, bytes in each direction, the firewall's verdicts, why it ended and who ended it.
	// The proxy never closes it.
	Audit io.Writer

	// Logger gets the audit lines and problems; nil means none.
	Logger *slog.Logger

	// OnEvent, if not nil, is called with every event, from many goroutines at once. It must not
	// block, because the event's channel waits for it.
	OnEvent func(Event)

	// Now is the clock for tokens and events; nil means time.Now. Only tests set it.
	Now func() time.Time
}

// Takeover says what happens when a second viewer opens a console.
type Takeover string

// The values of Takeover.
const (
	// TakeoverShare leaves it to the console: spice-server disconnects the first viewer, unless it
	// runs in its multiple-client mode.
	TakeoverShare Takeover = "share"
	// TakeoverRefuse refuses the second viewer with channel_not_available. Its token stays valid.
	TakeoverRefuse Takeover = "refuse"
	// TakeoverReplace ends the first viewer's session, with a notice, before it links the second
	// one.
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

// check returns an error for a Config that cannot work.
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
		{"Recording.MaxSession", c.Recording.MaxSession}, {"Recording.MaxTotal", c.Recording.MaxTotal},
		{"Recording.MaxAge", int64(c.Recording.MaxAge)},
	} {
		if d.value < 0 {
			return fmt.Errorf("proxy: Config.%s is negative", d.name)
		}
	}
	if t := c.takeover(); t != TakeoverShare && t != TakeoverRefuse && t != TakeoverReplace {
		return fmt.Errorf("proxy: Config.Takeover is %q, want %q, %q or %q", t, TakeoverShare, TakeoverRefuse, TakeoverReplace)
	}
	for _, origin := range c.AllowedOrigins {
		scheme, host, _ := strings.Cut(origin, "://")
		if _, err := path.Match(origin, ""); err != nil || (scheme != "https" && scheme != "http") || host == "" || strings.Contains(host, "/") {
			return fmt.Errorf("proxy: Config.AllowedOrigins has %q, want an origin as in \"https://console.example:8443\"", origin)
		}
	}
	return c.Firewall.check()
}
