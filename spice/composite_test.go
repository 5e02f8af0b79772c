package spice_test

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// The reference leaves the transform of a composite on its surface. libspice-server draws so, seen with a real one.
func TestATransformCountsForWhatIsDrawnFromTheSurfaceUntilItIsScaled(t *testing.T) {
	from := func() *wire.Image { return &wire.Image{Type: wire.ImageSurface, Surface: 7, Width: 3, Height: 1} }
	row := image.Rect(0, 0, 3, 1)
	composite := func(flags wire.CompositeFlags) *wire.DrawComposite {
		const opSrc, nearest = 1, 3 << 8
		return &wire.DrawComposite{Base: base(row), Flags: opSrc | nearest | flags, Src: from(),
			SrcTransform: wire.Transform{T00: 1 << 16, T02: 1 << 16, T11: 1 << 16}} // one pixel further right
	}
	blended := func(alpha uint8) *wire.DrawAlphaBlend {
		return &wire.DrawAlphaBlend{Base: base(row), Alpha: alpha, Src: from(), SrcArea: wire.RectOf(row)}
	}
	scaled := &wire.DrawCopy{Base: base(image.Rect(0, 0, 1, 1)), Src: from(), SrcArea: wire.RectOf(row), Rop: wire.RopPut, Scale: wire.ScaleNearest}
	copied := &wire.DrawCopy{Base: base(row), Src: from(), SrcArea: wire.RectOf(row), Rop: wire.RopPut}
	const moved, still = "000002 000003 000000", "000001 000002 000003"
	for name, tc := range map[string]struct {
		then []wire.ServerMessage
		want string
	}{
		"transformed":             {nil, moved},
		"a composite without":     {[]wire.ServerMessage{composite(0)}, moved},
		"another composite":       {[]wire.ServerMessage{composite(0), composite(0)}, moved},
		"a copy":                  {[]wire.ServerMessage{copied}, still},
		"a composite after it":    {[]wire.ServerMessage{copied, composite(0)}, moved},
		"a blend":                 {[]wire.ServerMessage{fill(row, 0x40), blended(255)}, "000002 000003 000040"},
		"a weak blend":            {[]wire.ServerMessage{fill(row, 0), blended(128)}, "000001 000002 000000"},
		"a composite, scaled":     {[]wire.ServerMessage{scaled, composite(0)}, still},
		"a blend, scaled before":  {[]wire.ServerMessage{scaled, fill(row, 0x40), blended(255)}, still},
		"transformed after scale": {[]wire.ServerMessage{scaled, composite(wire.CompositeHasSrcTransform)}, moved},
	} {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		onto := func(i int) *wire.DrawFill {
			m := fill(image.Rect(i, 0, i+1, 1), uint32(i+1))
			m.Base.Surface = 7
			return m
		}
		d.send(primary(3, 1), &wire.DisplaySurfaceCreate{Surface: 7, Width: 3, Height: 1, Format: wire.Surface32XRGB},
			onto(0), onto(1), onto(2), composite(wire.CompositeHasSrcTransform))
		d.send(tc.then...)
		d.sync()
		require.Equal(t, []string{tc.want}, shown(t, c), name)
	}
}
