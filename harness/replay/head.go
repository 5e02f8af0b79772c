package replay

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Head is the top of the page.
type Head struct {
	Name, Test string
	// Outcome is passed, failed, product, harness, host, or, if the lane was killed, unknown.
	Outcome string
	// Sentence is the verdict in a sentence.
	Sentence string
	// Why is what else is known about a failure. It may be empty.
	Why string
	// Awaited and Saw are those of the wait that failed; empty if none did.
	Awaited, Saw string
	Facts        []Fact
	// Command runs the lane again.
	Command string
	// Left says what the page lacks, in one sentence each.
	Left []string

	Fixture, Image, Display, Compression, Accel, Start, QEMU, Spicelane, Film string
	Warm                                                                      bool

	latency Fact
}

// A Fact is a property of the lane and its value. More has details.
type Fact struct{ Name, Value, More string }

// Badge returns the outcome in a word or two.
func (h Head) Badge() string {
	switch h.Outcome {
	case "product", "harness", "host":
		return h.Outcome + " fault"
	case "unknown":
		return "no verdict"
	}
	return h.Outcome
}

// Title returns the title of the page.
func (h Head) Title() string { return h.Badge() + ": " + cmp.Or(h.Test, h.Name, "a lane") }

// describe fills the head from what was read.
func (l *lane) describe() {
	h := &l.head
	v := l.verdict
	up := l.last
	if v != nil {
		h.Name, h.Test = cmp.Or(h.Name, plain(v.Name)), cmp.Or(h.Test, plain(v.Test))
		h.Fixture, h.Accel = cmp.Or(h.Fixture, plain(v.Fixture)), cmp.Or(h.Accel, plain(v.Accel))
		h.Warm = h.Warm || v.Warm
		up = max(up, time.Duration(v.UpMS)*time.Millisecond)
	}
	l.judge(up)
	if l.wait != nil && l.wait.Awaited != "" && h.Outcome != "passed" {
		h.Awaited, h.Saw = l.wait.Awaited, l.wait.Saw
	}
	start := "cold"
	if h.Warm {
		start = "warm"
	}
	if v != nil && v.ReadyMS > 0 {
		start += fmt.Sprintf(", ready after %s", seconds(time.Duration(v.ReadyMS)*time.Millisecond))
	}
	accel, why, _ := strings.Cut(h.Accel, ": ")
	name := h.Name
	if strings.HasSuffix(h.Test, name) {
		name = "" // the lane is named for its test
	}
	for _, f := range []Fact{
		{"Test", h.Test, ""}, {"Lane", name, ""}, {"Guest", cmp.Or(h.Fixture, h.Image), ""}, {"Accelerator", accel, why},
		{"Start", start, h.Start}, {"Lived", seconds(up), ""}, h.latency, {"Display", strings.Trim(h.Display+", "+h.Compression, ", "), ""},
		{"QEMU", h.QEMU, ""}, {"Spicelane", h.Spicelane, ""},
	} {
		if f.Value != "" {
			h.Facts = append(h.Facts, f)
		}
	}
	lacks := "there is no film: only the built-in client makes one"
	switch {
	case h.Film == "off":
		lacks = "this lane was not filmed (film: off)"
	case exists(filepath.Join(l.dir, film.File)):
		lacks = "the film cannot be shown"
	}
	if l.stills {
		l.lack("%s; the screen shows the pictures that were taken", lacks)
	} else if l.film == nil {
		l.lack("%s", lacks)
	}
	h.Left = l.left
}

// judge sets the outcome, and the sentence that says how the lane ended.
func (l *lane) judge(up time.Duration) {
	h, v := &l.head, l.verdict
	what := "lane"
	if h.Test != "" {
		what = "test"
	}
	switch {
	case v == nil:
		h.Outcome = "unknown"
		h.Sentence = fmt.Sprintf("The %s has no verdict: what ran it was killed. The timeline ends after %s.", what, seconds(l.last))
	case v.OK && v.EndedBy == verdict.EndedByGuest:
		h.Outcome = "passed"
		h.Sentence = fmt.Sprintf("The %s passed; the guest switched itself off after %s.", what,
			seconds(time.Duration(v.UpMS)*time.Millisecond))
	case v.OK:
		h.Outcome = "passed"
		h.Sentence = fmt.Sprintf("The %s passed; its lane lived for %s.", what, seconds(up))
	case v.Verdict == verdict.Product, v.Verdict == verdict.Harness, v.Verdict == verdict.Host:
		h.Outcome = string(v.Verdict)
		where := ""
		if v.Hop != "" {
			where = fmt.Sprintf(" (%s)", plain(string(v.Hop)))
		}
		h.Sentence, h.Why = split(v.Reason)
		h.Sentence = fmt.Sprintf("%s fault%s: %s", strings.ToUpper(h.Outcome[:1])+h.Outcome[1:], where, h.Sentence)
	default:
		h.Outcome = "failed"
		h.Sentence, h.Why = split(cmp.Or(v.Reason, "nothing is known of why"))
		h.Sentence = "The test failed: " + h.Sentence
		if l.wait != nil && l.wait.Awaited != "" {
			h.Sentence = "The test failed after it awaited " + l.wait.Awaited
			_, h.Why = split(l.wait.Err)
		}
	}
}

// split splits a reason into a headline and the rest.
func split(reason string) (sentence, rest string) {
	reason = plain(reason)
	if at := strings.Index(reason, "; "); at > 0 {
		return reason[:at], reason[at+2:]
	}
	return reason, ""
}
