package main

import (
	"errors"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
)

// laneFlags are the flags that describe a lane, shared by all commands that bring lanes up.
type laneFlags struct {
	cfg           harness.Config
	proxy, client string
}

func (l *laneFlags) add(cmd *cobra.Command) {
	f, cfg := cmd.Flags(), &l.cfg
	f.StringVar(&cfg.Fixture, "fixture", "", "name of a built-in guest image, or the YAML `FILE` of your own; default: beacon")
	f.StringVar(&cfg.Server, "server", "", "`qemu|truth|HOST:PORT`: truth is spice-server without a guest, see docs/truth.md; HOST:PORT is a running server; default: qemu")
	f.StringVar(&cfg.Image, "image", "", "boot this disk image `FILE` instead of a fixture")
	f.StringVar((*string)(&cfg.Accel), "accel", "", "`auto|kvm|tcg`; auto uses KVM if a probe guest runs on it; default: $SPICELANE_ACCEL, else auto")
	f.StringVar((*string)(&cfg.Display), "display", "", "display device: `qxl|virtio|std`; default: qxl")
	f.StringVar(&cfg.Kernel, "kernel", "", "boot this kernel `FILE` directly")
	f.StringVar(&cfg.Initrd, "initrd", "", "the kernel's initial RAM disk `FILE`")
	f.StringVar(&cfg.Append, "append", "", "the kernel's command `LINE`")
	f.StringVar(&cfg.Banner, "banner", "", "`TEXT` on the serial line that shows that the guest is up; default: the fixture's")
	f.IntVar(&cfg.MemoryMiB, "memory", 0, "the guest's memory in `MiB`; default: the fixture's, else 256")
	f.IntVar(&cfg.CPUs, "cpus", 0, "number of virtual processors; default: 1")
	f.StringArrayVar(&cfg.Devices, "device", nil, "`VALUE` of a further -device option of QEMU; may be repeated")
	f.StringArrayVar(&cfg.ExtraArgs, "qemu-arg", nil, "further `ARGUMENT` of QEMU; may be repeated")
	f.StringVar((*string)(&cfg.Compression), "compression", "", "SPICE image compression: `off|auto_glz|auto_lz|quic|glz|lz`; default: QEMU's")
	f.StringVar(&l.proxy, "proxy", "", "`builtin|none|CMD`; CMD has placeholders such as {sources} {tls} {port} {tls_port} {vv} {file:PATH}, see docs/foreign-parts.md; default: builtin")
	f.StringVar(&l.client, "client", "", "`builtin|none|CMD`; CMD has placeholders: {vv} {socket} {dir} {ready}; default: builtin")
	f.StringVar(&cfg.Streaming, "streaming", "", "whether spice-server sends areas that change fast as video: `off|filter|all`; default: off")
	f.BoolVar(&cfg.SingleClient, "single-client", false, "a new client disconnects the previous one, which is spice-server's rule")
	f.StringVar((*string)(&cfg.Takeover), "takeover", "", "what the built-in proxy does with a second viewer: `share|refuse|replace`; default: share")
	f.BoolVar(&cfg.Witness, "witness", false, "compare what the server sends with what the client receives; a difference ends the lane as the proxy's fault. The built-in client and proxy then run inside the lane's process")
	f.DurationVar(&cfg.Timeout, "timeout", 0, "`LIMIT` from start to ready under KVM; longer under TCG; default: 30s")
	f.StringVar(&cfg.Needles, "needles", "", "`DIR`ectory of reference images; default: testdata/needles")
	f.StringVar((*string)(&cfg.Warm), "warm", "", "restore a saved machine: `auto|off|require`; default: auto")
	f.StringVar((*string)(&cfg.Film), "film", "", "film what the client shows, and keep the film: `off|failures|always`; default: $SPICELANE_FILM, else failures")
	f.StringVar((*string)(&cfg.Agent), "agent", "", "the guest agent's virtio-serial port: `auto|on|off`; default: from the fixture")
	f.StringSliceVar(&cfg.IgnoreFailures, "ignore-failures", nil, "`NAMES` of failures on the serial console that do not end the lane, or all; see docs/fixtures.md")
	f.BoolVar(&cfg.BackendTLS, "backend-tls", false, "also use TLS on QEMU's own SPICE port")
}

// config returns the configuration that the flags describe. Its paths are absolute, because a
// supervisor has another working directory.
func (l *laneFlags) config(cmd *cobra.Command) (harness.Config, error) {
	cfg := l.cfg
	if cfg.Image != "" && cmd.Flags().Changed("fixture") {
		return cfg, usage("--fixture and --image exclude each other")
	}
	var err error
	if cfg.Proxy, err = harness.ParseProgram(l.proxy).Abs(); err != nil {
		return cfg, err
	}
	if cfg.Client, err = harness.ParseProgram(l.client).Abs(); err != nil {
		return cfg, err
	}
	if err := cfg.Check(); err != nil {
		return cfg, flagError(err)
	}
	paths := map[string]*string{"image": &cfg.Image, "fixture": &cfg.Fixture, "kernel": &cfg.Kernel, "initrd": &cfg.Initrd, "needles": &cfg.Needles}
	for flag, path := range paths {
		if *path == "" || flag == "fixture" && !isFile(*path) {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return cfg, usage("--%s: %w", flag, err)
		}
		*path = abs
	}
	return cfg, nil
}

// flagNames has, by field, the names of flags that differ from the names of their fields.
var flagNames = map[string]string{"MemoryMiB": "memory", "Devices": "device", "ExtraArgs": "qemu-arg"}

// flagName returns the flag of a field of the configuration, such as backend-tls for BackendTLS.
func flagName(field string) string {
	if name, other := flagNames[field]; other {
		return name
	}
	var flag strings.Builder
	for i, r := range field {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(field[i-1])) {
			flag.WriteByte('-')
		}
		flag.WriteRune(unicode.ToLower(r))
	}
	return flag.String()
}

// flagError turns an error about a field of the configuration into one about its flag.
func flagError(err error) error {
	var field *harness.FieldError
	if !errors.As(err, &field) {
		return err
	}
	return usage("--%s: %w", flagName(field.Field), field.Err)
}

// isFile tells whether fixture is the path of a file rather than a name; see package fixtures.
func isFile(fixture string) bool {
	return strings.ContainsRune(fixture, filepath.Separator) || strings.HasSuffix(fixture, ".yaml") || strings.HasSuffix(fixture, ".yml")
}
