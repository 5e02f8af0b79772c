package libvirt_test

// A libvirtd for the tests: a session daemon whose sockets and files are in one directory. The
// paths of root's libvirtd are compiled in, so root runs this one as the user nobody.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/pki"
)

// nobody is the user that runs what root starts.
const nobody = 65534

func TestMain(m *testing.M) {
	if dialAs() {
		return
	}
	goleak.VerifyTestMain(tests{m})
}

// tests ends the daemon after the tests, before goroutines are counted.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer shared.end()
	return m.M.Run()
}

// daemon is a libvirtd.
type daemon struct {
	dir    string
	bundle *pki.Bundle // of the SPICE servers of its domains
	cmd    *exec.Cmd
	log    bytes.Buffer

	stopped chan struct{} // is closed when cmd has ended

	// clear removes libvirtd's files and QEMUs when this pipe is closed: by end, or by the
	// death of this process. The QEMUs of a libvirtd survive it.
	alive io.Closer
	clear *exec.Cmd
}

const clearAway = `cat >/dev/null
for pid in "$1"/run/libvirt/qemu/run/*.pid; do
	[ -e "$pid" ] && kill -9 "$(cat "$pid")"
done
rm -rf "$1"`

// shared is the daemon of all tests. The first test that needs it starts it, because that takes
// seconds.
var shared daemon

var begin = sync.OnceValue(shared.make)

// libvirtd returns the running daemon.
func libvirtd(t *testing.T) *daemon {
	t.Helper()
	if os.Getenv("SPICELANE_LANES") == "off" {
		t.Skip("SPICELANE_LANES=off: no libvirtd is started")
	}
	for _, program := range []string{"libvirtd", "virsh", "qemu-system-x86_64"} {
		need.Program(t, program)
	}
	require.NoError(t, begin())
	return &shared
}

// make makes the directory and starts the daemon.
func (d *daemon) make() error {
	var err error
	if d.dir, err = os.MkdirTemp("", "lv"); err != nil {
		return err
	}
	d.clear = exec.Command("sh", "-c", clearAway, "sh", d.dir)
	d.clear.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's signals are not for it
	if d.alive, err = d.clear.StdinPipe(); err != nil {
		return err
	}
	if err := d.clear.Start(); err != nil {
		return err
	}
	if d.bundle, err = pki.New(pki.Config{CommonName: "kvm"}); err != nil {
		return err
	}
	tls := filepath.Join(d.dir, "tls")
	err = errors.Join(os.MkdirAll(filepath.Join(d.dir, "config/libvirt"), 0o755), os.Mkdir(filepath.Join(d.dir, "run"), 0o700),
		os.Mkdir(filepath.Join(d.dir, "home"), 0o755), d.bundle.WriteDir(tls),
		os.WriteFile(filepath.Join(d.dir, "config/libvirt/qemu.conf"), fmt.Appendf(nil, "spice_tls = 1\nspice_tls_x509_cert_dir = %q\n", tls), 0o644))
	if err != nil {
		return err
	}
	if os.Getuid() == 0 {
		err = filepath.WalkDir(d.dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, nobody, nobody))
		})
		if err != nil {
			return err
		}
	}
	return d.start()
}

// run returns a command that runs as the daemon's user and with the daemon's directories.
func (d *daemon) run(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	path, err := need.Find(program)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = d.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.Env = append(os.Environ(), "HOME="+filepath.Join(d.dir, "home"))
	for key, name := range map[string]string{"CONFIG_HOME": "config", "RUNTIME_DIR": "run", "CACHE_HOME": "cache", "DATA_HOME": "data"} {
		cmd.Env = append(cmd.Env, "XDG_"+key+"="+filepath.Join(d.dir, name))
	}
	return cmd, nil
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "run/libvirt/libvirt-sock") }

func (d *daemon) uri() string { return "qemu:///session?socket=" + d.socket() }

// start starts the daemon and waits until it takes connections.
func (d *daemon) start() error {
	var err error
	if d.cmd, err = d.run(context.Background(), "libvirtd"); err != nil {
		return err
	}
	d.cmd.Stderr = &d.log
	dieWithThisProcess(d.cmd.SysProcAttr)
	started := make(chan error)
	d.stopped = make(chan struct{})
	go lockedStart(d.cmd, started, d.stopped)
	if err := <-started; err != nil {
		return err
	}
	// Its socket is there before it listens, and nothing tells when it does.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", d.socket())
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("libvirtd does not come up: %w\n%s", err, d.log.String())
		}
	}
}

// stop ends the daemon; its domains live on.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = d.cmd.Wait() // with whatever status
	close(d.stopped)
	return nil
}

// virsh runs virsh with the given arguments.
func (d *daemon) virsh(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	cmd, err := d.run(ctx, "virsh", append([]string{"-q", "-c", d.uri()}, args...)...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("virsh %v: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// end ends everything.
func (d *daemon) end() {
	if d.cmd != nil && d.cmd.Process != nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		close(d.stopped)
	}
	if d.alive != nil {
		_ = d.alive.Close()
		_ = d.clear.Wait()
	}
}

// domain is a test's domain.
type domain struct {
	t          *testing.T
	d          *daemon
	name, uuid string
}

// create starts a paused domain without a disk and with the given devices.
func (d *daemon) create(t *testing.T, name, uuid, devices string) domain {
	t.Helper()
	return d.createXML(t, name, uuid, `<domain type='qemu'><name>`+name+`</name><uuid>`+uuid+`</uuid><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><controller type='usb' model='none'/><memballoon model='none'/>
`+devices+`<video><model type='qxl'/></video></devices></domain>`, "--paused")
}

func (d *daemon) createXML(t *testing.T, name, uuid, xml string, flags ...string) domain {
	t.Helper()
	path := d.file(t, name+".xml", xml)
	_, err := d.virsh(append([]string{"create", path}, flags...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = d.virsh("destroy", name) })
	return domain{t, d, name, uuid}
}

// file writes a file that the daemon can read.
func (d *daemon) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(d.dir, "home", name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(path, nobody, nobody))
	}
	return path
}

// destroy ends the domain.
func (m domain) destroy() {
	m.t.Helper()
	_, err := m.d.virsh("destroy", m.name)
	require.NoError(m.t, err)
}

// update changes the domain's graphics.
func (m domain) update(graphics string) {
	m.t.Helper()
	_, err := m.d.virsh("update-device", m.name, m.d.file(m.t, m.name+"-graphics.xml", graphics))
	require.NoError(m.t, err)
}

// graphics returns what the daemon reports of the domain's first graphics.
func (m domain) graphics(attribute string) string {
	m.t.Helper()
	text, err := m.d.virsh("dumpxml", "--xpath", "/domain/devices/graphics/@"+attribute, m.name)
	require.NoError(m.t, err)
	_, text, _ = strings.Cut(text, `"`)
	return strings.TrimSuffix(text, `"`)
}
