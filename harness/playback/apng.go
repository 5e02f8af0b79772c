package playback

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"io"
	"time"

	"github.com/klauspost/compress/zlib"
)

// WriteAPNG writes the playback as an animated PNG, which plays once. A viewer without support for
// animation shows the first frame.
func (p *Playback) WriteAPNG(w io.Writer) error { return p.writeAPNG(w, p.delays) }

// writeAPNG writes an animated PNG. Each shot has a frame for each of its delays, in ms.
func (p *Playback) writeAPNG(w io.Writer, delays func(shot int) []int) error {
	total := 0
	for i := range p.shots {
		total += len(delays(i))
	}
	a := newAPNG(w, p.size, total)
	i := 0
	err := p.each(func(_ shot, img *image.NRGBA) error {
		for _, ms := range delays(i) {
			a.frame(img, ms)
		}
		i++
		return a.err
	})
	if err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	if err := a.end(); err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	return nil
}

// maxDelay is the longest delay of a frame in ms, which has 16 bits.
const maxDelay = 60_000

// delays returns how long the frame of a shot is shown, in ms. It splits a long time into several
// delays. Rounding errors do not add up: each shot begins at its own time, to the millisecond.
func (p *Playback) delays(shot int) []int {
	s := p.shots[shot]
	ms := func(at time.Duration) int { return int(at.Round(time.Millisecond) / time.Millisecond) }
	left := ms(s.at+s.lasts) - ms(s.at)
	var all []int
	for ; left > maxDelay; left -= maxDelay {
		all = append(all, maxDelay)
	}
	return append(all, left)
}

// An apng writes frames (PNG's specification, third edition, section 11.3.6). Each frame has only
// the rectangle that differs from the previous one. Equal pixels in it are transparent, so that a
// digest in one corner and a line of text in another do not make a large frame.
type apng struct {
	w      io.Writer
	err    error
	size   image.Point
	number uint32 // of the next chunk that has a number
	shown  []byte // the pixels of the previous frame, R G B A
	zip    *zlib.Writer
	packed bytes.Buffer
	rows   [3][]byte // a row with each filter
	chunk  []byte
}

func newAPNG(w io.Writer, size image.Point, frames int) *apng {
	a := &apng{w: w, size: size, zip: zlib.NewWriter(nil)}
	_, a.err = io.WriteString(w, "\x89PNG\r\n\x1a\n")
	head := binary.BigEndian.AppendUint32(nil, uint32(size.X))
	head = binary.BigEndian.AppendUint32(head, uint32(size.Y))
	a.put("IHDR", append(head, 8, 6, 0, 0, 0)) // 8 bits per channel, true colour with alpha
	control := binary.BigEndian.AppendUint32(nil, uint32(frames))
	a.put("acTL", binary.BigEndian.AppendUint32(control, 1)) // plays once
	return a
}

func (a *apng) put(name string, body []byte) {
	if a.err != nil {
		return
	}
	a.chunk = binary.BigEndian.AppendUint32(a.chunk[:0], uint32(len(body)))
	a.chunk = append(append(a.chunk, name...), body...)
	a.chunk = binary.BigEndian.AppendUint32(a.chunk, crc32.ChecksumIEEE(a.chunk[4:]))
	_, a.err = a.w.Write(a.chunk)
}

// frame adds a frame that is shown for ms milliseconds.
func (a *apng) frame(img *image.NRGBA, ms int) {
	r := image.Rectangle{Max: a.size}
	first := a.shown == nil
	old := a.shown
	if !first {
		r = differing(old, img.Pix, a.size)
	}
	a.shown = bytes.Clone(img.Pix)
	control := binary.BigEndian.AppendUint32(nil, a.number)
	a.number++
	for _, n := range []int{r.Dx(), r.Dy(), r.Min.X, r.Min.Y} {
		control = binary.BigEndian.AppendUint32(control, uint32(n))
	}
	control = binary.BigEndian.AppendUint16(control, uint16(ms))
	control = binary.BigEndian.AppendUint16(control, 1000)
	a.put("fcTL", append(control, 0, 1)) // it stays, and is blended over the previous frame
	a.packed.Reset()
	if !first {
		a.packed.Write(binary.BigEndian.AppendUint32(nil, a.number))
		a.number++
	}
	a.compress(r, old)
	if first {
		a.put("IDAT", a.packed.Bytes())
	} else {
		a.put("fdAT", a.packed.Bytes())
	}
}

func (a *apng) end() error {
	a.put("IEND", nil)
	return a.err
}

// differing returns the bounds of the pixels that differ. If none does, it returns one pixel,
// because a frame must have one.
func differing(old, pix []byte, size image.Point) image.Rectangle {
	var r image.Rectangle
	stride := 4 * size.X
	for y := range size.Y {
		was, is := old[y*stride:][:stride], pix[y*stride:][:stride]
		if bytes.Equal(was, is) {
			continue
		}
		from, to := 0, stride-1
		for was[from] == is[from] {
			from++
		}
		for was[to] == is[to] {
			to--
		}
		r = r.Union(image.Rect(from/4, y, to/4+1, y+1))
	}
	if r.Empty() {
		return image.Rect(0, 0, 1, 1)
	}
	return r
}

// The filters of a PNG's rows (section 9.2) that compress tries.
const (
	filterNone = iota
	filterSub
	filterUp
)

// compress adds a rectangle of the shown pixels to packed. It hides the pixels that old has, too.
// It chooses for each row the filter whose bytes are nearest to 0, as section 12.7 recommends.
func (a *apng) compress(r image.Rectangle, old []byte) {
	if a.err != nil {
		return
	}
	a.zip.Reset(&a.packed)
	row, above := make([]byte, 4*r.Dx()), make([]byte, 4*r.Dx())
	for y := r.Min.Y; y < r.Max.Y; y++ {
		at := 4 * (y*a.size.X + r.Min.X)
		copy(row, a.shown[at:])
		if old != nil {
			hide(row, old[at:])
		}
		best, least := 0, -1
		for filter := range a.rows {
			line := append(a.rows[filter][:0], byte(filter))
			sum := 0
			for i, v := range row {
				switch {
				case filter == filterSub && i >= 4:
					v -= row[i-4]
				case filter == filterUp:
					v -= above[i]
				}
				sum += min(int(v), 256-int(v))
				line = append(line, v)
			}
			a.rows[filter] = line
			if least < 0 || sum < least {
				best, least = filter, sum
			}
		}
		if _, a.err = a.zip.Write(a.rows[best]); a.err != nil {
			return
		}
		row, above = above, row
	}
	a.err = a.zip.Close()
}

// hide makes those pixels of a row transparent that equal those of old.
func hide(row, old []byte) {
	for i := 0; i < len(row); i += 4 {
		if row[i] == old[i] && row[i+1] == old[i+1] && row[i+2] == old[i+2] {
			row[i], row[i+1], row[i+2], row[i+3] = 0, 0, 0, 0
		}
	}
}
