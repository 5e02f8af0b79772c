package warm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/internal/need"
)

func TestLanesOfOneMachineShareItsState(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	key := identify(t, cache, machine).Key()
	for what, change := range map[string]func(*qemu.Config){
		"name":             func(c *qemu.Config) { c.Name = "lane-2" },
		"UUID":             func(c *qemu.Config) { c.UUID = "" },
		"directories":      func(c *qemu.Config) { c.Dir, c.SocketDir = filepath.Join(dir, "2"), "" },
		"ticket":           func(c *qemu.Config) { c.Spice.Ticket = "secret two" },
		"no ticket":        func(c *qemu.Config) { c.Spice.Ticket = "" },
		"SPICE's socket":   func(c *qemu.Config) { c.Spice.Unix = "/elsewhere.sock" },
		"SPICE on TCP":     func(c *qemu.Config) { c.Spice = qemu.Spice{Port: 5900} },
		"SPICE on any TLS": func(c *qemu.Config) { c.Spice = qemu.Spice{TLSPort: qemu.AnyPort, X509Dir: dir} },
		"compression":      func(c *qemu.Config) { c.Spice.Compression = qemu.CompressionQUIC },
		"streaming":        func(c *qemu.Config) { c.Spice.Streaming = "all" },
		"one client":       func(c *qemu.Config) { c.Spice.SingleClient = true },
		"its own files":    func(c *qemu.Config) { c.Disk = filepath.Join(dir, "own.qcow2") },
		"paused":           func(c *qemu.Config) { c.Paused = true },
		"a default named":  func(c *qemu.Config) { c.MemoryMiB, c.CPUs, c.CPU, c.Display = 256, 1, "max", qemu.QXL },
	} {
		m := machine
		change(&m)
		require.Equal(t, key, identify(t, cache, m).Key(), what)
	}
}

func TestWhatReachesTheGuestMakesAnotherMachine(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	file := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(name), 0o755))
		return path
	}
	seen := map[warm.Key]string{identify(t, cache, machine).Key(): "the machine itself"}
	for what, change := range map[string]func(*qemu.Config){
		"memory":                  func(c *qemu.Config) { c.MemoryMiB = 512 },
		"processors":              func(c *qemu.Config) { c.CPUs = 2 },
		"processor":               func(c *qemu.Config) { c.CPU = "qemu64" },
		"accelerator":             func(c *qemu.Config) { c.Accel = qemu.KVM },
		"display":                 func(c *qemu.Config) { c.Display = qemu.Virtio },
		"no SPICE":                func(c *qemu.Config) { c.Spice, c.Agent = qemu.Spice{}, false },
		"no agent":                func(c *qemu.Config) { c.Agent = false },
		"sound":                   func(c *qemu.Config) { c.Audio = true },
		"tablet":                  func(c *qemu.Config) { c.Tablet = true },
		"a card":                  func(c *qemu.Config) { c.NICs = []qemu.NIC{{}} },
		"a device":                func(c *qemu.Config) { c.Devices = []string{"virtio-tablet-pci"} },
		"an argument":             func(c *qemu.Config) { c.Args = []string{"-no-hpet"} },
		"no disk":                 func(c *qemu.Config) { c.Image = "" },
		"the image's content":     func(c *qemu.Config) { c.Image = file("another.raw") },
		"QEMU's content":          func(c *qemu.Config) { c.Binary = file("another-qemu") },
		"the firmware's content":  func(c *qemu.Config) { c.Firmware.Code = file("another-code.fd") },
		"the variables' content":  func(c *qemu.Config) { c.Firmware.Vars = file("another-vars.fd") },
		"a kernel":                func(c *qemu.Config) { c.Kernel = file("vmlinuz") },
		"a kernel's command line": func(c *qemu.Config) { c.Kernel, c.Append = file("vmlinuz"), "quiet" },
		"an initrd":               func(c *qemu.Config) { c.Kernel, c.Initrd = file("vmlinuz"), file("initrd") },
	} {
		m := machine
		change(&m)
		key := identify(t, cache, m).Key()
		require.Empty(t, seen[key], "%s is taken for the same as the other", what)
		seen[key] = what
		require.NotEmpty(t, identify(t, cache, m).Host)
		require.Len(t, key, 64)
		require.Len(t, key.Short(), 12)
	}
}

// The same paths with different contents: only the contents of the files count.
func TestAChangedFileMakesAnotherMachine(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	machine.Kernel = filepath.Join(dir, "kernel")
	machine.Initrd = filepath.Join(dir, "initrd")
	machine.Devices = []string{"loader,file=" + filepath.Join(dir, "rom")}
	machine.Args = []string{"-fw_cfg", "name=opt/x,file=" + filepath.Join(dir, "blob")}
	for _, name := range []string{"kernel", "initrd", "rom", "blob"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("first"), 0o600))
	}
	key := identify(t, cache, machine).Key()
	for _, path := range []string{machine.Binary, machine.Firmware.Code, machine.Firmware.Vars, machine.Image, machine.Kernel, machine.Initrd, filepath.Join(dir, "rom"), filepath.Join(dir, "blob")} {
		was, err := os.ReadFile(path)
		require.NoError(t, err)
		is := append([]byte(nil), was...)
		is[0] ^= 1
		require.NoError(t, os.WriteFile(path, is, 0o600))
		require.NotEqual(t, key, identify(t, cache, machine).Key(), path)
		require.NoError(t, os.WriteFile(path, was, 0o600))
		require.Equal(t, key, identify(t, cache, machine).Key(), path)
	}
}

// Checksums are remembered by what the file system reports about a file. Nothing that a program
// does to a file's times makes another file look the same.
func TestARememberedChecksumIsThatOfTheSameFile(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	require.NoError(t, os.MkdirAll(cache.Dir, 0o700))
	notes := func() int {
		list, _ := os.ReadDir(filepath.Join(cache.Dir, "sums"))
		return len(list)
	}
	key := identify(t, cache, machine).Key()
	require.Zero(t, notes(), "files of this very moment may be written to once more")

	// A file that is old, like every real one.
	old := machine
	old.Binary = "/bin/sh"
	first := identify(t, cache, old)
	require.Equal(t, 1, notes())
	require.Equal(t, first, identify(t, cache, old))
	require.NotEqual(t, key, first.Key())
	open := &warm.Cache{Dir: t.TempDir(), MaxBytes: 1}
	require.NoError(t, os.Chmod(open.Dir, 0o777))
	require.Equal(t, first, identify(t, open, old))
	require.NoDirExists(t, filepath.Join(open.Dir, "sums"), "others may write there")

	// A note that was tampered with or damaged is not trusted.
	list, err := os.ReadDir(filepath.Join(cache.Dir, "sums"))
	require.NoError(t, err)
	honest, err := os.ReadFile(filepath.Join(cache.Dir, "sums", list[0].Name()))
	require.NoError(t, err)
	lie := strings.Repeat("0", 64)
	believed := strings.Replace(string(honest), first.Files[0].SHA256, lie, 1)
	for _, c := range []struct {
		note string
		lies bool
	}{
		{"", false},
		{"{", false},
		{`{"path":"/bin/sh","sha256":"` + lie + `"}`, false},
		{strings.Replace(believed, "/bin/sh", "/bin/ls", 1), false},
		{strings.Replace(believed, lie, "x", 1), false},
		{believed, true}, // the note is read
	} {
		other := &warm.Cache{Dir: t.TempDir(), MaxBytes: 1}
		require.NoError(t, os.Chmod(other.Dir, 0o700))
		require.NoError(t, os.Mkdir(filepath.Join(other.Dir, "sums"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(other.Dir, "sums", list[0].Name()), []byte(c.note), 0o600))
		require.Equal(t, c.lies, identify(t, other, old).Files[0].SHA256 == lie, c.note)
	}

	st, err := os.Stat(machine.Image)
	require.NoError(t, err)
	b, err := os.ReadFile(machine.Image)
	require.NoError(t, err)
	b[3] ^= 1
	require.NoError(t, os.WriteFile(machine.Image, b, 0o600))
	require.NoError(t, os.Chtimes(machine.Image, st.ModTime(), st.ModTime()))
	require.NotEqual(t, key, identify(t, cache, machine).Key())
}

func TestAnImageIsAllFilesThatItLiesAbove(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	beacon, err := os.ReadFile("../../fixtures/images/beacon.qcow2")
	require.NoError(t, err)
	base := filepath.Join(dir, "base.qcow2")
	require.NoError(t, os.WriteFile(base, beacon, 0o600))
	machine.Image = filepath.Join(dir, "top.qcow2")
	require.NoError(t, qemu.OverlayState(base, machine.Image))
	id := identify(t, cache, machine)
	var images []string
	for _, f := range id.Files {
		if f.Role == "image" {
			images = append(images, f.Path)
		}
	}
	require.Equal(t, []string{machine.Image, base}, images)
	f, err := os.OpenFile(base, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.Write([]byte{0})
	require.NoError(t, errors.Join(err, f.Close()))
	require.NotEqual(t, id.Key(), identify(t, cache, machine).Key())
}

func TestAMachineWithStateThatIsNotKeptBoots(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for what, c := range map[string]struct {
		change func(*qemu.Config)
		says   string
	}{
		"a drive":          {func(c *qemu.Config) { c.Args = []string{"-drive", "file=/x"} }, "with the argument -drive a machine has state that is not saved"},
		"two dashes":       {func(c *qemu.Config) { c.Args = []string{"--drive", "file=/x"} }, "with the argument --drive"},
		"a block device":   {func(c *qemu.Config) { c.Args = []string{"-m", "1G", "-blockdev", "x"} }, "-blockdev"},
		"a state":          {func(c *qemu.Config) { c.Args = []string{"-incoming", "tcp:0:1"} }, "-incoming"},
		"a missing image":  {func(c *qemu.Config) { c.Image = filepath.Join(dir, "none") }, "no such file"},
		"a pipe for image": {func(c *qemu.Config) { c.Image = pipe }, "is not a regular file"},
		"a pipe for QEMU":  {func(c *qemu.Config) { c.Binary = pipe }, "is not a regular file"},
		"no accelerator":   {func(c *qemu.Config) { c.Accel = qemu.AccelAuto }, "the accelerator is still to be chosen"},
	} {
		m := machine
		c.change(&m)
		_, err := cache.Identify(t.Context(), m)
		var cold *warm.ColdError
		require.ErrorAs(t, err, &cold, what)
		require.Contains(t, cold.Why, c.says, what)
	}
}

func TestAFileThatIsBeingWrittenIsNotIdentified(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	machine.Image = filepath.Join(dir, "growing.raw")
	f, err := os.Create(machine.Image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<28)) // takes a moment to read
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = f.WriteAt([]byte{1}, i)
			}
		}
	}()
	_, err = cache.Identify(t.Context(), machine)
	close(stop)
	<-stopped
	require.NoError(t, f.Close())
	require.ErrorContains(t, err, "is being written to")
}

// An image of 16 GiB without a checksum was read whole, silently, for every lane: half a minute and
// more (GNS3/gns3-server#2622).
func TestALargeImageIsKnownByItsFileAndNotRead(t *testing.T) {
	need.Long(t)
	t.Parallel()
	cache, dir, machine := newCache(t)
	machine.Image = filepath.Join(dir, "large.raw")
	f, err := os.Create(machine.Image)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(16<<30))
	identified := func() (id warm.Identity) {
		t.Helper()
		// Wait until the file is old enough that a further change would show.
		require.Eventually(t, func() bool {
			var err error
			id, err = cache.Identify(t.Context(), machine)
			var cold *warm.ColdError
			assert.True(t, err == nil || errors.As(err, &cold) && strings.Contains(cold.Why, "was changed a moment ago"), err)
			return err == nil
		}, time.Minute, 100*time.Millisecond)
		return id
	}
	first := identified()
	for _, file := range first.Files {
		require.Equal(t, file.Role == "image", file.Stat != nil, file)
		require.Equal(t, file.Role == "image", file.SHA256 == "", file)
	}
	require.Equal(t, first.Key(), identified().Key())

	st, err := f.Stat()
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{1}, 8<<30)
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(machine.Image, st.ModTime(), st.ModTime()))
	require.NotEqual(t, first.Key(), identified().Key(), "one byte is another, and its time was turned back")

	// A file that may change once more without a trace is not identified.
	soon := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(machine.Image, soon, soon))
	_, err = cache.Identify(t.Context(), machine)
	require.ErrorContains(t, err, "large.raw: was changed a moment ago")
}

func TestWhatReadsWholeFilesEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	claim, err := cache.Claim(id)
	require.NoError(t, err)
	defer claim.Close()
	draft, err := claim.Draft()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(draft.Path(warm.StatePart), []byte("state"), 0o600))
	_, err = draft.Publish(t.Context(), warm.Saved{})
	require.NoError(t, err)
	entry, err := cache.Open(id)
	require.NoError(t, err)
	defer entry.Close()
	draft, err = claim.Draft()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(draft.Path(warm.StatePart), []byte("state"), 0o600))

	why := errors.New("the lane was given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	machine.Kernel = filepath.Join(dir, "kernel")
	require.NoError(t, os.WriteFile(machine.Kernel, []byte("never seen before"), 0o600))
	_, err = cache.Identify(ctx, machine)
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, entry.Verify(ctx), why)
	_, err = draft.Publish(ctx, warm.Saved{})
	require.ErrorIs(t, err, why)
	require.NoError(t, entry.Verify(t.Context()), "and the entry is as it was")
}
