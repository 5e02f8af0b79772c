package qmp_test

// A QEMU without a machine, with a QMP socket and a SPICE server that nobody has told
// a ticket; a proxy in front of it.
//
//	client ──TLS──► proxy ──unix──► QEMU
//	                  └─────QMP──────┘

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/sources/qmp"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const uuid = "6f4e2c1a-0000-0000-0000-00000000000a"

// start runs a QEMU whose sockets are in a directory.
func start(t *testing.T) (dir string) {
	t.Helper()
	qemu := need.Program(t, "qemu-system-x86_64")
	dir, err := os.MkdirTemp("", "qmp")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command(qemu, "-M", "none", "-nodefaults", "-S", "-display", "none", "-name", "guest-a", "-uuid", uuid,
		"-qmp", "unix:"+filepath.Join(dir, "a.qmp")+",server=on,wait=off", "-spice", "unix=on,addr="+filepath.Join(dir, "a.spice"))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return dir
}

var kinds = sources.Config{Kinds: map[string]sources.Kind{"qmp": qmp.Kind}}

func open(t *testing.T, dir string) *sources.Catalog {
	t.Helper()
	catalog, err := sources.OpenText("sources.yaml", []byte("- source: mine\n  type: qmp\n  sockets: "+dir+"/*.qmp\n"), kinds)
	require.NoError(t, err)
	t.Cleanup(func() { catalog.Close() })
	return catalog
}

func TestAGuestIsReachedWithATicketForEachChannel(t *testing.T) {
	dir := start(t)
	catalog := open(t, dir)
	require.Eventually(t, func() bool {
		all, err := catalog.Consoles(t.Context())
		return err == nil && len(all) == 1
	}, 20*time.Second, 20*time.Millisecond)
	all, err := catalog.Consoles(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []console.Console{{Source: "mine", UUID: uuid, Name: "guest-a", Hypervisor: "localhost", Unix: filepath.Join(dir, "a.spice")}}, all)

	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	p, err := proxy.Start(t.Context(), proxy.Config{TLS: bundle, Consoles: catalog, OnEvent: func(e proxy.Event) { t.Log(e.Kind, e.Channel, e.Reason, e.Err) }})
	require.NoError(t, err)
	defer p.Close()
	file, err := p.VV(t.Context(), "mine", uuid)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dial := func(connectionID uint32, kind wire.ChannelType) (*tls.Conn, error) {
		conn, err := tls.Dial("tcp", p.TLSAddr(), pki.ClientTLS(bundle.CAPool(), "localhost", ""))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = link.Client(ctx, conn, link.Config{ConnectionID: connectionID, Channel: wire.ChannelID{Type: kind}, CommonCaps: link.CommonCaps, Secret: file.Password})
		return conn, err
	}
	main, err := dial(0, wire.ChannelMain)
	require.NoError(t, err)
	in := wire.NewFrameReader(main, wire.FrameConfig{Mini: true})
	var init wire.MainInit
	for h := (wire.Header{}); h.Type != init.MessageType(); {
		h, err = in.Next()
		require.NoError(t, err)
		body, err := in.Body(nil)
		require.NoError(t, err)
		if h.Type == init.MessageType() {
			require.NoError(t, init.Decode(body))
		}
	}
	// Another channel, with a ticket of its own.
	_, err = dial(init.SessionID, wire.ChannelInputs)
	require.NoError(t, err)

	// What was handed out once is dead as soon as another one is.
	first, err := catalog.Console(ctx, "mine", uuid)
	require.NoError(t, err)
	first.Release()
	second, err := catalog.Console(ctx, "mine", strings.ToUpper(uuid))
	require.NoError(t, err)
	second.Release()
	assert.NotEqual(t, first.Ticket, second.Ticket)
}

func TestTicketsAreHandedOutOneAfterTheOther(t *testing.T) {
	dir := start(t)
	catalog := open(t, dir)
	require.Eventually(t, func() bool {
		c, err := catalog.Console(t.Context(), "mine", uuid)
		c.Release()
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	held, err := catalog.Console(t.Context(), "mine", uuid)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = catalog.Console(ctx, "mine", uuid)
	require.ErrorIs(t, err, context.DeadlineExceeded, "another channel is being linked")
	var wg sync.WaitGroup
	wg.Go(held.Release)
	next, err := catalog.Console(t.Context(), "mine", uuid)
	require.NoError(t, err)
	wg.Wait()
	next.Release()
	next.Release()
}

func TestWhatIsNoQEMUIsLeftOutAndWhatIsUnknownIsSaid(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "odd.qmp"), nil, 0o600))
	catalog := open(t, dir)
	all, err := catalog.Consoles(t.Context())
	require.NoError(t, err)
	assert.Empty(t, all)
	_, err = catalog.Console(t.Context(), "mine", uuid)
	assert.ErrorContains(t, err, "odd.qmp: ", "it may be the one that does not answer")
	require.NoError(t, os.Remove(filepath.Join(dir, "odd.qmp")))
	_, err = catalog.Console(t.Context(), "mine", uuid)
	var unknown *console.UnknownError
	assert.ErrorAs(t, err, &unknown)
	_, err = sources.OpenText("s.yaml", []byte("- source: mine\n  type: qmp\n  sockets: \"[\"\n"), kinds)
	assert.ErrorContains(t, err, `s.yaml:1: sockets: "[": syntax error in pattern`)
	_, err = sources.OpenText("s.yaml", []byte("- source: mine\n  type: qmp\n"), kinds)
	assert.ErrorContains(t, err, "s.yaml:1: sockets: is missing")
}

// answering plays a QEMU with a SPICE server on a QMP socket.
func answering(t *testing.T, path string) {
	t.Helper()
	playing(t, path, `{"enabled":true,"host":"127.0.0.1","port":5900}`, uuid)
}

// playing plays a QEMU that answers query-spice and query-uuid like this.
func playing(t *testing.T, path, spice, uuid string) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	answers := map[string]string{"query-spice": spice, "query-uuid": `{"UUID":"` + uuid + `"}`}
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, `{"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":10},"package":""},"capabilities":[]}}`)
			for in := bufio.NewScanner(conn); in.Scan(); {
				var command struct{ Execute, ID string }
				if json.Unmarshal(in.Bytes(), &command) != nil {
					break
				}
				fmt.Fprintf(conn, "{\"return\":%s,\"id\":%q}\n", cmp.Or(answers[command.Execute], "{}"), command.ID)
			}
			conn.Close()
		}
	})
}

// The queue of a listener that nobody serves takes a connection, as that of a QEMU does whose
// monitor another program uses.
func TestAQEMUThatDoesNotAnswerHidesNoOther(t *testing.T) {
	dir, err := os.MkdirTemp("", "qmp")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	answering(t, filepath.Join(dir, "b.qmp"))
	silent, err := net.Listen("unix", filepath.Join(dir, "a.qmp"))
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	catalog := open(t, dir)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	all, err := catalog.Consoles(ctx)
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, uuid, all[0].UUID)

	// What is wanted has answered, so nobody waits for the others. The time is more than one may
	// take, so it ends the test only if that is not so.
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	c, err := catalog.Console(ctx, "mine", uuid)
	require.NoError(t, err)
	c.Release()
	assert.Less(t, time.Since(began), 5*time.Second, "it has waited for the one that does not answer")
}

// Such a QEMU usually has a certificate of an authority of its own.
func TestAQEMUWithATLSPortIsVerifiedAsItsSourceSays(t *testing.T) {
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(raw, bundle.ServerTLS())
			_ = conn.Handshake() // the client says what was wrong
			conn.Close()
		}
	})
	dir, err := os.MkdirTemp("", "qmp")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := ln.Addr().(*net.TCPAddr).Port
	playing(t, filepath.Join(dir, "a.qmp"), fmt.Sprintf(`{"enabled":true,"host":"127.0.0.1","tls-port":%d}`, port), uuid)
	require.NoError(t, bundle.WriteDir(dir))

	of := func(keys string) error {
		text := "- source: mine\n  type: qmp\n  sockets: " + dir + "/*.qmp\n" + keys
		catalog, err := sources.OpenText(filepath.Join(dir, "sources.yaml"), []byte(text), kinds)
		if err != nil {
			return err
		}
		t.Cleanup(func() { catalog.Close() })
		c, err := catalog.Console(t.Context(), "mine", uuid)
		require.NoError(t, err)
		defer c.Release()
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(c.CACert)
		_, address := c.Address()
		conn, err := tls.Dial("tcp", address, pki.ClientTLS(roots, c.ServerName(), c.HostSubject))
		if err == nil {
			conn.Close()
		}
		return err
	}
	require.ErrorContains(t, of(""), "unknown authority")
	require.NoError(t, of("  ca_cert: ca-cert.pem\n"))
	require.NoError(t, of("  ca_cert: ca-cert.pem\n  host_subject: \""+bundle.HostSubject+"\"\n"))
	require.ErrorContains(t, of("  ca_cert: ca-cert.pem\n  host_subject: CN=other\n"), "other")
	require.ErrorContains(t, of("  host_subject: nonsense\n"), "host_subject")
}

// A QEMU that is started without -uuid has the UUID 0.
func TestAConsoleIsNotThatOfAnotherQEMUWithItsUUID(t *testing.T) {
	const none = "00000000-0000-0000-0000-000000000000"
	dir, err := os.MkdirTemp("", "qmp")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	for i, name := range []string{"a", "b"} {
		playing(t, filepath.Join(dir, name+".qmp"), fmt.Sprintf(`{"enabled":true,"host":"127.0.0.1","port":%d}`, 5900+i), none)
	}
	catalog := open(t, dir)
	_, err = catalog.Console(t.Context(), "mine", none)
	var unusable *console.UnusableError
	require.ErrorAs(t, err, &unusable)
	assert.Contains(t, err.Error(), "a.qmp and b.qmp")
}
