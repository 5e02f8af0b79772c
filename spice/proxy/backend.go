package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

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

// dialConsole connects to a console and links a channel as the client asked for
// it. The error is a *BackendError.
func dialConsole(ctx context.Context, c Console, alive time.Duration, request link.Request) (conn net.Conn, ch *link.Channel, err error) {
	defer func() {
		if err != nil {
			if conn != nil {
				conn.Close()
			}
			conn, ch, err = nil, nil, &BackendError{Endpoint: c.Endpoint(), Err: err}
		}
	}()
	network, address := c.Address()
	if through := c.Proxy != "" && network == "tcp"; through {
		if c.SecurePort == 0 || c.HostSubject == "" {
			return nil, nil, errors.New("through an HTTP proxy a console needs a TLS port and a host subject")
		}
		conn, err = connect.Dial(ctx, c.Proxy, connect.Target(c.Host(), c.SecurePort))
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
	}
	if err != nil {
		return nil, nil, err
	}
	keepAlive(conn, alive)
	conn = newPollConn(conn)
	if c.TLS() {
		// Without certificates of its own a console is checked against the
		// system's (nil).
		var roots *x509.CertPool
		if c.CACert != nil {
			roots = x509.NewCertPool()
			if !roots.AppendCertsFromPEM(c.CACert) {
				return conn, nil, errors.New("its CA certificate is no PEM text")
			}
		}
		config := pki.ClientTLS(roots, c.ServerName(), c.HostSubject)
		if c.Proxy != "" {
			// The name is the HTTP proxy's affair, and may be a secret: no SNI.
			config.ServerName = ""
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return conn, nil, err
		}
		conn = secure
	}
	ch, err = link.Client(ctx, conn, link.Config{
		ConnectionID: request.ConnectionID,
		Channel:      request.Channel,
		// Of the common capabilities only those that the client was offered
		// as well: they change how messages are framed.
		CommonCaps:  request.CommonCaps.And(offeredCommon),
		ChannelCaps: request.ChannelCaps,
		Secret:      c.Ticket,
	})
	return conn, ch, err
}
