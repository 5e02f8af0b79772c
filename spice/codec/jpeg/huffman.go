package jpeg

import (
	"bytes"
	"encoding/hex"
)

// prelude is the start of an image with the Huffman tables that section K.3 of ITU-T T.81 gives as
// typical. The decoder reads it before every image: spice-server omits the tables in all frames of
// a stream except the first, and Motion JPEG generally assumes them. An image's own tables come
// later and replace them.
var prelude = makePrelude()

func makePrelude() []byte {
	b := []byte{0xff, 0xd8}
	for _, table := range []struct {
		id     byte     // class (0 for DC, 1 for AC) in the upper half, number in the lower
		counts [16]byte // codes of each length from 1 bit
		values string   // in hex, by rising code
	}{
		{0x00, [16]byte{0, 1, 5, 1, 1, 1, 1, 1, 1}, "000102030405060708090a0b"},
		{0x01, [16]byte{0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "000102030405060708090a0b"},
		{0x10, [16]byte{0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125},
			"01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282" +
				"090a161718191a25262728292a3435363738393a434445464748494a535455565758595a" +
				"636465666768696a737475767778797a838485868788898a92939495969798999a" +
				"a2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da" +
				"e1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"},
		{0x11, [16]byte{0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119},
			"000102031104052131061241510761711322328108144291a1b1c109233352f0156272d1" +
				"0a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a" +
				"636465666768696a737475767778797a82838485868788898a92939495969798999a" +
				"a2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da" +
				"e2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"},
	} {
		values, err := hex.DecodeString(table.values)
		if err != nil {
			panic(err)
		}
		size := 2 + 1 + len(table.counts) + len(values)
		b = append(b, 0xff, 0xc4, byte(size>>8), byte(size), table.id)
		b = append(append(b, table.counts[:]...), values...)
	}
	return b
}

// source reads an image with the tables in front. Its zero value is ready.
type source struct{ tables, image bytes.Reader }

func (s *source) reset(src []byte) {
	s.tables.Reset(nil)
	if bytes.HasPrefix(src, prelude[:2]) {
		s.tables.Reset(prelude)
		src = src[2:]
	}
	s.image.Reset(src)
}

// left returns how many bytes of the image have not been read.
func (s *source) left() int { return s.image.Len() }

// Read reads the tables and then the image.
func (s *source) Read(b []byte) (int, error) {
	if s.tables.Len() > 0 {
		return s.tables.Read(b)
	}
	return s.image.Read(b)
}
