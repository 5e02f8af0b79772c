package main

import (
	"encoding/json"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode/decoder"
	"github.com/makiuchi-d/gozxing/qrcode/encoder"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/internal/need"
)

// guestScreen draws a screen whose code has the checksum of the pixels around it.
func guestScreen(t *testing.T) *image.NRGBA {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 640, 480))
	for i := range img.Pix {
		img.Pix[i] = uint8(i / 2560)
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	frame := qrscan.FrameOf(img)
	d := digest.Digest{FrameCounter: 77, FramebufferHash: digest.FramebufferCRC(frame.Pix, 640, 480, 4*640)}
	payload, err := d.Append(nil)
	require.NoError(t, err)
	latin := make([]rune, len(payload))
	for i, b := range payload {
		latin[i] = rune(b)
	}
	// Otherwise the encoder turns the bytes into UTF-8.
	was := encoder.Encoder_DEFAULT_BYTE_MODE_ENCODING
	encoder.Encoder_DEFAULT_BYTE_MODE_ENCODING = charmap.ISO8859_1
	defer func() { encoder.Encoder_DEFAULT_BYTE_MODE_ENCODING = was }()
	code, err := encoder.Encoder_encode(string(latin), decoder.ErrorCorrectionLevel_L, map[gozxing.EncodeHintType]any{gozxing.EncodeHintType_QR_VERSION: 5})
	require.NoError(t, err)
	at := digest.Region(640, 480)
	for y := range 180 {
		for x := range 180 {
			c := color.White
			if mx, my := x/4-4, y/4-4; mx >= 0 && my >= 0 && mx < 37 && my < 37 && code.GetMatrix().Get(mx, my) == 1 {
				c = color.Black
			}
			img.Set(at.Min.X+x, at.Min.Y+y, c)
		}
	}
	return img
}

// A view is where a camera sees the point (x, y) of a screen, and with how much light.
type view func(x, y float64) (sx, sy, light float64)

// photograph takes a picture of a screen: what is at each of its pixels is looked for on the screen,
// between that one's pixels. Around the screen it is dark. The sensor has noise.
func photograph(screen *image.NRGBA, w, h int, v view) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	r := rand.New(rand.NewPCG(1, 2))
	for y := range h {
		for x := range w {
			sx, sy, light := v(float64(x), float64(y))
			for c := range 3 {
				value := 20.0
				if at := image.Pt(int(math.Floor(sx)), int(math.Floor(sy))); at.In(image.Rect(0, 0, screen.Rect.Dx()-1, screen.Rect.Dy()-1)) {
					fx, fy := sx-float64(at.X), sy-float64(at.Y)
					of := func(dx, dy int) float64 { return float64(screen.Pix[screen.PixOffset(at.X+dx, at.Y+dy)+c]) }
					value = (1-fy)*((1-fx)*of(0, 0)+fx*of(1, 0)) + fy*((1-fx)*of(0, 1)+fx*of(1, 1))
				}
				img.Pix[img.PixOffset(x, y)+c] = uint8(min(255, max(0, light*value+20+8*r.NormFloat64())))
			}
			img.Pix[img.PixOffset(x, y)+3] = 255
		}
	}
	return img
}

// tilted is a view of a screen that is turned by some degrees and enlarged.
func tilted(degrees, zoom float64) view {
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	return func(x, y float64) (float64, float64, float64) {
		x, y = (x-640)/zoom, (y-480)/zoom
		return 320 + x*cos + y*sin, 240 - x*sin + y*cos, 1
	}
}

// slanted is a view from the side, held by hand: farther parts are smaller, and in less light.
func slanted(x, y float64) (float64, float64, float64) {
	depth := 1 + 0.00015*x - 0.0001*y
	x, y, light := (x-640)*depth, (y-480)*depth, 1.1-0.0004*x
	return 320 + 0.55*x + 0.03*y, 240 - 0.03*x + 0.55*y, light * 0.8
}

func TestTheDigestOfAPictureFromElsewhereIsReadAndItsChecksumIsNotClaimed(t *testing.T) {
	need.Long(t)
	guest := guestScreen(t)
	p := pixmap.Of(guest)
	turned := image.NewNRGBA(image.Rect(0, 0, 480, 640))
	for y := range 480 {
		for x := range 640 {
			turned.Set(479-y, x, guest.At(x, y))
		}
	}
	changed := image.NewNRGBA(guest.Rect)
	copy(changed.Pix, guest.Pix)
	changed.Pix[0] ^= 1
	const (
		matches = "checksum matches: the pixels are those that the guest drew\n"
		not     = "checksum does not match: the pixels around the code have "
		cannot  = "checksum cannot be checked: the code has not the size and the place"
	)
	for name, tc := range map[string]struct {
		img  image.Image
		jpeg bool
		want string
	}{
		"as it is":            {guest, false, matches},
		"a pixel off":         {changed, false, not},
		"twice the size":      {p.Scaled(1280, 960).Image(), false, cannot},
		"half as large again": {p.Scaled(960, 720).Image(), false, cannot},
		"three quarters":      {p.Scaled(480, 360).Image(), false, cannot},
		"turned":              {turned, false, cannot},
		"compressed":          {guest, true, not},
		"upside down":         {photograph(guest, 1280, 960, tilted(180, 2)), false, cannot},
		"tilted by 3°":        {photograph(guest, 1280, 960, tilted(3, 2)), false, cannot},
		"tilted by 20°":       {photograph(guest, 1280, 960, tilted(20, 1.3)), true, cannot},
		"a photograph":        {photograph(guest, 1280, 960, slanted), true, cannot},
		"scaled, compressed":  {p.Scaled(800, 600).Image(), true, cannot},
		"only the code":       {p.Crop(image.Rect(420, 260, 640, 480)).Image(), false, not},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.png")
			f, err := os.Create(file)
			require.NoError(t, err)
			if tc.jpeg {
				require.NoError(t, jpeg.Encode(f, tc.img, &jpeg.Options{Quality: 60}))
			} else {
				require.NoError(t, png.Encode(f, tc.img))
			}
			require.NoError(t, f.Close())
			status, out, stderr := spicelane(t, "digest", "--png", file, "--json")
			require.Zero(t, status, stderr)
			var d struct {
				FrameCounter uint32 `json:"frame_counter"`
			}
			require.NoError(t, json.Unmarshal([]byte(out), &d))
			require.Equal(t, uint32(77), d.FrameCounter)
			require.Contains(t, stderr, tc.want)
		})
	}
}

// A region of a screenshot may be the code alone.
func TestThePixelsAroundACodeThatIsAllOfThePictureAreNotSaidToBeWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "code.png")
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, png.Encode(f, guestScreen(t).SubImage(digest.Region(640, 480))))
	status, _, stderr := spicelane(t, "digest", "--png", file)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, "checksum cannot be checked: the picture has nothing but the code")
}
