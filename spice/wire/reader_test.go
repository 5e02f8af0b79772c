package wire_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spicelane/spicelane/spice/wire"
)

func TestAReaderKeepsItsFirstError(t *testing.T) {
	r := wire.NewReader([]byte{1, 2, 3})
	assert.EqualValues(t, 0x0201, r.Uint16())
	assert.Equal(t, 2, r.Offset())
	assert.Equal(t, 1, r.Left())
	assert.NoError(t, r.Err())
	assert.Zero(t, r.Uint32())
	first := r.Err()
	assert.EqualError(t, first, "wire: : at byte 2 of the body: want 4 bytes, 1 are left")
	assert.Zero(t, r.Uint8(), "nothing is read after an error")
	assert.Nil(t, r.Rest())
	assert.Nil(t, r.Bytes(0))
	assert.Zero(t, r.Count(0, 1))
	r.Failf("another")
	assert.Equal(t, first, r.Err())
}

func TestACursorAtAnOffsetSharesTheError(t *testing.T) {
	r := wire.NewReader([]byte{1, 2, 3, 4})
	sub := r.At(2)
	assert.EqualValues(t, 0x0403, sub.Uint16())
	r.Adopt(&sub)
	assert.NoError(t, r.Err())
	assert.Equal(t, 0, r.Offset(), "the cursor itself did not move")

	good := r.At(0)
	r.Failf("mine")
	r.Adopt(&good)
	assert.ErrorContains(t, r.Err(), "mine", "a good part does not undo an error")
	late := r.At(0)
	assert.Zero(t, late.Uint8(), "an error reaches parts begun after it")

	r = wire.NewReader([]byte{1})
	bad := r.At(0)
	bad.Uint64()
	r.Adopt(&bad)
	assert.ErrorContains(t, r.Err(), "want 8 bytes")
	outside := r.At(1)
	assert.Error(t, outside.Err())
}
