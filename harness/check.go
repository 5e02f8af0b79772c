package harness

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/proxy"
)

// A FieldError reports a field of a Config whose value cannot work.
type FieldError struct {
	// Field is the field's name: "Display".
	Field string
	// Err says what is wrong with the value.
	Err error
}

func (e *FieldError) Error() string { return "Config." + e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// Verdict returns Harness: the author of the Config can fix it.
func (e *FieldError) Verdict() verdict.Kind { return verdict.Harness }

// Check returns a *FieldError if no lane can work with c. It checks only c, not the host; Start
// checks both before it starts anything.
func (c Config) Check() error {
	if err := host.CheckEnvironment(os.Getenv); err != nil {
		return err
	}
	for _, check := range []func() *FieldError{c.checkWords, c.checkNumbers, c.checkGuest, c.checkServer, c.checkParts} {
		if err := check(); err != nil {
			return verdict.Classify("", err)
		}
	}
	return nil
}

func fieldError(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Err: fmt.Errorf(format, args...)}
}

// checkWords checks the fields that accept one of a few words.
func (c Config) checkWords() *FieldError {
	return cmpFirst(
		oneOf("Accel", c.Accel, qemu.AccelAuto, qemu.KVM, qemu.TCG),
		oneOf("Display", c.Display, qemu.QXL, qemu.Virtio, qemu.Std),
		oneOf("Compression", c.Compression, qemu.CompressionOff, qemu.CompressionAutoGLZ, qemu.CompressionAutoLZ,
			qemu.CompressionQUIC, qemu.CompressionGLZ, qemu.CompressionLZ),
		oneOf("Streaming", c.Streaming, "off", "filter", "all"),
		oneOf("Agent", c.Agent, AgentAuto, AgentOn, AgentOff),
		oneOf("Film", c.Film, FilmOff, FilmFailures, FilmAlways),
		oneOf("Warm", c.Warm, WarmAuto, WarmOff, WarmRequire),
		oneOf("Takeover", c.Takeover, proxy.TakeoverShare, proxy.TakeoverRefuse, proxy.TakeoverReplace),
		oneOf("ImpairMode", c.ImpairMode, impair.Auto, impair.InKernel, impair.InProcess),
		oneOf("LinkIn", c.LinkIn, impair.Auto, impair.InKernel, impair.InProcess),
	)
}

// oneOf returns an error if value is neither empty nor one of the accepted words.
func oneOf[T ~string](field string, value T, takes ...T) *FieldError {
	if value == "" || slices.Contains(takes, value) {
		return nil
	}
	var words []string
	for _, w := range takes {
		words = append(words, string(w))
	}
	return fieldError(field, "%q is not one of %s", value, strings.Join(words, ", "))
}

// cmpFirst returns the first error that is not nil.
func cmpFirst(errs ...*FieldError) *FieldError {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkNumbers() *FieldError {
	switch {
	case c.MemoryMiB < 0:
		return fieldError("MemoryMiB", "%d MiB is less than none", c.MemoryMiB)
	case c.CPUs < 0:
		return fieldError("CPUs", "%d processors are less than none", c.CPUs)
	case c.Timeout < 0:
		return fieldError("Timeout", "%v has passed before the lane starts", c.Timeout)
	}
	return nil
}

// checkGuest checks the names of the lane, and what describes its guest.
func (c Config) checkGuest() *FieldError {
	if c.Name != "" {
		if err := registry.CheckName(c.Name); err != nil {
			return &FieldError{Field: "Name", Err: err}
		}
	}
	switch {
	case c.Image != "" && c.Fixture != "":
		return fieldError("Image", "it stands instead of a Fixture, and there is one: %q", c.Fixture)
	case c.Image != "" && c.Kernel == "" && c.Initrd != "":
		return fieldError("Initrd", "without a Kernel nothing loads %q", c.Initrd)
	case c.Image != "" && c.Kernel == "" && c.Append != "":
		return fieldError("Append", "without a Kernel nothing reads %q", c.Append)
	case slices.Contains(c.Devices, ""):
		return fieldError("Devices", "one of them is empty")
	case slices.Contains(c.ExtraArgs, ""):
		return fieldError("ExtraArgs", "one of them is empty")
	}
	return nil
}

// checkParts checks the proxy, the client and the link between them.
func (c Config) checkParts() *FieldError {
	if c.Link != nil {
		if err := c.Link.Check(); err != nil {
			return &FieldError{Field: "Link", Err: err}
		}
	}
	if c.Processes {
		if err := headless.CanPlay(); err != nil {
			return &FieldError{Field: "Processes", Err: err}
		}
	}
	if c.Witness {
		switch {
		case c.Proxy == None:
			return &FieldError{Field: "Witness", Err: errors.New("without a Proxy there is nothing to be a witness of")}
		case c.Client != Builtin || c.Processes:
			return &FieldError{Field: "Witness", Err: errors.New("only the built-in client inside this process says what it receives")}
		case c.BackendTLS:
			return &FieldError{Field: "Witness", Err: errors.New("it does not read what is encrypted with BackendTLS")}
		}
	}
	if c.Proxy != Builtin && c.Takeover != "" && c.Takeover != proxy.TakeoverShare {
		return fieldError("Takeover", "only the built-in proxy can be told what to do with a second viewer")
	}
	if c.ReleaseControl && c.Client == None {
		return &FieldError{Field: "ReleaseControl", Err: errors.New("without a Client there is no control socket")}
	}
	for _, p := range []struct {
		field        string
		program      Program
		placeholders []string
	}{{"Proxy", c.Proxy, proxyPlaceholders}, {"Client", c.Client, clientPlaceholders}} {
		if p.program.IsCommand() {
			if _, err := p.program.template(p.placeholders); err != nil {
				return &FieldError{Field: p.field, Err: err}
			}
		}
	}
	return nil
}
