package wire

// ClipType says what a Clip contains (SPICE_CLIP_TYPE_*).
type ClipType uint8

// The clip types.
const (
	ClipNone  ClipType = 0 // everything is drawn
	ClipRects ClipType = 1 // only pixels within one of Rects are drawn
)

// Clip restricts what an operation changes. With ClipRects and no rectangle, nothing is drawn.
type Clip struct {
	Type  ClipType
	Rects []Rect
}

func (c *Clip) decode(r *Reader) {
	c.Type = ClipType(r.Uint8())
	c.Rects = c.Rects[:0]
	if c.Type == ClipRects {
		c.Rects = resize(c.Rects, r.Count(uint64(r.Uint32()), 16))
		for i := range c.Rects {
			c.Rects[i] = readRect(r)
		}
	}
}

func (c *Clip) encode(w *writer) {
	w.u8(uint8(c.Type))
	if c.Type == ClipRects {
		w.u32(uint32(len(c.Rects)))
		for _, rect := range c.Rects {
			w.rect(rect)
		}
	}
}

// DisplayBase begins every draw message: where it draws.
type DisplayBase struct {
	Surface uint32
	Box     Rect
	Clip    Clip
}

func (b *DisplayBase) decode(r *Reader) {
	b.Surface = r.Uint32()
	b.Box = readRect(r)
	b.Clip.decode(r)
}

func (b *DisplayBase) encode(w *writer) {
	w.u32(b.Surface)
	w.rect(b.Box)
	b.Clip.encode(w)
}

// BrushType says what a Brush paints with (SPICE_BRUSH_TYPE_*).
type BrushType uint8

// The brush types.
const (
	BrushNone    BrushType = 0
	BrushSolid   BrushType = 1
	BrushPattern BrushType = 2
)

// Brush is a color or a repeated picture.
type Brush struct {
	Type    BrushType
	Color   uint32 // of BrushSolid, 0x00rrggbb
	Pattern *Image // of BrushPattern
	Pos     Point  // where on the surface the pattern's origin is
}

func (b *Brush) decode(r *Reader) {
	old := b.Pattern
	*b = Brush{Type: BrushType(r.Uint8())}
	switch b.Type {
	case BrushSolid:
		b.Color = r.Uint32()
	case BrushPattern:
		if b.Pattern = r.image(old); b.Pattern == nil {
			r.Failf("offset 0 for a pattern that must be there")
		}
		b.Pos = readPoint(r)
	}
}

func (b *Brush) encode(w *writer) {
	w.u8(uint8(b.Type))
	switch b.Type {
	case BrushSolid:
		w.u32(b.Color)
	case BrushPattern:
		w.image(b.Pattern)
		w.point(b.Pos)
	}
}

// MaskFlags modify a Mask (SPICE_MASK_FLAGS_*).
type MaskFlags uint8

// MaskFlagInvers draws where the mask's bit is 0 instead of 1.
const MaskFlagInvers MaskFlags = 1 << 0

// Mask is a 1-bit picture that restricts what an operation changes. Without a Bitmap it restricts
// nothing.
type Mask struct {
	Flags  MaskFlags
	Pos    Point // in the mask, of the box's top left corner
	Bitmap *Image
}

func (m *Mask) decode(r *Reader) {
	m.Flags = MaskFlags(r.Uint8())
	m.Pos = readPoint(r)
	m.Bitmap = r.image(m.Bitmap)
}

func (m *Mask) encode(w *writer) {
	w.u8(uint8(m.Flags))
	w.point(m.Pos)
	w.image(m.Bitmap)
}

// Rop says how source, brush and destination are combined (SPICE_ROPD_*).
type Rop uint16

// The bits of a Rop: one operation, and which operands are inverted.
const (
	RopInversSrc   Rop = 1 << 0
	RopInversBrush Rop = 1 << 1
	RopInversDest  Rop = 1 << 2
	RopPut         Rop = 1 << 3
	RopOr          Rop = 1 << 4
	RopAnd         Rop = 1 << 5
	RopXor         Rop = 1 << 6
	RopBlackness   Rop = 1 << 7
	RopWhiteness   Rop = 1 << 8
	RopInvers      Rop = 1 << 9
	RopInversRes   Rop = 1 << 10
)

// String returns the names of the bits.
func (r Rop) String() string {
	return flagNames(uint32(r), []string{"invers_src", "invers_brush", "invers_dest", "put", "or", "and", "xor",
		"blackness", "whiteness", "invers", "invers_res"})
}

// ScaleMode says how an image is scaled to its box (SPICE_IMAGE_SCALE_MODE_*).
type ScaleMode uint8

// The scale modes.
const (
	ScaleInterpolate ScaleMode = 0
	ScaleNearest     ScaleMode = 1
)

// DisplayCopyBits moves pixels within a surface to Base.Box.
type DisplayCopyBits struct {
	Base   DisplayBase
	SrcPos Point
}

// MessageType returns 104.
func (*DisplayCopyBits) MessageType() uint16 { return 104 }

// MessageName returns "display.copy_bits".
func (*DisplayCopyBits) MessageName() string { return "display.copy_bits" }

func (*DisplayCopyBits) fromServer() {}

// Append appends the body.
func (m *DisplayCopyBits) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayCopyBits) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayCopyBits) decode(r *Reader) { m.Base.decode(r); m.SrcPos = readPoint(r) }
func (m *DisplayCopyBits) encode(w *writer) { m.Base.encode(w); w.point(m.SrcPos) }

// DrawFill paints with a brush.
type DrawFill struct {
	Base  DisplayBase
	Brush Brush
	Rop   Rop
	Mask  Mask
}

// MessageType returns 302.
func (*DrawFill) MessageType() uint16 { return 302 }

// MessageName returns "display.draw_fill".
func (*DrawFill) MessageName() string { return "display.draw_fill" }

func (*DrawFill) fromServer() {}

// Append appends the body.
func (m *DrawFill) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawFill) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawFill) decode(r *Reader) {
	m.Base.decode(r)
	m.Brush.decode(r)
	m.Rop = Rop(r.Uint16())
	m.Mask.decode(r)
}

func (m *DrawFill) encode(w *writer) {
	m.Base.encode(w)
	m.Brush.encode(w)
	w.u16(uint16(m.Rop))
	m.Mask.encode(w)
}

// DrawOpaque draws an image and then a brush over it.
type DrawOpaque struct {
	Base    DisplayBase
	Src     *Image
	SrcArea Rect
	Brush   Brush
	Rop     Rop
	Scale   ScaleMode
	Mask    Mask
}

// MessageType returns 303.
func (*DrawOpaque) MessageType() uint16 { return 303 }

// MessageName returns "display.draw_opaque".
func (*DrawOpaque) MessageName() string { return "display.draw_opaque" }

func (*DrawOpaque) fromServer() {}

// Append appends the body.
func (m *DrawOpaque) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawOpaque) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawOpaque) decode(r *Reader) {
	m.Base.decode(r)
	m.Src = r.image(m.Src)
	m.SrcArea = readRect(r)
	m.Brush.decode(r)
	m.Rop = Rop(r.Uint16())
	m.Scale = ScaleMode(r.Uint8())
	m.Mask.decode(r)
}

func (m *DrawOpaque) encode(w *writer) {
	m.Base.encode(w)
	w.image(m.Src)
	w.rect(m.SrcArea)
	m.Brush.encode(w)
	w.u16(uint16(m.Rop))
	w.u8(uint8(m.Scale))
	m.Mask.encode(w)
}

// DrawCopy draws an image.
type DrawCopy struct {
	Base    DisplayBase
	Src     *Image // nil if the offset is 0
	SrcArea Rect
	Rop     Rop
	Scale   ScaleMode
	Mask    Mask
}

// MessageType returns 304.
func (*DrawCopy) MessageType() uint16 { return 304 }

// MessageName returns "display.draw_copy".
func (*DrawCopy) MessageName() string { return "display.draw_copy" }

func (*DrawCopy) fromServer() {}

// Append appends the body.
func (m *DrawCopy) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawCopy) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawCopy) decode(r *Reader) {
	m.Base.decode(r)
	m.Src = r.image(m.Src)
	m.SrcArea = readRect(r)
	m.Rop = Rop(r.Uint16())
	m.Scale = ScaleMode(r.Uint8())
	m.Mask.decode(r)
}

func (m *DrawCopy) encode(w *writer) {
	m.Base.encode(w)
	w.image(m.Src)
	w.rect(m.SrcArea)
	w.u16(uint16(m.Rop))
	w.u8(uint8(m.Scale))
	m.Mask.encode(w)
}

// DrawBlend combines an image with the destination.
type DrawBlend struct {
	Base    DisplayBase
	Src     *Image
	SrcArea Rect
	Rop     Rop
	Scale   ScaleMode
	Mask    Mask
}

// MessageType returns 305.
func (*DrawBlend) MessageType() uint16 { return 305 }

// MessageName returns "display.draw_blend".
func (*DrawBlend) MessageName() string { return "display.draw_blend" }

func (*DrawBlend) fromServer() {}

// Append appends the body.
func (m *DrawBlend) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawBlend) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawBlend) decode(r *Reader) { (*DrawCopy)(m).decode(r) }
func (m *DrawBlend) encode(w *writer) { (*DrawCopy)(m).encode(w) }

// DrawBlackness clears all bits.
type DrawBlackness struct {
	Base DisplayBase
	Mask Mask
}

// MessageType returns 306.
func (*DrawBlackness) MessageType() uint16 { return 306 }

// MessageName returns "display.draw_blackness".
func (*DrawBlackness) MessageName() string { return "display.draw_blackness" }

func (*DrawBlackness) fromServer() {}

// Append appends the body.
func (m *DrawBlackness) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawBlackness) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawBlackness) decode(r *Reader) { m.Base.decode(r); m.Mask.decode(r) }
func (m *DrawBlackness) encode(w *writer) { m.Base.encode(w); m.Mask.encode(w) }

// DrawWhiteness sets all bits.
type DrawWhiteness struct {
	Base DisplayBase
	Mask Mask
}

// MessageType returns 307.
func (*DrawWhiteness) MessageType() uint16 { return 307 }

// MessageName returns "display.draw_whiteness".
func (*DrawWhiteness) MessageName() string { return "display.draw_whiteness" }

func (*DrawWhiteness) fromServer() {}

// Append appends the body.
func (m *DrawWhiteness) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawWhiteness) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawWhiteness) decode(r *Reader) { m.Base.decode(r); m.Mask.decode(r) }
func (m *DrawWhiteness) encode(w *writer) { m.Base.encode(w); m.Mask.encode(w) }

// DrawInvers inverts all bits.
type DrawInvers struct {
	Base DisplayBase
	Mask Mask
}

// MessageType returns 308.
func (*DrawInvers) MessageType() uint16 { return 308 }

// MessageName returns "display.draw_invers".
func (*DrawInvers) MessageName() string { return "display.draw_invers" }

func (*DrawInvers) fromServer() {}

// Append appends the body.
func (m *DrawInvers) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawInvers) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawInvers) decode(r *Reader) { m.Base.decode(r); m.Mask.decode(r) }
func (m *DrawInvers) encode(w *writer) { m.Base.encode(w); m.Mask.encode(w) }

// DrawRop3 combines image, brush and destination by one of 256 operations: bit
// (4*brush + 2*source + destination) of Rop3 is the result.
type DrawRop3 struct {
	Base    DisplayBase
	Src     *Image
	SrcArea Rect
	Brush   Brush
	Rop3    uint8
	Scale   ScaleMode
	Mask    Mask
}

// MessageType returns 309.
func (*DrawRop3) MessageType() uint16 { return 309 }

// MessageName returns "display.draw_rop3".
func (*DrawRop3) MessageName() string { return "display.draw_rop3" }

func (*DrawRop3) fromServer() {}

// Append appends the body.
func (m *DrawRop3) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawRop3) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawRop3) decode(r *Reader) {
	m.Base.decode(r)
	m.Src = r.image(m.Src)
	m.SrcArea = readRect(r)
	m.Brush.decode(r)
	m.Rop3 = r.Uint8()
	m.Scale = ScaleMode(r.Uint8())
	m.Mask.decode(r)
}

func (m *DrawRop3) encode(w *writer) {
	m.Base.encode(w)
	w.image(m.Src)
	w.rect(m.SrcArea)
	m.Brush.encode(w)
	w.u8(m.Rop3)
	w.u8(uint8(m.Scale))
	m.Mask.encode(w)
}

// PathFlags describe a PathSegment (SPICE_PATH_*).
type PathFlags uint8

// The path flags.
const (
	PathBegin  PathFlags = 1 << 0
	PathEnd    PathFlags = 1 << 1
	PathClose  PathFlags = 1 << 3
	PathBezier PathFlags = 1 << 4
)

// PathSegment is a run of corners, or of Bézier control points in threes.
type PathSegment struct {
	Flags  PathFlags
	Points []PointFix
}

// LineFlags describe a line's style (SPICE_LINE_FLAGS_*).
type LineFlags uint8

// The line flags.
const (
	LineStartWithGap LineFlags = 1 << 2
	LineStyled       LineFlags = 1 << 3
)

// DrawStroke draws along a path.
type DrawStroke struct {
	Base      DisplayBase
	Path      []PathSegment
	LineFlags LineFlags
	Style     []Fixed // of LineStyled: lengths of dashes and gaps in turn
	Brush     Brush
	ForeMode  Rop
	BackMode  Rop
}

// MessageType returns 310.
func (*DrawStroke) MessageType() uint16 { return 310 }

// MessageName returns "display.draw_stroke".
func (*DrawStroke) MessageName() string { return "display.draw_stroke" }

func (*DrawStroke) fromServer() {}

// Append appends the body.
func (m *DrawStroke) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawStroke) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

// maxStyle is the greatest count of lengths in a line style.
const maxStyle = 255

func (m *DrawStroke) decode(r *Reader) {
	m.Base.decode(r)
	path := r.required("path")
	m.Path = resize(m.Path, path.Count(uint64(path.Uint32()), 5))
	for i := range m.Path {
		s := &m.Path[i]
		s.Flags = PathFlags(path.Uint8())
		s.Points = resize(s.Points, path.Count(uint64(path.Uint32()), 8))
		for j := range s.Points {
			s.Points[j] = readPointFix(&path)
		}
	}
	r.Adopt(&path)
	m.LineFlags = LineFlags(r.Uint8())
	m.Style = m.Style[:0]
	if m.LineFlags&LineStyled != 0 {
		n := uint64(r.Uint8())
		if offset := r.Uint32(); offset != 0 {
			style := r.At(offset)
			m.Style = resize(m.Style, style.Count(n, 4))
			for i := range m.Style {
				m.Style[i] = Fixed(style.Int32())
			}
			r.Adopt(&style)
		} else if n != 0 {
			r.Failf("offset 0 for a line style of %d parts", n)
		}
	}
	m.Brush.decode(r)
	m.ForeMode, m.BackMode = Rop(r.Uint16()), Rop(r.Uint16())
}

func (m *DrawStroke) encode(w *writer) {
	m.Base.encode(w)
	w.at(func(w *writer) {
		w.u32(uint32(len(m.Path)))
		for _, s := range m.Path {
			w.u8(uint8(s.Flags))
			w.u32(uint32(len(s.Points)))
			for _, p := range s.Points {
				w.pointFix(p)
			}
		}
	})
	w.u8(uint8(m.LineFlags))
	if m.LineFlags&LineStyled != 0 {
		style := m.Style[:min(len(m.Style), maxStyle)]
		w.u8(uint8(len(style)))
		if len(style) == 0 {
			w.at(nil)
		} else {
			w.at(func(w *writer) {
				for _, v := range style {
					w.i32(int32(v))
				}
			})
		}
	}
	m.Brush.encode(w)
	w.u16(uint16(m.ForeMode))
	w.u16(uint16(m.BackMode))
}

// required reads an offset, which must not be 0, and returns a Reader there.
func (r *Reader) required(what string) Reader {
	offset := r.Uint32()
	if offset == 0 {
		r.Failf("offset 0 for a %s that must be there", what)
	}
	return r.At(offset)
}

// StringFlags say how the glyphs of a text are coded (SPICE_STRING_FLAGS_*).
type StringFlags uint8

// The string flags. The first that is set of A1, A4 and A8 counts.
const (
	StringRasterA1      StringFlags = 1 << 0
	StringRasterA4      StringFlags = 1 << 1
	StringRasterA8      StringFlags = 1 << 2
	StringRasterTopDown StringFlags = 1 << 3
)

// Depth returns the bits of one glyph pixel: 1, 4 or 8, and 0 without raster flag.
func (f StringFlags) Depth() int {
	switch {
	case f&StringRasterA1 != 0:
		return 1
	case f&StringRasterA4 != 0:
		return 4
	case f&StringRasterA8 != 0:
		return 8
	}
	return 0
}

// Glyph is one character's coverage.
type Glyph struct {
	RenderPos Point
	Origin    Point
	Width     uint16 // pixels
	Height    uint16
	// Data has Height rows, each padded to whole bytes, as a window into the message.
	Data []byte
}

// glyphSize is the least that a glyph takes, in bytes.
const glyphSize = 20

// DrawText draws glyphs with one brush on a background with another.
type DrawText struct {
	Base      DisplayBase
	Flags     StringFlags
	Glyphs    []Glyph
	BackArea  Rect
	ForeBrush Brush
	BackBrush Brush
	ForeMode  Rop
	BackMode  Rop
}

// MessageType returns 311.
func (*DrawText) MessageType() uint16 { return 311 }

// MessageName returns "display.draw_text".
func (*DrawText) MessageName() string { return "display.draw_text" }

func (*DrawText) fromServer() {}

// Append appends the body.
func (m *DrawText) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawText) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawText) decode(r *Reader) {
	m.Base.decode(r)
	str := r.required("string")
	n := uint64(str.Uint16())
	m.Flags = StringFlags(str.Uint8())
	depth := m.Flags.Depth()
	if depth == 0 && n > 0 {
		str.Failf("%d glyphs of no raster format (flags %#x)", n, uint8(m.Flags))
	}
	m.Glyphs = resize(m.Glyphs, str.Count(n, glyphSize))
	for i := range m.Glyphs {
		g := &m.Glyphs[i]
		*g = Glyph{RenderPos: readPoint(&str), Origin: readPoint(&str), Width: str.Uint16(), Height: str.Uint16()}
		row := (int(g.Width)*depth + 7) / 8
		g.Data = str.Bytes(uint64(row) * uint64(g.Height))
	}
	r.Adopt(&str)
	m.BackArea = readRect(r)
	m.ForeBrush.decode(r)
	m.BackBrush.decode(r)
	m.ForeMode, m.BackMode = Rop(r.Uint16()), Rop(r.Uint16())
}

func (m *DrawText) encode(w *writer) {
	m.Base.encode(w)
	w.at(func(w *writer) {
		w.u16(uint16(len(m.Glyphs)))
		w.u8(uint8(m.Flags))
		for _, g := range m.Glyphs {
			w.point(g.RenderPos)
			w.point(g.Origin)
			w.u16(g.Width)
			w.u16(g.Height)
			w.bytes(g.Data)
		}
	})
	w.rect(m.BackArea)
	m.ForeBrush.encode(w)
	m.BackBrush.encode(w)
	w.u16(uint16(m.ForeMode))
	w.u16(uint16(m.BackMode))
}

// DrawTransparent draws an image, except its pixels of one color.
type DrawTransparent struct {
	Base      DisplayBase
	Src       *Image
	SrcArea   Rect
	SrcColor  uint32 // in the image's format
	TrueColor uint32 // 0x00rrggbb
}

// MessageType returns 312.
func (*DrawTransparent) MessageType() uint16 { return 312 }

// MessageName returns "display.draw_transparent".
func (*DrawTransparent) MessageName() string { return "display.draw_transparent" }

func (*DrawTransparent) fromServer() {}

// Append appends the body.
func (m *DrawTransparent) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawTransparent) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawTransparent) decode(r *Reader) {
	m.Base.decode(r)
	m.Src = r.image(m.Src)
	m.SrcArea = readRect(r)
	m.SrcColor, m.TrueColor = r.Uint32(), r.Uint32()
}

func (m *DrawTransparent) encode(w *writer) {
	m.Base.encode(w)
	w.image(m.Src)
	w.rect(m.SrcArea)
	w.u32(m.SrcColor)
	w.u32(m.TrueColor)
}

// AlphaFlags say which alpha bytes have a meaning (SPICE_ALPHA_FLAGS_*).
type AlphaFlags uint8

// The alpha flags.
const (
	AlphaDestHasAlpha       AlphaFlags = 1 << 0
	AlphaSrcSurfaceHasAlpha AlphaFlags = 1 << 1
)

// DrawAlphaBlend blends an image over the destination.
type DrawAlphaBlend struct {
	Base    DisplayBase
	Flags   AlphaFlags
	Alpha   uint8 // for the whole image, 255 is opaque
	Src     *Image
	SrcArea Rect
}

// MessageType returns 313.
func (*DrawAlphaBlend) MessageType() uint16 { return 313 }

// MessageName returns "display.draw_alpha_blend".
func (*DrawAlphaBlend) MessageName() string { return "display.draw_alpha_blend" }

func (*DrawAlphaBlend) fromServer() {}

// Append appends the body.
func (m *DrawAlphaBlend) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawAlphaBlend) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawAlphaBlend) decode(r *Reader) {
	m.Base.decode(r)
	m.Flags, m.Alpha = AlphaFlags(r.Uint8()), r.Uint8()
	m.Src = r.image(m.Src)
	m.SrcArea = readRect(r)
}

func (m *DrawAlphaBlend) encode(w *writer) {
	m.Base.encode(w)
	w.u8(uint8(m.Flags))
	w.u8(m.Alpha)
	w.image(m.Src)
	w.rect(m.SrcArea)
}

// CompositeFlags say which operator, filters and repeats a DrawComposite uses, and which of its
// parts are present (SPICE_COMPOSITE_*).
type CompositeFlags uint32

// The composite flags that change the layout or a format.
const (
	CompositeComponentAlpha   CompositeFlags = 1 << 18
	CompositeHasMask          CompositeFlags = 1 << 19
	CompositeHasSrcTransform  CompositeFlags = 1 << 20
	CompositeHasMaskTransform CompositeFlags = 1 << 21
	CompositeSourceOpaque     CompositeFlags = 1 << 22
	CompositeMaskOpaque       CompositeFlags = 1 << 23
	CompositeDestOpaque       CompositeFlags = 1 << 24
)

// Op returns the Porter-Duff operator, numbered as in X Render.
func (f CompositeFlags) Op() uint8 { return uint8(f) }

// SrcFilter returns the filter of the source, numbered as in pixman.
func (f CompositeFlags) SrcFilter() uint8 { return uint8(f >> 8 & 7) }

// MaskFilter returns the filter of the mask, numbered as in pixman.
func (f CompositeFlags) MaskFilter() uint8 { return uint8(f >> 11 & 7) }

// SrcRepeat returns the repeat of the source, numbered as in pixman: none, normal, pad, reflect.
func (f CompositeFlags) SrcRepeat() uint8 { return uint8(f >> 14 & 3) }

// MaskRepeat returns the repeat of the mask, numbered like that of the source.
func (f CompositeFlags) MaskRepeat() uint8 { return uint8(f >> 16 & 3) }

// DrawComposite is an operation of X Render; needs CapDisplayComposite.
type DrawComposite struct {
	Base          DisplayBase
	Flags         CompositeFlags
	Src           *Image
	Mask          *Image    // with CompositeHasMask
	SrcTransform  Transform // with CompositeHasSrcTransform
	MaskTransform Transform // with CompositeHasMaskTransform
	SrcOrigin     Point16
	MaskOrigin    Point16
}

// MessageType returns 318.
func (*DrawComposite) MessageType() uint16 { return 318 }

// MessageName returns "display.draw_composite".
func (*DrawComposite) MessageName() string { return "display.draw_composite" }

func (*DrawComposite) fromServer() {}

// Append appends the body.
func (m *DrawComposite) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DrawComposite) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DrawComposite) decode(r *Reader) {
	m.Base.decode(r)
	m.Flags = CompositeFlags(r.Uint32())
	m.Src = r.image(m.Src)
	mask := m.Mask
	m.Mask, m.SrcTransform, m.MaskTransform = nil, Transform{}, Transform{}
	if m.Flags&CompositeHasMask != 0 {
		m.Mask = r.image(mask)
	}
	if m.Flags&CompositeHasSrcTransform != 0 {
		m.SrcTransform = readTransform(r)
	}
	if m.Flags&CompositeHasMaskTransform != 0 {
		m.MaskTransform = readTransform(r)
	}
	m.SrcOrigin, m.MaskOrigin = readPoint16(r), readPoint16(r)
}

func (m *DrawComposite) encode(w *writer) {
	m.Base.encode(w)
	w.u32(uint32(m.Flags))
	w.image(m.Src)
	if m.Flags&CompositeHasMask != 0 {
		w.image(m.Mask)
	}
	if m.Flags&CompositeHasSrcTransform != 0 {
		w.transform(m.SrcTransform)
	}
	if m.Flags&CompositeHasMaskTransform != 0 {
		w.transform(m.MaskTransform)
	}
	w.point16(m.SrcOrigin)
	w.point16(m.MaskOrigin)
}
