package bgra_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/bgra"
)

func TestPixelsChangeTheOrderOfTheirBytesAlsoInPlace(t *testing.T) {
	pix := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	dst := make([]byte, 9)
	bgra.Opaque(dst, pix)
	require.Equal(t, []byte{3, 2, 1, 255, 7, 6, 5, 255, 0}, dst)
	bgra.Alpha(pix, pix)
	require.Equal(t, []byte{3, 2, 1, 4, 7, 6, 5, 8}, pix)
	require.Panics(t, func() { bgra.Opaque(dst[:4:4], pix) })
}
