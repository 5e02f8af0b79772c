package playback

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Options say what of a lane is shown, and how. The zero value shows all of it, as fast as it was.
type Options struct {
	// From and To are times of the lane's clock. From 0 means from the first picture on, or for
	// a terminal, from the first byte on. To 0 means up to the end.
	From, To time.Duration
	// Speed is how many times as fast the lane is shown. Default: 1.
	Speed float64
	// SkipIdle is how much is shown of a time in which nothing changes; 0 means all of it.
	SkipIdle time.Duration
	// Display is the display channel that is shown. Default: the lowest that had a picture.
	Display *uint8
	// DrawInput draws the pointer and the names of keys into the picture.
	DrawInput bool
}

// Speeds beyond these have times that cannot be told from 0 or never.
const (
	minSpeed = 0.001
	maxSpeed = 1000
)

func (o Options) speed() float64 {
	if o.Speed == 0 {
		return 1
	}
	return o.Speed
}

// check says what is wrong with the options, in the words of the command's flags.
func (o Options) check() error {
	switch {
	case o.Speed != 0 && !(o.Speed >= minSpeed && o.Speed <= maxSpeed): // NaN is neither
		return &RangeError{fmt.Sprintf("a speed of %v: it must be from %v to %v", o.Speed, minSpeed, maxSpeed)}
	case o.From < 0 || o.To < 0:
		return &RangeError{fmt.Sprintf("from %v to %v: a lane begins at 0", o.From, o.To)}
	case o.To != 0 && o.From >= o.To:
		return &RangeError{fmt.Sprintf("from %v to %v: the end must be after the beginning", o.From, o.To)}
	case o.SkipIdle < 0:
		return &RangeError{fmt.Sprintf("to skip idle times of more than %v: that cannot be less than 0", o.SkipIdle)}
	}
	return nil
}

// A RangeError is of options that ask for something that is not there.
type RangeError struct{ what string }

func (e *RangeError) Error() string { return "playback: " + e.what }

// A cut maps the time of a lane to the time of what is shown of it.
type cut struct {
	pieces []piece
	speed  float64
}

// A piece is a time of the lane that is shown without a gap.
type piece struct {
	from, to time.Duration
	at       time.Duration // what is shown before it, at speed 1
}

// newCut returns the cut from one time of the lane to another. Between two moments at which
// something changes no more than o.SkipIdle is shown.
func newCut(o Options, from, to time.Duration, moments []time.Duration) cut {
	c := cut{speed: o.speed(), pieces: []piece{{from: from, to: to}}}
	if o.SkipIdle == 0 {
		return c
	}
	outside := func(t time.Duration) bool { return t <= from || t >= to }
	moments = slices.DeleteFunc(slices.Clone(moments), outside)
	slices.Sort(moments)
	c.pieces = c.pieces[:0]
	p := piece{from: from, to: from}
	for _, t := range append(moments, to) {
		if t-p.to > o.SkipIdle {
			p.to += o.SkipIdle
			c.pieces = append(c.pieces, p)
			p = piece{from: t, at: p.at + p.to - p.from}
		}
		p.to = t
	}
	c.pieces = append(c.pieces, p)
	return c
}

// at returns when a moment of the lane is shown. What is before the beginning or in a gap is shown
// at once after it; what is after the end, at the end.
func (c cut) at(t time.Duration) time.Duration {
	i, found := slices.BinarySearchFunc(c.pieces, t, func(p piece, t time.Duration) int {
		return cmp.Compare(p.from, t)
	})
	if !found && i > 0 {
		i-- // the last piece that begins before t
	}
	p := c.pieces[i]
	return time.Duration(float64(p.at+max(0, min(t, p.to)-p.from)) / c.speed)
}

func (c cut) from() time.Duration { return c.pieces[0].from }

func (c cut) to() time.Duration { return c.pieces[len(c.pieces)-1].to }

// length returns how long it takes to show all.
func (c cut) length() time.Duration { return c.at(c.to()) }

// has tells whether a moment of the lane is within the cut, also if it is in a gap.
func (c cut) has(t time.Duration) bool { return t >= c.from() && t <= c.to() }
