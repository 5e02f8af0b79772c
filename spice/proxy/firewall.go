package proxy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// Firewall says which channels and messages are allowed. The zero value refuses every channel type
// that is not in DefaultPermit. It also refuses every message type that the protocol does not have
// on its channel and in its direction, and every message that is larger than the protocol needs. It
// checks a message's header before any byte of the message is passed on. It ends a session that
// breaks a rule.
type Firewall struct {
	// Mode says what happens to a violation.
	Mode FirewallMode

	// Permit lists the channel types that clients may open; nil means DefaultPermit. The main
	// channel is always allowed.
	Permit []wire.ChannelType

	// Rates limit what a client may send on channels of a type. Beyond the limit, the proxy reads
	// from that channel only at the permitted rate. Nothing is lost, and no other channel waits. A
	// type that is not in the map has no limit.
	Rates map[wire.ChannelType]Rate
}

// FirewallMode is what a firewall does when a rule is broken.
type FirewallMode string

// The modes of a Firewall.
const (
	FirewallEnforce FirewallMode = ""     // refuse it
	FirewallWarn    FirewallMode = "warn" // let it through, and record what would have been refused
	FirewallOff     FirewallMode = "off"  // check nothing
)

// Rate is a limit on messages.
type Rate struct {
	PerSecond float64 // messages
	Burst     int     // messages that may come at once after a pause; 0 means 1
}

// DefaultPermit returns the channel types for pictures, sound from the guest, and input.
// Microphone, devices and files have to be permitted separately.
func DefaultPermit() []wire.ChannelType {
	return []wire.ChannelType{wire.ChannelMain, wire.ChannelDisplay, wire.ChannelInputs, wire.ChannelCursor, wire.ChannelPlayback}
}

func (f *Firewall) permits(t wire.ChannelType) bool {
	permit := f.Permit
	if permit == nil {
		permit = DefaultPermit()
	}
	return f.Mode == FirewallOff || t == wire.ChannelMain || slices.Contains(permit, t)
}

func (f *Firewall) check() error {
	switch f.Mode {
	case FirewallEnforce, FirewallWarn, FirewallOff:
	default:
		return fmt.Errorf("proxy: Config.Firewall.Mode is %q, want %q, %q or nothing", f.Mode, FirewallWarn, FirewallOff)
	}
	for t, r := range f.Rates {
		if r.PerSecond <= 0 || r.Burst < 0 {
			return fmt.Errorf("proxy: Config.Firewall.Rates of %s: %v messages a second with a burst of %d cannot pass", t, r.PerSecond, r.Burst)
		}
	}
	return nil
}

// The largest messages of each kind, in bytes. Those of pictures come from spice-server's limits on
// surfaces. All others are a multiple of the largest message that QEMU, spice-server and spice-gtk
// send.
const (
	maxControl = 64 << 10   // lists of rectangles, channels, monitors; agent data comes in pieces of 2 KiB
	maxSmall   = 4 << 10    // messages of a fixed size: keys, buttons, acknowledgements, modes
	maxPicture = 257 << 20  // an uncompressed surface of 8192×8192 pixels, and a MiB for its description
	maxCursor  = 1088 << 10 // a cursor of 512×512 pixels, its mask, and 32 KiB for its description
	maxSound   = 1 << 20    // six seconds of uncompressed stereo
	maxDevice  = 16 << 20   // redirected devices, files
)

// maxBody returns the largest body that a message may have, in bytes.
func maxBody(t wire.ChannelType, from wire.Direction, kind uint16) uint32 {
	const notify, migrateData = 7, 2
	server := from == wire.FromServer
	switch {
	case kind < 100:
		// Messages of all channels. A ping may carry up to 250 kB to measure the line
		// (spice-server, NET_TEST_BYTES); a pong carries nothing.
		const ping, clientMigrateData = 4, 5
		switch {
		case server && kind == ping, server && kind == migrateData, !server && kind == clientMigrateData:
			return maxSound
		case server && kind <= notify+1:
			return maxControl
		}
		return maxSmall
	case t == wire.ChannelMain:
		return maxControl
	case t == wire.ChannelDisplay && server:
		return maxPicture
	case t == wire.ChannelDisplay:
		return maxSmall
	case t == wire.ChannelCursor:
		return maxCursor
	case t == wire.ChannelPlayback || t == wire.ChannelRecord:
		return maxSound
	case t == wire.ChannelInputs:
		return maxSmall
	}
	return maxDevice
}

// policy has the allowed messages of one direction of a channel. By message type, it has the
// largest body plus one, or 0 for a forbidden type.
type policy []uint64

func (p policy) judge(kind uint16, size uint32) (why string) {
	switch {
	case int(kind) >= len(p) || p[kind] == 0:
		return WhyType
	case uint64(size) >= p[kind]:
		return WhySize
	}
	return ""
}

// policies has the policies of each channel type, one per direction.
var policies = sync.OnceValue(func() map[wire.ChannelType][2]policy {
	all := map[wire.ChannelType][2]policy{}
	for n := range 256 {
		t := wire.ChannelType(n)
		var both [2]policy
		for i, from := range []wire.Direction{wire.FromClient, wire.FromServer} {
			var p policy
			for _, m := range wire.Messages(t, from) {
				p = append(p, make(policy, max(0, int(m.Type)+1-len(p)))...)
				p[m.Type] = 1 + uint64(maxBody(t, from, m.Type))
			}
			both[i] = p
		}
		all[t] = both
	}
	return all
})

func policyOf(t wire.ChannelType, from wire.Direction) policy {
	both := policies()[t]
	if from == wire.FromClient {
		return both[0]
	}
	return both[1]
}

// What a rule of the firewall is about.
const (
	WhyChannel = "channel_type"
	WhyType    = "message_type"
	WhySize    = "message_size"
	WhyRate    = "rate"
)

// What the firewall does with a message.
const (
	VerdictRefused      = "refused"
	VerdictWouldRefuse  = "would_refuse" // in mode FirewallWarn
	VerdictDelayed      = "delayed"      // see Firewall.Rates
	VerdictWouldDelayed = "would_delay"  // in mode FirewallWarn
)

// Verdict is the firewall's verdict on one kind of message in one direction of a channel, and how
// often it applied.
type Verdict struct {
	Verdict string `json:"verdict"`           // one of the Verdict constants
	Why     string `json:"why"`               // one of the Why constants
	From    string `json:"from,omitempty"`    // "client" or "server"
	Message string `json:"message,omitempty"` // as in "main.agent_data"
	Size    uint32 `json:"size,omitempty"`    // of the first such message's body
	Count   uint64 `json:"count"`
}

// RefusedError says that the firewall refuses a message.
type RefusedError struct {
	Channel wire.ChannelID
	From    wire.Direction
	Type    uint16
	Size    uint32
	Why     string // WhyType or WhySize
}

func (e *RefusedError) Error() string {
	name := wire.MessageName(e.Channel.Type, e.From, e.Type)
	if e.Why == WhySize {
		return fmt.Sprintf("message %s from the %s announces %d bytes, the firewall lets at most %d pass",
			name, e.From, e.Size, policyOf(e.Channel.Type, e.From)[e.Type]-1)
	}
	return fmt.Sprintf("message type %d from the %s is not one that the protocol has on a %s channel", e.Type, e.From, e.Channel.Type)
}

// forbidden reports whether clients may not open channels of a type. If so, it counts a verdict.
func (p *Proxy) forbidden(t wire.ChannelType) bool {
	f := &p.cfg.Firewall
	// In every mode: no server has channels of type 0, and link.Config takes it for main.
	never := t == 0
	if f.permits(t) && !never {
		return false
	}
	verdict := VerdictRefused
	if f.Mode == FirewallWarn && !never {
		verdict = VerdictWouldRefuse
	}
	p.metrics.verdicts.WithLabelValues(channelLabel(t), wire.FromClient.String(), verdict, WhyChannel).Inc()
	return f.Mode != FirewallWarn || never
}

// noteForbidden puts into the audit log that a channel would have been refused, if so.
func (p *Proxy) noteForbidden(ch *channel) {
	if f := &p.cfg.Firewall; f.Mode != FirewallWarn || f.permits(ch.id.Type) {
		return
	}
	key := verdictKey{verdict: VerdictWouldRefuse, why: WhyChannel, from: wire.FromClient}
	_, one := ch.verdicts.add(key, "", 0)
	e := ch.event(EventVerdict)
	e.Verdicts = []Verdict{one}
	p.emit(e)
}

// verdicts are those of one channel, in both directions.
type verdicts struct {
	mu    sync.Mutex
	all   map[verdictKey]*Verdict
	order []*Verdict
}

type verdictKey struct {
	verdict, why string
	from         wire.Direction
	kind         uint16
}

// add counts a verdict and reports whether it is the first one of its kind.
func (v *verdicts) add(key verdictKey, name string, size uint32) (first bool, one Verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// A sender chooses the type, so all unknown types count as one kind.
	found := v.all[key]
	if found == nil {
		if v.all == nil {
			v.all = map[verdictKey]*Verdict{}
		}
		found = &Verdict{Verdict: key.verdict, Why: key.why, From: key.from.String(), Message: name, Size: size}
		v.all[key] = found
		v.order = append(v.order, found)
		first = true
	}
	found.Count++
	return first, *found
}

func (v *verdicts) list() []Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]Verdict, len(v.order))
	for i, one := range v.order {
		list[i] = *one
	}
	return list
}

// inspector applies the firewall to one direction of a channel.
type inspector struct {
	p      *Proxy
	ch     *channel
	from   wire.Direction
	policy policy // nil: everything is allowed
	warn   bool
	rate   *bucket // nil: no limit
}

func (p *Proxy) inspector(ch *channel, from wire.Direction) *inspector {
	f := &p.cfg.Firewall
	i := &inspector{p: p, ch: ch, from: from, warn: f.Mode == FirewallWarn}
	if f.Mode == FirewallOff {
		return i
	}
	i.policy = policyOf(ch.id.Type, from)
	if rate, ok := f.Rates[ch.id.Type]; ok && from == wire.FromClient {
		i.rate = newBucket(rate, time.Now())
	}
	return i
}

// judge returns why a message is refused, as a *RefusedError; nil if it is allowed.
func (i *inspector) judge(kind uint16, size uint32) error {
	if i == nil || i.policy == nil {
		return nil
	}
	why := i.policy.judge(kind, size)
	if why == "" {
		return nil
	}
	verdict := VerdictRefused
	if i.warn {
		verdict = VerdictWouldRefuse
	}
	i.note(verdict, why, kind, size)
	if i.warn {
		return nil
	}
	return &RefusedError{Channel: i.ch.id, From: i.from, Type: kind, Size: size, Why: why}
}

// wait blocks until the rate allows n more messages, or ctx ends.
func (i *inspector) wait(ctx context.Context, n uint64) {
	if i == nil || i.rate == nil || n == 0 {
		return
	}
	pause := i.rate.take(float64(n), time.Now())
	if pause <= 0 {
		return
	}
	if i.warn {
		i.note(VerdictWouldDelayed, WhyRate, 0, 0)
		return
	}
	i.note(VerdictDelayed, WhyRate, 0, 0)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// note counts a verdict. The first one of its kind on a channel gets a line in the audit log at
// once; the totals are in the line about the channel's end.
func (i *inspector) note(verdict, why string, kind uint16, size uint32) {
	name := ""
	key := verdictKey{verdict: verdict, why: why, from: i.from, kind: kind}
	switch {
	case why == WhyRate:
	case int(kind) < len(i.policy) && i.policy[kind] != 0:
		name = wire.MessageName(i.ch.id.Type, i.from, kind)
	default:
		// The sender chooses the number, so all unknown ones count as one kind.
		key.kind = 0
		name = fmt.Sprintf("%s.%d", i.ch.id.Type, kind)
	}
	i.p.metrics.verdicts.WithLabelValues(channelLabel(i.ch.id.Type), i.from.String(), verdict, why).Inc()
	if first, one := i.ch.verdicts.add(key, name, size); first {
		e := i.ch.event(EventVerdict)
		e.Verdicts = []Verdict{one}
		i.p.emit(e)
	}
}

// bucket is a token bucket. It is used by one goroutine.
type bucket struct {
	rate, burst, tokens float64
	at                  time.Time
}

func newBucket(r Rate, now time.Time) *bucket {
	burst := float64(max(r.Burst, 1))
	return &bucket{rate: r.PerSecond, burst: burst, tokens: burst, at: now}
}

// take takes n tokens and returns how long to wait until they are available.
func (b *bucket) take(n float64, now time.Time) time.Duration {
	b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.at).Seconds()) - n
	b.at = now
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}
