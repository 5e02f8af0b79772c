package jpeg_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/codec/jpeg"
)

// withoutTables returns an image without its Huffman tables, as spice-server sends all frames of a stream but the first.
func withoutTables(tb testing.TB, data []byte) []byte {
	tb.Helper()
	out := bytes.Clone(data[:2])
	removed := 0
	for at := 2; ; {
		require.Equal(tb, byte(0xff), data[at])
		size := 2 + int(data[at+2])<<8 + int(data[at+3])
		if data[at+1] == 0xc4 {
			removed++
		} else {
			out = append(out, data[at:at+size]...)
		}
		if data[at+1] == 0xda {
			require.NotZero(tb, removed)
			return append(out, data[at+size:]...)
		}
		at += size
	}
}

func decoded(t *testing.T, data []byte) []byte {
	t.Helper()
	h, err := jpeg.ParseHeader(data)
	require.NoError(t, err)
	dst := make([]byte, 4*h.Width*h.Height)
	var dec jpeg.Decoder
	_, err = dec.Decode(dst, 4*h.Width, data)
	require.NoError(t, err)
	return dst
}

// decodedAnyway returns what comes out of an image, with an error or without.
func decodedAnyway(data []byte) []byte {
	h, err := jpeg.ParseHeader(data)
	if err != nil {
		return nil
	}
	dst := make([]byte, 4*h.Width*h.Height)
	var dec jpeg.Decoder
	_, _ = dec.Decode(dst, 4*h.Width, data)
	return dst
}

func TestFramesWithoutHuffmanTablesUseTheStandardOnes(t *testing.T) {
	names, err := filepath.Glob("testdata/*.jpg")
	require.NoError(t, err)
	compared := 0
	for _, name := range names {
		data := load(t, filepath.Base(name))
		require.Equal(t, decoded(t, data), decoded(t, withoutTables(t, data)), name)
		compared++
	}
	require.Equal(t, 10, compared)
	// The same coefficients with tables made for them, by libjpeg-turbo.
	optimised := load(t, "stream/optimised.jpg")
	require.Equal(t, decoded(t, load(t, "photo-420.jpg")), decoded(t, optimised), "an image's own tables count")
	require.NotEqual(t, decoded(t, optimised), decodedAnyway(withoutTables(t, optimised)), "and are not the standard ones")
	frame, err := os.ReadFile("testdata/stream/no-tables-504x504.jpg")
	require.NoError(t, err)
	require.NotContains(t, string(frame), "\xff\xc4")
	want := decoded(t, frame)
	require.NotEqual(t, make([]byte, 4*504*504), want)
	padded := append(bytes.Clone(frame), make([]byte, 17)...)
	require.Equal(t, want, decoded(t, padded), "bytes after the end are padding")
	// Any number of 0xff may stand before a marker.
	filled := append([]byte{0xff, 0xd8, 0xff, 0xff, 0xff}, frame[2:]...)
	require.Equal(t, want, decoded(t, filled), "fill bytes")
}
