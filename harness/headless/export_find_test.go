package headless

import (
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Finder is what a client's control socket finds text and pictures with.
var Finder server.Finder = newFinder(nil, nil)

// FinderTo is a Finder with a timeline.
func FinderTo(log *timeline.Writer) server.Finder { return newFinder(nil, log) }

// FinderWith is a Finder for a guest with fonts.
func FinderWith(fonts func() ([]*text.Font, error)) server.Finder { return newFinder(fonts, nil) }

// MemoryOf returns where a Finder remembers what it has read.
func MemoryOf(f server.Finder) *text.Memory { return f.(finder).memory }
