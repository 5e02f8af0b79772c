package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The elements of JUnit's XML, as far as CI systems agree on them. Product failures are <failure>;
// the others are <error>, because they say nothing about the product. Evidence is named in the form
// in which Jenkins and GitLab look for attachments, and also as a property.
type (
	xmlSuites struct {
		XMLName  xml.Name   `xml:"testsuites"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"time,attr"`
		Suites   []xmlSuite `xml:"testsuite"`
	}
	xmlSuite struct {
		Name       string         `xml:"name,attr"`
		Tests      int            `xml:"tests,attr"`
		Failures   int            `xml:"failures,attr"`
		Errors     int            `xml:"errors,attr"`
		Skipped    int            `xml:"skipped,attr"`
		Time       string         `xml:"time,attr"`
		Timestamp  string         `xml:"timestamp,attr,omitempty"`
		Properties *xmlProperties `xml:"properties"`
		Cases      []xmlCase      `xml:"testcase"`
	}
	xmlCase struct {
		Class      string         `xml:"classname,attr"`
		Name       string         `xml:"name,attr"`
		Time       string         `xml:"time,attr"`
		Properties *xmlProperties `xml:"properties"`
		Failure    *xmlText       `xml:"failure"`
		Error      *xmlText       `xml:"error"`
		Skipped    *xmlText       `xml:"skipped"`
		Out        *xmlOut        `xml:"system-out"`
	}
	xmlOut struct {
		Text string `xml:",cdata"`
	}
	xmlProperties struct {
		All []xmlProperty `xml:"property"`
	}
	xmlProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	xmlText struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",cdata"`
	}
)

// JUnitOptions configure WriteJUnit. The zero value is useful.
type JUnitOptions struct {
	// Index is the path of the run's page, see WriteIndex. Each suite names it as the property
	// "page". Empty means none.
	Index string
}

// WriteJUnit writes the run as JUnit XML. The types of failures and errors are the verdicts. A test
// with a lane names the lane's page, and a failed test has it attached.
func (r *Run) WriteJUnit(w io.Writer, opt JUnitOptions) error {
	all := xmlSuites{Name: "go test", Time: xmlSeconds(r.Ended.Sub(r.Began))}
	for _, p := range r.Packages {
		s := p.junit()
		if len(s.Cases) == 0 {
			continue
		}
		if opt.Index != "" {
			s.Properties = s.Properties.with("page", opt.Index)
		}
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
		all.Suites = append(all.Suites, s)
	}
	if len(r.Problems) > 0 {
		all.Suites = append(all.Suites, r.junitProblems())
		if r.Incomplete {
			all.Tests++
			all.Errors++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (p *Package) junit() xmlSuite {
	s := xmlSuite{Name: p.Path, Time: xmlSeconds(p.Elapsed)}
	if len(p.Tests) > 0 && !p.Tests[0].Began.IsZero() {
		s.Timestamp = p.Tests[0].Began.UTC().Format(time.RFC3339)
	}
	if p.Cached {
		s.Properties = s.Properties.with("cached", "true")
	}
	add := func(c xmlCase) {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
		s.Cases = append(s.Cases, c)
	}
	if p.Failure != nil {
		c := xmlCase{Class: p.Path, Name: "(package)", Time: xmlSeconds(p.Elapsed)}
		c.fail(p.Failure, p.Output)
		add(c)
	}
	for _, t := range p.Tests {
		add(t.junit())
	}
	return s
}

func (t *Test) junit() xmlCase {
	c := xmlCase{Class: t.Package, Name: t.Name, Time: xmlSeconds(t.Elapsed)}
	for i, l := range t.Lanes {
		if l.Gone {
			continue
		}
		prefix := "lane."
		if len(t.Lanes) > 1 {
			prefix = fmt.Sprintf("lane.%d.", i+1)
		}
		c.Properties = c.Properties.with(prefix+"accel", l.Accel).
			with(prefix+"warm", strconv.FormatBool(l.Warm)).
			with(prefix+"ready_ms", strconv.FormatInt(l.ReadyMS, 10))
	}
	dir, _ := t.evidence()
	if dir != "" && (t.Artifacts != "" || t.Outcome == Failed) {
		c.Properties = c.Properties.with("artifacts", dir)
	}
	page := t.page()
	if page != "" {
		c.Properties = c.Properties.with("page", page)
	}
	switch t.Outcome {
	case Failed:
		c.fail(t.Failure, t.Output)
		// The page comes first, because some CI systems take only one attachment, and only a file.
		var attached []string
		for _, path := range []string{page, dir} {
			if path != "" {
				attached = append(attached, "[[ATTACHMENT|"+path+"]]")
			}
		}
		if len(attached) > 0 {
			c.Out = &xmlOut{strings.Join(attached, "\n")}
		}
	case Skipped:
		c.Skipped = &xmlText{Message: t.Reason}
	}
	return c
}

func (c *xmlCase) fail(f *Failure, output string) {
	c.Properties = c.Properties.with("verdict", string(f.Verdict)).with("kind", string(f.Kind))
	text := &xmlText{Message: f.Reason, Type: string(f.Verdict), Text: xmlText10(output)}
	if f.Verdict == "product" {
		c.Failure = text
	} else {
		c.Error = text
	}
}

// junitProblems returns a suite for the problems of the stream.
func (r *Run) junitProblems() xmlSuite {
	s := xmlSuite{Name: "(input)", Time: xmlSeconds(0)}
	if r.Incomplete {
		s.Tests, s.Errors = 1, 1
		s.Cases = []xmlCase{{Class: "(input)", Name: "complete", Time: xmlSeconds(0),
			Error: &xmlText{Message: r.Problems[0], Type: "harness", Text: xmlText10(strings.Join(r.Problems, "\n"))}}}
		return s
	}
	for _, p := range r.Problems {
		s.Properties = s.Properties.with("note", p)
	}
	return s
}

// with returns p with one more property; p may be nil.
func (p *xmlProperties) with(name, value string) *xmlProperties {
	if p == nil {
		p = &xmlProperties{}
	}
	p.All = append(p.All, xmlProperty{name, value})
	return p
}

// xmlText10 returns s without the characters that no XML 1.0 document may contain (section 2.2),
// such as the escapes of coloured output. The encoder handles attributes.
func xmlText10(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r == '\r', r >= 0x20 && r <= 0xd7ff, r >= 0xe000 && r <= 0xfffd, r >= 0x10000:
			return r
		}
		return '\ufffd'
	}, strings.ToValidUTF8(s, "\ufffd"))
}

func xmlSeconds(d time.Duration) string {
	return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 3, 64)
}
