// Package catalogue has the steps of spicelane truth: the drawing commands of a QXL device, and the
// expected result of each step. It is data; package truth carries it out.
//
// Each step has a fixed number and a fixed description, so that today's report can be compared with
// next year's. New steps are added at the end of their group.
package catalogue

import (
	"fmt"
	"image"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// Step is one action of a guest, with the expected result for the server and a client.
type Step struct {
	Number    int
	Group     string
	Operation string // the row of the table that counts the step: "fill", "rop3", …
	Words     string // describes the step within its operation

	// Do has the commands, in order.
	Do []qxl.Command
	// Monitors, if not nil, are the monitors that the driver reports.
	Monitors []qxl.Monitor
	// Frames are drawn one after the other at video rate after Do.
	Frames *Frames
	// Cursor is the expected pointer; nil if the step does not change it.
	Cursor *Cursor
	// ResetCache makes the device empty the clients' caches first.
	ResetCache bool
	// Reset first resets the device, as a reset of its guest does: all surfaces and streams end.
	Reset bool
	// Replay is a recording whose next command is played; empty for none.
	Replay string
	// Batch means that nothing is drawn between the commands, so the server may omit drawings that
	// later ones cover.
	Batch bool

	Expect Expect
	// Compressed replaces Expect if images are compressed, unless its Kind is "".
	Compressed Expect
}

// Name returns the number, the operation and the words, as a report has them.
func (s *Step) Name() string { return fmt.Sprintf("%d %s %s", s.Number, s.Operation, s.Words) }

// ExpectedWith returns the expected result with a compression ("off", "quic", …).
func (s *Step) ExpectedWith(compression string) Expect {
	if compression != "off" && s.Compressed.Kind != "" {
		return s.Compressed
	}
	return s.Expect
}

// Recordable tells whether a recording of the step can be played with every compression. If the
// server is wrong with any of them, it cannot, because a recording does not say that.
func (s *Step) Recordable() bool {
	return s.Expect.Kind != ServerWrong && s.Compressed.Kind != ServerWrong
}

// Kind is the kind of an expected result.
type Kind string

// The kinds of expectations.
const (
	Exact       Kind = "exact"        // every pixel equals the server's
	Within      Kind = "within"       // inside the step's box, colours are at most Expect.Most off
	Dropped     Kind = "dropped"      // the server sends nothing, and nothing changes
	Dies        Kind = "server dies"  // the server's process ends, or spins
	ServerWrong Kind = "server wrong" // the server's memory is not what it tells clients to draw
)

// Expect is the expected result of a step, and the reason if it is not Exact.
type Expect struct {
	Kind   Kind
	Reason string
	// Most is the largest allowed mean difference of the colours, of 255, for Within.
	Most float64
}

// Cursor is the pointer that a client must have.
type Cursor struct {
	At      image.Point
	Visible bool
	Shape   *CursorShape // nil: no shape was ever set
}

// CursorShape is the shape from which the data of a qxl.Shape was made.
type CursorShape struct {
	Type          qxl.CursorType
	Width, Height int
	Hot           image.Point
	Pix           []byte // B, G, R, A
	Xor           []byte // nil, or B, G, R, X where Pix is transparent
}

// Frames is a region that is redrawn at video rate.
type Frames struct {
	Box   image.Rectangle
	Count int
	Clip  qxl.Clip
	Seed  uint64
	// Grow is added to the box after half of the frames.
	Grow image.Point
	// Lose makes the direct client read nothing during the second half, so that the server drops
	// frames.
	Lose bool
	// Over is drawn over the region afterwards; nil for nothing.
	Over *qxl.Drawable
}

// Group is a list of steps that share a primary surface. They are played in order.
type Group struct {
	Name    string
	First   int // the number of its first step
	Primary Surface
	Steps   []Step
	// Streaming makes the server turn regions that are redrawn fast into video.
	Streaming bool
	// JPEG means that its images look like photographs, so that the bound on JPEG's losses can be
	// narrow. If the server may use JPEG, only these groups run.
	JPEG bool
	// Once means that the compression makes no difference, so the group runs only with the first
	// setting that suits it.
	Once bool
	// Unrecorded means that a recording of the group is useless. spice-server's recorder ends the
	// server at commands that the server itself drops. And a recording has no times, so it makes no
	// video.
	Unrecorded bool
}

// Surface is a surface of the device.
type Surface struct {
	Format        qxl.SurfaceFormat
	Width, Height int
}

// The size of the primary surface, in pixels. It is the smallest with room for all steps.
const (
	Width  = 320
	Height = 240
)

// Groups returns the whole catalogue.
func Groups() []Group {
	xrgb := Surface{qxl.SurfaceXRGB, Width, Height}
	argb := Surface{qxl.SurfaceARGB, Width, Height}
	low := Surface{qxl.Surface555, Width, Height}
	groups := []Group{
		{Name: "fill", First: 1000, Primary: xrgb, Steps: fills()},
		{Name: "copy-bits", First: 1400, Primary: xrgb, Steps: copyBits()},
		{Name: "copy", First: 1500, Primary: xrgb, Steps: copies()},
		{Name: "opaque", First: 1800, Primary: xrgb, Steps: opaques()},
		{Name: "blend", First: 2000, Primary: xrgb, Steps: blends()},
		{Name: "transparent", First: 2200, Primary: xrgb, Steps: transparents()},
		{Name: "alpha-blend", First: 2300, Primary: xrgb, Steps: alphaBlends()},
		{Name: "flat", First: 2500, Primary: xrgb, Steps: flats()},
		{Name: "rop3", First: 3000, Primary: xrgb, Steps: rop3s()},
		{Name: "image", First: 4000, Primary: xrgb, Steps: images()},
		{Name: "cache", First: 4500, Primary: xrgb, Steps: caches()},
		{Name: "stroke", First: 5000, Primary: xrgb, Steps: strokes()},
		{Name: "text", First: 5200, Primary: xrgb, Steps: texts()},
		{Name: "composite", First: 5500, Primary: xrgb, Steps: composites()},
		{Name: "surface", First: 6000, Primary: xrgb, Steps: surfaces()},
		{Name: "batch", First: 7000, Primary: xrgb, Steps: batches()},
		{Name: "primary-argb", First: 7200, Primary: argb, Steps: primaries("argb")},
		{Name: "primary-555", First: 7400, Primary: low, Steps: primaries("555")},
		{Name: "jpeg", First: 7600, Primary: xrgb, Steps: jpegs(), JPEG: true},
		{Name: "cursor", First: 8000, Primary: xrgb, Steps: cursors(), Once: true},
		{Name: "monitors", First: 8200, Primary: xrgb, Steps: monitors(), Once: true},
		{Name: "stream", First: 8300, Primary: xrgb, Steps: streams(), Streaming: true, Once: true, Unrecorded: true},
		{Name: "dropped", First: 8500, Primary: xrgb, Steps: drops(), Once: true, Unrecorded: true},
		{Name: "deadly", First: 9000, Primary: xrgb, Steps: deaths(), Once: true, Unrecorded: true},
	}
	for i := range groups {
		groups[i].number()
	}
	return groups
}

// number numbers a group's steps, and sets the fields that they share.
func (g *Group) number() {
	for i := range g.Steps {
		s := &g.Steps[i]
		s.Number = g.First + i
		s.Group = g.Name
		if s.Expect.Kind == "" {
			s.Expect.Kind = Exact
		}
	}
}

// Only returns the steps that a pattern names: a number, "FROM-TO", or a glob (see path.Match) of a
// group, an operation, or the words. Commas separate several patterns. An empty pattern keeps all.
// A malformed pattern is an error, and so is one that names no step.
func Only(groups []Group, pattern string) ([]Group, error) {
	if pattern == "" {
		return groups, nil
	}
	var kept []Group
	patterns := strings.Split(pattern, ",")
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("catalogue: pattern %q: %w", p, err)
		}
	}
	for _, g := range groups {
		g.Steps = slices.DeleteFunc(slices.Clone(g.Steps), func(s Step) bool {
			return !slices.ContainsFunc(patterns, func(p string) bool { return s.matches(p) })
		})
		if len(g.Steps) > 0 {
			kept = append(kept, g)
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("catalogue: no step matches %q", pattern)
	}
	return kept, nil
}

func (s *Step) matches(pattern string) bool {
	first, last, _ := strings.Cut(pattern, "-")
	if from, err := strconv.Atoi(first); err == nil {
		if to, err := strconv.Atoi(last); err == nil {
			return s.Number >= from && s.Number <= to
		}
	}
	if pattern == fmt.Sprint(s.Number) {
		return true
	}
	for _, word := range []string{s.Group, s.Operation, s.Words} {
		if ok, _ := path.Match(pattern, word); ok {
			return true
		}
	}
	return false
}

// Sample returns a part of the steps of each group: the first step of each operation, kind of
// expectation and form of command, and every n-th step. So the sample still covers what the
// catalogue covers.
func Sample(groups []Group, n int) []Group {
	var kept []Group
	for _, g := range groups {
		if whole[g.Name] {
			kept = append(kept, g)
			continue
		}
		seen := map[string]bool{}
		var steps []Step
		for i, s := range g.Steps {
			key := s.Operation + string(s.Expect.Kind+s.Compressed.Kind)
			words := strings.SplitN(s.Words, ", ", 3)
			switch {
			case g.JPEG:
				key += words[0] // the format, which decides on the codec
			case g.Name == "fill":
				key += strings.Join(words[:min(2, len(words))], "") // operation and what is inverted
			case g.Name == "stroke" && len(words) > 1:
				key += words[1] // the dashes
			}
			if !seen[key] || i%n == 0 {
				steps = append(steps, s)
			}
			seen[key] = true
		}
		g.Steps = steps
		kept = append(kept, g)
	}
	return kept
}

// whole names the groups that Sample does not change, because their steps depend on earlier ones.
var whole = map[string]bool{"surface": true, "cache": true, "cursor": true, "stream": true}

// Box returns the rectangle of the primary surface that a step may change.
func (s *Step) Box() image.Rectangle {
	var box image.Rectangle
	for _, c := range s.Do {
		if d, ok := c.(*qxl.Drawable); ok && d.Surface == 0 {
			box = box.Union(d.Box)
		}
	}
	if f := s.Frames; f != nil {
		box = box.Union(f.Box)
		box = box.Union(image.Rectangle{Min: f.Box.Min, Max: f.Box.Max.Add(f.Grow)})
		if f.Over != nil {
			box = box.Union(f.Over.Box)
		}
	}
	return box.Intersect(image.Rect(0, 0, Width, Height))
}

// String returns the kind, and the reason if there is one.
func (e Expect) String() string {
	s := string(e.Kind)
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

// randomSteps is the number of steps of RandomGroup.
const randomSteps = 500

// RandomGroup returns a group of random steps that depend only on a seed.
func RandomGroup(seed uint64) Group {
	g := Group{Name: "random", First: 1, Primary: Surface{qxl.SurfaceXRGB, Width, Height}, Steps: RandomSteps(seed, randomSteps)}
	g.number()
	return g
}
