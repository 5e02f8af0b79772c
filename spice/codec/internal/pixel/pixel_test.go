package pixel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/spicelane/spicelane/spice/codec/internal/pixel"
)

// numbered is n bytes that differ from their neighbours.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}

// TestRepeatIsAByteAfterTheOther holds Repeat against the loop that says what it does, with as much room
// behind it as a match near the end of an image has.
func TestRepeatIsAByteAfterTheOther(t *testing.T) {
	for _, room := range []int{0, 1, 7, 8, 31, 32, 100} {
		for distance := 1; distance <= 80; distance++ {
			for n := 1; n <= 80; n++ {
				const op = 90
				got, want := numbered(op+n+room), numbered(op+n+room)
				pixel.Repeat(got, op, distance, n)
				for i := range n {
					want[op+i] = want[op+i-distance]
				}
				if !bytes.Equal(got[:op+n], want[:op+n]) {
					t.Fatalf("%d bytes from %d before, %d behind: got %x, want %x", n, distance, room, got[op:op+n], want[op:op+n])
				}
			}
		}
	}
}

func TestAlphaIsRepeatedAPixelAfterTheOther(t *testing.T) {
	for distance := 4; distance <= 80; distance += 4 {
		for n := 4; n <= 160; n += 4 {
			const op, behind = 80, 40
			got, want := numbered(op+n+behind), numbered(op+n+behind)
			pixel.RepeatAlpha(got, op, distance, n)
			for i := 3; i < n; i += 4 {
				want[op+i] = want[op+i-distance]
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes from %d before: got %x, want %x", n, distance, got[op:], want[op:])
			}
		}
	}
}

func TestOnlyAlphaIsCopiedAndSet(t *testing.T) {
	for n := range 40 {
		t.Run(fmt.Sprint(n, " pixels"), func(t *testing.T) {
			got, from, want := numbered(4*n+8), make([]byte, 4*n), numbered(4*n+8)
			for i := range from {
				from[i] = byte(200 - i)
			}
			for i := range n {
				want[4*i+3] = from[4*i+3]
			}
			if pixel.CopyAlpha(got[:4*n], from); !bytes.Equal(got, want) {
				t.Errorf("copied: got %x, want %x", got, want)
			}
			for i := range n {
				want[4*i+3] = from[i]
			}
			if pixel.SetAlpha(got[:4*n], from[:n]); !bytes.Equal(got, want) {
				t.Errorf("set: got %x, want %x", got, want)
			}
		})
	}
}

// TestEveryPixelOf16BitsExpandsAsRGB555Says expands all values, in each of the places in which several
// are expanded at once.
func TestEveryPixelOf16BitsExpandsAsRGB555Says(t *testing.T) {
	const values = 1 << 16
	for shift := range 5 {
		n := values + shift
		low, high := make([]byte, 2*n), make([]byte, 2*n)
		for i := range n {
			v := uint16(i + shift)
			binary.LittleEndian.PutUint16(low[2*i:], v)
			binary.BigEndian.PutUint16(high[2*i:], v)
		}
		little, swapped := make([]byte, 4*n), make([]byte, 4*n)
		pixel.Expand555(little, low)
		pixel.Expand555Swapped(swapped, high)
		for i := range n {
			want := pixel.RGB555(uint16(i + shift))
			if got := binary.LittleEndian.Uint32(little[4*i:]); got != want {
				t.Fatalf("pixel %d of %d, %#04x: got %#06x, want %#06x", i, n, uint16(i+shift), got, want)
			}
			if got := binary.LittleEndian.Uint32(swapped[4*i:]); got != want {
				t.Fatalf("swapped pixel %d of %d, %#04x: got %#06x, want %#06x", i, n, uint16(i+shift), got, want)
			}
		}
	}
}

func TestRGB555RepeatsTheHighBitsOfAColour(t *testing.T) {
	for v, want := range map[uint16]uint32{0: 0, 0x7fff: 0xffffff, 0xffff: 0xffffff, 0x8000: 0, 1 << 10: 0x080000, 1 << 5: 0x000800, 1: 0x000008,
		0x7c00: 0xff0000, 0x03e0: 0x00ff00, 0x001f: 0x0000ff, 0x4210: 0x848484} {
		if got := pixel.RGB555(v); got != want {
			t.Errorf("%#04x: got %#06x, want %#06x", v, got, want)
		}
	}
}
