package spice_test

import (
	"image"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestCoverageNamesWhatWasSeenAndWhatNeverWas(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(2, 2), fill(image.Rect(0, 0, 1, 1), 1), drawCopy(image.Point{}, bitmap(1, 2, 2, 5)))
	d.sync()
	all := spice.CoverageOf(c.Stats(), c.Stats())
	count := map[string]uint64{}
	for _, r := range all {
		count[r.Kind+" "+r.Name] = r.Count
	}
	for name, want := range map[string]uint64{
		"message server display.draw_fill":         2,
		"message client display.init":              2,
		"message client main.attach_channels":      2,
		"message server display.draw_composite":    0,
		"image bitmap":                             2,
		"image quic":                               0,
		"operation draw_copy":                      2,
		"capability display.stream_report":         2,
		"capability display.composite":             0,
		"capability main.semi_seamless_migrate":    0,
		"message server cursor.set":                0,
		"operation draw_rop3":                      0,
		"image stream_mjpeg":                       0,
		"message server display.stream_data_sized": 0,
	} {
		got, ok := count[name]
		require.True(t, ok, name)
		require.Equal(t, want, got, name)
	}
	unseen := all.Unseen()
	require.Less(t, len(unseen), len(all))
	for _, r := range unseen {
		require.Zero(t, r.Count)
	}
	table := all.String()
	require.Contains(t, table, "operation   draw_copy                                        2")
	require.Contains(t, table, "image, never seen: ")
	require.Equal(t, "", spice.Coverage{}.String())
}

func TestEveryDrawingMessageIsCountedAsAnOperation(t *testing.T) {
	ops := map[string]bool{}
	for _, r := range spice.CoverageOf() {
		if r.Kind == "operation" {
			ops[r.Name] = true
		}
	}
	for _, m := range wire.Messages(wire.ChannelDisplay, wire.FromServer) {
		name := strings.TrimPrefix(m.Name, "display.")
		if strings.HasPrefix(name, "draw_") {
			require.True(t, ops[name], "%s is missing", name)
		}
	}
}
