package keylatency

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file writes the plot as SVG by itself, because that takes less code than a plotting library.

// The measures of the plot, in pixels.
const (
	plotWidth  = 860
	plotLeft   = 70 // the left end of the axes
	plotRight  = 810
	firstTop   = 132
	axesHeight = 280
	panelStep  = 412 // from the top of one panel's axes to the next one's
	plotHeight = firstTop + panelStep + axesHeight + 54
)

// A look is the colour and the mark with which a path is drawn. Colour-blind people can distinguish
// the colours.
type look struct {
	path, colour string
	mark         func(x, y string, colour string) string
}

var looks = []look{
	{"direct", "#0072b2", func(x, y, c string) string {
		return fmt.Sprintf(`<circle cx="%s" cy="%s" r="4" fill="#fff" stroke="%s" stroke-width="2"/>`, x, y, c)
	}},
	{"proxied", "#d55e00", func(x, y, c string) string {
		return fmt.Sprintf(`<path d="M%s %sm-4 -4h8v8h-8z" fill="#fff" stroke="%s" stroke-width="2"/>`, x, y, c)
	}},
}

// marked are the quantiles that are drawn.
var marked = []struct {
	name string
	q    float64
	of   func(Sums) float64
}{
	{"p50", 0.50, func(s Sums) float64 { return s.P50 }},
	{"p95", 0.95, func(s Sums) float64 { return s.P95 }},
	{"p99", 0.99, func(s Sums) float64 { return s.P99 }},
}

// WritePlot draws the distributions as SVG: for each time, the share of keys that took no longer.
// The picture is above, and the digest below. p50, p95 and p99 are marked. Keys that took much
// longer than p99 are beyond the right edge.
func (r *Report) WritePlot(w io.Writer) error {
	all := r.Series()
	x := timeAxis(all)
	var b bytes.Buffer
	f := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	f(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13" fill="#222">`, plotWidth, plotHeight)
	f(`<title>Key latency</title>`)
	f(`<rect width="%d" height="%d" fill="#fff"/>`, plotWidth, plotHeight)
	f(`<text x="%d" y="24" font-size="17">Key latency, past the proxy and through it</text>`, plotLeft)
	f(`<text x="%d" y="44" fill="#666">%s</text>`, plotLeft, escaped(r.caption()))
	for i, to := range []string{"picture", "digest"} {
		r.panel(f, x, to, firstTop+i*panelStep)
	}
	f(`</svg>`)
	_, err := w.Write(b.Bytes())
	return err
}

// caption returns one line about what was measured.
func (r *Report) caption() string {
	parts := []string{
		fmt.Sprintf("%s under %s", r.Fixture, r.Accel),
		"QEMU " + firstWord(r.Machine.QEMU),
		fmt.Sprintf("%d processors", r.Machine.CPUs),
		"proxy: " + r.Proxy,
		"keys in turns",
		r.At.UTC().Format("2006-01-02 15:04 UTC"),
	}
	return strings.Join(parts, " · ")
}

// escaped returns s as XML text.
func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // NB: a buffer accepts everything
	return b.String()
}

func firstWord(s string) string {
	first, _, _ := strings.Cut(s, " ")
	return first
}

// panel draws the two series to "picture" or "digest". top is the upper end of the axes.
func (r *Report) panel(f func(string, ...any), x axis, to string, top int) {
	bottom := top + axesHeight
	y := func(share float64) string { return pixel(float64(bottom) - share*axesHeight) }
	f(`<g>`)
	f(`<text x="%d" y="%d" font-size="15">key to %s</text>`, plotLeft, top-56, to)
	for _, ms := range x.ticks {
		at := pixel(x.at(ms))
		f(`<path d="M%s %dV%d" stroke="#e5e5e5"/>`, at, top, bottom)
		f(`<text x="%s" y="%d" text-anchor="middle">%s</text>`, at, bottom+18, number(ms))
	}
	f(`<text x="%d" y="%d" text-anchor="middle">time since the key was sent, in ms</text>`, (plotLeft+plotRight)/2, bottom+38)
	for _, percent := range []int{0, 25, 50, 75, 100} {
		at := y(float64(percent) / 100)
		f(`<path d="M%d %sH%d" stroke="#e5e5e5"/>`, plotLeft, at, plotRight)
		f(`<text x="%d" y="%s" dy="4" text-anchor="end">%d</text>`, plotLeft-8, at, percent)
	}
	middle := top + axesHeight/2
	f(`<text x="22" y="%d" text-anchor="middle" transform="rotate(-90 22 %[1]d)">keys that took no longer, in %%</text>`, middle)
	for _, m := range marked {
		f(`<path d="M%d %sH%d" stroke="#888" stroke-dasharray="2 3"/>`, plotLeft, y(m.q), plotRight)
		f(`<text x="%d" y="%s" dy="4" font-size="11">%s</text>`, plotRight+6, y(m.q), m.name)
	}
	f(`<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#666"/>`, plotLeft, top, plotRight-plotLeft, axesHeight)

	for i, l := range looks {
		s := r.find(l.path, to)
		row := top - 32 + 20*i
		f(`<path d="M%d %dh30" stroke="%s" stroke-width="2"/>`, plotLeft, row-5, l.colour)
		f(`%s`, l.mark(strconv.Itoa(plotLeft+15), strconv.Itoa(row-5), l.colour))
		f(`<text x="%d" y="%d">%s</text>`, plotLeft+40, row, legendText(s))
		if s.N == 0 {
			continue
		}
		f(`<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`, steps(s.Times, x, y), l.colour)
		for _, m := range marked {
			f(`%s`, l.mark(pixel(x.at(m.of(s.Sums))), y(m.q), l.colour))
		}
	}
	f(`</g>`)
}

func (r *Report) find(path, to string) Series {
	all := r.Series()
	return all[slices.IndexFunc(all, func(s Series) bool { return s.Path == path && s.To == to })]
}

func legendText(s Series) string {
	if s.N == 0 {
		return s.Path + ": no key was seen"
	}
	ms := func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
	var parts []string
	for _, m := range marked {
		parts = append(parts, m.name+" "+ms(m.of(s.Sums)))
	}
	return fmt.Sprintf("%s: %s, slowest %s ms; n = %d", s.Path, strings.Join(parts, ", "), ms(s.Max), s.N)
}

// steps returns the SVG path of a distribution. It rises by one key's share at each key's time, and
// ends at the right edge.
func steps(times []time.Duration, x axis, y func(float64) string) string {
	var p strings.Builder
	fmt.Fprintf(&p, "M%d %s", plotLeft, y(0))
	for i, t := range slices.Sorted(slices.Values(times)) {
		ms := milliseconds(t)
		if ms > x.to {
			break
		}
		fmt.Fprintf(&p, "H%sV%s", pixel(x.at(ms)), y(float64(i+1)/float64(len(times))))
	}
	fmt.Fprintf(&p, "H%d", plotRight)
	return p.String()
}

// An axis is the axis of time, from 0, in milliseconds.
type axis struct {
	to    float64
	ticks []float64
}

// maxTicks is the greatest number of ticks of an axis, besides the one at 0.
const maxTicks = 10

// timeAxis returns an axis that ends at the first tick beyond 1.05 times the slowest p99. Ticks are
// at multiples of 1, 2 or 5 times a power of ten.
func timeAxis(all []Series) axis {
	most := 0.01
	for _, s := range all {
		most = max(most, s.P99*1.05)
	}
	for unit := 0.001; ; unit *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if count := math.Ceil(most / (unit * n)); count <= maxTicks {
				a := axis{to: count * unit * n}
				for i := range int(count) + 1 {
					a.ticks = append(a.ticks, float64(i)*unit*n)
				}
				return a
			}
		}
	}
}

// at returns the horizontal position of a time on the plot, in pixels.
func (a axis) at(ms float64) float64 { return plotLeft + ms/a.to*(plotRight-plotLeft) }

// pixel formats a coordinate, to a tenth of a pixel.
func pixel(f float64) string {
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
}

// number formats a tick's number, with no more digits than microseconds.
func number(f float64) string {
	return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64)
}
