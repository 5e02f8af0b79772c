package proxy

import (
	"log/slog"
	"time"
)

// EventKind says what happened.
type EventKind string

// The kinds of events. The log and the metrics use these texts.
const (
	EventTokenIssued    EventKind = "token_issued"    // a virt-viewer file was handed out
	EventSessionOpened  EventKind = "session_opened"  // a main channel used its token and is linked
	EventChannelOpened  EventKind = "channel_opened"  // a channel is linked on both sides
	EventChannelClosed  EventKind = "channel_closed"  // Reason says who ended it
	EventSessionClosed  EventKind = "session_closed"  // the last channel has ended, or the session was ended
	EventLinkRefused    EventKind = "link_refused"    // a client was refused, see Reason
	EventRecordingEnded EventKind = "recording_ended" // a session's recording is complete, or see Reason
	EventVerdict        EventKind = "verdict"         // the firewall has a new verdict on a channel
	EventBackendFailed  EventKind = "backend_failed"  // a console refused the proxy, see Err
)

// Reason says why a link was refused or a channel closed. Clients get less detail.
type Reason string

// The reasons of EventLinkRefused.
const (
	ReasonTokenUnknown       Reason = "token_unknown"        // never issued, or forgotten long ago
	ReasonTokenExpired       Reason = "token_expired"        // not used in time
	ReasonTokenReplayed      Reason = "token_replayed"       // already used
	ReasonSessionOver        Reason = "session_over"         // its session has ended
	ReasonWrongConnectionID  Reason = "wrong_connection_id"  // not that of the token's session
	ReasonSecondMain         Reason = "second_main"          // the session already has a main channel
	ReasonNeedSecured        Reason = "need_secured"         // came to the plaintext port
	ReasonMalformed          Reason = "malformed"            // not SPICE, a broken handshake, or too slow
	ReasonForeignOrigin      Reason = "foreign_origin"       // a web page of another site, see Config.AllowedOrigins
	ReasonTooManyHandshakes  Reason = "too_many_handshakes"  // idle when its place was needed, see Config.MaxHandshakes
	ReasonTooManySessions    Reason = "too_many_sessions"    // see Config.MaxSessions
	ReasonTooManyChannels    Reason = "too_many_channels"    // see Config.MaxChannels
	ReasonTooManyConnections Reason = "too_many_connections" // see Config.MaxConnectionsPerAddress
	ReasonChannelForbidden   Reason = "channel_forbidden"    // see Firewall.Permit
	ReasonChannelTaken       Reason = "channel_taken"        // the session has this channel already
	ReasonConsoleUnknown     Reason = "console_unknown"      // the console is no longer in its source
	ReasonConsoleTaken       Reason = "console_taken"        // another viewer has the console, see TakeoverRefuse
	ReasonBackendDown        Reason = "backend_down"         // the console could not be linked
)

// The reasons of EventChannelClosed and EventSessionClosed. A session has the reason of its main
// channel, unless it was ended.
const (
	ReasonClientClosed Reason = "client_closed"
	ReasonServerClosed Reason = "server_closed"
	ReasonFailed       Reason = "failed"        // see Err
	ReasonSessionEnded Reason = "session_ended" // of a channel: its session was ended, or its main channel ended
	ReasonDeleted      Reason = "deleted"       // of a session: EndSession
	ReasonReplaced     Reason = "replaced"      // of a session: another viewer took the console over
	ReasonShutdown     Reason = "shutdown"      // the proxy is ending: of a session or a refused link
)

// ReasonRecordingTooLarge says that a recording ended before its session did, see Recording. An
// EventRecordingEnded has this reason, ReasonFailed, or none.
const ReasonRecordingTooLarge Reason = "recording_too_large"

// ReasonFirewall is the reason for a channel that carried a message which the firewall refuses. Its
// session is ended, too.
const ReasonFirewall Reason = "firewall"

// Event is one line of the audit log. It never contains a token or a ticket.
type Event struct {
	Time    time.Time
	Kind    EventKind
	Session string // the session's id; empty before there is one
	Source  string // the console's source and UUID; empty if not known yet
	UUID    string
	Console string // its name; empty if not known yet
	Channel string // as in "display:0"; empty if the event is about no channel
	Client  string // the client's address
	Viewer  string // the viewer for whom the token was issued, as named to the API
	// Transport is "websocket" if the client came to the WebSocket port, else empty.
	Transport string
	// Recording is the name of the file that the session is recorded in, see Config.Recording.
	Recording string
	Reason    Reason
	Err       error // nil if the reason says everything

	// EndedBy says who ended a channel or session: "client", "server", "proxy",
	// "operator", or "session ID" of the session that took the console over.
	EndedBy string
	// Lasted and the byte counts are of a channel or session that closed.
	Lasted          time.Duration
	BytesFromClient uint64
	BytesFromServer uint64

	// Verdicts are the firewall's: in EventVerdict the new one, in EventChannelClosed all of that
	// channel with their counts.
	Verdicts []Verdict
}

// The values of Event.EndedBy.
const (
	byClient   = "client"
	byServer   = "server"
	byProxy    = "proxy"
	byOperator = "operator"
)

// endedBy returns who ended a channel that closed for the reason.
func endedBy(reason Reason) string {
	switch reason {
	case ReasonClientClosed:
		return byClient
	case ReasonServerClosed:
		return byServer
	}
	return byProxy
}

// emit logs an event, counts it, and passes it to OnEvent.
func (p *Proxy) emit(e Event) {
	e.Time = p.cfg.now()
	p.metrics.events.WithLabelValues(string(e.Kind), string(e.Reason)).Inc()
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("event", string(e.Kind)))
	for _, a := range []struct{ key, value string }{
		{"reason", string(e.Reason)}, {"session", e.Session}, {"source", e.Source}, {"uuid", e.UUID},
		{"console", e.Console}, {"channel", e.Channel}, {"client", e.Client}, {"viewer", e.Viewer}, {"transport", e.Transport}, {"recording", e.Recording},
		{"ended_by", e.EndedBy},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	level := slog.LevelInfo
	// It is normal that a client first comes to the plaintext port: its virt-viewer file has both.
	if (e.Kind == EventLinkRefused && e.Reason != ReasonNeedSecured) || e.Kind == EventBackendFailed || e.Kind == EventVerdict {
		level = slog.LevelWarn
	}
	if e.Kind == EventChannelClosed || e.Kind == EventSessionClosed {
		attrs = append(attrs, slog.Duration("lasted", e.Lasted), slog.Uint64("bytes_from_client", e.BytesFromClient),
			slog.Uint64("bytes_from_server", e.BytesFromServer))
	}
	if len(e.Verdicts) > 0 {
		attrs = append(attrs, slog.Any("verdicts", e.Verdicts))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	p.log.LogAttrs(p.ctx, level, "audit", attrs...)
	p.audit.write(e)
	if p.cfg.OnEvent != nil {
		p.cfg.OnEvent(e)
	}
}
