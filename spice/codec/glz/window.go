package glz

import (
	"context"
	"fmt"
	"sync"

	"github.com/spicelane/spicelane/spice/codec"
)

// Window holds the images of a session that later images may refer to. Make one
// with NewWindow. It is safe for concurrent use by any number of Decoders.
type Window struct {
	limit int // bytes

	mu     sync.Mutex
	images map[uint64]*entry
	bytes  int // of images, with those being decoded
	// Images below tail have all been decoded; images from tail on may be missing.
	// It is meaningful once started.
	tail    uint64
	started bool
	oldest  uint64   // images below it have been released
	busy    []*entry // being decoded
	free    []*entry // released, with their memory, for new images; the latest last
	changed chan struct{}
	waiting int // Decoders that wait for changed to be closed
}

// An entry is an image in the window or on its way into it. Its pixels are in the
// order of the stream: bottom-up images have the last row first.
type entry struct {
	id, head uint64 // head is the oldest image that this one may refer to
	pix      []byte // B,G,R,A; nil if the image could not be decoded
}

// NewWindow returns an empty window for a server whose client announced a dictionary of the given
// number of pixels (glz_dictionary_window_size in SPICE_MSGC_DISPLAY_INIT).
//
// The window uses at most 8 bytes per pixel. Half of that is the dictionary. The other half is for
// images that arrived before their predecessors on another channel, and for memory kept for the
// next image. If a server needs more, it gets a *codec.FormatError.
func NewWindow(pixels int) *Window {
	return &Window{limit: 8 * pixels, images: make(map[uint64]*entry), changed: make(chan struct{})}
}

// Reset empties the window, for a session that starts over. No Decoder may be
// decoding at that time.
func (w *Window) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.images)
	w.bytes, w.tail, w.oldest, w.started, w.free = 0, 0, 0, false, nil
}

// Size returns the number of images in the window and the bytes that they and the
// memory kept for the next ones take.
func (w *Window) Size() (images, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.free {
		bytes += cap(e.pix)
	}
	return len(w.images), bytes + w.bytes
}

// begin makes room for the image of h. The caller must pass the entry to end.
func (w *Window) begin(h Header) (*entry, error) {
	size := 4 * h.Width * h.Height
	head := h.ID - uint64(h.HeadDistance)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.started {
		// The first image to arrive need not be the first of the session: others
		// may be under way on other channels, but none older than its head.
		w.started, w.tail, w.oldest = true, head, head
	}
	if w.has(h.ID) {
		return nil, &codec.FormatError{Codec: name, Offset: 21, Reason: fmt.Sprintf("image %d for the second time", h.ID)}
	}
	if h.ID == w.tail {
		// All earlier images have arrived, so nobody needs what this image does not need.
		w.release(head)
	}
	if size > w.limit-w.bytes {
		return nil, &codec.FormatError{Codec: name, Offset: 29,
			Reason: fmt.Sprintf("image %d of %dx%d pixels does not fit: the server holds on to images of %d bytes in a window of %d",
				h.ID, h.Width, h.Height, w.bytes, w.limit)}
	}
	e := w.take(size)
	e.id, e.head = h.ID, head
	w.bytes += cap(e.pix)
	w.trim()
	w.busy = append(w.busy, e)
	return e, nil
}

// take returns an entry with memory for size bytes.
func (w *Window) take(size int) *entry {
	for i := len(w.free) - 1; i >= 0; i-- {
		// An image must not occupy memory that is much larger than itself.
		if n := cap(w.free[i].pix); n >= size && n <= size+size/2 && n <= w.limit-w.bytes {
			e := w.free[i]
			w.free = append(w.free[:i], w.free[i+1:]...)
			e.pix = e.pix[:size]
			return e
		}
	}
	return &entry{pix: make([]byte, size)}
}

// trim frees memory that is kept for new images until the window is within its limit.
func (w *Window) trim() {
	spare := w.limit - w.bytes
	for i := len(w.free) - 1; i >= 0; i-- {
		if spare -= cap(w.free[i].pix); spare < 0 {
			n := copy(w.free, w.free[i+1:])
			clear(w.free[n:])
			w.free = w.free[:n]
			return
		}
	}
}

// end puts the image in the window. After an error it is put there without its
// pixels, so that those who wait for it get an error too.
func (w *Window) end(e *entry, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, b := range w.busy {
		if b == e {
			w.busy = append(w.busy[:i], w.busy[i+1:]...)
			break
		}
	}
	if err != nil {
		w.bytes -= cap(e.pix)
		e.pix = nil
	}
	w.images[e.id] = e
	head := w.oldest
	for {
		t, ok := w.images[w.tail]
		if !ok {
			break
		}
		head = t.head
		w.tail++
	}
	w.release(head)
	if w.waiting > 0 {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

func (w *Window) has(id uint64) bool {
	if _, ok := w.images[id]; ok {
		return true
	}
	for _, b := range w.busy {
		if b.id == id {
			return true
		}
	}
	return false
}

// release drops the images below head that no image being decoded may refer to.
func (w *Window) release(head uint64) {
	for _, b := range w.busy {
		head = min(head, b.head)
	}
	if head <= w.oldest {
		return
	}
	if head-w.oldest <= uint64(len(w.images)) {
		for id := w.oldest; id < head; id++ {
			if e, ok := w.images[id]; ok {
				w.forget(e)
			}
		}
	} else { // a server can leave out as many ids as it likes
		for id, e := range w.images {
			if id < head {
				w.forget(e)
			}
		}
	}
	w.oldest = head
	w.trim()
}

func (w *Window) forget(e *entry) {
	delete(w.images, e.id)
	w.bytes -= cap(e.pix)
	if e.pix != nil {
		w.free = append(w.free, e)
	}
}

// await returns the pixels of the image that lies distance before e, waiting until
// it is decoded. Its second result says what is wrong with the reference.
func (w *Window) await(ctx context.Context, e *entry, distance uint64) ([]byte, string, error) {
	if distance > e.id-e.head {
		return nil, tooOld, nil
	}
	id := e.id - distance
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if ref, ok := w.images[id]; ok {
			if ref.pix == nil {
				return nil, damaged, nil
			}
			return ref.pix, "", nil
		}
		if id < w.tail {
			return nil, tooOld, nil
		}
		changed := w.changed
		w.waiting++
		w.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		w.mu.Lock()
		w.waiting--
		if err != nil {
			return nil, "", fmt.Errorf("%s: image %d waits for image %d: %w", name, e.id, id, err)
		}
	}
}
