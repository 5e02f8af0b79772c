package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/keyboard"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// hello answers with the version, the methods and the events.
func (cn *connection) hello(c *call) (any, error) {
	var p control.HelloParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	theirs, _, err := parseVersion(p.ProtocolVersion)
	if err != nil {
		return nil, errorf(control.CodeBadParams, "params.protocol_version: %s", err)
	}
	ours, _, err := parseVersion(control.Version)
	if err != nil {
		return nil, err
	}
	if theirs != ours {
		c.hangUp = true
		return nil, errorf(control.CodeVersionMismatch, "server speaks major version %d; client requested major version %d", ours, theirs)
	}
	cn.greeted = true
	cn.srv.cfg.logger().Info("control client said hello", "client", ndjson.Abbreviate([]byte(p.ClientName)), "version", p.ProtocolVersion)
	return control.HelloResult{
		ServerName:       cn.srv.cfg.name(),
		ProtocolVersion:  control.Version,
		SupportedMethods: cn.srv.methods,
		SupportedEvents:  cn.srv.events,
	}, nil
}

// status answers with the present state.
func (cn *connection) status(*call) (any, error) {
	st := cn.srv.cfg.Console.Status()
	if counter, ok := as[Counter](cn.srv.cfg.Console); ok {
		counter.Count(&st)
	}
	if k, ok := as[Keyboard](cn.srv.cfg.Console); ok && st.SPICEConnected {
		locks := k.Locks()
		st.Locks = &locks
	}
	if st.Surfaces == nil {
		st.Surfaces = []control.Surface{}
	}
	cn.mu.Lock()
	digests := cn.digests
	cn.mu.Unlock()
	if digests != nil {
		counts := digests.Counts()
		st.Digest = &counts
	}
	return st, nil
}

// subscribe adds events; unknown names are ignored.
func (cn *connection) subscribe(c *call) (any, error) {
	var p control.SubscribeParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	res := control.SubscribeResult{Subscribed: []string{}}
	for _, name := range p.Events {
		if slices.Contains(cn.srv.events, name) && !slices.Contains(res.Subscribed, name) {
			res.Subscribed = append(res.Subscribed, name)
		}
	}
	c.commit = func() {
		cn.mu.Lock()
		for _, name := range res.Subscribed {
			cn.subscribed[name] = true
		}
		cn.mu.Unlock()
		if slices.Contains(res.Subscribed, control.EventDigestUpdated) {
			cn.watchDigest()
		}
	}
	return res, nil
}

// unsubscribe removes subscriptions and their queued events; it ignores names without a
// subscription.
func (cn *connection) unsubscribe(c *call) (any, error) {
	var p control.SubscribeParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	res := control.UnsubscribeResult{Unsubscribed: []string{}}
	gone := map[string]bool{}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	for _, name := range p.Events {
		if cn.subscribed[name] {
			delete(cn.subscribed, name)
			gone[name] = true
			res.Unsubscribed = append(res.Unsubscribed, name)
		}
	}
	cn.events.discard(gone)
	return res, nil
}

// sendKey presses, releases or taps one key.
func (cn *connection) sendKey(c *call) (any, error) {
	var p control.SendKeyParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if p.State != control.Down && p.State != control.Up && p.State != control.Press {
		return nil, errorf(control.CodeBadState, `unrecognised state value %q: want "down", "up" or "press"`, ndjson.Abbreviate([]byte(p.State)))
	}
	code, err := keyboard.MakeCode(p.Scancode, p.State == control.Up)
	if err != nil {
		return nil, errorf(control.CodeBadParams, "params.scancode %s", err)
	}
	if p.State != control.Up {
		if err := cn.key(c, code, true); err != nil {
			return nil, err
		}
	}
	if p.State != control.Down {
		if err := cn.key(c, code, false); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (cn *connection) key(c *call, code uint16, down bool) error {
	if err := cn.srv.cfg.Console.SendKey(c.ctx, code, down); err != nil {
		return errorf(control.CodeInternal, "the console did not take the key: %s", err)
	}
	return nil
}

// parseVersion parses a "major.minor" version.
func parseVersion(s string) (major, minor uint32, err error) {
	a, b, ok := strings.Cut(s, ".")
	maj, err1 := strconv.ParseUint(a, 10, 32)
	mnr, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%q is not a version: want major.minor, for example %q", s, control.Version)
	}
	return uint32(maj), uint32(mnr), nil
}
