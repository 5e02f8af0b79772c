package termview

import (
	"fmt"
	"image"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/viewer"
)

// A layout has the places of all parts of the screen, in cells.
//
//	title
//	picture | side
//	────────────── serial ──
//	the last lines
type layout struct {
	w, h    int
	picture image.Rectangle
	side    image.Rectangle
	serial  image.Rectangle // without its heading, which is the row above
}

const (
	minSide   = 34 // columns: "key to picture  p50 123 p95"
	minSerial = 3
	maxSerial = 12
)

// arrange divides a terminal of w×h cells. screen is the size of the guest's screen, and cell is
// that of a cell, both in pixels (1×2 for blocks).
func arrange(w, h int, screen, cell image.Point, picture bool) layout {
	l := layout{w: w, h: h}
	serial := clamp(h/4, minSerial, maxSerial)
	top, bottom := 1, h-serial-1
	if bottom <= top { // too small: leave out the serial lines
		top, bottom = min(1, h), h
		serial = 0
	}
	l.serial = image.Rect(0, h-serial, w, h)
	room := image.Rect(0, top, w, bottom)
	if !picture {
		l.side = room
		return l
	}
	if w >= 2*minSide {
		room.Max.X = w - minSide - 1
	}
	fits := fit(screen, image.Pt(room.Dx()*cell.X, room.Dy()*cell.Y))
	cols, rows := (fits.X+cell.X-1)/cell.X, (fits.Y+cell.Y-1)/cell.Y
	if screen == (image.Point{}) {
		cols, rows = room.Dx(), room.Dy()
	}
	l.picture = image.Rect(0, top, min(cols, room.Dx()), top+min(rows, room.Dy()))
	if w >= 2*minSide {
		l.side = image.Rect(l.picture.Max.X+1, top, w, bottom)
	}
	return l
}

var (
	titleStyle = style{fg: rgb(0xe8, 0xf0, 0xf0), bg: rgb(0x12, 0x3c, 0x46)}
	labelStyle = style{fg: rgb(0x7a, 0x96, 0x9c)}
	ruleStyle  = style{fg: rgb(0x3c, 0x64, 0x6c)}
	eventStyle = style{fg: rgb(0x6c, 0xe0, 0x9c)}
	badStyle   = style{fg: rgb(0xff, 0x6c, 0x5c), bold: true}
	plainStyle = style{}
	boldStyle  = style{bold: true}
)

// drawWords draws everything except the picture.
func drawWords(g *grid, l layout, s viewer.State, entries []viewer.Entry, note string) {
	drawTitle(g, s, note)
	if !l.side.Empty() {
		drawSide(g, l.side, s, entries)
	}
	if l.serial.Dy() > 0 {
		drawSerial(g, l.serial, entries)
	}
}

func drawTitle(g *grid, s viewer.State, note string) {
	g.fill(0, 0, g.w, titleStyle)
	bold := titleStyle
	bold.bold = true
	x := 1 + g.text(1, 0, g.w-2, bold, s.Name)
	parts := []string{}
	for _, p := range []string{s.Fixture, s.Accel, s.Lane} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	g.text(x+2, 0, g.w-x-2, titleStyle, strings.Join(parts, " · "))
	if n := len([]rune(note)); n+2 < g.w-x-20 {
		g.text(g.w-n-1, 0, n, titleStyle, note)
	}
}

// drawSide draws the side panel: rows of facts, and the last events below them.
func drawSide(g *grid, r image.Rectangle, s viewer.State, entries []viewer.Entry) {
	y := r.Min.Y
	const indent = 16
	row := func(label string, st style, format string, args ...any) {
		if y < r.Max.Y {
			g.text(r.Min.X, y, r.Dx(), labelStyle, label)
			g.text(r.Min.X+indent, y, r.Dx()-indent, st, fmt.Sprintf(format, args...))
			y++
		}
	}
	switch {
	case s.Lane != "" && s.Lane != registry.StateReady && s.Lane != registry.StateStarting:
		row("lane", badStyle, "%s", s.Lane)
		for _, line := range wrap(s.Reason, r.Dx()-1, 4) {
			if y < r.Max.Y {
				g.text(r.Min.X+1, y, r.Dx()-1, badStyle, line)
				y++
			}
		}
	case s.Problem != "":
		row("session", badStyle, "none")
		for _, line := range wrap(s.Problem, r.Dx()-1, 4) {
			if y < r.Max.Y {
				g.text(r.Min.X+1, y, r.Dx()-1, badStyle, line)
				y++
			}
		}
	default:
		words := []string{fmt.Sprintf("%d×%d", s.Screen.X, s.Screen.Y)}
		if s.Console.AgentConnected {
			words = append(words, "agent")
		}
		row("screen", plainStyle, "%s", strings.Join(words, ", "))
		row("mouse", plainStyle, "%s", map[string]string{"client": "absolute", "server": "relative"}[s.Console.MouseMode])
	}
	for _, u := range s.Console.Unsupported {
		row("NOT DECODED", badStyle, "%s ×%d", u.What, u.Count)
	}
	if d := s.Digest; d != nil {
		row("digest", plainStyle, "frame %d", d.FrameCounter)
	} else {
		row("digest", plainStyle, "none seen")
	}
	row("key to picture", plainStyle, "%s", latencyWords(s.Picture))
	if s.ToDigest.N > 0 {
		row("key to digest", plainStyle, "%s", latencyWords(s.ToDigest))
	}
	if y+1 >= r.Max.Y {
		return
	}
	rule(g, r.Min.X, y, r.Max.X, "events")
	y++
	var lines []viewer.Entry
	for _, e := range entries {
		if e.Kind != viewer.Serial {
			lines = append(lines, e)
		}
	}
	lines = lines[max(0, len(lines)-(r.Max.Y-y)):]
	for _, e := range lines {
		x := r.Min.X
		st := eventStyle
		if e.Kind != viewer.Event {
			st = boldStyle
		}
		x += g.text(x, y, r.Max.X-x, st, e.Name) + 1
		g.text(x, y, r.Max.X-x, plainStyle, e.Text)
		y++
	}
}

func latencyWords(l viewer.Latencies) string {
	if l.N == 0 {
		return "no key yet"
	}
	return fmt.Sprintf("p50 %s p95 %s ms (%d)", msWords(l.P50), msWords(l.P95), l.N)
}

func msWords(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d", d.Milliseconds())
}

func drawSerial(g *grid, r image.Rectangle, entries []viewer.Entry) {
	rule(g, r.Min.X, r.Min.Y-1, r.Max.X, "serial")
	var lines []string
	for _, e := range entries {
		if e.Kind == viewer.Serial && strings.TrimSpace(e.Text) != "" {
			lines = append(lines, e.Text)
		}
	}
	lines = lines[max(0, len(lines)-r.Dy()):]
	for i, line := range lines {
		g.text(r.Min.X, r.Min.Y+i, r.Dx(), plainStyle, line)
	}
}

func rule(g *grid, x0, y, x1 int, title string) {
	for x := x0; x < x1; x++ {
		g.set(x, y, cell{r: '─', fg: ruleStyle.fg})
	}
	g.text(x0+2, y, x1-x0-2, labelStyle, " "+title+" ")
}

// wrap breaks a text into at most max lines of at most n characters.
func wrap(s string, n, max int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	if len(lines) > max {
		lines = append(lines[:max-1], lines[max-1]+" …")
	}
	return lines
}
