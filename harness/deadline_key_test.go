package harness

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
)

// A lane that is wrongly given the time of another one may never start, and so its time would never
// be learned.
func TestTheTimesOfOneLaneAreNotThoseOfAnother(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(image, make([]byte, 512), 0o600))
	key := func(c Config, binary string) string {
		c.Image = image
		b := &bringUp{Lane: &Lane{cfg: c, guest: qemu.Config{Binary: binary}}}
		return b.startKey("tcg", false)
	}
	seen := map[string]bool{}
	for i, c := range []Config{
		{}, {Kernel: "k"}, {Kernel: "k", Initrd: "i"}, {Kernel: "k", Append: "sleep=60"}, {CPUs: 2}, {MemoryMiB: 9}, {Devices: []string{"d"}},
		{ExtraArgs: []string{"-icount", "9"}}, {Proxy: None}, {Proxy: Command("slow")}, {Client: None}, {Client: Command("slow")},
		{Link: &impair.Profile{Delay: time.Second}}, {Banner: "late"},
	} {
		require.Equal(t, key(c, "qemu"), key(c, "qemu"))
		require.False(t, seen[key(c, "qemu")], "configuration %d: %s", i, key(c, "qemu"))
		seen[key(c, "qemu")] = true
	}
	require.NotEqual(t, key(Config{}, "qemu"), key(Config{}, "another"))
	before := key(Config{}, "")
	require.NoError(t, os.WriteFile(image, make([]byte, 1024), 0o600))
	require.NotEqual(t, before, key(Config{}, ""), "the image was built again")
}
