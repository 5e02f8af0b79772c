package film

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"os"
	"slices"
	"time"
)

// File is the film's name in a lane's directory.
const File = "screen.film"

// A header begins each record of a film. It is a line of JSON. If PNG is not 0, that many bytes of
// a PNG follow, and a newline. A frame is a record and as many following ones as its More says. The
// names in the JSON are part of the format.
type header struct {
	TUS     int64  `json:"t_us"`
	Display uint8  `json:"display"`
	Size    [2]int `json:"size,omitzero"`
	// Rect is the x, y, width and height of the PNG on the screen.
	Rect [4]int `json:"rect,omitzero"`
	// Key says that the PNG is the whole screen.
	Key bool `json:"key,omitempty"`
	// More is the number of records of the same frame that follow.
	More int `json:"more,omitempty"`
	// Gone says that the display has no picture from now on.
	Gone bool `json:"gone,omitempty"`
	// SinceUS is when the first change that a late frame shows was drawn.
	SinceUS int64 `json:"since_us,omitempty"`
	PNG     int   `json:"png"` // size in bytes
	// Left and Stats are in records without a PNG, see Film.
	Left  *LeftOut `json:"left_out,omitempty"`
	Stats *Stats   `json:"stats,omitempty"`
}

// Limits for films that are read. They come from artifacts, which may be from any source.
const (
	maxHeader = 4 << 10
	maxSide   = 1 << 15
	maxPixels = 1 << 26 // as spice.Limits has it for a surface
	maxPatch  = 256 << 20
)

// A Frame is a change of the picture of a display.
type Frame struct {
	At time.Duration // since the lane began
	// Since is when the first change that the frame shows was drawn. It is 0 unless the frame is
	// late: the recorder pauses so that filming costs little, and between Since and At the client
	// showed more than its film.
	Since   time.Duration
	Display uint8
	// Key says that the frame shows the whole screen and needs no frame before it.
	Key bool
	// Gone says that the display has no picture from now on.
	Gone    bool
	Size    image.Point
	Patches []Patch
}

// Bytes returns the size of the frame's PNGs in bytes.
func (f Frame) Bytes() int {
	n := 0
	for _, p := range f.Patches {
		n += len(p.PNG)
	}
	return n
}

// A Patch is a rectangle of new pixels.
type Patch struct {
	Rect image.Rectangle
	PNG  []byte
}

// LeftOut says what a film lacks.
type LeftOut struct {
	// Frames is the number of frames before Before that were left out, so that the file stays
	// within its limit.
	Frames int           `json:"frames"`
	Before time.Duration `json:"before_ns"`
}

// Stats says what a film cost.
type Stats struct {
	Frames int   `json:"frames"`
	Bytes  int64 `json:"bytes"`
	// CPU is the processor time for copying, comparing, compressing and writing.
	CPU time.Duration `json:"cpu_ns"`
}

// A Film is the content of a film's file.
type Film struct {
	// Frames are in the order of their times.
	Frames []Frame
	Left   LeftOut
	// Stats is nil if the film was not ended, because its process was killed.
	Stats *Stats
	// Torn says that the file ends in the middle of a record or frame.
	Torn bool

	// more is the number of patches of the last frame that are still missing.
	more int
}

// ReadFile reads the film at path.
func ReadFile(path string) (*Film, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}

// Read reads a film. It reads a film that is cut off as far as it goes, see [Film.Torn]. It returns
// an error if the content is not a film's.
func Read(r io.Reader) (*Film, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	out := &Film{}
	for n := 0; ; n++ {
		h, body, err := readRecord(br)
		switch {
		case errors.Is(err, io.EOF):
			out.settle()
			return out, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			out.Torn = true
			out.settle()
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("film: record %d: %w", n, err)
		}
		out.add(h, body)
	}
}

// readRecord reads a record. It returns io.EOF if the file ends between two records, and
// io.ErrUnexpectedEOF if it ends within one.
func readRecord(br *bufio.Reader) (header, []byte, error) {
	var h header
	line, err := br.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return h, nil, io.EOF
	case errors.Is(err, io.EOF):
		return h, nil, io.ErrUnexpectedEOF
	case err != nil || len(line) > maxHeader:
		return h, nil, errors.New("it does not begin with a header")
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, nil, fmt.Errorf("it does not begin with a header: %w", err)
	}
	if err := h.check(); err != nil {
		return h, nil, err
	}
	if h.PNG == 0 {
		return h, nil, nil
	}
	var body bytes.Buffer
	// NB: body is not allocated beforehand, because the length may be wrong.
	if n, err := io.CopyN(&body, br, int64(h.PNG)+1); n < int64(h.PNG)+1 {
		if err != nil && !errors.Is(err, io.EOF) {
			return h, nil, err
		}
		return h, nil, io.ErrUnexpectedEOF
	}
	b := body.Bytes()
	if b[h.PNG] != '\n' {
		return h, nil, errors.New("a PNG does not end where its header says")
	}
	return h, b[:h.PNG:h.PNG], nil
}

func (h header) check() error {
	w, ht := h.Size[0], h.Size[1]
	x, y, rw, rh := h.Rect[0], h.Rect[1], h.Rect[2], h.Rect[3]
	switch {
	case h.PNG < 0 || h.PNG > maxPatch:
		return fmt.Errorf("a PNG of %d bytes", h.PNG)
	case h.PNG == 0:
		return nil
	case w < 1 || ht < 1 || w > maxSide || ht > maxSide || w > maxPixels/ht:
		return fmt.Errorf("a screen of %d×%d pixels", w, ht)
	case x < 0 || y < 0 || rw < 1 || rh < 1 || x > w-rw || y > ht-rh:
		return fmt.Errorf("a rectangle of %d×%d at %d,%d on a screen of %d×%d", rw, rh, x, y, w, ht)
	}
	return nil
}

func (f *Film) add(h header, body []byte) {
	if h.Left != nil {
		f.Left = *h.Left
	}
	if h.Stats != nil {
		s := *h.Stats
		f.Stats = &s
	}
	at := time.Duration(h.TUS) * time.Microsecond
	if h.Gone {
		f.more = 0
		f.Frames = append(f.Frames, Frame{At: at, Display: h.Display, Gone: true})
		return
	}
	if h.PNG == 0 {
		return
	}
	follows := f.more > 0
	f.more = h.More
	patch := Patch{image.Rect(h.Rect[0], h.Rect[1], h.Rect[0]+h.Rect[2], h.Rect[1]+h.Rect[3]), body}
	if n := len(f.Frames); n > 0 && follows && !h.Key {
		last := &f.Frames[n-1]
		if last.At == at && last.Display == h.Display && !last.Gone {
			last.Patches = append(last.Patches, patch)
			return
		}
	}
	f.Frames = append(f.Frames, Frame{At: at, Since: time.Duration(h.SinceUS) * time.Microsecond, Display: h.Display, Key: h.Key,
		Size: image.Pt(h.Size[0], h.Size[1]), Patches: []Patch{patch}})
}

// settle drops frames without the frames that they depend on, and sorts the others by time. If the
// clock was set back, a frame that seems earlier than the one before it counts as just after that
// one, so the order of a display's frames does not change.
func (f *Film) settle() {
	if n := len(f.Frames); n > 0 && f.more > 0 {
		// The screen never showed a part of a frame.
		f.Torn, f.Frames = true, f.Frames[:n-1]
	}
	type state struct {
		size image.Point
		at   time.Duration
		seen bool
	}
	displays := map[uint8]*state{}
	kept := f.Frames[:0]
	for _, fr := range f.Frames {
		s := displays[fr.Display]
		if s == nil {
			s = &state{}
			displays[fr.Display] = s
		}
		if s.seen && fr.At <= s.at {
			fr.At = s.at + time.Microsecond
		}
		switch {
		case fr.Gone:
			s.size = image.Point{}
		case fr.Key:
			s.size = fr.Size
		case fr.Size != s.size:
			continue
		}
		s.at, s.seen = fr.At, true
		kept = append(kept, fr)
	}
	f.Frames = kept
	slices.SortStableFunc(f.Frames, func(a, b Frame) int { return cmp.Compare(a.At, b.At) })
}

// paint draws the frame's patches onto img.
func (f Frame) paint(img *image.NRGBA) error {
	for _, p := range f.Patches {
		if !p.Rect.In(img.Rect) {
			return fmt.Errorf("film: frame at %v: %v is not within the screen, which has %d×%d pixels",
				f.At, p.Rect, img.Rect.Dx(), img.Rect.Dy())
		}
		// NB: the size is checked before the PNG is decoded.
		cfg, err := png.DecodeConfig(bytes.NewReader(p.PNG))
		if err == nil && (cfg.Width != p.Rect.Dx() || cfg.Height != p.Rect.Dy()) {
			err = fmt.Errorf("the PNG for %v is of %d×%d pixels", p.Rect, cfg.Width, cfg.Height)
		}
		if err != nil {
			return fmt.Errorf("film: frame at %v: %w", f.At, err)
		}
		part, err := png.Decode(bytes.NewReader(p.PNG))
		if err != nil {
			return fmt.Errorf("film: frame at %v: %w", f.At, err)
		}
		draw.Draw(img, p.Rect, part, part.Bounds().Min, draw.Src)
	}
	return nil
}

// record encodes one record.
func (h header) record(body []byte) []byte {
	h.PNG = len(body)
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // plain numbers
	}
	b = append(b, '\n')
	if len(body) > 0 {
		b = append(append(b, body...), '\n')
	}
	return b
}
