package host

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// EnvKeep says which lanes of tests stay up after their test: "failed"; unset means none.
const EnvKeep = "SPICELANE_KEEP"

// EnvFilm says which lanes are filmed: "off", "failures" or "always".
const EnvFilm = "SPICELANE_FILM"

// A variable is one environment variable that lanes use.
type variable struct {
	name string
	// check returns what is wrong with a value that is not empty; nil accepts any value.
	check func(string) error
	// isPath means that the value is a path, relative to the directory where it was set.
	isPath bool
}

// variables lists the variables that CheckEnvironment checks or AbsoluteEnvironment changes. They
// are in one list, so that none is checked in one place and ignored in another.
var variables = []variable{
	{name: EnvTimeoutScale, check: func(s string) error { _, err := parseScale(s); return err }},
	{name: EnvKeep, check: oneOf("failed")},
	{name: EnvFilm, check: oneOf("off", "failures", "always")},
	{name: qemu.EnvLanes, check: oneOf("off", "auto", "require")},
	{name: qemu.EnvAccel, check: oneOf("auto", "kvm", "tcg")},
	{name: EnvCacheDir, isPath: true},
	{name: qemu.EnvQEMU, isPath: true},
	{name: qemu.EnvOVMFCode, isPath: true},
	{name: qemu.EnvOVMFVars, isPath: true},
	{name: "TMPDIR", isPath: true},
}

// CheckEnvironment returns an error about the first variable with an invalid value, with verdict
// Harness, or nil.
func CheckEnvironment(getenv func(string) string) error {
	for _, v := range variables {
		s := getenv(v.name)
		if s == "" || v.check == nil {
			continue
		}
		if err := v.check(s); err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: v.name + "=" + s, Err: err}
		}
	}
	return nil
}

// AbsoluteEnvironment makes the paths in this process's environment absolute. A program that starts
// others in another directory has to call it first. A name without a slash, such as that of a QEMU,
// is looked up in PATH and stays.
func AbsoluteEnvironment() error {
	for _, v := range variables {
		s := os.Getenv(v.name)
		if !v.isPath || s == "" || filepath.IsAbs(s) || v.name == qemu.EnvQEMU && !strings.Contains(s, "/") {
			continue
		}
		abs, err := filepath.Abs(s)
		if err == nil {
			err = os.Setenv(v.name, abs)
		}
		if err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: v.name + "=" + s, Err: err}
		}
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("not one of %s", strings.Join(words, ", "))
	}
}

// parseScale reads the value of EnvTimeoutScale.
func parseScale(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f <= 0 || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, fmt.Errorf("not a factor above zero, such as 2 or 0.5")
	}
	return f, nil
}
