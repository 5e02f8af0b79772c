package harness

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/qemu/dbusdisplay"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// samePatience limits, under KVM, the waits for equal pictures. Two pictures are equal as soon as
// the guest changes nothing for as long as it takes to take both.
const samePatience = 10 * time.Second

// A ScreenshotFunc takes a picture of the lane's screen.
type ScreenshotFunc func(ctx context.Context) (*image.NRGBA, error)

// AwaitScreensMatch waits until the client shows the same pixels as QEMU. A blinking cursor or a
// counting digest can change the screen between the two pictures of a pair; between two changes
// every pair is equal. If taking pictures is slower than the changes, the guest is paused for some
// pairs. If no pair is equal, the last one stays in the lane's directory, and the verdict is
// Product.
func (l *Lane) AwaitScreensMatch(ctx context.Context) error {
	if l.driver == nil {
		return l.errUndriven()
	}
	sub, err := l.driver.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "compare pictures", Err: err})
	}
	defer sub.Close()
	return l.AwaitScreensMatchOf(ctx, l.Screenshot, func(ctx context.Context) error {
		_, err := sub.Next(ctx)
		return err
	})
}

// AwaitScreensMatchOf does what AwaitScreensMatch does, for another client. shot takes that
// client's picture, and next waits until something has been drawn.
func (l *Lane) AwaitScreensMatchOf(ctx context.Context, shot ScreenshotFunc, next func(context.Context) error) error {
	began := time.Now()
	limit := l.Scaled(l.cfg.samePatience())
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	ctx, stop := l.whileUp(ctx)
	defer stop()
	c := &comparison{lane: l, shot: shot, next: next}
	defer c.endWatch()
	err := c.equal(ctx)
	if err == nil {
		return nil
	}
	if !timedOut(err) && ctx.Err() == nil {
		return l.explain(err)
	}
	// A picture that did not come in time does not hide a difference that was seen.
	failed := &drive.AwaitError{Wanted: "client and QEMU to show the same picture", Last: c.last,
		Err: errors.Join(err, c.keep(comparedPair))}
	return l.judgeWait(began, l.explain(&verdict.Error{Verdict: verdict.Product, Hop: c.blame(failed), Op: "compare pictures", Err: failed}))
}

// equal waits until a pair is equal. If ctx ends first, the error is its cause.
func (c *comparison) equal(ctx context.Context) error {
	var paused time.Time
	for n := 1; ; n++ {
		diff, err := c.once(ctx)
		if diff != "" && err == nil && n >= pauseAfter && time.Since(paused) >= pauseEvery {
			err = c.lane.WhilePaused(ctx, func() error {
				diff, err = c.atRest(ctx)
				return err
			})
			if diff != "" && err == nil && paused.IsZero() {
				c.watch(ctx) // to open it takes longer than a pair that is equal at once
			}
			paused = time.Now()
		}
		if err == nil && diff == "" {
			return nil
		}
		if err == nil {
			err = c.changed(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// If the guest changes its screen between the two pictures of each pair, it is paused for a pair.
// That happens only after several pairs, and not so often that the guest makes no progress.
const (
	pauseAfter = 3
	pauseEvery = 300 * time.Millisecond
)

// A comparison compares pictures of a client with those of QEMU.
type comparison struct {
	lane *Lane
	shot ScreenshotFunc
	next func(context.Context) error

	// screen is QEMU's D-Bus display while it is watched, else nil; seen counts what it has
	// painted up to the last pair.
	screen  *dbusdisplay.Display
	release func()
	seen    uint64

	client, qemu *image.NRGBA // the last pair
	taken        time.Time    // when the client's picture of that pair had come
	last         string       // how the last unequal pair differed
}

// blame returns the hop at fault if a difference was seen, and adds to failed why it is that hop.
func (c *comparison) blame(failed *drive.AwaitError) verdict.Hop {
	if c.last == "" {
		return ""
	}
	// NB: not the wait's context, which has ended.
	hop, known := c.lane.BlamePath(context.Background())
	failed.Known = append(failed.Known, known)
	return hop
}

// timedOut tells whether err is an exceeded deadline, of a context or of a connection.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// watchLimit limits, under KVM, how long opening QEMU's D-Bus display may take.
const watchLimit = 2 * time.Second

// watch opens QEMU's D-Bus display, if there is one: its pictures cost nothing, and it reports each
// change.
func (c *comparison) watch(ctx context.Context) {
	if c.lane.standIn != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.lane.Scaled(watchLimit))
	defer cancel()
	if d, release, err := c.lane.machine().Display(ctx); err == nil {
		c.screen, c.release = d, release
	}
}

func (c *comparison) endWatch() {
	if c.screen != nil {
		c.release()
		c.screen = nil
	}
}

// changed waits until the client has drawn something or, if QEMU's screen is watched, until QEMU
// has.
func (c *comparison) changed(ctx context.Context) error {
	if c.screen == nil {
		return c.next(ctx)
	}
	either, cancel := context.WithCancel(ctx)
	defer cancel()
	painted := make(chan bool, 1)
	go func() {
		_, err := c.screen.Await(either, c.seen)
		painted <- err == nil
		if err == nil {
			cancel()
		}
	}()
	err := c.next(either)
	cancel()
	if <-painted && ctx.Err() == nil {
		return nil
	}
	return err
}

// once asks client and QEMU for pictures at the same moment and returns how they differ. Encoding
// and decoding take time, in which the guest may change its screen.
func (c *comparison) once(ctx context.Context) (diff string, err error) {
	if c.screen != nil {
		soon, cancel := context.WithTimeout(ctx, c.lane.Scaled(watchLimit))
		before, perr := c.screen.Picture(soon)
		cancel()
		if perr == nil {
			return c.onceWatched(ctx, before)
		} else if ctx.Err() != nil {
			return "", perr
		}
		c.endWatch() // it has ended, or has no surface
	}
	var (
		client, qemu *image.NRGBA
		qemuErr      error
	)
	dumped := make(chan struct{})
	go func() {
		defer close(dumped)
		qemu, qemuErr = c.lane.screendump(ctx)
	}()
	client, err = c.shot(ctx)
	at := time.Now()
	<-dumped
	if qemuErr != nil {
		return "", qemuErr
	}
	return c.differ(client, qemu, at, err)
}

// onceWatched does what once does, with the D-Bus display's picture from before the client's. The
// client must show that picture, or what QEMU shows by now.
func (c *comparison) onceWatched(ctx context.Context, before dbusdisplay.Picture) (diff string, err error) {
	client, shotErr := c.shot(ctx)
	at := time.Now()
	c.seen = before.Changes
	if diff, err = c.differ(client, before.NRGBA, at, shotErr); diff == "" || err != nil {
		return diff, err
	}
	soon, cancel := context.WithTimeout(ctx, c.lane.Scaled(watchLimit))
	defer cancel()
	after, err := c.screen.Picture(soon)
	if err != nil || after.Changes == before.Changes {
		return diff, nil
	}
	c.seen = after.Changes
	return c.differ(client, after.NRGBA, at, shotErr)
}

// differ returns how a pair differs, and records the pair. at is when the client's picture came;
// shotErr says why there is none.
func (c *comparison) differ(client, qemu *image.NRGBA, at time.Time, shotErr error) (diff string, err error) {
	switch {
	case shotErr != nil && !drive.NoDigestYet(shotErr):
		return "", shotErr
	case shotErr != nil: // during a mode change the guest has no surface for a moment
		diff = "the client has no surface"
	default:
		c.client, c.qemu, c.taken = client, qemu, at
		diff = drive.FirstDifference(client, qemu)
	}
	if diff != "" {
		c.last = diff
	}
	return diff, nil
}

// lag is how long drawings of a paused machine may take to reach the client.
const lag = 500 * time.Millisecond

// atRest compares while the guest is paused, until the pictures are equal or nothing more arrives.
// If they still differ, the pause interrupted a change that QEMU completes when the machine
// continues.
func (c *comparison) atRest(ctx context.Context) (diff string, err error) {
	past, cancel := context.WithCancel(ctx)
	cancel()
	for {
		for c.next(past) == nil { // drawn before the pause
		}
		if diff, err = c.once(ctx); diff == "" || err != nil {
			return diff, err
		}
		soon, cancel := context.WithTimeout(ctx, lag)
		err = c.changed(soon)
		cancel()
		if err != nil {
			if ctx.Err() != nil || soon.Err() == nil {
				return diff, err
			}
			return c.arbitrate(ctx, diff)
		}
	}
}

// arbitrate takes a screendump to check a difference from the D-Bus display's picture. If a new
// surface has the size of the previous one, QEMU reports to listeners only what changes on it.
func (c *comparison) arbitrate(ctx context.Context, diff string) (string, error) {
	if c.screen == nil || c.client == nil {
		return diff, nil
	}
	qemu, err := c.lane.screendump(ctx)
	if err != nil {
		return diff, err
	}
	c.qemu = qemu
	if drive.FirstDifference(c.client, qemu) == "" {
		return "", nil
	}
	return diff, nil
}

// WhilePaused runs f while the guest is paused. A guest that the test had paused before stays paused.
// A running server, see Config.Server, cannot be paused.
func (l *Lane) WhilePaused(ctx context.Context, f func() error) error {
	if l.standIn != nil {
		return f() // the truth server draws only on request
	}
	var failed error
	err := l.machine().WhilePaused(ctx, func() error {
		failed = f()
		return nil
	})
	if err == nil {
		return failed
	}
	return errors.Join(failed, verdict.Classify("pause", err))
}

// A pair names the files of a comparison's two pictures, and the source of the first one.
type pair struct{ client, qemu, via string }

var (
	// comparedPair is for a client that did not show what QEMU shows.
	comparedPair = pair{"differs-client.png", "differs-qemu.png", "compared"}
	// directPair is for a client that connected to QEMU itself, to find the hop at fault.
	directPair = pair{"direct-client.png", "direct-qemu.png", "direct"}
)

// keep saves the last two pictures of a comparison in the lane's directory, and notes on the
// timeline when they were taken.
func (c *comparison) keep(as pair) error {
	if c.client == nil {
		return nil
	}
	var errs []error
	for _, p := range []struct {
		via, name string
		img       *image.NRGBA
	}{{as.via, as.client, c.client}, {"qmp", as.qemu, c.qemu}} {
		err := drive.WritePNG(filepath.Join(c.lane.dir, p.name), p.img)
		if err == nil {
			c.lane.log.AddAt(c.taken, "picture", map[string]any{"via": p.via, "file": p.name})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// AwaitVerifiedScreenshot waits for a picture of the client whose digest has the checksum of the
// pixels around it, and returns both.
func (l *Lane) AwaitVerifiedScreenshot(ctx context.Context) (*image.NRGBA, Digest, error) {
	began := time.Now()
	limit := l.Scaled(l.cfg.samePatience())
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	if l.driver == nil {
		return nil, Digest{}, l.errUndriven()
	}
	ctx, stop := l.whileUp(ctx)
	defer stop()
	sub, err := l.driver.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return nil, Digest{}, l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "prove a picture", Err: err})
	}
	defer sub.Close()
	var last string
	for {
		img, err := l.Screenshot(ctx)
		if err != nil && !drive.NoDigestYet(err) && ctx.Err() == nil {
			return nil, Digest{}, err
		}
		if err == nil {
			var d Digest
			if d, err = drive.ScanPicture(img); err == nil {
				crc := drive.FramebufferCRC(img)
				if crc == d.FramebufferHash {
					return img, d, nil
				}
				last = fmt.Sprintf("%s and checksum %08x, the pixels have %08x", drive.DescribeDigest(d), d.FramebufferHash, crc)
			}
		}
		if err != nil && last == "" {
			last = err.Error()
		}
		if _, err := sub.Next(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			failed := &drive.AwaitError{Wanted: "a digest with the checksum of the pixels around it", Last: last, Err: err}
			hop := l.blamePixels(failed)
			return nil, Digest{}, l.judgeWait(began, l.explain(&verdict.Error{Verdict: verdict.Product, Hop: hop, Op: "prove a picture", Err: failed}))
		}
	}
}

// blamePixels uses QEMU's own picture to find the hop at fault for a digest whose checksum does not
// match the pixels around it. It adds the reason to failed.
func (l *Lane) blamePixels(failed *drive.AwaitError) verdict.Hop {
	if l.ended() {
		return ""
	}
	// NB: not the wait's context, which has expired.
	ctx, cancel := context.WithTimeout(context.Background(), l.Scaled(askGrace))
	defer cancel()
	if l.standIn == nil {
		// Several pictures are taken: the display stays open meanwhile, if there is one.
		if _, release, err := l.machine().Display(ctx); err == nil {
			defer release()
		}
	}
	hop, known := drive.BlamePixels(ctx, l.Screendump)
	failed.Known = append(failed.Known, known)
	if hop == verdict.HopPath {
		hop, known = l.BlamePath(ctx)
		failed.Known = append(failed.Known, known)
	}
	return hop
}

// Screenshot returns the client's picture.
func (l *Lane) Screenshot(ctx context.Context) (*image.NRGBA, error) {
	if l.driver == nil {
		return nil, l.errUndriven()
	}
	img, err := l.driver.Image(ctx, control.ScreenshotParams{Format: "rgba"})
	if err != nil {
		return nil, l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "screenshot", Err: err})
	}
	return img, nil
}

// Screendump returns QEMU's own picture of the guest's screen. It uses QEMU's D-Bus display if
// there is one.
func (l *Lane) Screendump(ctx context.Context) (*image.NRGBA, error) {
	return l.ownPicture(ctx, (*qemu.Machine).Screen)
}

// screendump does what Screendump does, through QMP only, which is faster for a single picture.
func (l *Lane) screendump(ctx context.Context) (*image.NRGBA, error) {
	return l.ownPicture(ctx, (*qemu.Machine).Screenshot)
}

func (l *Lane) ownPicture(ctx context.Context, take func(*qemu.Machine, context.Context) (*image.NRGBA, error)) (img *image.NRGBA, err error) {
	if l.standIn != nil {
		img, err = l.truthPicture()
	} else {
		img, err = take(l.machine(), ctx)
	}
	if err != nil {
		return nil, verdict.Classify("screendump", err)
	}
	return img, nil
}

// pictureGrace limits the time for each last picture of a lane that is ending.
const pictureGrace = 3 * time.Second

// savePicture writes the client's picture to path.
func (l *Lane) savePicture(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, pictureGrace)
	defer cancel()
	img, err := l.Screenshot(ctx)
	if err != nil {
		return err
	}
	return drive.WritePNG(path, img)
}

// lastPictures saves the present pictures of client and QEMU, if they can still be taken, and
// returns the files.
func (l *Lane) lastPictures() []string {
	var saved []string
	note := func(via, path string, err error) {
		if err != nil {
			l.log.Add("picture", map[string]any{"via": via, "error": err.Error()})
			return
		}
		l.log.Add("picture", map[string]any{"via": via, "file": filepath.Base(path)})
		saved = append(saved, path)
	}
	if l.driver != nil {
		path := filepath.Join(l.dir, "last-client.png")
		note("client", path, l.savePicture(context.Background(), path))
	}
	if m := l.machine(); m != nil && m.Err() == nil {
		path := filepath.Join(l.dir, "last-qemu.png")
		ctx, cancel := context.WithTimeout(context.Background(), pictureGrace)
		defer cancel()
		note("qmp", path, m.SaveScreenshot(ctx, path))
	}
	return saved
}
