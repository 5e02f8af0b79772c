package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
)

func TestWhatAGuestBootsIsKnownByItsContentAndNotByItsPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	entry := write("own.yaml", "name: own\ndescription: own\nkernel: vmlinux\nbanner: up\n")
	write("vmlinux", "one")
	kernel, initrd := write("a/vmlinux", "two"), write("initrd", "three")
	same := write("b/vmlinux", "two")
	of := func(cfg harness.Config) [2]string {
		image, err := imageOf(t.Context(), cfg)
		require.NoError(t, err)
		config, err := hashConfig(cfg)
		require.NoError(t, err)
		return [2]string{image, config}
	}
	const one, two, three = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
		"3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3", "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f"
	own := of(harness.Config{Fixture: entry})
	require.Equal(t, "own kernel sha256:"+one, own[0])
	require.Equal(t, "own kernel sha256:"+two+" initrd sha256:"+three, of(harness.Config{Fixture: entry, Kernel: kernel, Initrd: initrd})[0])
	require.Equal(t, "vmlinux sha256:"+two+" kernel sha256:"+one, of(harness.Config{Image: kernel, Kernel: filepath.Join(dir, "vmlinux")})[0])
	require.Equal(t, of(harness.Config{Fixture: entry, Kernel: kernel}), of(harness.Config{Fixture: entry, Kernel: same}))
	require.NotEqual(t, own[1], of(harness.Config{Fixture: entry, Append: "quiet"})[1])
	beacon := of(harness.Config{})[0]
	require.Regexp(t, `^beacon sha256:[0-9a-f]{64}$`, beacon)
	_, err := imageOf(t.Context(), harness.Config{Fixture: entry, Kernel: "nosuchfile"})
	require.ErrorIs(t, err, os.ErrNotExist)
}
