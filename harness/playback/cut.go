package playback

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Options select the part of a lane to show, and how to show it. The zero value shows the whole
// lane at its own speed.
type Options struct {
	// From and To are times of the lane's clock. From 0 means from the first picture, or, for a
	// terminal recording, from the first byte. To 0 means to the end.
	From, To time.Duration
	// Speed is the speed relative to the lane's, 0.001 to 1000. 0 means 1.
	Speed float64
	// SkipIdle limits each period in which nothing changes. The rest is skipped. 0 means no limit.
	SkipIdle time.Duration
	// Display is the display channel to show. nil means the lowest one that had a picture.
	Display *uint8
	// DrawInput draws the pointer and the names of keys into the picture.
	DrawInput bool
}

// The limits of the speed. Beyond them, times would become practically 0 or endless.
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

// check returns a *RangeError if the options are invalid, in the words of the command's flags.
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

// A RangeError says that options are invalid, or ask for something that the lane does not have.
type RangeError struct{ what string }

func (e *RangeError) Error() string { return "playback: " + e.what }

// A cut maps times of a lane to times of its playback.
type cut struct {
	pieces []piece
	speed  float64
}

// A piece is a period of the lane that is shown without a gap.
type piece struct {
	from, to time.Duration
	at       time.Duration // its beginning in the playback, at speed 1
}

// newCut returns the cut from one time of the lane to another. moments are the times at which
// something changes. Between two of them, the cut shows no more than o.SkipIdle.
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

// at returns the time in the playback for a time of the lane. Times before the beginning map to the
// beginning, times in a gap to the end of the gap, and times after the end to the end.
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

// length returns the length of the playback.
func (c cut) length() time.Duration { return c.at(c.to()) }

// has reports whether a time of the lane is within the cut, including gaps.
func (c cut) has(t time.Duration) bool { return t >= c.from() && t <= c.to() }
