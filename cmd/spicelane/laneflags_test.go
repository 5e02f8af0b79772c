package main

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spicelane/spicelane/harness"
)

// noFlag are the fields of harness.Config without a flag, and why.
var noFlag = map[string]string{
	"Name":           "--name of `up` is claimed in the registry; soak and bench name their lanes",
	"Dir":            "--dir means another directory in each command",
	"ServerTicket":   "a secret must not be in an argv",
	"Failures":       "a fixture's YAML file lists them",
	"Link":           "a profile has many fields",
	"ImpairMode":     "it is about Link",
	"LinkIn":         "it is the deprecated name of ImpairMode",
	"Fonts":          "it holds Go values",
	"Processes":      "each command knows what it needs",
	"ReleaseControl": "each command knows what it needs",
	"Logger":         "it holds a Go value",
	"OnBegin":        "it is a Go function",
	"OnStep":         "it is a Go function",
	"OnState":        "it is a Go function",
	"OnLoad":         "it is a Go function",
}

// samples are values for flags that do not take any text.
var samples = map[string]string{
	"backend-tls": "true", "single-client": "true", "witness": "true", "memory": "64", "cpus": "2", "timeout": "7s",
	"accel": "tcg", "display": "std", "compression": "lz", "streaming": "all", "takeover": "refuse", "warm": "off", "film": "always",
	"agent": "on", "proxy": "none", "client": "none", "server": "127.0.0.1:5900",
}

func TestEachFieldOfALaneHasAFlagOrAReasonWhyNot(t *testing.T) {
	config := reflect.TypeFor[harness.Config]()
	flags := map[string]bool{}
	for i := range config.NumField() {
		field := config.Field(i)
		if !field.IsExported() {
			continue
		}
		name := flagName(field.Name)
		var l laneFlags
		cmd := &cobra.Command{}
		l.add(cmd)
		flag := cmd.Flags().Lookup(name)
		if noFlag[field.Name] != "" {
			if flag != nil {
				t.Errorf("%s has --%s, and a reason why it has none", field.Name, name)
			}
			continue
		}
		if flag == nil {
			t.Errorf("%s has no flag --%s, and no reason says why", field.Name, name)
			continue
		}
		flags[name] = true
		value := samples[name]
		if value == "" {
			value = "/some/text"
		}
		if err := cmd.Flags().Set(name, value); err != nil {
			t.Errorf("--%s %s: %v", name, value, err)
			continue
		}
		cfg, err := l.config(cmd)
		// The configuration may be at odds with itself; the field is set nevertheless.
		if reflect.ValueOf(cfg).FieldByName(field.Name).IsZero() {
			t.Errorf("--%s %s does not set %s (%v)", name, value, field.Name, err)
		}
	}
	var l laneFlags
	cmd := &cobra.Command{}
	l.add(cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !flags[f.Name] {
			t.Errorf("--%s belongs to no field", f.Name)
		}
	})
	for name := range noFlag {
		if _, there := config.FieldByName(name); !there {
			t.Errorf("there is a reason why %s has no flag, and no such field", name)
		}
	}
}

func TestPathsOfALaneAreAbsolute(t *testing.T) {
	var l laneFlags
	cmd := &cobra.Command{}
	l.add(cmd)
	for name, value := range map[string]string{"kernel": "bzImage", "initrd": "boot/initrd", "needles": "needles"} {
		if err := cmd.Flags().Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := l.config(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cfg.Kernel, cfg.Initrd, cfg.Needles} {
		if !filepath.IsAbs(path) {
			t.Errorf("%s is not absolute, and the lane's process runs in another directory", path)
		}
	}
}
