package qemu_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
)

// GUIDs of firmware volumes as they are in flash: one with files, which is code, and one with
// variables.
const (
	codeGUID = "78e58c8c3d8a1c4f9935896185c32dd3"
	varsGUID = "8d2bf1ff96768b4ca9852747075b4f50"
)

// flash returns the beginning of a flash image with one firmware volume.
func flash(guid string) []byte {
	b := make([]byte, 4096)
	g, _ := hex.DecodeString(guid)
	copy(b[16:], g)
	copy(b[40:], "_FVH")
	return b
}

func raw(code, vars string) qemu.Firmware {
	return qemu.Firmware{Code: code, Vars: vars, CodeFormat: qemu.FormatRaw, VarsFormat: qemu.FormatRaw}
}

// Some systems ship their firmware as qcow2 only. When it was taken for raw, the screen was blank
// for three minutes, and then the product was blamed (hashicorp/packer-plugin-qemu#225,
// quickemu-project/quickemu#1749).
func TestAGuestBootsFromFirmwareInAnyMixtureOfFormats(t *testing.T) {
	t.Parallel()
	needMachines(t)
	system, err := qemu.FindOVMF(env{}.get)
	require.NoError(t, err)
	// The names say nothing: the content decides.
	dir := shortDir(t)
	files := map[string]string{"raw code": system.Code, "raw variables": system.Vars}
	for kind, args := range map[string][]string{"qcow2": {"convert"}, "compressed": {"convert", "-c"}} {
		for part, from := range map[string]string{"code": system.Code, "variables": system.Vars} {
			to := filepath.Join(dir, kind+"-"+part+".fd")
			imageTool(t, dir, append(args, "-f", "raw", "-O", "qcow2", from, to)...)
			files[kind+" "+part] = to
		}
	}
	for _, pair := range [][2]string{{"qcow2", "qcow2"}, {"qcow2", "raw"}, {"raw", "compressed"}} {
		t.Run(pair[0]+" and "+pair[1], func(t *testing.T) {
			t.Parallel()
			fw, err := qemu.FindOVMF(env{qemu.EnvOVMFCode: files[pair[0]+" code"], qemu.EnvOVMFVars: files[pair[1]+" variables"]}.get)
			require.NoError(t, err)
			dir := shortDir(t)
			vars := filepath.Join(dir, "vars.fd")
			require.NoError(t, qemu.CopyVars(fw.Vars, vars))
			// Start detects the formats as well.
			m := start(t, qemu.Config{Dir: dir, Firmware: qemu.Firmware{Code: fw.Code, Vars: vars}, Accel: qemu.TCG, Display: qemu.Std})
			assert.Equal(t, fw.CodeFormat, m.Config().Firmware.CodeFormat)
			_, err = m.AwaitBoot(boundary(t), serial.Matches(regexp.MustCompile("BdsDxe: ")))
			require.NoError(t, err)
		})
	}
	argv, err := qemu.Argv(qemu.Config{Dir: dir, Accel: qemu.TCG, Firmware: qemu.Firmware{Code: "c", Vars: "v", CodeFormat: qemu.FormatQcow2, VarsFormat: qemu.FormatRaw}})
	require.NoError(t, err)
	assert.Contains(t, argv, "if=pflash,unit=0,format=qcow2,readonly=on,file=c")
	assert.Contains(t, argv, "if=pflash,unit=1,format=raw,file=v")
}

// QEMU starts with any file as its flash, and then the guest does nothing.
func TestAFileThatIsNoFirmwareIsTheHostsFaultAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	code, vars := file("code", flash(codeGUID)), file("vars", flash(varsGUID))
	whole := file("whole", append(flash(varsGUID), flash(codeGUID)...))
	large, err := os.Create(filepath.Join(dir, "large"))
	require.NoError(t, err)
	require.NoError(t, large.Truncate(65<<20))
	require.NoError(t, large.Close())
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	sized := func(name, guid string, n int) string { return file(name, append(flash(guid), make([]byte, n-4096)...)) }
	for _, tt := range []struct{ name, code, vars, says string }{
		{"text", file("readme", []byte(strings.Repeat("no firmware\n", 999))), vars, "readme is no UEFI firmware: there is no firmware volume in it"},
		{"a pipe", pipe, vars, "pipe: is not a regular file"},
		{"empty", file("empty", nil), vars, "empty is no UEFI firmware"},
		{"a disk", large.Name(), vars, "large is no UEFI firmware: it has more than 64 MiB"},
		{"half a qcow2", file("half", []byte("QFI\xfb\x00\x00\x00\x03")), vars, "half is damaged"},
		{"no variables", code, file("other", make([]byte, 4096)), "other holds no UEFI variables"},
		{"swapped", vars, code, "vars holds UEFI variables and no code"},
		{"code twice", code, code, "code holds UEFI code and no variables"},
		{"builds mixed", sized("code4", codeGUID, 3653632), sized("vars2", varsGUID, 131072), "are of different builds"},
		{"a pair", code, vars, ""},
		{"not split", whole, vars, ""},
		{"4 MiB", filepath.Join(dir, "code4"), sized("vars4", varsGUID, 540672), ""},
	} {
		fw, err := qemu.FindOVMF(env{qemu.EnvOVMFCode: tt.code, qemu.EnvOVMFVars: tt.vars}.get)
		if tt.says == "" {
			require.NoError(t, err, tt.name)
			require.Equal(t, raw(tt.code, tt.vars), fw)
			continue
		}
		requireHostError(t, err, tt.says)
	}
	needMachines(t)
	for name, says := range map[string]string{"vars": "vars.qcow2 holds UEFI variables and no code", "readme": "readme.qcow2 is no UEFI firmware"} {
		image := filepath.Join(dir, name+".qcow2")
		imageTool(t, dir, "convert", "-f", "raw", "-O", "qcow2", filepath.Join(dir, name), image)
		_, err := qemu.FindOVMF(env{qemu.EnvOVMFCode: image, qemu.EnvOVMFVars: vars}.get)
		requireHostError(t, err, says)
	}
	_, err = qemu.Start(boundary(t), qemu.Config{Dir: shortDir(t), Firmware: qemu.Firmware{Code: filepath.Join(dir, "readme"), Vars: vars}, Accel: qemu.TCG})
	requireHostError(t, err, "readme is no UEFI firmware")
}

// doctor accepted a relative path and up did not: QEMU and a lane's supervisor run in other
// directories.
func TestPathsInTheEnvironmentAreTakenFromWhereTheyWereGiven(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.MkdirAll("fw", 0o700))
	require.NoError(t, os.WriteFile("fw/code", flash(codeGUID), 0o600))
	require.NoError(t, os.WriteFile("fw/vars", flash(varsGUID), 0o600))
	require.NoError(t, writeProgram(filepath.Join(dir, "qemu"), "#!/bin/sh\nexit 0\n"))
	require.NoError(t, writeProgram(filepath.Join(dir, "qemu-img"), "#!/bin/sh\nexit 0\n"))
	e := env{qemu.EnvOVMFCode: "fw/code", qemu.EnvOVMFVars: "./fw/vars", qemu.EnvQEMU: "./qemu"}
	fw, err := qemu.FindOVMF(e.get)
	require.NoError(t, err)
	assert.Equal(t, raw(filepath.Join(dir, "fw/code"), filepath.Join(dir, "fw/vars")), fw)
	binary, err := qemu.FindQEMU(e.get)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "qemu"), binary)
	tool, err := qemu.FindImageTool(e.get)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "qemu-img"), tool)
}

// FuzzFlash looks for an image that makes the reader fail badly.
func FuzzFlash(f *testing.F) {
	path := filepath.Join(f.TempDir(), "f.qcow2")
	if err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "4096").Run(); err == nil {
		b, _ := os.ReadFile(path)
		f.Add(b)
	}
	b, err := qemu.EmptyOverlay("/base.raw", "raw", 1<<16)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4<<16])
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := qemu.Qcow2Content(bytes.NewReader(b))
		if err == nil && len(content) > 64<<20 {
			t.Fatal(len(content))
		}
	})
}
