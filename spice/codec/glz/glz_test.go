package glz_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/spice/codec"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/glz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var types = []glz.Type{glz.RGB16, glz.RGB24, glz.RGB32, glz.RGBA}

// shown returns what a picture with alpha looks like after a type has passed it on.
func shown(p *codectest.Picture, t glz.Type) *codectest.Picture {
	switch t {
	case glz.RGB16:
		_, p = p.RGB555()
		return p
	case glz.RGBA:
		return p
	}
	q := *p
	q.Pix = bytes.Clone(p.Pix)
	return opaque(&q)
}

// opaque clears X, which may be left over from an image with alpha.
func opaque(p *codectest.Picture) *codectest.Picture {
	for i := 3; i < len(p.Pix); i += 4 {
		p.Pix[i] = 0
	}
	return p
}

func decode(t testing.TB, dec *glz.Decoder, data []byte) (*codectest.Picture, glz.Header) {
	t.Helper()
	h, err := glz.ParseHeader(data)
	require.NoError(t, err)
	p := &codectest.Picture{Name: fmt.Sprint("image ", h.ID), Width: h.Width, Height: h.Height, Pix: make([]byte, 4*h.Width*h.Height)}
	got, err := dec.Decode(t.Context(), p.Pix, 4*h.Width, data)
	require.NoError(t, err)
	if diff := cmp.Diff(h, got); diff != "" {
		t.Errorf("%s: header (-parsed +decoded):\n%s", p.Name, diff)
	}
	if !h.Type.HasAlpha() {
		opaque(p)
	}
	return p, h
}

// The vectors are the images of one session, in the order of their names.
func TestVectorsDecodeToTheirPixels(t *testing.T) {
	dec := glz.NewWindow(1 << 14).NewDecoder()
	for _, v := range codectest.Load(t) {
		p := &codectest.Picture{Width: v.Width, Height: v.Height, Pix: make([]byte, 4*v.Width*v.Height)}
		h, err := dec.Decode(t.Context(), p.Pix, 4*v.Width, v.Data)
		if !h.Type.HasAlpha() {
			opaque(p)
		}
		v.Check(t, p.Pix, err)
	}
}

// A session: pictures of all kinds, types, sizes and directions one after the other, in
// which later ones refer to earlier ones.
func TestASessionSurvives(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {3, 5}, {17, 33}, {90, 40}} {
		for _, keep := range []int{-1, 1, 3, 70, 0} {
			enc := &codectest.GLZEncoder{Keep: keep}
			dec := glz.NewWindow(8 << 20).NewDecoder()
			for round := range 3 {
				for i, p := range codectest.Pictures(size[0]+round%2, size[1]) {
					p = p.WithAlpha()
					for _, typ := range types {
						topDown := (round+i)%3 != 0
						data := enc.Encode(p, int(typ), topDown)
						what := fmt.Sprintf("%s %s %dx%d top-down %t, image %d", p.Name, typ, p.Width, p.Height, topDown, enc.Next-1)
						got, h := decode(t, dec, data)
						assert.Equal(t, topDown, h.TopDown, what)
						codectest.Equal(t, what, got.Pix, shown(p, typ))
						if t.Failed() {
							return
						}
					}
				}
			}
		}
	}
}

func TestLargeImagesReachAllTheWay(t *testing.T) {
	enc := &codectest.GLZEncoder{Keep: 2}
	dec := glz.NewWindow(4 << 20).NewDecoder()
	for range 2 {
		for _, p := range []*codectest.Picture{codectest.Text(1280, 800), codectest.UI(1280, 800)} {
			got, _ := decode(t, dec, enc.Encode(p, codectest.LZRGB32, true))
			codectest.Equal(t, p.Name, got.Pix, p)
		}
	}
}

// Items by hand, for what the encoder never writes: offsets of more than 12 and 17 bits and
// image distances of up to three bytes, each against an image that counts its pixels.
func TestOffsetsAndDistancesOfEveryLength(t *testing.T) {
	counting := &codectest.Picture{Name: "counting", Width: 2048, Height: 128, Pix: make([]byte, 4<<18)}
	for i := range 1 << 18 {
		binary.LittleEndian.PutUint32(counting.Pix[4*i:], uint32(i*31)&0xffffff)
	}
	one := &codectest.Picture{Name: "one", Width: 1, Height: 1, Pix: make([]byte, 4)}
	w := glz.NewWindow(2 << 20)
	dec := w.NewDecoder()
	enc := &codectest.GLZEncoder{}
	decode(t, dec, enc.Encode(counting, codectest.LZRGB32, true))
	var next uint64 = 1
	for _, tt := range []struct {
		distance uint64
		offset   int
		item     []byte
	}{
		{1, 0, []byte{0x40, 0, 1}},
		{2, 0xabc, []byte{0x4c, 0xab, 2}},
		{64, 7, []byte{0x47, 0, 0x40, 1}},
		{70, 0x1abcd, []byte{0x5d, 0xbc, 0x5a, 70}},
		{71, 0x3abcd, []byte{0x5d, 0xbc, 0x7a, 71, 1}},
		{72, 0x1, []byte{0x41, 0, 0x48, 1}},
		{300, 0x12345, []byte{0x55, 0x34, 0x92, 300 & 255, 300 >> 8}},
		{400, 0x33333, []byte{0x53, 0x33, 0xf3, 400 & 255, 400 >> 8, 0, 1}},
		{16500, 0x21, []byte{0x41, 0x02, 0xc0 | 16500&63, 16500 >> 6 & 255, 16500 >> 14, 0}},
	} {
		for next < tt.distance { // images in between
			decode(t, dec, glzImage(one, next, next, 0, 1, 2, 3))
			next++
		}
		two := &codectest.Picture{Name: "two", Width: 2, Height: 1, Pix: make([]byte, 8)}
		got, _ := decode(t, dec, glzImage(two, next, next, tt.item...))
		next++
		assert.Equal(t, counting.Pix[4*tt.offset:][:8], got.Pix, "distance %d, offset %#x", tt.distance, tt.offset)
	}
}

func TestDistancesThatLookAlikeAreToldApart(t *testing.T) {
	dec := glz.NewWindow(1 << 10).NewDecoder()
	one := &codectest.Picture{Width: 1, Height: 1}
	for id := range uint64(40) {
		decode(t, dec, glzImage(one, id, id, 0, byte(id), 0, 0))
	}
	three := &codectest.Picture{Width: 3, Height: 1}
	got, _ := decode(t, dec, glzImage(three, 40, 40, 0x20, 0, 1, 0x20, 0, 17, 0x20, 0, 33))
	assert.Equal(t, []byte{39, 0, 0, 0, 23, 0, 0, 0, 7, 0, 0, 0}, got.Pix)
}

// glzImage returns an image of type RGB32 with the stream given.
func glzImage(p *codectest.Picture, id, head uint64, stream ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x20205a4c)
	b = binary.BigEndian.AppendUint32(b, 1<<16|1)
	b = append(b, 0x18)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Width))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Height))
	b = binary.BigEndian.AppendUint32(b, uint32(4*p.Width))
	b = binary.BigEndian.AppendUint64(b, id)
	b = binary.BigEndian.AppendUint32(b, uint32(head))
	return append(b, stream...)
}

func TestHeaderIsReadFromItsBytes(t *testing.T) {
	data := []byte{
		' ', ' ', 'Z', 'L', // magic
		0, 1, 0, 1, // version
		0x19,             // top-down, type 9
		0, 0, 0x05, 0x00, // width
		0, 0, 0x03, 0x20, // height
		0, 0, 0x14, 0x00, // stride
		0, 0, 0, 1, 0, 0, 0, 2, // id
		0, 0, 0, 3, // distance of the window's head
	}
	h, err := glz.ParseHeader(data)
	require.NoError(t, err)
	assert.Equal(t, glz.Header{Type: glz.RGBA, Width: 1280, Height: 800, TopDown: true, ID: 1<<32 + 2, HeadDistance: 3}, h)
	codectest.Prefixes(t, "header", data, func(b []byte) error {
		_, err := glz.ParseHeader(b)
		return err
	})
}

func TestTruncatedImagesAreMalformed(t *testing.T) {
	for _, p := range []*codectest.Picture{codectest.UI(17, 13), codectest.Photo(3, 5), codectest.Text(1, 1)} {
		for _, typ := range types {
			enc := &codectest.GLZEncoder{}
			first, second := enc.Encode(p.WithAlpha(), int(typ), true), enc.Encode(p.Flipped().WithAlpha(), int(typ), true)
			dst := make([]byte, len(p.Pix))
			codectest.Prefixes(t, p.Name+" "+typ.String(), second, func(b []byte) error {
				dec := glz.NewWindow(1 << 12).NewDecoder()
				if _, err := dec.Decode(t.Context(), nil, 0, first); err != nil {
					return err
				}
				_, err := dec.Decode(t.Context(), dst, 4*p.Width, b)
				return err
			})
		}
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	p := &codectest.Picture{Width: 2, Height: 2}
	set := func(at int, v ...byte) []byte {
		b := glzImage(p, 1, 1, 0, 1, 2, 3)
		copy(b[at:], v)
		return b
	}
	for _, tt := range []struct {
		data []byte
		want string
	}{
		{set(0, 1), "glz: malformed image at byte 0: magic 0x01205a4c, want 0x20205a4c"},
		{set(7, 9), "glz: unsupported image: version 1.9"},
		{set(8, 0x15), "glz: unsupported image: type 5"},
		{set(8, 0x1a), "glz: unsupported image: type 10"},
		{set(9, 0x80), "glz: malformed image at byte 9: size -2147483646x2, want 1 to 32768 each way"},
		{set(32, 2), "glz: malformed image at byte 29: image 1 reaches back 2 images"},
		{glzImage(p, 0, 0, 0, 1, 2, 3), "glz: malformed image at byte 21: image 0 for the second time"},
		{glzImage(p, 1, 1, 0x20, 0, 0), "glz: malformed image at byte 36: match reaches back before the start of the image"},
		{glzImage(p, 1, 1, 0, 1, 2, 3, 0x80, 0, 0), "glz: malformed image at byte 40: item runs past the end of the image"},
		{glzImage(p, 1, 1, 4), "glz: malformed image at byte 33: item runs past the end of the image"},
		{glzImage(p, 1, 1, 3, 1, 2, 3), "glz: malformed image at byte 37: truncated"},
		{glzImage(p, 1, 1, 0x81, 0, 1), "glz: malformed image at byte 36: match runs past the end of the image that it refers to"},
		{glzImage(p, 1, 1, 0x80, 0, 2), "glz: malformed image at byte 36: match refers to an image that the server has let go"},
		{glzImage(p, 1, 0, 0x80, 0, 1), "glz: malformed image at byte 36: match refers to an image that the server has let go"},
		{glzImage(p, 1, 1, 0x80, 0, 1, 9), "glz: malformed image at byte 36: 1 bytes after the end of the image"},
	} {
		dec := glz.NewWindow(1 << 10).NewDecoder()
		_, err := dec.Decode(t.Context(), nil, 0, glzImage(p, 0, 0, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3))
		require.NoError(t, err)
		_, err = dec.Decode(t.Context(), make([]byte, 16), 8, tt.data)
		assert.EqualError(t, err, tt.want)
	}
}

func TestShortDestinationIsTheCallersMistake(t *testing.T) {
	p := codectest.UI(17, 33)
	data := new(codectest.GLZEncoder).Encode(p, codectest.LZRGB32, true)
	dec := glz.NewWindow(1 << 20).NewDecoder()
	for _, tt := range []struct{ n, stride int }{
		{len(p.Pix) - 1, 68}, {len(p.Pix), 67}, {0, 68}, {len(p.Pix), 69}, {len(p.Pix), -68}, {len(p.Pix), math.MaxInt},
	} {
		_, err := dec.Decode(t.Context(), make([]byte, tt.n), tt.stride, data)
		var d *codec.DestinationError
		assert.ErrorAs(t, err, &d, "%d bytes, stride %d", tt.n, tt.stride)
	}
	// The image has not been used up by the attempts.
	codectest.Gaps(t, "with gaps", p, func(dst []byte, stride int) error {
		_, err := glz.NewWindow(1<<20).NewDecoder().Decode(t.Context(), dst, stride, data)
		return err
	})
}

// Two channels; the second image comes first:
//
//	channel 1            channel 2
//	                     image 1: refers to image 0, waits
//	image 0 arrives
//	                     image 1 goes on
func TestAnImageWaitsForTheOneItRefersTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := codectest.UI(17, 33)
		enc := &codectest.GLZEncoder{}
		first, second := enc.Encode(p, codectest.LZRGB32, true), enc.Encode(p, codectest.LZRGB32, false)
		w := glz.NewWindow(1 << 20)
		done := false
		go func() {
			dst := make([]byte, len(p.Pix))
			_, err := w.NewDecoder().Decode(t.Context(), dst, 4*p.Width, second)
			assert.NoError(t, err)
			codectest.Equal(t, "second", dst, p)
			done = true
		}()
		synctest.Wait()
		assert.False(t, done)
		_, err := w.NewDecoder().Decode(t.Context(), nil, 0, first)
		require.NoError(t, err)
		synctest.Wait()
		assert.True(t, done)
	})
}

// What an image may refer to stays until it is decoded, even if a server says, in an image
// that arrives meanwhile, that it needs it no longer:
//
//	channel 1                              channel 2
//	images 0 to 2
//	                                       image 4: refers to image 3, waits
//	image 3: needs nothing from before
//	                                       image 4 goes on: refers to image 1
func TestImagesStayWhileTheyMayBeReferredTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := &codectest.Picture{Width: 1, Height: 1}
		w := glz.NewWindow(100)
		dec := w.NewDecoder()
		for id := range uint64(3) {
			decode(t, dec, glzImage(one, id, id, 0, byte(10+id), 0, 0))
		}
		two := &codectest.Picture{Width: 2, Height: 1}
		got := make(chan []byte)
		go func() {
			p, _ := decode(t, w.NewDecoder(), glzImage(two, 4, 4, 0x20, 0, 1, 0x20, 0, 3))
			got <- p.Pix
		}()
		synctest.Wait()
		decode(t, dec, glzImage(one, 3, 0, 0, 13, 0, 0))
		assert.Equal(t, []byte{13, 0, 0, 0, 11, 0, 0, 0}, <-got)
	})
}

func TestImagesKeepToTheirOwnHead(t *testing.T) {
	one := &codectest.Picture{Width: 1, Height: 1}
	w := glz.NewWindow(100)
	decode(t, w.NewDecoder(), glzImage(one, 0, 0, 0, 1, 2, 3))
	// Image 1 is still on its way, so that image 0 is there; but image 2 does without it.
	_, err := w.NewDecoder().Decode(t.Context(), nil, 0, glzImage(one, 2, 1, 0x20, 0, 2))
	assert.ErrorContains(t, err, "match refers to an image that the server has let go")
	n, size := w.Size()
	assert.Equal(t, 2, n, "the damaged image counts")
	assert.Equal(t, 4, size, "but takes no memory")
}

func TestMemoryIsUsedAgain(t *testing.T) {
	p := codectest.UI(40, 30)
	w := glz.NewWindow(40 * 30)
	dec := w.NewDecoder()
	enc := &codectest.GLZEncoder{Keep: -1}
	for range 5 {
		decode(t, dec, enc.Encode(p, codectest.LZRGB32, true))
		n, size := w.Size()
		assert.Equal(t, 1, n)
		assert.Equal(t, len(p.Pix), size)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := codectest.UI(17, 33)
		enc := &codectest.GLZEncoder{}
		enc.Encode(p, codectest.LZRGB32, true)
		second := enc.Encode(p, codectest.LZRGB32, true)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("display channel closed")
		errs := make(chan error)
		go func() {
			_, err := glz.NewWindow(1<<20).NewDecoder().Decode(ctx, nil, 0, second)
			errs <- err
		}()
		synctest.Wait()
		cancel(gone)
		err := <-errs
		assert.ErrorIs(t, err, gone)
		assert.EqualError(t, err, "glz: image 1 waits for image 0: display channel closed")
	})
}

func TestWhoWaitsForADamagedImageIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := codectest.UI(17, 33)
		enc := &codectest.GLZEncoder{}
		first, second := enc.Encode(p, codectest.LZRGB32, true), enc.Encode(p, codectest.LZRGB32, true)
		w := glz.NewWindow(1 << 20)
		errs := make(chan error)
		go func() {
			_, err := w.NewDecoder().Decode(t.Context(), nil, 0, second)
			errs <- err
		}()
		synctest.Wait()
		_, err := w.NewDecoder().Decode(t.Context(), nil, 0, first[:len(first)-1])
		require.Error(t, err)
		assert.ErrorContains(t, <-errs, "match refers to an image that could not be decoded")
	})
}

// Four channels decode the images of a session dealt out between them, with nothing but
// the window to order them.
func TestChannelsShareAWindow(t *testing.T) {
	const channels, images = 4, 400
	enc := &codectest.GLZEncoder{Keep: 5}
	p := []*codectest.Picture{codectest.UI(40, 30), codectest.Text(64, 20), codectest.Photo(20, 20)}
	var queue [channels][][]byte
	for i := range images {
		queue[i%channels] = append(queue[i%channels], enc.Encode(p[i%7%3], codectest.LZRGB32, i%2 == 0))
	}
	w := glz.NewWindow(1 << 20)
	var group sync.WaitGroup
	for c := range queue {
		group.Go(func() {
			dec := w.NewDecoder()
			for i, data := range queue[c] {
				want := p[(i*channels+c)%7%3]
				dst := make([]byte, len(want.Pix))
				if _, err := dec.Decode(t.Context(), dst, 4*want.Width, data); err != nil {
					t.Errorf("channel %d, image %d: %v", c, i*channels+c, err)
					return
				}
				codectest.Equal(t, fmt.Sprint("image ", i*channels+c), dst, want)
			}
		})
	}
	group.Wait()
	n, _ := w.Size()
	assert.Equal(t, 6, n, "images in the window: the last and the five before it")
}

func TestTheWindowStaysWithinItsLimit(t *testing.T) {
	const pixels = 10000
	w := glz.NewWindow(pixels)
	dec := w.NewDecoder()
	enc := &codectest.GLZEncoder{Keep: 2}
	for i := range 300 {
		p := codectest.UI(20+i*7%40, 20+i*11%40)
		_, err := dec.Decode(t.Context(), nil, 0, enc.Encode(p, codectest.LZRGB32, true))
		require.NoError(t, err)
		n, size := w.Size()
		assert.LessOrEqual(t, size, 8*pixels, "image %d", i)
		assert.LessOrEqual(t, n, 3)
	}
	// A server that lets nothing go.
	greedy := &codectest.GLZEncoder{Next: 300, Keep: 0}
	var err error
	for i := 0; err == nil; i++ {
		require.Less(t, i, 100)
		_, err = dec.Decode(t.Context(), nil, 0, greedy.Encode(codectest.UI(50, 50), codectest.LZRGB32, true))
		_, size := w.Size()
		assert.LessOrEqual(t, size, 8*pixels)
	}
	assert.Equal(t, codectest.Malformed, codectest.Kind(err), "%v", err)
	assert.ErrorContains(t, err, "does not fit")
}

func TestASessionCanStartOver(t *testing.T) {
	p := codectest.UI(17, 33)
	w := glz.NewWindow(1 << 20)
	dec := w.NewDecoder()
	for range 2 {
		enc := &codectest.GLZEncoder{}
		for range 3 {
			got, _ := decode(t, dec, enc.Encode(p, codectest.LZRGB32, true))
			codectest.Equal(t, "after Reset", got.Pix, p)
		}
		w.Reset()
		n, size := w.Size()
		assert.Zero(t, n)
		assert.Zero(t, size)
	}
}

func TestASessionCanBeJoinedInTheMiddle(t *testing.T) {
	p := codectest.UI(17, 33)
	enc := &codectest.GLZEncoder{Next: 1000, Keep: 2}
	w := glz.NewWindow(3000)
	dec := w.NewDecoder()
	for range 50 {
		got, _ := decode(t, dec, enc.Encode(p, codectest.LZRGB32, true))
		codectest.Equal(t, "from image 1000 on", got.Pix, p)
	}
	n, _ := w.Size()
	assert.Equal(t, 3, n)
}

func deflate(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestZlibImagesAreInflatedFirst(t *testing.T) {
	enc := &codectest.GLZEncoder{Keep: 2}
	dec := glz.NewWindow(1 << 20).NewDecoder()
	for range 3 {
		for _, p := range codectest.Pictures(130, 70) {
			data := enc.Encode(p, codectest.LZRGB32, true)
			dst := make([]byte, len(p.Pix))
			_, err := dec.DecodeZlib(t.Context(), dst, 4*p.Width, len(data), deflate(t, data))
			require.NoError(t, err)
			codectest.Equal(t, p.Name, dst, p)
		}
	}
}

func TestZlibImagesMustBeAsLongAsDeclared(t *testing.T) {
	p := codectest.UI(17, 33)
	data := new(codectest.GLZEncoder).Encode(p, codectest.LZRGB32, true)
	z := deflate(t, data)
	dec := glz.NewWindow(1 << 12).NewDecoder()
	try := func(size int, src []byte) error {
		_, err := dec.Inflate(size, src)
		return err
	}
	require.NoError(t, try(len(data), z))
	codectest.Prefixes(t, "zlib", z, func(b []byte) error { return try(len(data), b) })
	for what, err := range map[string]error{
		"declared shorter": try(len(data)-1, z),
		"declared longer":  try(len(data)+1, z),
		"declared 0":       try(0, z),
		"declared -1":      try(-1, z),
		"declared huge":    try(math.MaxInt32, z),
		"a byte more":      try(len(data), append(bytes.Clone(z), 0)),
		"not zlib":         try(len(data), data),
		"a bomb":           try(20000, deflate(t, make([]byte, 1<<22))),
	} {
		assert.Equal(t, codectest.Malformed, codectest.Kind(err), "%s: %v", what, err)
	}
	require.NoError(t, try(len(data), z), "after errors")
}

func TestSteadyDecodingAllocatesNothing(t *testing.T) {
	const frames = 64
	p := codectest.UI(100, 50)
	enc := &codectest.GLZEncoder{Keep: 3}
	var images [frames][]byte
	for i := range images {
		images[i] = enc.Encode(p, codectest.LZRGB32, true)
	}
	dst := make([]byte, len(p.Pix))
	dec := glz.NewWindow(1 << 20).NewDecoder()
	next := 0
	frame := func() {
		if _, err := dec.Decode(t.Context(), dst, 4*p.Width, images[next]); err != nil {
			t.Error(err)
		}
		next++
	}
	for range 10 {
		frame()
	}
	assert.Zero(t, testing.AllocsPerRun(frames-11, frame))
}

func FuzzDecode(f *testing.F) {
	for _, p := range codectest.Pictures(9, 7) {
		for _, typ := range types {
			enc := &codectest.GLZEncoder{}
			first := enc.Encode(p.WithAlpha(), int(typ), true)
			second := enc.Encode(p.WithAlpha(), int(typ), false)
			f.Add(second)
			f.Add(first)
		}
	}
	before := new(codectest.GLZEncoder).Encode(codectest.UI(9, 7).WithAlpha(), codectest.LZRGBA, true)
	f.Fuzz(func(t *testing.T, data []byte) {
		const pixels = 1 << 14
		w := glz.NewWindow(pixels)
		dec := w.NewDecoder()
		if _, err := dec.Decode(t.Context(), nil, 0, before); err != nil {
			t.Fatal(err)
		}
		h, err := glz.ParseHeader(data)
		if err != nil {
			if k := codectest.Kind(err); k != codectest.Malformed && k != codectest.Unsupported {
				t.Fatalf("header: %v", err)
			}
			return
		}
		if h.Width*h.Height > pixels {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // there is nobody to wait for
		dst := make([]byte, 4*h.Width*h.Height)
		_, err = dec.Decode(ctx, dst, 4*h.Width, data)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed && !errors.Is(err, context.Canceled) {
			t.Fatalf("%v: %v", h, err)
		}
		if _, size := w.Size(); size > 8*pixels {
			t.Fatalf("%v: window of %d bytes", h, size)
		}
	})
}

func FuzzInflate(f *testing.F) {
	data := new(codectest.GLZEncoder).Encode(codectest.UI(9, 7), codectest.LZRGB32, true)
	f.Add(len(data), deflate(f, data))
	f.Add(len(data)-1, deflate(f, data))
	dec := glz.NewWindow(1 << 12).NewDecoder()
	f.Fuzz(func(t *testing.T, size int, data []byte) {
		got, err := dec.Inflate(size, data)
		if k := codectest.Kind(err); k != codectest.OK && k != codectest.Malformed {
			t.Fatal(err)
		}
		if err == nil && len(got) != size {
			t.Fatalf("%d bytes, want %d", len(got), size)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, p := range codectest.Pictures(1280, 800) {
		for _, tt := range []struct {
			name string
			keep int
		}{{"alone", -1}, {"repeated", 1}} {
			b.Run(p.Name+"/"+tt.name, func(b *testing.B) {
				enc := &codectest.GLZEncoder{Keep: tt.keep}
				enc.Encode(p, codectest.LZRGB32, true)
				data := enc.Encode(p, codectest.LZRGB32, true)
				dec := glz.NewWindow(3 << 20).NewDecoder()
				first := (&codectest.GLZEncoder{}).Encode(p, codectest.LZRGB32, true)
				if _, err := dec.Decode(b.Context(), nil, 0, first); err != nil {
					b.Fatal(err)
				}
				dst := make([]byte, len(p.Pix))
				id := uint64(0)
				codectest.Benchmark(b, p, func() error {
					id++
					binary.BigEndian.PutUint64(data[21:], id)
					_, err := dec.Decode(b.Context(), dst, 4*p.Width, data)
					return err
				})
			})
		}
	}
}
