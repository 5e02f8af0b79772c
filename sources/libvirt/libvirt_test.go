package libvirt_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/sources/libvirt"
	"github.com/spicelane/spicelane/spice/console"
)

const (
	uuidB = "6f4e2c1a-0000-0000-0000-00000000000b"
	uuidC = "6f4e2c1a-0000-0000-0000-00000000000c"

	// most limits the waits of a test: before its first QEMU, libvirtd asks QEMU for its features.
	most = 2 * time.Minute
)

// lockedStart starts a command on a thread that lives until stop is closed.
func lockedStart(cmd *exec.Cmd, started chan<- error, stop <-chan struct{}) {
	runtime.LockOSThread()
	started <- cmd.Start()
	<-stop
}

// logged is a log that several goroutines write.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open makes a catalog with one static console and a libvirt source "kvm" with the keys in more.
func open(t *testing.T, uri, more string) (*sources.Catalog, *logged) {
	t.Helper()
	text := fmt.Sprintf(`- source: beside
  type: static
  consoles: [{uuid: "%s", name: beside, unix: /run/beside.sock, ticket: ""}]
- source: kvm
  type: libvirt
  uri: %q
%s`, uuidC, uri, more)
	log := &logged{}
	c, err := sources.OpenText("sources.yaml", []byte(text), sources.Config{Kinds: map[string]sources.Kind{"libvirt": libvirt.Kind},
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c, log
}

// listed returns the names of the libvirt source's consoles, and its error.
func listed(t *testing.T, c *sources.Catalog) (names []string, err error) {
	t.Helper()
	all, err := c.Consoles(t.Context())
	require.NotEmpty(t, all, "the other source has a console: %v", err)
	require.Equal(t, "beside", all[0].Name, "whatever libvirtd does")
	for _, one := range all[1:] {
		require.Empty(t, one.Ticket)
		names = append(names, one.Name)
	}
	return names, err
}

// await waits until the libvirt source has exactly the given consoles.
func await(t *testing.T, c *sources.Catalog, want ...string) {
	t.Helper()
	var got []string
	var err error
	require.Eventually(t, func() bool {
		got, err = listed(t, c)
		return err == nil && fmt.Sprint(got) == fmt.Sprint(want)
	}, most, 5*time.Millisecond, "want %v, got %v, %v", want, &got, &err)
}

// Timeline: two domains run, one with SPICE and one with VNC; a third one starts; it
// is paused, resumed and destroyed; one that is only defined never appears.
func TestDomainsAppearAndDisappear(t *testing.T) {
	d := libvirtd(t)
	a := d.create(t, "guest-a", uuidA, `<graphics type='spice' autoport='yes' listen='127.0.0.1' passwd='s3cret'/>`)
	d.create(t, "guest-vnc", "6f4e2c1a-0000-0000-0000-0000000000ff", `<graphics type='vnc' autoport='yes' listen='127.0.0.1'/>`)
	c, _ := open(t, d.uri(), "")
	await(t, c, "guest-a")

	host, err := os.Hostname()
	require.NoError(t, err)
	port, err := strconv.Atoi(a.graphics("port"))
	require.NoError(t, err)
	secure, err := strconv.Atoi(a.graphics("tlsPort"))
	require.NoError(t, err)
	want := console.Console{Source: "kvm", UUID: uuidA, Name: "guest-a", Hypervisor: host, HypervisorIP: "127.0.0.1", InsecurePort: port,
		SecurePort: secure, SecureChannels: []string{"all"}}
	all, err := c.Consoles(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, all[1])
	want.Ticket = "s3cret"
	got, err := c.Console(t.Context(), "kvm", "6F4E2C1A-0000-0000-0000-00000000000A")
	require.NoError(t, err)
	assert.Equal(t, want, got)

	b := d.create(t, "guest-b", uuidB, `<graphics type='spice' autoport='yes' listen='127.0.0.1'/>`)
	await(t, c, "guest-a", "guest-b")
	got, err = c.Console(t.Context(), "kvm", uuidB)
	require.NoError(t, err)
	assert.Empty(t, got.Ticket, "a server without a password asks for none")
	for _, command := range []string{"resume", "suspend"} {
		_, err := d.virsh(command, "guest-b")
		require.NoError(t, err)
	}
	await(t, c, "guest-a", "guest-b")
	b.destroy()
	await(t, c, "guest-a")

	path := d.file(t, "defined.xml", `<domain type='qemu'><name>guest-d</name><uuid>6f4e2c1a-0000-0000-0000-00000000000d</uuid><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><graphics type='spice' autoport='yes'/></devices></domain>`)
	_, err = d.virsh("define", path)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = d.virsh("undefine", "guest-d") })
	// The last of three events: those before it have been followed when it is.
	a.destroy()
	await(t, c)
	for _, id := range []string{uuidA, uuidB, "6f4e2c1a-0000-0000-0000-00000000000d", "6f4e2c1a-0000-0000-0000-0000000000ff",
		"6f4e2c1a-0000-0000-0000-0000000000ee", "no uuid", "{" + uuidA + "}"} {
		_, err := c.Console(t.Context(), "kvm", id)
		var unknown *console.UnknownError
		require.ErrorAs(t, err, &unknown, id)
	}
	assert.Equal(t, map[string]uint64{"kvm": 0, "beside": 0}, c.SourceErrors())
}

// Timeline: the password is changed; it is one that has expired; it is empty.
func TestThePasswordIsTheOneThatTheDomainHasNow(t *testing.T) {
	d := libvirtd(t)
	a := d.create(t, "guest-a", uuidA, `<graphics type='spice' autoport='yes' listen='127.0.0.1' passwd='first'/>`)
	c, _ := open(t, d.uri(), "")
	ticket := func() (string, error) {
		one, err := c.Console(t.Context(), "kvm", uuidA)
		return one.Ticket, err
	}
	got, err := ticket()
	require.NoError(t, err)
	assert.Equal(t, "first", got)
	a.update(`<graphics type='spice' autoport='yes' listen='127.0.0.1' passwd='second' passwdValidTo='2999-12-31T23:59:59'/>`)
	got, err = ticket()
	require.NoError(t, err)
	assert.Equal(t, "second", got)

	for _, tc := range []struct{ attributes, why string }{
		{`passwd='third' passwdValidTo='2020-01-01T00:00:00'`, "its SPICE password was valid until 2020-01-01T00:00:00 UTC: set a later passwdValidTo with virsh update-device"},
		{`passwd=''`, "its SPICE password is empty, and lets nobody in: set one with virsh update-device"},
	} {
		a.update(`<graphics type='spice' autoport='yes' listen='127.0.0.1' ` + tc.attributes + `/>`)
		_, err = ticket()
		var unusable *console.UnusableError
		require.ErrorAs(t, err, &unusable, tc.attributes)
		assert.Equal(t, &console.UnusableError{Source: "kvm", UUID: uuidA, Name: "guest-a", Why: tc.why}, unusable)
		assert.NotContains(t, err.Error(), "third")
	}
	await(t, c, "guest-a")
	assert.Equal(t, uint64(0), c.SourceErrors()["kvm"], "the source is well")
}

// Timeline: a domain runs; libvirtd ends, and the domain lives on; the other source's
// console is there all the time; libvirtd is back; another domain starts.
func TestTheSourceConnectsAgainWhenLibvirtdIsBack(t *testing.T) {
	d := libvirtd(t)
	d.create(t, "guest-a", uuidA, `<graphics type='spice' autoport='yes' listen='127.0.0.1' passwd='s3cret'/>`)
	c, log := open(t, d.uri(), "")
	await(t, c, "guest-a")
	require.NoError(t, d.stop())
	var err error
	require.Eventually(t, func() bool { _, err = listed(t, c); return err != nil }, most, 5*time.Millisecond)
	var partial *console.PartialError
	require.ErrorAs(t, err, &partial)
	require.Len(t, partial.Failed, 1)
	assert.Equal(t, "kvm", partial.Failed[0].Source)
	_, err = c.Console(t.Context(), "kvm", uuidA)
	assert.ErrorContains(t, err, "libvirt qemu:///session: dial unix "+d.socket()+": ")
	assert.ErrorContains(t, err, "(is libvirtd running?)")
	assert.Positive(t, c.SourceErrors()["kvm"])
	assert.Contains(t, log.String(), `"sources: a source is in trouble" source=kvm error="libvirt qemu:///session: `)

	require.NoError(t, d.start())
	await(t, c, "guest-a")
	one, err := c.Console(t.Context(), "kvm", uuidA)
	require.NoError(t, err)
	assert.Equal(t, "s3cret", one.Ticket)
	assert.Contains(t, log.String(), `"sources: the source is well again" source=kvm`)
	d.create(t, "guest-b", uuidB, `<graphics type='spice' autoport='yes' listen='127.0.0.1'/>`)
	await(t, c, "guest-a", "guest-b")
}

// A stopped libvirtd accepts connections and answers nothing.
func TestALibvirtdThatHangsHoldsUpNobody(t *testing.T) {
	d := libvirtd(t)
	c, _ := open(t, d.uri(), "")
	await(t, c)
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGSTOP))
	defer func() { require.NoError(t, d.cmd.Process.Signal(syscall.SIGCONT)) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Console(ctx, "kvm", uuidA)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "libvirt qemu:///session: open: ")
	_, err = c.Console(t.Context(), "beside", uuidC)
	assert.NoError(t, err)
}

// Timeline: libvirtd stops without closing connections; its consoles are an error; it continues,
// and they are back.
func TestALibvirtdThatSaysNothingAnyMoreIsNoticed(t *testing.T) {
	d := libvirtd(t)
	d.create(t, "guest-a", uuidA, `<graphics type='spice' autoport='yes' listen='127.0.0.1'/>`)
	restore := libvirt.Impatient(time.Second, 10*time.Millisecond)
	t.Cleanup(restore) // after the source is closed
	c, _ := open(t, d.uri(), "")
	await(t, c, "guest-a")
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGSTOP))
	defer d.cmd.Process.Signal(syscall.SIGCONT)
	var err error
	require.Eventually(t, func() bool { _, err = listed(t, c); return err != nil }, most, 5*time.Millisecond)
	assert.ErrorContains(t, err, ": no answer within 1s")
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGCONT))
	await(t, c, "guest-a")
}

func TestALibvirtdThatIsNotThereIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "libvirt-sock")
	c, log := open(t, "qemu:///system?socket="+path, "")
	_, err := listed(t, c)
	want := "kvm: libvirt qemu:///system: dial unix " + path + ": connect: no such file or directory (is libvirtd running?)"
	assert.EqualError(t, err, want)
	require.Eventually(t, func() bool { return c.SourceErrors()["kvm"] > 3 }, most, time.Millisecond, "it tries again")
	assert.Equal(t, 1, bytes.Count([]byte(log.String()), []byte("in trouble")), "said once")
}

// dialAs is the child process of TestALibvirtdThatRefusesThisUserIsSaid. It prints what a source
// reports of the socket in the environment.
func dialAs() bool {
	socket := os.Getenv("TEST_LIBVIRT_SOCKET")
	if socket == "" {
		return false
	}
	s, err := libvirt.Open(sources.Declared{Name: "kvm", Values: map[string]string{"uri": "qemu:///system?socket=" + socket}})
	if err == nil {
		_, err = s.Consoles(context.Background())
		_ = s.Close()
	}
	fmt.Print(err)
	return true
}

// Root may use every socket, so another user connects.
func TestALibvirtdThatRefusesThisUserIsSaid(t *testing.T) {
	dir, err := os.MkdirTemp("", "lv")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	program, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ask"), program, 0o755))
	locked := filepath.Join(dir, "locked")
	require.NoError(t, os.Mkdir(locked, 0))
	socket := filepath.Join(locked, "s")
	cmd := exec.Command(filepath.Join(dir, "ask"))
	cmd.Env = []string{"TEST_LIBVIRT_SOCKET=" + socket}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "libvirt qemu:///system: dial unix "+socket+": connect: permission denied "+
		"(may this user speak to libvirtd? its group is often called libvirt)", string(out))
}

func TestAURIThatLeadsNowhereIsRefused(t *testing.T) {
	for uri, want := range map[string]string{
		"system":                             `sources.yaml:4: uri: "system" is not a libvirt URI`,
		"qemu://%zz/system":                  "is not a libvirt URI",
		"qemu+ssh://root:geheim@kvm7/system": "is on another machine, and only unix sockets work: forward its socket",
		"qemu+tls:///system":                 "is on another machine",
		"qemu://kvm7/system":                 "is on another machine",
		"qemu:///system?mode=direct":         `has the parameter "mode"`,
		"qemu:///system?socket=run/sock":     "the socket's path is not absolute",
		"qemu:///":                           "has neither /system nor /session nor a socket=",
	} {
		_, err := sources.OpenText("sources.yaml", []byte(fmt.Sprintf("- {source: a, type: static, consoles: []}\n\n\n- {source: kvm, type: libvirt, uri: %q}\n", uri)),
			sources.Config{Kinds: map[string]sources.Kind{"libvirt": libvirt.Kind}})
		require.ErrorContains(t, err, want, uri)
		assert.NotContains(t, err.Error(), "geheim")
	}
	_, err := libvirt.Open(sources.Declared{Values: map[string]string{"uri": "qemu:///system", "host_subject": "kvm7"}})
	assert.ErrorContains(t, err, `host_subject: `)
	_, err = libvirt.Open(sources.Declared{Values: map[string]string{"uri": "qemu+unix:///system", "host_subject": "CN="}})
	assert.Error(t, err)
}
