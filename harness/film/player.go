package film

import (
	"image"
	"time"
)

// A Player plays a film from its beginning to its end, and decodes each frame at most once.
type Player struct {
	frames []Frame // of one display
	next   int     // index of the first frame that was not played
	screen *image.NRGBA
}

// Play returns a player of a display's frames.
func (f *Film) Play(display uint8) *Player {
	p := &Player{}
	for _, fr := range f.Frames {
		if fr.Display == display {
			p.frames = append(p.frames, fr)
		}
	}
	return p
}

// Frames returns the frames that the player plays, in the order of their times.
func (p *Player) Frames() []Frame { return p.frames }

// Seek plays up to a moment, which must not be before that of the last call. It returns the picture
// of the display at that moment, or nil if it had none. The picture is valid until the next call.
// Seek returns an error if a PNG cannot be decoded.
func (p *Player) Seek(at time.Duration) (*image.NRGBA, error) {
	end := p.next
	for ; end < len(p.frames) && p.frames[end].At <= at; end++ {
		// Frames before a key frame are not visible any more.
		if p.frames[end].Key || p.frames[end].Gone {
			p.next = end
		}
	}
	for ; p.next < end; p.next++ {
		fr := p.frames[p.next]
		switch {
		case fr.Gone:
			p.screen = nil
			continue
		case fr.Key && (p.screen == nil || p.screen.Rect.Max != fr.Size):
			p.screen = image.NewNRGBA(image.Rectangle{Max: fr.Size})
		case p.screen == nil:
			continue // no key frame: only a Film that Read did not make has such frames
		}
		if err := fr.paint(p.screen); err != nil {
			return nil, err
		}
	}
	return p.screen, nil
}

// At returns the picture of a display at a moment, or nil if it had none. It returns an error if a
// PNG cannot be decoded. To play a film, use [Film.Play], which is faster.
func (f *Film) At(display uint8, at time.Duration) (*image.NRGBA, error) {
	return f.Play(display).Seek(at)
}
