package link

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spicelane/spicelane/spice/wire"
)

// ServerConfig is the configuration of a server's handshakes.
type ServerConfig struct {
	// Key decrypts secrets: RSA of exactly 1024 bits, see GenerateKey. nil generates a new one for
	// each Reply, which takes some milliseconds.
	Key *rsa.PrivateKey
}

// GenerateKey generates a key for ServerConfig. The protocol requires 1024 bits, the least that
// crypto/rsa supports without GODEBUG=rsa1024min=0.
func GenerateKey() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 8*TicketSize)
	if err != nil {
		return nil, fmt.Errorf("link: make a ticket key: %w", err)
	}
	return key, nil
}

// Handshake is the server side of a handshake after the client's Request. Its steps are Reply,
// Secret, Finish, in this order; Refuse ends it instead of Reply.
type Handshake struct {
	// Request is what the client asked for.
	Request Request

	conn   net.Conn
	cfg    ServerConfig
	common wire.Caps // what Reply offered
}

// Accept reads the Request from conn. If it is malformed, Accept sends the client a result, as
// spice-server does, and returns the error. The caller has to close conn.
func Accept(ctx context.Context, conn net.Conn, cfg ServerConfig) (*Handshake, error) {
	const op = "read request"
	hs := &Handshake{conn: conn, cfg: cfg}
	err := guard(ctx, conn, func() error {
		h, err := readHeader(conn, op, requestSize)
		if err != nil {
			return err
		}
		body, err := readBody(conn, op, h.Size)
		if err != nil {
			return err
		}
		if err := hs.Request.Decode(body); err != nil {
			return &Error{Op: op, Code: wire.ResultInvalidData, Err: err}
		}
		return nil
	})
	if err == nil {
		return hs, nil
	}
	err = stepError(op, err)
	// A peer that does not speak SPICE, or has disconnected, gets no answer.
	if e := (*Error)(nil); errors.As(err, &e) && (e.Code == wire.ResultInvalidData || e.Code == wire.ResultVersionMismatch) {
		if said := hs.Refuse(ctx, e.Code); said != nil {
			err = errors.Join(err, said)
		}
	}
	return nil, err
}

// Refuse answers with an error instead of a key. The caller closes conn.
func (hs *Handshake) Refuse(ctx context.Context, code wire.Result) error {
	return hs.write(ctx, "refuse", Reply{Error: code}.Append(nil))
}

// Reply sends the capabilities and the public key. Whether the client then names its mechanism
// depends on wire.CapAuthSelection in both sides' common set.
func (hs *Handshake) Reply(ctx context.Context, common, channel wire.Caps) error {
	const op = "reply"
	if hs.cfg.Key == nil {
		key, err := GenerateKey()
		if err != nil {
			return &Error{Op: op, Code: wire.ResultError, Err: err}
		}
		hs.cfg.Key = key
	}
	der, err := x509.MarshalPKIXPublicKey(&hs.cfg.Key.PublicKey)
	if err == nil && (len(der) > PublicKeySize || hs.cfg.Key.Size() != TicketSize) {
		err = fmt.Errorf("the ticket key has %d bits, want %d", hs.cfg.Key.N.BitLen(), 8*TicketSize)
	}
	if err != nil {
		return &Error{Op: op, Code: wire.ResultError, Err: err}
	}
	reply := Reply{CommonCaps: common, ChannelCaps: channel}
	copy(reply.PublicKey[:], der)
	hs.common = common
	return hs.write(ctx, op, reply.Append(nil))
}

// Mini reports whether messages will have the 6-byte header. Valid after Reply.
func (hs *Handshake) Mini() bool {
	return hs.Request.CommonCaps.Has(wire.CapMiniHeader) && hs.common.Has(wire.CapMiniHeader)
}

// Secret reads the mechanism, if there is one, and the encrypted secret (a server's ticket or a
// proxy's token), and decrypts it. If decryption fails, the error is an *Error with
// wire.ResultPermissionDenied. Pass that code to Finish, as for a wrong secret.
func (hs *Handshake) Secret(ctx context.Context) (string, error) {
	const op = "read ticket"
	if hs.cfg.Key == nil {
		return "", &Error{Op: op, Code: wire.ResultError, Err: errors.New("called before Reply")}
	}
	var sealed [TicketSize]byte
	err := guard(ctx, hs.conn, func() error {
		if hs.Request.CommonCaps.Has(wire.CapAuthSelection) && hs.common.Has(wire.CapAuthSelection) {
			var b [4]byte
			if n, err := io.ReadFull(hs.conn, b[:]); err != nil {
				return readError("read mechanism", n, err)
			}
			if mechanism := binary.LittleEndian.Uint32(b[:]); mechanism != uint32(wire.CapAuthSpice) {
				return &Error{Op: "read mechanism", Code: wire.ResultInvalidData,
					Err: fmt.Errorf("the client chose %s, only auth_spice is offered",
						wire.CommonCapName(wire.Cap(mechanism)))}
			}
		}
		if n, err := io.ReadFull(hs.conn, sealed[:]); err != nil {
			return readError(op, n, err)
		}
		return nil
	})
	if err != nil {
		return "", stepError(op, err)
	}
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, hs.cfg.Key, sealed[:], nil)
	if err != nil {
		return "", &Error{Op: op, Code: wire.ResultPermissionDenied, Err: errors.New("the ticket was not encrypted for this server")}
	}
	secret, _, _ := bytes.Cut(plain, []byte{0})
	return string(secret), nil
}

// Ticket reads the secret.
//
// Deprecated: use Secret.
func (hs *Handshake) Ticket(ctx context.Context) (string, error) { return hs.Secret(ctx) }

// Finish sends the result of the authentication. After wire.ResultOK the channel is open; after any
// other result the caller closes conn.
func (hs *Handshake) Finish(ctx context.Context, code wire.Result) error {
	return hs.write(ctx, "finish", binary.LittleEndian.AppendUint32(nil, uint32(code)))
}

func (hs *Handshake) write(ctx context.Context, op string, b []byte) error {
	err := guard(ctx, hs.conn, func() error {
		_, err := hs.conn.Write(b)
		return err
	})
	return stepError(op, err)
}
