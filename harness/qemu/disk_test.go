package qemu_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
)

func TestAnOverlayLeavesItsBaseAlone(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	base, err := os.ReadFile(m.Config().Image)
	require.NoError(t, err)
	tell(t, m, "w")
	_, err = m.Serial().Await(boundary(t), ready)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	after, err := os.ReadFile(m.Config().Image)
	require.NoError(t, err)
	assert.Equal(t, base, after)
	st, err := os.Stat(m.Config().Disk)
	require.NoError(t, err)
	assert.NotZero(t, st.Size())
}

func TestABaseThatIsMissingOrDamagedIsToldInOneSentence(t *testing.T) {
	t.Parallel()
	needMachines(t)
	dir := t.TempDir()
	good := filepath.Join(dir, "good.qcow2")
	require.NoError(t, exec.Command("qemu-img", "create", "-q", "-f", "qcow2", good, "1M").Run())
	whole, err := os.ReadFile(good)
	require.NoError(t, err)
	damage := func(change func([]byte) []byte) []byte { return change(append([]byte(nil), whole...)) }

	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"missing", nil, "cannot be read"},
		{"empty", []byte{}, "is damaged or not an image"},
		{"text", []byte("this is not an image\n"), "is damaged or not an image"},
		{"cut off", damage(func(b []byte) []byte { return b[:100] }), "is damaged or not an image"},
		{"version unknown", damage(func(b []byte) []byte { b[7] = 9; return b }), "is damaged or not an image"},
		{"table elsewhere", damage(func(b []byte) []byte { b[40] = 0xff; return b }), "is damaged or not an image"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "base.qcow2")
			if tt.file != nil {
				require.NoError(t, os.WriteFile(image, tt.file, 0o644))
			}
			overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
			err := qemu.Overlay(t.Context(), image, overlay)
			var conf *qemu.ConfigError
			require.ErrorAs(t, err, &conf)
			assert.Contains(t, err.Error(), tt.want)
			assert.Contains(t, err.Error(), image)
			assert.NotContains(t, err.Error(), "\n")
			assert.NoFileExists(t, overlay)
		})
	}
	require.NoError(t, qemu.Overlay(t.Context(), good, filepath.Join(dir, "overlay.qcow2")))
}

func TestFirmwareVariablesAreCopiedOrTheFaultIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	template, own := filepath.Join(dir, "template"), filepath.Join(dir, "own")
	require.NoError(t, os.WriteFile(template, []byte("variables"), 0o444))
	require.NoError(t, qemu.CopyVars(template, own))
	b, err := os.ReadFile(own)
	require.NoError(t, err)
	assert.Equal(t, "variables", string(b))
	f, err := os.OpenFile(own, os.O_WRONLY, 0)
	require.NoError(t, err, "the copy is writable though the template is not")
	f.Close()

	requireHostError(t, qemu.CopyVars(filepath.Join(dir, "none"), own), "cannot be read")

	// A device that is always full takes the disk's place. It is behind a link, so that a mistake
	// in the code under test removes only the link.
	full := filepath.Join(dir, "full")
	require.NoError(t, os.Symlink("/dev/full", full))
	requireHostError(t, qemu.CopyVars(template, full), "the disk is full")
}

// imageTool runs qemu-img in a directory.
func imageTool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("qemu-img", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// readsFrom asserts what a guest would read at the beginning of its disk. QEMU's own tool reads it,
// in a directory that is not the image's.
func readsFrom(t *testing.T, overlay string, pattern byte) {
	t.Helper()
	cmd := exec.Command("qemu-io", "-r", "-f", "qcow2", "-c", fmt.Sprintf("read -P %d 0 512", pattern), overlay)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "verification failed")
}

// qemu-img check ends with 3 for leaked clusters, which take space and do no harm
// (apache/cloudstack#8577): a guest boots from such an image.
func TestAnImageWithLeakedClustersIsTaken(t *testing.T) {
	t.Parallel()
	needMachines(t)
	dir := t.TempDir()
	image := filepath.Join(dir, "leak.qcow2")
	imageTool(t, dir, "create", "-q", "-f", "qcow2", image, "1M")
	require.NoError(t, exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", image).Run())
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	// One more cluster at the end, counted as used once but used by nobody.
	const cluster = 64 << 10
	n := (len(b) + cluster - 1) / cluster
	b = append(b, make([]byte, (n+1)*cluster-len(b))...)
	block := binary.BigEndian.Uint64(b[binary.BigEndian.Uint64(b[48:]):])
	binary.BigEndian.PutUint16(b[block+2*uint64(n):], 1)
	require.NoError(t, os.WriteFile(image, b, 0o600))
	var exit *exec.ExitError
	require.ErrorAs(t, exec.Command("qemu-img", "check", "-q", image).Run(), &exit)
	require.Equal(t, 3, exit.ExitCode(), "leaks, and nothing else")

	overlay := filepath.Join(dir, "overlay.qcow2")
	require.NoError(t, qemu.Overlay(t.Context(), image, overlay))
	readsFrom(t, overlay, 7)

	// A cluster that is used but not counted may be allocated again: that is damage.
	binary.BigEndian.PutUint16(b[block+2*uint64(n-1):], 0)
	require.NoError(t, os.WriteFile(image, b, 0o600))
	require.ErrorContains(t, qemu.Overlay(t.Context(), image, overlay), "is damaged or not an image")
}

// With lazy reference counts, a killed guest leaves an image whose counts are known to be stale.
// QEMU boots from it, because a reader does not need the counts.
func TestAnImageThatWasNotClosedIsTaken(t *testing.T) {
	t.Parallel()
	needMachines(t)
	dir := t.TempDir()
	image := filepath.Join(dir, "dirty.qcow2")
	imageTool(t, dir, "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", image, "1M")
	require.Error(t, exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", "-c", "abort", image).Run(), "it aborts")
	var exit *exec.ExitError
	require.ErrorAs(t, exec.Command("qemu-img", "check", "-q", image).Run(), &exit)
	overlay := filepath.Join(dir, "overlay.qcow2")
	require.NoError(t, qemu.Overlay(t.Context(), image, overlay))
	readsFrom(t, overlay, 7)
}

// The image of a running machine was called "damaged … build it again" (GNS3/gns3-gui#2301,
// dguerri/LibVirtKvm-scripts#45).
func TestAnImageThatAnotherProcessHasOpenIsInUseAndItIsSaidByWhom(t *testing.T) {
	t.Parallel()
	needMachines(t)
	for _, format := range []string{"qcow2", "raw"} {
		dir := shortDir(t)
		image := filepath.Join(dir, "disk."+format)
		imageTool(t, dir, "create", "-q", "-f", format, image, "1M")
		// One machine writes to the image itself, and another one wants to.
		own := qemu.Config{Dir: dir, BIOS: true, Accel: qemu.TCG, Display: qemu.NoDisplay, MemoryMiB: 16, Paused: true,
			Args: []string{"-drive", "if=virtio,format=" + format + ",file=" + image}}
		m := start(t, own)
		own.Dir = shortDir(t)
		_, err := qemu.Start(boundary(t), own)
		says := fmt.Sprintf("%s is in use by process %d (qemu-system-x86)", image, m.PID())
		var conf *qemu.ConfigError
		require.ErrorAs(t, err, &conf)
		require.ErrorContains(t, err, says)

		// A machine that only reads the image. QEMU's tool finds that out for a qcow2 image, and
		// QEMU itself for a raw one.
		reads := qemu.Config{Dir: shortDir(t), Image: image, BIOS: true, Accel: qemu.TCG, Display: qemu.NoDisplay, MemoryMiB: 16, Paused: true}
		prepared, err := qemu.Prepare(t.Context(), reads)
		if err == nil {
			_, err = qemu.Start(boundary(t), prepared)
		} else {
			require.NoFileExists(t, filepath.Join(reads.Dir, "disk.qcow2"))
		}
		require.ErrorAs(t, err, &conf)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "damaged")
		require.NoError(t, m.Close())
		start(t, reads)
	}
}

// A download or a copy takes no lock: only half of the image exists so far.
func TestAnImageThatIsStillBeingWrittenIsNotCalledDamaged(t *testing.T) {
	t.Parallel()
	needMachines(t)
	image := filepath.Join(t.TempDir(), "half.qcow2")
	f, err := os.Create(image)
	require.NoError(t, err)
	_, err = f.WriteString("QFI\xfb\x00\x00\x00\x03")
	require.NoError(t, err)
	err = qemu.Overlay(t.Context(), image, filepath.Join(t.TempDir(), "overlay.qcow2"))
	require.ErrorContains(t, err, fmt.Sprintf("is being written to by process %d (", os.Getpid()))
	require.ErrorContains(t, err, "wait until it is complete")
	require.NoError(t, f.Close())
	require.ErrorContains(t, qemu.Overlay(t.Context(), image, filepath.Join(t.TempDir(), "overlay.qcow2")), "is damaged or not an image")
}

// QEMU looks for an external data file relative to its working directory. Users who made the image in
// its directory expect a name relative to the image (GNS3/gns3-server#2622).
func TestAnImageWithARelativeDataOrBackingFileIsTaken(t *testing.T) {
	t.Parallel()
	needMachines(t)
	dir := shortDir(t)
	sub := filepath.Join(dir, "sub, with a comma")
	require.NoError(t, os.Mkdir(sub, 0o700))
	imageTool(t, sub, "create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "ext.qcow2", "1M")
	write := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", "ext.qcow2")
	write.Dir = sub
	require.NoError(t, write.Run())
	imageTool(t, sub, "create", "-q", "-f", "qcow2", "-b", "ext.qcow2", "-F", "qcow2", "above.qcow2")
	imageTool(t, dir, "create", "-q", "-f", "qcow2", "-b", "sub, with a comma/above.qcow2", "-F", "qcow2", "top.qcow2")
	for image, files := range map[string][]string{
		filepath.Join(sub, "ext.qcow2"):   {"ext.qcow2", "data.raw"},
		filepath.Join(sub, "above.qcow2"): {"above.qcow2", "ext.qcow2", "data.raw"},
		filepath.Join(dir, "top.qcow2"):   {"../top.qcow2", "above.qcow2", "ext.qcow2", "data.raw"},
	} {
		overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
		require.NoError(t, qemu.Overlay(t.Context(), image, overlay), image)
		readsFrom(t, overlay, 7)
		// The restored disk lies above a copy of the overlay.
		restored := filepath.Join(t.TempDir(), "restored.qcow2")
		require.NoError(t, qemu.OverlayState(overlay, restored))
		readsFrom(t, restored, 7)
		got, err := qemu.ImageFiles(image)
		require.NoError(t, err)
		for i, f := range files {
			files[i] = filepath.Join(sub, f)
		}
		require.Equal(t, files, got)
	}

	require.NoError(t, os.Rename(filepath.Join(sub, "data.raw"), filepath.Join(sub, "elsewhere.raw")))
	err := qemu.Overlay(t.Context(), filepath.Join(dir, "top.qcow2"), filepath.Join(dir, "overlay.qcow2"))
	require.ErrorContains(t, err, "data.raw: no such file")
	require.NotContains(t, err.Error(), "damaged")
	require.NoError(t, os.Remove(filepath.Join(sub, "above.qcow2")))
	err = qemu.Overlay(t.Context(), filepath.Join(dir, "top.qcow2"), filepath.Join(dir, "overlay.qcow2"))
	require.ErrorContains(t, err, "above.qcow2: no such file")
	require.NotContains(t, err.Error(), "damaged")
}
