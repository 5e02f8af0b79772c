package qemu

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Policy says what to do with tests of real machines: SPICELANE_LANES.
type Policy string

const (
	LanesOff     Policy = "off"     // never start one
	LanesAuto    Policy = "auto"    // start one if the host can, otherwise skip with the reason
	LanesRequire Policy = "require" // fail on a host that cannot start one
)

// ParsePolicy parses the value of SPICELANE_LANES; "" means auto.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case "":
		return LanesAuto, nil
	case LanesOff, LanesAuto, LanesRequire:
		return p, nil
	default:
		return "", &ConfigError{What: fmt.Sprintf("%s is %q", EnvLanes, s), Hint: "use off, auto or require"}
	}
}

// Action is what a test does.
type Action string

const (
	Run  Action = "run"
	Skip Action = "skip"
	Fail Action = "fail"
)

// Decision says what a test of real machines does on this host, and why if it does not run.
type Decision struct {
	Action Action
	Reason string // a sentence; empty with Run
	Err    error  // the error behind the reason; may be nil
}

// Decide applies the policy to what the host lacks; nil means nothing. An error that is not a
// *HostError is never a reason to skip.
func (p Policy) Decide(lacks error) Decision {
	var host *HostError
	switch {
	case p == LanesOff:
		return Decision{Action: Skip, Reason: EnvLanes + "=off"}
	case lacks == nil:
		return Decision{Action: Run}
	case p == LanesRequire || !errors.As(lacks, &host):
		return Decision{Action: Fail, Reason: lacks.Error(), Err: lacks}
	default:
		return Decision{Action: Skip, Reason: lacks.Error(), Err: lacks}
	}
}

// Gate decides whether tests of real machines run, from the environment and the host (QEMU, its
// image tool, SPICE, UEFI firmware). It starts no machine.
func Gate(ctx context.Context, getenv func(string) string) Decision {
	policy, err := ParsePolicy(getenv(EnvLanes))
	if err != nil {
		return Decision{Action: Fail, Reason: err.Error(), Err: err}
	}
	if policy == LanesOff {
		return policy.Decide(nil)
	}
	return policy.Decide(CheckHost(ctx, getenv))
}

// CheckHost returns the first thing that this host lacks to run a machine with UEFI and SPICE, as a
// *HostError, or nil. Wrong environment variables are a *ConfigError. If ctx ends first, the error
// wraps its cause.
func CheckHost(ctx context.Context, getenv func(string) string) error {
	if err := CheckPlatform(runtime.GOOS, runtime.GOARCH); err != nil {
		return err
	}
	binary, err := FindQEMU(getenv)
	if err != nil {
		return err
	}
	if _, err := FindImageTool(getenv); err != nil {
		return err
	}
	if err := HasSPICE(ctx, binary); err != nil {
		return err
	}
	_, err = FindOVMF(getenv)
	return err
}
