package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/fresh"
	"github.com/spicelane/spicelane/spice/control"
)

// A Stream is the guest's digests from one moment on. Each digest has the newest events; a Stream
// combines them into one list. It demands that the frame counter rises with each digest. It
// recomputes the rolling hashes from the events, so that it notices an event that no digest has
// shown.
//
// A Stream is for one goroutine.
type Stream struct {
	lane   *harness.Lane
	client *control.Driver
	sub    *control.Subscription
	// byPicture means that the client does not read digests, so the Stream reads them in pictures.
	byPicture bool
	// hashless means that the client omits the hashes, as in version 1.2; Complete then reads them
	// in a picture.
	hashless bool

	last   digest.Digest        // with the recomputed hashes if it had none
	frames int                  // digests read
	events []digest.Event       // seen, oldest first
	read   int                  // events that Await is past
	hashes digest.ChannelHashes // of all events up to the last seen
	missed []string             // what no window showed
}

// OpenStream starts with the present digest.
func OpenStream(ctx context.Context, lane *harness.Lane) (*Stream, error) {
	return openStream(ctx, lane, func(digest.Digest) bool { return true })
}

// openStream starts with the first digest that accept accepts.
func openStream(ctx context.Context, lane *harness.Lane, accept func(digest.Digest) bool) (*Stream, error) {
	client, err := lane.Control()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	s := &Stream{lane: lane, client: client, byPicture: !client.SupportsEvent(control.EventDigestUpdated)}
	event := control.EventDigestUpdated
	if s.byPicture {
		event = control.EventSurfaceDrawn
	}
	// NB: subscribe before the first look, so that nothing is missed.
	if s.sub, err = client.Subscribe(ctx, event); err != nil {
		return nil, s.fault(began, err)
	}
	var last error
	for {
		d, err := drive.ReadDigest(ctx, client)
		if err == nil && accept(d) {
			s.last, s.frames, s.events, s.hashes = d, 1, slices.Clone(d.Events), d.ChannelHashes
			s.read = len(s.events)
			return s, nil
		}
		if err != nil {
			last = err
		}
		if _, err := s.sub.Next(ctx); err != nil {
			s.Close()
			seen := "nothing"
			if last != nil {
				seen = last.Error()
			}
			return nil, s.fault(began, &drive.AwaitError{Wanted: "a digest", Last: seen, Err: err})
		}
	}
}

// Close ends the stream.
func (s *Stream) Close() { s.sub.Close() }

// next reads the next digest.
func (s *Stream) next(ctx context.Context) (digest.Digest, error) {
	if s.byPicture {
		return s.nextPicture(ctx)
	}
	for {
		ev, err := s.sub.Next(ctx)
		if err != nil {
			return digest.Digest{}, err
		}
		if ev.Name == control.EventDropped {
			return digest.Digest{}, fmt.Errorf("digests were lost on the control socket: %s", ev.Data)
		}
		var d digest.Digest
		if err := json.Unmarshal(ev.Data, &d); err != nil {
			return d, fmt.Errorf("a digest that cannot be read: %w", err)
		}
		if s.frames == 1 && d.FrameCounter <= s.last.FrameCounter {
			continue // on its way when the first look was taken
		}
		var has struct {
			Hashes *json.RawMessage `json:"channel_hashes"`
		}
		if err := json.Unmarshal(ev.Data, &has); err != nil {
			return d, err
		}
		s.hashless = has.Hashes == nil
		return d, nil
	}
}

// nextPicture reads pictures until one shows a digest with another counter.
func (s *Stream) nextPicture(ctx context.Context) (digest.Digest, error) {
	past, cancel := context.WithCancel(ctx)
	cancel()
	var last error
	for {
		if _, err := s.sub.Next(ctx); err != nil {
			return digest.Digest{}, errors.Join(err, last)
		}
		for { // of many draws the newest counts
			if _, err := s.sub.Next(past); err != nil {
				break
			}
		}
		d, err := s.look(ctx)
		if err == nil && d.FrameCounter != s.last.FrameCounter {
			return d, nil
		}
		last = err
	}
}

// look reads the digest in a picture.
func (s *Stream) look(ctx context.Context) (digest.Digest, error) {
	img, err := s.lane.Screenshot(ctx)
	if err != nil {
		return digest.Digest{}, err
	}
	return drive.ScanPicture(img)
}

// pump waits for the next digest and adds it.
func (s *Stream) pump(ctx context.Context) error {
	d, err := s.next(ctx)
	if err != nil {
		return err
	}
	return s.take(d)
}

// take adds a digest.
func (s *Stream) take(d digest.Digest) error {
	if d.FrameCounter <= s.last.FrameCounter {
		return &verdict.Error{Verdict: verdict.Product, Op: "digest",
			Err: fmt.Errorf("the frame counter went from %d to %d", s.last.FrameCounter, d.FrameCounter)}
	}
	// Events contain their time, so hardly any two are equal.
	news := fresh.After(s.events, d.Events, func(a, b digest.Event) bool { return a == b })
	for _, e := range news {
		if err := s.hashes.Add(e); err != nil {
			return fmt.Errorf("an event that has no encoding: %w", err)
		}
	}
	s.events = append(s.events, news...)
	if s.hashless {
		d.ChannelHashes = s.hashes
	}
	if s.hashes != d.ChannelHashes {
		s.missed = append(s.missed, fmt.Sprintf("%s between frames %d and %d", differing(s.hashes, d.ChannelHashes), s.last.FrameCounter, d.FrameCounter))
		s.hashes = d.ChannelHashes
	}
	s.last = d
	s.frames++
	return nil
}

// differing names the kinds of events whose hashes differ.
func differing(a, b digest.ChannelHashes) string {
	var kinds []string
	want := b.Map()
	for name, sum := range a.Map() {
		if want[name] != sum {
			kinds = append(kinds, name)
		}
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}

// Await returns the first event that match accepts, among those after the one that it returned
// last. what names the awaited event in the error.
func (s *Stream) Await(ctx context.Context, what string, match func(digest.Event) bool) (digest.Event, error) {
	began, from := time.Now(), len(s.events)
	for {
		for ; s.read < len(s.events); s.read++ {
			if e := s.events[s.read]; match(e) {
				s.read++
				return e, nil
			}
		}
		if err := s.pump(ctx); err != nil {
			seen := describe(s.events[min(from, len(s.events)):])
			if len(s.missed) > 0 {
				seen += "; no digest showed " + strings.Join(s.missed, "; ")
			}
			return nil, s.fault(began, &drive.AwaitError{Wanted: what, Last: seen, Err: err})
		}
	}
}

// AwaitFrame waits until the frame counter has risen above n.
func (s *Stream) AwaitFrame(ctx context.Context, n uint32) (digest.Digest, error) {
	began := time.Now()
	for s.last.FrameCounter <= n {
		if err := s.pump(ctx); err != nil {
			return s.last, s.fault(began, &drive.AwaitError{
				Wanted: fmt.Sprintf("a digest after frame %d", n), Last: fmt.Sprintf("frame %d", s.last.FrameCounter), Err: err})
		}
	}
	return s.last, nil
}

// fault adds a verdict to an error of a wait.
func (s *Stream) fault(began time.Time, err error) error {
	var f *verdict.Error
	if errors.As(err, &f) {
		return &verdict.Error{Verdict: f.Verdict, Op: "digest", Err: err}
	}
	v := verdict.Product
	select {
	case <-s.client.Done():
		v = verdict.Harness // the socket, not what came over it
	default:
	}
	return s.lane.Attribute(began, &verdict.Error{Verdict: v, Op: "digest", Err: err})
}

// maxDescribed is how many events an error shows.
const maxDescribed = 40

func describe(events []digest.Event) string {
	if len(events) == 0 {
		return "no event"
	}
	head := ""
	if n := len(events) - maxDescribed; n > 0 {
		head = fmt.Sprintf("%d events and then ", n)
		events = events[n:]
	}
	b, err := json.Marshal(digest.Events(events))
	if err != nil {
		return head + err.Error()
	}
	return head + string(b)
}

// Last returns the newest digest.
func (s *Stream) Last() digest.Digest { return s.last }

// Events returns all events seen, oldest first, those in the first digest included.
func (s *Stream) Events() []digest.Event { return slices.Clone(s.events) }

// Frames returns how many digests were read.
func (s *Stream) Frames() int { return s.frames }

// Complete returns an error unless every event with a rolling hash was seen: the hashes of every
// digest followed from the events in it and before it. With fromBoot, the stream must have begun
// before the first of them. If the client's digests have no hashes, those of a picture are used.
func (s *Stream) Complete(ctx context.Context, fromBoot bool) error {
	if s.hashless {
		began := time.Now()
		if err := s.checkPicture(ctx); err != nil {
			return s.fault(began, err)
		}
	}
	return s.complete(fromBoot)
}

// checkPicture compares the recomputed hashes with those in a picture of the stream's newest frame.
func (s *Stream) checkPicture(ctx context.Context) error {
	for {
		d, err := s.look(ctx)
		if err != nil && ctx.Err() != nil {
			return err
		}
		for err == nil && s.last.FrameCounter < d.FrameCounter {
			if err := s.pump(ctx); err != nil {
				return err
			}
		}
		if err == nil && s.last.FrameCounter == d.FrameCounter {
			if s.hashes != d.ChannelHashes {
				s.missed = append(s.missed, fmt.Sprintf("%s until frame %d", differing(s.hashes, d.ChannelHashes), d.FrameCounter))
				s.hashes = d.ChannelHashes
			}
			return nil
		}
		// The picture has another frame, or a code that is being drawn: try the next.
		if err := s.pump(ctx); err != nil {
			return err
		}
	}
}

func (s *Stream) complete(fromBoot bool) error {
	if len(s.missed) > 0 {
		return &verdict.Error{Verdict: verdict.Product, Op: "digest", Err: fmt.Errorf("no digest showed %s", strings.Join(s.missed, "; "))}
	}
	if !fromBoot {
		return nil
	}
	var hashes digest.ChannelHashes
	for _, e := range s.events {
		if err := hashes.Add(e); err != nil {
			return err
		}
	}
	if hashes != s.last.ChannelHashes {
		return &verdict.Error{Verdict: verdict.Product, Op: "digest",
			Err: fmt.Errorf("the events seen have the hashes %v, the digest says %v", hashes.Map(), s.last.ChannelHashes.Map())}
	}
	return nil
}
