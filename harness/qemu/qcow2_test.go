package qemu_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
)

// The header of an overlay above /b.raw with a disk of 1 GiB, byte by byte as QEMU's
// docs/interop/qcow2.txt says.
func TestAnOverlaysFirstBytes(t *testing.T) {
	t.Parallel()
	b, err := qemu.EmptyOverlay("/b.raw", "raw", 1<<30)
	require.NoError(t, err)
	want := []byte("" +
		"QFI\xfb" + "\x00\x00\x00\x03" + // magic, version
		"\x00\x00\x00\x00\x00\x00\x00\x80" + "\x00\x00\x00\x06" + // backing_file_offset, backing_file_size
		"\x00\x00\x00\x10" + "\x00\x00\x00\x00\x40\x00\x00\x00" + // cluster_bits, size
		"\x00\x00\x00\x00" + "\x00\x00\x00\x02" + // crypt_method, l1_size
		"\x00\x00\x00\x00\x00\x03\x00\x00" + // l1_table_offset
		"\x00\x00\x00\x00\x00\x01\x00\x00" + "\x00\x00\x00\x01" + // refcount_table_offset, refcount_table_clusters
		"\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + // nb_snapshots, snapshots_offset
		strings.Repeat("\x00", 24) + // features: incompatible, compatible, autoclear
		"\x00\x00\x00\x04" + "\x00\x00\x00\x68" + // refcount_order, header_length
		"\xe2\x79\x2a\xca" + "\x00\x00\x00\x03" + "raw\x00\x00\x00\x00\x00" + // backing file format name
		strings.Repeat("\x00", 8) + // end of the extensions
		"/b.raw")
	require.Equal(t, want, b[:len(want)])
	require.Len(t, b, 4*64<<10)
	require.Equal(t, []byte{0, 0, 0, 0, 0, 2, 0, 0}, b[64<<10:64<<10+8], "the refcount table names the refcount block")
	require.Equal(t, []byte{0, 1, 0, 1, 0, 1, 0, 1, 0, 0}, b[128<<10:128<<10+10], "four clusters are in use")

	got, err := qemu.ReadQcow2(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, qemu.Qcow2Info{Size: 1 << 30, Backing: "/b.raw", Format: "raw"}, got)
	for n := range len(want) {
		_, err := qemu.ReadQcow2(bytes.NewReader(b[:n]))
		require.Error(t, err, "only %d bytes", n)
	}
}

func TestAnOverlayThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "relative.qcow2", "/a\x00b", "/" + strings.Repeat("x", 1023)} {
		_, err := qemu.EmptyOverlay(base, "raw", 512)
		require.Error(t, err, "%q", base)
	}
	for _, size := range []int64{-1, 2<<50 + 512} {
		_, err := qemu.EmptyOverlay("/b", "raw", size)
		require.Error(t, err, size)
	}
	_, err := qemu.EmptyOverlay("/"+strings.Repeat("x", 1022), "qcow2", 0)
	require.NoError(t, err)
}

// QEMU's own tool checks what is written here.
func TestQEMUTakesTheOverlays(t *testing.T) {
	t.Parallel()
	needMachines(t)
	dir := t.TempDir()
	for _, size := range []int64{512, 1 << 20, 512<<20 - 512, 512 << 20, 512<<20 + 512, 3 << 40, 5 << 40} {
		base := filepath.Join(dir, fmt.Sprintf("base, of %d:bytes.qcow2", size))
		require.NoError(t, exec.Command("qemu-img", "create", "-q", "-f", "qcow2", base, fmt.Sprint(size)).Run())
		top := filepath.Join(dir, fmt.Sprintf("%d.qcow2", size))
		require.NoError(t, qemu.OverlayState(base, top))
		out, err := exec.Command("qemu-img", "check", top).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "No errors were found")
		out, err = exec.Command("qemu-img", "info", "--output=json", top).Output()
		require.NoError(t, err)
		var info struct {
			Size    int64  `json:"virtual-size"`
			Format  string `json:"format"`
			Backing string `json:"full-backing-filename"`
			Of      string `json:"backing-filename-format"`
		}
		require.NoError(t, json.Unmarshal(out, &info))
		require.Equal(t, size, info.Size)
		require.Equal(t, []string{"qcow2", base, "qcow2"}, []string{info.Format, info.Backing, info.Of})
		if size <= 1<<20 {
			// The image can be written to, and is still whole.
			out, err = exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", "-c", "read -P 7 0 512", top).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NoError(t, exec.Command("qemu-img", "check", "-q", top).Run())
			require.NoError(t, exec.Command("qemu-img", "check", "-q", base).Run())
		}
	}
}

func TestABaseThatIsNoImageIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": "hello", "half": "QFI\xfb\x00\x00\x00\x03"} {
		base := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(base, []byte(content), 0o600))
		var bad *qemu.ConfigError
		require.ErrorAs(t, qemu.OverlayState(base, filepath.Join(dir, "top")), &bad, name)
		require.Contains(t, bad.What, base)
	}
	var bad *qemu.ConfigError
	require.ErrorAs(t, qemu.OverlayState(filepath.Join(dir, "none"), filepath.Join(dir, "top")), &bad)
	require.NoFileExists(t, filepath.Join(dir, "top"))
}

func TestAnImagesFilesAreFoundDownToTheLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	overlay := func(name, base string) {
		b, err := qemu.EmptyOverlay("/"+strings.Repeat("x", len(base)), "raw", 1<<20)
		require.NoError(t, err)
		// This program writes no relative name, but others may.
		b = bytes.Replace(b, []byte("/"+strings.Repeat("x", len(base))), []byte(base+"\x00"), 1)
		binary.BigEndian.PutUint32(b[16:], uint32(len(base)))
		require.NoError(t, os.WriteFile(at(name), b, 0o600))
	}
	require.NoError(t, os.WriteFile(at("base.raw"), []byte("raw"), 0o600))
	overlay("middle", "base.raw")
	overlay("top", at("middle"))
	files, err := qemu.ImageFiles(at("top"))
	require.NoError(t, err)
	require.Equal(t, []string{at("top"), at("middle"), at("base.raw")}, files)

	overlay("loop", "loop")
	overlay("remote", "nbd:host:10809")
	overlay("json", `json:{"driver":"https"}`)
	overlay("lost", "nowhere")
	for name, says := range map[string]string{
		"loop":    "more than 32 others",
		"remote":  `lies above "nbd:host:10809", which is not a file`,
		"json":    "which is not a file",
		"lost":    "cannot be read",
		"missing": "cannot be read",
		".":       "is not a regular file",
	} {
		_, err := qemu.ImageFiles(at(name))
		var bad *qemu.ConfigError
		require.ErrorAs(t, err, &bad, name)
		require.Contains(t, bad.What, says, name)
	}
	for name, c := range map[string]struct{ content, says string }{
		"data":  {string(externalData(t)), `has its data in "", which is not a file`},
		"cut":   {"QFI\xfb\x00\x00\x00\x03", "is damaged"},
		"vmdk":  {"KDMV\x01", "is a vmdk image"},
		"vmdk2": {"# Disk DescriptorFile\nversion=1", "is a vmdk image"},
		"qed":   {"QED\x00", "is a qed image"},
		"vhdx":  {"vhdxfile", "is a vhdx image"},
	} {
		require.NoError(t, os.WriteFile(at(name), []byte(c.content), 0o600))
		_, err := qemu.ImageFiles(at(name))
		require.ErrorContains(t, err, c.says, name)
	}
}

// externalData returns an image whose incompatible features have bit 2 set.
func externalData(t *testing.T) []byte {
	b, err := qemu.EmptyOverlay("/x", "raw", 1<<20)
	require.NoError(t, err)
	b[79] |= 1 << 2
	return b
}

func FuzzQcow2Header(f *testing.F) {
	b, err := qemu.EmptyOverlay("/base.raw", "raw", 1<<30)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:200])
	f.Add([]byte("QFI\xfb\x00\x00\x00\x02"))
	f.Add([]byte("no image"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := qemu.ReadQcow2(bytes.NewReader(b))
		if err == nil && (info.Size < 0 || len(info.Backing) > 1023) {
			t.Fatalf("%+v", info)
		}
	})
}
