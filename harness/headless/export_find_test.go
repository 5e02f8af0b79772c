package headless

import (
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Finder is what the control socket of a client finds with.
var Finder server.Finder = finder{}

// FinderTo is a Finder with a timeline.
func FinderTo(log *timeline.Writer) server.Finder { return finder{log} }
