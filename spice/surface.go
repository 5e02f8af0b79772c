package spice

import (
	"cmp"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/internal/bgra"
	"github.com/spicelane/spicelane/spice/canvas"
)

// SurfaceInfo describes a surface.
type SurfaceInfo struct {
	Channel       uint8
	ID            uint32
	Width, Height int
	Format        canvas.Format
	Primary       bool // the surface that is shown; others are drawn from
	// Marked means that the server has marked the primary surface as complete.
	Marked bool
	// Generation rises with every change of the pixels, from 1 at creation. It never repeats within
	// a session.
	Generation uint64
	// Drawn is when the pixels last changed.
	Drawn time.Time
	// Problem says why the picture may be wrong: an unsupported operation drew on it. It is empty
	// if nothing did. Stats.Unsupported counts it, too.
	Problem string
}

// Picture is a copy of a surface: rows top down, 32 bits per pixel in the byte order B, G, R, X.
// Surfaces of other formats are converted.
type Picture struct {
	SurfaceInfo
	Pix    []byte
	Stride int // bytes
}

// Image returns the picture in the byte order R, G, B, A, opaque and without padding.
func (p *Picture) Image() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for y := range p.Height {
		bgra.Opaque(img.Pix[y*img.Stride:][:4*p.Width], p.Pix[y*p.Stride:][:4*p.Width])
	}
	return img
}

// surfaces are the surfaces of one display channel.
type surfaces struct {
	mu   sync.Mutex
	byID map[uint32]*surface
}

type surface struct {
	info SurfaceInfo
	// passing means that info.Problem is a stream's, which its next frame repairs.
	passing bool
	img     *canvas.Image
	// sampled is how the last composite has read the surface, without the image; see
	// display.sampled. Only the goroutine that carries out messages uses it.
	sampled *canvas.Sampled
}

// spoil records a problem that stays. The caller holds surfaces.mu.
func (s *surface) spoil(what string) {
	if s.info.Problem == "" || s.passing {
		s.info.Problem, s.passing = what, false
	}
}

// Surfaces returns all existing surfaces, primary ones first, then by channel and number.
func (c *Client) Surfaces() []SurfaceInfo {
	var all []SurfaceInfo
	for _, d := range c.displays() {
		d.surfaces.mu.Lock()
		for _, s := range d.surfaces.byID {
			all = append(all, s.info)
		}
		d.surfaces.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b SurfaceInfo) int {
		if a.Primary != b.Primary {
			if a.Primary {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Surface returns one surface; false if it does not exist.
func (c *Client) Surface(channel uint8, id uint32) (SurfaceInfo, bool) {
	d := c.display(channel)
	if d == nil {
		return SurfaceInfo{}, false
	}
	d.surfaces.mu.Lock()
	defer d.surfaces.mu.Unlock()
	s := d.surfaces.byID[id]
	if s == nil {
		return SurfaceInfo{}, false
	}
	return s.info, true
}

// Snapshot copies a surface as it is between two drawing operations. It reuses the memory of
// dst.Pix if that is large enough; dst may be nil. It returns dst unless that was nil. The error is
// ErrNoSurface.
func (c *Client) Snapshot(channel uint8, id uint32, dst *Picture) (*Picture, error) {
	d := c.display(channel)
	if d == nil {
		return nil, ErrNoSurface
	}
	d.surfaces.mu.Lock()
	defer d.surfaces.mu.Unlock()
	s := d.surfaces.byID[id]
	if s == nil {
		return nil, ErrNoSurface
	}
	if dst == nil {
		dst = &Picture{}
	}
	dst.SurfaceInfo = s.info
	dst.Stride = s.img.Width * canvas.CellSize
	n := dst.Stride * s.img.Height
	if cap(dst.Pix) < n {
		dst.Pix = make([]byte, n)
	}
	dst.Pix = dst.Pix[:n]
	img := s.img.Convert(canvas.XRGB)
	for y := range img.Height {
		copy(dst.Pix[y*dst.Stride:(y+1)*dst.Stride], img.Pix[y*img.Stride:])
	}
	return dst, nil
}

// Cells copies the raw cells of a surface, alpha and unused bytes included, in the surface's own
// format. In the resulting canvas.Image, 0,0 is the top left corner of area within the surface. An
// empty area means the whole surface. Cells reuses the memory of dst if that is large enough; dst
// may be nil. The error is ErrNoSurface.
func (c *Client) Cells(channel uint8, id uint32, area image.Rectangle, dst *canvas.Image) (*canvas.Image, error) {
	d := c.display(channel)
	if d == nil {
		return nil, ErrNoSurface
	}
	d.surfaces.mu.Lock()
	defer d.surfaces.mu.Unlock()
	s := d.surfaces.byID[id]
	if s == nil {
		return nil, ErrNoSurface
	}
	if area.Empty() {
		area = s.img.Bounds()
	}
	area = area.Intersect(s.img.Bounds())
	if dst == nil {
		dst = &canvas.Image{}
	}
	stride := area.Dx() * canvas.CellSize
	*dst = canvas.Image{
		Format: s.img.Format, Width: area.Dx(), Height: area.Dy(), Stride: stride,
		Pix: slices.Grow(dst.Pix[:0], stride*area.Dy())[:stride*area.Dy()],
	}
	for y := range dst.Height {
		from := s.img.Pix[(area.Min.Y+y)*s.img.Stride+area.Min.X*canvas.CellSize:]
		copy(dst.Pix[y*stride:(y+1)*stride], from)
	}
	return dst, nil
}
