package control

import (
	"slices"
)

// hello answers the version, the methods and the events.
func (s *session) hello(c *call) (any, error) {
	var p HelloParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	theirs, _, err := parseVersion(p.ProtocolVersion)
	if err != nil {
		return nil, errorf(CodeBadParams, "params.protocol_version: %s", err)
	}
	ours, _, err := parseVersion(Version)
	if err != nil {
		return nil, err
	}
	if theirs != ours {
		c.hangUp = true
		return nil, errorf(CodeVersionMismatch, "server speaks major version %d; client requested major version %d", ours, theirs)
	}
	s.greeted = true
	s.srv.cfg.logger().Info("control client said hello", "client", abbreviate([]byte(p.ClientName)), "version", p.ProtocolVersion)
	return HelloResult{
		ServerName:       s.srv.cfg.name(),
		ProtocolVersion:  Version,
		SupportedMethods: s.srv.methods,
		SupportedEvents:  s.srv.events,
	}, nil
}

// status answers how things stand.
func (s *session) status(*call) (any, error) {
	st := s.srv.cfg.Console.Status()
	if st.Surfaces == nil {
		st.Surfaces = []Surface{}
	}
	s.mu.Lock()
	digests := s.digests
	s.mu.Unlock()
	if digests != nil {
		counts := digests.counts()
		st.Digest = &counts
	}
	return st, nil
}

// subscribe adds events; unknown names are ignored.
func (s *session) subscribe(c *call) (any, error) {
	var p SubscribeParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	res := SubscribeResult{Subscribed: []string{}}
	for _, name := range p.Events {
		if slices.Contains(s.srv.events, name) && !slices.Contains(res.Subscribed, name) {
			res.Subscribed = append(res.Subscribed, name)
		}
	}
	c.commit = func() {
		s.mu.Lock()
		for _, name := range res.Subscribed {
			s.subscribed[name] = true
		}
		s.mu.Unlock()
		if slices.Contains(res.Subscribed, EventDigestUpdated) {
			s.watchDigest()
		}
	}
	return res, nil
}

// unsubscribe removes events, the queued ones with them; names that were not
// subscribed are ignored.
func (s *session) unsubscribe(c *call) (any, error) {
	var p SubscribeParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	res := UnsubscribeResult{Unsubscribed: []string{}}
	gone := map[string]bool{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range p.Events {
		if s.subscribed[name] {
			delete(s.subscribed, name)
			gone[name] = true
			res.Unsubscribed = append(res.Unsubscribed, name)
		}
	}
	s.events.discard(gone)
	return res, nil
}

// primary returns the primary surface: surface 0 of the lowest display channel.
func primary(st Status) (Surface, bool) {
	var best Surface
	found := false
	for _, sf := range st.Surfaces {
		if sf.SurfaceID == 0 && (!found || sf.ChannelID < best.ChannelID) {
			best, found = sf, true
		}
	}
	return best, found
}

// sendKey presses, releases or taps one key.
func (s *session) sendKey(c *call) (any, error) {
	var p SendKeyParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if p.State != Down && p.State != Up && p.State != Press {
		return nil, errorf(CodeBadState, `unrecognised state value %q: want "down", "up" or "press"`, abbreviate([]byte(p.State)))
	}
	code, err := makeCode(p.Scancode, p.State == Up)
	if err != nil {
		return nil, err
	}
	if p.State != Up {
		if err := s.key(c, code, true); err != nil {
			return nil, err
		}
	}
	if p.State != Down {
		if err := s.key(c, code, false); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *session) key(c *call, code uint16, down bool) error {
	if err := s.srv.cfg.Console.SendKey(c.ctx, code, down); err != nil {
		return errorf(CodeInternal, "the console did not take the key: %s", err)
	}
	return nil
}

// makeCode checks a logical scancode and returns its make code. The break bit
// may be set only where a release is asked for.
func makeCode(code uint16, release bool) (uint16, error) {
	prefix, low := code>>8, code&0xff
	if prefix != 0 && prefix != 0xe0 {
		return 0, errorf(CodeBadParams,
			"params.scancode 0x%04x is no logical scancode: an extended one has the prefix 0xe0 in the high byte, for example 0xe04b, not the byte order of the wire", code)
	}
	if low&0x80 != 0 && !release {
		return 0, errorf(CodeBadParams,
			`params.scancode 0x%04x is a break code: send the make code 0x%04x, or the state "up"`, code, code&^0x80)
	}
	low &^= 0x80
	// 0x60 and 0x61 are what is left of a prefix byte, and no keys.
	if low == 0 || low == 0x60 || low == 0x61 {
		return 0, errorf(CodeBadParams, "params.scancode 0x%04x is no key", code)
	}
	return prefix<<8 | low, nil
}
