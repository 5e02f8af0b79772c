package control

import (
	"fmt"
)

// MatchParams are the params of match: exactly one of its fields is set.
type MatchParams struct {
	// Screen looks for reference images.
	Screen *ScreenCondition `json:"screen,omitempty"`
	// Text looks for text.
	Text *TextCondition `json:"text,omitempty"`
}

// ScreenCondition is met when a reference image is on the surface.
type ScreenCondition struct {
	ChannelID *uint8  `json:"channel_id,omitempty"`
	SurfaceID *uint32 `json:"surface_id,omitempty"`
	// Dir is the absolute path of the directory of reference images, on the server's host. It is
	// read again for each request.
	Dir string `json:"dir"`
	// Tag is a tag, several tags with spaces between them, or the name of a reference image.
	Tag string `json:"tag"`
	// Scale scales a surface of another size to that of the reference image.
	Scale bool `json:"scale,omitempty"`
	// Masks are parts of the surface that are not compared.
	Masks []Rect `json:"masks,omitempty"`
	// Ignore masks what moves by itself: "cursor" is a text cursor that underlines or blinks,
	// "pointer" a mouse pointer that the guest draws.
	Ignore []string `json:"ignore,omitempty"`
}

// TextCondition is met when a text is on the surface, within one line of a console with fixed
// cells. Exactly one of Literal and Pattern is set.
type TextCondition struct {
	Area
	// Literal is the text.
	Literal string `json:"literal,omitempty"`
	// Pattern is a regular expression in Go's syntax.
	Pattern string `json:"pattern,omitempty"`
	// Cursor asks that the cell behind the text has the cursor.
	Cursor bool `json:"cursor,omitempty"`
	// Fonts are further fonts: names of the server's host's console fonts, or absolute paths.
	Fonts []string `json:"fonts,omitempty"`
}

// MatchResult is the result of match.
type MatchResult struct {
	Matched bool `json:"matched"`
	// Saw says what was found, or what is there instead, for a person.
	Saw string `json:"saw"`
	// OCR says that the match rests on text that a program has guessed from the picture.
	OCR bool `json:"ocr,omitempty"`
	// Needle is the reference image that matched, or else the one that came nearest.
	Needle string `json:"needle,omitempty"`
	// Candidates is how many reference images were tried.
	Candidates int `json:"candidates,omitempty"`
	// Areas are that reference image's match areas, and those with text to be read if they were.
	Areas []MatchedArea `json:"areas,omitempty"`
	// Found is the text that was found, and Rect where it is.
	Found string `json:"found,omitempty"`
	Rect  *Rect  `json:"rect,omitempty"`
	// Click is where to click on what was found.
	Click *Point `json:"click,omitempty"`
}

// A MatchedArea is an area of a reference image, where it fits best.
type MatchedArea struct {
	Rect
	// OK says that it has the similarity that it needs. Both are in percent.
	OK         bool    `json:"ok"`
	Similarity float64 `json:"similarity"`
	Need       float64 `json:"need"`
	// Differ is the number of pixels that differ.
	Differ int `json:"differ"`
	// Read is what was read in an area with text, and Wanted what it should be.
	Read   string `json:"read,omitempty"`
	Wanted string `json:"wanted,omitempty"`
}

// A Point is a place on a surface.
type Point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

// String says what the condition wants.
func (c ScreenCondition) String() string { return fmt.Sprintf("the reference image %q", c.Tag) }

// String says what the condition wants.
func (c TextCondition) String() string {
	s := fmt.Sprintf("the text %q", c.Literal)
	if c.Pattern != "" {
		s = fmt.Sprintf("text like %q", c.Pattern)
	}
	if c.Rect != nil {
		s += " in " + c.Area.String()
	}
	if c.Cursor {
		s += " with the cursor behind it"
	}
	return s
}
