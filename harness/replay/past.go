package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Style and Script return the style and the script of the page, for a page that shows a running
// lane.
func Style() string  { return pageCSS }
func Script() string { return pageJS }

// Main returns the part of the page that the script fills: the screen, the logs and the timeline.
// live is the HTML of the element that shows the screen as it is now.
func Main(live string) string { return strings.Replace(mainHTML, "{{live}}", live, 1) }

// maxPastEvents limits the events of a running lane that are shown, because its page loads them
// repeatedly.
const maxPastEvents = 100_000

// Past writes the history of the lane in dir, which may be running, for the page's script: a line
// of JSON, and then the pictures in base64. It returns an error if there is no lane in dir, or if w
// fails.
func Past(w io.Writer, dir string) error {
	l, err := gather(dir, Options{})
	if err != nil {
		return err
	}
	if n := len(l.events); n > maxPastEvents {
		l.thinEvents(float64(maxPastEvents) / float64(n))
	}
	pictures, film := l.pack(Options{})
	d := l.pageData(film)
	if !l.began.IsZero() {
		d.Began, d.Now = l.began.UnixMicro(), us(time.Since(l.began))
	}
	if err := json.NewEncoder(w).Encode(d); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if _, err := io.WriteString(w, pictures); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}
