package canvas

// Operator is a compositing operator with the numbers of the X render extension (render.h's
// PictOp*), which pixman and SPICE_COMPOSITE_OP share.
type Operator uint8

// The operators of Porter and Duff, and those of the PDF specification that blend colours.
const (
	OpClear Operator = iota
	OpSrc
	OpDst
	OpOver
	OpOverReverse
	OpIn
	OpInReverse
	OpOut
	OpOutReverse
	OpAtop
	OpAtopReverse
	OpXorAlpha
	OpAdd
	OpSaturate

	// OpDisjoint and OpConjoint are the first of twelve each, in the order from OpClear to
	// OpXorAlpha: Porter and Duff's operators for shapes that never overlap, and that overlap as
	// much as possible.
	OpDisjoint Operator = 0x10
	OpConjoint Operator = 0x20

	OpMultiply      Operator = 0x30
	OpScreen        Operator = 0x31
	OpOverlay       Operator = 0x32
	OpDarken        Operator = 0x33
	OpLighten       Operator = 0x34
	OpColorDodge    Operator = 0x35
	OpColorBurn     Operator = 0x36
	OpHardLight     Operator = 0x37
	OpSoftLight     Operator = 0x38
	OpDifference    Operator = 0x39
	OpExclusion     Operator = 0x3a
	OpHSLHue        Operator = 0x3b
	OpHSLSaturation Operator = 0x3c
	OpHSLColor      Operator = 0x3d
	OpHSLLuminosity Operator = 0x3e
)

// known reports whether op is an operator.
func (op Operator) known() bool {
	return op <= OpSaturate || op.disjoint() || op.conjoint() || op >= OpMultiply && op <= OpHSLLuminosity
}

func (op Operator) disjoint() bool { return op >= OpDisjoint && op <= OpDisjoint+OpXorAlpha }
func (op Operator) conjoint() bool { return op >= OpConjoint && op <= OpConjoint+OpXorAlpha }
func (op Operator) hsl() bool      { return op >= OpHSLHue && op <= OpHSLLuminosity }

// simple returns the Porter and Duff operator that is equivalent to op: nothing, source and
// destination are the same whether or not shapes overlap.
func (op Operator) simple() Operator {
	if (op.disjoint() || op.conjoint()) && op&0xf <= OpDst {
		return op & 0xf
	}
	return op
}

// divides reports whether the operator divides. pixman computes such operators in floating point.
func (op Operator) divides() bool {
	switch op {
	case OpSaturate, OpColorDodge, OpColorBurn, OpSoftLight:
		return true
	}
	return op.disjoint() || op.conjoint() || op.hsl()
}

// mulEach multiplies channels of a and b pairwise, as fractions of 255, each rounded.
func mulEach(a, b uint32) uint32 {
	var v uint32
	for s := 0; s < 32; s += 8 {
		t := a>>s&0xff*(b>>s&0xff) + 0x80
		v |= (t + t>>8) >> 8 << s
	}
	return v
}

// grey returns a word whose four channels are v.
func grey(v uint32) uint32 { return v * 0x01010101 }

// combine applies the operator, which must not divide, to a source colour, the source's alpha for
// each channel of the destination, and a destination colour.
func (op Operator) combine(s, sa, d uint32) uint32 {
	da := d >> 24
	switch op {
	case OpClear:
		return 0
	case OpSrc:
		return s
	case OpDst:
		return d
	case OpOver:
		return add8(s, mulEach(d, ^sa))
	case OpOverReverse:
		return add8(scale8(s, 255-da), d)
	case OpIn:
		return scale8(s, da)
	case OpInReverse:
		return mulEach(d, sa)
	case OpOut:
		return scale8(s, 255-da)
	case OpOutReverse:
		return mulEach(d, ^sa)
	case OpAtop:
		return add8(scale8(s, da), mulEach(d, ^sa))
	case OpAtopReverse:
		return add8(scale8(s, 255-da), mulEach(d, sa))
	case OpXorAlpha:
		return add8(scale8(s, 255-da), mulEach(d, ^sa))
	case OpAdd:
		return add8(s, d)
	case OpMultiply:
		return add8(add8(scale8(s, 255-da), mulEach(d, ^sa)), mulEach(d, s))
	}
	return op.blend(s, sa, d)
}

// blend applies an operator that blends each channel separately.
func (op Operator) blend(s, sa, d uint32) uint32 {
	const one = 255
	da := int(d >> 24)
	a := int(sa >> 24)
	v := div255(one*(da+a)-a*da) << 24
	for shift := 0; shift < 24; shift += 8 {
		a, sc, dc := int(sa>>shift&0xff), int(s>>shift&0xff), int(d>>shift&0xff)
		var b int
		switch op {
		case OpScreen:
			b = sc*da + dc*a - sc*dc
		case OpOverlay:
			if b = 2 * sc * dc; 2*dc >= da {
				b = a*da - 2*(da-dc)*(a-sc)
			}
		case OpDarken:
			b = min(sc*da, dc*a)
		case OpLighten:
			b = max(sc*da, dc*a)
		case OpHardLight:
			if b = 2 * sc * dc; 2*sc >= a {
				b = a*da - 2*(da-dc)*(a-sc)
			}
		case OpDifference:
			b = abs(sc*da - dc*a)
		case OpExclusion:
			b = sc*da + dc*a - 2*sc*dc
		}
		v |= div255((one-a)*dc+(one-da)*sc+b) << shift
	}
	return v
}

// div255 returns v/255, rounded, between 0 and 255.
func div255(v int) uint32 {
	t := uint32(max(0, min(v, 255*255))) + 0x80
	return (t + t>>8) >> 8
}
