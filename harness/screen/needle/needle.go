// Package needle compares pictures of screens with reference images in the format of os-autoinst.
// Users of openQA call these images needles.
//
//	dir, err := needle.Open("needles")
//	…
//	r, err := dir.Match(ctx, needle.Query{Tag: "login"}, pixmap.Of(screenshot))
//	if !r.Matched() {
//		fmt.Println(r) // the nearest needle, and what did not match
//	}
//
// A needle is a PNG and a JSON file with the same name in the same directory. The JSON names areas
// of the PNG:
//
//	{
//	  "area": [
//	    {"xpos": 8, "ypos": 40, "width": 96, "height": 16, "type": "match"},
//	    {"xpos": 60, "ypos": 40, "width": 16, "height": 16, "type": "exclude"}
//	  ],
//	  "properties": [],
//	  "tags": ["login"]
//	}
//
// The package can read a needle and write it again without a change, including JSON members that it
// does not know. docs/screens.md lists the differences from os-autoinst's matching.
//
// The package does not take pictures or wait; packages harness and screen do.
package needle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// The types of areas.
const (
	// TypeMatch is the type of areas that must be on the screen.
	TypeMatch = "match"
	// TypeExclude is the type of areas that are cut out of the others: they are not compared.
	TypeExclude = "exclude"
	// TypeOCR is the type of areas with text that tesseract must read. A match that depends on one
	// says so.
	TypeOCR = "ocr"
)

// DefaultMargin is how far an area may be from its place, in pixels, if it has no margin.
const DefaultMargin = 50

// maxMargin limits a margin, in pixels. No screen is larger.
const maxMargin = 1 << 14

// Exact is the similarity, in percent, of an area whose pixels are all equal. Areas without a
// similarity need it.
const Exact = 100

// A Needle is one reference image.
type Needle struct {
	// Name is the file's name without directory and extension.
	Name string
	// Path is the path of the JSON file; empty if there is none yet.
	Path string

	Areas []Area
	// Tags are the names that tests use. Several needles with the same tag are alternatives.
	Tags []string
	// Properties are notes such as "workaround".
	Properties []Property

	object object
	raw    []byte  // the file as it was read
	asRead *Needle // the fields as they were read

	made  *pixmap.Picture // the picture of a needle that was not read from a file
	once  sync.Once
	ready *compiled
	err   error
}

// An Area is a rectangle of a needle's picture, in pixels.
type Area struct {
	X, Y, Width, Height int
	// Type is one of the Type constants.
	Type string
	// Match is the similarity that the area needs, in percent; 0 means [Exact].
	Match float64
	// Margin is how far the area may be from its place, in pixels; nil means [DefaultMargin].
	Margin *int
	// Click is the place to click; nil if the area has none.
	Click *Click
	// Text is the text that tesseract must read in an area of type ocr. If it is empty, the text must
	// be what tesseract reads in the needle's own picture. In JSON it is called refstr.
	Text string

	object object
}

// A Click is a place to click. X and Y are pixels from the area's upper left corner.
type Click struct {
	// Center means the middle of the area. X and Y are then ignored.
	Center bool
	X, Y   int
}

// A Property is a note about a needle. Value may be empty.
type Property struct {
	Name  string
	Value string

	raw json.RawMessage // as it was read
}

// Rect returns the area's rectangle in its picture.
func (a *Area) Rect() image.Rectangle {
	return image.Rect(a.X, a.Y, a.X+a.Width, a.Y+a.Height)
}

// Need returns the similarity that the area needs, in percent.
func (a *Area) Need() float64 {
	if a.Match == 0 {
		return Exact
	}
	return a.Match
}

// SearchMargin returns how far the area may be from its place, in pixels.
func (a *Area) SearchMargin() int {
	if a.Margin == nil {
		return DefaultMargin
	}
	return *a.Margin
}

// HasTags reports whether the needle has every tag of a list separated by spaces. It returns false
// for an empty list.
func (n *Needle) HasTags(tags string) bool {
	words := strings.Fields(tags)
	for _, word := range words {
		if !slices.Contains(n.Tags, word) {
			return false
		}
	}
	return len(words) > 0
}

// HasProperty reports whether the needle has a property of that name.
func (n *Needle) HasProperty(name string) bool {
	return slices.ContainsFunc(n.Properties, func(p Property) bool { return p.Name == name })
}

// PNG returns the path of the needle's picture.
func (n *Needle) PNG() string {
	return filepath.Join(filepath.Dir(n.Path), n.Name+".png")
}

// ReadFile reads a needle's JSON file. The needle's picture is read when it is first needed.
func ReadFile(path string) (*Needle, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	n, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	n.Path = path
	n.Name = strings.TrimSuffix(filepath.Base(path), ".json")
	return n, nil
}

// Parse reads a needle's JSON and checks it. The needle has no name and path yet.
func Parse(b []byte) (*Needle, error) {
	n := &Needle{}
	if err := json.Unmarshal(b, &n.object); err != nil {
		return nil, describe(b, err)
	}
	for _, member := range []struct {
		name string
		to   any
	}{{"tags", &n.Tags}, {"properties", &n.Properties}, {"area", &n.Areas}} {
		raw, ok := n.object.values[member.name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, member.to); err != nil {
			var kind *json.UnmarshalTypeError
			if errors.As(err, &kind) {
				err = fmt.Errorf("%s: want %s, got %s", member.name, map[string]string{"tags": "a list of strings"}[member.name], kind.Value)
				if member.name != "tags" {
					err = fmt.Errorf("%s: want a list, got %s", member.name, kind.Value)
				}
			}
			return nil, err
		}
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	n.raw = bytes.Clone(b)
	n.asRead = &Needle{Areas: slices.Clone(n.Areas), Tags: slices.Clone(n.Tags), Properties: slices.Clone(n.Properties)}
	for i := range n.asRead.Areas { // what they point to may be changed in place
		a := &n.asRead.Areas[i]
		if a.Margin != nil {
			a.Margin = new(*a.Margin)
		}
		if a.Click != nil {
			a.Click = new(*a.Click)
		}
	}
	return n, nil
}

// describe adds the line number to a syntax error.
func describe(b []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(b[:min(int(syntax.Offset), len(b))], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}

// check returns an error if something other than the picture is wrong with a needle.
func (n *Needle) check() error {
	wanted, clicks := 0, 0
	for i := range n.Areas {
		a := &n.Areas[i]
		if err := a.check(); err != nil {
			return fmt.Errorf("area %d: %w", i+1, err)
		}
		if a.Type != TypeExclude {
			wanted++
		}
		if a.Click != nil {
			clicks++
		}
	}
	if wanted == 0 {
		return errors.New("no area of type match or ocr: it would match every screen")
	}
	if clicks > 1 {
		return fmt.Errorf("%d areas have a click_point: want one at most", clicks)
	}
	return nil
}

func (a *Area) check() error {
	switch a.Type {
	case TypeMatch, TypeExclude, TypeOCR:
	default:
		return fmt.Errorf("type is %q: want match, exclude or ocr", a.Type)
	}
	if a.X < 0 || a.Y < 0 || a.Width <= 0 || a.Height <= 0 {
		return fmt.Errorf("%d×%d pixels at (%d,%d): want a size above 0 and a place within the picture", a.Width, a.Height, a.X, a.Y)
	}
	if !(a.Match >= 0 && a.Match <= Exact) { // NaN is neither
		return fmt.Errorf("match is %v: want a percentage from 0 to 100", a.Match)
	}
	if m := a.SearchMargin(); m < 0 || m > maxMargin {
		return fmt.Errorf("margin is %d: want 0 to %d pixels", m, maxMargin)
	}
	if c := a.Click; c != nil && !c.Center && !image.Pt(c.X, c.Y).In(image.Rect(0, 0, a.Width, a.Height)) {
		return fmt.Errorf("click_point (%d,%d) is outside the area, which has %d×%d pixels", c.X, c.Y, a.Width, a.Height)
	}
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Area) UnmarshalJSON(b []byte) (err error) {
	*a = Area{Type: TypeMatch}
	o := &a.object
	if err := json.Unmarshal(b, o); err != nil {
		return fmt.Errorf("area: %w", err)
	}
	for _, f := range []struct {
		name string
		to   *int
	}{{"xpos", &a.X}, {"ypos", &a.Y}, {"width", &a.Width}, {"height", &a.Height}} {
		if *f.to, _, err = o.integer(f.name); err != nil {
			return fmt.Errorf("area: %w", err)
		}
	}
	if a.Match, _, err = o.number("match"); err != nil {
		return fmt.Errorf("area: %w", err)
	}
	margin, set, err := o.integer("margin")
	if err != nil {
		return fmt.Errorf("area: %w", err)
	}
	if set {
		a.Margin = &margin
	}
	if raw, ok := o.values["type"]; ok && string(raw) != "null" {
		if json.Unmarshal(raw, &a.Type) != nil {
			return fmt.Errorf("area: type is %s: want match, exclude or ocr", head(raw))
		}
	}
	if raw, ok := o.values["refstr"]; ok && json.Unmarshal(raw, &a.Text) != nil {
		return fmt.Errorf("area: refstr is %s: want a string", head(raw))
	}
	if raw, ok := o.values["click_point"]; ok && string(raw) != "null" {
		a.Click = new(Click)
		if err := a.Click.unmarshal(raw); err != nil {
			return fmt.Errorf("area: click_point: %w", err)
		}
	}
	return nil
}

func (c *Click) unmarshal(raw json.RawMessage) (err error) {
	var word string
	if json.Unmarshal(raw, &word) == nil {
		if word != "center" {
			return fmt.Errorf(`is %q: want "center", or xpos and ypos`, word)
		}
		c.Center = true
		return nil
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	if c.X, _, err = o.integer("xpos"); err != nil {
		return err
	}
	c.Y, _, err = o.integer("ypos")
	return err
}

// MarshalJSON implements json.Marshaler. It keeps the JSON that was read, except for the members
// that have changed.
func (a Area) MarshalJSON() ([]byte, error) {
	var was Area
	if len(a.object.names) > 0 {
		b, err := a.object.MarshalJSON()
		if err != nil {
			return nil, err
		}
		if err := was.UnmarshalJSON(b); err != nil {
			return nil, err
		}
	}
	o := was.object
	for _, f := range []struct {
		name     string
		was, now int
	}{{"xpos", was.X, a.X}, {"ypos", was.Y, a.Y}, {"width", was.Width, a.Width}, {"height", was.Height, a.Height}} {
		if _, there := o.values[f.name]; f.was != f.now || !there && len(a.object.names) == 0 {
			o.set(f.name, f.now)
		}
	}
	if a.Type != was.Type {
		o.set("type", a.Type)
	}
	if a.Match != was.Match {
		o.set("match", a.Match)
	}
	if a.Text != was.Text {
		o.set("refstr", a.Text)
	}
	switch {
	case reflect.DeepEqual(a.Margin, was.Margin):
	case a.Margin == nil:
		o.remove("margin")
	default:
		o.set("margin", *a.Margin)
	}
	switch {
	case reflect.DeepEqual(a.Click, was.Click):
	case a.Click == nil:
		o.remove("click_point")
	case a.Click.Center:
		o.set("click_point", "center")
	default:
		o.set("click_point", map[string]int{"xpos": a.Click.X, "ypos": a.Click.Y})
	}
	return o.MarshalJSON()
}

// UnmarshalJSON implements json.Unmarshaler. A property is a string, or an object with name and
// value.
func (p *Property) UnmarshalJSON(b []byte) error {
	*p = Property{raw: bytes.Clone(b)}
	if json.Unmarshal(b, &p.Name) == nil {
		return nil
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return fmt.Errorf("properties: want strings, or objects with name and value: %w", err)
	}
	if json.Unmarshal(o.values["name"], &p.Name) != nil {
		return fmt.Errorf("properties: %s has no name", head(b))
	}
	if v := o.values["value"]; json.Unmarshal(v, &p.Value) != nil {
		p.Value = string(v)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (p Property) MarshalJSON() ([]byte, error) {
	var was Property
	if p.raw != nil && was.UnmarshalJSON(p.raw) == nil && was.Name == p.Name && was.Value == p.Value {
		return p.raw, nil
	}
	if p.Value == "" {
		return json.Marshal(p.Name)
	}
	return json.Marshal(map[string]string{"name": p.Name, "value": p.Value})
}

// Encode returns the needle's JSON. If nothing has changed since it was read, Encode returns the
// same bytes.
func (n *Needle) Encode() ([]byte, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	if r := n.asRead; r != nil && reflect.DeepEqual(r.Areas, n.Areas) && reflect.DeepEqual(r.Tags, n.Tags) && reflect.DeepEqual(r.Properties, n.Properties) {
		return bytes.Clone(n.raw), nil
	}
	o := object{names: slices.Clone(n.object.names), values: make(map[string]json.RawMessage)}
	for name, v := range n.object.values {
		o.values[name] = v
	}
	o.set("area", n.Areas)
	for name, list := range map[string]any{"tags": append([]string{}, n.Tags...), "properties": append([]Property{}, n.Properties...)} {
		o.set(name, list)
	}
	b, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", "  "); err != nil {
		return nil, err
	}
	pretty.WriteByte('\n')
	return pretty.Bytes(), nil
}

// New returns a needle whose picture is that of a whole screen. It is in no file until Save.
func New(name string, areas []Area, tags []string, picture *pixmap.Picture) (*Needle, error) {
	n := &Needle{Name: name, Areas: slices.Clone(areas), Tags: slices.Clone(tags), made: picture}
	if name == "" || name != fileName(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("needle %q: want a name that can be a file's", name)
	}
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("needle %s: %w", name, err)
	}
	if _, err := n.compile(); err != nil {
		return nil, err
	}
	return n, nil
}

// Save writes the needle's files into a directory and sets Path. It writes the picture first, so
// that there is never a JSON file without one.
func (n *Needle) Save(dir string) error {
	b, err := n.Encode()
	if err != nil {
		return fmt.Errorf("needle %s: %w", n.Name, err)
	}
	p, err := n.picture()
	if err != nil {
		return err
	}
	var pic bytes.Buffer
	if err := png.Encode(&pic, p.Image()); err != nil {
		return fmt.Errorf("needle %s: %w", n.Name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("needle %s: %w", n.Name, err)
	}
	path := filepath.Join(dir, n.Name)
	if err := atomicfile.Write(path+".png", pic.Bytes(), 0o644); err != nil {
		return fmt.Errorf("needle %s: %w", n.Name, err)
	}
	if err := atomicfile.Write(path+".json", b, 0o644); err != nil {
		return fmt.Errorf("needle %s: %w", n.Name, err)
	}
	n.Path = path + ".json"
	return nil
}

// picture returns the needle's picture.
func (n *Needle) picture() (*pixmap.Picture, error) {
	if n.made != nil {
		return n.made, nil
	}
	p, err := pixmap.ReadFile(n.PNG())
	if err != nil {
		return nil, fmt.Errorf("needle %s: %w", n.Name, err)
	}
	return p, nil
}
