// Package console describes a remote console: its name, the address of its SPICE server, how to
// verify that server, and its ticket.
//
//	c := console.Console{Source: "ci", UUID: uuid, Name: "beacon-1",
//		HypervisorIP: "192.0.2.7", SecurePort: 5911, Ticket: ticket}
//	fmt.Println(c) // beacon-1 (ci/6f4e… at tls:192.0.2.7:5911)
//
// Package sources makes these descriptions, and package proxy connects to the consoles. This
// package does neither. Printing and logging a Console never shows its ticket.
package console

import (
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/internal/hostport"
)

// Console is one remote console.
type Console struct {
	Source string // the name of the source that offers it
	UUID   string // unique within the source, see [CanonicalUUID]
	Name   string // for people

	// Hypervisor is the host's name. A TLS certificate is checked against it
	// when HostSubject is empty.
	Hypervisor string
	// HypervisorIP is the address to dial; empty means Hypervisor.
	HypervisorIP string

	// InsecurePort and SecurePort are SPICE's plaintext and TLS ports, 0 for
	// none. With both, every channel uses TLS unless SecureChannels says otherwise; it
	// never falls back to plaintext.
	InsecurePort int
	SecurePort   int

	// SecureChannels names the types of channels that use SecurePort where there are both
	// ports, as in "main"; "all" stands for every type. The others use InsecurePort. Empty
	// means that all use SecurePort.
	SecureChannels []string

	// Proxy is the URL of an HTTP proxy through which to reach HypervisorIP or Hypervisor by
	// CONNECT, such as "http://pve.example:3128"; empty for none. The host may then be a name that
	// only the proxy can resolve, and is secret like Ticket. SecurePort and HostSubject are
	// required then, because nothing else identifies the server.
	Proxy string

	// Unix is the path of a SPICE unix socket, used instead of host and ports.
	Unix string

	// CACert is the PEM text of the authorities that may sign the server's
	// certificate; nil means the system's.
	CACert []byte
	// HostSubject, if set, is the required subject of the server's certificate. Then the host name
	// is not compared.
	HostSubject string

	// Ticket is the SPICE password of the server; empty if it asks for none.
	Ticket string

	// Done, if not nil, must be called when the console has been linked or will not be. Until then,
	// its source holds back the next ticket. See [Console.Release].
	Done func()
}

// Release tells the source that the ticket is no longer needed. It may be called for
// every console, and more than once.
func (c Console) Release() {
	if c.Done != nil {
		c.Done()
	}
}

// uuidForm is a UUID as RFC 9562 writes it.
var uuidForm = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// CanonicalUUID returns the form in which UUIDs are compared: in lower case, as RFC 9562 wants them
// written. Some hypervisors and web consoles use upper case. A name that is not a UUID is returned
// unchanged.
func CanonicalUUID(uuid string) string {
	if uuidForm.MatchString(uuid) {
		return strings.ToLower(uuid)
	}
	return uuid
}

// ForChannel returns the console for channels of one type: with only the port that they use.
func (c Console) ForChannel(channel string) Console {
	if c.Unix != "" || c.InsecurePort == 0 || c.SecurePort == 0 {
		return c
	}
	if len(c.SecureChannels) == 0 || slices.Contains(c.SecureChannels, "all") || slices.Contains(c.SecureChannels, channel) {
		c.InsecurePort = 0
	} else {
		c.SecurePort = 0
	}
	return c
}

// TLS reports whether the SPICE server is reached over TLS.
func (c Console) TLS() bool { return c.Unix == "" && c.SecurePort != 0 }

// Endpoint returns the console's address for people, such as "unix:/run/a.sock",
// "tls:192.0.2.7:5911", "tcp:192.0.2.7:5910" or, through an HTTP proxy, "connect:192.0.2.1:3128".
func (c Console) Endpoint() string {
	if c.Proxy != "" && c.Unix == "" {
		// Show neither the host, which may contain a ticket, nor a password of the URL.
		if u, err := url.Parse(c.Proxy); err == nil && u.Host != "" {
			return "connect:" + u.Host
		}
		return "connect:?"
	}
	network, address := c.Address()
	if c.TLS() {
		network = "tls"
	}
	return network + ":" + address
}

// Address returns network and address for a net.Dialer.
func (c Console) Address() (network, address string) {
	if c.Unix != "" {
		return "unix", c.Unix
	}
	port := c.InsecurePort
	if c.SecurePort != 0 {
		port = c.SecurePort
	}
	return "tcp", hostport.Join(c.Host(), port)
}

// Host returns the host to dial, an IPv6 address without brackets.
func (c Console) Host() string {
	if c.HypervisorIP != "" {
		return hostport.Bare(c.HypervisorIP)
	}
	return hostport.Bare(c.Hypervisor)
}

// ServerName returns the name that a TLS certificate must have if there is no
// HostSubject.
func (c Console) ServerName() string {
	if c.Hypervisor != "" {
		return hostport.Bare(c.Hypervisor)
	}
	return c.Host()
}

// String returns the console's name, source and endpoint.
func (c Console) String() string {
	return fmt.Sprintf("%s (%s/%s at %s)", c.Name, c.Source, c.UUID, c.Endpoint())
}

// GoString returns String, so that %#v does not show the ticket either.
func (c Console) GoString() string { return "console.Console{" + c.String() + "}" }

// LogValue omits the ticket.
func (c Console) LogValue() slog.Value {
	return slog.GroupValue(slog.String("source", c.Source), slog.String("uuid", c.UUID),
		slog.String("name", c.Name), slog.String("endpoint", c.Endpoint()))
}

// UnknownError says that no source has this console.
type UnknownError struct{ Source, UUID string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no console %s in source %s", strconv.Quote(e.UUID), strconv.Quote(e.Source))
}

// UnusableError says that a console cannot be used at present, for example because its password has
// expired. Its source works.
type UnusableError struct {
	Source, UUID, Name string
	Why                string // with what to do about it
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("console %s (%s/%s): %s", e.Name, e.Source, e.UUID, e.Why)
}

// SourceError says that a source failed to list its consoles.
type SourceError struct {
	Source string
	Err    error
}

func (e *SourceError) Error() string { return e.Source + ": " + e.Err.Error() }

func (e *SourceError) Unwrap() error { return e.Err }

// PartialError says that some sources failed and others did not.
type PartialError struct{ Failed []*SourceError }

func (e *PartialError) Error() string {
	texts := make([]string, len(e.Failed))
	for i, failed := range e.Failed {
		texts[i] = failed.Error()
	}
	return strings.Join(texts, "; ")
}

func (e *PartialError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, failed := range e.Failed {
		errs[i] = failed
	}
	return errs
}
