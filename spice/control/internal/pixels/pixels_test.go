package pixels_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control/internal/pixels"
)

// A PNG of some hundred bytes can claim any size, and it comes from the other side of a socket.
func TestAPNGThatClaimsToBeHugeIsNotDecoded(t *testing.T) {
	head := append([]byte("IHDR"), 0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0) // 65536×65536
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d")
	b.Write(binary.BigEndian.AppendUint32(head, crc32.ChecksumIEEE(head)))
	_, err := pixels.DecodePNG(b.Bytes())
	require.EqualError(t, err, "the PNG has 65536x65536 pixels, which is more than the 134217728 that are read")

	b.Reset()
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 3, 2))))
	img, err := pixels.DecodePNG(b.Bytes())
	require.NoError(t, err)
	require.Equal(t, image.Pt(3, 2), img.Bounds().Size())
	_, err = pixels.DecodePNG([]byte("no picture"))
	require.Error(t, err)
}
