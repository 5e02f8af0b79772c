package spice

import (
	"image"

	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

func pt(p wire.Point) image.Point { return image.Pt(int(p.X), int(p.Y)) }

// area returns a message's box and clip.
func (d *display) area(b *wire.DisplayBase) canvas.Area {
	a := canvas.Area{Box: b.Box.Bounds()}
	switch b.Clip.Type {
	case wire.ClipNone:
	case wire.ClipRects:
		d.clip = d.clip[:0]
		for _, r := range b.Clip.Rects {
			d.clip = append(d.clip, r.Bounds())
		}
		a.Clipped, a.Clip = true, d.clip
	}
	return a
}

// masked adds a mask to an area.
func (d *display) masked(a canvas.Area, m *wire.Mask, s *surface) (canvas.Area, error) {
	if m.Bitmap == nil {
		return a, nil
	}
	img, err := d.images.decode(m.Bitmap, &d.slots.mask, s.img.Format, true)
	if err != nil {
		return a, err
	}
	a.Mask = &canvas.Mask{Image: img, Pos: pt(m.Pos), Invert: m.Flags&wire.MaskFlagInvers != 0}
	return a, nil
}

// brush converts a message's brush to one for the canvas.
func (d *display) brush(b *wire.Brush, memory *slot, s *surface) (canvas.Brush, error) {
	switch b.Type {
	case wire.BrushNone:
		return canvas.NoBrush(), nil
	case wire.BrushSolid:
		return canvas.Solid(b.Color), nil
	case wire.BrushPattern:
		img, err := d.images.decode(b.Pattern, memory, s.img.Format, false)
		if err != nil {
			return canvas.Brush{}, err
		}
		pattern := canvas.Pattern(img, pt(b.Pos))
		if !inMessage(b.Pattern) {
			pattern = pattern.InUnknownMemory()
		}
		return pattern, nil
	}
	return canvas.Brush{}, protocolErrorf("brush of type %d", b.Type)
}

// source decodes an image to draw from, and converts it to the surface's format unless as is set.
func (d *display) source(m *wire.Image, memory *slot, s *surface, as asIs) (*canvas.Image, error) {
	if m == nil {
		return nil, protocolErrorf("no image to draw from")
	}
	img, err := d.images.decode(m, memory, s.img.Format, false)
	if err != nil || as || m.Type == wire.ImageSurface {
		return img, err
	}
	if s.img.Format == canvas.ARGB {
		// The reference converts images without alpha of their own to the format without alpha.
		return img.Convert(canvas.XRGB), nil
	}
	return img.Convert(s.img.Format), nil
}

// asIs keeps an image in the format in which it was sent. Blending does that, for the alpha.
// Everything else, in particular scaling, works with the surface's precision.
type asIs bool

// prepare looks up the surface of an operation and decodes its images. It decodes all of them even
// if one fails, because later messages may refer to any that is to be cached. Images and brushes
// that the caller does not request stay zero.
func (d *display) prepare(base *wire.DisplayBase, src *wire.Image, need need, b, back *wire.Brush, mask *wire.Mask) (p prepared, err error) {
	if p.s, err = d.lookup(base.Surface); err != nil {
		return p, err
	}
	p.area = d.area(base)
	note := func(e error) {
		// A malformed image is more important than an unsupported one.
		if _, soft := unsupported(err); err == nil || soft && e != nil {
			if _, softer := unsupported(e); err == nil || !softer {
				err = e
			}
		}
	}
	if base.Clip.Type > wire.ClipRects {
		note(protocolErrorf("clip of type %d", base.Clip.Type))
	}
	var e error
	if need != noSource {
		p.src, e = d.source(src, &d.slots.src, p.s, asIs(need == originalSource))
		note(e)
	}
	if b != nil {
		p.brush, e = d.brush(b, &d.slots.brush, p.s)
		note(e)
	}
	if back != nil {
		p.back, e = d.brush(back, &d.slots.back, p.s)
		note(e)
	}
	if mask != nil {
		p.area, e = d.masked(p.area, mask, p.s)
		note(e)
	}
	return p, err
}

// need says what an operation needs of its source image.
type need uint8

const (
	noSource        need = iota
	convertedSource      // in the surface's format
	originalSource       // as it was sent
)

// prepared is an operation's surface and decoded images.
type prepared struct {
	s           *surface
	area        canvas.Area
	src         *canvas.Image
	brush, back canvas.Brush
}

// finish carries out a prepared operation, or decides what prepare's error means.
func (d *display) finish(op string, p *prepared, err error, fn func(*surface) error) error {
	if err == nil {
		err = d.change(op, p.s, p.area.Box, fn)
	} else if p.s != nil {
		err = d.failed(op, p.s, err)
	}
	d.slots.src.release()
	d.slots.brush.release()
	d.slots.back.release()
	d.slots.mask.release()
	return err
}

func (d *display) drawCopy(op string, m *wire.DrawCopy) error {
	d.scales(m.Src, m.SrcArea, &m.Base)
	p, err := d.prepare(&m.Base, m.Src, convertedSource, nil, nil, &m.Mask)
	rop := canvas.Descriptor(m.Rop).Rop(canvas.InvertSrc, canvas.InvertDest)
	return d.finish(op, &p, err, func(s *surface) error {
		return s.img.Copy(p.area, p.src, m.SrcArea.Bounds(), rop, canvas.ScaleMode(m.Scale))
	})
}

func (d *display) drawFill(m *wire.DrawFill) error {
	p, err := d.prepare(&m.Base, nil, noSource, &m.Brush, nil, &m.Mask)
	rop := canvas.Descriptor(m.Rop).Rop(canvas.InvertBrush, canvas.InvertDest)
	return d.finish("draw_fill", &p, err, func(s *surface) error {
		return s.img.Fill(p.area, p.brush, rop)
	})
}

func (d *display) drawOpaque(m *wire.DrawOpaque) error {
	d.scales(m.Src, m.SrcArea, &m.Base)
	p, err := d.prepare(&m.Base, m.Src, convertedSource, &m.Brush, nil, &m.Mask)
	rop := canvas.Descriptor(m.Rop).Rop(canvas.InvertBrush, canvas.InvertSrc)
	return d.finish("draw_opaque", &p, err, func(s *surface) error {
		return s.img.Opaque(p.area, p.src, m.SrcArea.Bounds(), p.brush, rop, canvas.ScaleMode(m.Scale))
	})
}

func (d *display) drawFlat(op string, base *wire.DisplayBase, mask *wire.Mask, paint func(*canvas.Image, canvas.Area) error) error {
	p, err := d.prepare(base, nil, noSource, nil, nil, mask)
	return d.finish(op, &p, err, func(s *surface) error { return paint(s.img, p.area) })
}

func (d *display) drawRop3(m *wire.DrawRop3) error {
	d.scales(m.Src, m.SrcArea, &m.Base)
	p, err := d.prepare(&m.Base, m.Src, convertedSource, &m.Brush, nil, &m.Mask)
	return d.finish("draw_rop3", &p, err, func(s *surface) error {
		return s.img.Rop3(p.area, p.src, m.SrcArea.Bounds(), p.brush, m.Rop3, canvas.ScaleMode(m.Scale))
	})
}

func (d *display) drawTransparent(m *wire.DrawTransparent) error {
	d.scales(m.Src, m.SrcArea, &m.Base)
	p, err := d.prepare(&m.Base, m.Src, convertedSource, nil, nil, nil)
	return d.finish("draw_transparent", &p, err, func(s *surface) error {
		return s.img.Transparent(p.area, p.src, m.SrcArea.Bounds(), m.TrueColor)
	})
}

func (d *display) drawAlphaBlend(m *wire.DrawAlphaBlend) error {
	p, err := d.prepare(&m.Base, m.Src, originalSource, nil, nil, nil)
	b := canvas.Blend{
		Alpha:     m.Alpha,
		SrcAlpha:  m.Flags&wire.AlphaSrcSurfaceHasAlpha != 0 && m.Src != nil && m.Src.Type == wire.ImageSurface,
		DestAlpha: m.Flags&wire.AlphaDestHasAlpha != 0,
	}
	d.scales(m.Src, m.SrcArea, &m.Base)
	left := d.leftover(m, b)
	return d.finish("draw_alpha_blend", &p, err, func(s *surface) error {
		if left != nil {
			return s.img.Composite(p.area, canvas.OpOver, *left, evenly(m.Alpha), false)
		}
		return s.img.AlphaBlend(p.area, p.src, m.SrcArea.Bounds(), b)
	})
}

func (d *display) drawComposite(m *wire.DrawComposite) error {
	p, err := d.prepare(&m.Base, m.Src, convertedSource, nil, nil, nil)
	source := canvas.Sampled{
		Image: p.src, Origin: image.Pt(int(m.SrcOrigin.X), int(m.SrcOrigin.Y)),
		Filter: canvas.Filter(m.Flags.SrcFilter()), Repeat: canvas.Repeat(m.Flags.SrcRepeat()),
		Opaque: m.Flags&wire.CompositeSourceOpaque != 0 && m.Src != nil && m.Src.Type == wire.ImageSurface,
	}
	d.sampled(&source, m.Src, m.Flags&wire.CompositeHasSrcTransform != 0, &m.SrcTransform)
	var mask *canvas.Sampled
	if m.Flags&wire.CompositeHasMask != 0 && p.s != nil {
		img, e := d.source(m.Mask, &d.slots.brush, p.s, false)
		if _, soft := unsupported(err); e != nil && (err == nil || soft) {
			err = e
		}
		mask = &canvas.Sampled{
			Image: img, Origin: image.Pt(int(m.MaskOrigin.X), int(m.MaskOrigin.Y)),
			Filter: canvas.Filter(m.Flags.MaskFilter()), Repeat: canvas.Repeat(m.Flags.MaskRepeat()),
			Opaque: m.Flags&wire.CompositeMaskOpaque != 0 && m.Mask != nil && m.Mask.Type == wire.ImageSurface,
		}
		d.sampled(mask, m.Mask, m.Flags&wire.CompositeHasMaskTransform != 0, &m.MaskTransform)
	}
	component := m.Flags&wire.CompositeComponentAlpha != 0
	return d.finish("draw_composite", &p, err, func(s *surface) error {
		return s.img.Composite(p.area, canvas.Operator(m.Flags.Op()), source, mask, component)
	})
}

// sampled sets the transform with which a composite reads an image. The reference sets transform,
// filter and repeat of a surface and never resets them, so the transform also affects later
// composites. If the alpha of a surface is left out, the reference uses a second image, which has
// none of these.
func (d *display) sampled(k *canvas.Sampled, m *wire.Image, has bool, t *wire.Transform) {
	if has {
		k.Transform = &canvas.Transform{{int32(t.T00), int32(t.T01), int32(t.T02)}, {int32(t.T10), int32(t.T11), int32(t.T12)}}
	}
	if m == nil || m.Type != wire.ImageSurface {
		return
	}
	s := d.surfaces.byID[m.Surface]
	if s == nil || k.Opaque && s.img.Format == canvas.ARGB {
		return
	}
	if !has && s.sampled != nil {
		k.Transform = s.sampled.Transform
	}
	s.sampled = &canvas.Sampled{Transform: k.Transform, Filter: k.Filter, Repeat: k.Repeat}
}

// scales forgets the leftover transform of a surface if the operation scales the surface: the
// reference then sets another transform and resets it.
func (d *display) scales(m *wire.Image, from wire.Rect, b *wire.DisplayBase) {
	if m == nil || m.Type != wire.ImageSurface || from.Bounds().Size() == b.Box.Bounds().Size() {
		return
	}
	if s := d.surfaces.byID[m.Surface]; s != nil {
		s.sampled = nil
	}
}

// leftover returns how the reference reads a surface in a blend that does not scale: as the last
// composite did. It returns nil where that makes no difference: for other images, and for the
// second image that the reference makes because of alpha.
func (d *display) leftover(m *wire.DrawAlphaBlend, b canvas.Blend) *canvas.Sampled {
	if m.Src == nil || m.Src.Type != wire.ImageSurface || b.Alpha == 0 {
		return nil
	}
	s := d.surfaces.byID[m.Src.Surface]
	if s == nil || s.sampled == nil || b.SrcAlpha && s.img.Format == canvas.XRGB {
		return nil
	}
	k := *s.sampled
	k.Image, k.Origin, k.Repeat = s.img, m.SrcArea.Bounds().Min, canvas.RepeatNone
	return &k
}

// evenly returns a mask of uniform alpha; nil if that is opaque.
func evenly(alpha uint8) *canvas.Sampled {
	if alpha == 255 {
		return nil
	}
	m := canvas.New(canvas.A8, 1, 1)
	m.Set(0, 0, uint32(alpha))
	return &canvas.Sampled{Image: m, Repeat: canvas.RepeatNormal}
}

func (d *display) drawStroke(m *wire.DrawStroke) error {
	p, err := d.prepare(&m.Base, nil, noSource, &m.Brush, nil, nil)
	path := make([]canvas.Segment, len(m.Path))
	for i, s := range m.Path {
		points := make([]canvas.PointFix, len(s.Points))
		for j, q := range s.Points {
			points[j] = canvas.PointFix{X: canvas.Fixed(q.X), Y: canvas.Fixed(q.Y)}
		}
		path[i] = canvas.Segment{
			Begin: s.Flags&wire.PathBegin != 0, End: s.Flags&wire.PathEnd != 0,
			Close: s.Flags&wire.PathClose != 0, Bezier: s.Flags&wire.PathBezier != 0, Points: points,
		}
	}
	pen := canvas.Pen{
		Brush: p.brush, Rop: canvas.Descriptor(m.ForeMode).Rop(canvas.InvertBrush, canvas.InvertDest),
		StartWithGap: m.LineFlags&wire.LineStartWithGap != 0,
	}
	if m.LineFlags&wire.LineStyled != 0 {
		for _, f := range m.Style {
			pen.Dash = append(pen.Dash, canvas.Fixed(f))
		}
	}
	return d.finish("draw_stroke", &p, err, func(s *surface) error {
		return s.img.Stroke(p.area, path, pen)
	})
}

func (d *display) drawText(m *wire.DrawText) error {
	p, err := d.prepare(&m.Base, nil, noSource, &m.ForeBrush, &m.BackBrush, nil)
	back := m.BackArea.Bounds()
	if err == nil && !back.Empty() && m.ForeMode != wire.RopPut {
		err = &unsupportedError{"text over a background with raster operation " + m.ForeMode.String()}
	}
	text := canvas.String{Depth: m.Flags.Depth()} // the reference ignores which way up it is
	for _, g := range m.Glyphs {
		at := pt(g.RenderPos).Add(pt(g.Origin))
		text.Glyphs = append(text.Glyphs, canvas.Glyph{
			Box: image.Rectangle{Min: at, Max: at.Add(image.Pt(int(g.Width), int(g.Height)))}, Data: g.Data,
		})
	}
	return d.finish("draw_text", &p, err, func(s *surface) error {
		return s.img.Text(p.area, text, p.brush, p.back, back)
	})
}
