package canvas_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/canvas"
)

// The cases of this file are drawings made up at random, each from its own seed. testdata/reference.txt holds the checksum of what spice-common's
// software canvas with pixman 0.42.2 drew for each: "operation format seed crc32", the sum over the cells in format
// order, little-endian, without the byte X.
//
// CANVAS_REFERENCE=PROGRAM runs the cases on another implementation as well, only those of CANVAS_ONLY=OPERATION if that
// is set, and, with CANVAS_UPDATE=1, writes the file anew. The program reads cases from standard input as 32-bit little-endian words, in the order in which the code below puts
// them, and answers each with the destination's cells.

// cases returns how many drawings of an operation there are for each format.
func cases(operation string) uint64 {
	if operation == "composite_blend" {
		if n, err := strconv.Atoi(os.Getenv("CANVAS_CASES")); err == nil {
			return uint64(n)
		}
		return 5 * uint64(len(blendOperators))
	}
	return 40
}

var operations = []struct {
	name    string
	formats []canvas.Format
	make    func(*drawing) func() error
}{
	{"fill", all, (*drawing).fill},
	{"copy", all, (*drawing).copy},
	{"opaque", all, (*drawing).opaque},
	{"copy_bits", all, (*drawing).copyBits},
	{"transparent", all[:4], (*drawing).transparent},
	{"alpha_blend", all, (*drawing).alphaBlend},
	{"rop3", all[:4], (*drawing).rop3},
	{"text", all, (*drawing).text},
	{"stroke", all, (*drawing).stroke},
	{"composite", all, (*drawing).composite},
	{"composite_blend", all, (*drawing).compositeBlend},
}

var all = []canvas.Format{canvas.XRGB, canvas.ARGB, canvas.RGB555, canvas.RGB565, canvas.A8}

// drawing is one drawing: its random numbers, its destination, and its words for another implementation.
type drawing struct {
	*rand.Rand
	words []byte
	dst   *canvas.Image
	box   image.Rectangle
	area  canvas.Area
	what  string // the operation's parameters, for who looks into a failure
	plain bool   // patterns are images, not surfaces
	loose bool   // colours may be more than their alpha
	near  bool   // patterns begin left of and above the box
}

func (k *drawing) put(values ...int) {
	for _, v := range values {
		k.words = binary.LittleEndian.AppendUint32(k.words, uint32(v))
	}
}

func (k *drawing) flip() bool { return k.IntN(2) == 0 }

func (k *drawing) note(format string, args ...any) { k.what += fmt.Sprintf(format, args...) }

func cellMask(f canvas.Format) uint32 {
	switch f {
	case canvas.A1:
		return 1
	case canvas.A8:
		return 0xff
	case canvas.RGB555:
		return 0x7fff
	case canvas.RGB565:
		return 0xffff
	case canvas.XRGB:
		return 0xffffff
	}
	return 0xffffffff
}

// image makes an image; colours with alpha are premultiplied, unless loose is set.
func (k *drawing) image(f canvas.Format, w, h int) *canvas.Image {
	m := canvas.New(f, w, h)
	few := k.flip()
	for i := range w * h {
		v := k.Uint32()
		if few {
			v = []uint32{0, 0xffffffff, 0xff0000ff, 0x8000ff00, 0x00ffffff}[k.IntN(5)]
		}
		if f == canvas.ARGB && !k.loose {
			a := v >> 24
			if k.IntN(3) == 0 {
				a = []uint32{0, 255}[k.IntN(2)]
			}
			v = a<<24 | (v>>16&255)*a/255<<16 | (v>>8&255)*a/255<<8 | (v&255)*a/255
		}
		m.Set(i%w, i/w, v&cellMask(f))
	}
	return m
}

func (k *drawing) putImage(m *canvas.Image) {
	k.put(int(m.Format), m.Width, m.Height)
	for i := range m.Width * m.Height {
		k.put(int(m.At(i%m.Width, i/m.Width)))
	}
}

func (k *drawing) rect(w, h int) image.Rectangle {
	x, y := k.IntN(w), k.IntN(h)
	return image.Rect(x, y, x+1+k.IntN(w-x), y+1+k.IntN(h-y))
}

func (k *drawing) putRect(r image.Rectangle) { k.put(r.Min.X, r.Min.Y, r.Max.X, r.Max.Y) }

// source is an image to draw from. What is no surface is brought to the destination's format unless as it is, as package spice does.
func (k *drawing) source(w, h int, asIs bool) (m *canvas.Image, surface bool) {
	surface = !k.plain && k.IntN(3) == 0
	f := []canvas.Format{canvas.XRGB, canvas.ARGB, canvas.RGB555}[k.IntN(3)]
	if surface {
		f = k.dst.Format
	}
	m = k.image(f, w+k.IntN(8), h+k.IntN(8))
	k.note(" from %v surface=%v", f, surface)
	if surface {
		k.put(2)
	} else {
		k.put(1)
	}
	k.putImage(m)
	if !surface && !asIs {
		m = m.Convert(k.dst.Format)
	}
	return m, surface
}

// part is a source and the part of it that is drawn: of the box's size twice in three times.
func (k *drawing) part(asIs bool) (m *canvas.Image, from image.Rectangle, surface bool) {
	w, h := k.box.Dx(), k.box.Dy()
	m, surface = k.source(w, h, asIs)
	from = image.Rect(0, 0, w, h).Add(image.Pt(k.IntN(m.Width-w+1), k.IntN(m.Height-h+1)))
	if k.IntN(3) == 0 {
		from = k.rect(m.Width, m.Height)
	}
	k.note(" %v", from)
	k.putRect(from)
	return m, from, surface
}

func (k *drawing) descriptor() canvas.Descriptor {
	d := canvas.OpPut
	if k.flip() {
		d <<= k.IntN(7)
		d |= canvas.Descriptor(k.IntN(8)) | canvas.Descriptor(k.IntN(2))<<10
	}
	k.note(" descriptor %#x", uint16(d))
	return d
}

func (k *drawing) mode() canvas.ScaleMode {
	m := k.IntN(2)
	k.note(" mode %d", m)
	k.put(m)
	return canvas.ScaleMode(m)
}

func (k *drawing) brush() canvas.Brush {
	switch k.IntN(4) {
	case 0:
		c := int(k.Uint32() & cellMask(k.dst.Format) & 0xffffff)
		k.note(" solid %#x", c)
		k.put(1, c)
		return canvas.Solid(uint32(c))
	case 1:
		k.put(0)
		return canvas.NoBrush()
	}
	at := image.Pt(k.IntN(30)-10, k.IntN(30)-10)
	if k.near {
		at = image.Pt(-k.IntN(10), -k.IntN(10))
	}
	k.note(" pattern at %v", at)
	k.put(2, at.X, at.Y)
	m, _ := k.source(1, 1, true)
	return canvas.Pattern(m, at)
}

func (k *drawing) mask() {
	if k.flip() {
		k.put(0, 0, 0, 0)
		return
	}
	invert, at := k.IntN(2), image.Pt(k.IntN(5), k.IntN(5))
	k.note(" mask at %v invert %d", at, invert)
	k.put(invert, at.X, at.Y, 1)
	m := k.image(canvas.A1, k.box.Dx()+5+k.IntN(40), k.box.Dy()+5)
	k.putImage(m)
	k.area.Mask = &canvas.Mask{Image: m, Pos: at, Invert: invert == 1}
}

func (k *drawing) fill() func() error {
	b, d := k.brush(), k.descriptor()
	k.put(int(d))
	k.mask()
	return func() error { return k.dst.Fill(k.area, b, d.Rop(canvas.InvertBrush, canvas.InvertDest)) }
}

func (k *drawing) copy() func() error {
	m, from, _ := k.part(false)
	d := k.descriptor()
	k.put(int(d))
	mode := k.mode()
	k.mask()
	return func() error {
		return k.dst.Copy(k.area, m, from, d.Rop(canvas.InvertSrc, canvas.InvertDest), mode)
	}
}

func (k *drawing) opaque() func() error {
	m, from, _ := k.part(false)
	b, d := k.brush(), k.descriptor()
	k.put(int(d))
	mode := k.mode()
	k.mask()
	return func() error {
		return k.dst.Opaque(k.area, m, from, b, d.Rop(canvas.InvertBrush, canvas.InvertSrc), mode)
	}
}

func (k *drawing) copyBits() func() error {
	at := image.Pt(k.IntN(k.dst.Width), k.IntN(k.dst.Height))
	k.note(" from %v", at)
	k.put(at.X, at.Y)
	return func() error { return k.dst.CopyBits(k.area, at) }
}

func (k *drawing) transparent() func() error {
	m, from, _ := k.part(false)
	key := m.Convert(canvas.XRGB).At(k.IntN(m.Width), k.IntN(m.Height)) & 0xffffff
	k.note(" key %#x", key)
	k.put(int(key))
	return func() error { return k.dst.Transparent(k.area, m, from, key) }
}

func (k *drawing) alphaBlend() func() error {
	flags, alpha := k.IntN(4), []int{0, 1, 100, 254, 255}[k.IntN(5)]
	k.note(" flags %d alpha %d", flags, alpha)
	k.put(flags, alpha)
	m, from, surface := k.part(true)
	b := canvas.Blend{Alpha: uint8(alpha), SrcAlpha: surface && flags&2 != 0, DestAlpha: flags&1 != 0}
	return func() error { return k.dst.AlphaBlend(k.area, m, from, b) }
}

// rop3Missing are the codes that the reference does not have: those that need no more than two of the three inputs, which servers send as other
// operations.
const rop3Missing = "\x00\x03\x05\x0a\x0c\x0f\x11\x22\x30\x33\x3c\x3f\x44\x50\x55\x5a\x5f\x66\x77\x88\x99\xa0\xa5\xaa\xaf\xbb\xc0\xc3\xcc\xcf\xdd\xee\xf0\xf3\xf5\xfa\xfc\xff"

func (k *drawing) rop3() func() error {
	m, from, _ := k.part(false)
	k.near = true
	b := k.brush()
	code := byte(k.IntN(256))
	for strings.IndexByte(rop3Missing, code) >= 0 {
		code = byte(k.IntN(256))
	}
	k.note(" code %#x", code)
	k.put(int(code))
	mode := k.mode()
	k.mask()
	return func() error { return k.dst.Rop3(k.area, m, from, b, code, mode) }
}

func (k *drawing) text() func() error {
	fore, back := k.brush(), k.brush()
	var behind image.Rectangle
	if k.flip() {
		behind = k.rect(k.dst.Width, k.dst.Height)
	}
	k.putRect(behind)
	s := canvas.String{Depth: []int{1, 4}[k.IntN(2)]}
	n := 1 + k.IntN(4)
	k.put(s.Depth, n)
	for range n {
		g := canvas.Glyph{Box: k.rect(k.dst.Width, k.dst.Height)}
		k.putRect(g.Box)
		for range (g.Box.Dx()*s.Depth + 7) / 8 * g.Box.Dy() {
			v := k.IntN(256)
			k.put(v)
			g.Data = append(g.Data, byte(v))
		}
		s.Glyphs = append(s.Glyphs, g)
	}
	k.note(" depth %d, %d glyphs, behind %v", s.Depth, n, behind)
	return func() error { return k.dst.Text(k.area, s, fore, back, behind) }
}

func (k *drawing) stroke() func() error {
	k.plain = true
	b, d := k.brush(), k.descriptor()
	pen := canvas.Pen{Brush: b, Rop: d.Rop(canvas.InvertBrush, canvas.InvertDest)}
	k.put(int(d))
	if k.flip() {
		flags := 8
		if pen.StartWithGap = k.flip(); pen.StartWithGap {
			flags |= 4
		}
		for range 1 + k.IntN(4) {
			pen.Dash = append(pen.Dash, canvas.Fixed(16+k.IntN(16*12)))
		}
		k.put(flags, len(pen.Dash))
		for _, f := range pen.Dash {
			k.put(int(f))
		}
		k.note(" dash %v gap %v", pen.Dash, pen.StartWithGap)
	} else {
		k.put(0, 0)
	}
	n := 1 + k.IntN(3)
	k.put(n)
	var path []canvas.Segment
	for i := range n {
		s := canvas.Segment{
			Begin: i == 0 || path[i-1].End || k.flip(), End: k.flip(), Close: k.flip(), Bezier: k.IntN(3) == 0,
		}
		points := 2 + k.IntN(4)
		if s.Bezier {
			points = 3
			if s.Begin {
				points = 4
			}
		}
		flags := 0
		for bit, on := range map[int]bool{1: s.Begin, 2: s.End, 8: s.Close, 16: s.Bezier} {
			if on {
				flags |= bit
			}
		}
		k.put(flags, points)
		for range points {
			x, y := k.IntN((k.dst.Width+20)*16)-160, k.IntN((k.dst.Height+20)*16)-160
			k.put(x, y)
			s.Points = append(s.Points, canvas.PointFix{X: canvas.Fixed(x), Y: canvas.Fixed(y)})
		}
		path = append(path, s)
	}
	k.note(" path %+v", path)
	return func() error {
		return k.dst.Stroke(k.area, path, pen)
	}
}

// blendOperators are the composite operators besides those of Porter and Duff.
var blendOperators = func() (all []int) {
	all = append(all, 0x0d)
	for _, family := range [][2]int{{0x10, 0x1b}, {0x20, 0x2b}, {0x30, 0x3e}} {
		for op := family[0]; op <= family[1]; op++ {
			all = append(all, op)
		}
	}
	return all
}()

func (k *drawing) composite() func() error { return k.compositeWith(k.IntN(13)) }

func (k *drawing) compositeBlend() func() error {
	return k.compositeWith(blendOperators[k.IntN(len(blendOperators))])
}

func (k *drawing) compositeWith(op int) func() error {
	var filter, repeat [2]int
	for i := range 2 {
		filter[i], repeat[i] = k.IntN(5), k.IntN(4)
	}
	component, masked, moved, maskMoved := k.IntN(2), k.IntN(2), k.IntN(2), k.IntN(2)
	if op >= int(canvas.OpHSLHue) && (k.dst.Format == canvas.ARGB || k.dst.Format == canvas.A8) {
		// What pixman does with other sources and a mask is not defined.
		repeat[0], moved = repeat[0]&1, 0
	}
	k.note(" op %d filters %v repeats %v component %d", op, filter, repeat, component)
	k.put(op | filter[0]<<8 | filter[1]<<11 | repeat[0]<<14 | repeat[1]<<16 | component<<18 | masked<<19 | moved<<20 | maskMoved<<21)
	sampled := func(i int, there bool) canvas.Sampled {
		s := canvas.Sampled{Filter: canvas.Filter(filter[i]), Repeat: canvas.Repeat(repeat[i])}
		if there {
			s.Image, _ = k.source(1+k.IntN(k.box.Dx()+4), 1+k.IntN(k.box.Dy()+4), false)
		} else {
			k.put(0)
		}
		return s
	}
	src, mask := sampled(0, true), sampled(1, masked == 1)
	transform := func(on int) *canvas.Transform {
		t := canvas.Transform{{1 << 16, 0, 0}, {0, 1 << 16, 0}}
		if on == 1 {
			switch k.IntN(3) {
			case 0:
				t[0][2], t[1][2] = int32(k.IntN(20)-10)<<16, int32(k.IntN(20)-10)<<16
			case 1:
				t[0][0], t[1][1], t[0][2] = int32(k.IntN(3<<16)), int32(k.IntN(3<<16)), int32(k.IntN(5<<16))
			case 2:
				for i := range 2 {
					for j := range 3 {
						t[i][j] = int32(k.IntN(4<<16) - 2<<16)
					}
				}
			}
		}
		for _, row := range t {
			k.put(int(row[0]), int(row[1]), int(row[2]))
		}
		k.note(" transform %v", t)
		return &t
	}
	src.Transform, mask.Transform = transform(moved), transform(maskMoved)
	src.Origin, mask.Origin = image.Pt(k.IntN(10)-5, k.IntN(10)-5), image.Pt(k.IntN(10)-5, k.IntN(10)-5)
	k.put(src.Origin.X, src.Origin.Y, mask.Origin.X, mask.Origin.Y)
	cover := &mask
	if masked == 0 {
		cover = nil
	}
	return func() error {
		return k.dst.Composite(k.area, canvas.Operator(op), src, cover, component == 1)
	}
}

// newCase makes the drawing of a seed.
func newCase(op int, f canvas.Format, seed uint64) (*drawing, func() error) {
	k := &drawing{Rand: rand.New(rand.NewPCG(seed, uint64(op)<<32|uint64(f)))}
	k.loose = operations[op].name == "composite_blend" && seed%2 == 1
	k.dst = k.image(f, 8+k.IntN(24), 8+k.IntN(16))
	k.putImage(k.dst)
	k.put(op)
	k.box = k.rect(k.dst.Width, k.dst.Height)
	name := operations[op].name
	if name == "text" || name == "stroke" {
		k.box = k.dst.Bounds()
	}
	k.putRect(k.box)
	k.area.Box = k.box
	if k.IntN(3) > 0 {
		k.put(-1)
	} else {
		n := k.IntN(5)
		if name == "stroke" {
			// The reference mixes up its list of spans when it clips a line to several rectangles.
			n = min(n, 1)
		}
		k.put(n)
		k.area.Clipped = true
		for range n {
			r := k.rect(k.dst.Width, k.dst.Height)
			k.putRect(r)
			k.area.Clip = append(k.area.Clip, r)
		}
	}
	k.note("%s on %v %v box %v clip %v", name, f, k.dst.Bounds().Max, k.box, k.area.Clip)
	return k, operations[op].make(k)
}

// cells returns the picture in the form that is summed.
func cells(m *canvas.Image) []byte {
	var b []byte
	for i := range m.Width * m.Height {
		b = binary.LittleEndian.AppendUint32(b, m.At(i%m.Width, i/m.Width)&cellMask(m.Format))
	}
	return b
}

func TestEveryOperationDrawsWhatTheReferenceDraws(t *testing.T) {
	const file = "testdata/reference.txt"
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	want := map[string]string{}
	for line := range strings.Lines(string(golden)) {
		if key, sum, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			want[key] = sum
		}
	}
	program, only := startReference(t), os.Getenv("CANVAS_ONLY")
	var update bytes.Buffer
	checked := 0
	for op := range operations {
		reference := program
		if only != "" && operations[op].name != only {
			reference = nil
		}
		for _, f := range operations[op].formats {
			for seed := range cases(operations[op].name) {
				k, draw := newCase(op, f, seed)
				before := k.dst.Clone()
				require.NoError(t, draw(), k.what)
				got := cells(k.dst)
				key := fmt.Sprintf("%s %v %d", operations[op].name, f, seed)
				sum := fmt.Sprintf("%08x", crc32.ChecksumIEEE(got))
				fmt.Fprintf(&update, "%s = %s\n", key, sum)
				if reference != nil {
					compare(t, k, before, got, reference(k))
				} else if sum != want[key] {
					t.Errorf("%s: checksum %s, want %s\n%s", key, sum, want[key], k.what)
				}
				checked++
			}
		}
	}
	if program != nil && os.Getenv("CANVAS_UPDATE") != "" && !t.Failed() {
		require.NoError(t, os.WriteFile(file, update.Bytes(), 0o644))
	} else {
		require.Len(t, want, checked, "%s has sums of cases that are not drawn", file)
	}
}

// startReference returns what runs a case on the program that CANVAS_REFERENCE names; nil if it names none.
func startReference(t *testing.T) func(*drawing) []byte {
	program := os.Getenv("CANVAS_REFERENCE")
	if program == "" {
		return nil
	}
	cmd := exec.CommandContext(t.Context(), program)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	r := bufio.NewReader(out)
	return func(k *drawing) []byte {
		_, err := in.Write(k.words)
		require.NoError(t, err, k.what)
		b := make([]byte, 4*k.dst.Width*k.dst.Height)
		_, err = io.ReadFull(r, b)
		require.NoError(t, err, k.what)
		return b
	}
}

func compare(t *testing.T, k *drawing, before *canvas.Image, got, want []byte) {
	t.Helper()
	for i := range len(got) / 4 {
		g, w := binary.LittleEndian.Uint32(got[4*i:]), binary.LittleEndian.Uint32(want[4*i:])&cellMask(k.dst.Format)
		if g != w {
			x, y := i%k.dst.Width, i/k.dst.Width
			t.Errorf("%s: at %d,%d got %08x, want %08x, before %08x", k.what, x, y, g, w, before.At(x, y))
			return
		}
	}
}
