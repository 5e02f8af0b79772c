package spice

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/connect"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// Config says where and how to connect. Either UnixPath, or Host with Port or TLSPort, is required.
// Every other zero value is a working default.
type Config struct {
	// Host is a name or an IP address. With TLS, the server's certificate must have this name,
	// unless HostSubject is set.
	Host string
	// Port is the plaintext port and TLSPort the TLS port; 0 means none. If both are set, every
	// channel uses TLS, unless SecureChannels says otherwise.
	Port, TLSPort int
	// SecureChannels names the channels that use TLSPort, such as "main"; the others use Port, or
	// TLSPort if there is no Port. "all" means every channel. Empty means all.
	SecureChannels []string
	// Proxy is the URL of an HTTP proxy through which to reach Host by CONNECT; empty for none.
	Proxy string
	// UnixPath is a SPICE unix socket, always plaintext, used instead of Host and the ports.
	UnixPath string

	// Password is the ticket of a SPICE server or the token of a proxy; empty for a server without
	// ticketing. It is never logged and never in an error.
	Password string

	// CA is the trusted certificates in PEM form; empty means the system's.
	CA []byte
	// HostSubject, if set, is the required subject of the server's certificate, in SPICE's form
	// ("O=Spicelane,CN=proxy"). Then Host is not compared.
	HostSubject string
	// TLS replaces the TLS configuration made from CA and HostSubject. For unusual needs only.
	TLS *tls.Config

	// DialFunc makes the connections; nil means a net.Dialer with TCP keepalive. network is "tcp"
	// or "unix".
	DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

	// Sound receives what the guest plays; nil leaves the playback channel closed. With a Sound,
	// the client announces Opus, which servers then prefer to raw samples. Sound gets samples in
	// both cases.
	Sound Sound

	// Channels chooses among the channels that the server offers. nil means all display, inputs and
	// cursor channels, and playback if there is a Sound. Main is always open. A channel of another
	// type is read and counted, but not interpreted.
	Channels func(wire.ChannelID) bool

	// PixmapCachePixels and GLZWindowPixels are the memory that the client offers to the server, in
	// pixels. 0 means 20 Mi (80 MiB) and 8 Mi (32 MiB). Negative means none; a server then sends
	// only self-contained images.
	PixmapCachePixels, GLZWindowPixels int
	// PreferredCompression asks the server for another image compression than the configured one. 0
	// asks for nothing, which is right for tests of the server.
	PreferredCompression wire.ImageCompression

	// Limits limits the memory that a server can make the client use.
	Limits Limits

	// Logger gets log messages for operators; nil discards them.
	Logger *slog.Logger
	// Tap, if set, is called once per channel. If the result is not nil, it observes every message.
	Tap func(wire.ChannelID) wire.Tap
}

// Limits limits what a server may demand. 0 means the default.
type Limits struct {
	// SurfacePixels limits one surface; default 64 Mi pixels (8192×8192, 256 MiB).
	SurfacePixels int
	// TotalPixels limits all surfaces of the session together; default 128 Mi pixels.
	TotalPixels int
	// ImagePixels limits one decoded image; default 64 Mi pixels.
	ImagePixels int
	// Surfaces limits the number of surfaces of one display channel; default 4096.
	Surfaces int
	// Channels limits the number of channels of the session; default 64.
	Channels int
	// MessageBytes limits one message; default wire.DefaultMaxBody.
	MessageBytes uint32
}

// FromVV returns the configuration that a virt-viewer file describes.
func FromVV(f *vv.File) Config {
	return Config{
		Host: f.Host, Port: f.Port, TLSPort: f.TLSPort, UnixPath: f.UnixPath,
		SecureChannels: f.SecureChannels, Proxy: f.Proxy,
		Password: f.Password, CA: []byte(f.CA), HostSubject: f.HostSubject,
	}
}

// check returns an error for a configuration that cannot work.
func (cfg *Config) check() error {
	switch {
	case cfg.UnixPath != "":
	case cfg.Host == "":
		return errors.New("spice: config has neither Host nor UnixPath")
	case cfg.Port == 0 && cfg.TLSPort == 0:
		return errors.New("spice: config has neither Port nor TLSPort")
	case cfg.Port < 0 || cfg.Port > 65535 || cfg.TLSPort < 0 || cfg.TLSPort > 65535:
		return fmt.Errorf("spice: config has a port out of range: Port %d, TLSPort %d", cfg.Port, cfg.TLSPort)
	case cfg.TLSPort == 0 && len(cfg.SecureChannels) > 0:
		return fmt.Errorf("spice: config wants TLS for %s and has no TLSPort", strings.Join(cfg.SecureChannels, ", "))
	}
	if cfg.Proxy != "" && cfg.UnixPath == "" {
		if err := connect.CheckProxy(cfg.Proxy); err != nil {
			return fmt.Errorf("spice: config: %w", err)
		}
		if cfg.TLSPort == 0 || cfg.HostSubject == "" {
			return errors.New("spice: config leads through an HTTP proxy without TLSPort and HostSubject: nothing else says who is behind it")
		}
	}
	if err := link.CheckSecret(cfg.Password); err != nil {
		return fmt.Errorf("spice: password: %w", err)
	}
	return nil
}

func (cfg *Config) network() string {
	if cfg.UnixPath != "" {
		return "unix"
	}
	return "tcp"
}

// addr returns the address of a channel, on the TLS port or the plaintext port.
func (cfg *Config) addr(secure bool) string {
	if cfg.UnixPath != "" {
		return cfg.UnixPath
	}
	return hostport.Join(cfg.Host, cfg.port(secure))
}

// port returns the TLS port or the plaintext port.
func (cfg *Config) port(secure bool) int {
	if secure {
		return cfg.TLSPort
	}
	return cfg.Port
}

// secure reports whether a channel uses TLS.
func (cfg *Config) secure(id wire.ChannelID) bool {
	if cfg.UnixPath != "" || cfg.TLSPort == 0 {
		return false
	}
	return cfg.Port == 0 || len(cfg.SecureChannels) == 0 || cfg.named(id)
}

// mayBePlain reports whether a channel may use the plaintext port if an authenticated server asks
// for that.
func (cfg *Config) mayBePlain(id wire.ChannelID) bool { return cfg.Port != 0 && !cfg.named(id) }

// named reports whether the configuration demands TLS for a channel.
func (cfg *Config) named(id wire.ChannelID) bool {
	return slices.Contains(cfg.SecureChannels, "all") || slices.Contains(cfg.SecureChannels, id.Type.String())
}

// tls returns the TLS configuration of all channels; nil for plaintext.
func (cfg *Config) tls() (*tls.Config, error) {
	if cfg.UnixPath != "" || cfg.TLSPort == 0 {
		return nil, nil
	}
	if cfg.TLS != nil {
		return cfg.TLS, nil
	}
	var roots *x509.CertPool
	if len(cfg.CA) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("spice: config's CA holds no certificate in PEM")
		}
	}
	if cfg.HostSubject != "" {
		if err := pki.ValidHostSubject(cfg.HostSubject); err != nil {
			return nil, fmt.Errorf("spice: %w", err)
		}
	}
	config := pki.ClientTLS(roots, cfg.Host, cfg.HostSubject)
	if cfg.Proxy != "" {
		// Only the HTTP proxy understands the name, which may be a secret: send no SNI.
		config.ServerName = ""
	}
	return config, nil
}

func (cfg *Config) pixmapCachePixels() int {
	return max(0, cmp.Or(cfg.PixmapCachePixels, 20<<20))
}

func (cfg *Config) glzWindowPixels() int {
	return max(0, cmp.Or(cfg.GLZWindowPixels, 8<<20))
}

func (l Limits) surfacePixels() int { return cmp.Or(l.SurfacePixels, 64<<20) }
func (l Limits) totalPixels() int   { return cmp.Or(l.TotalPixels, 128<<20) }
func (l Limits) imagePixels() int   { return cmp.Or(l.ImagePixels, 64<<20) }
func (l Limits) surfaces() int      { return cmp.Or(l.Surfaces, 4096) }
func (l Limits) channels() int      { return cmp.Or(l.Channels, 64) }

// dialThroughProxy connects to a port of the host through the HTTP proxy. Only the proxy may be
// able to resolve the host's name.
func (cfg *Config) dialThroughProxy(ctx context.Context, port int) (net.Conn, error) {
	return connect.Dial(ctx, cfg.Proxy, connect.Target(cfg.Host, port))
}

// shownAddr returns addr for errors. The name of a host behind an HTTP proxy may contain a ticket,
// so it is not shown.
func (cfg *Config) shownAddr(secure bool) string {
	if cfg.Proxy != "" && cfg.UnixPath == "" {
		if u, err := url.Parse(cfg.Proxy); err == nil {
			return "a host behind " + u.Host
		}
	}
	return cfg.addr(secure)
}
