package spice

import (
	"fmt"
	"image"
	"maps"
	"slices"
	"time"

	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/codec/jpeg"
	"github.com/spicelane/spicelane/spice/wire"
)

// stream is a video on a part of a surface.
type stream struct {
	surface uint32
	topDown bool
	dest    image.Rectangle
	clipped bool
	clip    []image.Rectangle
	problem string // why the last frame was not shown; empty if it was
	report  streamReport
}

// streamReport is what the server wants to know about a stream; zero if it does not ask.
type streamReport struct {
	active  bool
	id      uint32
	window  uint32 // frames
	timeout time.Duration
	since   time.Time
	start   uint32 // multimedia time of the first frame
	frames  uint32
	drops   uint32 // frames that could not be decoded since the last report
}

// streamImage is the name under which frames are counted as images.
const streamImage = "stream_mjpeg"

// streams are the videos of one display channel.
type streams struct {
	byID map[uint32]*stream
	jpeg jpeg.Decoder
	slot slot
}

// stream carries out a message about a stream; done is false if msg is not one.
func (d *display) stream(msg wire.ServerMessage) (done bool, err error) {
	switch m := msg.(type) {
	case *wire.DisplayStreamCreate:
		return true, d.streamCreate(m)
	case *wire.DisplayStreamData:
		return true, d.streamFrame("stream_data", m.Stream, nil, m.Time, m.Data)
	case *wire.DisplayStreamDataSized:
		return true, d.streamFrame("stream_data_sized", m.Stream, m, m.Time, m.Data)
	case *wire.DisplayStreamClip:
		if st := d.streams.byID[m.Stream]; st != nil {
			st.setClip(&m.Clip)
		}
		return true, nil
	case *wire.DisplayStreamDestroy:
		d.streamGone(m.Stream)
		return true, nil
	case *wire.DisplayStreamDestroyAll:
		for id := range d.streams.byID {
			d.streamGone(id)
		}
		return true, nil
	case *wire.DisplayStreamActivateReport:
		return true, d.streamActivateReport(m)
	}
	return false, nil
}

func (d *display) streamCreate(m *wire.DisplayStreamCreate) error {
	if m.Stream >= wire.MaxStreams {
		return protocolErrorf("stream %d, want less than %d", m.Stream, wire.MaxStreams)
	}
	on, err := d.lookup(m.Surface)
	if err != nil {
		return err
	}
	if m.Codec != wire.VideoMJPEG {
		// The client has not announced this codec. Report again that it does not show such streams.
		what := "stream codec " + m.Codec.String()
		d.c.miss(what)
		d.streamGone(m.Stream)
		d.surfaces.mu.Lock()
		on.spoil(what)
		d.surfaces.mu.Unlock()
		d.c.notifier.notify()
		return d.streamInvalid(m.Stream)
	}
	s := &stream{surface: m.Surface, topDown: m.Flags&wire.StreamTopDown != 0, dest: m.Dest.Bounds()}
	s.setClip(&m.Clip)
	d.streamGone(m.Stream)
	if d.streams.byID == nil {
		d.streams.byID = map[uint32]*stream{}
	}
	d.streams.byID[m.Stream] = s
	return nil
}

// streamGone forgets a stream. If its last frame was not shown, no next one repairs that.
func (d *display) streamGone(id uint32) {
	st := d.streams.byID[id]
	delete(d.streams.byID, id)
	if st == nil || st.problem == "" {
		return
	}
	if s := d.surfaces.byID[st.surface]; s != nil {
		d.surfaces.mu.Lock()
		s.spoil(st.problem)
		d.surfaces.mu.Unlock()
	}
}

func (s *stream) setClip(c *wire.Clip) {
	s.clip, s.clipped = s.clip[:0], c.Type == wire.ClipRects
	for _, r := range c.Rects {
		s.clip = append(s.clip, r.Bounds())
	}
}

// streamInvalid reports to the server that a stream is not shown.
func (d *display) streamInvalid(id uint32) error {
	if !d.ch.link.ChannelCaps.Has(wire.CapDisplayStreamReport) {
		return nil
	}
	return d.ch.send(&wire.DisplayStreamReport{Stream: id, NumDrops: wire.StreamUnsupported})
}

// streamFrame shows a frame at once, because nobody watches for smooth motion. sized is nil unless
// the message has the frame's size. If a frame cannot be decoded, it is counted and skipped, as in
// other clients.
func (d *display) streamFrame(op string, id uint32, sized *wire.DisplayStreamDataSized, stamp uint32, data []byte) error {
	st := d.streams.byID[id]
	if st == nil {
		return d.streamInvalid(id)
	}
	s := d.surfaces.byID[st.surface]
	if s == nil {
		return protocolErrorf("stream %d is on surface %d, which does not exist", id, st.surface)
	}
	start := time.Now()
	img, err := d.decodeFrame(sized, data)
	if err != nil {
		d.streamLost(id, st, s, op, err)
		return nil
	}
	if !st.topDown {
		flip(img)
	}
	d.c.counters.image(streamImage, img.Width*img.Height, len(data), time.Since(start))
	box := st.dest
	if sized != nil {
		box = sized.Dest.Bounds()
	}
	area := canvas.Area{Box: box, Clipped: st.clipped, Clip: st.clip}
	err = d.change(op, s, box, func(s *surface) error {
		st.problem = ""
		if s.passing {
			s.info.Problem = d.streams.problem(st.surface)
			s.passing = s.info.Problem != ""
		}
		return s.img.Copy(area, img, img.Bounds(), canvas.RopCopy, canvas.Nearest)
	})
	d.streams.slot.release()
	if err != nil {
		return err
	}
	return d.reportFrame(id, st, stamp)
}

// decodeFrame decodes a frame into the memory that all frames share.
func (d *display) decodeFrame(sized *wire.DisplayStreamDataSized, data []byte) (*canvas.Image, error) {
	head, err := jpeg.ParseHeader(data)
	if err != nil {
		return nil, err
	}
	w, h, err := imageSize(uint32(head.Width), uint32(head.Height), d.c.cfg.Limits.imagePixels())
	if err != nil {
		return nil, err
	}
	if sized != nil && (uint32(w) != sized.Width || uint32(h) != sized.Height) {
		return nil, protocolErrorf("frame of %d×%d pixels in a message of %d×%d", w, h, sized.Width, sized.Height)
	}
	img := d.streams.slot.make(canvas.XRGB, w, h)
	_, err = d.streams.jpeg.Decode(img.Pix, img.Stride, data)
	return img, err
}

// undecodableFrame is the name under which frames that cannot be decoded are counted.
const undecodableFrame = "frame that cannot be decoded"

// streamLost counts a frame that is not shown. The surface has a problem until the stream's next
// frame.
func (d *display) streamLost(id uint32, st *stream, s *surface, op string, err error) {
	d.c.miss(op + ": " + undecodableFrame)
	d.c.log.Debug("frame left out", "channel", d.ch.id.String(), "message", op, "error", err)
	st.report.drops++
	st.problem = fmt.Sprintf("%s: stream %d: %s", op, id, undecodableFrame)
	d.surfaces.mu.Lock()
	if s.info.Problem == "" {
		s.info.Problem, s.passing = st.problem, true
	}
	d.surfaces.mu.Unlock()
	d.c.notifier.notify()
}

// problem says why the last frame of a stream on a surface was not shown; empty if all were.
func (s *streams) problem(surface uint32) string {
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if st := s.byID[id]; st.surface == surface && st.problem != "" {
			return st.problem
		}
	}
	return ""
}

// flip reverses the order of img's rows.
func flip(img *canvas.Image) {
	for y := range img.Height / 2 {
		a, b := img.Pix[y*img.Stride:][:4*img.Width], img.Pix[(img.Height-1-y)*img.Stride:][:4*img.Width]
		for i := range a {
			a[i], b[i] = b[i], a[i]
		}
	}
}

// reportFrame records that a frame was shown, and sends a report if one is due.
func (d *display) reportFrame(id uint32, st *stream, stamp uint32) error {
	r := &st.report
	if !r.active {
		return nil
	}
	if r.frames == 0 {
		r.since, r.start = d.in.received, stamp
	}
	r.frames++
	if r.frames < r.window && d.in.received.Sub(r.since) < r.timeout {
		return nil
	}
	m := &wire.DisplayStreamReport{
		Stream: id, UniqueID: r.id, StartFrameTime: r.start, EndFrameTime: stamp, NumFrames: r.frames, NumDrops: r.drops,
		LastFrameDelay: int32(stamp - d.c.main.mediaTime(d.in.received)), AudioDelay: wire.NoAudioDelay,
	}
	r.frames, r.drops = 0, 0
	return d.ch.send(m)
}

func (d *display) streamActivateReport(m *wire.DisplayStreamActivateReport) error {
	st := d.streams.byID[m.Stream]
	if st == nil {
		return d.streamInvalid(m.Stream)
	}
	st.report = streamReport{
		active: true, id: m.UniqueID, window: m.MaxWindowSize, timeout: time.Duration(m.Timeout) * time.Millisecond,
	}
	return nil
}
