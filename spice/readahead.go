package spice

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/codec/jpeg"
	"github.com/spicelane/spicelane/spice/codec/lz"
	"github.com/spicelane/spicelane/spice/codec/lz4"
	"github.com/spicelane/spicelane/spice/codec/quic"
	"github.com/spicelane/spicelane/spice/wire"
)

// A display channel reads ahead: images that depend on nothing else are decoded on all cores while
// earlier messages are drawn. All visible effects keep the order of the messages.

const (
	// aheadMessages limits the messages that are read and not yet carried out.
	aheadMessages = 16
	// aheadBytes limits the memory of these messages (bodies and pixels), in bytes, and separately
	// the memory kept for later ones. A single message may need more. Two screens of 1280×800 that
	// are decoded at the same time fit.
	aheadBytes = 10 << 20
	// aheadPixels is the size from which an image is handed to another goroutine, which costs some
	// microseconds.
	aheadPixels = 64 * 64
	// maxDecoders limits the goroutines that decode ahead.
	maxDecoders = 8
)

// readAhead reads a display channel's messages and carries them out.
type readAhead struct {
	ch    *channel
	queue chan *incoming

	mu    sync.Mutex
	free  []*incoming
	spare [][]byte // memory for pixels
	held  int      // bytes of spare, plus what each message kept when it was last given back
	taken int      // bytes of the messages that were read and not carried out
	given chan struct{}
}

func newReadAhead(ch *channel) *readAhead {
	a := &readAhead{ch: ch, queue: make(chan *incoming, aheadMessages), given: make(chan struct{}, 1)}
	for range aheadMessages {
		a.free = append(a.free, new(incoming))
	}
	return a
}

// read is the goroutine that reads. It ends when there is nothing more to read, or the session is
// over.
func (a *readAhead) read() {
	c := a.ch.client
	defer c.wg.Done()
	defer close(a.queue)
	if err := a.ch.handler.begin(); err != nil {
		a.queue <- &incoming{err: err}
		return
	}
	for {
		var in *incoming
		if !a.await(func() bool { in = a.next(); return in != nil }) {
			return
		}
		if in.err = a.ch.fetch(in); in.err != nil {
			// Earlier messages are carried out first.
			a.queue <- in
			return
		}
		m := imageOf(in.message)
		if m != nil && (!standsAlone(m.Type) || int64(m.Width)*int64(m.Height) < aheadPixels) {
			m = nil
		}
		in.cost = len(in.body)
		if m != nil {
			in.cost += canvas.CellSize * int(min(int64(m.Width)*int64(m.Height), aheadBytes))
		}
		if !a.await(func() bool { return a.take(in.cost) }) {
			return
		}
		if m != nil {
			in.prefetched.slot.pix = a.pixels()
			in.prefetched.start(c, m)
		}
		a.queue <- in
	}
}

// carryOut is the goroutine that carries messages out. It ends the session when the channel ends.
func (a *readAhead) carryOut() {
	ch := a.ch
	defer ch.client.wg.Done()
	var err error
	for in := range a.queue {
		if err = in.err; err == nil {
			err = ch.carryOut(in)
		}
		if err == nil && in.prefetched.image != nil {
			// Nothing has used it, and its memory is needed again.
			_, _, _ = in.prefetched.result(ch.client)
		}
		if err != nil {
			break
		}
		a.give(in)
	}
	if err == nil {
		err = ErrClosed
	}
	ch.finish(err)
	for range a.queue { // the reader must not be left waiting
	}
}

// await waits until cond, which it calls with mu held, returns true. It returns false if the
// session is over.
func (a *readAhead) await(cond func() bool) bool {
	for {
		a.mu.Lock()
		ok := cond()
		a.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-a.given:
		case <-a.ch.client.done:
			return false
		}
	}
}

// next returns the free message that has the most memory; nil if none is free.
func (a *readAhead) next() *incoming {
	if len(a.free) == 0 {
		return nil
	}
	most := 0
	for i, in := range a.free {
		if in.held > a.free[most].held {
			most = i
		}
	}
	in := a.free[most]
	a.free = slices.Delete(a.free, most, most+1)
	return in
}

// take counts a message as read, if there is room for it.
func (a *readAhead) take(cost int) bool {
	if a.taken > 0 && a.taken+cost > aheadBytes {
		return false
	}
	a.taken += cost
	return true
}

// give takes back a message that was carried out.
func (a *readAhead) give(in *incoming) {
	a.mu.Lock()
	a.taken -= in.cost
	a.held -= in.held
	if pix := in.prefetched.slot.pix; pix != nil && a.held+cap(pix) <= aheadBytes {
		a.spare = append(a.spare, pix)
		a.held += cap(pix)
	}
	in.prefetched.slot = slot{}
	in.held = cap(in.body)
	if a.held+in.held > aheadBytes {
		// The decoded messages point into the body.
		in.message, in.messages, in.body, in.held = nil, nil, nil, 0
	}
	a.held += in.held
	a.free = append(a.free, in)
	a.mu.Unlock()
	select {
	case a.given <- struct{}{}:
	default:
	}
}

// pixels returns spare memory for pixels; nil if there is none.
func (a *readAhead) pixels() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.spare)
	if n == 0 {
		return nil
	}
	pix := a.spare[n-1]
	a.spare = a.spare[:n-1]
	a.held -= cap(pix)
	return pix
}

// imageOf returns the image that a message draws from; nil if it uses none.
func imageOf(m wire.ServerMessage) *wire.Image {
	switch m := m.(type) {
	case *wire.DrawCopy:
		return m.Src
	case *wire.DrawBlend:
		return m.Src
	case *wire.DrawOpaque:
		return m.Src
	case *wire.DrawAlphaBlend:
		return m.Src
	case *wire.DrawTransparent:
		return m.Src
	case *wire.DrawRop3:
		return m.Src
	case *wire.DrawComposite:
		return m.Src
	}
	return nil
}

// prefetched is an image that is decoded ahead of its turn.
type prefetched struct {
	image *wire.Image // nil if there is none
	done  chan struct{}
	slot  slot

	// Set when done has an element.
	img  *canvas.Image
	err  error
	took time.Duration
}

// start hands an image to the decoders.
func (e *prefetched) start(c *Client, m *wire.Image) {
	if e.done == nil {
		e.done = make(chan struct{}, 1)
	}
	e.image = m
	select {
	case c.work <- e:
	case <-c.done:
		e.image = nil
	}
}

// result waits for the pixels.
func (e *prefetched) result(c *Client) (*canvas.Image, time.Duration, error) {
	select {
	case <-e.done:
		img := e.img
		e.image, e.img = nil, nil
		return img, e.took, e.err
	case <-c.done:
		return nil, 0, ErrClosed
	}
}

// decoders decode images that stand alone. Only one goroutine uses them at a time.
type decoders struct {
	most int // pixels of an image
	quic quic.Decoder
	lz   lz.Decoder
	lz4  lz4.Decoder
	jpeg jpeg.Decoder
}

// startDecoders starts the goroutines that decode ahead. The caller holds mu.
func (c *Client) startDecoders() {
	if c.decoding {
		return
	}
	c.decoding = true
	for range min(runtime.GOMAXPROCS(0), maxDecoders) {
		c.wg.Add(1)
		go c.decodeAhead()
	}
}

// decodeAhead decodes images until the session is over.
func (c *Client) decodeAhead() {
	defer c.wg.Done()
	d := &decoders{most: c.cfg.Limits.imagePixels()}
	for {
		select {
		case e := <-c.work:
			s := &e.slot
			if e.image.Flags&keepFlags != 0 {
				s = new(slot) // the cache owns the memory
			}
			start := time.Now()
			e.img, e.err = d.decode(e.image, s)
			e.took = time.Since(start)
			e.done <- struct{}{}
		case <-c.done:
			return
		}
	}
}

// standsAlone reports whether images of a type need only their own data.
func standsAlone(t wire.ImageType) bool {
	switch t {
	case wire.ImageQuic, wire.ImageLZRGB, wire.ImageLZ4, wire.ImageJPEG, wire.ImageJPEGAlpha:
		return true
	}
	return false
}

// decode decodes an image that stands alone.
func (d *decoders) decode(m *wire.Image, s *slot) (*canvas.Image, error) {
	w, h, err := imageSize(m.Width, m.Height, d.most)
	if err != nil {
		return nil, err
	}
	switch m.Type {
	case wire.ImageQuic:
		head, err := quic.ParseHeader(m.Data)
		if err != nil {
			return nil, err
		}
		if err := sameSize(m, head.Width, head.Height); err != nil {
			return nil, err
		}
		img := s.make(alphaFormat(head.Type.HasAlpha()), w, h)
		_, err = d.quic.Decode(img.Pix, img.Stride, m.Data)
		return img, err
	case wire.ImageLZRGB:
		head, err := lz.ParseHeader(m.Data)
		if err != nil {
			return nil, err
		}
		if err := sameSize(m, head.Width, head.Height); err != nil {
			return nil, err
		}
		if head.Type.NeedsPalette() || head.Type == lz.XXXA {
			return nil, protocolErrorf("%v image holds %v", m.Type, head.Type)
		}
		img := s.make(alphaFormat(head.Type.HasAlpha()), w, h)
		if _, err = d.lz.Decode(img.Pix, img.Stride, m.Data, nil); err != nil {
			return nil, err
		}
		if head.Type == lz.A8 {
			toA8(img)
		}
		return img, nil
	case wire.ImageLZ4:
		head, err := lz4.ParseHeader(m.Data)
		if err != nil {
			return nil, err
		}
		img := s.make(alphaFormat(head.Format.HasAlpha()), w, h)
		if _, err = d.lz4.Decode(img.Pix, img.Stride, w, h, m.Data); err != nil {
			return nil, err
		}
		if head.Format == lz4.A8 {
			toA8(img)
		}
		return img, nil
	case wire.ImageJPEG, wire.ImageJPEGAlpha:
		head, err := jpeg.ParseHeader(m.Data)
		if err != nil {
			return nil, err
		}
		if err := sameSize(m, head.Width, head.Height); err != nil {
			return nil, err
		}
		img := s.make(alphaFormat(m.Type == wire.ImageJPEGAlpha), w, h)
		if m.Type == wire.ImageJPEG {
			_, err = d.jpeg.Decode(img.Pix, img.Stride, m.Data)
		} else {
			_, err = d.jpeg.DecodeAlpha(img.Pix, img.Stride, m.JPEGTopDown, int(m.JPEGSize), m.Data)
		}
		return img, err
	}
	return nil, &unsupportedError{"image type " + m.Type.String()}
}
