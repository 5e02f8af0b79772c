package proxy

import "slices"

// ScanMessages feeds a stream to a scanner in pieces of the given sizes, the
// last of which is repeated, and returns how many messages it saw and the body
// of the first one of type find.
func ScanMessages(stream []byte, mini bool, find uint16, sizes ...int) (messages uint64, found []byte, err error) {
	s := scanner{mini: mini, find: find, found: func(body []byte) error {
		found = slices.Clone(body)
		return nil
	}}
	for len(stream) > 0 && err == nil {
		n := min(max(sizes[0], 1), len(stream))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		err = s.feed(stream[:n])
		stream = stream[n:]
	}
	return s.messages, found, err
}

// Held is how many sessions the proxy keeps in memory.
func (p *Proxy) Held() int {
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	return max(len(p.sessions.byID), len(p.sessions.byToken))
}
