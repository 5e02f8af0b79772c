package qxl_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/internal/need"
)

// blocks is memory that remembers what was put where.
type blocks struct {
	next  uint64
	at    map[uint64][]byte
	order []uint64
	room  int // bytes; 0: no limit
}

var errFull = errors.New("full")

func (m *blocks) Alloc(n int) (uint64, []byte, error) {
	if m.at == nil {
		m.at, m.next = map[uint64][]byte{}, 64
	}
	if m.room > 0 && n > m.room {
		return 0, nil, errFull
	}
	at := m.next
	m.next += uint64(n+63) &^ 63
	m.at[at] = make([]byte, n)
	m.order = append(m.order, at)
	return at, m.at[at], nil
}

// packed returns the bytes of a command, and the memory with the structures that it points to.
func packed(t *testing.T, c qxl.Command) (command []byte, m *blocks) {
	t.Helper()
	m = &blocks{}
	at, err := qxl.Pack(m, c, 7, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m.at[at], m
}

var box, area = image.Rect(10, 20, 30, 40), image.Rect(5, 6, 7, 8)

func drawable(op qxl.Op) *qxl.Drawable {
	return &qxl.Drawable{Surface: 3, Effect: 1, Self: true, SelfArea: image.Rect(1, 2, 3, 4), Box: box, Time: 0x01020304, Op: op}
}

func TestStructuresLieAsInC(t *testing.T) {
	text, err := os.ReadFile("testdata/layout.txt")
	if err != nil {
		t.Fatal(err)
	}
	brush := qxl.Solid(0xaabbcc)
	commands := map[string]qxl.Command{
		"fill":            drawable(&qxl.Fill{Brush: brush, Rop: qxl.RopPut, Mask: qxl.Mask{Invers: true, Pos: image.Pt(11, 12)}}),
		"opaque":          drawable(&qxl.Opaque{Area: area, Brush: brush, Rop: qxl.RopXor, Scale: 1}),
		"copy":            drawable(&qxl.Copy{Area: area, Rop: qxl.RopPut | qxl.InversRes, Scale: 1}),
		"copy_bits":       drawable(&qxl.CopyBits{From: image.Pt(5, -6)}),
		"rop3":            drawable(&qxl.Rop3{Area: area, Brush: brush, Code: 0xca, Scale: 1}),
		"transparent":     drawable(&qxl.Transparent{Area: area, SrcColor: 0x11223344, TrueColor: 0x55667788}),
		"alpha_blend":     drawable(&qxl.AlphaBlend{Flags: 3, Alpha: 200, Area: area}),
		"blackness":       drawable(&qxl.Blackness{Mask: qxl.Mask{Invers: true}}),
		"create_surface":  &qxl.CreateSurface{Surface: 5, Format: qxl.SurfaceARGB, Width: 170, Height: 120, Stride: 680, Data: 0x123456789a},
		"destroy_surface": &qxl.DestroySurface{Surface: 5},
		"set_cursor":      &qxl.SetCursor{At: image.Pt(-3, 4), Visible: true},
		"move_cursor":     &qxl.MoveCursor{To: image.Pt(300, -1)},
		"hide_cursor":     &qxl.HideCursor{},
		"trail_cursor":    &qxl.TrailCursor{Length: 5, Frequency: 6},
		"composite": drawable(&qxl.Composite{Operator: 0x3a, Component: true,
			Src:  qxl.Sampled{Origin: image.Pt(-2, 3), Filter: 1, Repeat: 2},
			Mask: qxl.Sampled{Origin: image.Pt(4, -5), Filter: 1, Repeat: 3}}),
	}
	// The structures that a command's addresses point to. n is the index of each in the order of
	// allocation.
	parts := map[string]struct {
		command qxl.Command
		n       int
	}{
		"shape":         {&qxl.SetCursor{Shape: &qxl.Shape{Unique: 99, CursorType: qxl.CursorColor32, Width: 32, Height: 16, Hot: image.Pt(3, 5), Data: []byte{1, 2, 3, 4}}}, 0},
		"image":         {drawable(&qxl.Copy{Src: &qxl.Image{ID: 42, Flags: qxl.ImageCache, Format: qxl.Bit32, Width: 2, Height: 1, Pad: 4, TopDown: true, Data: qxl.Bytes(make([]byte, 12))}}), 1},
		"surface_image": {drawable(&qxl.Copy{Src: &qxl.Image{ID: 42, FromSurface: true, Surface: 9, Width: 20, Height: 10}}), 0},
		"palette": {drawable(&qxl.Copy{Src: &qxl.Image{Format: qxl.Bit8, Width: 1, Height: 1, Data: qxl.Bytes{0},
			Palette: &qxl.Palette{Unique: 77, Colors: []uint32{0x112233, 0x445566}}}}), 0},
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		name, want, _ := strings.Cut(line, " ")
		var got []byte
		switch c, part := commands[name], parts[name]; {
		case c != nil:
			got, _ = packed(t, c)
		case part.command != nil:
			_, m := packed(t, part.command)
			got = m.at[m.order[part.n]]
		case name == "monitors":
			m := &blocks{}
			at, err := qxl.PackMonitors(m, 4, qxl.Monitor{ID: 1, Surface: 2, Area: image.Rect(7, 9, 107, 59), Flags: 3})
			if err != nil {
				t.Fatal(err)
			}
			got = m.at[at]
		default:
			t.Errorf("%s: nothing is packed for it", name)
			continue
		}
		// Padding after a structure is not part of it.
		if n := len(want) / 2; n > len(got) || hex.EncodeToString(got[:n]) != want {
			t.Errorf("%s:\n got %s\nwant %s", name, hex.EncodeToString(got[:min(n, len(got))]), want)
		} else if len(bytes.Trim(got[n:], "\x00")) > 0 {
			t.Errorf("%s: behind the structure is %x", name, got[n:])
		}
	}
	if len(lines) != len(commands)+len(parts)+1 {
		t.Errorf("%d structures of C, %d of Go", len(lines), len(commands)+len(parts)+1)
	}
}

func TestTheTableOfStructuresIsWhatCPrints(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "layout")
	flags, err := exec.Command("pkg-config", "--cflags", "spice-protocol").Output()
	if err != nil {
		need.OrSkip(t, fmt.Sprintf("pkg-config spice-protocol: %v; run scripts/setup.sh", err))
	}
	args := append(strings.Fields(string(flags)), "-o", program, "testdata/layout.c")
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	got, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/layout.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("testdata/layout.txt is not what testdata/layout.c prints:\n%s", got)
	}
}

func TestPixelsAreChainedInWholeRows(t *testing.T) {
	pixels := make([]byte, 10*7)
	for i := range pixels {
		pixels[i] = byte(i)
	}
	for chunks := range 12 {
		im := &qxl.Image{Format: qxl.Bit8A, Width: 10, Height: 7, Chunks: chunks, Data: qxl.Bytes(pixels)}
		_, m := packed(t, drawable(&qxl.Copy{Src: im}))
		// The image was allocated last but one. The address of its pixels is at its end.
		header := m.at[m.order[len(m.order)-2]]
		at := le64(header[18+14+8:])
		var all []byte
		pieces := 0
		for at != 0 {
			chunk := m.at[at]
			n := le32(chunk)
			if n%10 != 0 || int(n) != len(chunk)-20 {
				t.Fatalf("%d chunks: one of %d bytes in %d", chunks, n, len(chunk))
			}
			all = append(all, chunk[20:]...)
			at = le64(chunk[12:])
			pieces++
		}
		if !bytes.Equal(all, pixels) || pieces > max(chunks, 1) {
			t.Errorf("%d chunks: got %d with %d bytes, want all %d in order", chunks, pieces, len(all), len(pixels))
		}
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
func le64(b []byte) uint64 { return uint64(le32(b)) | uint64(le32(b[4:]))<<32 }

func TestADrawingNamesTheSurfacesThatItDrawsFrom(t *testing.T) {
	from := &qxl.Image{FromSurface: true, Surface: 9, Width: 20, Height: 10}
	d := drawable(&qxl.Copy{Src: from})
	named, _ := packed(t, d)
	const dests = 8 + 4 + 1 + 1 + 1 + 16 + 16 + 12 + 4
	if got := le32(named[dests:]); got != 9 {
		t.Errorf("it names surface %d, want 9", got)
	}
	if got, want := hex.EncodeToString(named[dests+12:dests+28]), "00000000000000000a00000014000000"; got != want {
		t.Errorf("of it %s, want %s", got, want)
	}
	d.Unnamed = true
	unnamed, _ := packed(t, d)
	if got := le32(unnamed[dests:]); got != 0xffffffff {
		t.Errorf("an unnamed one names surface %d", got)
	}
}

func TestMemoryThatIsFullIsAnError(t *testing.T) {
	_, err := qxl.Pack(&blocks{room: 100}, drawable(&qxl.Copy{Src: &qxl.Image{Format: qxl.Bit32, Width: 64, Height: 64, Data: qxl.Bytes(make([]byte, 64*64*4))}}), 1, nil)
	if !errors.Is(err, errFull) {
		t.Errorf("got %v, want the memory's own error", err)
	}
}
