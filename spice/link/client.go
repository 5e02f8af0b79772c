package link

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/spicelane/spicelane/spice/wire"
)

// Config is what a client requests. The zero value requests main channel 0 of a new session without
// capabilities and with an empty ticket. Set at least Channel, and normally CommonCaps to
// link.CommonCaps.
type Config struct {
	// ConnectionID is 0 for the first channel, and MainInit.SessionID after it.
	ConnectionID uint32
	// Channel is the requested channel. Type 0 means main.
	Channel wire.ChannelID
	// CommonCaps and ChannelCaps are announced exactly as given.
	CommonCaps  wire.Caps
	ChannelCaps wire.Caps
	// Secret is QEMU's ticket or the proxy's token, at most MaxSecret bytes and without a zero
	// byte. Leave it empty for a server without ticketing.
	Secret string
	// Rand pads the ticket; nil means crypto/rand. Only tests set it.
	Rand io.Reader
}

func (c Config) request() Request {
	channel := c.Channel
	if channel.Type == 0 {
		channel.Type = wire.ChannelMain
	}
	return Request{ConnectionID: c.ConnectionID, Channel: channel, CommonCaps: c.CommonCaps, ChannelCaps: c.ChannelCaps}
}

// Channel is the result of a handshake.
type Channel struct {
	// Request is the client's request.
	Request Request
	// CommonCaps and ChannelCaps are the server's.
	CommonCaps  wire.Caps
	ChannelCaps wire.Caps
}

// Mini reports whether messages of this channel have the 6-byte header.
func (c *Channel) Mini() bool {
	return c.Request.CommonCaps.Has(wire.CapMiniHeader) && c.CommonCaps.Has(wire.CapMiniHeader)
}

// Client links one channel over conn, on which nothing has been sent yet, and authenticates. The
// error is an *Error. After an error conn is unusable; the caller still has to close it.
func Client(ctx context.Context, conn net.Conn, cfg Config) (*Channel, error) {
	p, err := Open(ctx, conn, cfg)
	if err != nil {
		return nil, err
	}
	if err := p.Authenticate(ctx, cfg.Secret); err != nil {
		return nil, err
	}
	return &p.Channel, nil
}

// Pending is a client's handshake between the server's reply and the ticket: the capabilities are
// known, but the client is not authenticated. A proxy stops here to learn the server's capabilities
// before it answers its own client.
type Pending struct {
	Channel
	conn net.Conn
	key  *rsa.PublicKey
	rand io.Reader
}

// Open does the first half of Client: it sends the Request and reads the Reply.
func Open(ctx context.Context, conn net.Conn, cfg Config) (*Pending, error) {
	const op = "read reply"
	p := &Pending{Channel: Channel{Request: cfg.request()}, conn: conn, rand: cfg.Rand}
	if p.rand == nil {
		p.rand = rand.Reader
	}
	var reply Reply
	err := guard(ctx, conn, func() error {
		if _, err := conn.Write(p.Request.Append(nil)); err != nil {
			return &Error{Op: "send request", Code: wire.ResultError, Err: err}
		}
		h, err := readHeader(conn, op, replySize)
		if err != nil {
			hungUp := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
			if e := (*Error)(nil); hungUp && errors.As(err, &e) {
				e.Hint = "a TLS port hangs up on plaintext: is this one?"
			}
			return err
		}
		body, err := readBody(conn, op, h.Size)
		if err != nil {
			return err
		}
		if err := reply.Decode(body); err != nil {
			return &Error{Op: op, Code: wire.ResultInvalidData, Err: err}
		}
		return nil
	})
	if err != nil {
		return nil, stepError(op, err)
	}
	if reply.Error != wire.ResultOK {
		return nil, refused(p.Request.Channel.String(), reply.Error)
	}
	p.CommonCaps, p.ChannelCaps = reply.CommonCaps, reply.ChannelCaps
	if p.selection() && !p.CommonCaps.Has(wire.CapAuthSpice) && p.CommonCaps.Has(wire.CapAuthSASL) {
		return nil, &Error{Op: op, Code: wire.ResultError,
			Err: errors.New("the server takes only SASL, which is not supported: configure it with a SPICE ticket")}
	}
	if p.key, err = parsePublicKey(reply.PublicKey[:]); err != nil {
		return nil, &Error{Op: op, Code: wire.ResultInvalidData, Err: err}
	}
	return p, nil
}

// selection reports whether the client names the mechanism, which it does if both sides announced
// that.
func (c *Channel) selection() bool {
	return c.Request.CommonCaps.Has(wire.CapAuthSelection) && c.CommonCaps.Has(wire.CapAuthSelection)
}

// Authenticate does the second half of Client: it sends the ticket and reads the result.
func (p *Pending) Authenticate(ctx context.Context, secret string) error {
	const op = "read result"
	if err := CheckSecret(secret); err != nil {
		return &Error{Op: "send ticket", Code: wire.ResultInvalidData, Err: err}
	}
	// The password is sent with its terminating zero byte, because spice-server compares C strings.
	sealed, err := rsa.EncryptOAEP(sha1.New(), p.rand, p.key, append([]byte(secret), 0), nil)
	if err != nil {
		return &Error{Op: "send ticket", Code: wire.ResultError, Err: err}
	}
	var out []byte
	if p.selection() {
		out = binary.LittleEndian.AppendUint32(out, uint32(wire.CapAuthSpice))
	}
	out = append(out, sealed...)
	var code wire.Result
	err = guard(ctx, p.conn, func() error {
		if _, err := p.conn.Write(out); err != nil {
			return &Error{Op: "send ticket", Code: wire.ResultError, Err: err}
		}
		var b [4]byte
		if n, err := io.ReadFull(p.conn, b[:]); err != nil {
			return readError(op, n, err)
		}
		code = wire.Result(binary.LittleEndian.Uint32(b[:]))
		return nil
	})
	if err != nil {
		return stepError(op, err)
	}
	if code != wire.ResultOK {
		return refused(p.Request.Channel.String(), code)
	}
	return nil
}

// CheckSecret returns an error if a ticket or token cannot be sent. The error never repeats the
// secret.
func CheckSecret(secret string) error {
	if len(secret) > MaxSecret {
		return fmt.Errorf("the ticket has %d bytes, and spice-server keeps only the first %d of one, so that it would never match; use a shorter one",
			len(secret), MaxSecret)
	}
	for i := range len(secret) {
		if secret[i] == 0 {
			return fmt.Errorf("the ticket has a zero byte at position %d", i)
		}
	}
	return nil
}

// parsePublicKey parses the DER at the start of a Reply's key and ignores the padding.
func parsePublicKey(b []byte) (*rsa.PublicKey, error) {
	var der asn1.RawValue
	if _, err := asn1.Unmarshal(b, &der); err != nil {
		return nil, fmt.Errorf("the server's public key: %w", err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("the server's public key: %w", err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the server's public key is a %T, want RSA", parsed)
	}
	if key.Size() != TicketSize {
		return nil, fmt.Errorf("the server's public key has %d bits, want %d", key.N.BitLen(), 8*TicketSize)
	}
	return key, nil
}
