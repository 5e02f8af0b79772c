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

// BackendError is a console that could not be linked.
type BackendError struct {
	Endpoint string // as [Console.Endpoint] writes it
	Err      error
}

func (e *BackendError) Error() string { return fmt.Sprintf("console at %s: %v", e.Endpoint, e.Err) }

func (e *BackendError) Unwrap() error { return e.Err }

// result is what the client is told. A ticket that the console refuses is the
// proxy's trouble: the client must not ask its user for another password.
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

// dialConsole connects to a console and links a channel as the client asked for it, on
// the port that the console has for such channels. A console that wants TLS for a
// channel on its plaintext port gets that. The error is a *BackendError.
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
		// Of the common capabilities only those that the client was offered
		// as well: they change how messages are framed.
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

// dialSecured connects to the port of a console, up to the end of TLS if it has that.
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

// startTLS checks who is behind a connection to a console's TLS port.
func startTLS(ctx context.Context, c Console, conn net.Conn) (net.Conn, error) {
	// Without certificates of its own a console is checked against the system's (nil).
	var roots *x509.CertPool
	if c.CACert != nil {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(c.CACert) {
			return nil, errors.New("its CA certificate is no PEM text")
		}
	}
	config := pki.ClientTLS(roots, c.ServerName(), c.HostSubject)
	if c.Proxy != "" {
		// The name is the HTTP proxy's affair, and may be a secret: no SNI.
		config.ServerName = ""
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}
