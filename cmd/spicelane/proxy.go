package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/sources"
	sourcelibvirt "github.com/spicelane/spicelane/sources/libvirt"
	sourceqmp "github.com/spicelane/spicelane/sources/qmp"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

func newProxy() *cobra.Command {
	var (
		cfg                                             headless.ProxyConfig
		sourcesFile, tlsDir, tokenFile, keep, readyFile string
		auditFile, firewall, takeover                   string
		permit                                          []string
		recordSession, recordTotal                      int64 // MiB
	)
	cmd := &cobra.Command{
		Use:   "proxy --sources FILE",
		Short: "Run the SPICE proxy by itself",
		Long: `Connect SPICE clients to the consoles of a sources.yaml without revealing the
consoles' addresses or tickets. The HTTP API hands out virt-viewer files; its token
is read from --api-token-file or $` + headless.EnvAPIToken + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if sourcesFile == "" {
				return usage("proxy needs --sources FILE")
			}
			if err := checkProxyFlags(cmd, cfg, recordSession, recordTotal); err != nil {
				return err
			}
			catalog, err := openSources(cmd.Context(), cmd.InOrStdin(), sourcesFile, log)
			if err != nil {
				return usage("%w", err)
			}
			defer catalog.Close()
			if cfg.TLS, err = loadTLS(tlsDir); err != nil {
				return err
			}
			if cfg.APIToken, err = apiToken(tokenFile); err != nil {
				return err
			}
			cfg.Recording.MaxSession, cfg.Recording.MaxTotal = recordSession<<20, recordTotal<<20
			cfg.TLSDir, cfg.Takeover = tlsDir, proxy.Takeover(takeover)
			if cfg.Firewall, err = firewallOf(firewall, permit); err != nil {
				return err
			}
			if auditFile != "" {
				f, err := os.OpenFile(auditFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err != nil {
					return verdict.Classify("--audit-log", err)
				}
				defer f.Close()
				cfg.Audit = f
			}
			if keep != "" {
				var ok bool
				if cfg.KeepSource, cfg.KeepUUID, ok = strings.Cut(keep, "/"); !ok {
					return usage("--keep-console %q is not SOURCE/UUID", keep)
				}
			}
			cfg.Consoles, cfg.Logger = catalog, log
			return headless.RunProxy(cmd.Context(), cfg, func(ready headless.Ready) error {
				log.Info("proxy is ready", "addr", ready.Addr, "tls_addr", ready.TLSAddr, "api", ready.API, "websocket", ready.WebSocket)
				return announce(readyFile, ready)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&sourcesFile, "sources", "", "sources.yaml `FILE`, watched for edits; - is standard input, not watched")
	f.StringVar(&tlsDir, "tls", "", "`DIR` with CA, certificate and key, as `spicelane tls` makes it; default: generated in memory")
	f.StringVar(&cfg.Listen, "listen", proxy.DefaultAddr, "`ADDR` of the plaintext port, which only answers that TLS is needed")
	f.StringVar(&cfg.ListenTLS, "tls-listen", proxy.DefaultAddr, "`ADDR` of the TLS port")
	f.StringVar(&cfg.ListenAPI, "api", proxy.DefaultAddr, "`ADDR` of the HTTP API")
	f.StringVar(&cfg.ListenWebSocket, "websocket", "", "`ADDR` of a port for clients in browsers: WebSockets at "+proxy.WebSocketPath+", over TLS; default: none")
	f.StringSliceVar(&cfg.AllowedOrigins, "allow-origin", nil, "let web pages from `ORIGIN` open WebSockets, such as https://console.example; default: same host and port only")
	f.StringVar(&cfg.Host, "host", "", "`NAME` or address of this proxy in virt-viewer files; default: the TLS port's address")
	f.StringVar(&tokenFile, "api-token-file", "", "`FILE` with the API's bearer token; default: $"+headless.EnvAPIToken)
	f.BoolVar(&cfg.AllowDirect, "allow-direct", false, "also hand out virt-viewer files that bypass the proxy, with the console's ticket")
	f.DurationVar(&cfg.TokenLifetime, "token-lifetime", proxy.DefaultTokenLifetime, "how long a token may stay unused")
	f.StringVar(&cfg.KeepVV, "keep-vv", "", "keep a virt-viewer `FILE` with an unused token")
	f.StringVar(&keep, "keep-console", "", "the console of --keep-vv, as `SOURCE/UUID`")
	f.StringVar(&readyFile, "ready-file", "", "write the addresses to this `FILE` as JSON when ready")
	f.StringVar(&auditFile, "audit-log", "", "append each event to `FILE` as one JSON object per line: who, what, how much, why it ended")
	f.StringVar(&cfg.Recording.Dir, "record", "", "record each session in a file in `DIR`, everything seen and typed; default: nothing is recorded")
	f.Int64Var(&recordSession, "record-max-session", proxy.DefaultRecordingMaxSession>>20, "end a recording, not its session, at `MIB` mebibytes before compression")
	f.Int64Var(&recordTotal, "record-max-total", proxy.DefaultRecordingMaxTotal>>20, "delete the oldest recordings when all take more than `MIB` mebibytes")
	f.DurationVar(&cfg.Recording.MaxAge, "record-max-age", proxy.DefaultRecordingMaxAge, "delete recordings that are older")
	f.StringVar(&firewall, "firewall", "enforce", "how to treat messages that the protocol does not allow: `MODE` enforce, warn or off")
	f.StringSliceVar(&permit, "permit", nil, "also allow `CHANNELS` of these types: record, usbredir, smartcard, webdav, port")
	f.StringVar(&takeover, "takeover", string(proxy.TakeoverShare), "what happens when a second viewer opens a console: `POLICY` share, refuse or replace")
	f.IntVar(&cfg.MaxSessions, "max-sessions", proxy.DefaultMaxSessions, "maximum number of sessions")
	f.IntVar(&cfg.MaxHandshakes, "max-handshakes", proxy.DefaultMaxHandshakes, "maximum number of connections without a token yet, on each port")
	f.IntVar(&cfg.MaxConnectionsPerAddress, "max-per-address", proxy.DefaultMaxConnectionsPerAddress, "maximum number of connections from one address")
	f.DurationVar(&cfg.KeepAlive, "keepalive", proxy.DefaultKeepAlive, "probe connections that have been silent for this long")
	cmd.MarkFlagsRequiredTogether("keep-vv", "keep-console")
	return cmd
}

// checkProxyFlags refuses flags that would be ignored: without the one that they belong to, and with
// values that the proxy takes for its default.
func checkProxyFlags(cmd *cobra.Command, cfg headless.ProxyConfig, recordSession, recordTotal int64) error {
	for _, f := range []struct{ flag, needs string }{{"record-max-session", "record"}, {"record-max-total", "record"},
		{"record-max-age", "record"}, {"allow-origin", "websocket"}} {
		if cmd.Flags().Changed(f.flag) && !cmd.Flags().Changed(f.needs) {
			return usage("--%s needs --%s", f.flag, f.needs)
		}
	}
	const mostMiB = math.MaxInt64 >> 20
	for _, f := range []struct {
		flag    string
		n, most int64
	}{{"max-sessions", int64(cfg.MaxSessions), math.MaxInt}, {"max-handshakes", int64(cfg.MaxHandshakes), math.MaxInt},
		{"max-per-address", int64(cfg.MaxConnectionsPerAddress), math.MaxInt},
		{"record-max-session", recordSession, mostMiB}, {"record-max-total", recordTotal, mostMiB}} {
		switch {
		case f.n >= 1 && f.n <= f.most:
		case f.most == math.MaxInt:
			return usage("--%s %d: it has to be at least 1", f.flag, f.n)
		default:
			return usage("--%s %d: it has to be 1 to %d", f.flag, f.n, f.most)
		}
	}
	for _, f := range []struct {
		flag string
		d    time.Duration
	}{{"token-lifetime", cfg.TokenLifetime}, {"keepalive", cfg.KeepAlive}, {"record-max-age", cfg.Recording.MaxAge}} {
		if f.d < time.Millisecond {
			return usage("--%s %v: it has to be at least 1ms", f.flag, f.d)
		}
	}
	return nil
}

// firewallOf returns the firewall that the flags describe.
func firewallOf(mode string, permit []string) (proxy.Firewall, error) {
	f := proxy.Firewall{Mode: proxy.FirewallMode(mode), Permit: proxy.DefaultPermit()}
	if mode == "enforce" {
		f.Mode = proxy.FirewallEnforce
	}
	for _, name := range permit {
		i := slices.IndexFunc(wire.ChannelTypes(), func(t wire.ChannelType) bool { return t.String() == name })
		if i < 0 {
			return f, usage("--permit %q is not a channel type", name)
		}
		f.Permit = append(f.Permit, wire.ChannelTypes()[i])
	}
	return f, nil
}

// kinds are the types of sources, besides static, that a sources.yaml may have.
var kinds = map[string]sources.Kind{"libvirt": sourcelibvirt.Kind, "qmp": sourceqmp.Kind}

func openSources(ctx context.Context, stdin io.Reader, file string, log *slog.Logger) (*sources.Catalog, error) {
	cfg := sources.Config{Logger: log, Kinds: kinds}
	if file != "-" {
		return sources.Open(file, cfg)
	}
	b, err := readAll(ctx, stdin)
	if err != nil {
		return nil, err
	}
	return sources.OpenText("standard input", b, cfg)
}

func loadTLS(dir string) (*pki.Bundle, error) {
	if dir == "" {
		b, err := pki.New(pki.Config{})
		if err != nil {
			return nil, usage("%w", err)
		}
		return b, nil
	}
	b, err := pki.LoadDir(dir)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "--tls", Err: err, Hint: "make one with: spicelane tls " + dir}
	}
	return b, nil
}

// apiToken reads the API's token from a file or the environment, and removes it from the
// environment.
func apiToken(file string) (string, error) {
	if file == "" {
		t := os.Getenv(headless.EnvAPIToken)
		_ = os.Unsetenv(headless.EnvAPIToken)
		return t, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usage("--api-token-file: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", usage("--api-token-file %s is empty", file)
	}
	return t, nil
}

// announce writes the proxy's addresses to file, for the program that started it.
func announce(file string, r headless.Ready) error {
	if file == "" {
		return nil
	}
	var b bytes.Buffer
	err := printJSON(&b, r)
	if err == nil {
		err = atomicfile.Write(file, b.Bytes(), 0o600)
	}
	return verdict.Classify("--ready-file", err)
}
