package host

import (
	"os"
	"strconv"
	"time"
)

// EnvTimeoutScale multiplies every timeout of a lane.
const EnvTimeoutScale = "SPICELANE_TIMEOUT_SCALE"

// tcgFactor is how much longer things may take without KVM: measured, a boot
// takes four times as long; the rest is for machines that are busy.
const tcgFactor = 6

// Scaled returns d, stretched for TCG and by $SPICELANE_TIMEOUT_SCALE.
func Scaled(d time.Duration, accel string) time.Duration {
	f := 1.0
	if s, err := strconv.ParseFloat(os.Getenv(EnvTimeoutScale), 64); err == nil && s > 0 {
		f = s
	}
	if accel != "kvm" {
		f *= tcgFactor
	}
	return time.Duration(float64(d) * f)
}
