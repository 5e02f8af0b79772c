package qemu_test

import (
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

	// A device that is always full plays the disk, behind a link, so that it is
	// not this test that removes it should the code under test go wrong.
	full := filepath.Join(dir, "full")
	require.NoError(t, os.Symlink("/dev/full", full))
	requireHostError(t, qemu.CopyVars(template, full), "the disk is full")
}
