package control

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// AwaitParams are the params of await: what to wait for, and for how long.
type AwaitParams struct {
	Condition
	// TimeoutMS is the longest wait in milliseconds, 10000 if nil.
	TimeoutMS *uint32 `json:"timeout_ms,omitempty"`
}

// Condition is one thing to wait for: exactly one of its fields is set.
type Condition struct {
	// All and Any combine conditions.
	All []Condition `json:"all,omitempty"`
	Any []Condition `json:"any,omitempty"`
	// Surface waits for a surface, of a size if that is given.
	Surface *SurfaceCondition `json:"surface,omitempty"`
	// Stable waits until the pixels have not changed for a while.
	Stable *StableCondition `json:"stable,omitempty"`
	// Region compares pixels.
	Region *RegionCondition `json:"region,omitempty"`
	// Digest checks the guest's digest.
	Digest *DigestCondition `json:"digest,omitempty"`
	// Agent waits for the guest's agent to be connected, or not.
	Agent *bool `json:"agent,omitempty"`
	// Cursor checks the pointer.
	Cursor *CursorCondition `json:"cursor,omitempty"`
	// Screen waits for a reference image.
	Screen *ScreenCondition `json:"screen,omitempty"`
	// Text waits for a text.
	Text *TextCondition `json:"text,omitempty"`
}

// An Area selects pixels: a surface, by default the primary one, and a part of it, by default all.
type Area struct {
	ChannelID *uint8  `json:"channel_id,omitempty"`
	SurfaceID *uint32 `json:"surface_id,omitempty"`
	Rect      *Rect   `json:"rect,omitempty"`
}

// SurfaceCondition is met when the surface exists and has the width and height, if these are not 0.
type SurfaceCondition struct {
	ChannelID *uint8  `json:"channel_id,omitempty"`
	SurfaceID *uint32 `json:"surface_id,omitempty"`
	Width     int     `json:"width,omitempty"`
	Height    int     `json:"height,omitempty"`
}

// StableCondition is met when no pixel has changed for MS milliseconds.
type StableCondition struct {
	Area
	MS uint32 `json:"ms"`
}

// RegionCondition is met when the pixels match PNG or SHA256, of which exactly one is set. With
// Differs, it is met when they do not match.
type RegionCondition struct {
	Area
	// PNG is a picture of the region's size, in base64.
	PNG []byte `json:"png,omitempty"`
	// SHA256 is the hex digest of the region's pixels as a screenshot of the format rgba has them.
	SHA256 string `json:"sha256,omitempty"`
	// Differs inverts the comparison.
	Differs bool `json:"differs,omitempty"`
	// Tolerance is how far a colour channel of a pixel may differ, 0 to 255. For PNG only.
	Tolerance uint8 `json:"tolerance,omitempty"`
	// MaxPixels is how many pixels may differ by more than Tolerance. For PNG only.
	MaxPixels int `json:"max_pixels,omitempty"`
	// Masks are parts of the region, relative to it, that are ignored. For PNG only.
	Masks []Rect `json:"masks,omitempty"`
}

// DigestCondition is met when a digest has everything that is set. Digests shown since the wait
// began count, and so does the one on the screen at its beginning. If nothing is set, any digest
// meets it.
type DigestCondition struct {
	// MinCounter is the least frame counter.
	MinCounter *uint32 `json:"min_counter,omitempty"`
	// Event is the kind of an event that must be among the newest, such as "keypress".
	Event string `json:"event,omitempty"`
	// Fields are values that this event must have.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
	// AfterMS demands an event whose timestamp_ms is greater, so that an earlier one does not
	// count.
	AfterMS *uint64 `json:"after_ms,omitempty"`
	// Hashes are values of channel_hashes.
	Hashes map[string]uint32 `json:"hashes,omitempty"`
	// FramebufferHash is the value of framebuffer_hash.
	FramebufferHash *uint32 `json:"framebuffer_hash,omitempty"`
}

// CursorCondition is met when the pointer has everything that is set.
type CursorCondition struct {
	Visible *bool `json:"visible,omitempty"`
	X       *int  `json:"x,omitempty"`
	Y       *int  `json:"y,omitempty"`
}

// AwaitResult is the result of await.
type AwaitResult struct {
	WaitedMS float64 `json:"waited_ms"`
	// Seen is what each condition saw last, in the order of the request. If the error has the code
	// timeout or disconnected, it is in the error's data.
	Seen []ConditionResult `json:"seen"`
}

// A ConditionResult is what one condition saw last.
type ConditionResult struct {
	Condition string `json:"condition"` // what was wanted, for a person
	Met       bool   `json:"met"`
	Saw       string `json:"saw"` // for a person
	// Match is what the conditions screen and text found.
	Match *MatchResult `json:"match,omitempty"`
}

func (p Area) String() string {
	s := "the picture"
	if p.SurfaceID != nil || p.ChannelID != nil {
		s = "the surface"
	}
	if p.Rect != nil {
		s = fmt.Sprintf("the region %dx%d at %d,%d", p.Rect.Width, p.Rect.Height, p.Rect.X, p.Rect.Y)
	}
	return s
}

// String says what the condition wants.
func (c DigestCondition) String() string {
	var parts []string
	if c.MinCounter != nil {
		parts = append(parts, fmt.Sprintf("frame counter at least %d", *c.MinCounter))
	}
	if c.Event != "" {
		s := "event " + c.Event
		if len(c.Fields) > 0 {
			b, err := ndjson.Marshal(c.Fields)
			if err == nil {
				s += " with " + string(b)
			}
		}
		if c.AfterMS != nil {
			s += fmt.Sprintf(" after %d ms", *c.AfterMS)
		}
		parts = append(parts, s)
	}
	if len(c.Hashes) > 0 {
		parts = append(parts, fmt.Sprintf("hashes %v", c.Hashes))
	}
	if c.FramebufferHash != nil {
		parts = append(parts, fmt.Sprintf("framebuffer hash %#x", *c.FramebufferHash))
	}
	if len(parts) == 0 {
		return "a digest"
	}
	return "a digest with " + strings.Join(parts, ", ")
}

// Place is the former name of Area.
//
// Deprecated: write Area.
type Place = Area

// Sight is the former name of ConditionResult.
//
// Deprecated: write ConditionResult.
type Sight = ConditionResult
