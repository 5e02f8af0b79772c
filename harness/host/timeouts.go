package host

import (
	"os"
	"time"
)

// EnvTimeoutScale multiplies every timeout of a lane.
const EnvTimeoutScale = "SPICELANE_TIMEOUT_SCALE"

// tcgFactor is how much longer things may take without KVM. A boot was measured to take four times
// as long; the rest is for busy machines.
const tcgFactor = 6

// longest is the longest duration that Scaled returns; more can still be added to it.
const longest = time.Duration(1) << 60

// Scaled returns d, scaled for TCG and by $SPICELANE_TIMEOUT_SCALE, which CheckEnvironment has
// checked.
func Scaled(d time.Duration, accel string) time.Duration {
	f := 1.0
	if s, err := parseScale(os.Getenv(EnvTimeoutScale)); err == nil {
		f = s
	}
	if accel != "kvm" {
		f *= tcgFactor
	}
	// NB: a duration that overflowed would be negative, so that everything were too late at once.
	return time.Duration(min(float64(d)*f, float64(longest)))
}
