package server

import (
	"cmp"
	"errors"
	"image"

	"github.com/spicelane/spicelane/spice/control"
)

// pickSurface returns the surface that a request selects: by default the primary one, on the
// primary one's channel.
func pickSurface(c Console, channel *uint8, surface *uint32) (control.Surface, error) {
	st := c.Status()
	want, ok := st.Primary()
	if !ok && channel == nil {
		if surface == nil {
			return want, errorf(control.CodeNoSuchSurface, "%s", noSurface(st))
		}
		return want, errorf(control.CodeNoSuchSurface, "no surface %d: %s", *surface, noSurface(st))
	}
	if channel != nil {
		want.ChannelID, want.SurfaceID = *channel, 0
	}
	if surface != nil {
		want.SurfaceID = *surface
	}
	for _, sf := range st.Surfaces {
		if sf.ChannelID == want.ChannelID && sf.SurfaceID == want.SurfaceID {
			return sf, nil
		}
	}
	return want, errorf(control.CodeNoSuchSurface, "no surface %d on display channel %d", want.SurfaceID, want.ChannelID)
}

// noSurface says why there is no surface.
func noSurface(st control.Status) string {
	switch {
	case !st.SPICEConnected:
		return "there is no surface: the session is over: " + cmp.Or(st.Error, "not connected")
	case st.HadSurface:
		return "there is no surface at this moment: the guest is changing its mode"
	default:
		return "there is no surface yet: the session may still be starting"
	}
}

// snapshot copies a surface or a part of it.
func snapshot(c Console, sf control.Surface, region *control.Rect) (*Picture, error) {
	var r image.Rectangle
	if region != nil {
		r = region.Rectangle()
		if whole := image.Rect(0, 0, sf.Width, sf.Height); r.Empty() || !r.In(whole) {
			return nil, errorf(control.CodeBadParams, "region %dx%d at %d,%d is not within the surface's %dx%d",
				region.Width, region.Height, region.X, region.Y, sf.Width, sf.Height)
		}
	}
	pic, err := c.Snapshot(sf.ChannelID, sf.SurfaceID, r)
	if errors.Is(err, ErrNoSurface) {
		return nil, errorf(control.CodeNoSuchSurface, "no surface %d on display channel %d any more", sf.SurfaceID, sf.ChannelID)
	}
	if err != nil {
		return nil, errorf(control.CodeInternal, "copy the surface: %s", err)
	}
	return pic, nil
}
