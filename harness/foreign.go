package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/filewatch"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/vv"
)

// A foreign proxy or client is a command line with placeholders; see docs/foreign-parts.md. Each
// placeholder declares what the program will do: with {tls_port} it will listen there, with {vv} a
// proxy will write that file. Each value is also in the program's environment, for programs that do
// not take it as an argument.

// proxyPlaceholders and clientPlaceholders are the placeholders that a command line may contain.
var (
	proxyPlaceholders = []string{"sources", "source", "uuid", "tls", "host_subject", "dir", "port", "tls_port", "api_port", "vv", "ready",
		"spice_host", "spice_port"}
	clientPlaceholders = []string{"vv", "socket", "dir", "ready"}
)

// A template is a command line with placeholders.
type template struct {
	words []string
	// files are the contents of the files that {file:PATH} names.
	files map[string]string
}

// filePlaceholder begins a placeholder for a file that itself has placeholders.
const filePlaceholder = "file:"

// environment returns the values as environment variables: {tls_port} becomes SPICELANE_TLS_PORT.
func environment(values map[string]string) []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, "SPICELANE_"+strings.ToUpper(name)+"="+values[name])
	}
	return env
}

// has tells whether the command line or one of its files contains a placeholder.
func (t *template) has(name string) bool {
	name = "{" + name + "}"
	in := func(s string) bool { return strings.Contains(s, name) }
	if slices.ContainsFunc(t.words, in) {
		return true
	}
	for _, text := range t.files {
		if in(text) {
			return true
		}
	}
	return false
}

// fill replaces the placeholders, and writes the files with theirs replaced into dir.
func (t *template) fill(values map[string]string, dir string) ([]string, error) {
	var pairs []string
	for k, v := range values {
		pairs = append(pairs, "{"+k+"}", v)
	}
	for path, text := range t.files {
		filled := filepath.Join(dir, fmt.Sprintf("%d-%s", len(pairs), filepath.Base(path)))
		if err := atomicfile.Write(filled, []byte(strings.NewReplacer(pairs...).Replace(text)), 0o600); err != nil {
			return nil, verdict.Classify("file for a command", err)
		}
		pairs = append(pairs, "{"+filePlaceholder+path+"}", filled)
	}
	r := strings.NewReplacer(pairs...)
	var argv []string
	for _, w := range t.words {
		argv = append(argv, r.Replace(w))
	}
	return argv, nil
}

// placeholders returns the words in braces.
func placeholders(s string) []string {
	var out []string
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			return out
		}
		s = s[i+1:]
		if j := strings.IndexAny(s, "{}"); j >= 0 && s[j] == '}' {
			out = append(out, s[:j])
		}
	}
}

// nearly returns the known placeholder that p is probably a misspelling of. It returns "" if p is
// known, or similar to none.
func nearly(p string, known []string) string {
	if slices.Contains(known, p) {
		return ""
	}
	plain := func(s string) string {
		return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
	}
	for _, k := range known {
		if plain(p) == plain(k) || plain(p) == plain(k)+"s" || plain(p)+"s" == plain(k) {
			return k
		}
	}
	return ""
}

// freePorts returns n TCP ports that are free on the loopback address.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, verdict.Classify("port", err)
		}
		// NB: all listeners stay open until all ports are found, so that no two are the same.
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// serverPEM is a file in {tls} with both certificate and key, because some programs need that.
const serverPEM = "server.pem"

// foreignProxy runs another proxy and waits until it is ready. It waits for {ready}, the ports and
// {vv}, if the command line mentions them. A proxy with a port and without {vv} is assumed to pass
// SPICE through (socat, stunnel, haproxy, nginx); the client then gets QEMU's own ticket. A proxy
// with neither has to write the file that its environment names.
func (b *bringUp) foreignProxy(ctx context.Context) error {
	t, err := b.cfg.Proxy.template(proxyPlaceholders)
	if err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	bundle, err := pki.New(pki.Config{})
	if err != nil {
		return verdict.Classify("proxy certificate", err)
	}
	b.secrets.addKey("key of the proxy's certificate", bundle.ServerKey)
	b.secrets.addKey("key of the proxy's CA", bundle.CAKey)
	tlsDir := b.run.File("tls")
	if err := bundle.WriteDir(tlsDir); err != nil {
		return verdict.Classify("proxy certificate", err)
	}
	both := append(slices.Clip(bundle.ServerCert), bundle.ServerKey...)
	if err := atomicfile.Write(filepath.Join(tlsDir, serverPEM), both, 0o600); err != nil {
		return verdict.Classify("proxy certificate", err)
	}
	list, err := sourcesYAML(b.proxiedConsole())
	if err != nil {
		return verdict.Classify("sources", err)
	}
	sourcesFile, vvFile, readyFile := b.run.File("sources.yaml"), b.run.File("console.vv"), b.run.File("proxy.ready")
	if err := atomicfile.Write(sourcesFile, list, 0o600); err != nil {
		return verdict.Classify("sources", err)
	}
	console := b.proxiedConsole()
	values := map[string]string{
		"sources": sourcesFile, "source": laneSource, "uuid": b.uuid,
		"tls": tlsDir, "host_subject": bundle.HostSubject, "dir": b.run.Path,
		"port": strconv.Itoa(ports[0]), "tls_port": strconv.Itoa(ports[1]), "api_port": strconv.Itoa(ports[2]),
		"vv": vvFile, "ready": readyFile,
		"spice_host": console.HypervisorIP, "spice_port": strconv.Itoa(cmp.Or(console.SecurePort, console.InsecurePort)),
	}
	argv, err := t.fill(values, b.run.Path)
	if err != nil {
		return err
	}
	p, err := startChild(b.dir, child{name: "proxy", argv: argv, env: environment(values)})
	if err != nil {
		return err
	}
	b.proxy = p
	notReady := func(err error) error { return &verdict.Error{Verdict: verdict.Product, Op: "proxy", Err: err} }
	if t.has("ready") {
		if err := awaitFile(ctx, p, readyFile); err != nil {
			return notReady(err)
		}
	}
	at := headless.Ready{}
	plain, tls := t.has("port"), t.has("tls_port")
	if plain {
		at.Addr = hostport.Join("127.0.0.1", ports[0])
	}
	if tls {
		at.TLSAddr = hostport.Join("127.0.0.1", ports[1])
	}
	if t.has("api_port") {
		at.API = "http://" + hostport.Join("127.0.0.1", ports[2])
	}
	for _, addr := range []string{at.Addr, at.TLSAddr} {
		if addr == "" {
			continue
		}
		if err := awaitPort(ctx, p, addr); err != nil {
			return notReady(err)
		}
	}
	b.proxyIsAt(at, p.pid)
	if t.has("vv") || !plain && !tls {
		b.newVV = func(context.Context) (*vv.File, error) { return vv.ReadFile(vvFile) }
		if err := awaitVV(ctx, p, vvFile); err != nil {
			return notReady(err)
		}
		return nil
	}
	f := &vv.File{Type: "spice", Host: "127.0.0.1", Password: console.Ticket, Title: b.cfg.name()}
	if tls {
		f.TLSPort, f.CA, f.HostSubject = ports[1], string(bundle.CACert), bundle.HostSubject
	} else {
		f.Port = ports[0]
	}
	b.newVV = func(context.Context) (*vv.File, error) { return f, nil }
	return b.publishVV(f)
}

// foreignClient runs another client. It is ready when its control socket answers.
func (b *bringUp) foreignClient(ctx context.Context, socket string) error {
	t, err := b.cfg.Client.template(clientPlaceholders)
	if err != nil {
		return err
	}
	// Use the file that is kept up to date, so that the client can connect again later.
	path, readyFile := b.State().VV, b.run.File("client.ready")
	if b.cfg.Link != nil {
		through := b.run.File("client.vv")
		if err := b.keepThroughRelay(ctx, path, through); err != nil {
			return err
		}
		path = through
	}
	values := map[string]string{"vv": path, "socket": socket, "dir": b.dir, "ready": readyFile}
	argv, err := t.fill(values, b.run.Path)
	if err != nil {
		return err
	}
	p, err := startChild(b.dir, child{name: "client", argv: argv, env: environment(values)})
	if err != nil {
		return err
	}
	b.client = p
	if t.has("ready") {
		if err := awaitFile(ctx, p, readyFile); err != nil {
			return &verdict.Error{Verdict: verdict.Product, Op: "client", Err: err}
		}
	}
	return nil
}

// keepThroughRelay writes the virt-viewer file at from, changed to lead through the lane's relay, to
// the file at to. It does so again whenever the first one changes, until the lane ends.
func (l *Lane) keepThroughRelay(ctx context.Context, from, to string) error {
	changed, stop := filewatch.Watch(filepath.Dir(from))
	var last vv.File
	renew := func(ctx context.Context) error {
		f, err := vv.ReadFile(from)
		if err != nil || reflect.DeepEqual(*f, last) { // NB: the directory also changes with the file at to
			return err
		}
		last = *f
		l.secrets.add("token of a session", f.Password)
		if f, err = l.throughRelay(ctx, f); err != nil {
			return err
		}
		return headless.WriteVV(to, f)
	}
	if err := renew(ctx); err != nil {
		stop()
		return verdict.Classify("virt-viewer file", err)
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-quit:
				return
			case <-changed:
				// A file that cannot be read is being replaced, or the lane ends.
				_ = renew(context.Background())
			}
		}
	}()
	l.undo.push(func() error {
		close(quit)
		<-gone
		stop()
		return nil
	})
	return nil
}

// lookAgain is how often awaitPort tries a port. Nothing notifies when another program starts to
// listen.
const lookAgain = 100 * time.Millisecond

// awaitPort waits until something listens on addr or the part has ended.
func awaitPort(ctx context.Context, p *part, addr string) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	var d net.Dialer
	return until(ctx, p, "its port "+addr, tick.C, func() error {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// awaitFile waits until there is a file or the part has ended.
func awaitFile(ctx context.Context, p *part, path string) error {
	changed, stop := filewatch.Watch(filepath.Dir(path))
	defer stop()
	return until(ctx, p, "the file "+path, changed, func() error {
		_, err := os.Stat(path)
		return err
	})
}

// awaitVV waits for a complete virt-viewer file: its writer may not have finished.
func awaitVV(ctx context.Context, p *part, path string) error {
	changed, stop := filewatch.Watch(filepath.Dir(path))
	defer stop()
	return until(ctx, p, "the virt-viewer file "+path, changed, func() error {
		_, err := vv.ReadFile(path)
		return err
	})
}

// until calls look at once, and again after each value from again. It returns nil when look does,
// and an error when the part or ctx ends.
func until[T any](ctx context.Context, p *part, what string, again <-chan T, look func() error) error {
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended before %s was there: %w", what, p.Err())
		case <-ctx.Done():
			if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return fmt.Errorf("waited for %s: %w", what, context.Cause(ctx))
			}
			return fmt.Errorf("waited for %s (%w): %w", what, err, context.Cause(ctx))
		case <-again:
		}
	}
}
