package pixel_test

import (
	"bytes"
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
