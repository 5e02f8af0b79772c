package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
)

// laneFlags are the flags of every command that brings lanes up: what lane.
type laneFlags struct{ cfg harness.Config }

func (l *laneFlags) add(cmd *cobra.Command) {
	f, cfg := cmd.Flags(), &l.cfg
	f.StringVar(&cfg.Fixture, "fixture", "", "guest image of the catalogue, or the YAML `FILE` of one of your own; default: beacon")
	f.StringVar(&cfg.Image, "image", "", "boot this disk image `FILE` instead of a fixture")
	f.StringVar(&cfg.Accel, "accel", "", "`auto|kvm|tcg`; auto takes KVM only if a probe has run something on it; default: $SPICELANE_ACCEL, else auto")
	f.StringVar(&cfg.Display, "display", "", "display device: `qxl|virtio|std`; default: qxl")
	f.StringVar(&cfg.Compression, "compression", "", "SPICE image compression: `off|auto_glz|auto_lz|quic|glz|lz`; default: QEMU's")
	f.StringVar(&cfg.Proxy, "proxy", "", "`builtin|none|CMD`; CMD has placeholders such as {sources} {tls} {port} {tls_port} {vv} {file:PATH}, see docs/foreign-parts.md; default: builtin")
	f.StringVar(&cfg.Client, "client", "", "`builtin|none|CMD`; CMD has placeholders: {vv} {socket} {dir} {ready}; default: builtin")
	f.StringVar(&cfg.Warm, "warm", "", "restore a saved machine: `auto|off|require`; default: auto")
	f.StringVar(&cfg.Agent, "agent", "", "the guest agent's virtio-serial port: `auto|on|off`; default: as the fixture says")
	f.StringSliceVar(&cfg.IgnoreFailures, "ignore-failures", nil, "`NAMES` of failures on the serial console that do not end the lane, or all; see docs/fixtures.md")
	f.BoolVar(&cfg.BackendTLS, "backend-tls", false, "TLS on QEMU's own SPICE port, too")
}

// config is what the flags say, with absolute paths: a supervisor has another
// working directory.
func (l *laneFlags) config(cmd *cobra.Command) (harness.Config, error) {
	cfg := l.cfg
	if cfg.Image != "" && cmd.Flags().Changed("fixture") {
		return cfg, usage("--fixture and --image exclude each other")
	}
	for _, command := range []*string{&cfg.Proxy, &cfg.Client} {
		abs, err := harness.AbsCommand(*command)
		if err != nil {
			return cfg, err
		}
		*command = abs
	}
	if err := cfg.Check(); err != nil {
		return cfg, err
	}
	for flag, path := range map[string]*string{"image": &cfg.Image, "fixture": &cfg.Fixture} {
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

// isFile tells whether a fixture is named by its file, see package fixtures.
func isFile(fixture string) bool {
	return strings.ContainsRune(fixture, filepath.Separator) || strings.HasSuffix(fixture, ".yaml") || strings.HasSuffix(fixture, ".yml")
}
