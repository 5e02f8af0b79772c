package qxl

import "image"

// The types of drawing (QXL_DRAW_*).
const (
	DrawFill        = 1
	DrawOpaque      = 2
	DrawCopy        = 3
	DrawCopyBits    = 4
	DrawBlend       = 5
	DrawBlackness   = 6
	DrawWhiteness   = 7
	DrawInvers      = 8
	DrawRop3        = 9
	DrawStroke      = 10
	DrawText        = 11
	DrawTransparent = 12
	DrawAlphaBlend  = 13
	DrawComposite   = 14
)

// Rop is a raster operation, and the operands that are inverted for it (SPICE_ROPD_*).
type Rop uint16

// The raster operations and inversions.
const (
	InversSrc   Rop = 1
	InversBrush Rop = 2
	InversDest  Rop = 4
	RopPut      Rop = 8
	RopOr       Rop = 16
	RopAnd      Rop = 32
	RopXor      Rop = 64
	RopBlack    Rop = 128
	RopWhite    Rop = 256
	RopInvers   Rop = 512
	InversRes   Rop = 1024
)

// The ways to scale (SPICE_IMAGE_SCALE_MODE_*).
const (
	ScaleInterpolate = 0
	ScaleNearest     = 1
)

// Clip limits a drawing to rectangles. The zero Clip does not limit it.
type Clip struct {
	Clipped bool // to Rects, of which there may be none
	Rects   []image.Rectangle
	// Lie is added to the number of rectangles that is written, to make it wrong.
	Lie int
}

// ClipTo returns a clip that limits a drawing to rects.
func ClipTo(rects ...image.Rectangle) Clip { return Clip{Clipped: true, Rects: rects} }

func (p *packer) clip(b *buf, c Clip) {
	if !c.Clipped {
		b.u32(0)
		b.u64(0)
		return
	}
	var list, data buf
	for _, r := range c.Rects {
		data.rect(r)
	}
	list.u32(uint32(len(c.Rects) + c.Lie))
	p.chunk(&list, data, 1)
	b.u32(1)
	b.u64(p.put(list))
}

// Brush is a colour or a pattern. The zero Brush draws nothing.
type Brush struct {
	Type    uint32 // 0 none, 1 solid, 2 pattern
	Color   uint32
	Pattern *Image
	Pos     image.Point
}

// Solid returns a brush of one colour.
func Solid(color uint32) Brush { return Brush{Type: 1, Color: color} }

// Pattern returns a brush that repeats an image.
func Pattern(im *Image, pos image.Point) Brush { return Brush{Type: 2, Pattern: im, Pos: pos} }

func (p *packer) brush(b *buf, br Brush) {
	b.u32(br.Type)
	if br.Type == 2 {
		b.u64(p.image(br.Pattern))
		b.point(br.Pos)
		return
	}
	b.u32(br.Color)
	b.u64(0)
	b.u32(0)
}

// Mask selects the pixels that are drawn. Without an Image, all are drawn.
type Mask struct {
	Invers bool
	Pos    image.Point
	Image  *Image
}

func (p *packer) mask(b *buf, m Mask) {
	b.bool(m.Invers)
	b.point(m.Pos)
	b.u64(p.image(m.Image))
}

// Drawable is a drawing command.
type Drawable struct {
	Surface  uint32
	Effect   uint8 // QXL_EFFECT_*; 0 is always right
	Self     bool  // the source is the surface's content in SelfArea
	SelfArea image.Rectangle
	Box      image.Rectangle
	Clip     Clip
	Time     uint32 // multimedia time, ms
	// Unnamed omits the list of other surfaces that the drawing reads, which the server should get.
	Unnamed bool
	Op      Op
}

// Op is the operation of a Drawable.
type Op interface {
	drawType() uint8
	// packOp writes the operation.
	packOp(p *packer, b *buf)
	// images returns the images that it draws from; some may be nil.
	images() []*Image
}

// Type returns CmdDraw.
func (*Drawable) Type() uint32 { return CmdDraw }

// drawableSize is more than the size of a QXLDrawable in bytes: a server reads as much as the
// largest operation needs.
const drawableSize = 160 + 160

// surfaces is the number of other surfaces that a drawing may name.
const surfaces = 3

func (d *Drawable) pack(p *packer, id uint64) uint64 {
	var b buf
	b.u64(id)
	b.u32(d.Surface)
	b.u8(d.Effect)
	kind := uint8(0)
	if d.Op != nil {
		kind = d.Op.drawType()
	}
	b.u8(kind)
	b.bool(d.Self)
	b.rect(d.SelfArea)
	b.rect(d.Box)
	p.clip(&b, d.Clip)
	b.u32(d.Time)
	var from []*Image
	if d.Op != nil && !d.Unnamed {
		for _, im := range d.Op.images() {
			if im != nil && im.FromSurface && len(from) < surfaces {
				from = append(from, im)
			}
		}
	}
	for i := range surfaces {
		if i < len(from) {
			b.u32(from[i].Surface)
		} else {
			b.i32(-1)
		}
	}
	for i := range surfaces {
		if i < len(from) {
			b.rect(from[i].Bounds())
		} else {
			b.rect(image.Rectangle{})
		}
	}
	if d.Op != nil {
		d.Op.packOp(p, &b)
	}
	for len(b) < drawableSize {
		b.u8(0)
	}
	return p.put(b)
}

// Fill fills the box with a brush.
type Fill struct {
	Brush Brush
	Rop   Rop
	Mask  Mask
}

func (*Fill) drawType() uint8    { return DrawFill }
func (o *Fill) images() []*Image { return []*Image{o.Brush.Pattern, o.Mask.Image} }
func (o *Fill) packOp(p *packer, b *buf) {
	p.brush(b, o.Brush)
	b.u16(uint16(o.Rop))
	p.mask(b, o.Mask)
}

// Opaque draws an image combined with a brush.
type Opaque struct {
	Src   *Image
	Area  image.Rectangle
	Brush Brush
	Rop   Rop
	Scale uint8
	Mask  Mask
}

func (*Opaque) drawType() uint8    { return DrawOpaque }
func (o *Opaque) images() []*Image { return []*Image{o.Src, o.Brush.Pattern, o.Mask.Image} }
func (o *Opaque) packOp(p *packer, b *buf) {
	b.u64(p.image(o.Src))
	b.rect(o.Area)
	p.brush(b, o.Brush)
	b.u16(uint16(o.Rop))
	b.u8(o.Scale)
	p.mask(b, o.Mask)
}

// Copy draws an image.
type Copy struct {
	Src   *Image
	Area  image.Rectangle
	Rop   Rop
	Scale uint8
	Mask  Mask
}

func (*Copy) drawType() uint8    { return DrawCopy }
func (o *Copy) images() []*Image { return []*Image{o.Src, o.Mask.Image} }
func (o *Copy) packOp(p *packer, b *buf) {
	b.u64(p.image(o.Src))
	b.rect(o.Area)
	b.u16(uint16(o.Rop))
	b.u8(o.Scale)
	p.mask(b, o.Mask)
}

// Blend is a Copy that may combine with the destination.
type Blend Copy

func (*Blend) drawType() uint8            { return DrawBlend }
func (o *Blend) images() []*Image         { return (*Copy)(o).images() }
func (o *Blend) packOp(p *packer, b *buf) { (*Copy)(o).packOp(p, b) }

// Transparent draws an image except for its pixels of one colour.
type Transparent struct {
	Src                 *Image
	Area                image.Rectangle
	SrcColor, TrueColor uint32 // in the image's format, and as 0x00rrggbb
}

func (*Transparent) drawType() uint8    { return DrawTransparent }
func (o *Transparent) images() []*Image { return []*Image{o.Src} }
func (o *Transparent) packOp(p *packer, b *buf) {
	b.u64(p.image(o.Src))
	b.rect(o.Area)
	b.u32(o.SrcColor)
	b.u32(o.TrueColor)
}

// The flags of AlphaBlend (SPICE_ALPHA_FLAGS_*).
const (
	AlphaDest       = 1
	AlphaSrcSurface = 2
)

// AlphaBlend blends an image over the destination.
type AlphaBlend struct {
	Flags uint16
	Alpha uint8
	Src   *Image
	Area  image.Rectangle
}

func (*AlphaBlend) drawType() uint8    { return DrawAlphaBlend }
func (o *AlphaBlend) images() []*Image { return []*Image{o.Src} }
func (o *AlphaBlend) packOp(p *packer, b *buf) {
	b.u16(o.Flags)
	b.u8(o.Alpha)
	b.u64(p.image(o.Src))
	b.rect(o.Area)
}

// CopyBits copies pixels of the destination, from From to the box.
type CopyBits struct{ From image.Point }

func (*CopyBits) drawType() uint8            { return DrawCopyBits }
func (*CopyBits) images() []*Image           { return nil }
func (o *CopyBits) packOp(_ *packer, b *buf) { b.point(o.From) }

// Blackness makes the box black.
type Blackness struct{ Mask Mask }

func (*Blackness) drawType() uint8            { return DrawBlackness }
func (o *Blackness) images() []*Image         { return []*Image{o.Mask.Image} }
func (o *Blackness) packOp(p *packer, b *buf) { p.mask(b, o.Mask) }

// Whiteness makes the box white.
type Whiteness struct{ Mask Mask }

func (*Whiteness) drawType() uint8            { return DrawWhiteness }
func (o *Whiteness) images() []*Image         { return []*Image{o.Mask.Image} }
func (o *Whiteness) packOp(p *packer, b *buf) { p.mask(b, o.Mask) }

// Invers inverts the box.
type Invers struct{ Mask Mask }

func (*Invers) drawType() uint8            { return DrawInvers }
func (o *Invers) images() []*Image         { return []*Image{o.Mask.Image} }
func (o *Invers) packOp(p *packer, b *buf) { p.mask(b, o.Mask) }

// Rop3 combines a brush, an image and the destination by one of 256 codes.
type Rop3 struct {
	Src   *Image
	Area  image.Rectangle
	Brush Brush
	Code  uint8
	Scale uint8
	Mask  Mask
}

func (*Rop3) drawType() uint8    { return DrawRop3 }
func (o *Rop3) images() []*Image { return []*Image{o.Src, o.Brush.Pattern, o.Mask.Image} }
func (o *Rop3) packOp(p *packer, b *buf) {
	b.u64(p.image(o.Src))
	b.rect(o.Area)
	p.brush(b, o.Brush)
	b.u8(o.Code)
	b.u8(o.Scale)
	p.mask(b, o.Mask)
}

// Fixed is a coordinate in sixteenths of a pixel.
type Fixed int32

// The flags of Segments (QXL_PATH_*).
const (
	PathBegin  = 1
	PathEnd    = 2
	PathClose  = 8
	PathBezier = 16
)

// Segment is a part of a path.
type Segment struct {
	Flags  uint32
	Points [][2]Fixed
}

// The flags of Strokes (SPICE_LINE_FLAGS_*).
const (
	LineStartWithGap = 4
	LineStyled       = 8
)

// Stroke draws along a path.
type Stroke struct {
	Path  []Segment
	Flags uint8
	Style []Fixed // lengths of dashes and gaps, if Flags has LineStyled
	Brush Brush
	Rop   Rop
}

func (*Stroke) drawType() uint8    { return DrawStroke }
func (o *Stroke) images() []*Image { return []*Image{o.Brush.Pattern} }
func (o *Stroke) packOp(p *packer, b *buf) {
	var segs, path, style buf
	for _, s := range o.Path {
		segs.u32(s.Flags)
		segs.u32(uint32(len(s.Points)))
		for _, q := range s.Points {
			segs.u32(uint32(q[0]))
			segs.u32(uint32(q[1]))
		}
	}
	path.u32(uint32(len(segs)))
	p.chunk(&path, segs, 1)
	b.u64(p.put(path))
	for _, f := range o.Style {
		style.u32(uint32(f))
	}
	b.u8(o.Flags)
	b.u8(0) // join
	b.u8(0) // end
	b.u8(uint8(len(o.Style)))
	b.u32(0) // width
	b.u32(0) // miter limit
	if len(style) > 0 {
		b.u64(p.put(style))
	} else {
		b.u64(0)
	}
	p.brush(b, o.Brush)
	b.u16(uint16(o.Rop))
	b.u16(0)
}

// The flags of Texts (SPICE_STRING_FLAGS_*).
const (
	TextA1      = 1
	TextA4      = 2
	TextA8      = 4
	TextTopDown = 8
)

// Glyph is a character. Its rows have 1, 4 or 8 bits per pixel, and each is a whole number of
// bytes.
type Glyph struct {
	Pos, Origin   image.Point
	Width, Height int
	Rows          []byte
}

// Text draws glyphs.
type Text struct {
	Flags      uint16
	Glyphs     []Glyph
	Back       image.Rectangle // is filled with BackBrush first
	Fore       Brush
	BackBrush  Brush
	Rop        Rop
	BackRop    Rop
	DataChunks int // 0 means 1
}

func (*Text) drawType() uint8    { return DrawText }
func (o *Text) images() []*Image { return []*Image{o.Fore.Pattern, o.BackBrush.Pattern} }
func (o *Text) packOp(p *packer, b *buf) {
	var glyphs, s buf
	for _, g := range o.Glyphs {
		glyphs.point(g.Pos)
		glyphs.point(g.Origin)
		glyphs.u16(uint16(g.Width))
		glyphs.u16(uint16(g.Height))
		glyphs = append(glyphs, g.Rows...)
	}
	s.u32(uint32(len(glyphs)))
	s.u16(uint16(len(o.Glyphs)))
	s.u16(o.Flags)
	p.chunk(&s, glyphs, max(o.DataChunks, 1))
	b.u64(p.put(s))
	b.rect(o.Back)
	p.brush(b, o.Fore)
	p.brush(b, o.BackBrush)
	b.u16(uint16(o.Rop))
	b.u16(uint16(o.BackRop))
}

// Sampled is an image of a Composite, and says how to read it.
type Sampled struct {
	Image     *Image
	Transform *Transform
	Origin    image.Point
	Filter    uint32 // 0 nearest, 1 bilinear, 2 fast, 3 good, 4 best
	Repeat    uint32 // 0 none, 1 normal, 2 pad, 3 reflect
}

// Transform maps the destination to the image, in 16.16 fixed point.
type Transform [2][3]int32

func (p *packer) transform(t *Transform) uint64 {
	if t == nil {
		return 0
	}
	var b buf
	for _, row := range t {
		for _, v := range row {
			b.u32(uint32(v))
		}
	}
	return p.put(b)
}

// Composite is an operation of the X render extension.
type Composite struct {
	Operator  uint8
	Src, Mask Sampled // Mask.Image may be nil
	Component bool    // the mask has an alpha for each colour
}

func (*Composite) drawType() uint8    { return DrawComposite }
func (o *Composite) images() []*Image { return []*Image{o.Src.Image, o.Mask.Image} }
func (o *Composite) packOp(p *packer, b *buf) {
	flags := uint32(o.Operator) | o.Src.Filter<<8 | o.Mask.Filter<<11 | o.Src.Repeat<<14 | o.Mask.Repeat<<16
	if o.Component {
		flags |= 1 << 18
	}
	b.u32(flags)
	b.u64(p.image(o.Src.Image))
	b.u64(p.transform(o.Src.Transform))
	b.u64(p.image(o.Mask.Image))
	b.u64(p.transform(o.Mask.Transform))
	b.i16(o.Src.Origin.X)
	b.i16(o.Src.Origin.Y)
	b.i16(o.Mask.Origin.X)
	b.i16(o.Mask.Origin.Y)
}

// Raw is an operation of a nonexistent type.
type Raw struct{ DrawType uint8 }

func (o *Raw) drawType() uint8    { return o.DrawType }
func (*Raw) images() []*Image     { return nil }
func (*Raw) packOp(*packer, *buf) {}
