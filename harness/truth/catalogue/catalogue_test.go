package catalogue_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// TestNumbersAndWordsOfStepsDoNotChange keeps the numbers and words stable, because reports of
// different days are compared by them. A group may grow at its end: then its line changes, and
// nothing else does.
func TestNumbersAndWordsOfStepsDoNotChange(t *testing.T) {
	want, err := os.ReadFile("testdata/steps.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, g := range catalogue.Groups() {
		sum := sha256.New()
		for _, s := range g.Steps {
			fmt.Fprintf(sum, "%s\n", s.Name())
		}
		fmt.Fprintf(&got, "%-13s from %d %4d steps %x\n", g.Name, g.First, len(g.Steps), sum.Sum(nil)[:8])
	}
	if got.String() != string(want) {
		t.Errorf("testdata/steps.txt, if this is meant, is now:\n%s", got.String())
	}
}

func TestEveryStepHasANumberOfItsOwn(t *testing.T) {
	names := map[int]string{}
	for _, g := range catalogue.Groups() {
		for _, s := range g.Steps {
			if s.Words == "" && s.Operation == "" {
				t.Errorf("step %d of %s has no words", s.Number, g.Name)
			}
			if other := names[s.Number]; other != "" {
				t.Errorf("step %d is %q and %q", s.Number, other, s.Name())
			}
			names[s.Number] = s.Name()
			for _, e := range []catalogue.Expect{s.Expect, s.Compressed} {
				if e.Kind != "" && e.Kind != catalogue.Exact && e.Reason == "" {
					t.Errorf("step %s is expected to be %q without a reason", s.Name(), e.Kind)
				}
			}
		}
	}
	if len(names) < 2000 {
		t.Errorf("the catalogue has %d steps, want at least 2,000", len(names))
	}
}

func TestTheCatalogueHasEveryDrawType(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range catalogue.Groups() {
		for _, s := range g.Steps {
			for _, c := range s.Do {
				seen[fmt.Sprintf("%T", c)] = true
				if d, ok := c.(*qxl.Drawable); ok {
					seen[fmt.Sprintf("%T", d.Op)] = true
				}
			}
		}
	}
	for _, want := range []string{"Fill", "Opaque", "Copy", "CopyBits", "Blend", "Blackness", "Whiteness", "Invers", "Rop3", "Stroke",
		"Text", "Transparent", "AlphaBlend", "Composite", "CreateSurface", "DestroySurface", "SetCursor", "MoveCursor", "HideCursor", "TrailCursor"} {
		if !seen["*qxl."+want] {
			t.Errorf("no step has a %s", want)
		}
	}
}

func TestAllRop3CodesAreThere(t *testing.T) {
	codes := map[uint8]bool{}
	for _, g := range catalogue.Groups() {
		for _, s := range g.Steps {
			for _, c := range s.Do {
				if d, ok := c.(*qxl.Drawable); ok {
					if op, ok := d.Op.(*qxl.Rop3); ok {
						codes[op.Code] = true
					}
				}
			}
		}
	}
	if len(codes) != 256 {
		t.Errorf("%d codes, want 256", len(codes))
	}
}

func TestOnlyKeepsWhatAPatternNames(t *testing.T) {
	for pattern, want := range map[string]int{"1001": 1, "1001-1003": 3, "monitors": 7, "four": 1, "1001,four": 2, "fou?": 1} {
		groups, err := catalogue.Only(catalogue.Groups(), pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		n := 0
		for _, g := range groups {
			n += len(g.Steps)
		}
		if n != want {
			t.Errorf("%q: %d steps, want %d", pattern, n, want)
		}
	}
	for _, pattern := range []string{"no such step", "[", "1001-1003x", "1001-1003.5"} {
		if _, err := catalogue.Only(catalogue.Groups(), pattern); err == nil {
			t.Errorf("%q: no error", pattern)
		}
	}
}

func TestRandomStepsDependOnTheSeedOnly(t *testing.T) {
	same := func(a, b catalogue.Step) bool { return fmt.Sprintf("%+v", words(a)) == fmt.Sprintf("%+v", words(b)) }
	if !same(catalogue.Random(5, 9), catalogue.Random(5, 9)) {
		t.Error("the same seed gives other steps")
	}
	long := catalogue.Random(5, 20)
	long.Do = long.Do[:9]
	if !same(catalogue.Random(5, 9), long) {
		t.Error("more steps of a seed begin otherwise")
	}
	if same(catalogue.Random(5, 9), catalogue.Random(6, 9)) {
		t.Error("another seed gives the same steps")
	}
}

// words describes the drawings of a step without their addresses.
func words(s catalogue.Step) []string {
	var all []string
	for _, c := range s.Do {
		d := c.(*qxl.Drawable)
		all = append(all, fmt.Sprintf("%v %v %T", d.Box, d.Clip, d.Op))
	}
	return all
}

func TestASampleTouchesEveryOperation(t *testing.T) {
	operations := func(groups []catalogue.Group) map[string]bool {
		seen := map[string]bool{}
		for _, g := range groups {
			for _, s := range g.Steps {
				seen[g.Name+" "+s.Operation+" "+string(s.Expect.Kind)] = true
			}
		}
		return seen
	}
	all, some := operations(catalogue.Groups()), operations(catalogue.Sample(catalogue.Groups(), 50))
	for op := range all {
		if !some[op] {
			t.Errorf("the sample has no %s", op)
		}
	}
}

func TestCoarsePixelsAreSquaresOfTheImagesOwn(t *testing.T) {
	for _, f := range []qxl.Format{qxl.Bit8, qxl.Bit16, qxl.Bit24, qxl.Bit32, qxl.RGBA, qxl.Bit8A} {
		im := &qxl.Image{Format: f, Width: 21, Height: 19, Pad: 4, TopDown: true, Data: catalogue.Texture{Seed: 5}}
		own, got := im.Data.Pixels(im), catalogue.Coarse(im)
		size := f.Bits() / 8
		at := func(b []byte, x, y int) string { return string(b[y*im.Stride()+x*size:][:size]) }
		for y := range im.Height {
			for x := range im.Width {
				if at(got, x, y) != at(own, x-x%8, y-y%8) {
					t.Fatalf("%v: the pixel at %d,%d is not that of its square", f, x, y)
				}
			}
		}
	}
}
