package spice

import (
	"image"
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
	report  streamReport
}

// streamReport is what the server wants to know about a stream; zero if it does not.
type streamReport struct {
	active  bool
	id      uint32
	window  uint32 // frames
	timeout time.Duration
	since   time.Time
	start   uint32 // multimedia time of the first frame
	frames  uint32
}

// streamImage is the name under which frames are counted among the images.
const streamImage = "stream_mjpeg"

// streams is the videos of one display channel.
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
		delete(d.streams.byID, m.Stream)
		return true, nil
	case *wire.DisplayStreamDestroyAll:
		clear(d.streams.byID)
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
	if _, err := d.lookup(m.Surface); err != nil {
		return err
	}
	if m.Codec != wire.VideoMJPEG {
		// Never announced, so this server does not listen; it is told again.
		d.c.miss("stream codec " + m.Codec.String())
		delete(d.streams.byID, m.Stream)
		return d.streamInvalid(m.Stream)
	}
	s := &stream{surface: m.Surface, topDown: m.Flags&wire.StreamTopDown != 0, dest: m.Dest.Bounds()}
	s.setClip(&m.Clip)
	if d.streams.byID == nil {
		d.streams.byID = map[uint32]*stream{}
	}
	d.streams.byID[m.Stream] = s
	return nil
}

func (s *stream) setClip(c *wire.Clip) {
	s.clip, s.clipped = s.clip[:0], c.Type == wire.ClipRects
	for _, r := range c.Rects {
		s.clip = append(s.clip, r.Bounds())
	}
}

// streamInvalid tells the server that a stream is not shown.
func (d *display) streamInvalid(id uint32) error {
	if !d.ch.link.ChannelCaps.Has(wire.CapDisplayStreamReport) {
		return nil
	}
	return d.ch.send(&wire.DisplayStreamReport{Stream: id, NumDrops: wire.StreamUnsupported})
}

// streamFrame shows a frame at once: nobody looks at the picture who would care for a smooth motion. size is that of the frame where the message tells.
func (d *display) streamFrame(op string, id uint32, sized *wire.DisplayStreamDataSized, stamp uint32, data []byte) error {
	st := d.streams.byID[id]
	if st == nil {
		return d.streamInvalid(id)
	}
	s := d.surfaces.byID[st.surface]
	if s == nil {
		return protocolErrorf("stream %d is on surface %d, which does not exist", id, st.surface)
	}
	head, err := jpeg.ParseHeader(data)
	if err != nil {
		return d.failed(op, s, err)
	}
	w, h, err := imageSize(uint32(head.Width), uint32(head.Height), d.c.cfg.Limits.imagePixels())
	if err != nil {
		return err
	}
	box := st.dest
	if sized != nil {
		if uint32(w) != sized.Width || uint32(h) != sized.Height {
			return protocolErrorf("frame of %d×%d pixels in a message of %d×%d", w, h, sized.Width, sized.Height)
		}
		box = sized.Dest.Bounds()
	}
	start := time.Now()
	img := d.streams.slot.make(canvas.XRGB, w, h)
	if _, err := d.streams.jpeg.Decode(img.Pix, img.Stride, data); err != nil {
		return d.failed(op, s, err)
	}
	if !st.topDown {
		flip(img)
	}
	d.c.counters.image(streamImage, w*h, len(data), time.Since(start))
	area := canvas.Area{Box: box, Clipped: st.clipped, Clip: st.clip}
	err = d.change(op, s, box, func(s *surface) error {
		return s.img.Copy(area, img, img.Bounds(), canvas.RopCopy, canvas.Nearest)
	})
	d.streams.slot.release()
	if err != nil {
		return err
	}
	return d.reportFrame(id, st, stamp)
}

// flip turns the rows of img upside down.
func flip(img *canvas.Image) {
	for y := range img.Height / 2 {
		a, b := img.Pix[y*img.Stride:][:4*img.Width], img.Pix[(img.Height-1-y)*img.Stride:][:4*img.Width]
		for i := range a {
			a[i], b[i] = b[i], a[i]
		}
	}
}

// reportFrame notes that a frame was shown and reports if it is time to.
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
		Stream: id, UniqueID: r.id, StartFrameTime: r.start, EndFrameTime: stamp, NumFrames: r.frames,
		LastFrameDelay: int32(stamp - d.c.main.mediaTime(d.in.received)), AudioDelay: wire.NoAudioDelay,
	}
	r.frames = 0
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
