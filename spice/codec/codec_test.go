package codec_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spicelane/spicelane/spice/codec"
)

func TestSizesStayWithinTheLimit(t *testing.T) {
	for _, tt := range []struct {
		width, height int
		ok            bool
	}{
		{1, 1, true}, {codec.MaxDimension, codec.MaxDimension, true},
		{0, 1, false}, {1, 0, false}, {-1, 5, false}, {5, math.MinInt, false},
		{codec.MaxDimension + 1, 1, false}, {1, codec.MaxDimension + 1, false}, {math.MaxInt, math.MaxInt, false},
	} {
		err := codec.CheckSize("x", 7, tt.width, tt.height)
		if tt.ok {
			assert.NoError(t, err)
			continue
		}
		var f *codec.FormatError
		if assert.ErrorAs(t, err, &f, "%dx%d", tt.width, tt.height) {
			assert.Equal(t, "x", f.Codec)
			assert.Equal(t, 7, f.Offset)
		}
	}
}

func TestDestinationsHoldEveryRow(t *testing.T) {
	for _, tt := range []struct {
		n, stride, width, height int
		ok                       bool
	}{
		{4, 4, 1, 1, true},
		{4, 100, 1, 1, true}, // one row needs no stride
		{104, 100, 1, 2, true},
		{103, 100, 1, 2, false},
		{200, 100, 25, 2, true},
		{200, 99, 25, 2, false},
		{3, 4, 1, 1, false},
		{0, 4, 1, 1, false},
		{1000, -40, 10, 10, false},
		{1000, 0, 1, 1, false},
		{1000, math.MaxInt, 1, 2, false},
		{1000, math.MinInt, 1, 2, false},
		{1000, 1 << 17, codec.MaxDimension, codec.MaxDimension, false},
	} {
		err := codec.CheckDestination("x", make([]byte, tt.n), tt.stride, tt.width, tt.height)
		if tt.ok {
			assert.NoError(t, err, "%+v", tt)
			continue
		}
		var d *codec.DestinationError
		assert.ErrorAs(t, err, &d, "%+v", tt)
	}
}
