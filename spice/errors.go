package spice

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spicelane/spicelane/spice/wire"
)

// ErrClosed is returned by calls on a session that this side has closed.
var ErrClosed = errors.New("spice: session closed")

// ErrNoSurface means that the requested channel or surface does not exist.
var ErrNoSurface = errors.New("spice: no such surface")

// ErrAgent means that the guest has no agent connected.
var ErrAgent = errors.New("spice: the guest's agent is not connected")

// DialError says that a session could not be opened. Err is a *link.Error if the server refused.
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

// ChannelError is the error of one channel that ended a session. Err is a *wire.DecodeError for a
// malformed message, a *codec.FormatError for malformed pixels, a *LimitError, a
// *DisconnectedError, or the connection's error.
type ChannelError struct {
	Channel wire.ChannelID
	Message string // what was being handled, as in "display.draw_copy"; empty between messages
	Serial  uint64 // of a message from the server, counted from 1; otherwise 0
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

// DisconnectedError says that the server ended the session with a reason.
type DisconnectedError struct {
	Reason wire.Result
	// Notice is the text of the notice that came just before, if any: why the session ends, in
	// the words of the server or proxy.
	Notice string
}

func (e *DisconnectedError) Error() string {
	if e.Notice == "" {
		return fmt.Sprintf("server disconnected: %v", e.Reason)
	}
	// NB: the other end chose the text.
	return fmt.Sprintf("server disconnected: %v: %.200q", e.Reason, e.Notice)
}

// LimitError says that the server demanded more than Config.Limits or the protocol allows.
type LimitError struct {
	What      string
	Got, Want int64 // Want is the limit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d, more than the limit of %d", e.What, e.Got, e.Want)
}

// ProtocolError says that a message contradicts the ones before it, such as a drawing on a surface
// that was never created.
type ProtocolError struct{ Problem string }

func (e *ProtocolError) Error() string { return e.Problem }

func protocolErrorf(format string, args ...any) error {
	return &ProtocolError{Problem: fmt.Sprintf(format, args...)}
}

// MigratedError ends a session whose guest has moved to another host. Dial that host with Config.
// Absent ports are 0.
//
// The client does not keep a session across a migration. It announces neither seamless nor
// semi-seamless migration (SPICE_MAIN_CAP_SEAMLESS_MIGRATE, SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE).
// If a server asks anyway, it answers SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR. When the guest has
// moved, the session ends with this error.
type MigratedError struct {
	Host          string
	Port, TLSPort int
	HostSubject   string
}

func (e *MigratedError) Error() string {
	return fmt.Sprintf("the guest has moved to %s (port %d, TLS port %d)", e.Host, e.Port, e.TLSPort)
}

// Config returns cfg, the configuration for the old host, changed for the new host. Password and CA
// stay, because both hosts have the same ones. TLS stays, too: if cfg uses TLS and the new host
// does not, the result has no port, and Dial refuses it.
func (e *MigratedError) Config(cfg Config) Config {
	port := e.Port
	if cfg.UnixPath == "" && cfg.TLSPort != 0 && len(cfg.SecureChannels) == 0 {
		port = 0
	}
	cfg.UnixPath = ""
	cfg.Host, cfg.Port, cfg.TLSPort, cfg.HostSubject = e.Host, port, e.TLSPort, e.HostSubject
	return cfg
}

// ConfigError says that a configuration cannot work with any server.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }
