package headless

import "github.com/spicelane/spicelane/spice/control/server"

// Finder is what the control socket of a client finds with.
var Finder server.Finder = finder{}
