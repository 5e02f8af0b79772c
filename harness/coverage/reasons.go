package coverage

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spicelane/spicelane/spice"
)

// A reason says why something is never seen. Names are globs (see path.Match).
type reason struct{ kind, name, why string }

// why returns the first reason in list that applies to a row, or "" if there is none.
func why(list []reason, row spice.CoverageRow) string {
	for _, r := range list {
		if ok, _ := path.Match(r.name, row.Name); ok && r.kind == row.Kind {
			return r.why
		}
	}
	return ""
}

// A source is where coverage comes from: what it cannot carry, and what no test makes it carry.
type source struct{ impossible, unasked []reason }

// sources returns the sources that this coverage comes from.
func (f Found) sources() (all []source) {
	if f.Runs > 0 {
		all = append(all, source{truthImpossible, truthUnasked})
	}
	if f.Lanes > 0 {
		all = append(all, source{laneImpossible, laneUnasked})
	}
	return all
}

// never returns why a row was never seen, and whether that is impossible. It returns neither if a
// source could have carried the row and no reason is known.
func (f Found) never(row spice.CoverageRow) (says string, impossible bool) {
	var reasons []string
	impossible = true
	for _, s := range f.sources() {
		r := why(s.impossible, row)
		if r == "" {
			impossible = false
			if r = why(s.unasked, row); r == "" {
				return "", false
			}
		}
		if !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	return strings.Join(reasons, "; "), impossible
}

// WithoutReason returns the rows that were never seen and for which no reason is known.
func (f Found) WithoutReason() spice.Coverage {
	return slices.DeleteFunc(f.Rows.Unseen(), func(r spice.CoverageRow) bool {
		says, _ := f.never(r)
		return says != ""
	})
}

// Contradicted returns the rows that were seen although they are said to be impossible here.
func (f Found) Contradicted() spice.Coverage {
	return slices.DeleteFunc(slices.Clone(f.Rows), func(r spice.CoverageRow) bool {
		_, impossible := f.never(r)
		return r.Count == 0 || !impossible
	})
}

// Print writes what was seen, what never was, and what cannot be seen here, each with its reason.
func (f Found) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "seen\tkind\tname\t")
	for _, row := range f.Rows {
		says, impossible := f.never(row)
		switch {
		case row.Count > 0:
			fmt.Fprintf(tw, "%d\t%s\t%s\t\n", row.Count, row.Kind, row.Name)
		case impossible && says != "":
			fmt.Fprintf(tw, "impossible\t%s\t%s\t%s\n", row.Kind, row.Name, says)
		default:
			fmt.Fprintf(tw, "never\t%s\t%s\t%s\n", row.Kind, row.Name, says)
		}
	}
	return tw.Flush()
}

// nowhere lists what no source can carry.
var nowhere = []reason{
	{"message", "* *.quality_indicator", "spice-server neither sends it nor reads it"},
	{"message", "client main.client_info", "spice-server does not read it"},
	{"message", "* disconnecting", "spice-server and the client hang up without it"},
	{"message", "server list", "spice-server sends no messages inside of others"},
	{"message", "server display.mode", "drivers of the first QXL device only"},
	{"message", "server display.reset", "drivers of the first QXL device only"},
	{"capability", "display.a8_surface", "only clients announce it"},
	{"capability", "display.codec_*", "only clients announce it"},
	{"capability", "display.composite", "only clients announce it"},
	{"capability", "display.lz4_compression", "only clients announce it"},
	{"capability", "display.multi_codec", "only clients announce it"},
	{"capability", "display.sized_stream", "only clients announce it"},
	{"feature", "rop noop", "spice-server sends nothing for it"},
	{"feature", "bitmap 4bit_le", "spice-server aborts on such images"},
}

// truthImpossible lists what the truth server cannot carry. If the server can be made to send
// something, add a step for it, not a line here.
var truthImpossible = slices.Concat(nowhere, []reason{
	{"message", "client inputs.*", "the truth server has no keyboard and no mouse"},
	{"message", "server inputs.key_modifiers", "the truth server has no keyboard and no mouse"},
	{"message", "server inputs.mouse_motion_ack", "the truth server has no keyboard and no mouse"},
	{"message", "client main.mouse_mode_request", "the truth server has no tablet: there is one mode"},
	{"message", "server main.mouse_mode", "the truth server has no tablet: there is one mode"},
	{"message", "* main.agent_*", "the truth server has no agent"},
	{"message", "* main.migrate*", "the truth server does not migrate"},
	{"message", "* *.migrate*", "the truth server does not migrate"},
	{"message", "* migrate*", "the truth server does not migrate"},
	{"message", "server display.inval_all_pixmaps", "only a server that a session has migrated to sends it"},
	{"message", "server wait_for_channels", "the truth server has one display: no other shares its image cache"},
	{"message", "* display.gl_*", "a GL scanout is handed over on unix sockets only"},
	{"message", "client display.preferred_video_codec_type", "the client decodes one codec, and so prefers none"},
	{"capability", "display.pref_video_codec_type", "the client decodes one codec, and so prefers none"},
	{"capability", "display.gl_scanout", "a GL scanout is handed over on unix sockets only"},
	{"capability", "inputs.*", "the truth server has no keyboard and no mouse"},
	{"capability", "main.*migrate", "the truth server does not migrate"},
})

// truthUnasked lists what the truth server may send but no step can rely on.
var truthUnasked = []reason{
	{"message", "server main.multi_media_time", "the server sends it when a client falls behind with a video: the host decides"},
}

// laneImpossible lists what a lane cannot carry.
var laneImpossible = slices.Concat(nowhere, []reason{
	{"capability", "display.gl_scanout", "no machine of a lane draws with OpenGL"},
	{"message", "* display.gl_*", "no machine of a lane draws with OpenGL"},
	{"message", "server main.agent_connected", "spice-server tells the client its tokens, too: agent_connected_tokens"},
})

// laneUnasked lists what a lane could carry but no test asks for.
var laneUnasked = []reason{
	{"capability", "display.pref_compression", "compression is set on QEMU: the client asks for none"},
	{"message", "client display.preferred_compression", "compression is set on QEMU: the client asks for none"},
	{"capability", "display.pref_video_codec_type", "the client decodes one codec, and so prefers none"},
	{"message", "client display.preferred_video_codec_type", "the client decodes one codec, and so prefers none"},
	{"image", "lz4", "QEMU's option has no such compression, and the client asks for none"},
	{"image", "jpeg*", "QEMU uses it on slow links only, and no lane's is one"},
	{"image", "zlib_glz_rgb", "QEMU uses it on slow links only, and no lane's is one"},
	{"image", "from_cache_lossless", "no guest wants without loss what the cache has with loss"},
	{"feature", "image cache_replace_me", "no guest wants without loss what the cache has with loss"},
	{"feature", "image high_bits_set", "Beacon's native scene does not draw it"},
	{"feature", "bitmap 1bit_le", "Beacon's native scene does not draw it"},
	{"feature", "brush none", "Beacon's native scene does not draw it"},
	{"feature", "composite component_alpha", "Beacon's native scene does not draw it"},
	{"feature", "rop *", "Beacon's native scene does not draw it"},
	{"feature", "text 8", "Beacon's native scene does not draw it"},
	{"operation", "stream_data_sized", "no video of a lane changes its size"},
	{"message", "server display.stream_data_sized", "no video of a lane changes its size"},
	{"capability", "inputs.key_scancode", "the client sends key_down and key_up"},
	{"message", "client inputs.key_scancode", "the client sends key_down and key_up"},
	{"message", "client inputs.key_modifiers", "suites press the lock keys, and do not set the locks"},
	{"message", "client main.agent_token", "no agent of a lane says so much"},
	{"message", "server main.multi_media_time", "no lane has sound and video at the same time"},
	{"message", "server cursor.inval_one", "no guest of a lane fills the client's caches"},
	{"message", "server display.inval_*", "no guest of a lane fills the client's caches"},
	{"message", "server wait_for_channels", "no lane shares an image cache among display channels"},
	{"capability", "main.*migrate", "only a lane whose guest migrates has it"},
	{"message", "* main.migrate*", "only a lane whose guest migrates carries it"},
	{"message", "* migrate*", "only a lane whose guest migrates carries it"},
}
