package harness

import (
	"context"
	"image"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu/dbusdisplay"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/wire"
)

// ConsoleFailures returns the names of the failures of cfg and a fixture that a guest's output
// matches. The names of those that do not end a lane begin with "soft: ".
func ConsoleFailures(fx *fixtures.Fixture, cfg Config, says string) ([]string, error) {
	list, err := consoleFailures(fx, cfg)
	if err != nil {
		return nil, err
	}
	log := serial.NewLog(serial.Config{})
	if _, err := log.Write([]byte(says)); err != nil {
		return nil, err
	}
	log.End(nil)
	line, err := log.Reader(0).Next(context.Background())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range list {
		if serial.Pattern(f.Pattern).Match(line) {
			name := f.Name
			if f.Soft {
				name = "soft: " + name
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// SoftFailures returns what an error says about the soft failures in the lines of a console.
func SoftFailures(says string) string {
	log := serial.NewLog(serial.Config{})
	log.Write([]byte(says))
	log.End(nil)
	w := newConsoleWatch(defaultFailures, nil)
	scan := w.scan(log)
	for _, line := range log.Lines() {
		scan.look(line)
		scan.look(line) // each is noted once
	}
	return w.softSince(time.Time{})
}

// Arbitrate decides which difference counts if a picture of the client differs from one of QEMU:
// diff, or what a screendump says. watched tells whether QEMU's picture came from its D-Bus
// display.
func Arbitrate(ctx context.Context, l *Lane, client *image.NRGBA, watched bool, diff string) (string, error) {
	c := comparison{lane: l, client: client}
	if watched {
		c.screen = &dbusdisplay.Display{} // it is not asked
	}
	return c.arbitrate(ctx, diff)
}

// A Defect makes a proxy or a client behave wrongly.
type Defect struct {
	Proxy   func(wire.ChannelID, witness.Message) []witness.Message
	Tap     func(wire.ChannelID) wire.Tap
	Console func(server.Console) server.Console

	Newcomer func(wire.ChannelID) wire.Tap // of a client that connects to QEMU itself
}

// WithDefect returns cfg for a lane with a defect and a witness. Its pictures have to agree within
// the patience, which is meant for KVM.
func WithDefect(cfg Config, f Defect, patience time.Duration) Config {
	cfg.Witness, cfg.defect, cfg.patience = true, defect{f.Proxy, f.Tap, f.Console, f.Newcomer}, patience
	return cfg
}

// ImpairModeOf returns where a lane with this configuration impairs its link.
func ImpairModeOf(c Config) impair.Mode { return c.impairMode() }

// TypingPieces divides the text that TypeInto types.
var TypingPieces = typingPieces

// BlameReading is blameReading.
var BlameReading = blameReading
