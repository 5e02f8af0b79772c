package spice

import (
	"image"
	"slices"

	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

// ropNames are the names of the raster operations as features, by canvas.Rop.
var ropNames = [16]string{
	"rop clear", "rop nor", "rop and_inverted", "rop copy_inverted", "rop and_reverse", "rop invert", "rop xor", "rop nand",
	"rop and", "rop equiv", "rop noop", "rop or_inverted", "rop copy", "rop or_reverse", "rop or", "rop set",
}

// features are the names under which the properties of drawing messages are counted, in the table's
// order.
var features = slices.Concat([]string{
	"brush none", "brush pattern", "brush solid", "clip none", "clip rects",
	"composite component_alpha", "composite mask", "composite transform",
	"image cache_me", "image cache_replace_me", "image high_bits_set",
	"mask", "mask inverted", "palette cache_me", "palette from_cache", "scaled interpolate", "scaled nearest",
	"stroke dashed", "stroke solid", "surface offscreen", "text 1", "text 4", "text 8",
}, ropNames[:], bitmapFeatures(), cursorFeatures())

func bitmapFeatures() (names []string) {
	for f := wire.Bitmap1BitLE; f <= wire.Bitmap8BitA; f++ {
		names = append(names, "bitmap "+f.String())
	}
	return names
}

func cursorFeatures() (names []string) {
	for t := wire.CursorAlpha; t <= wire.CursorColor32; t++ {
		names = append(names, "cursor "+t.String())
	}
	return append(names, "cursor from_cache", "cursor hidden")
}

var (
	bitmapFeature = bitmapFeatures()
	cursorFeature = cursorFeatures()
)

// featureList collects the features of one message. It reuses its memory for the next message.
type featureList []string

func (f *featureList) add(name string) { *f = append(*f, name) }

func (f *featureList) addIf(is bool, name string) {
	if is {
		f.add(name)
	}
}

func (f *featureList) base(b *wire.DisplayBase) {
	f.addIf(b.Clip.Type == wire.ClipNone, "clip none")
	f.addIf(b.Clip.Type == wire.ClipRects, "clip rects")
	f.addIf(b.Surface != 0, "surface offscreen")
}

func (f *featureList) mask(m *wire.Mask) {
	if m.Bitmap == nil {
		return
	}
	f.add("mask")
	f.addIf(m.Flags&wire.MaskFlagInvers != 0, "mask inverted")
	f.image(m.Bitmap)
}

func (f *featureList) brush(b *wire.Brush) {
	switch b.Type {
	case wire.BrushNone:
		f.add("brush none")
	case wire.BrushSolid:
		f.add("brush solid")
	case wire.BrushPattern:
		f.add("brush pattern")
		f.image(b.Pattern)
	}
}

func (f *featureList) image(m *wire.Image) {
	if m == nil {
		return
	}
	f.addIf(m.Flags&wire.ImageFlagCacheMe != 0, "image cache_me")
	f.addIf(m.Flags&wire.ImageFlagCacheReplaceMe != 0, "image cache_replace_me")
	f.addIf(m.Flags&wire.ImageFlagHighBitsSet != 0, "image high_bits_set")
	indexed := m.Type == wire.ImageLZPLT
	if m.Type == wire.ImageBitmap {
		if i := int(m.Bitmap.Format) - int(wire.Bitmap1BitLE); i >= 0 && i < len(bitmapFeature) {
			f.add(bitmapFeature[i])
		}
		indexed = m.Bitmap.Format.Indexed()
	}
	if indexed {
		f.addIf(m.Bitmap.Flags&wire.BitmapFlagPaletteCacheMe != 0, "palette cache_me")
		f.addIf(m.Bitmap.Flags&wire.BitmapFlagPaletteFromCache != 0, "palette from_cache")
	}
}

// scaled adds the scale mode if an image does not fit its box.
func (f *featureList) scaled(b *wire.DisplayBase, from image.Rectangle, mode wire.ScaleMode) {
	if from.Size() == b.Box.Bounds().Size() {
		return
	}
	f.addIf(mode == wire.ScaleInterpolate, "scaled interpolate")
	f.addIf(mode == wire.ScaleNearest, "scaled nearest")
}

func (f *featureList) rop(rop wire.Rop, src, dest canvas.Descriptor) {
	f.add(ropNames[canvas.Descriptor(rop).Rop(src, dest)])
}

// of adds the features of a display message.
func (f *featureList) of(m wire.ServerMessage) {
	switch m := m.(type) {
	case *wire.DrawCopy:
		f.base(&m.Base)
		f.rop(m.Rop, canvas.InvertSrc, canvas.InvertDest)
		f.image(m.Src)
		f.scaled(&m.Base, m.SrcArea.Bounds(), m.Scale)
		f.mask(&m.Mask)
	case *wire.DrawBlend:
		f.of((*wire.DrawCopy)(m))
	case *wire.DrawOpaque:
		f.base(&m.Base)
		f.rop(m.Rop, canvas.InvertBrush, canvas.InvertSrc)
		f.image(m.Src)
		f.scaled(&m.Base, m.SrcArea.Bounds(), m.Scale)
		f.brush(&m.Brush)
		f.mask(&m.Mask)
	case *wire.DrawFill:
		f.base(&m.Base)
		f.rop(m.Rop, canvas.InvertBrush, canvas.InvertDest)
		f.brush(&m.Brush)
		f.mask(&m.Mask)
	case *wire.DrawBlackness:
		f.base(&m.Base)
		f.mask(&m.Mask)
	case *wire.DrawWhiteness:
		f.base(&m.Base)
		f.mask(&m.Mask)
	case *wire.DrawInvers:
		f.base(&m.Base)
		f.mask(&m.Mask)
	case *wire.DrawRop3:
		f.base(&m.Base)
		f.image(m.Src)
		f.scaled(&m.Base, m.SrcArea.Bounds(), m.Scale)
		f.brush(&m.Brush)
		f.mask(&m.Mask)
	case *wire.DrawTransparent:
		f.base(&m.Base)
		f.image(m.Src)
		f.scaled(&m.Base, m.SrcArea.Bounds(), wire.ScaleNearest)
	case *wire.DrawAlphaBlend:
		f.base(&m.Base)
		f.image(m.Src)
		f.scaled(&m.Base, m.SrcArea.Bounds(), wire.ScaleNearest)
	case *wire.DrawComposite:
		f.base(&m.Base)
		f.image(m.Src)
		f.image(m.Mask)
		f.addIf(m.Flags&wire.CompositeHasMask != 0, "composite mask")
		f.addIf(m.Flags&wire.CompositeComponentAlpha != 0, "composite component_alpha")
		f.addIf(m.Flags&(wire.CompositeHasSrcTransform|wire.CompositeHasMaskTransform) != 0, "composite transform")
	case *wire.DrawStroke:
		f.base(&m.Base)
		f.rop(m.ForeMode, canvas.InvertBrush, canvas.InvertDest)
		f.brush(&m.Brush)
		dashed := m.LineFlags&wire.LineStyled != 0
		f.addIf(dashed, "stroke dashed")
		f.addIf(!dashed, "stroke solid")
	case *wire.DrawText:
		f.base(&m.Base)
		f.brush(&m.ForeBrush)
		switch m.Flags.Depth() {
		case 1:
			f.add("text 1")
		case 4:
			f.add("text 4")
		case 8:
			f.add("text 8")
		}
	case *wire.DisplayCopyBits:
		f.base(&m.Base)
	}
}

// ofCursor adds the features of a cursor's shape.
func (f *featureList) ofCursor(m *wire.Cursor) {
	switch i := int(m.Type); {
	case m.Flags&wire.CursorFlagNone != 0:
		f.add("cursor hidden")
	case m.Flags&wire.CursorFlagFromCache != 0:
		f.add("cursor from_cache")
	case i <= int(wire.CursorColor32):
		f.add(cursorFeature[i])
	}
}
