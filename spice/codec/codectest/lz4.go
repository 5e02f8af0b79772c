package codectest

import (
	"encoding/binary"

	"github.com/pierrec/lz4/v4"
)

// EncodeLZ4 returns the picture as an LZ4 image. format is a SpiceBitmapFmt from
// spice-protocol/spice/enums.h: 6 for 16 bits, 7 for 24, 8 for 32, 9 for RGBA, 10 for alpha alone.
// Each block has the given number of rows and, unlike the server's, refers to no other.
func EncodeLZ4(p *Picture, format int, topDown bool, rows int) []byte {
	if !topDown {
		p = p.Flipped()
	}
	var raw []byte
	stride := 4 * p.Width
	switch format {
	case 6:
		stride = 2 * p.Width
		pixels, _ := p.RGB555()
		for _, v := range pixels {
			raw = binary.LittleEndian.AppendUint16(raw, v)
		}
	case 7:
		stride = 3 * p.Width
		for i := 0; i < len(p.Pix); i += 4 {
			raw = append(raw, p.Pix[i:i+3]...)
		}
	case 10:
		stride = p.Width
		for i := 3; i < len(p.Pix); i += 4 {
			raw = append(raw, p.Pix[i])
		}
	default:
		raw = p.Pix
	}
	out := []byte{0, byte(format)}
	if topDown {
		out[0] = 1
	}
	for len(raw) > 0 {
		n := min(len(raw), rows*stride)
		block := make([]byte, lz4.CompressBlockBound(n)+64)
		m, err := lz4.CompressBlock(raw[:n], block, nil)
		if err != nil || m == 0 {
			m = storeLZ4(block, raw[:n])
		}
		out = binary.BigEndian.AppendUint32(out, uint32(m))
		out = append(out, block[:m]...)
		raw = raw[n:]
	}
	return out
}

// storeLZ4 writes a block of literals, for what does not compress, and returns its length.
func storeLZ4(block, raw []byte) int {
	out := append(block[:0], byte(min(len(raw), 15))<<4)
	if rest := len(raw) - 15; rest >= 0 {
		for ; rest >= 255; rest -= 255 {
			out = append(out, 255)
		}
		out = append(out, byte(rest))
	}
	return len(append(out, raw...))
}
