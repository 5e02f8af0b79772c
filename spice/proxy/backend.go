package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spicelane/spicelane/spice/connect"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/wire"
)

// BackendError says that a console could not be linked.
type BackendError struct {
	Endpoint string // as [Console.Endpoint] writes it
	Err      error
}

func (e *BackendError) Error() string { return fmt.Sprintf("console at %s: %v", e.Endpoint, e.Err) }

func (e *BackendError) Unwrap() error { return e.Err }

// result returns the result for the client. A ticket that the console refuses is the proxy's
// problem: the client must not ask its user for another password.
func (e *BackendError) result() wire.Result {
	var refused *link.Error
	if errors.As(e.Err, &refused) {
		switch refused.Code {
		case wire.ResultChannelNotAvailable, wire.ResultBadConnectionID:
			return refused.Code
		}
	}
	return wire.ResultError
}

// dialConsole connects to a console and links the requested channel, on the console's port for such
// channels. If the console demands TLS on its plaintext port, it uses the TLS port. The error is a
// *BackendError.
func dialConsole(ctx context.Context, c Console, alive time.Duration, request link.Request, connecting prometheus.Observer) (net.Conn, *link.Channel, error) {
	if c.Proxy != "" && c.Unix == "" && (c.SecurePort == 0 || c.HostSubject == "") {
		return nil, nil, &BackendError{Endpoint: c.Endpoint(), Err: errors.New("through an HTTP proxy a console needs a TLS port and a host subject")}
	}
	at := c.ForChannel(request.Channel.Type.String())
	conn, ch, err := dialPort(ctx, at, alive, request, connecting)
	var refused *link.Error
	if errors.As(err, &refused) && refused.Code == wire.ResultNeedSecured && !at.TLS() && c.TLS() {
		at.InsecurePort, at.SecurePort = 0, c.SecurePort
		conn, ch, err = dialPort(ctx, at, alive, request, connecting)
	}
	if err != nil {
		return nil, nil, &BackendError{Endpoint: at.Endpoint(), Err: err}
	}
	return conn, ch, nil
}

// dialPort connects to the port of a console and links a channel.
func dialPort(ctx context.Context, c Console, alive time.Duration, request link.Request, connecting prometheus.Observer) (net.Conn, *link.Channel, error) {
	began := time.Now()
	conn, err := dialSecured(ctx, c, alive)
	connecting.Observe(time.Since(began).Seconds())
	if err != nil {
		return nil, nil, err
	}
	ch, err := link.Client(ctx, conn, link.Config{
		ConnectionID: request.ConnectionID,
		Channel:      request.Channel,
		// Of the common capabilities, pass on only those that the client was offered: they change
		// how messages are framed.
		CommonCaps:  request.CommonCaps.And(offeredCommon),
		ChannelCaps: request.ChannelCaps,
		Secret:      c.Ticket,
	})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, ch, nil
}

// dialSecured connects to the port of a console, and does the TLS handshake if that port has TLS.
func dialSecured(ctx context.Context, c Console, alive time.Duration) (net.Conn, error) {
	network, address := c.Address()
	var conn net.Conn
	var err error
	if c.Proxy != "" && network == "tcp" {
		conn, err = connect.Dial(ctx, c.Proxy, connect.Target(c.Host(), cmp.Or(c.SecurePort, c.InsecurePort)))
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
	}
	if err != nil {
		return nil, err
	}
	keepAlive(conn, alive)
	conn = newPollConn(conn)
	if !c.TLS() {
		return conn, nil
	}
	secure, err := startTLS(ctx, c, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// startTLS does the TLS handshake with a console and verifies its certificate.
func startTLS(ctx context.Context, c Console, conn net.Conn) (net.Conn, error) {
	// A console without its own certificates is verified against the system's (nil).
	var roots *x509.CertPool
	if c.CACert != nil {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(c.CACert) {
			return nil, errors.New("its CA certificate is not PEM text")
		}
	}
	config := pki.ClientTLS(roots, c.ServerName(), c.HostSubject)
	if c.Proxy != "" {
		// Only the HTTP proxy understands the name, which may be a secret: send no SNI.
		config.ServerName = ""
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}
