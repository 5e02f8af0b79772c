package spice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// CoverageRow is one thing that the client implements, and how often sessions used it.
type CoverageRow struct {
	// Kind is "message", "image", "operation", "feature" or "capability".
	Kind string `json:"kind"`
	// Name is as in "server display.draw_copy", "quic", "draw_copy", "clip rects",
	// "display.composite".
	Name  string `json:"name"`
	Count uint64 `json:"count"` // 0: never seen. For a capability, the channels on which both sides had it
	// Time is how long decoding took for an image, and how long everything took for an operation.
	Time time.Duration `json:"time_ns,omitempty"`
}

// Coverage lists everything that the client implements for the channels that it interprets, and how
// often sessions used it, in a stable order.
type Coverage []CoverageRow

// operations are the names under which drawing operations are counted.
var operations = []string{
	"copy_bits", "draw_alpha_blend", "draw_blackness", "draw_blend", "draw_composite", "draw_copy", "draw_fill", "draw_invers",
	"draw_opaque", "draw_rop3", "draw_stroke", "draw_text", "draw_transparent", "draw_whiteness", "stream_data", "stream_data_sized",
}

// interpreted are the channel types whose messages are interpreted, not only counted.
var interpreted = []wire.ChannelType{wire.ChannelMain, wire.ChannelDisplay, wire.ChannelInputs, wire.ChannelCursor}

// CoverageOf adds up the statistics of sessions.
func CoverageOf(sessions ...Stats) Coverage {
	rows := map[[2]string]*CoverageRow{}
	row := func(kind, name string) *CoverageRow {
		r := rows[[2]string{kind, name}]
		if r == nil {
			r = &CoverageRow{Kind: kind, Name: name}
			rows[[2]string{kind, name}] = r
		}
		return r
	}
	for _, t := range interpreted {
		for _, m := range wire.Messages(t, wire.FromServer) {
			row("message", "server "+m.Name)
		}
		for _, m := range wire.Messages(t, wire.FromClient) {
			row("message", "client "+m.Name)
		}
		for _, c := range wire.ChannelCapsOf(t) {
			row("capability", t.String()+"."+wire.ChannelCapName(t, c))
		}
	}
	for _, t := range wire.ImageTypes() {
		row("image", t.String())
	}
	row("image", streamImage)
	for _, op := range operations {
		row("operation", op)
	}
	for _, name := range features {
		row("feature", name)
	}
	for _, s := range sessions {
		for _, ch := range s.Channels {
			id, err := wire.ParseChannelID(ch.Channel)
			if err != nil || !slices.Contains(interpreted, id.Type) {
				continue
			}
			for name, n := range ch.In {
				row("message", "server "+name).Count += n
			}
			for name, n := range ch.Out {
				row("message", "client "+name).Count += n
			}
			ours := strings.Split(ch.ClientCaps, ",")
			for _, name := range strings.Split(ch.ChannelCaps, ",") {
				if name != "" && slices.Contains(ours, name) {
					row("capability", id.Type.String()+"."+name).Count++
				}
			}
		}
		for name, i := range s.Images {
			r := row("image", name)
			r.Count += i.Count
			r.Time += i.Decode
		}
		for name, o := range s.Ops {
			r := row("operation", name)
			r.Count += o.Count
			r.Time += o.Time
		}
		for name, n := range s.Features {
			row("feature", name).Count += n
		}
	}
	all := make(Coverage, 0, len(rows))
	for _, r := range rows {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b CoverageRow) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return all
}

// Unseen returns the rows that were never seen.
func (c Coverage) Unseen() Coverage {
	return slices.DeleteFunc(slices.Clone(c), func(r CoverageRow) bool { return r.Count > 0 })
}

// String returns a table of what was seen. Below it, it lists for each kind what was not.
func (c Coverage) String() string {
	var b strings.Builder
	unseen := map[string][]string{}
	for _, r := range c {
		if r.Count == 0 {
			unseen[r.Kind] = append(unseen[r.Kind], r.Name)
			continue
		}
		fmt.Fprintf(&b, "%-10s  %-40s  %8d", r.Kind, r.Name, r.Count)
		if r.Time > 0 {
			fmt.Fprintf(&b, "  %10s each", (r.Time / time.Duration(r.Count)).Round(time.Microsecond/10))
		}
		b.WriteByte('\n')
	}
	for _, kind := range []string{"capability", "feature", "image", "message", "operation"} {
		if names := unseen[kind]; len(names) > 0 {
			fmt.Fprintf(&b, "%s, never seen: %s\n", kind, strings.Join(names, ", "))
		}
	}
	return b.String()
}
