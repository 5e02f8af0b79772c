package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
)

// Console is one remote console that sessions can be led to: who it is, and
// where its SPICE server listens. Printing and logging one never shows the
// ticket.
type Console struct {
	Source string // the name of the source that offers it
	UUID   string // unique within the source
	Name   string // for people

	// Hypervisor is the host's name. A TLS certificate is checked against it
	// when HostSubject is empty.
	Hypervisor string
	// HypervisorIP is dialled; empty means that Hypervisor is.
	HypervisorIP string

	// InsecurePort and SecurePort are SPICE's plaintext and TLS ports, 0 for
	// none. With both, TLS is used; it never falls back to plaintext.
	InsecurePort int
	SecurePort   int

	// Unix is the path of a SPICE unix socket, used instead of host and ports.
	Unix string

	// CACert is the PEM text of the authorities that may sign the server's
	// certificate; nil means the system's.
	CACert []byte
	// HostSubject, when set, is what the subject of the server's certificate
	// must be, instead of the host name matching.
	HostSubject string

	// Ticket is the SPICE password of the server; empty if it asks for none.
	Ticket string
}

// Endpoint names what is dialled for this console, as in "unix:/run/a.sock",
// "tls:192.0.2.7:5911" or "tcp:192.0.2.7:5910".
func (c Console) Endpoint() string {
	network, address := c.endpoint()
	if network == "tcp" && c.SecurePort != 0 {
		network = "tls"
	}
	return network + ":" + address
}

// endpoint is what net.Dialer takes.
func (c Console) endpoint() (network, address string) {
	if c.Unix != "" {
		return "unix", c.Unix
	}
	port := c.InsecurePort
	if c.SecurePort != 0 {
		port = c.SecurePort
	}
	return "tcp", net.JoinHostPort(c.host(), strconv.Itoa(port))
}

func (c Console) host() string {
	if c.HypervisorIP != "" {
		return c.HypervisorIP
	}
	return c.Hypervisor
}

// String is the name, where it comes from and where it leads to.
func (c Console) String() string {
	return fmt.Sprintf("%s (%s/%s at %s)", c.Name, c.Source, c.UUID, c.Endpoint())
}

// GoString is String, so that %#v does not show the ticket either.
func (c Console) GoString() string { return "proxy.Console{" + c.String() + "}" }

// LogValue leaves the ticket out.
func (c Console) LogValue() slog.Value {
	return slog.GroupValue(slog.String("source", c.Source), slog.String("uuid", c.UUID),
		slog.String("name", c.Name), slog.String("endpoint", c.Endpoint()))
}

// Consoles is what the proxy asks for consoles. It must be safe for concurrent
// use.
type Consoles interface {
	// List returns all consoles; their tickets may be missing. An error means
	// that the sources are not loaded (yet), and makes the proxy unhealthy.
	List(ctx context.Context) ([]Console, error)

	// Resolve returns one console with its ticket. It is asked for every
	// channel, so that a changed port or ticket takes effect at once. The
	// error is an [*UnknownConsoleError] if there is no such console.
	Resolve(ctx context.Context, source, uuid string) (Console, error)
}

// UnknownConsoleError says that no source offers this console.
type UnknownConsoleError struct{ Source, UUID string }

func (e *UnknownConsoleError) Error() string {
	return fmt.Sprintf("no console %s in source %s", strconv.Quote(e.UUID), strconv.Quote(e.Source))
}
