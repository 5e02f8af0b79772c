package truth

import (
	"context"
	"image"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// shows is a foreign client that shows a picture.
type shows struct{ picture image.Image }

func (s shows) Screenshot(ctx context.Context) (image.Image, error) {
	select {
	case <-time.After(10 * time.Millisecond):
		return s.picture, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (shows) Close() error { return nil }

// painted returns a runner whose server has painted a surface of a format, and then the sentinel.
func painted(t *testing.T, format qxl.SurfaceFormat) *runner {
	t.Helper()
	sf := surface{Surface: catalogue.Surface{Format: format, Width: 8, Height: 8}, stride: format.Stride(8)}
	s := &Server{surfaces: map[uint32]surface{0: sf}, mem: &memory{all: make([]byte, 8*sf.stride)}}
	for i := range s.mem.all {
		s.mem.all[i] = byte(i * 37)
	}
	r := &runner{cfg: Config{Dir: t.TempDir()}, report: &Report{}, server: s, mark: 0x1234}
	corner := s.mem.all[7*sf.stride+7*format.Bits()/8:]
	corner[0], corner[1] = 0x34, 0x12
	if format.Bits() == 32 {
		corner[2], corner[3] = 0, 0
	}
	return r
}

func TestAForeignClientsPictureIsComparedInTheFormOfThePrimarySurface(t *testing.T) {
	for _, format := range []qxl.SurfaceFormat{qxl.SurfaceXRGB, qxl.SurfaceARGB, qxl.Surface555} {
		synctest.Test(t, func(t *testing.T) {
			r := painted(t, format)
			right, err := r.server.Picture()
			require.NoError(t, err)
			r.foreign = shows{right}
			s := &catalogue.Step{}
			f, err := r.lookForeign(t.Context(), s, catalogue.Expect{Kind: catalogue.Exact})
			require.NoError(t, err, format)
			require.Nil(t, f, format)
			require.Equal(t, 1, r.report.Foreign)

			right.Pix[0] ^= 0x80
			f, err = r.lookForeign(t.Context(), s, catalogue.Expect{Kind: catalogue.Exact})
			require.NoError(t, err, format)
			require.NotNil(t, f, format)
			require.Equal(t, HopForeign, f.Hop)
			require.Contains(t, f.What, "1 pixels in (0,0)-(1,1) differ")
		})
	}
}

func TestAForeignClientThatShowsNothingNewFailsWhateverMayDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := painted(t, qxl.SurfaceXRGB)
		r.foreign = shows{image.NewNRGBA(image.Rect(0, 0, 8, 8))}
		for _, kind := range []catalogue.Kind{catalogue.Exact, catalogue.ServerWrong} {
			f, err := r.lookForeign(t.Context(), &catalogue.Step{}, catalogue.Expect{Kind: kind})
			require.NoError(t, err)
			require.NotNil(t, f, kind)
			require.Equal(t, HopForeign, f.Hop)
			require.Contains(t, f.What, "not within 15s")
		}
	})
}

func TestTheServerIsBlamedIfAForeignClientShowsWhatTheDirectOneShows(t *testing.T) {
	exact, soft := catalogue.Expect{Kind: catalogue.Exact}, catalogue.Expect{Kind: catalogue.Within, Most: 12}
	for _, c := range []struct {
		name            string
		expect          catalogue.Expect
		direct, foreign byte // how much one colour of each pixel is off; 0: like the server's
		hop             string
	}{
		{"both are equally wrong", exact, 0x80, 0x80, HopServer},
		{"the other is right", exact, 0x80, 0, HopClient},
		{"the other is wrong in another way", exact, 0x80, 0x40, HopClient},
		{"only the proxied one is wrong", exact, 0, 0, HopClient},
		{"two decoders of a JPEG", soft, 0x80, 0x70, HopServer},
		{"two decoders of a JPEG, and the other is right", soft, 0x80, 0x10, HopClient},
		{"two decoders of a JPEG, and the other is between", soft, 60, 30, HopClient}, // 20 and 10 of 255
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := painted(t, qxl.SurfaceXRGB)
				off := func(by byte) *image.NRGBA {
					im, err := r.server.Picture()
					require.NoError(t, err)
					for i := 0; i < len(im.Pix)-4; i += 4 { // all but the sentinel
						if im.Pix[i] >= 0x80 {
							im.Pix[i] -= by
						} else {
							im.Pix[i] += by
						}
					}
					return im
				}
				r.foreign = shows{off(c.foreign)}
				f := &Failure{Hop: HopClient, What: "64 pixels differ", shown: fromImage(off(c.direct))}
				s := &catalogue.Step{Do: []qxl.Command{&qxl.Drawable{Box: image.Rect(0, 0, 8, 8)}}}
				require.NoError(t, r.secondOpinion(t.Context(), f, s, c.expect))
				require.Equal(t, c.hop, f.Hop)
				require.Equal(t, 1, r.report.Foreign)
				if c.hop == HopServer {
					require.Equal(t, "both clients show what it has not drawn: 64 pixels differ", f.What)
				}
			})
		})
	}
}

func TestAForeignClientThatIsLateDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := painted(t, qxl.SurfaceXRGB)
		black := image.NewNRGBA(image.Rect(0, 0, 8, 8))
		r.foreign = shows{black}
		f := &Failure{Hop: HopClient, What: "all is black", shown: fromImage(black)}
		require.NoError(t, r.secondOpinion(t.Context(), f, &catalogue.Step{}, catalogue.Expect{Kind: catalogue.Exact}))
		require.Equal(t, Failure{Hop: HopClient, What: "all is black", shown: f.shown}, *f)
	})
}
