package control

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"sync"
)

// pngBuffers keeps the encoder's tables between pictures.
type pngBuffers struct{ pool sync.Pool }

func (b *pngBuffers) Get() *png.EncoderBuffer {
	buf, _ := b.pool.Get().(*png.EncoderBuffer)
	return buf
}
func (b *pngBuffers) Put(buf *png.EncoderBuffer) { b.pool.Put(buf) }

// pngEncoder takes about 8 ms for a screen of 1280×800, half of what the
// default level takes.
var pngEncoder = png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: new(pngBuffers)}

// screenshot answers a picture of a surface.
func (s *session) screenshot(c *call) (any, error) {
	var p ScreenshotParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if p.Format == "" {
		p.Format = "png"
	}
	if p.Format != "png" && p.Format != "rgba" {
		return nil, errorf(CodeUnsupportedFormat, `unsupported screenshot format %q: want "png" or "rgba"`, abbreviate([]byte(p.Format)))
	}
	sf, err := s.pickSurface(p.ChannelID, p.SurfaceID)
	if err != nil {
		return nil, err
	}
	pic, err := s.snapshot(sf, p.Region)
	if err != nil {
		return nil, err
	}
	img := pic.rgba()
	if p.Cursor {
		s.drawCursor(img, p.Region)
	}
	res := ScreenshotResult{Width: pic.Width, Height: pic.Height, Format: p.Format, Data: img.Pix}
	if p.Format == "png" {
		var buf bytes.Buffer
		if err := pngEncoder.Encode(&buf, img); err != nil {
			return nil, errorf(CodeInternal, "encode PNG: %s", err)
		}
		res.Data = buf.Bytes()
	}
	return res, nil
}

// pickSurface finds the surface that a request means: without a surface the
// primary one, without a channel the primary one's.
func (s *session) pickSurface(channel *uint8, surface *uint32) (Surface, error) {
	st := s.srv.cfg.Console.Status()
	want, ok := primary(st)
	if !ok && channel == nil {
		if surface == nil {
			return want, errorf(CodeNoSuchSurface, "there is no surface yet: the session may still be starting")
		}
		return want, errorf(CodeNoSuchSurface, "no surface %d: there is no surface at all", *surface)
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
	return want, errorf(CodeNoSuchSurface, "no surface %d on display channel %d", want.SurfaceID, want.ChannelID)
}

// snapshot copies a surface or a part of it.
func (s *session) snapshot(sf Surface, region *Rect) (*Picture, error) {
	var r image.Rectangle
	if region != nil {
		r = image.Rect(region.X, region.Y, region.X+region.Width, region.Y+region.Height)
		if whole := image.Rect(0, 0, sf.Width, sf.Height); region.Width <= 0 || region.Height <= 0 || !r.In(whole) {
			return nil, errorf(CodeBadParams, "region %dx%d at %d,%d is not within the surface's %dx%d",
				region.Width, region.Height, region.X, region.Y, sf.Width, sf.Height)
		}
	}
	pic, err := s.srv.cfg.Console.Snapshot(sf.ChannelID, sf.SurfaceID, r)
	if errors.Is(err, ErrNoSurface) {
		return nil, errorf(CodeNoSuchSurface, "no surface %d on display channel %d any more", sf.SurfaceID, sf.ChannelID)
	}
	if err != nil {
		return nil, errorf(CodeInternal, "copy the surface: %s", err)
	}
	return pic, nil
}

// rgba returns the picture in the byte order R, G, B, A, opaque and unpadded.
func (p *Picture) rgba() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for y := range p.Height {
		src := p.Pix[y*p.Stride:][:4*p.Width]
		dst := img.Pix[y*img.Stride:][:4*p.Width]
		for i := 0; i+3 < len(src); i += 4 {
			dst[i], dst[i+1], dst[i+2], dst[i+3] = src[i+2], src[i+1], src[i], 0xff
		}
	}
	return img
}

// drawCursor draws the pointer into a picture of the given part of a surface.
func (s *session) drawCursor(img *image.NRGBA, region *Rect) {
	src, ok := as[CursorSource](s.srv.cfg.Console)
	if !ok {
		return
	}
	cur := src.Cursor()
	if !cur.Visible || len(cur.Pix) < 4*cur.Width*cur.Height {
		return
	}
	left, top := cur.X-cur.HotX, cur.Y-cur.HotY
	if region != nil {
		left, top = left-region.X, top-region.Y
	}
	for y := range cur.Height {
		for x := range cur.Width {
			if !(image.Point{left + x, top + y}.In(img.Rect)) {
				continue
			}
			at := 4 * (y*cur.Width + x)
			from := cur.Pix[at:]
			to := img.Pix[img.PixOffset(left+x, top+y):]
			a := int(from[3])
			if a == 0 && len(cur.Xor) >= at+4 {
				for i := range 3 {
					to[i] ^= cur.Xor[at+2-i]
				}
				continue
			}
			for i := range 3 {
				to[i] = byte((int(from[2-i])*a + int(to[i])*(255-a) + 127) / 255)
			}
		}
	}
}
