package host

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/spicelane/spicelane/harness/qemu"
)

// CacheDir is where what can be had again is kept: $SPICELANE_CACHE_DIR, else
// spicelane below the user's cache directory, else below os.TempDir.
func CacheDir() string {
	if d := os.Getenv(qemu.EnvCacheDir); d != "" {
		return d
	}
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "spicelane")
	}
	return filepath.Join(os.TempDir(), "spicelane-"+strconv.Itoa(os.Getuid()), "cache")
}
