package server_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// hugePNG claims 65536×65536 pixels in some bytes.
func hugePNG() []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	for _, chunk := range [][]byte{
		append([]byte("IHDR"), 0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0),
		append([]byte("IDAT"), 0x78, 0x9c, 0, 0),
	} {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(chunk)-4)))
		b.Write(binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk)))
	}
	return b.Bytes()
}

func TestAPictureThatClaimsToBeHugeNeedsNoMemory(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(64, 48)})
	d := controltest.Dial(t, path)
	_, err := d.Await(controltest.Within(t), control.AwaitParams{
		Condition: control.Condition{Region: &control.RegionCondition{PNG: hugePNG()}}})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	require.ErrorContains(t, err, "65536x65536 pixels, which is more than")

	answer := control.ScreenshotResult{Width: 65536, Height: 65536, Format: "png", Data: hugePNG()}
	_, err = answer.Image()
	require.ErrorContains(t, err, "65536x65536 pixels, which is more than")
}
