package qemu

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spicelane/spicelane/internal/distro"
)

// portBusyError is a *HostError that Start may avoid with another port.
type portBusyError struct{ HostError }

func (e *portBusyError) Unwrap() error { return &e.HostError }

// A symptom is a text in QEMU's output that says why it did not start.
type symptom struct {
	text  *regexp.Regexp
	blame func(cfg Config, line string) error
}

// symptoms are looked for in order. Texts are those of QEMU 5.2 to 10.0 and
// spice-server 0.14 to 0.15.
var symptoms = []symptom{
	{regexp.MustCompile(`binding socket to .* failed|Address already in use`), func(cfg Config, line string) error {
		if cfg.Spice.Unix != "" || !cfg.Spice.enabled() {
			return &HostError{What: fmt.Sprintf("an address is taken already: %s", line), Hint: "choose another"}
		}
		return &portBusyError{HostError{
			What: fmt.Sprintf("SPICE's port is taken already (%s)", cfg.Spice.ports()),
			Hint: "choose another port, or let the machine listen on a unix socket",
		}}
	}},
	{regexp.MustCompile(`There is no option group 'spice'|-spice: invalid option|spice support is (not compiled|disabled)|module .*spice`), func(cfg Config, _ string) error {
		return &HostError{What: fmt.Sprintf("%s has no SPICE server", cfg.binary()), Hint: hintSPICE}
	}},
	{regexp.MustCompile(`(?i)'(qxl-vga|virtio-vga|VGA)' is not a valid device model name|module .*display`), func(cfg Config, _ string) error {
		return &HostError{What: fmt.Sprintf("%s has no display device %q", cfg.binary(), cfg.display()), Hint: distro.Here().Hint(distro.SPICE) + ", or use another display"}
	}},
	{regexp.MustCompile(`Could not access KVM kernel module|failed to initialize kvm|KVM is not supported`), func(_ Config, line string) error {
		return &HostError{What: "KVM cannot be used: " + line, Hint: "use --accel auto or tcg, or see that this user may open /dev/kvm"}
	}},
	// The file is in the next line.
	{regexp.MustCompile(`Is another process using the image \[`), func(_ Config, line string) error {
		_, rest, _ := strings.Cut(line, "[")
		path, _, _ := strings.Cut(rest, "]")
		return inUse(path, "QEMU gets no lock on it")
	}},
	{regexp.MustCompile(`Failed to get .* lock`), func(_ Config, line string) error {
		return &ConfigError{What: "a disk image is in use by another process: " + line, Hint: "give each machine its own overlay"}
	}},
	{regexp.MustCompile(`No space left on device`), func(cfg Config, line string) error {
		return &HostError{What: "the disk is full: " + line, Hint: "free some space or choose another directory"}
	}},
	{regexp.MustCompile(`[Cc]annot (set up guest memory|allocate memory)`), func(cfg Config, _ string) error {
		return &HostError{What: fmt.Sprintf("the host has no %d MiB of memory for the machine", cfg.memory()), Hint: "run fewer machines at once, or give it less memory"}
	}},
	{regexp.MustCompile(`Could not open '.*'|could not load (kernel|initrd)|Image is not in|image is corrupt|could not open kernel file`), func(_ Config, line string) error {
		return &ConfigError{What: "QEMU cannot use a file: " + line, Hint: "see that it exists and is whole"}
	}},
}

func (s Spice) ports() string {
	var parts []string
	for _, p := range []int{s.Port, s.TLSPort} {
		if p != 0 {
			parts = append(parts, fmt.Sprintf("%s:%d", s.addr(), p))
		}
	}
	return strings.Join(parts, ", ")
}

// adornment is the time and the program's name that QEMU puts before a line.
var adornment = regexp.MustCompile(`^(\d\S+T\S+ )?(\S*qemu\S*: )?`)

func unadorned(line string) string { return adornment.ReplaceAllString(line, "") }

// diagnose turns the end of a QEMU that did not start into a host or configuration error, if QEMU's
// output says so.
func (m *Machine) diagnose(e *ExitError) error {
	if e.Kind != KindExit {
		return e
	}
	for _, s := range symptoms {
		for _, line := range e.Stderr {
			if s.text.MatchString(line) {
				return s.blame(m.cfg, unadorned(line))
			}
		}
	}
	return e
}
