package host_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// SPICELANE_TIMEOUT_SCALE=2x was ignored without a word.
func TestAVariableWithAValueThatItDoesNotTakeIsRefused(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]struct{ good, bad []string }{
		host.EnvTimeoutScale: {[]string{"", "2", "0.5", "1e3"}, []string{"2x", "-1", "0", "x", "NaN", "Inf", " "}},
		host.EnvKeep:         {[]string{"", "failed"}, []string{"1", "all"}},
		qemu.EnvLanes:        {[]string{"off", "auto", "require"}, []string{"on"}},
		qemu.EnvAccel:        {[]string{"kvm", "tcg", "auto"}, []string{"hvf"}},
	} {
		check := func(value string) error {
			return host.CheckEnvironment(func(s string) string {
				if s == name {
					return value
				}
				return ""
			})
		}
		for _, v := range values.good {
			require.NoError(t, check(v), name+"="+v)
		}
		for _, v := range values.bad {
			err := check(v)
			require.ErrorContains(t, err, name+"="+v+": not ")
			require.Equal(t, verdict.Harness, verdict.Of(err))
		}
	}
}

func TestTimeoutsAreScaledByTheEnvironment(t *testing.T) {
	t.Setenv(host.EnvTimeoutScale, "0.5")
	require.Equal(t, time.Second, host.Scaled(2*time.Second, "kvm"))
	require.Equal(t, 6*time.Second, host.Scaled(2*time.Second, "tcg"))
}

// doctor was content with a relative TMPDIR, and up was not.
func TestRelativePathsInTheEnvironmentAreTakenFromWhereTheyWereGiven(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	t.Chdir(dir)
	for name, value := range map[string]string{
		"TMPDIR": "tmp", host.EnvCacheDir: "./cache", qemu.EnvOVMFCode: "../code", qemu.EnvOVMFVars: "fw/vars", qemu.EnvQEMU: "./qemu",
	} {
		t.Setenv(name, value)
	}
	require.NoError(t, os.Mkdir("tmp", 0o700))
	run, err := host.NewRunDir()
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(run.Path), run.Path)
	require.NoError(t, run.Remove())

	require.NoError(t, host.AbsoluteEnvironment())
	require.Equal(t, filepath.Join(dir, "tmp"), os.Getenv("TMPDIR"))
	require.Equal(t, filepath.Join(dir, "cache"), os.Getenv(host.EnvCacheDir))
	require.Equal(t, filepath.Join(filepath.Dir(dir), "code"), os.Getenv(qemu.EnvOVMFCode))
	require.Equal(t, filepath.Join(dir, "fw/vars"), os.Getenv(qemu.EnvOVMFVars))
	require.Equal(t, filepath.Join(dir, "qemu"), os.Getenv(qemu.EnvQEMU))
	t.Setenv(qemu.EnvQEMU, "qemu-system-x86_64")
	require.NoError(t, host.AbsoluteEnvironment())
	require.Equal(t, "qemu-system-x86_64", os.Getenv(qemu.EnvQEMU), "that is looked up in PATH")
}

func TestAHugeScaleMakesTimeoutsLongAndNotNegative(t *testing.T) {
	for _, scale := range []string{"1e6", "1e9", "1e12", "1e300"} {
		require.NoError(t, host.CheckEnvironment(func(name string) string {
			return map[string]string{host.EnvTimeoutScale: scale}[name]
		}))
		t.Setenv(host.EnvTimeoutScale, scale)
		for _, accel := range []string{"kvm", "tcg"} {
			require.Greater(t, host.Scaled(30*time.Second, accel), 1000*time.Hour, scale)
		}
	}
}
