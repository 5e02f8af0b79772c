package drive

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A SmokeConfig says what the smoke check demands in addition to what it always checks.
type SmokeConfig struct {
	// Socket is the control socket.
	Socket string
	// RequireAgent demands a connected guest agent.
	RequireAgent bool
	// RequireDigest demands a digest on the screen. Without it, a digest is checked only if there
	// is one.
	RequireDigest bool
	// Picture, if not empty, is the file for the screenshot, as PNG.
	Picture string
	// Timeout limits the whole check. Default: 15 s.
	Timeout time.Duration
	// QEMUPicture returns QEMU's own picture. It decides between guest and path if a digest does
	// not match the client's picture. If it is nil, no hop is named.
	QEMUPicture func(ctx context.Context) (*image.NRGBA, error)
}

// qemuPatience limits how long QEMU is asked after a failed check.
const qemuPatience = 10 * time.Second

// A SmokeCheck is the result of one check.
type SmokeCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// A SmokeReport is the result of the smoke check.
type SmokeReport struct {
	OK      bool         `json:"ok"`
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Checks  []SmokeCheck `json:"checks"`
	Picture string       `json:"picture,omitempty"`
	TookMS  int64        `json:"took_ms"`
}

// Smoke checks the console behind a control socket, of our client or another one. The session must
// be up, and everything must have been decoded. The primary surface must show a picture. If there
// is a digest, it must match the pixels around it, and keep counting.
//
// The error is nil if all checks passed. Its verdict is Product if a check failed, and Harness if
// the socket did not answer. The report is valid in all cases.
func Smoke(ctx context.Context, cfg SmokeConfig) (*SmokeReport, error) {
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = 15 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the smoke check took longer than %v", timeout))
	defer cancel()
	began := time.Now()
	s := &smoke{cfg: cfg, report: &SmokeReport{}}
	err := s.run(ctx)
	s.report.OK = err == nil
	if err != nil {
		s.report.Verdict, s.report.Hop, s.report.Reason = verdict.Of(err), verdict.HopOf(err), err.Error()
	}
	s.report.TookMS = time.Since(began).Milliseconds()
	return s.report, err
}

type smoke struct {
	cfg    SmokeConfig
	report *SmokeReport
	driver *control.Driver
	img    *image.NRGBA
}

func (s *smoke) run(ctx context.Context) error {
	d, err := Dial(ctx, "spicelane smoke", s.cfg.Socket)
	if err != nil {
		return s.failed("hello", &verdict.Error{Verdict: verdict.Harness, Op: "smoke", Err: err})
	}
	defer d.Close()
	s.driver = d
	s.passed("hello", "%s, protocol %s", d.Server().ServerName, d.Server().ProtocolVersion)
	for _, check := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"session", s.session},
		{"picture", s.picture},
		{"digest", s.digest},
		{"decoded", s.decoded},
		{"agent", s.agent},
	} {
		detail, err := check.run(ctx)
		if err != nil {
			// A wait that timed out shows what the product did not do, unless the socket did not
			// answer.
			v := verdict.Product
			var f *verdict.Error
			var e *control.Error
			if errors.As(err, &f) {
				v = f.Verdict
			} else if errors.As(err, &e) {
				v = VerdictOf(err)
			}
			return s.failed(check.name, &verdict.Error{Verdict: v, Op: "smoke: " + check.name, Err: err})
		}
		s.passed(check.name, "%s", detail)
	}
	return nil
}

func (s *smoke) passed(name, format string, args ...any) {
	s.report.Checks = append(s.report.Checks, SmokeCheck{name, true, fmt.Sprintf(format, args...)})
}

func (s *smoke) failed(name string, f *verdict.Error) error {
	s.report.Checks = append(s.report.Checks, SmokeCheck{name, false, f.Err.Error()})
	return f
}

func (s *smoke) status(ctx context.Context) (control.Status, error) {
	st, err := s.driver.Status(ctx)
	if err != nil {
		return st, &verdict.Error{Verdict: verdict.Harness, Op: "status", Err: err}
	}
	return st, nil
}

func (s *smoke) session(ctx context.Context) (string, error) {
	st, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	if !st.SPICEConnected {
		if st.Error != "" {
			return "", fmt.Errorf("the client is not connected: %s", st.Error)
		}
		return "", errors.New("the client is not connected to the console")
	}
	if len(st.Channels) > 0 {
		return "connected: " + strings.Join(st.Channels, ", "), nil
	}
	return "connected", nil
}

// picture demands a primary surface with content, and a screenshot of the same size.
func (s *smoke) picture(ctx context.Context) (string, error) {
	surface, err := AwaitSurface(ctx, s.driver)
	if err != nil {
		return "", err
	}
	if s.img, err = s.driver.Image(ctx, control.ScreenshotParams{}); err != nil {
		return "", &verdict.Error{Verdict: VerdictOf(err), Op: "screenshot", Err: err}
	}
	if err := s.save(); err != nil {
		return "", err
	}
	if got := s.img.Rect.Size(); got.X != surface.Width || got.Y != surface.Height {
		// The guest may have changed its mode in between: ask once more.
		st, err := s.status(ctx)
		if err != nil {
			return "", err
		}
		if x, ok := st.Primary(); ok && (x.Width != got.X || x.Height != got.Y) {
			return "", fmt.Errorf("status says that surface 0 is %d×%d, the screenshot is %d×%d", x.Width, x.Height, got.X, got.Y)
		}
	}
	return fmt.Sprintf("surface 0 is %d×%d", s.img.Rect.Dx(), s.img.Rect.Dy()), nil
}

func (s *smoke) save() error {
	if s.cfg.Picture == "" {
		return nil
	}
	if err := WritePNG(s.cfg.Picture, s.img); err != nil {
		return err
	}
	s.report.Picture = s.cfg.Picture
	return nil
}

// digest demands that the digest's checksum matches the pixels around it, and that its frame
// counter rises.
func (s *smoke) digest(ctx context.Context) (string, error) {
	res, err := qrscan.Scan(qrscan.FrameOf(s.img))
	if err != nil && !s.cfg.RequireDigest {
		var e *qrscan.Error
		if errors.As(err, &e) && (e.Kind == qrscan.NoCode || e.Kind == qrscan.NotADigest) {
			return "none on the screen", nil
		}
	}
	// A screenshot may fall between two drawings of the guest; then the digest describes other
	// pixels. One of the next screenshots does not.
	sub, err := s.driver.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return "", &verdict.Error{Verdict: verdict.Harness, Op: "subscribe", Err: err}
	}
	defer sub.Close()
	var first, last *digest.Digest
	seen := "no digest"
	misfit := false
	for {
		img, err := s.driver.Image(ctx, control.ScreenshotParams{})
		if err != nil && ctx.Err() == nil {
			return "", &verdict.Error{Verdict: VerdictOf(err), Op: "screenshot", Err: err}
		}
		if err == nil {
			res, err = qrscan.Scan(qrscan.FrameOf(img))
			switch {
			case err != nil:
				seen = err.Error()
			default:
				crc := FramebufferCRC(img)
				misfit = crc != res.Digest.FramebufferHash
				if misfit {
					seen = fmt.Sprintf("frame %d with checksum %08x, the pixels have %08x", res.Digest.FrameCounter, res.Digest.FramebufferHash, crc)
					break
				}
				last = res.Digest
				if first == nil {
					first = last
					// Keep the picture that was verified.
					s.img = img
					if err := s.save(); err != nil {
						return "", err
					}
				}
				if last.FrameCounter > first.FrameCounter {
					return fmt.Sprintf("frame %d then %d, checksum %08x is that of the pixels", first.FrameCounter, last.FrameCounter, first.FramebufferHash), nil
				}
				seen = fmt.Sprintf("frame %d again", last.FrameCounter)
			}
		}
		if _, err := sub.Next(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			failed := &AwaitError{Wanted: "two digests with a rising frame counter and the checksum of the pixels around them", Last: seen, Err: err}
			if !misfit || s.cfg.QEMUPicture == nil {
				return "", failed
			}
			// NB: not the check's context, which has expired.
			ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), qemuPatience)
			defer cancel()
			hop, known := BlamePixels(ask, s.cfg.QEMUPicture)
			failed.Known = append(failed.Known, known)
			return "", &verdict.Error{Verdict: verdict.Product, Hop: hop, Err: failed}
		}
	}
}

// decoded demands that the client understood everything that it received.
func (s *smoke) decoded(ctx context.Context) (string, error) {
	st, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	if len(st.Unsupported) > 0 {
		var what []string
		for _, u := range st.Unsupported {
			what = append(what, fmt.Sprintf("%s (%d times)", u.What, u.Count))
		}
		return "", fmt.Errorf("the client could not decode %s: its picture cannot be trusted", strings.Join(what, ", "))
	}
	for _, x := range st.Surfaces {
		if x.Trusted != nil && !*x.Trusted {
			return "", fmt.Errorf("the client does not trust its surface %d on channel %d", x.SurfaceID, x.ChannelID)
		}
	}
	if st.Messages > 0 {
		return fmt.Sprintf("all of %d messages", st.Messages), nil
	}
	return "nothing reported", nil
}

func (s *smoke) agent(ctx context.Context) (string, error) {
	st, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case st.AgentConnected:
		return "connected", nil
	case s.cfg.RequireAgent:
		return "", errors.New("the guest's agent is not connected, and --require-agent was given")
	default:
		return "not connected (not required)", nil
	}
}
