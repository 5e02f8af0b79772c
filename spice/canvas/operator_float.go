package canvas

import "math"

// colorF is a colour in floating point, from 0 to 1. Operators that divide are computed in it, as
// pixman does.
//
// NB: every product is converted to float32, so that no compiler fuses it with a sum and rounds
// once less.
type colorF struct{ a, r, g, b float32 }

// toFloat widens a cell, each channel from its own number of bits.
func toFloat(f Format, v uint32) colorF {
	part := func(shift, bits int) float32 {
		top := uint32(1)<<bits - 1
		return float32(v>>shift&top) * (1 / float32(top))
	}
	switch f {
	case A1:
		return colorF{a: part(0, 1)}
	case A8:
		return colorF{a: part(0, 8)}
	case RGB555:
		return colorF{1, part(10, 5), part(5, 5), part(0, 5)}
	case RGB565:
		return colorF{1, part(11, 5), part(5, 6), part(0, 5)}
	case XRGB:
		return colorF{1, part(16, 8), part(8, 8), part(0, 8)}
	}
	return colorF{part(24, 8), part(16, 8), part(8, 8), part(0, 8)}
}

// argb narrows a colour to eight bits a channel.
func (c colorF) argb() uint32 {
	part := func(f float32) uint32 {
		u := uint32(max(0, min(f, 1)) * 256)
		return u - u>>8
	}
	return part(c.a)<<24 | part(c.r)<<16 | part(c.g)<<8 | part(c.b)
}

func (c colorF) times(f float32) colorF {
	return colorF{c.a * f, c.r * f, c.g * f, c.b * f}
}

func (c colorF) timesEach(d colorF) colorF {
	return colorF{c.a * d.a, c.r * d.r, c.g * d.g, c.b * d.b}
}

// isZero reports whether f is too small to divide by.
func isZero(f float32) bool {
	const smallest = 0x1p-126 // the smallest normal float32
	return -smallest < f && f < smallest
}

// share returns n/d limited to 0 to 1, or otherwise if d is zero.
func share(n, d, otherwise float32) float32 {
	if isZero(d) {
		return otherwise
	}
	return unit(n / d)
}

func unit(f float32) float32 { return max(0, min(f, 1)) }

// factors returns the factors of Porter and Duff's operators for source and destination, given
// their alphas.
func (op Operator) factors(sa, da float32) (fs, fd float32) {
	var sOut, sIn, dOut, dIn float32 // what of the source lies outside and inside of the destination, and the reverse
	basic := op
	switch {
	case op == OpSaturate:
		return share(1-da, sa, 1), 1
	case op.disjoint():
		basic = op - OpDisjoint
		sOut, dOut = share(1-da, sa, 1), share(1-sa, da, 1)
		if !isZero(sa) {
			sIn = unit(1 - (1-da)/sa)
		}
		if !isZero(da) {
			dIn = unit(1 - (1-sa)/da)
		}
	default:
		basic = op - OpConjoint
		sIn, dIn = share(da, sa, 1), share(sa, da, 1)
		if !isZero(sa) {
			sOut = unit(1 - da/sa)
		}
		if !isZero(da) {
			dOut = unit(1 - sa/da)
		}
	}
	switch basic {
	case OpSrc:
		return 1, 0
	case OpDst:
		return 0, 1
	case OpOver:
		return 1, dOut
	case OpOverReverse:
		return sOut, 1
	case OpIn:
		return sIn, 0
	case OpInReverse:
		return 0, dIn
	case OpOut:
		return sOut, 0
	case OpOutReverse:
		return 0, dOut
	case OpAtop:
		return sIn, dOut
	case OpAtopReverse:
		return sOut, dIn
	case OpXorAlpha:
		return sOut, dOut
	}
	return 0, 0 // OpClear
}

// combineFloat applies the operator, which divides, to a source colour, the source's alpha for each
// channel of the destination, and a destination colour.
func (op Operator) combineFloat(s, sa, d colorF) colorF {
	if op.hsl() {
		return op.hslBlend(s, d)
	}
	if op < OpMultiply {
		one := func(s, sa, c float32) float32 {
			fs, fd := op.factors(sa, d.a)
			return min(1, float32(s*fs)+float32(c*fd))
		}
		return colorF{one(s.a, sa.a, d.a), one(s.r, sa.r, d.r), one(s.g, sa.g, d.g), one(s.b, sa.b, d.b)}
	}
	one := func(s, sa, c float32) float32 {
		rest := float32((1-sa)*c) + float32((1-d.a)*s)
		return rest + op.blendFloat(s, sa, c, d.a)
	}
	return colorF{d.a + s.a - float32(d.a*s.a), one(s.r, sa.r, d.r), one(s.g, sa.g, d.g), one(s.b, sa.b, d.b)}
}

// blendFloat blends one colour.
func (op Operator) blendFloat(s, sa, d, da float32) float32 {
	switch op {
	case OpColorDodge:
		switch {
		case isZero(d):
			return 0
		case float32(d*sa) >= float32(sa*da)-float32(s*da):
			return sa * da
		case isZero(sa - s):
			return sa * da
		}
		return float32(float32(sa*sa)*d) / (sa - s)
	case OpColorBurn:
		switch {
		case d >= da:
			return sa * da
		case float32(sa*(da-d)) >= float32(s*da):
			return 0
		case isZero(s):
			return 0
		}
		return sa * (da - float32(sa*(da-d))/s)
	}
	// OpSoftLight
	switch {
	case isZero(da):
		return d * sa
	case float32(2*s) <= sa:
		return float32(d*sa) - float32(float32(d*(da-d))*(sa-float32(2*s)))/da
	case float32(4*d) <= da:
		inner := float32((float32(16*d)/da-12)*d)/da + 3
		return float32(d*sa) + float32(float32(float32(float32(2*s)-sa)*d)*inner)
	}
	root := float32(math.Sqrt(float64(float32(d * da))))
	return float32(d*sa) + float32((root-d)*(float32(2*s)-sa))
}

// luminosity returns how bright a colour is.
func (c colorF) luminosity() float32 {
	return float32(c.r*0.3) + float32(c.g*0.59) + float32(c.b*0.11)
}

// saturation returns how far a colour is from grey.
func (c colorF) saturation() float32 { return max(c.r, c.g, c.b) - min(c.r, c.g, c.b) }

// hslBlend combines hue, saturation or luminosity of a source with the rest of a destination.
func (op Operator) hslBlend(s, d colorF) colorF {
	both := s.a * d.a
	var c colorF
	switch op {
	case OpHSLHue:
		c = s.times(d.a).withSaturation(d.saturation()*s.a).withLuminosity(both, d.luminosity()*s.a)
	case OpHSLSaturation:
		c = d.times(s.a).withSaturation(s.saturation()*d.a).withLuminosity(both, d.luminosity()*s.a)
	case OpHSLColor:
		c = s.times(d.a).withLuminosity(both, d.luminosity()*s.a)
	case OpHSLLuminosity:
		c = d.times(s.a).withLuminosity(both, s.luminosity()*d.a)
	}
	one := func(s0, d0, c float32) float32 {
		return float32((1-s.a)*d0) + float32((1-d.a)*s0) + c
	}
	return colorF{s.a + d.a - both, one(s.r, d.r, c.r), one(s.g, d.g, c.g), one(s.b, d.b, c.b)}
}

// withSaturation stretches a colour's range, from zero for its least channel.
func (c colorF) withSaturation(sat float32) colorF {
	least, most := &c.r, &c.r
	for _, p := range []*float32{&c.g, &c.b} {
		if *p < *least {
			least = p
		}
		if *p > *most {
			most = p
		}
	}
	low, span := *least, *most-*least
	for _, p := range []*float32{&c.r, &c.g, &c.b} {
		switch {
		case isZero(span):
			*p = 0
		case p == most:
			*p = sat
		case p == least:
			*p = 0
		default:
			*p = float32((*p-low)*sat) / span
		}
	}
	return c
}

// withLuminosity shifts a colour to a luminosity, and towards grey if its channels leave the range
// up to alpha.
func (c colorF) withLuminosity(alpha, lum float32) colorF {
	shift := lum - c.luminosity()
	c.r, c.g, c.b = c.r+shift, c.g+shift, c.b+shift
	l, least, most := c.luminosity(), min(c.r, c.g, c.b), max(c.r, c.g, c.b)
	if least < 0 {
		t := l - least
		for _, p := range []*float32{&c.r, &c.g, &c.b} {
			if isZero(t) {
				*p = 0
			} else {
				*p = l + float32((*p-l)*l)/t
			}
		}
	}
	if most > alpha {
		t := most - l
		for _, p := range []*float32{&c.r, &c.g, &c.b} {
			if isZero(t) {
				*p = alpha
			} else {
				*p = l + float32((*p-l)*(alpha-l))/t
			}
		}
	}
	return c
}
