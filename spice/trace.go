package spice

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"strings"
	"sync"

	"github.com/spicelane/spicelane/spice/wire"
)

// Trace records the messages that display channels receive, so that two sessions can be compared.
// The zero value is ready. Set Config.Tap to its Tap method:
//
//	var direct, proxied spice.Trace
//	cfg.Tap = direct.Tap
//	...
//	if d := spice.CompareTraces(direct.Take(), proxied.Take()); d != nil { fmt.Println(d) }
//
// A Trace omits what is specific to each connection: pings, acks, notices and waits.
type Trace struct {
	mu     sync.Mutex
	number map[uint8]int
	noted  []Received
}

// Received describes one received message of a display channel.
type Received struct {
	Channel uint8 `json:"channel"`
	// Number counts the channel's recorded messages from 1.
	Number int `json:"number"`
	// Name is the message's name, such as "display.draw_copy".
	Name string `json:"name"`
	// Bytes is the length of the body. Digest is the first eight bytes of its SHA-256, in hex.
	Bytes  int    `json:"bytes"`
	Digest string `json:"digest"`
	// Draw is nil unless the message draws.
	Draw *ReceivedDraw `json:"draw,omitempty"`
	// Problem says why the body could not be decoded; empty if it could.
	Problem string `json:"problem,omitempty"`
}

// ReceivedDraw describes where and how a message draws.
type ReceivedDraw struct {
	Surface uint32          `json:"surface"`
	Box     image.Rectangle `json:"box"`
	Clipped bool            `json:"clipped"`
	// Clip is the number of the clip's rectangles.
	Clip int `json:"clip"`
	// How names the raster operation, the rop3 code or the composite operator; empty if there is
	// none.
	How    string          `json:"how,omitempty"`
	Images []ReceivedImage `json:"images,omitempty"`
}

// ReceivedImage describes an image of a message.
type ReceivedImage struct {
	// Role is "source", "brush", "background", "mask" or "stream".
	Role string `json:"role"`
	// Type is the image's codec, such as "quic". Format is the layout of a bitmap, such as "8bit".
	Type   string `json:"type"`
	Format string `json:"format,omitempty"`
	Width  uint32 `json:"width"`
	Height uint32 `json:"height"`
	// ID is the image's key in the pixmap cache, or the surface of an image of type "surface".
	ID    uint64 `json:"id"`
	Flags string `json:"flags,omitempty"`
	Bytes int    `json:"bytes"`
}

// Tap returns the tap for a channel; nil for all channels except displays.
func (t *Trace) Tap(id wire.ChannelID) wire.Tap {
	if id.Type != wire.ChannelDisplay {
		return nil
	}
	return &traceTap{t, id.ID}
}

// Take returns the messages recorded since the last Take. Numbering continues.
func (t *Trace) Take() []Received {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.noted
	t.noted = nil
	return taken
}

type traceTap struct {
	trace   *Trace
	channel uint8
}

func (t *traceTap) Linked(wire.LinkInfo) {}

func (t *traceTap) Message(d wire.Direction, h wire.Header, body []byte) {
	if d != wire.FromServer {
		return
	}
	// The client carries out messages inside others first.
	subs, _ := wire.SubMessages(h, body) // the reader ends the session with the error
	for _, sub := range subs {
		t.note(sub.Type, sub.Body)
	}
	t.note(h.Type, body)
}

// firstOwnMessage is the lowest number of a channel's own messages (SPICE_MSG_FIRST_AVAIL).
const firstOwnMessage = 101

func (t *traceTap) note(messageType uint16, body []byte) {
	if messageType < firstOwnMessage {
		return
	}
	sum := sha256.Sum256(body)
	r := Received{
		Channel: t.channel,
		Name:    wire.MessageName(wire.ChannelDisplay, wire.FromServer, messageType),
		Bytes:   len(body),
		Digest:  hex.EncodeToString(sum[:8]),
	}
	m, err := wire.Decode(wire.ChannelDisplay, wire.FromServer, messageType, body)
	if err != nil {
		r.Problem = err.Error()
	} else {
		r.Draw = describe(m)
	}
	t.trace.mu.Lock()
	defer t.trace.mu.Unlock()
	if t.trace.number == nil {
		t.trace.number = map[uint8]int{}
	}
	t.trace.number[t.channel]++
	r.Number = t.trace.number[t.channel]
	t.trace.noted = append(t.trace.noted, r)
}

// describe returns what a message draws; nil if it draws nothing.
func describe(m wire.Message) *ReceivedDraw {
	switch m := m.(type) {
	case *wire.DrawCopy:
		return drawing(&m.Base).rop(m.Rop).image("source", m.Src).image("mask", m.Mask.Bitmap)
	case *wire.DrawBlend:
		return drawing(&m.Base).rop(m.Rop).image("source", m.Src).image("mask", m.Mask.Bitmap)
	case *wire.DrawOpaque:
		return drawing(&m.Base).rop(m.Rop).image("source", m.Src).
			image("brush", m.Brush.Pattern).image("mask", m.Mask.Bitmap)
	case *wire.DrawFill:
		return drawing(&m.Base).rop(m.Rop).image("brush", m.Brush.Pattern).image("mask", m.Mask.Bitmap)
	case *wire.DrawBlackness:
		return drawing(&m.Base).image("mask", m.Mask.Bitmap)
	case *wire.DrawWhiteness:
		return drawing(&m.Base).image("mask", m.Mask.Bitmap)
	case *wire.DrawInvers:
		return drawing(&m.Base).image("mask", m.Mask.Bitmap)
	case *wire.DrawRop3:
		r := drawing(&m.Base).image("source", m.Src).
			image("brush", m.Brush.Pattern).image("mask", m.Mask.Bitmap)
		r.How = fmt.Sprintf("rop3 %#02x", m.Rop3)
		return r
	case *wire.DrawStroke:
		return drawing(&m.Base).rop(m.ForeMode).image("brush", m.Brush.Pattern)
	case *wire.DrawText:
		return drawing(&m.Base).rop(m.ForeMode).image("brush", m.ForeBrush.Pattern).
			image("background", m.BackBrush.Pattern)
	case *wire.DrawTransparent:
		return drawing(&m.Base).image("source", m.Src)
	case *wire.DrawAlphaBlend:
		r := drawing(&m.Base).image("source", m.Src)
		r.How = fmt.Sprintf("alpha %d", m.Alpha)
		return r
	case *wire.DrawComposite:
		r := drawing(&m.Base).image("source", m.Src).image("mask", m.Mask)
		r.How = fmt.Sprintf("operator %#02x", m.Flags.Op())
		return r
	case *wire.DisplayCopyBits:
		return drawing(&m.Base)
	case *wire.DisplayStreamCreate:
		r := &ReceivedDraw{Surface: m.Surface, Box: m.Dest.Bounds(), How: m.Codec.String()}
		r.Clipped, r.Clip = m.Clip.Type == wire.ClipRects, len(m.Clip.Rects)
		return r
	case *wire.DisplayStreamData:
		return (&ReceivedDraw{}).stream(m.Stream, 0, 0, m.Data)
	case *wire.DisplayStreamDataSized:
		return (&ReceivedDraw{Box: m.Dest.Bounds()}).stream(m.Stream, m.Width, m.Height, m.Data)
	}
	return nil
}

func drawing(b *wire.DisplayBase) *ReceivedDraw {
	return &ReceivedDraw{
		Surface: b.Surface, Box: b.Box.Bounds(),
		Clipped: b.Clip.Type == wire.ClipRects, Clip: len(b.Clip.Rects),
	}
}

func (r *ReceivedDraw) rop(rop wire.Rop) *ReceivedDraw {
	r.How = rop.String()
	return r
}

func (r *ReceivedDraw) image(role string, m *wire.Image) *ReceivedDraw {
	if m == nil {
		return r
	}
	i := ReceivedImage{
		Role: role, Type: m.Type.String(), Width: m.Width, Height: m.Height,
		ID: m.ID, Flags: m.Flags.String(), Bytes: len(m.Data),
	}
	switch m.Type {
	case wire.ImageBitmap:
		i.Format = m.Bitmap.Format.String()
	case wire.ImageSurface:
		i.ID = uint64(m.Surface)
	}
	r.Images = append(r.Images, i)
	return r
}

func (r *ReceivedDraw) stream(id, width, height uint32, data []byte) *ReceivedDraw {
	r.Images = append(r.Images, ReceivedImage{
		Role: "stream", Type: streamImage, ID: uint64(id), Width: width, Height: height, Bytes: len(data),
	})
	return r
}

// String describes the message in one line.
func (r Received) String() string {
	var b strings.Builder
	channel, _, own := strings.Cut(r.Name, ".")
	if !own { // every channel has such messages
		channel = "channel"
	}
	fmt.Fprintf(&b, "%s:%d message %d %s", channel, r.Channel, r.Number, r.Name)
	if d := r.Draw; d != nil {
		fmt.Fprintf(&b, " on surface %d in %v", d.Surface, d.Box)
		if d.Clipped {
			fmt.Fprintf(&b, ", clip of %d", d.Clip)
		}
		if d.How != "" {
			fmt.Fprintf(&b, ", %s", d.How)
		}
		for _, i := range d.Images {
			fmt.Fprintf(&b, ", %s %s", i.Role, i.Type)
			if i.Format != "" {
				fmt.Fprintf(&b, " %s", i.Format)
			}
			fmt.Fprintf(&b, " %d×%d", i.Width, i.Height)
		}
	}
	fmt.Fprintf(&b, ", %d bytes %s", r.Bytes, r.Digest)
	return b.String()
}

// same reports whether two messages are equal, apart from their numbers.
func (r *Received) same(o *Received) bool {
	return r.Channel == o.Channel && r.Name == o.Name && r.Bytes == o.Bytes && r.Digest == o.Digest
}

// TraceDifference is the first difference of two sequences of messages.
type TraceDifference struct {
	// Kind is "lost" (the second sequence lacks First), "added" (the second sequence also has
	// Second), "reordered" (the second sequence has the two messages in the other order), or
	// "changed".
	Kind string
	// Index is the number of messages before the difference; they are equal in both.
	Index int
	// First and Second are the messages at Index; nil where a sequence has ended.
	First, Second *Received
}

// String describes the difference.
func (d *TraceDifference) String() string {
	word := func(r *Received) string {
		if r == nil {
			return "nothing"
		}
		return r.String()
	}
	return fmt.Sprintf("after %d equal messages one was %s: first %s; second %s",
		d.Index, d.Kind, word(d.First), word(d.Second))
}

// CompareTraces returns the first difference of two sequences of one channel; nil if there is none.
func CompareTraces(first, second []Received) *TraceDifference {
	i := 0
	for i < len(first) && i < len(second) && first[i].same(&second[i]) {
		i++
	}
	a, b := first[i:], second[i:]
	if len(a) == 0 && len(b) == 0 {
		return nil
	}
	d := &TraceDifference{Kind: "changed", Index: i}
	if len(a) > 0 {
		d.First = &a[0]
	}
	if len(b) > 0 {
		d.Second = &b[0]
	}
	at := func(s []Received, i int, o *Received) bool { return o != nil && i < len(s) && s[i].same(o) }
	switch {
	case d.Second == nil:
		d.Kind = "lost"
	case d.First == nil:
		d.Kind = "added"
	case at(a, 1, d.Second) && at(b, 1, d.First):
		d.Kind = "reordered"
	case at(a, 1, d.Second):
		d.Kind = "lost"
	case at(b, 1, d.First):
		d.Kind = "added"
	}
	return d
}
