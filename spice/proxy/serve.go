package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// servePlain redirects a client to the TLS port, whatever it asks for.
func (p *Proxy) servePlain(conn net.Conn, mine *place) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.handshakeTimeout())
	defer cancel()
	refused := Event{Kind: EventLinkRefused, Client: conn.RemoteAddr().String()}
	hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: p.key})
	if err == nil {
		refused.Reason, refused.Channel = ReasonNeedSecured, hs.Request.Channel.String()
		err = hs.Refuse(ctx, wire.ResultNeedSecured)
	}
	if refused.Reason == "" {
		refused.Reason = ReasonMalformed
	}
	refused.Err = err
	if p.ctx.Err() == nil && !mine.wasEvicted() {
		p.emit(refused)
	}
}

// serveTLS serves one channel from its first byte to its last.
func (p *Proxy) serveTLS(raw net.Conn, mine *place) {
	conn := tls.Server(newPollConn(raw), p.tls.Load().config)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.handshakeTimeout())
	defer cancel()
	if err := secure(ctx, conn); err != nil {
		p.malformed(Event{Kind: EventLinkRefused, Client: raw.RemoteAddr().String()}, err, mine)
		return
	}
	mine.progress()
	p.serveChannel(ctx, cancel, conn, "", mine)
}

// secure does the TLS handshake.
func secure(ctx context.Context, conn *tls.Conn) error {
	err := conn.HandshakeContext(ctx)
	var header tls.RecordHeaderError
	if errors.As(err, &header) && string(header.RecordHeader[:4]) == "REDQ" {
		return fmt.Errorf("%w: SPICE without TLS, does the client use the wrong port?", err)
	}
	return err
}

// malformed emits the event about a handshake that ended before the client had sent a token.
func (p *Proxy) malformed(refused Event, err error, mine *place) {
	// A connection without any data is probably a health check.
	if p.ctx.Err() == nil && !errors.Is(err, io.EOF) && !mine.wasEvicted() {
		refused.Reason, refused.Err = ReasonMalformed, err
		p.emit(refused)
	}
}

// serveChannel serves one channel over a secure connection, from the first byte of its link to its
// last. ctx bounds the time until the client has sent a token; cancel ends it.
//
// NB: a goroutine waits here for as long as the channel is open. Each step that needs a
// large frame is a function, so that the goroutine's stack can shrink.
func (p *Proxy) serveChannel(ctx context.Context, cancel context.CancelFunc, conn net.Conn, transport string, mine *place) {
	ch, hs, offered := p.letIn(ctx, conn, transport, mine)
	cancel() // the timer, too: thousands of channels would wake up to nothing
	if ch == nil {
		return
	}
	depart := sync.OnceFunc(func() { p.depart(ch) })
	defer depart()
	server := p.reachConsole(ch, hs, offered, depart)
	if server == nil {
		return
	}
	defer server.Close()
	if err := p.finishLink(ch, hs, offered); err != nil {
		over := broken(ReasonClientClosed, err)
		if ch.session.ctx.Err() != nil {
			over = pumpEnd{ReasonSessionEnded, nil}
		}
		ch.first.note(over) // the session's reason, if this was its main channel
		p.channelClosed(ch, over.reason, over.err)
		return
	}
	reason, err := p.relay(ch, hs.Mini(), conn, server)
	p.channelClosed(ch, reason, err)
}

// letIn links a client up to its token, and returns the channel that the token opens; nil if the
// client was refused.
func (p *Proxy) letIn(ctx context.Context, conn net.Conn, transport string, mine *place) (*channel, *link.Handshake, wire.Caps) {
	refused := Event{Kind: EventLinkRefused, Client: conn.RemoteAddr().String(), Transport: transport}
	hs, offered, token, err := p.greet(ctx, conn, mine.progress)
	if hs != nil {
		refused.Channel = hs.Request.Channel.String()
	}
	if err != nil {
		p.malformed(refused, err, mine)
		return nil, nil, nil
	}
	p.metrics.handshake.Observe(time.Since(mine.entered).Seconds())
	if p.forbidden(hs.Request.Channel.Type) {
		refused.Reason, refused.Err = ReasonChannelForbidden, hs.Finish(ctx, wire.ResultChannelNotAvailable)
		p.emit(refused)
		return nil, nil, nil
	}
	ch, code := p.admit(hs.Request, token, &refused)
	if ch == nil {
		refused.Err = hs.Finish(ctx, code)
		p.emit(refused)
		return nil, nil, nil
	}
	// A client with a valid token counts as a channel of its session from now on. It must not crowd
	// out others while its console is slow.
	mine.leave()
	ch.transport = transport
	p.keepOut(ch, token)
	p.noteForbidden(ch)
	return ch, hs, offered
}

// reachConsole links a channel onward. If that fails, the channel departs, and the client
// gets the reason.
func (p *Proxy) reachConsole(ch *channel, hs *link.Handshake, offered wire.Caps, depart func()) net.Conn {
	server, console, err := p.linkConsole(ch, hs, offered)
	if err == nil {
		ch.name = console.Name
		return server
	}
	cut := ch.session.ctx.Err() != nil
	depart()
	// The context of the handshake has ended, so the answer gets a new one.
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.handshakeTimeout())
	defer cancel()
	e := ch.event(EventBackendFailed)
	code := wire.ResultError
	e.Reason, e.Err = ReasonBackendDown, err
	var unknown *UnknownConsoleError
	var backend *BackendError
	switch {
	case cut:
		e.Kind, e.Reason = EventLinkRefused, ReasonSessionOver
	case errors.As(err, &unknown):
		e.Kind, e.Reason = EventLinkRefused, ReasonConsoleUnknown
	case errors.As(err, &backend):
		code = backend.result()
	}
	p.emit(e)
	// A client that has disconnected needs no answer.
	_ = hs.Finish(ctx, code)
	return nil
}

// finishLink tells the client that its channel is open.
func (p *Proxy) finishLink(ch *channel, hs *link.Handshake, offered wire.Caps) error {
	// From here on the channel counts as open, so that the session is visible before the client
	// continues.
	if p.sessions.markLinked(ch.session, ch.name) {
		p.record(ch)
		e := ch.event(EventSessionOpened)
		if r := ch.session.recording; r != nil {
			e.Recording = r.file()
		}
		p.emit(e)
	}
	ch.relaying.Store(true)
	p.emit(ch.event(EventChannelOpened))
	ch.startTap(hs.Request, offered)
	ctx, cancel := context.WithTimeout(ch.session.ctx, p.cfg.handshakeTimeout())
	defer cancel()
	return hs.Finish(ctx, wire.ResultOK)
}

// channelClosed emits the event about a channel's end.
func (p *Proxy) channelClosed(ch *channel, reason Reason, err error) {
	ch.endTap()
	closed := ch.event(EventChannelClosed)
	closed.Reason, closed.Err = reason, err
	now := p.cfg.now()
	_, longest := ch.silence.at(now)
	closed.Verdicts = ch.verdicts.list()
	closed.Lasted = now.Sub(ch.started)
	closed.BytesFromClient, closed.BytesFromServer = ch.fromClient.bytes.Load(), ch.fromServer.bytes.Load()
	closed.EndedBy = endedBy(reason)
	if reason == ReasonSessionEnded {
		_, closed.EndedBy = p.sessions.ending(ch.session)
	}
	p.metrics.silence.WithLabelValues(channelLabel(ch.id.Type)).Observe(longest.Seconds())
	p.emit(closed)
}

// greet does the client's link up to its token. It returns the handshake as soon as there is one,
// with the capabilities that the client was offered. It calls progress after each step.
func (p *Proxy) greet(ctx context.Context, conn net.Conn, progress func()) (hs *link.Handshake, offered wire.Caps, token string, err error) {
	if hs, err = link.Accept(ctx, conn, link.ServerConfig{Key: p.key}); err != nil {
		return nil, nil, "", err
	}
	progress()
	offered = p.offer(hs.Request)
	if err := hs.Reply(ctx, offeredCommon, offered); err != nil {
		return hs, nil, "", err
	}
	token, err = hs.Secret(ctx)
	if err != nil {
		var e *link.Error
		if errors.As(err, &e) && e.Code != wire.ResultError {
			err = errors.Join(err, hs.Finish(ctx, e.Code))
		}
		return hs, nil, "", err
	}
	return hs, offered, token, nil
}

// admit finds or makes the session for a token and a connection id. If it returns no channel, it
// returns the result for the client and completes the event with the details.
func (p *Proxy) admit(request link.Request, token string, refused *Event) (*channel, wire.Result) {
	hash, now := hashToken(token), p.cfg.now()
	if request.ConnectionID == 0 && request.Channel.Type == wire.ChannelMain {
		look := func() (grant, Reason) { return p.tokens.lookup(hash, now) }
		spend := func() (grant, Reason) { return p.tokens.spend(hash, now) }
		ch, replaced, reason := p.sessions.open(p.ctx, hash, refused.Client, request.Channel, now, look, spend)
		if ch != nil {
			for _, old := range replaced {
				p.sessions.terminate(old, ReasonReplaced, "session "+ch.session.id)
			}
			return ch, wire.ResultOK
		}
		g, useless := look()
		refused.concerns(g)
		refused.Reason = cmp.Or(useless, reason)
		switch {
		case useless != "":
			return nil, wire.ResultPermissionDenied
		case reason == ReasonConsoleTaken:
			return nil, wire.ResultChannelNotAvailable
		}
		return nil, wire.ResultError
	}
	ch, s, reason := p.sessions.join(hash, request.ConnectionID, refused.Client, request.Channel, now)
	switch {
	case ch != nil:
		return ch, wire.ResultOK
	case s == nil:
		// Without a session the token decides. A valid one stays valid.
		var g grant
		g, refused.Reason = p.tokens.lookup(hash, now)
		refused.concerns(g)
		switch refused.Reason {
		case "":
			refused.Reason = ReasonWrongConnectionID
			return nil, wire.ResultBadConnectionID
		case ReasonTokenReplayed:
			refused.Reason = reason
		}
		return nil, wire.ResultPermissionDenied
	}
	refused.concerns(s.grant)
	refused.Session, refused.Reason = s.id, reason
	switch reason {
	case ReasonWrongConnectionID:
		return nil, wire.ResultBadConnectionID
	case ReasonSecondMain, ReasonChannelTaken, ReasonTooManyChannels:
		return nil, wire.ResultChannelNotAvailable
	}
	return nil, wire.ResultPermissionDenied
}

// linkConsole links a channel to its console.
func (p *Proxy) linkConsole(ch *channel, hs *link.Handshake, offered wire.Caps) (net.Conn, Console, error) {
	s := ch.session
	ctx, cancel := context.WithTimeout(s.ctx, p.cfg.dialTimeout())
	defer cancel()
	console, err := p.cfg.Consoles.Console(ctx, s.source, s.uuid)
	if err != nil {
		return nil, Console{}, err
	}
	defer console.Release()
	p.keepOut(ch, console.Ticket)
	started := time.Now()
	conn, linked, err := dialConsole(ctx, console, p.cfg.keepAlive(), hs.Request, p.metrics.connecting)
	p.metrics.linking.Observe(time.Since(started).Seconds())
	if err != nil {
		return nil, console, err
	}
	if linked.Mini() != hs.Mini() {
		conn.Close()
		return nil, console, &BackendError{Endpoint: console.Endpoint(),
			Err: fmt.Errorf("it has the common capabilities %q: mini headers are needed", linked.CommonCaps.CommonNames())}
	}
	p.caps.learn(capsKey{s.source, s.uuid, hs.Request.Channel.Type}, linked.ChannelCaps)
	if err := brokenPromise(offered, hs.Request, linked.ChannelCaps); err != nil {
		conn.Close()
		return nil, console, &BackendError{Endpoint: console.Endpoint(), Err: err}
	}
	return conn, console, nil
}

// relay passes data between the sides of a linked channel until it ends.
func (p *Proxy) relay(ch *channel, mini bool, client, server net.Conn) (Reason, error) {
	fromClient := p.pump(ch, wire.FromClient, mini, client, server)
	fromServer := p.pump(ch, wire.FromServer, mini, server, client)
	followAcks(ch, fromClient, fromServer)
	if ch.id.Type == wire.ChannelMain {
		var first wire.MainInit
		seen := false
		fromServer.watch(first.MessageType(), func(body []byte) error {
			if seen {
				return nil
			}
			if err := first.Decode(body); err != nil {
				return err
			}
			seen = true
			p.sessions.learn(ch.session, first.SessionID)
			return nil
		})
	}
	if ch.id.Type == wire.ChannelMain {
		farewell := fromServer.farewell
		ch.farewell.Store(&farewell)
	}
	return relay(ch.session.ctx, p.cfg.linger(), fromClient, fromServer)
}

// pump returns one direction of a channel.
func (p *Proxy) pump(ch *channel, from wire.Direction, mini bool, src, dst net.Conn) *pump {
	one := &pump{src: src, dst: dst, scan: scanner{mini: mini}, inspect: p.inspector(ch, from),
		total: p.metrics.relayed(ch.id.Type, from), latency: p.metrics.latency.WithLabelValues(channelLabel(ch.id.Type), from.String()),
		first: &ch.first, silence: &ch.silence, now: p.cfg.now, writing: newGate()}
	one.scan.judge = one.inspect.judge
	if ch.tap != nil {
		one.record = &messages{to: ch.tap, from: from, mini: mini}
	}
	one.refused = func() { p.sessions.terminate(ch.session, ReasonFirewall, byProxy) }
	if from == wire.FromClient {
		one.buffers, one.traffic = clientBuffers, &ch.fromClient
		one.srcGone, one.dstGone = ReasonClientClosed, ReasonServerClosed
	} else {
		one.buffers, one.traffic, one.records = serverBuffers, &ch.fromServer, true
		one.srcGone, one.dstGone = ReasonServerClosed, ReasonClientClosed
	}
	return one
}

// depart removes a channel from its session, and the others with it if it was the main channel.
func (p *Proxy) depart(ch *channel) {
	orphans, closed := p.sessions.leave(ch)
	s := ch.session
	if orphans {
		// spice-server disconnects them itself; this is for a server that does not.
		cut := time.AfterFunc(p.cfg.linger(), s.end)
		context.AfterFunc(s.ctx, func() { cut.Stop() })
	}
	if closed {
		p.endRecording(ch)
		e := ch.event(EventSessionClosed)
		e.Channel, e.Client = "", s.client
		e.Reason, e.EndedBy = s.endReason, s.endedBy
		e.Lasted = p.cfg.now().Sub(s.started)
		e.BytesFromClient, e.BytesFromServer = s.bytesFromClient, s.bytesFromServer
		p.emit(e)
	}
}

// event returns a new event about a channel.
func (ch *channel) event(kind EventKind) Event {
	s := ch.session
	return Event{Kind: kind, Session: s.id, Source: s.source, UUID: s.uuid, Console: ch.name, Viewer: s.viewer, Channel: ch.id.String(), Client: ch.client,
		Transport: ch.transport}
}

// concerns adds what a token is for.
func (e *Event) concerns(g grant) { e.Source, e.UUID, e.Viewer = g.source, g.uuid, g.viewer }
