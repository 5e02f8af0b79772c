package spice

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spicelane/spicelane/spice/wire"
)

// ErrClosed is what calls on a session return that this side has closed.
var ErrClosed = errors.New("spice: session closed")

// ErrNoSurface says that the channel or the surface asked for does not exist.
var ErrNoSurface = errors.New("spice: no such surface")

// ErrAgent says that the guest has no agent connected.
var ErrAgent = errors.New("spice: the guest's agent is not connected")

// DialError is a session that did not come about. Err is a *link.Error when the server refused.
type DialError struct {
	Channel wire.ChannelID
	Addr    string
	Err     error
}

func (e *DialError) Error() string {
	if failed, ok := e.Err.(*ChannelError); ok && failed.Channel == e.Channel {
		return fmt.Sprintf("spice: dial %s: %s", e.Addr, strings.TrimPrefix(failed.Error(), "spice: "))
	}
	return fmt.Sprintf("spice: dial %s: %v: %v", e.Addr, e.Channel, e.Err)
}

func (e *DialError) Unwrap() error { return e.Err }

// ChannelError is what ended a session: something on one of its channels. Err is a *wire.DecodeError for a malformed message, a
// *codec.FormatError for malformed pixels, a *LimitError, a *DisconnectedError, or what the connection said.
type ChannelError struct {
	Channel wire.ChannelID
	Message string // what was being handled, as in "display.draw_copy"; empty between messages
	Serial  uint64 // of a message from the server, counted from 1; 0 otherwise
	Err     error
}

func (e *ChannelError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("spice: %v: %v", e.Channel, e.Err)
	}
	if e.Serial == 0 {
		return fmt.Sprintf("spice: %v: %s: %v", e.Channel, e.Message, e.Err)
	}
	return fmt.Sprintf("spice: %v: message %d %s: %v", e.Channel, e.Serial, e.Message, e.Err)
}

func (e *ChannelError) Unwrap() error { return e.Err }

// DisconnectedError says that the server said goodbye.
type DisconnectedError struct{ Reason wire.Result }

func (e *DisconnectedError) Error() string {
	return fmt.Sprintf("server disconnected: %v", e.Reason)
}

// LimitError says that the server asked for more than Config.Limits allows, or than it may itself ask for.
type LimitError struct {
	What      string
	Got, Want int64 // Want is the limit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d, more than the limit of %d", e.What, e.Got, e.Want)
}

// ProtocolError says that a message contradicts the ones before it, such as a drawing on a surface that was never created.
type ProtocolError struct{ Problem string }

func (e *ProtocolError) Error() string { return e.Problem }

func protocolErrorf(format string, args ...any) error {
	return &ProtocolError{Problem: fmt.Sprintf(format, args...)}
}

// MigratedError ends a session whose guest has moved to another host: dial again there, with Config. Zero ports are absent.
//
// The client does not keep a session across a migration. It announces neither seamless nor semi-seamless migration
// (SPICE_MAIN_CAP_SEAMLESS_MIGRATE, SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE), answers a server that asks nevertheless with
// SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR, and ends with this error when the guest has moved.
type MigratedError struct {
	Host          string
	Port, TLSPort int
	HostSubject   string
}

func (e *MigratedError) Error() string {
	return fmt.Sprintf("the guest has moved to %s (port %d, TLS port %d)", e.Host, e.Port, e.TLSPort)
}

// Config is cfg, which led to where the guest was, changed so that it leads to where the guest is now. Password and CA stay: both
// hosts have the same ones. TLS stays, too: if cfg has it and the new host does not, the result has no port, and Dial refuses it.
func (e *MigratedError) Config(cfg Config) Config {
	port := e.Port
	if cfg.UnixPath == "" && cfg.TLSPort != 0 && len(cfg.SecureChannels) == 0 {
		port = 0
	}
	cfg.UnixPath = ""
	cfg.Host, cfg.Port, cfg.TLSPort, cfg.HostSubject = e.Host, port, e.TLSPort, e.HostSubject
	return cfg
}

// ConfigError says that a configuration cannot work, whatever the server is.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }
