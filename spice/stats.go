package spice

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Stats are a session's counts so far. It is a copy.
type Stats struct {
	Channels []ChannelStats `json:"channels"`
	// Images counts decoded images by type ("quic", "glz_rgb", …).
	Images map[string]ImageStats `json:"images"`
	// Ops counts drawing operations by name ("draw_copy", "copy_bits", …).
	Ops map[string]OpStats `json:"ops"`
	// Features counts properties of drawing messages by name ("clip rects", "rop xor", "mask", …).
	Features map[string]uint64 `json:"features"`
	// Unsupported counts what could not be interpreted, by name. If it is not empty, a picture may
	// be wrong, and the affected surfaces say so.
	Unsupported map[string]uint64 `json:"unsupported"`
}

// ChannelStats are one channel's counts. Bytes include message headers, but not the link handshake.
type ChannelStats struct {
	Channel     string `json:"channel"` // "display:0"
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"`
	CommonCaps  string `json:"common_caps"`  // the server's, as in "auth_spice,mini_header"
	ChannelCaps string `json:"channel_caps"` // the server's
	ClientCaps  string `json:"client_caps"`  // the channel capabilities announced to the server
	// In and Out count messages by name.
	In  map[string]uint64 `json:"in"`
	Out map[string]uint64 `json:"out"`
}

// ImageStats are the counts of images of one type.
type ImageStats struct {
	Count  uint64        `json:"count"`
	Pixels uint64        `json:"pixels"`
	Bytes  uint64        `json:"bytes"` // encoded
	Decode time.Duration `json:"decode_ns"`
	// Slowest is the longest time that one image took.
	Slowest time.Duration `json:"slowest_ns"`
}

// OpStats are the counts of operations of one name.
type OpStats struct {
	Count  uint64 `json:"count"`
	Pixels uint64 `json:"pixels"` // within the operations' boxes
	// Time is the time from received messages to finished pictures. It includes decoding the images
	// and waiting for earlier messages.
	Time time.Duration `json:"time_ns"`
}

// counters is the part of Stats that all channels share.
type counters struct {
	mu          sync.Mutex
	images      map[string]*ImageStats
	ops         map[string]*OpStats
	features    map[string]uint64
	unsupported map[string]uint64
}

func entry[V any](m *map[string]*V, name string) *V {
	if *m == nil {
		*m = map[string]*V{}
	}
	v := (*m)[name]
	if v == nil {
		v = new(V)
		(*m)[name] = v
	}
	return v
}

func (s *counters) image(name string, pixels, bytes int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := entry(&s.images, name)
	i.Count++
	i.Pixels += uint64(pixels)
	i.Bytes += uint64(bytes)
	i.Decode += took
	i.Slowest = max(i.Slowest, took)
}

func (s *counters) op(name string, pixels int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := entry(&s.ops, name)
	o.Count++
	o.Pixels += uint64(pixels)
	o.Time += took
}

// use counts the features of a message.
func (s *counters) use(features []string) {
	if len(features) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.features == nil {
		s.features = map[string]uint64{}
	}
	for _, name := range features {
		s.features[name]++
	}
}

// maxUnsupportedNames limits the number of names, because some contain numbers from the wire.
const maxUnsupportedNames = 256

// miss counts something unsupported and reports whether it is the first of its name.
func (s *counters) miss(name string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsupported == nil {
		s.unsupported = map[string]uint64{}
	}
	n := s.unsupported[name]
	if n == 0 && len(s.unsupported) >= maxUnsupportedNames {
		s.unsupported["others"]++
		return false
	}
	s.unsupported[name] = n + 1
	return n == 0
}

// traffic counts one channel's messages.
type traffic struct {
	mu                sync.Mutex
	in, out           map[string]uint64
	bytesIn, bytesOut uint64
}

func (t *traffic) received(name string, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.in == nil {
		t.in = map[string]uint64{}
	}
	t.in[name]++
	t.bytesIn += uint64(bytes)
}

func (t *traffic) sent(name string, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil {
		t.out = map[string]uint64{}
	}
	t.out[name]++
	t.bytesOut += uint64(bytes)
}

// Stats returns the session's counts so far.
func (c *Client) Stats() Stats {
	s := Stats{Images: map[string]ImageStats{}, Ops: map[string]OpStats{}}
	for _, ch := range c.openChannels() {
		t := &ch.traffic
		t.mu.Lock()
		cs := ChannelStats{
			Channel: ch.id.String(), BytesIn: t.bytesIn, BytesOut: t.bytesOut,
			In: copyOf(t.in), Out: copyOf(t.out),
		}
		t.mu.Unlock()
		cs.CommonCaps = ch.link.CommonCaps.CommonNames()
		cs.ChannelCaps = ch.link.ChannelCaps.ChannelNames(ch.id.Type)
		cs.ClientCaps = ch.link.Request.ChannelCaps.ChannelNames(ch.id.Type)
		s.Channels = append(s.Channels, cs)
	}
	slices.SortFunc(s.Channels, func(a, b ChannelStats) int { return cmp.Compare(a.Channel, b.Channel) })
	k := &c.counters
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, v := range k.images {
		s.Images[name] = *v
	}
	for name, v := range k.ops {
		s.Ops[name] = *v
	}
	s.Features = copyOf(k.features)
	s.Unsupported = copyOf(k.unsupported)
	return s
}

func copyOf(m map[string]uint64) map[string]uint64 {
	c := make(map[string]uint64, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
