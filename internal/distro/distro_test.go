package distro_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/distro"
)

// section returns the lines below a heading of a recorded host.
func section(t *testing.T, recording, heading string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(recording, "# "+heading+"\n")
	require.True(t, ok, heading)
	rest, _, _ = strings.Cut(rest, "# ")
	return strings.Split(strings.TrimSpace(rest), "\n")
}

// at returns the system that a host's os-release describes. It has lists of packages.
func at(t *testing.T, release string, root bool) distro.System {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "etc"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte(release), 0o600))
	lists := filepath.Join(dir, "var/lib/apt/lists")
	require.NoError(t, os.MkdirAll(lists, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(lists, "deb.debian.org_main_Packages.lz4"), nil, 0o600))
	return distro.At(dir, root)
}

// The images of containers have none, and apt then knows no package.
func TestWithoutListsOfPackagesTheyAreFetchedFirst(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian": "sudo apt-get update && sudo apt-get install -y ovmf",
		"ID=fedora": "sudo dnf install -y edk2-ovmf", // dnf fetches them itself
	} {
		dir := t.TempDir()
		for _, d := range []string{"etc", "var/lib/apt/lists/partial"} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte(release), 0o600))
		require.Equal(t, want, distro.At(dir, false).Install(distro.OVMF))
	}
}

func TestEachDistributionHasItsOwnCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.Len(t, files, 8)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			recording := string(b)
			release := strings.Join(section(t, recording, "os-release"), "\n")
			s := at(t, release, true)
			require.Equal(t, section(t, recording, "install SPICE")[0], s.Install(distro.SPICE))
			all := section(t, recording, "install all")[0]
			require.Equal(t, all, s.Install(distro.QEMU, distro.SPICE, distro.ImageTool, distro.OVMF))
			require.Equal(t, all != "", s.Known())
			if all != "" {
				require.Equal(t, "sudo "+all, at(t, release, false).Install(distro.QEMU, distro.SPICE, distro.ImageTool, distro.OVMF))
				require.Equal(t, "install it with: "+s.Install(distro.OVMF), s.Hint(distro.OVMF))
			}
		})
	}
}

func TestADistributionIsKnownByWhatItIsLike(t *testing.T) {
	for release, want := range map[string]string{
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"": "apt-get install -y ovmf",
		"ID=rocky\nID_LIKE=\"rhel centos fedora\"":                   "dnf install -y edk2-ovmf",
		"ID='manjaro'\nID_LIKE='arch'":                               "pacman -S --needed --noconfirm edk2-ovmf",
		"ID=alpine":                                                  "",
		"":                                                           "",
		"garbage\x00=\n==\nID":                                       "",
	} {
		require.Equal(t, want, at(t, release, true).Install(distro.OVMF), "%q", release)
	}
	// Debian's next release says no version before it is released.
	require.Contains(t, at(t, "ID=debian", true).Install(distro.SPICE), "modules-spice")
	require.NotContains(t, at(t, "ID=ubuntu\nVERSION_ID=22.04", true).Install(distro.SPICE), "modules-spice")
}

// The texts are those of the distributions' own os-release, as far as it counts.
func TestADistributionThatIsMadeOfAnotherHasThatOnesPackages(t *testing.T) {
	for release, separate := range map[string]bool{
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22.1\"\nVERSION_CODENAME=xia\nUBUNTU_CODENAME=noble": true,
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"21.3\"\nUBUNTU_CODENAME=jammy":                       false,
		"ID=linuxmint\nID_LIKE=debian\nVERSION_ID=\"6\"\nVERSION_CODENAME=faye\nDEBIAN_CODENAME=bookworm":           false,
		"ID=pop\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"24.04\"\nUBUNTU_CODENAME=noble":                            true,
		"ID=pop\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22.04\"\nUBUNTU_CODENAME=jammy":                            false,
		"ID=raspbian\nID_LIKE=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie":                                   true,
		"ID=raspbian\nID_LIKE=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm":                                 false,
		"ID=kali\nID_LIKE=debian\nVERSION_ID=\"2025.3\"\nVERSION_CODENAME=kali-rolling":                             true,
		"ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\nUBUNTU_CODENAME=jammy":                                    false,
	} {
		want := "apt-get install -y qemu-system-x86"
		if separate {
			want += " qemu-system-modules-spice"
		}
		require.Equal(t, want, at(t, release, true).Install(distro.SPICE), release)
	}
	require.Equal(t, at(t, "ID=arch", true).Install(distro.SPICE), at(t, "ID=endeavouros\nID_LIKE=arch", true).Install(distro.SPICE))
}

func TestAnUnknownDistributionIsToldWhatToLookFor(t *testing.T) {
	s := distro.At(t.TempDir(), true)
	require.False(t, s.Known())
	require.Equal(t, "install it with this system's package manager (qemu, ovmf)", s.Hint(distro.QEMU, distro.OVMF))
	require.Equal(t, "install it with NixOS 25.05's package manager (ovmf)", at(t, "ID=nixos\nPRETTY_NAME=\"NixOS 25.05\"", true).Hint(distro.OVMF))
	require.Empty(t, s.Packages(distro.QEMU))
	require.Empty(t, s.InstallPackages([]string{"x"}))
}
