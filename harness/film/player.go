package film

import (
	"image"
	"time"
)

// A Player shows a film from its beginning to its end, and decodes each frame at most once.
type Player struct {
	frames []Frame // of one display
	next   int     // the first frame that was not played
	screen *image.NRGBA
}

// Play returns a player of what a display showed.
func (f *Film) Play(display uint8) *Player {
	p := &Player{}
	for _, fr := range f.Frames {
		if fr.Display == display {
			p.frames = append(p.frames, fr)
		}
	}
	return p
}

// Frames returns the frames that the player plays, in the order of their time.
func (p *Player) Frames() []Frame { return p.frames }

// Seek goes on to a moment, which is not before that of the last call, and returns what the display
// showed then; nil if it had no picture. The picture is valid until the next call. The error
// is of a PNG that cannot be read.
func (p *Player) Seek(at time.Duration) (*image.NRGBA, error) {
	end := p.next
	for ; end < len(p.frames) && p.frames[end].At <= at; end++ {
		// What is before a key frame is not seen any more.
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
			continue // no frame to stand on, which only a film that was not read has
		}
		if err := fr.paint(p.screen); err != nil {
			return nil, err
		}
	}
	return p.screen, nil
}

// At returns what a display showed at a moment, nil if it had no picture. The error is of a PNG
// that cannot be read. To go through a film, see [Film.Play].
func (f *Film) At(display uint8, at time.Duration) (*image.NRGBA, error) {
	return f.Play(display).Seek(at)
}
